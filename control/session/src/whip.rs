//! Owns the POST of WHIP (RFC 9725): a session that publishes.

use crate::description::{AudioCodec, StreamDescription, VideoCodec};
use crate::output::Cause;
use crate::refusal::SignalError;
use crate::sdp::offer::Offer;
use crate::sdp::publish::{Feedback, PublishPlan, plan};
use crate::session::Publishing;
use crate::sessions::Sessions;
use crate::signalling::{Created, Newcomer, section_of};
use link::command::{Codec, Rid, TRACKS_MAX, TrackIn, TrackOut, VIDEO, Wants};
use link::ids::StreamId;
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
        if before.is_some() && !takeover {
            return Err(taken());
        }
        let refused = &mut self.counters.offer_refused;
        let offer = Offer::parse(offer).inspect_err(|_| *refused += 1)?;
        let plan = plan(&offer).inspect_err(|_| *refused += 1)?;
        let viewer = self.admit(now)?;
        if let Some(before) = before {
            self.close(now, before.index, Cause::TakenOver, true);
        }
        let newcomer = Newcomer {
            viewer,
            stream,
            terms: plan.terms.clone(),
            section: section_of(&offer, plan.tracks.iter().flatten().map(|t| t.section)),
            video_section: None,
            tracks: [TrackOut::default(); TRACKS_MAX],
            publishing: Some(publishing(&plan, self.config.publisher_bitrate_max_bps)),
        };
        let created = self.create(now, newcomer, |local, _| plan.write(local));
        if let Some(stream) = self.streams.by_id_mut(stream) {
            stream.publisher = Some(viewer);
        }
        self.counters.publisher_created += 1;
        Ok(Published {
            created,
            description: plan.description,
        })
    }
}

fn publishing(plan: &PublishPlan<'_>, bitrate_max_bps: u64) -> Publishing {
    let StreamDescription { video, audio } = plan.description;
    let clocks = [
        video.map_or(0, |_| VideoCodec::CLOCK_HZ),
        audio.map_or(0, |_| AudioCodec::CLOCK_HZ),
    ];
    let codecs = [video.map_or(Codec::Unknown, keyframes_of), Codec::Unknown];
    let mut lanes = [TrackIn::default(); LANES_MAX];
    let mut listens_to_remb = false;
    for (index, lane) in lanes.iter_mut().take(TRACKS_MAX).enumerate() {
        let Some(plan) = plan.tracks[index] else {
            continue;
        };
        listens_to_remb |= plan.feedback.remb;
        *lane = TrackIn {
            ssrc: plan.ssrc,
            rtx_ssrc: plan.rtx_ssrc,
            clock_hz: clocks[index],
            payload_type: plan.codec.payload_type,
            rtx_payload_type: plan.rtx.unwrap_or(0),
            codec: codecs[index],
            wants: wants(plan.feedback),
            rid: Rid::default(),
        };
    }
    let simulcast = plan.simulcast.as_ref();
    let rids = simulcast.map_or(&[][..], |simulcast| &simulcast.rids);
    for (lane, (_, rid)) in LAYERS.into_iter().zip(rids) {
        lanes[lane] = TrackIn {
            rid: *rid,
            ..lanes[VIDEO]
        };
    }
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

fn not_open() -> SignalError {
    SignalError::new(
        404,
        "stream-unknown",
        "The stream has been closed meanwhile.",
        "Publish it again.",
    )
}

fn taken() -> SignalError {
    SignalError::new(
        409,
        "stream-taken",
        "Somebody publishes this stream already.",
        "End the other session, publish under another name, or let newcomers take over.",
    )
}
