//! Owns the sessions in which a server is sent every encoding of a stream (RFC 8853): what is
//! offered, what of it is taken, and the viewers by which the encodings beside the first leave.

use crate::output::Cause;
use crate::reconcile::Holder;
use crate::sdp::layers::{Accepted, Offered};
use crate::session::{Placed, Session};
use crate::sessions::Sessions;
use crate::whep::set_extension;
use link::command::{AUDIO, AddViewer, Encoding, TRACKS_MAX, TrackIn, TrackOut, VIDEO};
use link::ids::{StreamId, ViewerId};
use link::lanes::LANES_MAX;
use wire::rtp_ext::Block;
use wire::time::Time;

/// One more encoding of a session. At its worker it is a viewer with the session's keys.
pub(crate) struct Part {
    pub(crate) viewer: ViewerId,
    pub(crate) lane: u8,
    pub(crate) track: TrackOut,
    pub(crate) rtcp_first_index: u64,
}

/// What goes out by the answer to an offer of several encodings.
pub(crate) struct Encodings {
    /// The lane of the session's own viewer.
    pub(crate) lane: u8,
    /// The others.
    pub(crate) parts: Vec<Part>,
    /// The names of all of them, the session's own first.
    pub(crate) names: Vec<String>,
}

impl Encodings {
    /// The viewers of the others.
    pub(crate) fn viewers(&self) -> impl Iterator<Item = ViewerId> {
        self.parts.iter().map(|part| part.viewer)
    }

    /// One bit for each part.
    pub(crate) fn mask(&self) -> u8 {
        let bits = self.parts.iter().enumerate();
        bits.fold(0, |mask, (nth, _)| mask | 1 << nth)
    }
}

impl Sessions {
    /// What a stream's publisher says that it sends, by lane: by a session, or by a push.
    pub(crate) fn lanes_of(&self, stream: StreamId) -> Option<&[TrackIn; LANES_MAX]> {
        let publishing = self
            .publisher_of(stream)
            .and_then(|session| session.publishing.as_ref());
        let lanes = publishing.map(|publishing| &publishing.lanes);
        lanes.or_else(|| Some(&self.pushes.0.get(&stream.index)?.add.lanes))
    }

    /// The same; if nobody publishes, of the publisher before.
    pub(crate) fn expected_lanes(&self, stream: StreamId) -> Option<&[TrackIn; LANES_MAX]> {
        let before = || self.streams.by_id(stream)?.lanes_before.as_ref();
        self.lanes_of(stream).or_else(before)
    }

    /// The encodings of a stream's video, if it has several.
    pub(crate) fn offered(&self, stream: StreamId) -> Offered {
        self.lanes_of(stream).map(Offered::of).unwrap_or_default()
    }

    /// What a stream consists of may have changed with its publisher: sessions in which other
    /// encodings were offered are let go, so that they are made again.
    pub(crate) fn check_offered(&mut self, now: Time, stream: StreamId) {
        let offered = self.offered(stream);
        let is_wronged = |session: &&Session| {
            let before = session.offered.as_ref();
            session.stream == stream && before.is_some_and(|before| *before != offered)
        };
        let wronged = self.table.calls().filter(is_wronged);
        for index in wronged.map(|s| s.viewer.index).collect::<Vec<_>>() {
            self.close(now, index, Cause::FormatChanged, true);
        }
    }

    /// Gives each encoding that was taken sources of its own. `tracks` are those of the session:
    /// their video becomes that of the first encoding. `None`: there is no place for all.
    pub(crate) fn take_encodings(
        &mut self,
        now: Time,
        accepted: &Accepted,
        tracks: &mut [TrackOut; TRACKS_MAX],
    ) -> Option<Encodings> {
        let [(lane, first), others @ ..] = &accepted.encodings[..] else {
            return None;
        };
        let model = tracks[VIDEO];
        let mut ssrcs = vec![tracks[AUDIO].ssrc, tracks[AUDIO].rtx_ssrc];
        ssrcs.extend([model.ssrc, model.rtx_ssrc]);
        name(&mut tracks[VIDEO], accepted, first);
        let mut parts = Vec::new();
        for (lane, rid) in others {
            let Some(viewer) = self.table.vacancy(now) else {
                parts.iter().for_each(|part: &Part| {
                    self.table.release(now, part.viewer);
                });
                return None;
            };
            let mut track = TrackOut {
                ssrc: self.ssrc(&mut ssrcs),
                first_index: self.random.first_index(),
                rtx_first_index: self.random.first_index(),
                timestamp_offset: self.random.timestamp_offset(),
                ..model
            };
            if model.rtx_ssrc != 0 {
                track.rtx_ssrc = self.ssrc(&mut ssrcs);
            }
            name(&mut track, accepted, rid);
            parts.push(Part {
                viewer,
                lane: *lane,
                track,
                rtcp_first_index: 1,
            });
        }
        let rids = accepted.encodings.iter();
        Some(Encodings {
            lane: *lane,
            parts,
            names: rids.map(|(_, rid)| rid.clone()).collect(),
        })
    }

