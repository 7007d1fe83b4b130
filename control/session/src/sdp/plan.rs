//! Owns the decision about a viewer's offer: which section carries which track, and how.

use super::codec::{OfferedCodec, match_audio, match_rtx, match_video};
use super::elements::{Agreed, agree, redundant};
use super::offer::{Direction, Extension, Offer, OfferedMedia};
use super::publish::TRANSPORT_CC_URI;
use super::terms::{Reader, Terms};
use crate::description::{AudioCodec, StreamDescription, VideoCodec};
use crate::refusal::SignalError;
use link::command::{AUDIO, Hears, TRACKS_MAX, VIDEO};

/// The playout-delay header extension.
pub const PLAYOUT_DELAY_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// What is decided about an offer. Nothing has been allocated for the peer yet.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What each track goes out as.
    pub tracks: [Option<TrackPlan<'a>>; TRACKS_MAX],
    /// Arrivals are told by source and sequence number (RFC 8888) where anything is to adapt, and
    /// no transport-wide number is sent.
    pub by_source: bool,
    /// The peer's side of the transport.
    pub terms: Terms,
    pub(super) offer: &'a Offer,
}

impl Plan<'_> {
    /// The feedback on a track that is taken of the peer, where what it is sent adapts to its path
    /// or where it does not: a stream of one layer has nothing to adapt, and the feedback would be
    /// 17 packets a second and viewer in place of 1.2.
    #[must_use]
    pub fn hears(&self, track: usize, adapts: bool) -> Hears {
        let Some(plan) = self.tracks.get(track).copied().flatten() else {
            return Hears::NONE;
        };
        let codec = plan.codec;
        let is_video = track == VIDEO;
        let has_transport_cc = plan.transport_cc.is_some();
        let has_other = has_transport_cc || self.by_source;
        Hears::NONE
            .with(Hears::NACK, codec.nack && is_video)
            .with(Hears::PLI, codec.pli && is_video)
            .with(Hears::FIR, codec.fir && is_video)
            .with(Hears::TRANSPORT_CC, adapts && has_transport_cc)
            .with(Hears::BY_SOURCE, adapts && self.by_source)
            .with(Hears::REMB, adapts && is_video && codec.remb && !has_other)
    }
}

/// How one track is sent.
#[derive(Clone, Copy, Debug)]
pub struct TrackPlan<'a> {
    /// Index of the media section.
    pub section: usize,
    /// The chosen codec.
    pub codec: &'a OfferedCodec,
    /// Payload type of retransmissions, if offered.
    pub rtx: Option<u8>,
    /// Identifier of the playout-delay extension, if offered, 1 to 14, and whether the peer only
    /// receives it.
    pub playout_delay: Option<(u8, bool)>,
    /// The same as of `playout_delay` of the transport-wide sequence number, if its feedback is
    /// offered as well.
    pub transport_cc: Option<(u8, bool)>,
    /// Audio is stereo.
    pub(super) stereo: bool,
    /// Header-extension elements that it may be passed.
    pub elements: Agreed,
    /// The same sound with redundancy, if it takes that.
    pub red: Option<&'a OfferedCodec>,
}

/// Decides how `offer` is answered for a stream of this `description`.
///
/// # Errors
/// 406 if no section fits the stream, 422 if the offer asks for what we cannot do.
pub fn plan<'a>(
    offer: &'a Offer,
    description: &StreamDescription,
) -> Result<Plan<'a>, SignalError> {
    plan_with(offer, description, Terms::read)
}

/// Decides what is sent to whom has answered an offer of ours.
///
/// # Errors
/// As of [`plan`], of an answer.
pub fn plan_answer<'a>(
    answer: &'a Offer,
    description: &StreamDescription,
) -> Result<Plan<'a>, SignalError> {
    plan_with(answer, description, Terms::of_answer)
}

