//! Owns the POST of WHIP (RFC 9725): a session that publishes.

use crate::description::{AudioCodec, StreamDescription, VideoCodec};
use crate::output::Cause;
use crate::refusal::SignalError;
use crate::sdp::elements::ids;
use crate::sdp::offer::Offer;
use crate::sdp::publish::{Feedback, PublishPlan, PublishTrack, Simulcast, plan};
use crate::session::Publishing;
use crate::sessions::Sessions;
use crate::signalling::{Created, Newcomer, section_of};
use link::command::{Codec, Rid, TRACKS_MAX, TrackIn, TrackOut, VIDEO, Wants};
use link::ids::{StreamId, ViewerId};
use link::lanes::{LANES_MAX, LAYERS};
use wire::time::Time;

/// A session that publishes, and what its stream will consist of.
#[derive(Clone, Debug)]
pub struct Published {
    /// The session and its answer.
    pub created: Created,
    /// What the answer leaves the publisher to send.
    pub description: StreamDescription,
}

impl Sessions {
    /// What a stream would consist of if this offer were taken; changes nothing but a counter. For
    /// whoever opens streams only for those who can publish.
    ///
    /// # Errors
    /// 400, 413, 422, 406: the offer, as of [`Sessions::whip_post`].
    pub fn whip_check(&mut self, offer: &str) -> Result<StreamDescription, SignalError> {
        let description = Offer::parse(offer).and_then(|offer| Ok(plan(&offer)?.description));
        description.inspect_err(|_| self.counters.offer_refused += 1)
    }

    /// Makes a session that publishes `stream`, which is open. With `takeover` the session that
    /// publishes it now ends.
    ///
    /// # Errors
    /// 404: no such stream; 409: another session publishes it, and `takeover` is not wanted; 400,
    /// 413, 422: the offer; 406: no codec that viewers could be sent; 503: full. Nothing was made
    /// or ended.
    pub fn whip_post(
        &mut self,
        now: Time,
        stream: StreamId,
        offer: &str,
        takeover: bool,
    ) -> Result<Published, SignalError> {
        let Some(found) = self.streams.by_id(stream) else {
            return Err(not_open());
        };
        let before = found.publisher;
        if !takeover && (before.is_some() || self.pushes.feeds(stream)) {
            return Err(taken());
        }
        let refused = &mut self.counters.offer_refused;
        let offer = Offer::parse(offer).inspect_err(|_| *refused += 1)?;
        let plan = plan(&offer).inspect_err(|_| *refused += 1)?;
        let viewer = self.admit(now)?;
        if let Some(before) = before {
            self.close(now, before.index, Cause::TakenOver, true);
        }
        self.close_push(now, stream.index, Cause::TakenOver);
        let newcomer = Newcomer {
            viewer,
            stream,
            terms: plan.terms.clone(),
            section: section_of(&offer, plan.tracks.iter().flatten().map(|t| t.section)),
            video_section: None,
            tracks: [TrackOut::default(); TRACKS_MAX],
            publishing: Some(publishing(&plan, self.config.publisher_bitrate_max_bps)),
            agent: None,
        };
        let created = self.create(now, newcomer, |local, _| plan.write(local));
        self.set_publisher(stream, viewer);
        self.counters.publisher_created += 1;
        self.check_offered(now, stream);
        Ok(Published {
            created,
            description: plan.description,
        })
    }
}

impl Sessions {
    pub(crate) fn set_publisher(&mut self, stream: StreamId, viewer: ViewerId) {
        if let Some(stream) = self.streams.by_id_mut(stream) {
            stream.publisher = Some(viewer);
        }
    }
}

pub(crate) fn publishing(plan: &PublishPlan<'_>, bitrate_max_bps: u64) -> Publishing {
    let mut lanes = [TrackIn::default(); LANES_MAX];
    let mut listens_to_remb = false;
    for (index, lane) in lanes.iter_mut().take(TRACKS_MAX).enumerate() {
        let Some(track) = &plan.tracks[index] else {
            continue;
        };
        listens_to_remb |= track.feedback.remb;
        *lane = lane_of(index, track, &plan.description);
    }
    let simulcast = plan.simulcast.as_ref();
    encodings(&mut lanes, simulcast);
    Publishing {
        description: plan.description,
        lanes,
        rid_id: simulcast.map_or(0, |simulcast| simulcast.rid_id),
        repaired_rid_id: simulcast
            .and_then(|simulcast| simulcast.repaired_rid_id)
            .unwrap_or(0),
        transport_cc_id: plan.transport_cc.unwrap_or(0),
        remb_bps: if listens_to_remb { bitrate_max_bps } else { 0 },
        announced: false,
    }
}

/// How the track with this index comes in.
pub(crate) fn lane_of(
    track: usize,
    plan: &PublishTrack<'_>,
    description: &StreamDescription,
) -> TrackIn {
    let video = description.video.filter(|_| track == VIDEO);
    TrackIn {
        ssrc: plan.ssrc,
        rtx_ssrc: plan.rtx_ssrc,
        clock_hz: match track {
            VIDEO => VideoCodec::CLOCK_HZ,
            _ => AudioCodec::CLOCK_HZ,
        },
        payload_type: plan.codec.payload_type,
        rtx_payload_type: plan.rtx.unwrap_or(0),
        codec: video.map_or(Codec::Unknown, keyframes_of),
        wants: wants(plan.feedback),
        rid: Rid::default(),
        elements: ids(&plan.elements),
        red_payload_type: plan.red.map_or(0, |red| red.payload_type),
    }
}

/// Gives each encoding of the video a lane.
pub(crate) fn encodings(lanes: &mut [TrackIn; LANES_MAX], simulcast: Option<&Simulcast<'_>>) {
    let rids = simulcast.map_or(&[][..], |simulcast| &simulcast.rids);
    for (lane, (_, rid)) in LAYERS.into_iter().zip(rids) {
        lanes[lane] = TrackIn {
            rid: *rid,
            ..lanes[VIDEO]
        };
    }
}

fn keyframes_of(codec: VideoCodec) -> Codec {
    match codec {
        VideoCodec::H264 { .. } => Codec::H264,
        VideoCodec::H265 { .. } => Codec::H265,
        VideoCodec::Vp8 => Codec::Vp8,
        VideoCodec::Vp9 { .. } => Codec::Vp9,
        VideoCodec::Av1 { .. } => Codec::Av1,
    }
}

fn wants(feedback: Feedback) -> Wants {
    [
        (feedback.nack, Wants::NACK),
        (feedback.pli, Wants::PLI),
        (feedback.fir, Wants::FIR),
    ]
    .into_iter()
    .filter(|(wanted, _)| *wanted)
    .fold(Wants::default(), |all, (_, want)| all.with(want))
}

pub(crate) fn not_open() -> SignalError {
    SignalError::new(
        404,
        "stream-unknown",
        "The stream has been closed meanwhile.",
        "Publish it again.",
    )
}

pub(crate) fn taken() -> SignalError {
    SignalError::new(
        409,
        "stream-taken",
        "Somebody publishes this stream already.",
        "End the other session, publish under another name, or let newcomers take over.",
    )
}
