//! Owns how a core spends its time: at work, held up by a device, or free. Hot.

use crate::seat::Turn;
use link::stats::{Counter, Stats};
use wire::time::{Span, Time};

/// What the time since the last mark was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// The first mark has nothing before it.
    Unknown,
    /// A turn that found something to do, and all until the next one.
    Work,
    /// Runs wait for a device that takes no more.
    Congestion,
    /// Nothing is to be done.
    Free,
}

/// A core that sleeps is awake within this after what wakes it, also from its deepest sleep.
const AWAKE_WITHIN: Span = Span::millis(1);

/// Gives every nanosecond between two turns to one of the uses. It reads no clock itself.
///
/// What the scheduler takes away from a turn counts as work: that time is not there for viewers
/// either. So does the time in which something had come and the core was not let run: where others
/// want the same processor, one with little to do is late all the time, and hardly ever at work. A
/// look that finds nothing counts only if the core sleeps after it; one that spins looks all the
/// time.
pub(crate) struct Meter {
    mark: Time,
    since: Use,
    /// The beginning of the time before this turn, if that was free.
    free_from: Option<Time>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            mark: Time::ZERO,
            since: Use::Unknown,
            free_from: None,
        }
    }

    /// A turn begins.
    pub(crate) fn begin(&mut self, now: Time, stats: &Stats) {
        self.free_from = (self.since == Use::Free).then_some(self.mark);
        self.pass(now, self.since, stats);
        self.since = Use::Free;
    }

    /// The turn that began at `now` has received what came at `came`.
    pub(crate) fn received(&mut self, now: Time, came: Time, stats: &Stats) {
        if let Some(from) = self.free_from.take() {
            let late = now.since(came.max(from));
            if late > AWAKE_WITHIN {
                stats.add(Counter::TimeBusy, late.0);
            }
        }
    }

    /// The turn that began last did this.
    pub(crate) fn turned(&mut self, turn: Turn) {
        self.since = match (turn.worked(), turn.waiting) {
            (true, _) => Use::Work,
            (false, 0) => Use::Free,
            (false, _) => Use::Congestion,
        };
    }

    /// The core blocks now: the look that found nothing was work, what follows is not.
    pub(crate) fn rest(&mut self, now: Time, stats: &Stats) {
        self.pass(now, Use::Work, stats);
    }

    fn pass(&mut self, now: Time, was: Use, stats: &Stats) {
        let Span(ns) = now.since(self.mark);
        self.mark = now;
        let counter = match was {
            Use::Unknown => return,
            Use::Work => Some(Counter::TimeBusy),
            Use::Congestion => Some(Counter::TimeCongested),
            Use::Free => None,
        };
        stats.add(Counter::TimePassed, ns);
        if let Some(counter) = counter {
            stats.add(counter, ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::Region;
    use link::ids::CoreId;
    use link::limits::Limits;
    use proptest::prelude::*;

    const WORKED: Turn = Turn {
        received: 1,
        asked: 0,
        sent: 0,
        waiting: 0,
    };
    const FOUND_NOTHING: Turn = Turn {
        received: 0,
        asked: 0,
        sent: 0,
        waiting: 0,
    };
    const HELD_UP: Turn = Turn {
        received: 0,
        asked: 0,
        sent: 0,
        waiting: 3,
    };

    fn stats() -> Stats {
        let limits = Limits {
            cores: 1,
            streams_max: 1,
            viewers_max: 1,
            ..Limits::default()
        };
        let region = Region::create(&limits).unwrap();
        region.stats(CoreId(0)).unwrap()
    }

    fn at(us: u64) -> Time {
        Time::ZERO + Span::secs(1000) + Span::micros(us)
    }

    /// Busy, congested and passed, in microseconds.
    fn read(stats: &Stats) -> [u64; 3] {
        let counters = [
            Counter::TimeBusy,
            Counter::TimeCongested,
            Counter::TimePassed,
        ];
        counters.map(|counter| stats.read(counter) / 1000)
    }

    #[test]
    fn a_sleeper_works_from_waking_until_it_sleeps() {
        let (mut meter, stats) = (Meter::new(), stats());
        meter.begin(at(0), &stats);
        assert_eq!(read(&stats), [0, 0, 0], "what was before is not known");
        meter.turned(WORKED);
        meter.begin(at(70), &stats);
        meter.turned(FOUND_NOTHING);
        meter.rest(at(72), &stats);
        assert_eq!(read(&stats), [72, 0, 72]);
        meter.begin(at(1000), &stats);
        assert_eq!(read(&stats), [72, 0, 1000]);
    }

    #[test]
    fn who_spins_works_only_when_there_is_something() {
        let (mut meter, stats) = (Meter::new(), stats());
        for n in 0..100 {
            meter.begin(at(n * 10), &stats);
            meter.turned(if n % 10 == 0 { WORKED } else { FOUND_NOTHING });
        }
        meter.begin(at(1000), &stats);
        assert_eq!(read(&stats), [100, 0, 1000]);
    }

    #[test]
    fn waiting_for_a_device_is_not_free_time() {
        let (mut meter, stats) = (Meter::new(), stats());
        meter.begin(at(0), &stats);
        meter.turned(HELD_UP);
        meter.rest(at(5), &stats);
        meter.begin(at(900), &stats);
        assert_eq!(read(&stats), [5, 895, 900]);
    }

    #[test]
    fn who_is_not_let_run_is_not_free() {
        let (mut meter, stats) = (Meter::new(), stats());
        meter.begin(at(0), &stats);
        meter.turned(FOUND_NOTHING);
        meter.rest(at(2), &stats);
        // Awake as soon as can be.
        meter.begin(at(20_000), &stats);
        meter.received(at(20_000), at(19_950), &stats);
        meter.turned(WORKED);
        meter.begin(at(20_100), &stats);
        assert_eq!(read(&stats), [102, 0, 20_100]);
        meter.turned(FOUND_NOTHING);
        meter.rest(at(20_101), &stats);
        // Fifteen milliseconds after it was wanted.
        meter.begin(at(40_000), &stats);
        meter.received(at(40_000), at(25_000), &stats);
        meter.turned(WORKED);
        meter.begin(at(40_100), &stats);
        assert_eq!(read(&stats), [102 + 1 + 15_000 + 100, 0, 40_100]);
        // It was at work when that came, and is all the time.
        meter.turned(WORKED);
        meter.begin(at(50_000), &stats);
        meter.received(at(50_000), at(41_000), &stats);
        assert_eq!(read(&stats), [102 + 1 + 15_000 + 10_000, 0, 50_000]);
    }

    proptest! {
        #[test]
        fn no_time_is_counted_twice(
            steps in proptest::collection::vec(
                (0_u64..5000, 0_u8..3, any::<bool>(), 0_u64..50, 0_u64..9000), 1..60
            )
        ) {
            let (mut meter, stats) = (Meter::new(), stats());
            let mut now = 7;
            meter.begin(at(now), &stats);
            let start = now;
            for (passed, turn, rests, look, waited) in steps {
                let turn = [WORKED, FOUND_NOTHING, HELD_UP][usize::from(turn)];
                meter.turned(turn);
                if rests && !turn.worked() {
                    now += look;
                    meter.rest(at(now), &stats);
                }
                now += passed;
                meter.begin(at(now), &stats);
                meter.received(at(now), at(now.saturating_sub(waited)), &stats);
            }
            let [busy, congested, all] = read(&stats);
            prop_assert_eq!(all, now - start);
            prop_assert!(busy + congested <= all);
        }
    }
}
