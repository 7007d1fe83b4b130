//! Owns where a viewer's video starts: at a keyframe of the log, and then after the present.

use link::command::{AUDIO, VIDEO};
use link::lanes::{LAYERS_MAX, Lanes};
use link::log::Pinned;
use serde::{Deserialize, Serialize};
use wire::datagram::Egress;
use wire::time::{Span, Time};

use crate::burst::Burst;
use crate::fanout::{Outcome, Tables, Turn};
use crate::handover::Fields;
use crate::hearing::LAYER_SILENT;
use crate::layers::{NONE as NO_ADAPTATION, START_BPS};
use crate::pace::{CATCH_UP_BURST_BYTES, CATCH_UP_BYTES_PER_S, CATCH_UP_SPEED};
use crate::rewrite::Cap;
use crate::send::send_run;
use crate::stream::Stream;
use crate::viewer::{Phase, Viewer};

/// Audio that came longer ago than this is not sent to a viewer that joins: it would only be
/// played too late, or sped up.
const AUDIO_BACK: Span = Span::millis(100);

/// Packets looked at for that. 100 ms are five packets of 20 ms.
const AUDIO_BACK_PACKETS: u64 = 40;

/// Packets of one send while catching up: 19 KB, which the bucket brings in 2.4 ms.
const CATCH_UP_SEGMENTS: u8 = 16;

/// Sends to those who catch up in one turn, all viewers together: some 600 us of sealing, so that
/// a crowd of newcomers does not delay the next burst of those who watch.
const CATCH_UP_RUNS_PER_TURN: u32 = 256;

/// The same while there are still viewers that a burst has not been sent to: a quarter of what they
/// are sent meanwhile.
const CATCH_UP_RUNS_MIDWAY: u32 = 32;

/// After a keyframe was replayed, a call for another is not answered sooner than this.
const PLEA_INTERVAL_MIN: Span = Span::millis(500);

/// The interval doubles with every answered call up to this: a decoder that cannot decode the
/// stream at all calls five times a second for ever.
const PLEA_INTERVAL_MAX: Span = Span::secs(8);

/// A viewer that has not called for so long starts again at the least interval.
const PLEA_FORGIVEN: Span = Span::secs(16);

/// A call this soon after a keyframe was begun was sent before it arrived, if the round-trip time
/// is not known.
const CROSSING_DEFAULT: Span = Span::millis(50);

/// A peer that tells a huge round-trip time only silences itself this long.
const CROSSING_MAX: Span = Span::millis(300);

/// A stream whose newest video is older than this is silent: its publisher is gone or hangs. Two
/// frames of the slowest streams (2 a second) are not further apart.
const SILENT_AFTER: Span = Span::secs(1);

/// A viewer's calls for keyframes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Pleas {
    answered_at: Time,
    interval: Span,
}

impl Pleas {
    /// What is told to another worker at last.
    pub fn running(&mut self, fields: &mut impl Fields) {
        fields.field("plea_answered_at", &mut self.answered_at);
        fields.field("plea_interval", &mut self.interval);
    }

    /// True if a call that comes now is to be answered; it counts as answered then.
    pub fn may(&mut self, now: Time, keyframe_at: Time, rtt: Span) -> bool {
        let crossing = if rtt == Span::ZERO {
            CROSSING_DEFAULT
        } else {
            rtt.min(CROSSING_MAX)
        };
        if keyframe_at != Time::ZERO && now.since(keyframe_at) < crossing {
            return false;
        }
        let since = now.since(self.answered_at);
        if self.answered_at == Time::ZERO || since > PLEA_FORGIVEN {
            self.interval = PLEA_INTERVAL_MIN;
        } else if since < self.interval {
            return false;
        } else {
            self.interval = Span((self.interval.0 * 2).min(PLEA_INTERVAL_MAX.0));
        }
        self.answered_at = now;
        true
    }
}

/// A newcomer is sent all that came since the last keyframe, at once. If that is more than so much,
/// a new one is asked for as well: whatever comes first.
const STALE_AFTER: Span = Span::secs(2);

/// Puts a viewer that has been sent nothing at the newest keyframe and at the newest audio. Gives
/// the lane that a keyframe is to be asked for.
pub fn begin(now: Time, viewer: &mut Viewer, stream: &mut Stream) -> Lanes {
    let seen = stream.seen;
    let ladder = *stream.ladder(now);
    let log = stream.reader.pin();
    viewer.cursor = audio_start(now, &log).map_or(seen, |position| position.min(seen));
    if !viewer.is_fixed {
        viewer.next_lane = first_layer(now, &log, stream.hearing.ranked());
        viewer.next_cap = ladder.start(viewer.next_lane, START_BPS);
    }
    start_from_key(now, viewer, &log)
}

