//! Owns which builds can share memory, and how a build says what it is.

/// The layout that this build makes. Count up when a place or a meaning changes; what is appended
/// to a table or to the end of an element within its stride changes nothing.
pub const LAYOUT_VERSION: u32 = 9;

/// The oldest layout that this build can still work with: one release back.
pub const LAYOUT_OLDEST: u32 = 9;

/// The build that made the memory, for messages.
pub const BUILD: &str = concat!("freshet ", env!("CARGO_PKG_VERSION"));

/// Bytes of a build line, padded with zeroes.
pub(crate) const LINE_BYTES: usize = 64;

const _: () = assert!(BUILD.len() <= LINE_BYTES);

/// Whether this build and one that says this of itself can share memory.
pub(crate) fn compatible(version: u32, oldest: u32) -> bool {
    oldest <= LAYOUT_VERSION && version >= LAYOUT_OLDEST
}

/// Our build line, padded.
pub(crate) fn line() -> [u8; LINE_BYTES] {
    let mut line = [0; LINE_BYTES];
    line[..BUILD.len()].copy_from_slice(BUILD.as_bytes());
    line
}

/// Text of another process up to its first zero, fit for a log.
pub(crate) fn printable(line: &[u8]) -> String {
    let text = line.iter().take_while(|byte| **byte != 0);
    text.map(|byte| {
        if byte.is_ascii_graphic() || *byte == b' ' {
            char::from(*byte)
        } else {
            '?'
        }
    })
    .collect()
}
