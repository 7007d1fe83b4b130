//! Owns the way out: viewers outside, packets inside, one run per viewer and burst. Hot.
//!
//! The order of a turn: answers, those who were left over from the last turn, then the new bursts,
//! a portion of each stream's viewers; after them repairs and probes, and at last those who catch
//! up. So a storm of requests and a crowd of newcomers wait behind the viewers who watch, and a
//! stream with few viewers never behind all of a large one's.

use link::command::AUDIO;
use link::limits::Limits;
use link::log::Pinned;
use wire::datagram::Egress;
use wire::time::{Span, Time};

use crate::asked::Repairs;
use crate::burst::Burst;
use crate::keyframe::rejoin;
use crate::layers::Adaptations;
use crate::live::live_stream;
use crate::send::send_run;
use crate::stream::{Stream, Streams};
use crate::together::Together;
use crate::transit::Transits;
use crate::viewer::{Phase, Viewer};
use crate::viewers::Viewers;

/// Viewers that were left over and runs of theirs in one turn: some 300 us. The rest is for the
/// next turn, so that those who keep up are not kept waiting.
const BLOCKED_PER_TURN: usize = 128;
/// See `BLOCKED_PER_TURN`.
const BLOCKED_RUNS_PER_TURN: u64 = 256;

/// A viewer that is so far behind, because the egress has had no room, goes on at a keyframe:
/// what is older than this would only make its jitter buffer grow.
const LAG_MAX: Span = Span::millis(500);

/// One turn of fan-out.
pub struct Turn<'a, E> {
    /// The time, read once.
    pub now: Time,
    /// Where runs go.
    pub egress: &'a mut E,
    /// Most segments of a run.
    pub segments_max: u8,
    /// What is known of the paths of viewers of layered streams.
    pub adaptations: &'a mut Adaptations,
    /// The packets that are sent in this turn.
    pub transits: &'a mut Transits,
    /// Runs that wait for their tags.
    pub together: Together,
    /// Viewers of some stream have not been served with its burst yet: little but that is to be
    /// done.
    pub is_midway: bool,
    /// How old a packet may be, besides a round trip, to be sent again; none: as old as it is.
    pub repair_age_max: Option<Span>,
    /// What has been sent.
    pub done: Done,
}

/// What a turn has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub runs: u64,
    pub datagrams: u64,
    pub bytes: u64,
    pub fulls: u64,
    pub skips: u64,
    pub resent: u64,
    pub probes: u64,
    pub over_budget: u64,
    pub too_old: u64,
    pub given_up: u64,
    pub overtaken: u64,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent, or nothing of it was for this viewer.
    Done,
    /// The egress is full.
    Full,
    /// An index of the viewer is used up.
    Worn,
}

/// What fan-out works on.
pub struct Tables {
    pub viewers: Viewers,
    pub streams: Streams,
    pub lists: Lists,
    pub repairs: Repairs,
    turns: usize,
}

impl Tables {
    /// Empty tables. All allocation is here.
    pub fn new(limits: &Limits) -> Self {
        Self {
            viewers: Viewers::new(limits.viewers_max),
            streams: Streams::new(limits.streams_max),
            lists: Lists::new(limits.viewers_max),
            repairs: Repairs::new(limits.streams_max),
            turns: 0,
        }
    }

    /// Bursts that are new, for every viewer that has kept up.
    pub fn serve_live<E: Egress>(&mut self, turn: &mut Turn<'_, E>) {
        let streams = self.streams.active().len();
        turn.together.open(turn.egress);
        for nth in 0..streams {
            // Another stream is first every turn.
            let at = nth.wrapping_add(self.turns) % streams;
            let index = self.streams.active()[at];
            if let Some(stream) = self.streams.at_mut(index)
                && stream.has_news()
            {
                live_stream(turn, stream, &mut self.viewers, &mut self.lists);
            }
        }
        turn.together.close(turn.egress);
        self.turns = self.turns.wrapping_add(1);
    }

    /// Viewers for which the egress had no room, from where they stopped.
    pub fn serve_blocked<E: Egress>(&mut self, turn: &mut Turn<'_, E>) {
        let runs_max = turn.done.runs + BLOCKED_RUNS_PER_TURN;
        for _ in 0..BLOCKED_PER_TURN {
            let Some(&slot) = self.lists.blocked.first() else {
                break;
            };
            if turn.done.runs >= runs_max {
                break;
            }
            let outcome = match self.viewers.at_mut(slot) {
                Some(viewer) => match self.streams.at_mut(viewer.stream) {
                    Some(stream) => catch_up_live(turn, viewer, stream),
                    None => Outcome::Done,
                },
                None => Outcome::Done,
            };
            if outcome == Outcome::Full {
                // The others would find no room either; the next turn begins with them.
                turn.done.fulls += 1;
                break;
            }
            if let Some(viewer) = self.viewers.at_mut(slot) {
                viewer.is_worn |= outcome == Outcome::Worn;
                viewer.is_blocked = false;
                if viewer.phase == Phase::CatchUp {
                    self.lists.join(slot, viewer);
                }
            }
            self.lists.blocked.swap_remove(0);
        }
    }
}

