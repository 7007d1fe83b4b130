//! Owns what a core knows of a stream that it has viewers of or a publisher for.

use link::command::AUDIO;
use link::ids::StreamId;
use link::lanes::{LANES_MAX, LAYERS, LAYERS_MAX, Lanes};
use link::log::LogReader;
use link::stats::StreamStats;
use wire::time::{Span, Time};

use crate::pace::Rate;
use crate::viewers::NONE;

/// A layer of which nothing came for so long is off. The lowest frame rates of browsers' layers are
/// some 5 a second.
pub const LAYER_SILENT: Span = Span::millis(750);

/// See [`Hearing::rank`].
const RANK_MARGIN: u64 = 2;

/// What comes of each lane of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Hearing {
    rates: [Rate; LANES_MAX],
    /// When something was cut last.
    heard_at: [Time; LANES_MAX],
    /// Since when this has been going on without a break.
    began_at: Time,
    /// The layers by their rates, the lowest first.
    ranked: [usize; LAYERS_MAX],
}

impl Default for Hearing {
    /// Nothing yet: ranked as browsers name their encodings.
    fn default() -> Self {
        Self {
            rates: [Rate::default(); LANES_MAX],
            heard_at: [Time::ZERO; LANES_MAX],
            began_at: Time::ZERO,
            ranked: LAYERS,
        }
    }
}

impl Hearing {
    /// Notes payload bytes by lane.
    pub fn note(&mut self, now: Time, bytes: [u64; LANES_MAX]) {
        if self.layers(now).is_empty() {
            self.began_at = now;
        }
        for (lane, bytes) in bytes.into_iter().enumerate() {
            if bytes > 0 {
                self.rates[lane].add(now, bytes);
                self.heard_at[lane] = now;
            }
        }
        self.rank();
    }

    /// True once it has been going on for so long that no layer that is sent is missing.
    pub fn is_settled(&self, now: Time) -> bool {
        self.began_at != Time::ZERO && now.since(self.began_at) >= LAYER_SILENT
    }

    /// Neighbours change places when one is clearly above the other: rates move by a part of
    /// themselves all the time, and layers are apart by a factor.
    fn rank(&mut self) {
        for at in 1..LAYERS_MAX {
            let [below, above] = [self.ranked[at - 1], self.ranked[at]];
            let rate = self.lane_bytes_per_s(above);
            if rate > 0 && self.lane_bytes_per_s(below) > rate * RANK_MARGIN {
                self.ranked.swap(at - 1, at);
            }
        }
    }

    /// The lanes of layers by their rates, the lowest first.
    pub const fn ranked(&self) -> [usize; LAYERS_MAX] {
        self.ranked
    }

    /// Bytes a second of one lane.
    pub fn lane_bytes_per_s(&self, lane: usize) -> u64 {
        self.rates.get(lane).map_or(0, Rate::bytes_per_s)
    }

    /// Bytes a second of what a viewer gets that watches this lane.
    pub fn bytes_per_s(&self, lane: u8) -> u64 {
        self.lane_bytes_per_s(usize::from(lane)) + self.rates[AUDIO].bytes_per_s()
    }

    /// The layers that the publisher sends now. One that is silent while others are not has been
    /// switched off, as browsers do when their uplink is too narrow.
    pub fn layers(&self, now: Time) -> Lanes {
        let mut layers = Lanes::default();
        for lane in LAYERS {
            let heard_at = self.heard_at[lane];
            if heard_at != Time::ZERO && now.since(heard_at) < LAYER_SILENT {
                layers = layers.with(lane);
            }
        }
        layers
    }
}

/// One stream on one core.
pub struct Stream {
    /// Which.
    pub id: StreamId,
    /// Our end of its log.
    pub reader: LogReader,
    /// Position up to which bursts have been cut.
    pub seen: u64,
    /// A viewer in the ring of its viewers, where the next burst begins; `NONE`: no viewers.
    pub first_viewer: u32,
    /// Viewers in the ring.
    pub viewers: u32,
    /// What comes of each lane.
    pub hearing: Hearing,
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
        head != self.seen && Some(head) != self.barren_head
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
                first_viewer: NONE,
                viewers: 0,
                hearing: Hearing::default(),
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
