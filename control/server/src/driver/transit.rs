//! Owns how long media packets were inside of late: what workers have counted since a minute ago.

use crate::control::TransitView;
use link::region::Region;
use link::stats::Stats;
use link::transit::{Distribution, ENTRIES};
use std::collections::VecDeque;
use wire::time::{Span, Time};

/// What is shown is of so long, and at most of [`STEP`] more.
const WINDOW: Span = Span::secs(60);

/// From one look at the workers to the next.
const STEP: Span = Span::secs(10);

/// Looks that are kept: 6 KB for each worker and look.
const LOOKS_MAX: usize = 7;
const _: () = assert!(STEP.0 * (LOOKS_MAX as u64 - 1) == WINDOW.0);

/// What one worker has counted, by the places of [`ENTRIES`].
pub type Counted = [Distribution; ENTRIES.len()];

/// What workers had counted at some moments of the last minute.
#[derive(Default)]
pub struct Transits {
    looks: VecDeque<Vec<Counted>>,
    look_at: Time,
}

impl Transits {
    /// Looks at the workers if it is time.
    pub fn look(&mut self, now: Time, workers: impl Iterator<Item = Stats>) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + STEP;
        if self.looks.len() == LOOKS_MAX {
            self.looks.pop_front();
        }
        self.looks.push_back(workers.map(|of| read(&of)).collect());
    }

    /// What a worker has counted of late, of `now` that it has counted in all.
    pub fn of_late(&self, core: usize, mut now: Counted) -> Counted {
        let before = self.looks.front().and_then(|look| look.get(core));
        for (now, before) in now.iter_mut().zip(before.into_iter().flatten()) {
            *now = now.since(before);
        }
        now
    }
}

/// All that a worker has counted.
pub fn read(stats: &Stats) -> Counted {
    ENTRIES.map(|(entry, _)| stats.transit(entry))
}

/// The statistics of all workers.
pub fn workers(region: &Region) -> impl Iterator<Item = Stats> {
    let cores = (0..region.limits().cores).map(link::ids::CoreId);
    cores.filter_map(|core| region.stats(core).ok())
}

/// What is shown of it; of what nothing came, nothing.
pub fn views(counted: &Counted) -> Vec<TransitView> {
    let named = ENTRIES.iter().zip(counted);
    named
        .filter_map(|((_, name), of)| {
            let us = |share| Some(of.quantile(share)?.0.div_ceil(1000));
            Some(TransitView {
                entry: (*name).to_owned(),
                packets: of.count(),
                p50_us: us(0.5)?,
                p99_us: us(0.99)?,
                p999_us: us(0.999)?,
                max_us: us(1.0)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use link::ids::CoreId;
    use link::limits::Limits;
    use link::log::Entry;

    fn region() -> Region {
        Region::create(&Limits {
            cores: 2,
            streams_max: 1,
            viewers_max: 1,
            ..Limits::default()
        })
        .unwrap()
    }

    #[test]
    fn figures_are_of_the_last_minute() {
        let region = region();
        let worker = region.stats(CoreId(1)).unwrap();
        let mut transits = Transits::default();
        let mut now = Time::ZERO + Span::secs(5);
        for _ in 0..100 {
            worker.add_transit(Entry::Network, Span::millis(900));
        }
        transits.look(now, workers(&region));
        let late = transits.of_late(1, read(&worker));
        assert!(views(&late).is_empty(), "{late:?}");
        for _ in 0..98 {
            worker.add_transit(Entry::Network, Span::micros(20));
        }
        for _ in 0..2 {
            worker.add_transit(Entry::Network, Span::millis(2));
        }
        let shown = views(&transits.of_late(1, read(&worker)));
        let [view] = &shown[..] else {
            panic!("{shown:?}");
        };
        assert_eq!((&view.entry[..], view.packets), ("network", 100));
        assert!((20..=22).contains(&view.p50_us), "{view:?}");
        assert!((2_000..=2_126).contains(&view.p99_us), "{view:?}");
        assert!((2_000..=2_126).contains(&view.max_us), "{view:?}");
        let other = region.stats(CoreId(0)).unwrap();
        assert!(views(&transits.of_late(0, read(&other))).is_empty());
        // A minute later they are of the past.
        for _ in 0..7 {
            now = now + STEP;
            transits.look(now, workers(&region));
            assert!(transits.looks.len() <= LOOKS_MAX);
        }
        assert!(views(&transits.of_late(1, read(&worker))).is_empty());
    }
}
