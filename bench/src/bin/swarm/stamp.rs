//! Owns the time of sending that our publishers write at the end of every payload, and clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::time::TimeSpec;

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

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(0)
}

/// Names a check: different from those before in every part, as servers that look for repetitions
/// may look at a few bytes only.
pub fn transaction(number: u64) -> [u8; 12] {
    let now = now();
    let mut transaction = [0; 12];
    let (head, tail) = transaction.split_at_mut(4);
    let [.., a, b, c, d] = (now ^ number.rotate_left(20)).to_be_bytes();
    head.copy_from_slice(&[a, b, c, d]);
    tail.copy_from_slice(&(now ^ number).to_be_bytes());
    transaction
}

/// Nanoseconds since 1970 of a time that the kernel noted.
pub fn of(time: TimeSpec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    let nanos = u64::try_from(time.tv_nsec()).ok()?;
    Some(seconds * 1_000_000_000 + nanos)
}
