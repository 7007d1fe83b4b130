//! Owns which layer of a stream each viewer is sent, and the probes that find out whether a better
//! one would fit.
//!
//! What there is to choose from is the stream's `ladder`: encodings, and what of their layers. Less
//! of the same encoding is sent at once, without a keyframe; a larger picture begins at one.

use link::command::{Hears, VIDEO};
use link::stats::Counter;
use wire::rtcp::Item;
use wire::rtcp_feedback::{Arrivals, Message, TransportCc};
use wire::time::{Span, Time};

use crate::Plane;
use crate::estimate::{Choice, Estimator, Run};
use crate::ladder::{Ladder, Point};
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

/// What waits on a full path is as long as that, or longer: a keyframe is held back until it is
/// not. With jitter it still arrives before the path is idle.
const HELD: Span = Span::millis(100);

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
    pub(crate) wanted_bps: Option<u64>,
    /// When the layer that is waited for was asked for last.
    asked_at: Time,
    pub(crate) is_probing: bool,
    /// The highest rung that it may be on while its upper layers are given up.
    pub(crate) held: Option<usize>,
    /// Its pin has changed: what it is sent is chosen as if it had just come.
    is_anew: bool,
}

/// The adaptations of a core. Memory is touched only as far as there have been so many at once.
pub struct Adaptations {
    all: Vec<Adaptation>,
    free: Vec<u32>,
    /// Slots of viewers that are being probed.
    pub(crate) probing: Vec<u32>,
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

    /// How long it took last from a send to feedback about it; zero: not known.
    pub fn round_trip_of(&self, viewer: &Viewer) -> Span {
        let known = self.all.get(viewer.adaptation as usize);
        known.map_or(Span::ZERO, |known| known.estimator.newest_round_trip())
    }

    /// True while so much waits on a viewer's full path that a keyframe would be lost there, and
    /// would come no sooner than if it were sent later.
    pub fn holds(&self, now: Time, viewer: &Viewer) -> bool {
        let known = self.all.get(viewer.adaptation as usize);
        known.is_some_and(|known| known.estimator.queue(now) > HELD)
    }

    /// Takes one for a viewer that has none, whose path is taken for `start_bps`.
    pub fn begin(&mut self, now: Time, viewer: &mut Viewer, start_bps: u64) {
        let fresh = Adaptation {
            estimator: Estimator::new(now, start_bps),
            choice: Choice::new(),
            wanted_bps: None,
            asked_at: Time::ZERO,
            is_probing: false,
            held: None,
            is_anew: false,
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

    /// The pin of a viewer has changed. True: its choice follows.
    pub fn choose_anew(&mut self, viewer: &Viewer) -> bool {
        let known = self.of(viewer);
        known.is_some_and(|known| {
            known.is_anew = true;
            true
        })
    }

    /// True while something is to be sent every now and then.
    pub fn is_probing(&self) -> bool {
        !self.probing.is_empty()
    }

    /// What was sent of the video of a viewer in one run.
    #[inline]
    pub fn on_sent(&mut self, now: Time, viewer: &Viewer, run: &Run) {
        if let Some(known) = self.of(viewer) {
            known.estimator.on_sent(now, run);
        }
    }

    /// One packet of the RTCP of a viewer. True: its path has turned out to be full.
    pub fn on_item(&mut self, now: Time, viewer: &Viewer, item: &Item<'_>) -> bool {
        let out = &viewer.tracks[VIDEO].out;
        let (video_ssrc, ssrcs) = (out.ssrc, [out.ssrc, out.rtx_ssrc]);
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
                Message::TransportCc(told) if out.hears.has(Hears::TRANSPORT_CC) => {
                    if let Some(told) = TransportCc::parse(told) {
                        known.estimator.on_transport(now, &told);
                    }
                }
                Message::Arrivals(told) if out.rtx_ssrc != 0 && out.hears.has(Hears::BY_SOURCE) => {
                    if let Some(told) = Arrivals::parse(told) {
                        known.estimator.on_arrivals(now, &told, ssrcs);
                    }
                }
                Message::Remb(remb) if out.hears.has(Hears::REMB) => {
                    known.estimator.on_remb(now, remb.bitrate_bps);
                }
                _ => {}
            },
            _ => {}
        }
        !was_limited && known.estimator.outlook(now).is_limited
    }
}

