//! Owns the names of things on both planes. Indexes are reused, generations tell the reuse.

use crate::command::ICE_UFRAG_BYTES;

/// A worker, 0 to `Limits::cores - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CoreId(pub u16);

/// A stream, and the log that carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct StreamId {
    /// 0 to `Limits::streams_max - 1`.
    pub index: u32,
    /// Counts the uses of `index`, from 1.
    pub generation: u32,
}

/// One subscriber of one stream (one WHEP session that has keys).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ViewerId {
    /// 0 to `Limits::viewers_max - 1`.
    pub index: u32,
    /// Counts the uses of `index`, from 1.
    pub generation: u32,
}

/// Most viewers that a username fragment can name: four characters of six bits.
pub const UFRAG_VIEWERS_MAX: u32 = 1 << 24;

//= https://www.rfc-editor.org/rfc/rfc8839#section-5.4
//# ice-char = ALPHA / DIGIT / "+" / "/"
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Our ICE username fragment for the viewer with this index (below [`UFRAG_VIEWERS_MAX`], higher
/// bits are ignored): four characters of index, then twelve that carry 72 bits of `random`.
/// A worker finds the viewer of a check from an unknown address by it, without a table.
#[must_use]
pub fn ufrag(index: u32, random: [u8; 12]) -> [u8; ICE_UFRAG_BYTES] {
    let mut text = [0; ICE_UFRAG_BYTES];
    let (head, tail) = text.split_at_mut(4);
    for (shift, place) in [18, 12, 6, 0].into_iter().zip(head) {
        *place = ice_char(index >> shift);
    }
    for (place, byte) in tail.iter_mut().zip(random) {
        *place = ice_char(u32::from(byte));
    }
    text
}

/// The viewer index inside a username fragment of ours. `None`: not made by [`ufrag`].
#[must_use]
pub fn ufrag_index(text: &[u8]) -> Option<u32> {
    if text.len() != ICE_UFRAG_BYTES || !text[4..].iter().all(|c| ice_value(*c).is_some()) {
        return None;
    }
    let mut index = 0;
    for place in &text[..4] {
        index = index << 6 | ice_value(*place)?;
    }
    Some(index)
}

/// The ICE character of the low six bits.
fn ice_char(bits: u32) -> u8 {
    ICE_CHARS[(bits & 63) as usize]
}

/// The six bits of an ICE character.
fn ice_value(char: u8) -> Option<u32> {
    let base = match char {
        b'A'..=b'Z' => char - b'A',
        b'a'..=b'z' => char - b'a' + 26,
        b'0'..=b'9' => char - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_survives_its_fragment() {
        for index in [0, 1, 63, 64, 4095, 0x00ab_cdef, UFRAG_VIEWERS_MAX - 1] {
            let text = ufrag(index, *b"\x00\x3f\x40\xff456789ab");
            assert!(text.iter().all(|c| ICE_CHARS.contains(c)));
            assert_eq!(ufrag_index(&text), Some(index));
        }
        for (value, char) in (0..).zip(ICE_CHARS) {
            assert_eq!(ice_value(*char), Some(value));
        }
    }

    #[test]
    fn what_is_not_ours_has_no_index() {
        for text in [
            &b""[..],
            b"AAAA",
            b"AAAAbbbbccccdddde",
            b"AA:Abbbbccccdddd",
            b"AAAAbbbbccccddd\0",
        ] {
            assert_eq!(ufrag_index(text), None);
        }
    }
}
