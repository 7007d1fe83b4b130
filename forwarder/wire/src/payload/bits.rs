//! Owns reading bits, the upper ones of a byte first. Hot.

/// Reads bits from the front.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Bits read so far.
    at: usize,
}

impl<'a> Bits<'a> {
    /// At the first bit of `bytes`.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `bits`, 16 at most. `None`: there are fewer.
    #[inline]
    pub(super) fn take(&mut self, bits: u32) -> Option<u16> {
        debug_assert!(bits <= 16, "more than fits");
        let end = self.at + bits as usize;
        if end > self.bytes.len() * 8 {
            return None;
        }
        // The bits are within three bytes.
        let byte = |nth: usize| self.bytes.get(self.at / 8 + nth).copied().unwrap_or(0);
        let window = u32::from_be_bytes([byte(0), byte(1), byte(2), 0]);
        let value = window << (self.at % 8) >> 16;
        self.at = end;
        // Sixteen bits are left, of which the upper ones are wanted.
        u16::try_from(value >> (16 - bits.min(16))).ok()
    }

    /// The next bit.
    #[inline]
    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.take(1)? != 0)
    }

    /// The next `bits`, 8 at most.
    #[inline]
    pub(super) fn byte(&mut self, bits: u32) -> Option<u8> {
        u8::try_from(self.take(bits)?).ok()
    }

    /// A number below `below`, which takes a bit less where it is small: `ns(n)` of the AV1
    /// bitstream's section 4.10.7. `below` is 1 to 128.
    #[inline]
    pub(super) fn below(&mut self, below: u8) -> Option<u8> {
        let width = u8::BITS - below.leading_zeros();
        let short = (1_u16 << width) - u16::from(below);
        let value = self.take(width.saturating_sub(1))?;
        if value < short {
            return u8::try_from(value).ok();
        }
        u8::try_from((value << 1) - short + self.take(1)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_taken_from_the_upper_end() {
        let mut bits = Bits::new(&[0b1010_0110, 0xff, 0x01]);
        assert_eq!(bits.take(0), Some(0));
        assert_eq!(bits.take(3), Some(0b101));
        assert_eq!(bits.flag(), Some(false));
        assert_eq!(bits.byte(2), Some(0b01));
        assert_eq!(bits.take(16), Some(0b1011_1111_1100_0000));
        assert_eq!(bits.take(3), None);
        assert_eq!(bits.take(2), Some(1));
        assert_eq!(bits.take(1), None);
        assert_eq!(bits.take(0), Some(0));
    }

    #[test]
    fn small_numbers_take_a_bit_less() {
        // Of five: 00, 01, 10, 110, 111.
        let mut bits = Bits::new(&[0b0001_1011, 0b0111_0000]);
        let numbers: Vec<_> = core::iter::from_fn(|| bits.below(5)).take(5).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        // Of one: no bit at all.
        assert_eq!(Bits::new(&[]).below(1), Some(0));
        assert_eq!(Bits::new(&[0b1000_0000]).below(2), Some(1));
    }
}