/// The viewers that need more than the next burst, by slot.
pub struct Lists {
    /// The egress had no room for all of a burst.
    pub blocked: Vec<u32>,
    /// Their video catches up.
    pub joining: Vec<u32>,
}

impl Lists {
    /// Empty lists. All allocation is here: each viewer is in a list once at most.
    pub fn new(viewers_max: u32) -> Self {
        Self {
            blocked: Vec::with_capacity(viewers_max as usize),
            joining: Vec::with_capacity(viewers_max as usize),
        }
    }

    /// Notes that a viewer was left over.
    pub fn block(&mut self, slot: u32, viewer: &mut Viewer) {
        if !viewer.is_blocked {
            viewer.is_blocked = true;
            self.blocked.push(slot);
        }
    }

    /// Notes that a viewer's video catches up.
    pub fn join(&mut self, slot: u32, viewer: &mut Viewer) {
        if !viewer.is_joining {
            viewer.is_joining = true;
            self.joining.push(slot);
        }
    }

    /// Forgets a viewer.
    pub fn forget(&mut self, slot: u32) {
        self.blocked.retain(|&other| other != slot);
        self.joining.retain(|&other| other != slot);
    }
}

/// Gives a burst to a viewer that has got all before it, as far as there is room.
#[inline]
pub fn live_viewer<E: Egress>(
    turn: &mut Turn<'_, E>,
    slot: u32,
    viewer: &mut Viewer,
    burst: &Burst<'_>,
    lists: &mut Lists,
) {
    if viewer.cursor != burst.range.start {
        // Left over, or overtaken by the writer: the list of those blocked sorts it out.
        if viewer.cursor < burst.range.start && !viewer.is_worn {
            lists.block(slot, viewer);
        }
        return;
    }
    let next_lane = usize::from(viewer.next_lane);
    if viewer.next_lane != viewer.lane && burst.keys[next_lane].is_some() {
        // It changes its lane in the midst of the burst: in the next turn, by itself.
        lists.block(slot, viewer);
        return;
    }
    match send_burst(turn, viewer, burst) {
        Outcome::Done => {}
        Outcome::Full => {
            turn.done.fulls += 1;
            lists.block(slot, viewer);
        }
        Outcome::Worn => viewer.is_worn = true,
    }
    if viewer.phase == Phase::CatchUp {
        lists.join(slot, viewer);
    }
}

/// Sends what is live of a burst and moves the cursor past what was done.
#[inline]
fn send_burst<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    burst: &Burst<'_>,
) -> Outcome {
    let live = viewer.live();
    for run in burst.runs() {
        match send_run(turn, viewer, burst, run, live) {
            Outcome::Done => viewer.cursor = run.end,
            other => {
                start_at_key(viewer, burst);
                return other;
            }
        }
    }
    viewer.cursor = burst.range.end;
    start_at_key(viewer, burst);
    Outcome::Done
}

/// Ends the wait for a keyframe when the cursor has passed one.
#[inline]
fn start_at_key(viewer: &mut Viewer, burst: &Burst<'_>) {
    if viewer.phase == Phase::Waiting
        && viewer.takes_video
        && let Some(key) = burst.keys[usize::from(viewer.lane)]
        && key < viewer.cursor
    {
        viewer.phase = Phase::CatchUp;
        viewer.replay = key;
    }
}

/// Brings a viewer from its cursor to where the stream's next burst begins.
fn catch_up_live<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    stream: &mut Stream,
) -> Outcome {
    if viewer.is_worn {
        return Outcome::Worn;
    }
    let seen = stream.seen;
    let log = stream.reader.pin();
    let range = log.range();
    let end = seen.min(range.end);
    if viewer.cursor < end && is_too_late(turn.now, &log, viewer.cursor) {
        turn.done.skips += 1;
        stream.wants_key = stream.wants_key.or(rejoin(viewer, &log, end));
    }
    while viewer.cursor < end {
        let mut until = end;
        if viewer.next_lane != viewer.lane
            && viewer.phase != Phase::CatchUp
            && let Some(key) = log.keyframe(usize::from(viewer.next_lane))
            && (viewer.cursor..end).contains(&key)
        {
            if key == viewer.cursor {
                viewer.lane = viewer.next_lane;
            } else {
                until = key;
            }
        }
        let lanes = viewer.video().with(AUDIO);
        let mut burst = Burst::new();
        burst.cut(&log, viewer.cursor..until, lanes, turn.segments_max);
        match send_burst(turn, viewer, &burst) {
            Outcome::Done => {}
            other => return other,
        }
    }
    Outcome::Done
}

fn is_too_late(now: Time, log: &Pinned<'_>, cursor: u64) -> bool {
    match log.record(cursor) {
        Some(record) => now.since(record.arrival) > LAG_MAX,
        None => true,
    }
}
