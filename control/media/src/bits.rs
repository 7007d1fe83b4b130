//! Owns reading bits and Exp-Golomb codes from parameter sets, slice headers and AAC headers.

/// Most bits of one Exp-Golomb code that we follow; longer ones cannot be valid 32-bit values.
const GOLOMB_ZEROS_MAX: u32 = 32;

/// Reads bits, most significant first. `None` from every method: the bytes have run out.
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Skip `03` of `00 00 03`, as NAL units carry them (H.264 section 7.4.1).
    emulation: bool,
    zeros: u8,
}

impl<'a> Bits<'a> {
    /// Bits of plain bytes.
    pub(crate) const fn plain(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            emulation: false,
            zeros: 0,
        }
    }

    /// Bits of a NAL unit's payload, emulation prevention removed.
    pub(crate) const fn rbsp(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            emulation: true,
            zeros: 0,
        }
    }

    /// Bits consumed so far.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    /// One bit.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        if self.at.is_multiple_of(8) {
            self.enter_byte()?;
        }
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `n` bits, 0 to 32.
    pub(crate) fn uint(&mut self, n: u32) -> Option<u32> {
        debug_assert!(n <= 32);
        let mut value = 0u32;
        for _ in 0..n {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Passes over `n` bits.
    pub(crate) fn skip(&mut self, n: usize) -> Option<()> {
        if self.emulation {
            for _ in 0..n {
                self.flag()?;
            }
            return Some(());
        }
        let end = self.at.checked_add(n)?;
        if end > self.bytes.len() * 8 {
            return None;
        }
        self.at = end;
        Some(())
    }

    /// An unsigned Exp-Golomb code, `ue(v)` of H.264 section 9.1.
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros >= GOLOMB_ZEROS_MAX {
                return None;
            }
        }
        let tail = self.uint(zeros)?;
        Some((1u32 << zeros) - 1 + tail)
    }

    /// Called at each byte boundary: steps over an emulation prevention byte.
    fn enter_byte(&mut self) -> Option<()> {
        let byte = *self.bytes.get(self.at / 8)?;
        if !self.emulation {
            return Some(());
        }
        if self.zeros >= 2 && byte == 3 {
            self.at += 8;
            self.zeros = u8::from(*self.bytes.get(self.at / 8)? == 0);
        } else {
            self.zeros = if byte == 0 {
                self.zeros.saturating_add(1)
            } else {
                0
            };
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn reads_exp_golomb_table() {
        // 1 010 011 00100 00101, the first rows of table 9-2 in H.264.
        let mut bits = Bits::plain(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        for expected in 0..5 {
            assert_eq!(bits.ue(), Some(expected));
        }
    }

    #[test]
    fn removes_emulation_prevention() {
        let mut bits = Bits::rbsp(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 2]);
        let bytes: Vec<_> = core::iter::from_fn(|| bits.uint(8)).collect();
        assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn ends_quietly() {
        let mut bits = Bits::plain(&[0; 3]);
        assert_eq!(bits.ue(), None);
        assert_eq!(Bits::plain(&[0; 100]).ue(), None);
        assert_eq!(Bits::plain(&[]).flag(), None);
        assert_eq!(Bits::plain(&[1]).skip(9), None);
    }
}
