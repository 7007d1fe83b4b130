//! Owns the pace of a drain: how many viewers are asked to leave now, so that they do not all come
//! to the next node at once.

use super::Order;
use wire::time::{Span, Time};

/// The least that is asked a second when the pace follows from the time: a few viewers are not
/// kept waiting for the sake of a pace that nobody needs. Every node takes so many newcomers.
const PER_S_MIN: u64 = 50;

/// By then all have been asked: this part of the time, and the rest is for them to go.
const ASKED_BY: (u64, u64) = (3, 4);

/// What was missed while nobody looked is made up for as far as it is of this long.
const CATCH_UP_MAX: Span = Span::secs(1);

const NS_PER_S: u64 = 1_000_000_000;

/// When whom.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Everything up to here has been counted.
    counted: Time,
    /// Viewers times nanoseconds: what is due and is not a whole viewer yet.
    credit: u64,
}

impl Pace {
    /// Begins now.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self {
            counted: now,
            credit: 0,
        }
    }

    /// How many of the `waiting` are to be asked now. `per_s`: how many a second; 0: as the time
    /// demands.
    pub fn due(&mut self, now: Time, order: &Order, waiting: u64, per_s: u32) -> u64 {
        let passed = now.since(self.counted).0.min(CATCH_UP_MAX.0);
        let per_s = match per_s {
            0 => by_time(self.counted, order, waiting),
            set => set.into(),
        };
        self.counted = now;
        let credit = self.credit.saturating_add(per_s.saturating_mul(passed));
        let due = (credit / NS_PER_S).min(waiting);
        // Nothing is saved up while nobody waits.
        self.credit = match waiting {
            0 => 0,
            _ => (credit - due * NS_PER_S).min(NS_PER_S),
        };
        due
    }
}

/// So many a second from `then` on, that all who wait have been asked in time; those who come later
/// within a second.
fn by_time(then: Time, order: &Order, waiting: u64) -> u64 {
    let (part, whole) = ASKED_BY;
    let time = order.deadline.since(order.begun).0 / whole * part;
    // Milliseconds: a million viewers times the nanoseconds of a second would just fit.
    let left_ms = match (order.begun + Span(time)).since(then) {
        Span::ZERO => 1000,
        left => left.as_millis().max(1),
    };
    let per_s = waiting.saturating_mul(1000).div_ceil(left_ms);
    per_s.max(PER_S_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Span = Span::millis(100);

    /// Asks `viewers` from the begin to the deadline: how many had been asked after each second.
    fn asked(viewers: u64, secs: u64, per_s: u32) -> Vec<u64> {
        let start = Time::ZERO + Span::secs(1000);
        let order = Order::new(start, Span::secs(secs));
        let (mut pace, mut now, mut waiting) = (Pace::new(start), start, viewers);
        let mut all = Vec::new();
        while now < order.deadline {
            now = now + LOOK;
            waiting -= pace.due(now, &order, waiting, per_s);
            if now.since(start).0 % NS_PER_S == 0 {
                all.push(viewers - waiting);
            }
        }
        all
    }

    #[test]
    fn many_are_asked_evenly_and_in_time() {
        let all = asked(20_000, 40, 0);
        for (second, asked) in (1_u64..=30).zip(&all) {
            let even = 20_000 * second / 30;
            assert!(asked.abs_diff(even) < 200, "{asked} after {second} s");
        }
        assert_eq!(all[29..], [20_000; 11]);
        // Also where the numbers are great.
        assert_eq!(asked(1_000_000, 86_400, 0).last(), Some(&1_000_000));
    }

    #[test]
    fn a_few_are_not_kept_waiting() {
        assert_eq!(asked(30, 25, 0)[0], 30);
        assert_eq!(asked(120, 25, 0)[..3], [50, 100, 120]);
    }

    #[test]
    fn a_pace_that_is_set_is_kept() {
        assert_eq!(asked(30, 10, 4)[..3], [4, 8, 12]);
        assert_eq!(asked(1000, 5, 7).last(), Some(&35));
    }

    #[test]
    fn what_was_missed_is_not_made_up_for_at_once() {
        let start = Time::ZERO + Span::secs(9);
        let order = Order::new(start, Span::secs(600));
        let mut pace = Pace::new(start);
        assert_eq!(pace.due(start + Span::secs(60), &order, 500, 20), 20);
        // Nor is anything saved up by waiting for somebody.
        assert_eq!(pace.due(start + Span::secs(61), &order, 0, 20), 0);
        assert_eq!(pace.due(start + Span::millis(61_050), &order, 9, 20), 1);
    }

    #[test]
    fn who_comes_late_is_asked_soon() {
        let start = Time::ZERO + Span::secs(9);
        let order = Order::new(start, Span::secs(4));
        let mut pace = Pace::new(start + Span::millis(3900));
        assert_eq!(pace.due(order.deadline, &order, 400, 0), 40);
        assert_eq!(
            pace.due(order.deadline + Span::secs(1), &order, 360, 0),
            360
        );
    }
}
