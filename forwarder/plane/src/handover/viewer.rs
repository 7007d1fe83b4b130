//! Owns a viewer on its way from one worker to the next.

use link::command::{AddViewer, Command, TRACKS_MAX};
use link::ids::StreamId;
use seal::Replay;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wire::datagram::RxMeta;
use wire::stun::Lately;
use wire::time::Time;

use super::{HandoverError, Rest, VIEWER, command, kept, put};
use crate::Plane;
use crate::check::learn;
use crate::feedback::Quality;
use crate::keyframe::Pleas;
use crate::layers::Adaptations;
use crate::report::Echo;
use crate::rewrite::{Cap, OutTrack};
use crate::viewer::{Phase, Sent, Viewer};

/// What one worker leaves of a viewer to the next.
#[derive(Debug, Serialize, Deserialize)]
pub struct ViewerState {
    /// Commands: the one that would add it as it is now, that of an ICE restart which has not moved
    /// it yet, and that of its pin.
    add: ByteBuf,
    restart: Option<ByteBuf>,
    pin: ByteBuf,
    phase: Phase,
    lane: u8,
    next_lane: u8,
    next_cap: Cap,
    is_worn: bool,
    cursor: u64,
    replay: u64,
    sent: Sent,
    tracks: [OutTrack; TRACKS_MAX],
    paths: Vec<RxMeta>,
    /// Of its SRTCP.
    opened: Vec<Replay>,
    rtcp_index: u64,
    is_controlling: bool,
    checked_at: Time,
    selected_at: Time,
    heard_at: Time,
    bye_at: Time,
    checks: Lately,
    pleas: Pleas,
    report_at: Time,
    echo: Option<Echo>,
    quality: Quality,
    /// What its path is thought to carry; 0: nobody has asked.
    estimate_bps: u64,
}

impl ViewerState {
    pub(super) fn of(viewer: &Viewer, stream: StreamId, estimate_bps: u64) -> Self {
        let cold = &viewer.cold;
        let id = viewer.id;
        let restart = cold
            .ice_next
            .map(|ice| Command::RestartIce { viewer: id, ice });
        Self {
            add: kept(&Command::AddViewer(added(viewer, stream))),
            restart: restart.as_ref().map(kept),
            pin: kept(&Command::ChooseLayer(id, cold.pin)),
            phase: viewer.phase,
            lane: viewer.lane,
            next_lane: viewer.next_lane,
            next_cap: viewer.next_cap,
            is_worn: viewer.is_worn,
            cursor: viewer.cursor,
            replay: viewer.replay,
            sent: viewer.sent,
            tracks: viewer.tracks,
            paths: cold.paths.iter().flatten().copied().collect(),
            opened: cold.opener.replays(),
            rtcp_index: cold.rtcp_index,
            is_controlling: cold.is_controlling,
            checked_at: cold.checked_at,
            selected_at: cold.selected_at,
            heard_at: cold.heard_at,
            bye_at: cold.bye_at,
            checks: cold.checks,
            pleas: cold.pleas,
            report_at: cold.report_at,
            echo: cold.echo,
            quality: cold.quality,
            estimate_bps,
        }
    }

    /// The command that adds it.
    pub(super) fn add(&self) -> Option<AddViewer> {
        match command(&self.add)? {
            Command::AddViewer(add) => Some(add),
            _ => None,
        }
    }

    /// What of it is not in the viewer itself.
    pub fn rest(&self) -> Rest {
        Rest {
            estimate_bps: self.estimate_bps,
            paths: self.paths.clone(),
        }
    }
}

/// The command that would add a viewer as it is now.
pub(super) fn added(viewer: &Viewer, stream: StreamId) -> AddViewer {
    AddViewer {
        viewer: viewer.id,
        stream,
        peer: viewer.to.peer,
        local: viewer.to.local,
        ice: viewer.cold.ice,
        keys: *viewer.cold.keys,
        tracks: viewer.tracks.each_ref().map(|track| track.negotiated()),
        rtcp_first_index: viewer.cold.rtcp_index,
        encoding: viewer.cold.encoding,
    }
}

impl Viewer {
    /// Goes on where another worker was; this one was made by the command that it left.
    pub fn go_on(&mut self, before: &ViewerState) {
        self.phase = before.phase;
        self.lane = before.lane;
        self.next_lane = before.next_lane;
        self.next_cap = before.next_cap;
        self.is_worn = before.is_worn;
        self.cursor = before.cursor;
        self.replay = before.replay;
        self.sent = before.sent;
        for (track, before) in self.tracks.iter_mut().zip(before.tracks) {
            track.go_on(before);
        }
        let cold = &mut self.cold;
        cold.opener.go_on(&before.opened);
        if let Some(Command::RestartIce { ice, .. }) = before.restart.as_ref().and_then(command) {
            cold.ice_next = Some(ice);
        }
        if let Some(Command::ChooseLayer(_, pin)) = command(&before.pin) {
            cold.pin = pin;
        }
        cold.rtcp_index = before.rtcp_index;
        // Not raised: with every handover they would run further ahead of what is used.
        self.leases = self.cell.leases();
        cold.is_controlling = before.is_controlling;
        cold.checked_at = before.checked_at;
        cold.selected_at = before.selected_at;
        cold.heard_at = before.heard_at;
        cold.bye_at = before.bye_at;
        cold.checks = before.checks;
        cold.pleas = before.pleas;
        cold.report_at = before.report_at;
        cold.echo = before.echo;
        cold.quality = before.quality;
    }
}

impl Adaptations {
    /// Begins with what is known of the path of a viewer, if anybody has asked.
    pub fn go_on(&mut self, now: Time, viewer: &mut Viewer, before: &Rest) {
        if before.estimate_bps > 0 {
            self.begin(now, viewer, before.estimate_bps);
        }
    }
}

impl Plane {
    /// Knows a viewer by the pairs on which valid checks came.
    pub(crate) fn learn_paths(&mut self, slot: u32, before: &Rest) {
        if let Some(viewer) = self.tables.viewers.at_mut(slot) {
            for path in &before.paths {
                learn(self.now, &mut self.flows, slot, viewer, *path);
            }
            // The oldest stays the oldest: it is the first to make room.
            let age =
                |path: &Option<RxMeta>| before.paths.iter().position(|one| Some(*one) == *path);
            let paths = &mut viewer.cold.paths;
            paths.sort_by_key(|path| age(path).unwrap_or(usize::MAX));
        }
    }

    /// Writes what is left of all viewers: first of those who stand for others, and of those who
    /// were told of ahead no more than that wants.
    pub(super) fn put_viewers(&mut self, out: &mut Vec<u8>) -> Result<(), HandoverError> {
        let mut told = Vec::with_capacity(self.told_len());
        for is_part in [false, true] {
            let viewers = &self.tables.viewers;
            for &slot in viewers.active() {
                let Some(viewer) = viewers.at(slot).filter(|one| one.is_part == is_part) else {
                    continue;
                };
                let Some(stream) = self.tables.streams.at(viewer.stream) else {
                    continue;
                };
                if let Some(nth) = self.told(slot, viewer, stream.id) {
                    told.push((slot, nth));
                    continue;
                }
                let bps = self.adaptations.bps_of(viewer);
                put(out, VIEWER, &ViewerState::of(viewer, stream.id, bps))?;
            }
        }
        self.put_rows(&told, out)
    }
}
