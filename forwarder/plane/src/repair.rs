//! Owns sending again what viewers have lost: as RTX, or as the very same packets. Hot.
//!
//! What one viewer has lost at once was mostly one run, and leaves as one again.

use link::command::VIDEO;
use link::limits::PAYLOAD_MAX;
use wire::datagram::{Egress, RunMeta, Slot};
use wire::time::Time;

use crate::asked::{Due, Repairs};
use crate::burst::Piece;
use crate::estimate::{Run, Source};
use crate::fanout::{Outcome, Tables, Turn};
use crate::pace::{REPAIR_BURST_BYTES, REPAIR_BYTES_PER_S, REPAIR_SHARE};
use crate::rewrite::{OSN_BYTES, low};
use crate::send::seal_varied;
use crate::stream::Stream;
use crate::viewer::Viewer;

/// Most packets of one run of repairs.
const GROUP_MAX: usize = 16;

/// Runs of repairs in one turn, all viewers together: some 400 us of sealing if all are full, so
/// that a storm of requests does not delay what comes in meanwhile. The rest is for the next turn,
/// which follows at once.
const RUNS_PER_TURN: u64 = 64;

/// And one for so many runs that the turn has sent already: where many watch, many lose. While
/// there are still viewers that a burst has not been sent to, there is no more than these.
const RUNS_SHARE: u64 = 8;

/// Packets looked at to fill one portion of a probe: 2 ms of 25 Mbit/s.
const NEWEST_MAX: u64 = 8;

/// Repairs of one viewer that leave as one run.
struct Group<'a> {
    pieces: [Option<(u64, Piece<'a>)>; GROUP_MAX],
    used: usize,
    /// Bytes of the first, which none exceeds.
    body_bytes: usize,
    bytes: usize,
    /// Repairs of the queue that were looked at.
    looked: usize,
    too_old: u64,
    given_up: u64,
    over_budget: u64,
}

/// Why a packet is not sent again.
enum Missing {
    /// The log has it no more.
    TooOld,
    /// It is not worth the time that a loaded core lacks.
    GivenUp,
}

impl Tables {
    /// Sends what was asked for again, a run of each viewer in turn, as far as a turn of the core
    /// goes.
    pub fn repair<E: Egress>(&mut self, turn: &mut Turn<'_, E>) {
        let by_itself = if turn.is_midway { 0 } else { RUNS_PER_TURN };
        let runs_max = by_itself + turn.done.runs / RUNS_SHARE;
        for _ in 0..runs_max {
            let Some(due) = self.repairs.due() else {
                return;
            };
            let slot = self.viewers.slot_of(due.viewer);
            // Of one who has left nothing is sent any more.
            let mut looked = u32::MAX;
            if let Some(viewer) = slot.and_then(|slot| self.viewers.at_mut(slot))
                && let Some(stream) = self.streams.at_mut(viewer.stream)
            {
                match send_again(turn, viewer, stream, &self.repairs, &due) {
                    Some(done) => looked = done,
                    None => {
                        turn.done.fulls += 1;
                        return;
                    }
                }
            }
            self.repairs.pass(looked);
        }
    }
}

/// Brings up to date what the repairs of a viewer may cost.
pub fn refill(now: Time, viewer: &mut Viewer, stream: &Stream) {
    let rate = stream.hearing.bytes_per_s(viewer.lane);
    let budget = REPAIR_BYTES_PER_S.max(rate / REPAIR_SHARE);
    viewer.cold.repair.refill(now, budget, REPAIR_BURST_BYTES);
}

/// Sends of what the viewer who is due has asked for as much as goes together with the first; says
/// how many are done with, at least one. `None`: the egress is full.
fn send_again<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    stream: &mut Stream,
    repairs: &Repairs,
    due: &Due,
) -> Option<u32> {
    let track = usize::from(due.first.track);
    refill(turn.now, viewer, stream);
    let log = stream.reader.pin();
    let packets_max = GROUP_MAX.min(usize::from(turn.segments_max));
    let age_max = turn.repair_age_max.map(|age| age + viewer.cold.quality.rtt);
    let is_old = |position, max| {
        let record = log.record(position);
        record.is_some_and(|record| turn.now.since(record.arrival) > max)
    };
    let find = |index| {
        let (lane, seq) = viewer.tracks[track].sent(index).ok_or(Missing::TooOld)?;
        let position = log.locate(lane, seq).ok_or(Missing::TooOld)?;
        if age_max.is_some_and(|max| is_old(position, max)) {
            return Err(Missing::GivenUp);
        }
        Piece::read(&log, position).ok_or(Missing::TooOld)
    };
    let tokens = usize::try_from(viewer.cold.repair.tokens()).unwrap_or(usize::MAX);
    let asked = repairs.of(due);
    let nth = |nth| {
        let goes_on = asked(nth).filter(|repair| repair.track == due.first.track);
        Some(goes_on?.index)
    };
    let group = gather((viewer, track), nth, packets_max, tokens, find);
    let looked = u32::try_from(group.looked).unwrap_or(u32::MAX);
    let sent = match send_group(turn, viewer, track, &group) {
        Ok(sent) => sent,
        Err(Outcome::Full) => return None,
        Err(_) => {
            viewer.is_worn = true;
            return Some(looked);
        }
    };
    viewer.cold.repair.take(sent as u64);
    viewer.sent.retransmitted += group.used as u64;
    turn.done.resent += group.used as u64;
    turn.done.too_old += group.too_old;
    turn.done.given_up += group.given_up;
    turn.done.over_budget += group.over_budget;
    Some(looked)
}

