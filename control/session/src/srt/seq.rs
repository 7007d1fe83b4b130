//! Owns sequence numbers of 31 bits, which go round.

/// A data packet's sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seq(u32);

impl Seq {
    const MASK: u32 = 0x7fff_ffff;

    /// The low 31 bits of `n`.
    #[must_use]
    pub const fn new(n: u32) -> Self {
        Self(n & Self::MASK)
    }

    /// The number, below 2^31.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number `n` further on.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self::new(self.0.wrapping_add(n))
    }

    /// How far `other` lies ahead, -2^30 to 2^30 - 1; negative when it lies behind.
    #[must_use]
    pub const fn ahead_by(self, other: Self) -> i32 {
        // Bit 30 of the distance is its sign: shift it to where the type has its own.
        (other.0.wrapping_sub(self.0) << 1).cast_signed() >> 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_go_round_at_31_bits() {
        let last = Seq::new(u32::MAX);
        assert_eq!(last.get(), 0x7fff_ffff);
        assert_eq!(last.plus(3), Seq::new(2));
        assert_eq!(last.ahead_by(Seq::new(2)), 3);
        assert_eq!(Seq::new(2).ahead_by(last), -3);
        assert_eq!(
            Seq::new(5).ahead_by(Seq::new(5).plus(0x3fff_ffff)),
            0x3fff_ffff
        );
        assert_eq!(
            Seq::new(5).ahead_by(Seq::new(5).plus(0x4000_0000)),
            -0x4000_0000
        );
    }
}
