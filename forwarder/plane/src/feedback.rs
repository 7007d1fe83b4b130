//! Owns what a viewer's RTCP says: losses, calls for keyframes, reports, goodbyes.

use core::hash::{Hash, Hasher};

use link::command::{Hears, VIDEO};
use link::event::Gone;
use link::limits::PAYLOAD_MAX;
use link::stats::Counter;
use serde::{Deserialize, Serialize};
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::{Feedback, Message, Nack};
use wire::rtcp_report::{Bye, ReportBlock, XrBlock};
use wire::time::Span;

use crate::Plane;
use crate::asked::Repair;
use crate::encodings::is_of_sources;
use crate::fanout::Tables;
use crate::handover::Fields;
use crate::keyframe::{Replay, replay};
use crate::nack::{LOST_MAX, resend_after};
use crate::repair::refill;
use crate::report::{Echo, Wall};
use crate::verdict::Verdict;
use crate::viewer::{Phase, Viewer};

/// Reporting sources of one viewer that are remembered. Browsers use one for all tracks.
const REPORTERS: usize = 2;

/// What a viewer says of how it receives, and how often it complained.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Quality {
    /// Bytes of datagrams that came from it and were authentic.
    pub bytes_received: u64,
    /// Packets asked for again.
    pub nacks: u64,
    /// Calls for keyframes.
    pub plis: u64,
    /// Share lost of the last report on video (or audio, if there is no video), in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, the same track.
    pub lost: i32,
    /// Jitter of the same track, in its RTP clock.
    pub jitter: u32,
    /// Round-trip time; zero: not known.
    pub rtt: Span,
    /// Sources that have reported and not said goodbye.
    reporters: [Option<u32>; REPORTERS],
}

impl Quality {
    /// What is told to another worker at last.
    pub fn running(&mut self, fields: &mut impl Fields) {
        fields.field("bytes_received", &mut self.bytes_received);
        fields.field("nacks", &mut self.nacks);
        fields.field("plis", &mut self.plis);
        fields.field("fraction_lost", &mut self.fraction_lost);
        fields.field("lost", &mut self.lost);
        fields.field("jitter", &mut self.jitter);
        fields.field("rtt", &mut self.rtt);
    }

    /// What changes rarely.
    pub fn standing(&self, hasher: &mut impl Hasher) {
        self.reporters.hash(hasher);
    }

    fn reports(&mut self, ssrc: u32) {
        if !self.reporters.contains(&Some(ssrc))
            && let Some(free) = self.reporters.iter_mut().find(|place| place.is_none())
        {
            *free = Some(ssrc);
        }
    }

    /// True if the last source that reported has left.
    fn leaves(&mut self, bye: &Bye<'_>) -> bool {
        let before = self.reporters;
        for ssrc in bye.ssrcs() {
            for place in &mut self.reporters {
                if *place == Some(ssrc) {
                    *place = None;
                }
            }
        }
        self.reporters != before && self.reporters == [None; REPORTERS]
    }
}

/// What a compound has asked for, summed up.
#[derive(Default)]
struct Heard {
    lost: u64,
    repeated: u64,
    unqueued: u64,
    pleas: u64,
    replayed: u64,
    transport_wide: u64,
    by_source: u64,
    unnegotiated: u64,
    bye: bool,
    /// How long what was sent to it lately took to be told of; zero: not known.
    queued: Span,
}

