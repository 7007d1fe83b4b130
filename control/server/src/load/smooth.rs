//! Owns the smoothing of what is measured: fast up, slow down.

use wire::time::Span;

/// A load that rises is believed to nine tenths after a second, two samples: a storm must not go on
/// for longer than that.
const UP: Span = Span::millis(450);

/// A load that falls is believed to nine tenths after seven seconds: longer than from one keyframe
/// to the next, with which it goes up and down, and than a publisher needs to come again.
const DOWN: Span = Span::millis(3000);

/// How far a sample moves a smoothed value, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Step(f64);

impl Step {
    /// The step from `old` towards `new` after `passed`.
    #[must_use]
    pub fn towards(old: f64, new: f64, passed: Span) -> Self {
        let Span(time) = if new > old { UP } else { DOWN };
        Self(1.0 - (-(passed.0 as f64) / time as f64).exp())
    }

    /// A step that is the same up and down, for what hardly changes: the slow one.
    #[must_use]
    pub fn slow(passed: Span) -> Self {
        Self::towards(1.0, 0.0, passed)
    }

    /// Where `old` gets by it.
    #[must_use]
    pub fn from(self, old: f64, new: f64) -> f64 {
        old + (new - old) * self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Steps of half a second from `from` until a tenth of the way to `to` is left.
    fn steps(from: f64, to: f64) -> u32 {
        let (mut now, mut steps) = (from, 0);
        while (to - now).abs() > (to - from).abs() / 10.0 {
            now = Step::towards(now, to, Span::millis(500)).from(now, to);
            steps += 1;
        }
        steps
    }

    #[test]
    fn up_takes_a_second_and_down_seven() {
        assert!((2..=3).contains(&steps(0.0, 1.0)), "{}", steps(0.0, 1.0));
        assert!((13..=14).contains(&steps(1.0, 0.0)), "{}", steps(1.0, 0.0));
    }

    proptest! {
        #[test]
        fn it_stays_between_old_and_new(
            old in 0.0_f64..1.0, new in 0.0_f64..1.0, ms in 0_u64..100_000
        ) {
            let now = Step::towards(old, new, Span::millis(ms)).from(old, new);
            prop_assert!(now >= old.min(new) - 1e-12 && now <= old.max(new) + 1e-12);
        }

        #[test]
        fn two_short_steps_are_one_long(
            old in 0.0_f64..1.0, new in 0.0_f64..1.0, ms in 1_u64..2000
        ) {
            let once = Step::towards(old, new, Span::millis(2 * ms)).from(old, new);
            let half = Step::towards(old, new, Span::millis(ms)).from(old, new);
            let twice = Step::towards(half, new, Span::millis(ms)).from(half, new);
            prop_assert!((once - twice).abs() < 1e-9);
        }
    }
}
