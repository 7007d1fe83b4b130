//! Owns the watch over workers that do not turn any more.

use link::Region;
use link::ids::CoreId;
use wire::time::Time;

/// A worker that has not turned for so many looks in a row is stuck. One that lives turns ten times
/// a second; looks are counted, and not time, so that a host which stood still is not held against
/// its workers.
const LOOKS_MAX: u32 = 20;

/// What was seen of each worker.
pub struct Watch {
    workers: Vec<(Time, u32)>,
}

impl Watch {
    /// Over so many workers.
    #[must_use]
    pub fn new(cores: u16) -> Self {
        Self {
            workers: vec![(Time::ZERO, 0); usize::from(cores)],
        }
    }

    /// Looks at all of them; to be called ten times a second. Gives one that is stuck: it serves
    /// nobody, and after a while those who write the logs that it holds have to wait for it.
    pub fn look(&mut self, region: &Region) -> Option<CoreId> {
        self.see(|core| Some(region.stats(core).ok()?.heartbeat()))
    }

    fn see(&mut self, heartbeat: impl Fn(CoreId) -> Option<Time>) -> Option<CoreId> {
        let mut stuck = None;
        for (core, (seen, looks)) in (0..).map(CoreId).zip(&mut self.workers) {
            let beat = heartbeat(core).unwrap_or_default();
            *looks = if beat == *seen { *looks + 1 } else { 0 };
            *seen = beat;
            if *looks >= LOOKS_MAX {
                stuck = Some(core);
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_turn_is_found_among_others_that_do() {
        let mut watch = Watch::new(3);
        let mut look = |n: u64, turns: [bool; 3]| {
            watch.see(|core| {
                let turns = turns[usize::from(core.0)];
                Some(Time(if turns { n } else { 7 }))
            })
        };
        for n in 100..200 {
            assert_eq!(look(n, [true; 3]), None);
        }
        for n in 200..200 + u64::from(LOOKS_MAX) {
            assert_eq!(look(n, [true, false, true]), None);
        }
        assert_eq!(look(300, [true, false, true]), Some(CoreId(1)));
        // It was only late.
        assert_eq!(look(301, [true; 3]), None);
        assert_eq!(look(302, [true, false, true]), None);
    }
}
