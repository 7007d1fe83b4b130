//! Owns what a worker has heard of a publisher that the next worker must know: which source is
//! which, and how far its packets have been counted (RFC 3711 section 3.3.1: the roll-over counter
//! is not in the packets).

use crate::ids::ViewerId;
use crate::lanes::LANES_MAX;
use crate::sync::Shared;
use core::sync::atomic::{AtomicU64, Ordering};

/// Sources of a publisher: of the media of each lane, and of its repairs.
const SOURCES: usize = 2 * LANES_MAX;

/// Whoever publishes without a viewer, of whom a stream has one at a time.
const NO_VIEWER: u64 = u64::MAX;

/// Nobody has been heard.
const NOBODY: u64 = 0;

/// One source of a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardSource {
    /// The lane that it is of.
    pub lane: usize,
    /// It carries the repairs of that lane (RFC 4588).
    pub is_rtx: bool,
    /// Its SSRC; never 0.
    pub ssrc: u32,
    /// The highest SRTP index of it: 48 bits.
    pub index: u64,
}

/// In shared memory, beside a log. The worker that writes the log.
#[derive(zerocopy::FromBytes)]
#[repr(C, align(64))]
pub(crate) struct HeardCell {
    by: AtomicU64,
    spare: [u64; 7],
    /// The SSRC, 0 if there is none, then the index; lane by lane, repairs behind the media.
    sources: [[AtomicU64; 2]; SOURCES],
}

/// What was heard of the publisher of one stream.
#[derive(Clone)]
pub struct Heard {
    cell: Shared<HeardCell>,
}

impl Heard {
    pub(crate) fn new(cell: Shared<HeardCell>) -> Self {
        Self { cell }
    }

    /// From now on it is of the publisher that comes by this viewer, or by none: if it was not, it
    /// is forgotten.
    pub fn begin(&self, by: Option<ViewerId>) {
        let name = by.map_or(NO_VIEWER, |id| {
            u64::from(id.generation) << 32 | u64::from(id.index)
        });
        if self.cell.by.load(Ordering::Acquire) != name {
            self.forget();
            self.cell.by.store(name, Ordering::Release);
        }
    }

    /// Forgets everything: the publisher has gone.
    pub fn forget(&self) {
        self.cell.by.store(NOBODY, Ordering::Release);
        for [word, _] in &self.cell.sources {
            word.store(0, Ordering::Release);
        }
    }

    /// Puts down a source; one of no lane is ignored. No place ever holds the name of one source
    /// and the index of another.
    pub fn set(&self, source: &HeardSource) {
        let place = 2 * source.lane + usize::from(source.is_rtx);
        let Some([ssrc, index]) = self.cell.sources.get(place) else {
            return;
        };
        let name = u64::from(source.ssrc);
        if ssrc.load(Ordering::Relaxed) != name {
            ssrc.store(0, Ordering::Release);
        }
        index.store(source.index, Ordering::Release);
        ssrc.store(name, Ordering::Release);
    }

    /// All sources that were put down.
    pub fn sources(&self) -> impl Iterator<Item = HeardSource> {
        let places = self.cell.sources.iter().enumerate();
        places.filter_map(|(place, [ssrc, index])| {
            let ssrc = u32::try_from(ssrc.load(Ordering::Acquire)).ok();
            Some(HeardSource {
                lane: place / 2,
                is_rtx: place % 2 == 1,
                ssrc: ssrc.filter(|ssrc| *ssrc != 0)?,
                index: index.load(Ordering::Acquire),
            })
        })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::region::Region;

    #[test]
    fn what_was_heard_is_of_one_publisher() {
        let region = Region::create(&Limits::default()).unwrap();
        let stream = region.open_stream(2, "live").unwrap();
        let heard = region.heard(stream).unwrap();
        let viewer = |generation| {
            Some(ViewerId {
                index: 0,
                generation,
            })
        };
        let media = HeardSource {
            lane: LANES_MAX - 1,
            is_rtx: true,
            ssrc: u32::MAX,
            index: (1 << 48) - 1,
        };
        let other = HeardSource {
            lane: 0,
            is_rtx: false,
            ssrc: 5,
            index: 70_000,
        };
        let nowhere = HeardSource {
            lane: LANES_MAX,
            ..other
        };
        heard.begin(viewer(1));
        [media, other, nowhere]
            .iter()
            .for_each(|one| heard.set(one));
        // The next worker, of the same publisher.
        let next = region.heard(stream).unwrap();
        next.begin(viewer(1));
        assert_eq!(next.sources().collect::<Vec<_>>(), [other, media]);
        for another in [viewer(2), None] {
            next.begin(another);
            assert_eq!(next.sources().count(), 0);
            next.set(&other);
        }
        next.forget();
        assert_eq!(next.sources().count(), 0);
        next.begin(None);
        next.set(&other);
        // Another stream of the same place knows nothing of it.
        region.close_stream(stream).unwrap();
        let stream = region.open_stream(2, "other").unwrap();
        assert_eq!(region.heard(stream).unwrap().sources().count(), 0);
    }
}
