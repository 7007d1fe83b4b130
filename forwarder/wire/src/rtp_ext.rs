//! Owns what is inside an RTP header extension: RFC 8285 elements, read and built. Hot.

use crate::field::{set_u16, u8_at, u24_at};
use crate::rtp::Extension;

/// "Defined by profile" of a block of one-byte elements.
pub const PROFILE_ONE_BYTE: u16 = 0xbede;
/// "Defined by profile" of a block of two-byte elements; the low four bits are free.
pub const PROFILE_TWO_BYTE: u16 = 0x1000;

/// Largest block that is built here, profile and length included: one cache line. The elements we
/// send to a viewer (MID, playout delay, transport-cc, absolute send time) need 4 + 17 + 4 + 3 + 4.
pub const BLOCK_BYTES_MAX: usize = 64;

/// Longest MID that fits a one-byte element, in bytes.
pub const MID_BYTES_MAX: usize = 16;

/// Profile and length of a block.
const BLOCK_HEADER_BYTES: usize = 4;

/// One element of a header extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The id negotiated by `a=extmap`, 1 to 14 in one-byte and 1 to 255 in two-byte form.
    pub id: u8,
    /// The value: 1 to 16 bytes in one-byte form, 0 to 255 in two-byte form.
    pub data: &'a [u8],
}

/// Walks the elements of a header extension. Ends at the first one that lies about its length; an
/// unknown profile has no elements.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
}

impl<'a> Elements<'a> {
    /// The elements of `extension`.
    #[inline]
    #[must_use]
    pub fn new(extension: Extension<'a>) -> Self {
        let (rest, form) = match extension.profile {
            PROFILE_ONE_BYTE => (extension.bytes, Form::OneByte),
            other if other & 0xfff0 == PROFILE_TWO_BYTE => (extension.bytes, Form::TwoByte),
            _ => (&[][..], Form::OneByte),
        };
        Self { rest, form }
    }

    /// Splits off one element; `None` ends the walk.
    #[inline]
    fn split(&self) -> Option<(Element<'a>, &'a [u8])> {
        let padding = self.rest.iter().take_while(|byte| **byte == 0).count();
        let (&first, rest) = self.rest.get(padding..)?.split_first()?;
        let (id, bytes, rest) = match self.form {
            Form::OneByte => (first >> 4, usize::from(first & 0x0f) + 1, rest),
            Form::TwoByte => {
                let (&bytes, rest) = rest.split_first()?;
                (first, usize::from(bytes), rest)
            }
        };
        //= https://www.rfc-editor.org/rfc/rfc8285#section-4.1.2
        //# If such an extension element is encountered, its length field MUST be ignored,
        //# processing of the entire extension MUST terminate at that point
        if self.form == Form::OneByte && (id == 0 || id == 15) {
            return None;
        }
        let (data, rest) = rest.split_at_checked(bytes)?;
        Some((Element { id, data }, rest))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        if let Some((element, rest)) = self.split() {
            self.rest = rest;
            Some(element)
        } else {
            self.rest = &[];
            None
        }
    }
}

/// The value of the first element with this id.
#[inline]
#[must_use]
pub fn find(extension: Extension<'_>, id: u8) -> Option<&[u8]> {
    Elements::new(extension)
        .find(|element| element.id == id)
        .map(|element| element.data)
}

/// A block of one-byte elements in the making. It is well-formed after every step, so that it can
/// be built once and sent with every packet.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    bytes: [u8; BLOCK_BYTES_MAX],
    used: usize,
}

impl Block {
    /// A block without elements, which is no block at all: [`Block::as_bytes`] is empty.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; BLOCK_BYTES_MAX],
            used: 0,
        }
    }

    /// Appends an element and says where in the block its value begins, for a value that changes
    /// from packet to packet. `None`, with nothing changed: `id` is not 1 to 14, `data` is not 1
    /// to 16 bytes, or the block is full.
    #[inline]
    pub fn push(&mut self, id: u8, data: &[u8]) -> Option<usize> {
        let length = u8::try_from(data.len().checked_sub(1)?).ok()?;
        if !(1..=14).contains(&id) || length > 15 {
            return None;
        }
        let at = self.used.max(BLOCK_HEADER_BYTES) + 1;
        let end = at + data.len();
        self.bytes.get_mut(at..end)?.copy_from_slice(data);
        *self.bytes.get_mut(at - 1)? = id << 4 | length;
        self.used = end;
        let words = u16::try_from((end - BLOCK_HEADER_BYTES).div_ceil(4)).ok()?;
        set_u16(&mut self.bytes, 0, PROFILE_ONE_BYTE);
        set_u16(&mut self.bytes, 2, words);
        Some(at)
    }

    /// The whole block with profile, length and padding, as [`crate::rtp::Header::write`] takes
    /// it.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..self.used.next_multiple_of(4))
            .unwrap_or_default()
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

