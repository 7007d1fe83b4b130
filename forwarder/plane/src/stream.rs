//! Owns what a core knows of a stream that it has viewers of or a publisher for.

use link::ids::StreamId;
use link::lanes::Lanes;
use link::log::LogReader;
use link::stats::StreamStats;
use wire::time::{Span, Time};

use crate::hearing::Hearing;
use crate::ladder::Ladder;
use crate::viewers::NONE;

/// The rates of a ladder move by half a second; every viewer asks for it ten times a second.
const LADDER_HOLDS: Span = Span::millis(20);

/// A burst that not every viewer has been served with yet. It ends at the stream's `seen`.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Position at which the burst begins.
    pub start: u64,
    /// The viewer whose turn it is.
    pub next: u32,
}

/// One stream on one core.
pub struct Stream {
    /// Which.
    pub id: StreamId,
    /// Our end of its log.
    pub reader: LogReader,
    /// Position up to which bursts have been cut.
    pub seen: u64,
    /// Where the log ended when this core came to know it.
    pub met_at: u64,
    /// The last of them, if it is under way.
    pub round: Option<Round>,
    /// A viewer in the ring of its viewers, where the next burst begins; `NONE`: no viewers.
    pub first_viewer: u32,
    /// Viewers in the ring.
    pub viewers: u32,
    /// Those among them that count with another.
    pub parts: u32,
    /// What comes of each lane.
    pub hearing: Hearing,
    /// What its viewers may be sent, and since when that is known.
    ladder: (Time, Ladder),
    /// Viewers wait for keyframes of these lanes that the log does not have.
    pub wants_key: Lanes,
    /// When a keyframe was last asked for.
    pub key_wanted_at: Time,
    /// Its counters in shared memory.
    pub stats: StreamStats,
    /// The log's head when it was found empty: closed, or being reused.
    pub barren_head: Option<u64>,
    active_at: usize,
}

impl Stream {
    /// A viewer of this stream on this core.
    pub fn any_viewer(&self) -> Option<u32> {
        (self.first_viewer != NONE).then_some(self.first_viewer)
    }

    /// Viewers as they are counted.
    pub fn watching(&self) -> u32 {
        self.viewers - self.parts
    }

    /// What its viewers may be sent now, made anew every now and then.
    pub fn ladder(&mut self, now: Time) -> &Ladder {
        let (made_at, ladder) = &mut self.ladder;
        if *made_at == Time::ZERO || now.since(*made_at) >= LADDER_HOLDS {
            (*made_at, *ladder) = (now, Ladder::of(now, &self.hearing));
        }
        ladder
    }

    /// Lets everything that is in the log be past.
    pub fn start_here(&mut self) {
        let end = self.reader.pin().range().end;
        self.seen = self.seen.max(end);
    }

    /// True if there is something to be cut for a viewer.
    #[inline]
    pub fn has_news(&self) -> bool {
        if self.viewers == 0 {
            return false;
        }
        let head = self.reader.head();
        self.round.is_some() || head != self.seen && Some(head) != self.barren_head
    }
}

/// All streams of a core.
pub struct Streams {
    slots: Box<[Option<Stream>]>,
    active: Vec<u32>,
}

impl Streams {
    /// An empty table. All allocation is here.
    pub fn new(streams_max: u32) -> Self {
        Self {
            slots: (0..streams_max).map(|_| None).collect(),
            active: Vec::with_capacity(streams_max as usize),
        }
    }

    /// The stream with this index.
    #[inline]
    pub fn at(&self, index: u32) -> Option<&Stream> {
        self.slots.get(index as usize)?.as_ref()
    }

    /// The stream with this index.
    #[inline]
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Stream> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// Indexes of the streams here, in any order.
    #[inline]
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// Enters a stream, of which everything before `seen` is past. Nothing changes if its index is
    /// out of range or taken.
    pub fn insert(&mut self, id: StreamId, reader: LogReader, stats: StreamStats, seen: u64) {
        let active_at = self.active.len();
        if let Some(slot @ None) = self.slots.get_mut(id.index as usize) {
            self.active.push(id.index);
            *slot = Some(Stream {
                id,
                reader,
                seen,
                met_at: seen,
                round: None,
                first_viewer: NONE,
                viewers: 0,
                parts: 0,
                hearing: Hearing::default(),
                ladder: (Time::ZERO, Ladder::default()),
                wants_key: Lanes::default(),
                key_wanted_at: Time::ZERO,
                stats,
                barren_head: None,
                active_at,
            });
        }
    }

    /// Forgets a stream and lets go of its log.
    pub fn remove(&mut self, index: u32) {
        let Some(gone) = self.slots.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        self.active.swap_remove(gone.active_at);
        if let Some(&moved) = self.active.get(gone.active_at)
            && let Some(moved) = self.at_mut(moved)
        {
            moved.active_at = gone.active_at;
        }
    }
}