    /// One that the session has not.
    fn ssrc(&mut self, used: &mut Vec<u32>) -> u32 {
        loop {
            let [ssrc] = self.random.ssrcs();
            if !used.contains(&ssrc) {
                used.push(ssrc);
                return ssrc;
            }
        }
    }
}

/// Puts the names of an encoding on the packets of a track.
fn name(track: &mut TrackOut, accepted: &Accepted, rid: &str) {
    let mut block = Block::new();
    if let Some((id, mid)) = &accepted.mid {
        block.push(*id, mid.as_bytes());
    }
    let at = block.push(accepted.rid_id, rid.as_bytes());
    track.transport_cc_at = 0;
    set_extension(track, &block);
    // Its header is the byte before.
    let name_at = at.and_then(|at| u8::try_from(at).ok()?.checked_sub(1));
    track.name_at = name_at.unwrap_or(0);
    track.repaired_rid_id = accepted.repaired_rid_id.unwrap_or(0);
}

impl Session {
    /// What a worker is told of the viewer of the session, or of one of its parts.
    pub(crate) fn add_viewer(&self, placed: &Placed, part: Option<&Part>) -> AddViewer {
        let mut tracks = self.tracks;
        if let Some(part) = part {
            tracks = [TrackOut::default(); TRACKS_MAX];
            tracks[VIDEO] = part.track;
        }
        let own = self.encodings.as_ref().map(|all| all.lane);
        let lane = part.map(|part| part.lane).or(own);
        AddViewer {
            viewer: part.map_or(self.viewer, |part| part.viewer),
            stream: self.stream,
            peer: placed.peer,
            local: placed.local,
            ice: *self.ice.credentials(),
            keys: placed.keys,
            tracks,
            rtcp_first_index: part.map_or(placed.rtcp_first_index, |part| part.rtcp_first_index),
            encoding: lane.map(|lane| Encoding {
                leader: self.viewer,
                lane,
            }),
        }
    }

    /// The encodings beside the first.
    pub(crate) fn parts(&self) -> &[Part] {
        self.encodings.as_ref().map_or(&[], |all| &all.parts)
    }

    /// One bit for each of them.
    pub(crate) fn parts_mask(&self) -> u8 {
        self.encodings.as_ref().map_or(0, Encodings::mask)
    }

    /// They are to be sent again by a worker that has forgotten them, from the leases on.
    pub(crate) fn renew_parts(&mut self, leases: impl Fn(u32) -> [u64; 5]) {
        let parts = self.encodings.iter_mut().flat_map(|all| &mut all.parts);
        for part in parts {
            let [video, rtx, _, _, rtcp] = leases(part.viewer.index);
            part.track.first_index = part.track.first_index.max(video);
            part.track.rtx_first_index = part.track.rtx_first_index.max(rtx);
            part.rtcp_first_index = part.rtcp_first_index.max(rtcp);
        }
        let mask = self.parts_mask();
        if let Some(placed) = &mut self.placed {
            placed.parts_awaited = mask;
        }
    }

    /// A worker has said that it serves this part.
    pub(crate) fn on_part_added(&mut self, viewer: ViewerId) {
        let nth = self.parts().iter().position(|part| part.viewer == viewer);
        if let (Some(nth), Some(placed)) = (nth, &mut self.placed) {
            placed.parts_awaited &= !(1 << nth);
        }
    }

    /// Notes which parts are held. False: one has gone that was.
    pub(crate) fn audit_parts(&mut self, holder: impl Fn(ViewerId) -> Holder) -> bool {
        let Some(placed) = &self.placed else {
            return true;
        };
        let (core, mut awaited) = (placed.core, placed.parts_awaited);
        for (nth, part) in self.parts().iter().enumerate() {
            match holder(part.viewer) {
                Holder::Core(found) if found == core => awaited &= !(1 << nth),
                Holder::Core(_) | Holder::Nobody if awaited >> nth & 1 == 0 => return false,
                _ => {}
            }
        }
        if let Some(placed) = &mut self.placed {
            placed.parts_awaited = awaited;
        }
        true
    }
}
