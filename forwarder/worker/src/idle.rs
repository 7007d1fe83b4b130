//! Owns what a core does when there is nothing to do: spin for a while, or sleep at once. Hot.

use crossbeam::utils::Backoff;
use wire::time::{Span, Time};

/// How a worker waits for work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Gives the processor away at once. A wake-up costs some 20 microseconds of latency.
    #[default]
    Sleep,
    /// Looks again and again for this long after the last work, then sleeps. For cores that do
    /// nothing else: it saves the wake-up and burns the processor.
    Spin(Span),
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Turn round.
    None,
    /// Block until woken or the deadline.
    Sleep,
}

/// Decides between turns.
pub(crate) struct Idler {
    idle: Idle,
    worked: Time,
    backoff: Backoff,
}

impl Idler {
    pub(crate) fn new(idle: Idle) -> Self {
        Self {
            idle,
            worked: Time::ZERO,
            backoff: Backoff::new(),
        }
    }

    /// After a turn that began at `now` and has `worked` or not.
    pub(crate) fn after(&mut self, now: Time, worked: bool) -> Rest {
        if worked {
            self.worked = now;
            self.backoff.reset();
            return Rest::None;
        }
        match self.idle {
            Idle::Spin(budget) if now.since(self.worked) < budget => {
                // At most 64 pauses, about a microsecond; the other thread of the processor runs.
                self.backoff.spin();
                Rest::None
            }
            _ => Rest::Sleep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Time {
        Time::ZERO + Span::micros(us)
    }

    #[test]
    fn spinning_ends_with_its_budget() {
        let mut idler = Idler::new(Idle::Spin(Span::micros(50)));
        assert_eq!(idler.after(at(100), true), Rest::None);
        assert_eq!(idler.after(at(149), false), Rest::None);
        assert_eq!(idler.after(at(150), false), Rest::Sleep);
        assert_eq!(idler.after(at(151), true), Rest::None);
        assert_eq!(idler.after(at(152), false), Rest::None);
    }

    #[test]
    fn a_sleeper_sleeps_when_there_is_nothing() {
        let mut idler = Idler::new(Idle::Sleep);
        assert_eq!(idler.after(at(1), true), Rest::None);
        assert_eq!(idler.after(at(1), false), Rest::Sleep);
    }
}