impl Plane {
    /// SRTCP from a viewer.
    pub(crate) fn on_viewer_rtcp(&mut self, slot: u32, bytes: &mut [u8]) -> Verdict {
        let received = bytes.len() as u64;
        let Some(viewer) = self.tables.viewers.at_mut(slot) else {
            return Verdict::Unknown;
        };
        let plain = match viewer.cold.opener.rtcp(bytes) {
            Ok(plain) => plain,
            Err(refusal) => return Verdict::of_rtcp(refusal),
        };
        viewer.cold.heard_at = self.now;
        viewer.cold.quality.bytes_received += received;
        let publisher = viewer.is_publisher.then_some((viewer.stream, viewer.id));
        let parts = viewer.cold.parts;
        let mut heard = Heard {
            queued: self.adaptations.round_trip_of(viewer),
            ..Heard::default()
        };
        let mut adapts = false;
        let mut items = compound(plain);
        for item in items.by_ref() {
            if let Some((stream, id)) = publisher {
                self.publishers.on_item(self.wall, stream, id, &item);
            }
            if let Some(viewer) = self.tables.viewers.at(slot) {
                adapts |= self.adaptations.on_item(self.now, viewer, &item);
            }
            self.tables.on_item(self.wall, slot, &item, &mut heard);
            for part in parts.iter().filter(|_| is_of_sources(&item)) {
                self.tables.on_item(self.wall, part, &item, &mut heard);
            }
        }
        let stats = &self.outlets.stats;
        stats.add(Counter::NackReceived, heard.lost);
        stats.add(Counter::RetransmissionRepeated, heard.repeated);
        stats.add(Counter::RetransmissionOverBudget, heard.unqueued);
        stats.add(Counter::PliReceived, heard.pleas);
        stats.add(Counter::KeyframeReplayed, heard.replayed);
        stats.add(Counter::TransportFeedbackReceived, heard.transport_wide);
        stats.add(Counter::SourceFeedbackReceived, heard.by_source);
        stats.add(Counter::FeedbackRefused, heard.unnegotiated);
        if items.malformed().is_some() {
            return Verdict::RtcpMalformed;
        }
        if heard.bye {
            self.say_bye(slot);
        } else if adapts {
            self.adapt(slot);
            self.ask_keyframes();
        }
        Verdict::Heard
    }
}

impl Plane {
    /// A viewer is gone when its last source said goodbye. A publisher's sources do so when it
    /// changes what it sends as well: it has gone if nothing follows.
    fn say_bye(&mut self, slot: u32) {
        match self.tables.viewers.at_mut(slot) {
            Some(viewer) if viewer.is_publisher => viewer.cold.bye_at = self.now,
            _ => self.let_go(slot, Some(Gone::Bye)),
        }
    }
}

impl Tables {
    fn on_item(&mut self, wall: Wall, slot: u32, item: &Item<'_>, heard: &mut Heard) {
        let Some(viewer) = self.viewers.at_mut(slot) else {
            return;
        };
        match item {
            Item::ReceiverReport(report) => {
                viewer.cold.quality.reports(report.ssrc);
                report
                    .blocks
                    .for_each(|block| on_block(wall, viewer, &block));
            }
            Item::SenderReport(report) => {
                viewer.cold.quality.reports(report.info.ssrc);
                report
                    .blocks
                    .for_each(|block| on_block(wall, viewer, &block));
            }
            Item::ExtendedReport(report) => {
                for block in report.blocks() {
                    if let XrBlock::ReceiverReferenceTime(ntp) = block {
                        viewer.cold.echo = Some(Echo {
                            ssrc: report.ssrc,
                            middle: ntp.middle(),
                            at: wall.now,
                        });
                    }
                }
            }
            Item::Bye(bye) => heard.bye |= viewer.cold.quality.leaves(bye),
            Item::Feedback(feedback) => self.on_feedback(wall, slot, feedback, heard),
            Item::Sdes(_) | Item::App { .. } | Item::Unknown { .. } => {}
        }
    }

    fn on_feedback(&mut self, wall: Wall, slot: u32, feedback: &Feedback<'_>, heard: &mut Heard) {
        let Some(viewer) = self.viewers.at_mut(slot) else {
            return;
        };
        // It was sent nothing that it could ask for.
        if viewer.is_publisher {
            return;
        }
        let Some((track, kind)) = meant(viewer, feedback) else {
            return;
        };
        if !viewer.tracks[track].out.hears.has(kind) {
            heard.unnegotiated += 1;
            return;
        }
        match &feedback.message {
            Message::Nack(nack) => self.on_nack(wall, slot, track, *nack, heard),
            Message::Pli | Message::Fir(_) => self.on_plea(wall, slot, heard),
            Message::TransportCc(_) => heard.transport_wide += 1,
            Message::Arrivals(_) => heard.by_source += 1,
            Message::Remb(_) | Message::Unknown { .. } => {}
        }
    }

