//! Owns how a run becomes datagrams of one viewer: what of it is sent, sealed one after another.
//! Hot.

use arrayvec::ArrayVec;
use link::command::{AUDIO, TRACKS_MAX, TrackOut, VIDEO};
use link::lanes::{Lanes, track_of};
use seal::{Packet, Sealer};
use wire::datagram::{Egress, RunMeta, Slot};
use wire::time::Time;

use crate::burst::{Burst, PIECES_MAX, Piece, Run};
use crate::estimate::{self, Source};
use crate::fanout::{Outcome, Turn};
use crate::layers::NONE as NO_ADAPTATION;
use crate::rewrite::{Cap, Stamp, low, write, write_wide};
use crate::viewer::Viewer;

/// Sends the packets of a run that are of `lanes`: claim, write and seal one after another,
/// commit, or park until the tags are written.
#[inline]
pub fn send_run<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    burst: &Burst<'_>,
    run: &Run,
    lanes: Lanes,
) -> Outcome {
    let cap = viewer.tracks[VIDEO].cap;
    if cap != Cap::NONE || viewer.wanted_cap() != cap {
        return send_part(turn, viewer, burst, run, lanes);
    }
    let Some(meta) = measure(viewer, burst, run, lanes) else {
        return Outcome::Done;
    };
    for (lane, &packets) in run.packets.iter().enumerate() {
        if packets > 0 && lanes.has(lane) && !viewer.lease(track_of(lane), u64::from(packets)) {
            return Outcome::Worn;
        }
    }
    send(turn, viewer, meta, |now, viewer, sealing, out| {
        for piece in burst.pieces(run) {
            if lanes.has(piece.lane()) {
                seal(now, viewer, piece, sealing, out);
            }
        }
    })
}

/// The same for a viewer that is sent part of the layers of a frame.
fn send_part<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    burst: &Burst<'_>,
    run: &Run,
    lanes: Lanes,
) -> Outcome {
    let mut cap = viewer.tracks[VIDEO].cap;
    let wanted = viewer.wanted_cap();
    let mut taken = ArrayVec::<(&Piece<'_>, Cap), PIECES_MAX>::new();
    let mut packets = [0; TRACKS_MAX];
    let mut bytes = 0;
    let tag = viewer.sealer.rtp_overhead();
    for piece in burst.pieces(run) {
        let track = track_of(piece.lane());
        if track == VIDEO && lanes.has(piece.lane()) {
            cap = cap.next(wanted, piece);
        }
        if lanes.has(piece.lane()) && (track == AUDIO || cap.takes(piece)) {
            packets[track] += 1;
            bytes += viewer.tracks[track].packet_bytes(piece) + tag;
            taken.push((piece, cap));
        }
    }
    let Some((first, _)) = taken.first() else {
        viewer.tracks[VIDEO].cap = cap;
        return Outcome::Done;
    };
    let first_bytes = viewer.tracks[track_of(first.lane())].packet_bytes(first) + tag;
    let meta = RunMeta {
        peer: viewer.to.peer,
        local: viewer.to.local,
        segment_bytes: u16::try_from(first_bytes).unwrap_or(u16::MAX),
        segments: packets.iter().sum(),
        bytes,
        viewer: viewer.id.index,
    };
    for (track, packets) in packets.into_iter().enumerate() {
        if packets > 0 && !viewer.lease(track, u64::from(packets)) {
            return Outcome::Worn;
        }
    }
    send(turn, viewer, meta, |now, viewer, sealing, out| {
        for (piece, cap) in &taken {
            viewer.tracks[VIDEO].cap = *cap;
            seal(now, viewer, piece, sealing, out);
        }
        viewer.tracks[VIDEO].cap = cap;
    })
}

/// Sends what `write` writes and seals: claimed, committed or parked until the tags are written,
/// and counted.
#[inline]
fn send<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    meta: RunMeta,
    write: impl FnOnce(Time, &mut Viewer, &mut seal::Run, &mut Slot<'_>),
) -> Outcome {
    turn.together.make_way(turn.egress, viewer, &meta);
    let mut out = loop {
        match turn.egress.claim(meta) {
            Some(out) => break out,
            None if turn.together.is_empty() => return Outcome::Full,
            // What is parked takes up room.
            None => turn.together.finish(turn.egress),
        }
    };
    let first = viewer.tracks[VIDEO].transport_sequence;
    let mut sealing = seal::Run::default();
    write(turn.now, viewer, &mut sealing, &mut out);
    if !sealing.is_finished() && !turn.together.takes(viewer, &meta) {
        viewer.sealer.finish_run(&mut sealing, out.memory());
    }
    let used = out.used();
    if sealing.is_finished() {
        turn.egress.commit(used);
    } else {
        turn.together.park(turn.egress, viewer, &mut sealing, used);
    }
    account(turn, viewer, &meta, first, used);
    Outcome::Done
}

/// Writes and seals one packet.
#[expect(
    clippy::inline_always,
    reason = "left to the compiler, it is in line or not as other code changes: a tenth of the path"
)]
#[inline(always)]
fn seal(
    now: Time,
    viewer: &mut Viewer,
    piece: &Piece<'_>,
    sealing: &mut seal::Run,
    out: &mut Slot<'_>,
) {
    let track = &mut viewer.tracks[track_of(piece.lane())];
    let stamp = track.stamp(now, piece);
    if piece.form() != 0 {
        let (front, rest) = track.parts(&[], piece);
        let parts = [&front[..], rest];
        let written = (&track.out, &stamp);
        return seal_varied(&viewer.sealer, written, piece, parts, sealing, out);
    }
    let written = write(&track.out, &stamp);
    let packet = Packet {
        index: stamp.index,
        header: written.header(),
        parts: [piece.payload, &[]],
    };
    put(&viewer.sealer, &packet, sealing, out);
}

