//! Owns a bit for each index of the window of packets out of order. Hot.

use super::{WORDS, at};

/// A bit for each index of a window.
#[derive(Clone, Copy, Default)]
pub(super) struct Bits(pub(super) [u64; WORDS]);

impl Bits {
    #[inline]
    pub(super) fn has(&self, index: u64) -> bool {
        let at = at(index);
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    #[inline]
    pub(super) fn set(&mut self, index: u64, value: bool) {
        let at = at(index);
        let bit = 1 << (at % 64);
        if value {
            self.0[at / 64] |= bit;
        } else {
            self.0[at / 64] &= !bit;
        }
    }

    /// How many are set.
    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The first bit that is set from `from` to before `to`, a window later at most.
    pub(super) fn first(&self, from: u64, to: u64) -> Option<u64> {
        let mut index = from;
        while index < to {
            let place = at(index);
            let rest = self.0[place / 64] >> (place % 64);
            if rest != 0 {
                let found = index + u64::from(rest.trailing_zeros());
                return (found < to).then_some(found);
            }
            index += 64 - (place % 64) as u64;
        }
        None
    }
}
