//! Owns the time of sending that our publishers write at the end of every payload, and clocks.

use nix::sys::time::TimeSpec;

pub use tools::viewer::unix_ns as now;

/// Marks a payload of ours.
const MAGIC: [u8; 8] = *b"swarm@ns";

/// Bytes of a mark and the time.
pub const BYTES: usize = 16;

/// Writes a time, in nanoseconds since 1970, at the end of a payload of at least [`BYTES`].
pub fn write(payload: &mut [u8], unix_ns: u64) {
    if let Some(tail) = payload.last_chunk_mut::<BYTES>() {
        tail[..8].copy_from_slice(&MAGIC);
        tail[8..].copy_from_slice(&unix_ns.to_be_bytes());
    }
}

/// The time at the end of a payload, if one of our publishers wrote it.
pub fn read(payload: &[u8]) -> Option<u64> {
    let tail = payload.last_chunk::<BYTES>()?;
    let (mark, time) = tail.split_at(8);
    (*mark == MAGIC).then(|| time.try_into().map_or(0, u64::from_be_bytes))
}

/// Nanoseconds since 1970 of a time that the kernel noted.
pub fn of(time: TimeSpec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    let nanos = u64::try_from(time.tv_nsec()).ok()?;
    Some(seconds * 1_000_000_000 + nanos)
}
