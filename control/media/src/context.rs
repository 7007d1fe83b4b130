//! Owns what both tracks of an ingest share while a PES packet is worked on.

use crate::clock::{Mapped, Timeline};
use crate::notice::Notice;
use crate::outbox::Outbox;
use crate::output::{Config, Counters, Track};
use wire::time::Time;

/// What a track needs to turn a PES packet into frames.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) config: &'a Config,
    pub(crate) timeline: &'a mut Timeline,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) counters: &'a mut Counters,
    /// RTP timestamps of timeline zero, by track.
    pub(crate) bases: [u32; 2],
    /// The description of a track changed.
    pub(crate) dirty: &'a mut bool,
}

impl Context<'_> {
    /// Places a stamp on the timeline; tells of a jump.
    pub(crate) fn place(&mut self, track: Track, stamp: u64) -> Mapped {
        let mapped = self.timeline.place(track, stamp, self.now);
        if let Some(ticks) = mapped.jumped {
            self.tell(Notice::TimestampsJumped {
                track,
                millis: ticks / 90,
            });
        }
        mapped
    }

    /// Tells the publisher, unless it was told lately.
    pub(crate) fn tell(&mut self, notice: Notice) {
        self.outbox.tell(self.now, notice);
    }
}
