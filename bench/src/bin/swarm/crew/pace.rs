//! Owns the times at which something happens again and again.

use std::time::{Duration, Instant};

/// Something that happens so many times a second.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub per_second: f64,
    pub left: u64,
    pub next: Instant,
}

impl Pace {
    /// How many are due.
    pub fn due(&mut self, now: Instant) -> u64 {
        let mut count = 0;
        while self.left > 0 && self.next <= now {
            self.left -= 1;
            count += 1;
            if self.per_second > 0.0 {
                self.next += Duration::from_secs_f64(1.0 / self.per_second);
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_at_its_rate() {
        let next = Instant::now();
        let mut pace = Pace {
            per_second: 100.0,
            left: 50,
            next,
        };
        let at = |ms| next + Duration::from_millis(ms);
        assert_eq!((pace.due(at(0)), pace.due(at(5))), (1, 0));
        assert_eq!(pace.due(at(95)), 9);
        assert_eq!((pace.due(at(10_000)), pace.due(at(20_000))), (40, 0));
        let mut at_once = Pace {
            per_second: 0.0,
            left: 7,
            next,
        };
        assert_eq!(at_once.due(at(0)), 7);
    }
}