/// The playout-delay element (`http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`): the
/// bounds of the receiver's jitter buffer, 12 bits each in units of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayoutDelay {
    min: u16,
    max: u16,
}

impl PlayoutDelay {
    /// Play as soon as possible.
    pub const ZERO: Self = Self { min: 0, max: 0 };

    /// From milliseconds, rounded down to units of 10 ms and held to 40,950 ms; a maximum below
    /// the minimum is raised to it.
    #[must_use]
    pub fn from_ms(min_ms: u32, max_ms: u32) -> Self {
        let units = |ms: u32| u16::try_from((ms / 10).min(0xfff)).unwrap_or(0xfff);
        let min = units(min_ms);
        Self {
            min,
            max: units(max_ms).max(min),
        }
    }

    /// Reads an element's value. `None`: not 3 bytes.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let low_12 = |bits: u32| u16::try_from(bits & 0xfff).unwrap_or(0);
        let bits = u24_at(data, 0);
        (data.len() == 3).then_some(Self {
            min: low_12(bits >> 12),
            max: low_12(bits),
        })
    }

    /// An element's value.
    #[inline]
    #[must_use]
    pub fn to_bytes(self) -> [u8; 3] {
        let [_, a, b, c] = (u32::from(self.min) << 12 | u32::from(self.max)).to_be_bytes();
        [a, b, c]
    }

    /// The lower bound in milliseconds.
    #[must_use]
    pub fn min_ms(self) -> u32 {
        u32::from(self.min) * 10
    }

    /// The upper bound in milliseconds.
    #[must_use]
    pub fn max_ms(self) -> u32 {
        u32::from(self.max) * 10
    }
}

/// The media identification of RFC 9143 section 15, the value of `a=mid`: 1 to 16 bytes of visible
/// ASCII. Names in RTP stream id elements (RFC 8852) have the same form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mid {
    bytes: [u8; MID_BYTES_MAX],
    len: u8,
}

impl Mid {
    /// Checks a name. `None`: empty, longer than 16 bytes, or not visible ASCII.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; MID_BYTES_MAX];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        let ok = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        let len = u8::try_from(name.len()).ok()?;
        ok.then_some(Self { bytes, len })
    }

    /// The name; an element's value.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A 24-bit absolute send time (`http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`):
/// 6.18 fixed-point seconds that wrap after 64 s. `None`: not 3 bytes.
#[inline]
#[must_use]
pub fn abs_send_time(data: &[u8]) -> Option<u32> {
    (data.len() == 3).then(|| u24_at(data, 0))
}