/// The same of a packet whose size depends on what the viewer has negotiated, `as_out`.
#[inline(never)]
pub fn seal_varied(
    sealer: &Sealer,
    (as_out, stamp): (&TrackOut, &Stamp),
    piece: &Piece<'_>,
    parts: [&[u8]; 2],
    sealing: &mut seal::Run,
    out: &mut Slot<'_>,
) {
    let mut seal = |header: &[u8]| {
        let packet = Packet {
            index: stamp.index,
            header,
            parts,
        };
        put(sealer, &packet, sealing, out);
    };
    match write_wide(as_out, stamp, piece) {
        Some(written) => seal(written.header()),
        None => seal(write(as_out, stamp).header()),
    }
}

/// Seals a packet to where the next one of `out` is to be.
#[inline]
fn put(sealer: &Sealer, packet: &Packet<'_>, sealing: &mut seal::Run, out: &mut Slot<'_>) {
    let place = out.place();
    let sealed = sealer.rtp_of_run(sealing, packet, out.memory(), place);
    debug_assert!(
        sealed.is_some(),
        "measured, and leased below the last index"
    );
    out.fill(sealed.unwrap_or(0));
}

/// Counts a run that was sent.
#[inline]
fn account<E: Egress>(
    turn: &mut Turn<'_, E>,
    viewer: &mut Viewer,
    meta: &RunMeta,
    first: u16,
    used: usize,
) {
    if viewer.adaptation != NO_ADAPTATION {
        // The sound of a run counts with its video.
        let out = &viewer.tracks[VIDEO];
        let packets = out.transport_sequence.wrapping_sub(first);
        let run = estimate::Run {
            first,
            packets: u8::try_from(packets).unwrap_or(u8::MAX),
            bytes: u32::try_from(used).unwrap_or(u32::MAX),
            source: Source::Media,
            rtp: low(out.next_index).wrapping_sub(packets),
        };
        turn.adaptations.on_sent(turn.now, viewer, &run);
    }
    turn.done.runs += 1;
    turn.done.datagrams += u64::from(meta.segments);
    turn.done.bytes += used as u64;
    viewer.sent.packets += u64::from(meta.segments);
    viewer.sent.bytes += used as u64;
}

/// The sizes of a run as this viewer gets it. `None`: nothing of it is of `lanes`.
#[inline]
fn measure(viewer: &Viewer, burst: &Burst<'_>, run: &Run, lanes: Lanes) -> Option<RunMeta> {
    let tag = viewer.sealer.rtp_overhead();
    let mut segments = 0;
    let mut bytes = 0;
    for (lane, &packets) in run.packets.iter().enumerate() {
        if lanes.has(lane) {
            let added = viewer.tracks[track_of(lane)].header_bytes() + tag;
            segments += packets;
            bytes += usize::from(packets) * added + run.payload_bytes[lane] as usize;
        }
    }
    let mut pieces = burst
        .pieces(run)
        .iter()
        .filter(|piece| lanes.has(piece.lane()));
    let measured = |piece: &Piece<'_>| viewer.tracks[track_of(piece.lane())].packet_bytes(piece);
    if run.is_varied {
        bytes = pieces.clone().map(|piece| measured(piece) + tag).sum();
    }
    let first_bytes = measured(pieces.next()?) + tag;
    Some(RunMeta {
        peer: viewer.to.peer,
        local: viewer.to.local,
        segment_bytes: u16::try_from(first_bytes).unwrap_or(u16::MAX),
        segments,
        bytes,
        viewer: viewer.id.index,
    })
}