/// The same for a viewer that another process served before it died, while the publisher could not
/// be heard either: it has seen what came before. A keyframe that it knows is nothing to go on
/// from, and old pictures lead browsers astray for seconds in when to show the new ones.
pub fn resume(now: Time, viewer: &mut Viewer, stream: &mut Stream) -> Lanes {
    let lanes = begin(now, viewer, stream);
    if viewer.phase != Phase::CatchUp || viewer.replay >= stream.met_at {
        return lanes;
    }
    viewer.cursor = viewer.cursor.max(stream.met_at);
    viewer.phase = Phase::Waiting;
    viewer.video()
}

/// Starts the video of a viewer that has begun to take it, or ends it. Gives the lane that a
/// keyframe is to be asked for.
pub fn restart(now: Time, viewer: &mut Viewer, stream: &mut Stream) -> Lanes {
    let log = stream.reader.pin();
    start_from_key(now, viewer, &log)
}

/// The layer that a newcomer is sent as long as nothing is known of its path: the second one of
/// those that come in, or the only one.
fn first_layer(now: Time, log: &Pinned<'_>, ranked: [usize; LAYERS_MAX]) -> u8 {
    let is_live = |lane: &usize| {
        let newest = log.newest(*lane).and_then(|position| log.record(position));
        newest.is_some_and(|record| now.since(record.arrival) < LAYER_SILENT)
    };
    let mut live = ranked.into_iter().filter(is_live);
    let lowest = live.next();
    let lane = live.next().or(lowest).unwrap_or(VIDEO);
    u8::try_from(lane).unwrap_or_default()
}

fn start_from_key(now: Time, viewer: &mut Viewer, log: &Pinned<'_>) -> Lanes {
    let missing = replay_from_key(viewer, log, 0);
    if viewer.phase == Phase::CatchUp && is_stale(now, log, viewer.replay) {
        viewer.video()
    } else {
        missing
    }
}

/// What a call for a keyframe has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The viewer is back at the newest keyframe.
    Begun,
    /// There is nothing that would help: a keyframe is on its way, or the stream is silent.
    Unneeded,
    /// The log has no keyframe.
    Missing,
}

/// Puts a live viewer back to the newest keyframe, if that helps.
pub fn replay(now: Time, viewer: &mut Viewer, stream: &mut Stream) -> Replay {
    let log = stream.reader.pin();
    match log.keyframe(usize::from(viewer.lane)) {
        None => Replay::Missing,
        // Browsers call for a keyframe after 3 s without a frame, lost or not. A replay would show
        // the past again, and a returning publisher begins with a keyframe anyway.
        Some(key) if key >= viewer.cursor || is_silent(now, viewer, &log) => Replay::Unneeded,
        // The path of one whose layers are chosen may not carry the past besides the present. One
        // with less of an encoding has come there without a keyframe, so the last one is old.
        Some(key) if has_less(viewer) && is_stale(now, &log, key) => Replay::Missing,
        Some(key) => {
            viewer.phase = Phase::CatchUp;
            viewer.replay = key;
            Replay::Begun
        }
    }
}

fn has_less(viewer: &Viewer) -> bool {
    viewer.adaptation != NO_ADAPTATION && viewer.next_cap != Cap::NONE
}

fn is_stale(now: Time, log: &Pinned<'_>, key: u64) -> bool {
    let key = log.record(key);
    key.is_none_or(|key| now.since(key.arrival) > STALE_AFTER)
}

/// Moves a viewer that is too far behind to `position`, and its video to a keyframe that it has
/// not had, if there is one. Gives the lane that a keyframe is to be asked for.
pub fn rejoin(viewer: &mut Viewer, log: &Pinned<'_>, position: u64) -> Lanes {
    let video_at = match viewer.phase {
        Phase::CatchUp => viewer.replay,
        Phase::Live | Phase::Waiting => viewer.cursor,
    };
    viewer.cursor = position;
    replay_from_key(viewer, log, video_at)
}

/// True if no video has come for a while.
fn is_silent(now: Time, viewer: &Viewer, log: &Pinned<'_>) -> bool {
    let newest = log
        .newest(usize::from(viewer.lane))
        .and_then(|position| log.record(position));
    newest.is_none_or(|record| now.since(record.arrival) > SILENT_AFTER)
}

