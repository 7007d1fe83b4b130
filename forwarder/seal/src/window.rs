//! Owns the replay window: which of the last indices were accepted. Hot.

use crate::refusal::Refusal;

/// The highest accepted index and a bit for each of the `64 * WORDS` indices up to it.
///
/// A ring of bits, the bit of an index at `index % (64 * WORDS)`: nothing is ever shifted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<const WORDS: usize> {
    highest: u64,
    words: [u64; WORDS],
}

impl<const WORDS: usize> Window<WORDS> {
    const BITS: u64 = 64 * WORDS as u64;

    /// A window whose highest index is `first`, not accepted yet. What lies before is not either:
    /// packets overtake each other at the start as well.
    pub fn starting_at(first: u64) -> Self {
        Self {
            highest: first,
            words: [0; WORDS],
        }
    }

    /// A window that takes only what is above `highest`.
    pub fn resumed_at(highest: u64) -> Self {
        Self {
            highest,
            words: [u64::MAX; WORDS],
        }
    }

    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The bits, for another window to go on with.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Where it stands and its bits.
    pub fn each_word(&mut self, mut word: impl FnMut(&mut u64)) {
        word(&mut self.highest);
        self.words.iter_mut().for_each(word);
    }

    /// The window that had these bits. Of another size, it takes only what is above `highest`.
    pub fn restored(highest: u64, words: &[u64]) -> Self {
        match words.try_into() {
            Ok(words) => Self { highest, words },
            Err(_) => Self::resumed_at(highest),
        }
    }

    /// Whether `index` is new.
    pub fn check(&self, index: u64) -> Result<(), Refusal> {
        if index > self.highest {
            return Ok(());
        }
        if self.highest - index >= Self::BITS {
            return Err(Refusal::Old);
        }
        let (word, bit) = Self::place(index);
        if self.words[word] & bit != 0 {
            Err(Refusal::Replay)
        } else {
            Ok(())
        }
    }

    /// Notes `index`, which passed [`check`](Self::check) and whose packet verified.
    pub fn accept(&mut self, index: u64) {
        if index > self.highest {
            self.advance(index);
        }
        let (word, bit) = Self::place(index);
        self.words[word] |= bit;
    }

    /// Clears the bits of the indices behind `highest` up to `to`. At most `WORDS + 1` turns.
    fn advance(&mut self, to: u64) {
        if to - self.highest >= Self::BITS {
            self.words = [0; WORDS];
        } else {
            let mut at = self.highest + 1;
            while at <= to {
                let (word, bit) = Self::place(at);
                let span = (64 - at % 64).min(to - at + 1);
                // `span` bits from `bit` upwards; `bit * (2^span - 1)` without the overflow.
                let mask = (u64::MAX >> (64 - span)) * bit;
                self.words[word] &= !mask;
                at += span;
            }
        }
        self.highest = to;
    }

    fn place(index: u64) -> (usize, u64) {
        let word = (index / 64 % WORDS as u64) as usize;
        (word, 1 << (index % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn take<const W: usize>(window: &mut Window<W>, index: u64) -> Result<(), Refusal> {
        window.check(index)?;
        window.accept(index);
        Ok(())
    }

    #[test]
    fn takes_each_index_once() {
        let mut window = Window::<16>::starting_at(5000);
        assert_eq!(take(&mut window, 5000), Ok(()));
        assert_eq!(take(&mut window, 5000), Err(Refusal::Replay));
        assert_eq!(take(&mut window, 3977), Ok(()));
        assert_eq!(take(&mut window, 3976), Err(Refusal::Old));
        assert_eq!(take(&mut window, 5001), Ok(()));
        assert_eq!(take(&mut window, 3977), Err(Refusal::Old));
        assert_eq!(take(&mut window, 1 << 40), Ok(()));
        assert_eq!(take(&mut window, 5002), Err(Refusal::Old));
        assert_eq!(take(&mut window, (1 << 40) - 1), Ok(()));
    }

    #[test]
    fn resumed_takes_only_what_is_new() {
        let mut window = Window::<1>::resumed_at(100);
        assert_eq!(take(&mut window, 100), Err(Refusal::Replay));
        assert_eq!(take(&mut window, 37), Err(Refusal::Replay));
        assert_eq!(take(&mut window, 36), Err(Refusal::Old));
        assert_eq!(take(&mut window, 103), Ok(()));
        assert_eq!(take(&mut window, 102), Ok(()));
        assert_eq!(take(&mut window, 99), Err(Refusal::Replay));
    }

    /// Against a set of everything ever accepted.
    fn agrees_with_a_set<const W: usize>(first: u64, steps: &[i64]) {
        let mut window = Window::<W>::starting_at(first);
        let mut seen = HashSet::new();
        let mut highest = first;
        for &step in steps {
            let Some(index) = highest.checked_add_signed(step) else {
                continue;
            };
            let expected = if index <= highest && highest - index >= 64 * W as u64 {
                Err(Refusal::Old)
            } else if seen.contains(&index) {
                Err(Refusal::Replay)
            } else {
                Ok(())
            };
            assert_eq!(
                take(&mut window, index),
                expected,
                "index {index}, highest {highest}"
            );
            if expected.is_ok() {
                seen.insert(index);
                highest = highest.max(index);
            }
            assert_eq!(window.highest(), highest);
        }
    }

    fn step() -> impl Strategy<Value = i64> {
        prop_oneof![4 => -4..4_i64, 2 => -80..80_i64, 1 => -1100..1100_i64, 1 => -5000..5000_i64]
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(
            first in 0..1_u64 << 47,
            steps in prop::collection::vec(step(), 1..600),
        ) {
            agrees_with_a_set::<1>(first, &steps);
            agrees_with_a_set::<16>(first, &steps);
        }
    }
}