/// Puts a viewer at a keyframe of its next lane, which may be its own, that has just come, so that
/// those who choose it shortly after each other need one keyframe. False: there is none.
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
        let chooses = viewer.takes_video && !viewer.is_publisher && !viewer.is_fixed;
        if !chooses || !stream.hearing.is_settled(now) {
            return;
        }
        let whole = *stream.ladder(now);
        if whole.points().len() > 1 && viewer.adaptation == NONE {
            adaptations.begin(now, viewer, START_BPS);
        }
        let pin = viewer.cold.pin;
        let ladder = whole.within(now, &stream.hearing, &pin);
        let Some(last) = ladder.points().len().checked_sub(1) else {
            return;
        };
        let before = viewer.next_point();
        let current = ladder.rung(before).unwrap_or(last + 1);
        let is_held = pin.lane == Some(ladder.points()[0].lane);
        let (cap, is_taken) = match adaptations.of(viewer).filter(|_| !is_held) {
            Some(known) => self.overload.cap(slot, known, &ladder, current),
            None => (None, false),
        };
        let rung = choose(now, viewer, adaptations, &ladder, (current, cap), is_held).min(last);
        let point = ladder.points()[rung];
        if rung != current {
            (viewer.next_lane, viewer.next_cap) = (point.lane, point.cap);
            self.outlets.stats.add(Counter::LayerChosen, 1);
        }
        if is_taken {
            self.outlets.stats.add(Counter::LayerGivenUp, 1);
        }
        let change = Change {
            lane: viewer.next_lane != before.lane,
            spatial: rung != current && lacks(viewer, &ladder).spatial,
            falls: rung < current && current <= cap.unwrap_or(last) && !is_held,
            shrinks: ladder.effective(point).spatial < ladder.effective(before).spatial,
        };
        if begin_change(now, viewer, stream, change) {
            self.tables.lists.join(slot, viewer);
        }
        ask(now, viewer, stream, adaptations, &ladder, change);
        if let Some(known) = adaptations.of(viewer) {
            let is_due = now >= known.estimator.probe_at() && !known.is_probing;
            if is_due && viewer.phase == Phase::Live && known.wanted_bps.is_some() {
                known.is_probing = true;
                adaptations.probing.push(slot);
            }
        }
    }
}

/// What a choice has changed.
#[derive(Clone, Copy)]
struct Change {
    /// Another lane was chosen.
    lane: bool,
    /// A larger picture of the same lane was.
    spatial: bool,
    /// The path carries less than what was sent.
    falls: bool,
    /// A smaller picture of the same lane was chosen, if the lane is the same.
    shrinks: bool,
}

/// The rung that a viewer is to be on.
fn choose(
    now: Time,
    viewer: &Viewer,
    adaptations: &mut Adaptations,
    ladder: &Ladder,
    (current, cap): (usize, Option<usize>),
    is_held: bool,
) -> usize {
    let Some(known) = adaptations.of(viewer) else {
        return if is_held { 0 } else { current };
    };
    let is_anew = core::mem::take(&mut known.is_anew);
    if is_held {
        known.wanted_bps = None;
        return 0;
    }
    let outlook = known.estimator.outlook(now);
    let rates = ladder.rates();
    // One that is nowhere goes where its path allows.
    let current = if is_anew { rates.len() } else { current };
    let rung = known.choice.choose(now, outlook, rates, current, cap);
    known.wanted_bps = known.choice.wanted(now, outlook, rates, rung, cap);
    rung
}

/// What of the layers of its lane a viewer is to be sent, but is not yet.
#[derive(Clone, Copy)]
struct Lacks {
    spatial: bool,
    temporal: bool,
}

fn lacks(viewer: &Viewer, ladder: &Ladder) -> Lacks {
    let lane = viewer.lane;
    let is_there = viewer.lane == viewer.next_lane && viewer.phase == Phase::Live;
    let of = |cap| ladder.effective(Point { lane, cap });
    let (has, wants) = (of(viewer.tracks[VIDEO].cap), of(viewer.next_cap));
    Lacks {
        spatial: is_there && has.spatial < wants.spatial,
        temporal: is_there && has.temporal < wants.temporal,
    }
}

/// Begins to send what was chosen, if that can be at once. True: the viewer catches up.
fn begin_change(now: Time, viewer: &mut Viewer, stream: &mut Stream, change: Change) -> bool {
    if viewer.phase == Phase::Waiting {
        // Nothing would be cut short.
        viewer.lane = viewer.next_lane;
        return false;
    }
    let is_smaller = change.falls && (change.lane || change.shrinks);
    if viewer.phase != Phase::Live || !(change.lane || change.spatial || is_smaller) {
        return false;
    }
    if is_smaller {
        // The path is full, and has no room for what the keyframe makes the past.
        viewer.tracks[VIDEO].forsake();
    }
    if begin_at_fresh(now, viewer, stream) {
        return true;
    }
    if is_smaller {
        // The path is full: what is sent of the old layer until the keyframe comes would only
        // stand in its way. Of the same encoding less could be sent at once, but so Chromium's
        // picture stood for 3.2 s, until it called for a keyframe itself; this way about 1 s.
        viewer.lane = viewer.next_lane;
        viewer.phase = Phase::Waiting;
        stream.wants_key = stream.wants_key.or(viewer.video());
    }
    false
}

/// Asks for the keyframe that a viewer waits for: of another lane, or of a larger picture. One more
/// temporal layer opens by itself, mostly; a keyframe opens it where the publisher never says so.
fn ask(
    now: Time,
    viewer: &Viewer,
    stream: &mut Stream,
    adaptations: &mut Adaptations,
    ladder: &Ladder,
    change: Change,
) {
    let lacks = lacks(viewer, ladder);
    let is_new = change.lane || change.spatial;
    let has_other_lane = viewer.lane != viewer.next_lane;
    let lane = usize::from(viewer.next_lane);
    let asks = match adaptations.of(viewer) {
        Some(known) => {
            let is_waiting = viewer.phase == Phase::Waiting;
            if !lacks.spatial && !lacks.temporal && !has_other_lane && !is_waiting {
                // From when it lacks something on.
                known.asked_at = now;
                return;
            }
            let asks = is_new || now.since(known.asked_at) >= ASK_AGAIN;
            if asks {
                known.asked_at = now;
            }
            asks
        }
        None => is_new && (has_other_lane || lacks.spatial),
    };
    if asks {
        stream.wants_key = stream.wants_key.with(lane);
    }
}