/// Gives the lane whose keyframe the viewer has to wait for.
fn replay_from_key(viewer: &mut Viewer, log: &Pinned<'_>, earliest: u64) -> Lanes {
    if !viewer.takes_video {
        viewer.phase = Phase::Live;
        return Lanes::default();
    }
    // Wherever it starts anew, it starts with what it is to have.
    viewer.lane = viewer.next_lane;
    match log.keyframe(usize::from(viewer.lane)) {
        Some(key) if key >= earliest => {
            viewer.phase = Phase::CatchUp;
            viewer.replay = key;
            Lanes::default()
        }
        _ => {
            viewer.phase = Phase::Waiting;
            viewer.video()
        }
    }
}

/// The oldest audio packet that a newcomer is sent.
fn audio_start(now: Time, log: &Pinned<'_>) -> Option<u64> {
    let newest = log.record(log.newest(AUDIO)?)?.lane_seq;
    let recent = (0..AUDIO_BACK_PACKETS.min(newest + 1)).map_while(|back| {
        let position = log.locate(AUDIO, newest - back)?;
        let arrival = log.record(position)?.arrival;
        (now.since(arrival) <= AUDIO_BACK).then_some(position)
    });
    recent.last()
}

impl Tables {
    /// Feeds those whose video catches up, each at its pace.
    pub fn serve_joining<E: Egress>(&mut self, turn: &mut Turn<'_, E>) {
        let mut runs_left = match turn.is_midway {
            true => CATCH_UP_RUNS_MIDWAY,
            false => CATCH_UP_RUNS_PER_TURN,
        };
        let mut at = 0;
        while let Some(&slot) = self.lists.joining.get(at) {
            if runs_left == 0 {
                break;
            }
            let joined = match self.viewers.at_mut(slot) {
                Some(viewer) => match self.streams.at_mut(viewer.stream) {
                    Some(stream) => catch_up(turn, viewer, stream, &mut runs_left),
                    None => Ok(true),
                },
                None => Ok(true),
            };
            match joined {
                Ok(true) => {
                    self.lists.joining.swap_remove(at);
                    if let Some(viewer) = self.viewers.at_mut(slot) {
                        viewer.is_joining = false;
                    }
                }
                Ok(false) => at += 1,
                Err(outcome) => {
                    if let Some(viewer) = self.viewers.at_mut(slot) {
                        viewer.is_worn |= outcome == Outcome::Worn;
                    }
                    at += 1;
                    if outcome == Outcome::Full {
                        turn.done.fulls += 1;
                        break;
                    }
                }
            }
        }
        // The next turn begins with those that this one did not come to.
        if at > 0 && at < self.lists.joining.len() {
            self.lists.joining.rotate_left(at);
        }
    }
}

/// `Ok(true)`: the viewer has no more to catch up with. `Ok(false)`: its bucket is empty.
fn catch_up<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    stream: &mut Stream,
    runs_left: &mut u32,
) -> Result<bool, Outcome> {
    if viewer.phase == Phase::CatchUp && turn.adaptations.holds(turn.now, viewer) {
        return Ok(false);
    }
    let live = stream.hearing.bytes_per_s(viewer.lane);
    let bytes_per_s = CATCH_UP_BYTES_PER_S.max(live * CATCH_UP_SPEED);
    viewer
        .bucket
        .refill(turn.now, bytes_per_s, CATCH_UP_BURST_BYTES);
    let log = stream.reader.pin();
    if viewer.phase == Phase::CatchUp && viewer.replay < log.range().start {
        turn.done.skips += 1;
        stream.wants_key = stream.wants_key.or(replay_from_key(viewer, &log, 0));
    }
    // What lies before a newer keyframe is the past.
    if let Some(key) = log.keyframe(usize::from(viewer.lane))
        && key > viewer.replay
        && key < viewer.cursor
    {
        viewer.replay = key;
    }
    let segments_max = turn.segments_max.min(CATCH_UP_SEGMENTS);
    let video = viewer.video();
    while viewer.phase == Phase::CatchUp {
        if viewer.is_worn {
            return Ok(true);
        }
        if viewer.replay >= viewer.cursor {
            viewer.phase = Phase::Live;
            break;
        }
        let mut burst = Burst::new();
        burst.cut(&log, viewer.replay..viewer.cursor, video, segments_max);
        for run in burst.runs() {
            let bytes = run.payload_bytes.iter().copied().map(u64::from).sum();
            if *runs_left == 0 || viewer.bucket.tokens() < bytes {
                return Ok(false);
            }
            *runs_left -= 1;
            match send_run(turn, viewer, &burst, run, video) {
                Outcome::Done => viewer.replay = run.end,
                other => return Err(other),
            }
            viewer.bucket.take(bytes);
        }
        if burst.is_empty() {
            // The log went away under the viewer.
            return Ok(false);
        }
        viewer.replay = burst.range.end;
    }
    Ok(true)
}