/// A transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions). `None`: not
/// 2 bytes.
#[inline]
#[must_use]
pub fn transport_sequence(data: &[u8]) -> Option<u16> {
    (data.len() == 2).then(|| u16::from_be_bytes([u8_at(data, 0), u8_at(data, 1)]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(profile: u16, bytes: &[u8]) -> Vec<(u8, usize)> {
        Elements::new(Extension { profile, bytes })
            .map(|element| (element.id, element.data.len()))
            .collect()
    }

    #[test]
    fn one_byte_elements_end_where_they_should() {
        let one = |bytes: &[u8]| ids(PROFILE_ONE_BYTE, bytes);
        assert_eq!(one(&[0x10, 0xaa, 0, 0, 0x21, 1, 2]), [(1, 1), (2, 2)]);
        assert_eq!(one(&[0x10, 0xaa, 0xf0, 0xaa, 0x20, 1]), [(1, 1)]); // id 15
        assert_eq!(one(&[0x10, 0xaa, 0x02, 0xaa, 0x20, 1]), [(1, 1)]); // id 0 with a length
        assert_eq!(one(&[0x10, 0xaa, 0x22, 1, 2]), [(1, 1)]); // overrun
        assert_eq!(one(&[0, 0, 0, 0]), []);
        assert_eq!(ids(0xabcd, &[0x10, 0xaa]), []);
    }

    #[test]
    fn two_byte_elements_end_where_they_should() {
        let two = |bytes: &[u8]| ids(0x100f, bytes);
        assert_eq!(
            two(&[15, 1, 9, 0, 200, 0, 3, 2, 1, 2]),
            [(15, 1), (200, 0), (3, 2)]
        );
        assert_eq!(two(&[15, 1, 9, 4, 3, 1, 2]), [(15, 1)]);
        assert_eq!(two(&[15]), []);
    }

    #[test]
    fn the_first_of_two_elements_counts() {
        let bytes = [0x10, 0xaa, 0x10, 0xbb, 0x20, 0xcc];
        let profile = PROFILE_ONE_BYTE;
        let twice = Extension {
            profile,
            bytes: &bytes,
        };
        assert_eq!(find(twice, 1), Some(&[0xaa][..]));
        assert_eq!(find(twice, 2), Some(&[0xcc][..]));
        // As many as a datagram holds, none of which is looked for.
        let bytes = [0x10, 0xaa].repeat(32_000);
        let many = Extension {
            profile,
            bytes: &bytes,
        };
        assert_eq!(find(many, 2), None);
    }

    #[test]
    fn a_block_is_padded_and_refuses_what_does_not_fit() {
        let mut block = Block::new();
        assert_eq!(block.as_bytes(), []);
        assert_eq!(block.push(0, &[1]), None);
        assert_eq!(block.push(15, &[1]), None);
        assert_eq!(block.push(1, &[]), None);
        assert_eq!(block.push(1, &[0; 17]), None);
        assert_eq!(
            block.push(3, &PlayoutDelay::from_ms(100, 505).to_bytes()),
            Some(5)
        );
        assert_eq!(block.as_bytes(), [0xbe, 0xde, 0, 1, 0x32, 0, 0xa0, 0x32]);
        assert_eq!(block.push(4, b"a"), Some(9));
        assert_eq!(
            block.as_bytes()[2..],
            [0, 2, 0x32, 0, 0xa0, 0x32, 0x40, b'a', 0, 0]
        );
        while block.push(1, &[7; 9]).is_some() {}
        assert!(block.as_bytes().len() <= BLOCK_BYTES_MAX);
        assert_eq!(block.push(1, &[7; 9]), None);
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(Mid::new(b"0").unwrap().as_bytes(), b"0");
        assert_eq!(Mid::new(&[b'a'; 16]).unwrap().as_bytes(), [b'a'; 16]);
        for bad in [&b""[..], &[b'a'; 17], b"a b", b"a\n", &[0xff], &[0]] {
            assert_eq!(Mid::new(bad), None);
        }
        assert_eq!(
            PlayoutDelay::from_ms(90_000, 0),
            PlayoutDelay::parse(&[0xff; 3]).unwrap()
        );
        assert_eq!(PlayoutDelay::parse(&[0; 2]), None);
        assert_eq!(transport_sequence(&[1, 2]), Some(0x102));
        assert_eq!(abs_send_time(&[1, 2, 3]), Some(0x1_0203));
        assert_eq!(
            (transport_sequence(&[1]), abs_send_time(&[1])),
            (None, None)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(
            profile in prop_oneof![Just(PROFILE_ONE_BYTE), 0x1000..0x1010_u16, any::<u16>()],
            bytes: [u8; 32],
            cut in 0..32_usize,
        ) {
            let elements = ids(profile, &bytes[..cut]);
            prop_assert!(elements.iter().map(|(_, bytes)| bytes + 1).sum::<usize>() <= cut);
        }

        #[test]
        fn what_is_built_is_read(
            elements in proptest::collection::vec(
                (1..15_u8, proptest::collection::vec(any::<u8>(), 1..17)), 0..8),
        ) {
            let mut block = Block::new();
            let mut kept = Vec::new();
            for (id, data) in &elements {
                if let Some(at) = block.push(*id, data) {
                    prop_assert_eq!(&block.as_bytes()[at..at + data.len()], &data[..]);
                    kept.push((*id, data.clone()));
                }
            }
            prop_assume!(!kept.is_empty());
            let bytes = block.as_bytes();
            prop_assert_eq!(bytes.len(), 4 + 4 * usize::from(bytes[3]));
            let extension = Extension { profile: PROFILE_ONE_BYTE, bytes: &bytes[4..] };
            let read: Vec<_> = Elements::new(extension)
                .map(|element| (element.id, element.data.to_vec()))
                .collect();
            prop_assert_eq!(find(extension, kept[0].0), Some(&kept[0].1[..]));
            prop_assert_eq!(read, kept);
        }

        #[test]
        fn playout_delays_survive_the_round_trip(min in 0..4096_u32, more in 0..4096_u32) {
            let delay = PlayoutDelay::from_ms(min * 10, (min + more) * 10);
            prop_assert_eq!(PlayoutDelay::parse(&delay.to_bytes()), Some(delay));
            prop_assert_eq!(delay.min_ms(), min * 10);
            prop_assert_eq!(delay.max_ms(), (min + more).min(4095) * 10);
        }
    }
}