    fn on_nack(&mut self, wall: Wall, slot: u32, track: usize, nack: Nack<'_>, heard: &mut Heard) {
        let Some(viewer) = self.viewers.at_mut(slot) else {
            return;
        };
        let Some(stream) = self.streams.at(viewer.stream) else {
            return;
        };
        refill(wall.now, viewer, stream);
        // Whoever has used up its repairs takes no place from others.
        let has_budget = viewer.cold.repair.tokens() >= PAYLOAD_MAX as u64;
        let after = resend_after(viewer.cold.quality.rtt, heard.queued);
        let number = u8::try_from(track).unwrap_or_default();
        if !has_budget {
            let lost = nack.lost().take(LOST_MAX).count() as u64;
            heard.lost += lost;
            viewer.cold.quality.nacks += lost;
            heard.unqueued += lost;
            return;
        }
        for sequence in nack.lost().take(LOST_MAX) {
            heard.lost += 1;
            viewer.cold.quality.nacks += 1;
            // Before anything is looked up, and before it counts as sent again just now.
            let line = &mut viewer.cold.repairs_line;
            if !self.repairs.has_room(viewer.stream, viewer.id, *line) {
                heard.unqueued += 1;
                continue;
            }
            let index = wire::seq::extend(viewer.tracks[track].next_index, sequence);
            if viewer.tracks[track].sent(index).is_none() {
                continue;
            }
            if !viewer.cold.resent.may(wall.now, after, number, index) {
                heard.repeated += 1;
                continue;
            }
            let repair = Repair {
                track: number,
                index,
            };
            let line = &mut viewer.cold.repairs_line;
            if !self.repairs.push(viewer.stream, viewer.id, line, repair) {
                heard.unqueued += 1;
            }
        }
    }

    /// PLI or FIR: answered from the log if it has a keyframe.
    fn on_plea(&mut self, wall: Wall, slot: u32, heard: &mut Heard) {
        let Some(viewer) = self.viewers.at_mut(slot) else {
            return;
        };
        heard.pleas += 1;
        viewer.cold.quality.plis += 1;
        let Some(stream) = self.streams.at_mut(viewer.stream) else {
            return;
        };
        match viewer.phase {
            // A keyframe is on its way.
            Phase::CatchUp => {}
            Phase::Waiting => stream.wants_key = stream.wants_key.with(usize::from(viewer.lane)),
            Phase::Live => {
                let keyframe_at = viewer.tracks[VIDEO].keyframe_at;
                let rtt = viewer.cold.quality.rtt;
                if !viewer.cold.pleas.may(wall.now, keyframe_at, rtt) {
                    return;
                }
                match replay(wall.now, viewer, stream) {
                    Replay::Begun => {
                        heard.replayed += 1;
                        self.lists.join(slot, viewer);
                    }
                    Replay::Unneeded => {}
                    Replay::Missing => {
                        stream.wants_key = stream.wants_key.with(usize::from(viewer.lane));
                    }
                }
            }
        }
    }
}

/// The track of a viewer that feedback is on, and its kind. `None`: it is on no track of this one,
/// or of no known kind. What tells of the whole transport is negotiated with the video, and said to
/// the leader.
fn meant(viewer: &Viewer, feedback: &Feedback<'_>) -> Option<(usize, Hears)> {
    let is_video = |ssrc| viewer.takes_video && ssrc == viewer.tracks[VIDEO].out.ssrc;
    match &feedback.message {
        Message::Nack(_) => {
            let ssrc = feedback.media_ssrc;
            let mut tracks = viewer.tracks.iter();
            let track = tracks.position(|track| track.is_taken() && track.out.ssrc == ssrc)?;
            Some((track, Hears::NACK))
        }
        Message::Pli => is_video(feedback.media_ssrc).then_some((VIDEO, Hears::PLI)),
        Message::Fir(fir) => {
            let is_meant = fir.entries().any(|entry| is_video(entry.ssrc));
            is_meant.then_some((VIDEO, Hears::FIR))
        }
        _ if viewer.is_part => None,
        Message::Remb(_) => Some((VIDEO, Hears::REMB)),
        Message::TransportCc(_) => Some((VIDEO, Hears::TRANSPORT_CC)),
        Message::Arrivals(_) => Some((VIDEO, Hears::BY_SOURCE)),
        Message::Unknown { .. } => None,
    }
}

fn on_block(wall: Wall, viewer: &mut Viewer, block: &ReportBlock) {
    let tracks = viewer.tracks.iter_mut();
    tracks.for_each(|track| track.on_reported(block.ssrc));
    let main = if viewer.takes_video { VIDEO } else { 1 };
    let is_ours = viewer
        .tracks
        .iter()
        .any(|track| track.is_taken() && track.out.ssrc == block.ssrc);
    if !is_ours {
        return;
    }
    if let Some(rtt) = wall.ntp().and_then(|now| block.rtt(now)) {
        viewer.cold.quality.rtt = rtt;
    }
    if viewer.tracks[main].out.ssrc == block.ssrc {
        viewer.cold.quality.fraction_lost = block.fraction_lost;
        viewer.cold.quality.lost = block.cumulative_lost;
        viewer.cold.quality.jitter = block.jitter;
    }
}
