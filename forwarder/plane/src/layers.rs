//! Owns which layer of a stream each viewer is sent, and the probes that find out whether a better
//! one would fit.
//!
//! The layers of a stream are ranked by what they cost, as publishers name them in any order.

use link::command::VIDEO;
use link::lanes::LAYERS_MAX;
use link::stats::Counter;
use wire::datagram::Egress;
use wire::rtcp::Item;
use wire::rtcp_feedback::{Message, TransportCc};
use wire::time::{Span, Time};

use crate::Plane;
use crate::estimate::{Choice, Estimator, LayerRate};
use crate::fanout::{Tables, Turn};
use crate::repair::resend_newest;
use crate::stream::Stream;
use crate::viewer::{Phase, Viewer};

/// What a path is taken for before anything is known: enough for the middle one of the three layers
/// that browsers send, and little enough for most mobile networks.
pub const START_BPS: u64 = 1_000_000;

/// A layer that was asked for and has not come is asked for again after this.
const ASK_AGAIN: Span = Span::secs(2);

/// A keyframe so young is good enough to change to its layer: at 30 frames a second nine pictures
/// are sent twice, at once. All viewers have been asked for their choice once in half of it.
const FRESH: Span = Span::millis(300);

/// From one portion of a probe to the next.
pub const PROBE_PACE: Span = Span::millis(2);

/// No adaptation.
pub const NONE: u32 = u32::MAX;

/// What is known of the path of one viewer of a stream with layers.
pub struct Adaptation {
    /// What the path carries.
    pub estimator: Estimator,
    choice: Choice,
    /// What it would be good to know of the path.
    wanted_bps: Option<u64>,
    /// When the layer that is waited for was asked for last.
    asked_at: Time,
    is_probing: bool,
}

/// The adaptations of a core. Memory is touched only as far as there have been so many at once.
pub struct Adaptations {
    all: Vec<Adaptation>,
    free: Vec<u32>,
    /// Slots of viewers that are being probed.
    probing: Vec<u32>,
}

impl Adaptations {
    /// Bytes of one.
    pub const MEMORY_BYTES: usize = size_of::<Adaptation>();

    /// None. All allocation is here.
    pub fn new(viewers_max: u32) -> Self {
        let capacity = viewers_max as usize;
        Self {
            all: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            probing: Vec::with_capacity(capacity),
        }
    }

    /// That of a viewer.
    #[inline]
    pub fn of(&mut self, viewer: &Viewer) -> Option<&mut Adaptation> {
        self.all.get_mut(viewer.adaptation as usize)
    }

    /// What the path of a viewer is thought to carry; 0: nobody has asked.
    pub fn bps_of(&self, viewer: &Viewer) -> u64 {
        let known = self.all.get(viewer.adaptation as usize);
        known.map_or(0, |known| known.estimator.bps())
    }

    /// Takes one for a viewer that has none.
    fn begin(&mut self, now: Time, viewer: &mut Viewer) {
        let fresh = Adaptation {
            estimator: Estimator::new(now, START_BPS),
            choice: Choice::new(),
            wanted_bps: None,
            asked_at: Time::ZERO,
            is_probing: false,
        };
        viewer.adaptation = match self.free.pop() {
            Some(place) => {
                self.all[place as usize] = fresh;
                place
            }
            None if self.all.len() < self.all.capacity() => {
                self.all.push(fresh);
                u32::try_from(self.all.len() - 1).unwrap_or(NONE)
            }
            None => NONE,
        };
    }

    /// Gives back what a viewer had.
    pub fn end(&mut self, slot: u32, viewer: &mut Viewer) {
        if viewer.adaptation != NONE {
            self.free.push(viewer.adaptation);
            viewer.adaptation = NONE;
            self.probing.retain(|&other| other != slot);
        }
    }

    /// True while something is to be sent every now and then.
    pub fn is_probing(&self) -> bool {
        !self.probing.is_empty()
    }

    /// What was sent of the video of a viewer in one run: the number of the first packet, packets
    /// and bytes.
    #[inline]
    pub fn on_sent(&mut self, now: Time, viewer: &Viewer, first: u16, packets: u8, bytes: usize) {
        if let Some(known) = self.of(viewer) {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            known.estimator.on_sent(now, first, packets, bytes);
        }
    }

    /// One packet of the RTCP of a viewer. True: its path has turned out to be full.
    pub fn on_item(&mut self, now: Time, viewer: &Viewer, item: &Item<'_>) -> bool {
        let video_ssrc = viewer.tracks[VIDEO].out.ssrc;
        let Some(known) = self.of(viewer) else {
            return false;
        };
        let was_limited = known.estimator.outlook(now).is_limited;
        match item {
            Item::ReceiverReport(report) => {
                let mut blocks = report.blocks;
                if let Some(block) = blocks.find(|block| block.ssrc == video_ssrc) {
                    known.estimator.on_loss(now, block.fraction_lost);
                }
            }
            Item::Feedback(feedback) => match &feedback.message {
                Message::TransportCc(told) => {
                    if let Some(told) = TransportCc::parse(told) {
                        known.estimator.on_transport(now, &told);
                    }
                }
                Message::Remb(remb) => known.estimator.on_remb(now, remb.bitrate_bps),
                _ => {}
            },
            _ => {}
        }
        !was_limited && known.estimator.outlook(now).is_limited
    }
}

/// The layers of a stream that its publisher sends, the cheapest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    lanes: [u8; LAYERS_MAX],
    rates: [LayerRate; LAYERS_MAX],
    used: usize,
}

