//! Owns the Internet checksum (RFC 1071): sums that can be added up and folded. Hot.

/// Bytes that one step of the sum takes: two vectors of the widest registers that matter.
const STEP: usize = 64;

/// A sum in ones' complement of 16-bit words, not folded yet. Only sums of an even number of bytes
/// can be added to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u32);

impl Sum {
    /// Of `bytes`, the last one filled up with a zero if there is an odd one.
    #[inline]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        //= https://www.rfc-editor.org/rfc/rfc1071#section-2
        //# The sum of 16-bit integers can be computed in either byte order.
        // Words of 32 bits in the machine's order are summed in 64, which the compiler spreads
        // over lanes; what carries over is folded at the end.
        let mut lanes = [0_u64; STEP / 4];
        let mut steps = bytes.chunks_exact(STEP);
        for step in &mut steps {
            for (lane, word) in lanes.iter_mut().zip(step.chunks_exact(4)) {
                *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        let mut sum: u64 = lanes.iter().sum();
        let mut words = steps.remainder().chunks_exact(2);
        for word in &mut words {
            sum += u64::from(u16::from_ne_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            sum += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Self(folded(sum))
    }

    /// Of one word.
    #[inline]
    #[must_use]
    pub fn word(word: u16) -> Self {
        Self(u32::from(word.to_be()))
    }

    /// Both together.
    #[inline]
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(folded(u64::from(self.0) + u64::from(other.0)))
    }

    /// The checksum: the complement of the sum, as its two bytes are sent.
    #[inline]
    #[must_use]
    pub fn checksum(self) -> [u8; 2] {
        let mut sum = self.0;
        // A carry of the first time can bring one of the second.
        for _ in 0..2 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let [low, high, ..] = sum.to_le_bytes();
        (!u16::from_le_bytes([low, high])).to_ne_bytes()
    }
}

/// What carries over added at the low end, twice, as the first time can carry again.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "below 2^32 after the second time"
)]
fn folded(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    ((sum & 0xffff_ffff) + (sum >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As RFC 1071 section 4.1 has it.
    fn reference(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!u16::try_from(sum).unwrap()).to_be_bytes()
    }

    #[test]
    fn the_example_of_the_standard() {
        // RFC 1071 section 3: the sum is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::of(&bytes).checksum(), [0x22, 0x0d]);
        assert_eq!(Sum::default().checksum(), [0xff, 0xff]);
        assert_eq!(Sum::of(&[0xff; 1472]).checksum(), [0, 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_sum_as_in_the_standard(
            bytes in proptest::collection::vec(any::<u8>(), 0..1600),
            at in 0_usize..800,
            word in any::<u16>(),
        ) {
            prop_assert_eq!(Sum::of(&bytes).checksum(), reference(&bytes));
            let (head, tail) = bytes.split_at((at * 2).min(bytes.len() / 2 * 2));
            let parts = Sum::of(head).and(Sum::of(tail)).and(Sum::word(word));
            let mut whole = word.to_be_bytes().to_vec();
            whole.extend(&bytes);
            prop_assert_eq!(parts.checksum(), reference(&whole));
        }
    }
}