/// Sends about so many bytes of what a viewer's video was sent last once more, by its stream of
/// repairs: nothing that it did not have, to find out what the path carries.
pub fn resend_newest<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    stream: &mut Stream,
    bytes: u32,
) {
    let out = &viewer.tracks[VIDEO];
    if out.out.rtx_ssrc == 0 {
        return;
    }
    let log = stream.reader.pin();
    let newest = out.next_index;
    let mut left = i64::from(bytes);
    // The last of a frame are short: some more are looked at than are needed.
    let mut from = newest.saturating_sub(NEWEST_MAX);
    while left > 0 && from < newest {
        let find = |index| {
            let sent = viewer.tracks[VIDEO].sent(index);
            let position = sent.and_then(|(lane, seq)| log.locate(lane, seq));
            let piece = position.and_then(|position| Piece::read(&log, position));
            piece.ok_or(Missing::TooOld)
        };
        let nth = |nth: usize| ((from + nth as u64) < newest).then(|| from + nth as u64);
        let room = usize::try_from(left).unwrap_or(0) + PAYLOAD_MAX;
        let packets_max = GROUP_MAX.min(usize::from(turn.segments_max));
        let group = gather((viewer, VIDEO), nth, packets_max, room, find);
        match send_group(turn, viewer, VIDEO, &group) {
            Ok(sent) => left -= i64::try_from(sent).unwrap_or(left),
            Err(outcome) => {
                viewer.is_worn |= outcome == Outcome::Worn;
                return;
            }
        }
        turn.done.probes += group.used as u64;
        from += group.looked.max(1) as u64;
    }
}

/// Sends a group as one run; gives its bytes.
fn send_group<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    track: usize,
    group: &Group<'_>,
) -> Result<usize, Outcome> {
    if group.used == 0 {
        return Ok(0);
    }
    let packets = u8::try_from(group.used).unwrap_or_default();
    if !viewer.lease_rtx(track, u64::from(packets)) {
        return Err(Outcome::Worn);
    }
    let out = turn.egress.claim(RunMeta {
        peer: viewer.to.peer,
        local: viewer.to.local,
        segment_bytes: u16::try_from(group.body_bytes).unwrap_or(u16::MAX),
        segments: packets,
        bytes: group.bytes,
        viewer: viewer.id.index,
    });
    let mut out = out.ok_or(Outcome::Full)?;
    let first = viewer.tracks[track].transport_sequence;
    seal(viewer, track, group, &mut out);
    let used = out.used();
    turn.egress.commit(used);
    if track == VIDEO {
        let next = viewer.tracks[track].rtx_next_index;
        let run = Run {
            first,
            packets,
            bytes: u32::try_from(used).unwrap_or(u32::MAX),
            source: Source::Repairs,
            rtp: low(next).wrapping_sub(u16::from(packets)),
        };
        turn.adaptations.on_sent(turn.now, viewer, &run);
    }
    viewer.sent.packets += u64::from(packets);
    viewer.sent.bytes += used as u64;
    turn.done.runs += 1;
    turn.done.datagrams += u64::from(packets);
    turn.done.bytes += used as u64;
    Ok(used)
}

/// Takes packets that left under the indexes that `nth` gives, as long as they make one legal run
/// within `bytes_max`.
fn gather<'a>(
    (viewer, track): (&Viewer, usize),
    nth: impl Fn(usize) -> Option<u64>,
    packets_max: usize,
    bytes_max: usize,
    find: impl Fn(u64) -> Result<Piece<'a>, Missing>,
) -> Group<'a> {
    let track = &viewer.tracks[track];
    let out = track.repaired();
    let mut added = viewer.sealer.rtp_overhead();
    if track.out.rtx_ssrc != 0 {
        added += OSN_BYTES;
    }
    let mut group = Group {
        pieces: [None; GROUP_MAX],
        used: 0,
        body_bytes: 0,
        bytes: 0,
        looked: 0,
        too_old: 0,
        given_up: 0,
        over_budget: 0,
    };
    while group.used < packets_max
        && let Some(index) = nth(group.looked)
    {
        let piece = match find(index) {
            Ok(piece) => piece,
            Err(why) => {
                match why {
                    Missing::TooOld => group.too_old += 1,
                    Missing::GivenUp => group.given_up += 1,
                }
                group.looked += 1;
                continue;
            }
        };
        let bytes = added + track.packet_bytes_as(&out, &piece);
        if group.used > 0 && bytes > group.body_bytes {
            break;
        }
        group.looked += 1;
        if group.bytes + bytes > bytes_max {
            group.over_budget += 1;
            continue;
        }
        group.pieces[group.used] = Some((index, piece));
        group.used += 1;
        group.bytes += bytes;
        if group.used == 1 {
            group.body_bytes = bytes;
        } else if bytes < group.body_bytes {
            break;
        }
    }
    group
}

/// Writes and seals the packets of a group.
fn seal(viewer: &mut Viewer, track: usize, group: &Group<'_>, out: &mut Slot<'_>) {
    let track = &mut viewer.tracks[track];
    let is_rtx = track.out.rtx_ssrc != 0;
    let out_as = track.repaired();
    let mut sealing = seal::Run::default();
    for (index, piece) in group.pieces.iter().flatten() {
        let osn = low(*index).to_be_bytes();
        let (stamp, osn) = if is_rtx {
            (track.stamp_rtx(*index, piece), &osn[..])
        } else {
            (track.stamp_again(*index, piece), &[][..])
        };
        let (front, rest) = track.parts(osn, piece);
        debug_assert!(stamp.is_some(), "found in the history");
        if let Some(stamp) = stamp {
            let parts = [&front[..], rest];
            let written = (&out_as, &stamp);
            seal_varied(&viewer.sealer, written, piece, parts, &mut sealing, out);
        }
    }
    viewer.sealer.finish_run(&mut sealing, out.memory());
}