impl Ladder {
    /// Those of a stream.
    pub fn of(now: Time, stream: &Stream) -> Self {
        let mut ladder = Self::default();
        let live = stream.hearing.layers(now);
        for lane in stream.hearing.ranked() {
            if live.has(lane) {
                let lane = u8::try_from(lane).unwrap_or_default();
                let bits = stream.hearing.bytes_per_s(lane).saturating_mul(8);
                ladder.lanes[ladder.used] = lane;
                ladder.rates[ladder.used] = LayerRate {
                    bps: u32::try_from(with_headers(bits)).unwrap_or(u32::MAX),
                    is_live: true,
                };
                ladder.used += 1;
            }
        }
        ladder
    }

    fn rates(&self) -> &[LayerRate] {
        &self.rates[..self.used]
    }

    fn rung(&self, lane: u8) -> Option<usize> {
        self.lanes[..self.used].iter().position(|one| *one == lane)
    }
}

/// Headers, extensions and tags are a twentieth of what is sent.
const fn with_headers(bits: u64) -> u64 {
    bits.saturating_add(bits / 20)
}

/// Puts a viewer at a keyframe of its next lane that has just come, so that those who choose it
/// shortly after each other need one keyframe. False: there is none.
fn begin_at_fresh(now: Time, viewer: &mut Viewer, stream: &mut Stream) -> bool {
    let log = stream.reader.pin();
    let key = log.keyframe(usize::from(viewer.next_lane));
    let key = key.filter(|key| {
        let record = log.record(*key);
        *key < viewer.cursor && record.is_some_and(|key| now.since(key.arrival) < FRESH)
    });
    if let Some(key) = key {
        viewer.lane = viewer.next_lane;
        viewer.phase = Phase::CatchUp;
        viewer.replay = key;
    }
    key.is_some()
}

impl Plane {
    /// Decides what a viewer is sent from now on; a few times a second.
    pub(crate) fn adapt(&mut self, slot: u32) {
        let (now, adaptations) = (self.now, &mut self.adaptations);
        let Some(viewer) = self.tables.viewers.at_mut(slot) else {
            return;
        };
        let Some(stream) = self.tables.streams.at_mut(viewer.stream) else {
            return;
        };
        if !viewer.takes_video || viewer.is_publisher || !stream.hearing.is_settled(now) {
            return;
        }
        let ladder = Ladder::of(now, stream);
        if ladder.used == 0 {
            return;
        }
        if ladder.used > 1 && viewer.adaptation == NONE {
            adaptations.begin(now, viewer);
        }
        let pinned = viewer.cold.pin.lane.and_then(|lane| ladder.rung(lane));
        let current = ladder.rung(viewer.next_lane).unwrap_or(ladder.used);
        let rung = match (pinned, adaptations.of(viewer)) {
            (Some(rung), known) => {
                if let Some(known) = known {
                    known.wanted_bps = None;
                }
                rung
            }
            (None, Some(known)) => {
                let outlook = known.estimator.outlook(now);
                let rates = ladder.rates();
                let rung = known.choice.choose(now, outlook, rates, current, None);
                known.wanted_bps = known.choice.wanted(now, outlook, rates, rung, None);
                rung
            }
            (None, None) => current,
        };
        let rung = rung.min(ladder.used - 1);
        let lane = ladder.lanes[rung];
        let is_new = lane != viewer.next_lane;
        let falls = is_new && rung < current;
        if is_new {
            viewer.next_lane = lane;
            self.outlets.stats.add(Counter::LayerChosen, 1);
        }
        if viewer.phase == Phase::Waiting {
            // Nothing would be cut short.
            viewer.lane = lane;
        } else if is_new && viewer.phase == Phase::Live {
            if begin_at_fresh(now, viewer, stream) {
                self.tables.lists.join(slot, viewer);
            } else if falls && pinned.is_none() {
                // The path is full: what is sent of the old layer until the keyframe comes would
                // only stand in its way.
                viewer.lane = lane;
                viewer.phase = Phase::Waiting;
                stream.wants_key = stream.wants_key.with(usize::from(lane));
            }
        }
        if let Some(known) = adaptations.of(viewer) {
            let asks = is_new || now.since(known.asked_at) >= ASK_AGAIN;
            if asks && viewer.lane != lane {
                known.asked_at = now;
                stream.wants_key = stream.wants_key.with(usize::from(lane));
            }
            let is_due = now >= known.estimator.probe_at() && !known.is_probing;
            if is_due && viewer.phase == Phase::Live && known.wanted_bps.is_some() {
                known.is_probing = true;
                adaptations.probing.push(slot);
            }
        } else if is_new && viewer.lane != lane {
            stream.wants_key = stream.wants_key.with(usize::from(lane));
        }
    }
}

impl Tables {
    /// Sends what probes need: packets that were sent just now, once more.
    pub fn probe<E: Egress>(&mut self, turn: &mut Turn<'_, E>) {
        let mut at = 0;
        while let Some(&slot) = turn.adaptations.probing.get(at) {
            if self.probe_one(turn, slot) {
                at += 1;
            } else {
                turn.adaptations.probing.swap_remove(at);
            }
        }
    }

    /// False: the probe is over.
    fn probe_one<E: Egress>(&mut self, turn: &mut Turn<'_, E>, slot: u32) -> bool {
        let Some(viewer) = self.viewers.at_mut(slot) else {
            return false;
        };
        let Some(known) = turn.adaptations.of(viewer) else {
            return false;
        };
        let bytes = known.estimator.probe_bytes(turn.now, known.wanted_bps);
        known.is_probing = known.estimator.is_probing();
        let goes_on = known.is_probing;
        if bytes > 0
            && let Some(stream) = self.streams.at_mut(viewer.stream)
        {
            resend_newest(turn, viewer, stream, bytes);
        }
        goes_on
    }
}