fn plan_with<'a>(
    offer: &'a Offer,
    description: &StreamDescription,
    read: Reader,
) -> Result<Plan<'a>, SignalError> {
    let mut tracks = [None; TRACKS_MAX];
    let mut secure_rtp_seen = false;
    let mut receiving_seen = false;
    for (section, media) in offer.medias.iter().enumerate() {
        if media.disabled || !media.is_secure_rtp() || !in_first_transport(offer, section) {
            continue;
        }
        secure_rtp_seen = true;
        receiving_seen |= media.receives;
        if !media.receives || (offer.bundle.is_none() && tracks.iter().any(Option::is_some)) {
            continue;
        }
        if media.kind == "video" && tracks[VIDEO].is_none() {
            tracks[VIDEO] = plan_video(media, section, description.video.as_ref());
        } else if media.kind == "audio" && tracks[AUDIO].is_none() {
            tracks[AUDIO] = plan_audio(media, section, description.audio.as_ref());
        }
    }
    let first = tracks.iter().flatten().map(|track| track.section).min();
    let Some(first) = first else {
        return Err(nothing_fits(secure_rtp_seen, receiving_seen, description));
    };
    let by_source = is_by_source(offer, &tracks);
    if by_source && let Some(video) = &mut tracks[VIDEO] {
        video.transport_cc = None;
    }
    Ok(Plan {
        tracks,
        by_source,
        terms: read(offer, first)?,
        offer,
    })
}

/// It is a matter of the transport: all formats of all sections have to offer it. RFC 8888 section
/// 6 has one line for all formats, Chromium 156 one for each. Without retransmissions of their own
/// there is no telling apart what came twice.
fn is_by_source(offer: &Offer, tracks: &[Option<TrackPlan<'_>>; TRACKS_MAX]) -> bool {
    let offers = |track: &TrackPlan<'_>| offer.medias[track.section].tells_by_source();
    tracks[VIDEO].is_some_and(|video| video.rtx.is_some()) && tracks.iter().flatten().all(offers)
}

fn plan_video<'a>(
    media: &'a OfferedMedia,
    section: usize,
    codec: Option<&VideoCodec>,
) -> Option<TrackPlan<'a>> {
    let codec = match_video(media, codec?)?;
    let rtx = match_rtx(media, codec.payload_type).map(|rtx| rtx.payload_type);
    // Only with retransmissions of their own: see `TrackOut::transport_cc_at`.
    let has_transport_cc = codec.transport_cc && rtx.is_some();
    let transport_cc = extension(media, TRANSPORT_CC_URI).filter(|_| has_transport_cc);
    Some(TrackPlan {
        section,
        codec,
        rtx,
        playout_delay: extension(media, PLAYOUT_DELAY_URI),
        transport_cc,
        stereo: false,
        elements: agree(media, codec, Direction::RecvOnly),
        red: None,
    })
}

fn plan_audio<'a>(
    media: &'a OfferedMedia,
    section: usize,
    codec: Option<&AudioCodec>,
) -> Option<TrackPlan<'a>> {
    let AudioCodec::Opus { channels } = codec?;
    let codec = match_audio(media, codec?)?;
    Some(TrackPlan {
        section,
        codec,
        rtx: None,
        playout_delay: extension(media, PLAYOUT_DELAY_URI),
        transport_cc: None,
        stereo: *channels > 1,
        elements: agree(media, codec, Direction::RecvOnly),
        red: redundant(media, codec).map(|(red, _)| red),
    })
}

/// An extension that we may send: its identifier, and whether the peer only receives it.
fn extension(media: &OfferedMedia, uri: &str) -> Option<(u8, bool)> {
    let (id, offered) = Extension::find(&media.extensions, uri)?;
    match offered.direction {
        Direction::SendRecv => Some((id, false)),
        Direction::RecvOnly => Some((id, true)),
        Direction::SendOnly | Direction::Inactive => None,
    }
}

/// All that we send goes over one transport: that of the first BUNDLE group, or of the first
/// section that fits when there is no group.
fn in_first_transport(offer: &Offer, section: usize) -> bool {
    offer.bundle.is_none() || offer.bundles(section)
}

fn nothing_fits(secure: bool, receiving: bool, description: &StreamDescription) -> SignalError {
    if !secure {
        return SignalError::unacceptable(
            "no-secure-rtp",
            "No media section of the first BUNDLE group is RTP over DTLS-SRTP.",
            "Offer video and audio as UDP/TLS/RTP/SAVPF in one BUNDLE group.",
        );
    }
    if !receiving {
        return SignalError::unacceptable(
            "direction-unusable",
            "The offer does not want to receive anything.",
            "Offer recvonly media; to publish, use another endpoint.",
        );
    }
    let name = |codec: Option<String>| codec.unwrap_or_else(|| "none".to_owned());
    let video = name(description.video.map(|codec| codec.to_string()));
    let audio = name(description.audio.map(|codec| codec.to_string()));
    SignalError::new(
        406,
        "no-common-codec",
        format!("The stream has video: {video}, audio: {audio}; the offer has no section for it."),
        "Offer a codec of the stream (H.264 with packetization-mode=1), or publish another one.",
    )
}
