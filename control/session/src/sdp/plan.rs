//! Owns the decision about an offer: which section carries which track, and on what terms.

use super::codec::{OfferedCodec, match_audio, match_rtx, match_video};
use super::offer::{Offer, OfferedMedia, Transport};
use crate::description::{AudioCodec, StreamDescription, VideoCodec};
use crate::dtls::fingerprint::Fingerprint;
use crate::refusal::WhepError;
use link::command::{AUDIO, TRACKS_MAX, VIDEO};

/// The playout-delay header extension.
pub const PLAYOUT_DELAY_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// What is decided about an offer. Nothing has been allocated for the peer yet.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// What each track goes out as.
    pub tracks: [Option<TrackPlan<'a>>; TRACKS_MAX],
    /// We open the DTLS handshake, because the peer wants to be the server.
    pub dtls_client: bool,
    /// The peer's username fragment and password.
    pub remote_ice: (String, String),
    /// One of these certificates is the peer's.
    pub fingerprints: Vec<Fingerprint>,
    pub(super) offer: &'a Offer,
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
    /// Audio is stereo.
    pub(super) stereo: bool,
}

/// Decides how `offer` is answered for a stream of this `description`.
///
/// # Errors
/// 406 if no section fits the stream, 422 if the offer asks for what we cannot do.
pub fn plan<'a>(offer: &'a Offer, description: &StreamDescription) -> Result<Plan<'a>, WhepError> {
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
    let Some(media) = first.and_then(|section| offer.medias.get(section)) else {
        return Err(nothing_fits(secure_rtp_seen, receiving_seen, description));
    };
    check_transport(offer, media)?;
    Ok(Plan {
        tracks,
        dtls_client: media.transport.setup.as_deref() == Some("passive"),
        remote_ice: remote_ice(&media.transport)?,
        fingerprints: fingerprints(&media.transport)?,
        offer,
    })
}

fn plan_video<'a>(
    media: &'a OfferedMedia,
    section: usize,
    codec: Option<&VideoCodec>,
) -> Option<TrackPlan<'a>> {
    let codec = match_video(media, codec?)?;
    let rtx = match_rtx(media, codec.payload_type).map(|rtx| rtx.payload_type);
    let playout_delay = playout_delay(media);
    Some(TrackPlan {
        section,
        codec,
        rtx,
        playout_delay,
        stereo: false,
    })
}

fn plan_audio<'a>(
    media: &'a OfferedMedia,
    section: usize,
    codec: Option<&AudioCodec>,
) -> Option<TrackPlan<'a>> {
    let AudioCodec::Opus { channels } = codec?;
    let codec = match_audio(media, codec?)?;
    let playout_delay = playout_delay(media);
    Some(TrackPlan {
        section,
        codec,
        rtx: None,
        playout_delay,
        stereo: *channels > 1,
    })
}

fn playout_delay(media: &OfferedMedia) -> Option<(u8, bool)> {
    let found = media
        .extensions
        .iter()
        .find(|extension| extension.uri == PLAYOUT_DELAY_URI)?;
    // RFC 8285 section 4.2: 15 is reserved, 0 is padding.
    let id = u8::try_from(found.id)
        .ok()
        .filter(|id| (1..=14).contains(id))?;
    Some((id, found.recvonly))
}

/// All that we send goes over one transport: that of the first BUNDLE group, or of the first
/// section that fits when there is no group.
fn in_first_transport(offer: &Offer, section: usize) -> bool {
    let mid = offer
        .medias
        .get(section)
        .and_then(|media| media.mid.as_ref());
    match (&offer.bundle, mid) {
        (None, _) => true,
        (Some(tags), Some(mid)) => tags.contains(mid),
        (Some(_), None) => false,
    }
}

fn check_transport(offer: &Offer, media: &OfferedMedia) -> Result<(), WhepError> {
    if offer.ice_lite {
        return Err(WhepError::unacceptable(
            "ice-lite-both",
            "The offer is from an ICE lite agent, and so are we: nobody would send checks.",
            "Offer with a full ICE agent.",
        ));
    }
    if !media.rtcp_mux {
        return Err(WhepError::unacceptable(
            "rtcp-mux-missing",
            "The offer wants RTCP on a port of its own.",
            "Add a=rtcp-mux to every media section.",
        ));
    }
    match media.transport.setup.as_deref() {
        None | Some("actpass" | "active" | "passive") => Ok(()),
        Some(_) => Err(WhepError::unacceptable(
            "setup-unusable",
            "a=setup is none of actpass, active, passive.",
            "Offer a=setup:actpass.",
        )),
    }
}

fn remote_ice(transport: &Transport) -> Result<(String, String), WhepError> {
    match (&transport.ufrag, &transport.pwd) {
        (Some(ufrag), Some(pwd)) => Ok((ufrag.clone(), pwd.clone())),
        _ => Err(WhepError::unacceptable(
            "ice-credentials-missing",
            "The offer has no ice-ufrag or no ice-pwd.",
            "Offer with ICE.",
        )),
    }
}

//= https://www.rfc-editor.org/rfc/rfc8122#section-5
//# MUST NOT use the MD2 and MD5 hash functions to calculate fingerprints
//# or to verify received fingerprints
fn fingerprints(transport: &Transport) -> Result<Vec<Fingerprint>, WhepError> {
    if transport.fingerprints.is_empty() {
        return Err(WhepError::unacceptable(
            "fingerprint-missing",
            "The offer has no fingerprint, so its certificate could not be told from any other.",
            "Offer DTLS-SRTP with a=fingerprint:sha-256.",
        ));
    }
    let strong: Vec<_> = transport
        .fingerprints
        .iter()
        .take(8)
        .filter_map(|text| Fingerprint::parse(text))
        .collect();
    if strong.is_empty() {
        return Err(WhepError::unacceptable(
            "fingerprint-weak",
            "No fingerprint is a well-formed sha-256, sha-384 or sha-512.",
            "Offer a=fingerprint:sha-256.",
        ));
    }
    Ok(strong)
}

fn nothing_fits(secure: bool, receiving: bool, description: &StreamDescription) -> WhepError {
    if !secure {
        return WhepError::unacceptable(
            "no-secure-rtp",
            "No media section of the first BUNDLE group is RTP over DTLS-SRTP.",
            "Offer video and audio as UDP/TLS/RTP/SAVPF in one BUNDLE group.",
        );
    }
    if !receiving {
        return WhepError::unacceptable(
            "direction-unusable",
            "The offer does not want to receive anything.",
            "Offer recvonly media; to publish, use another endpoint.",
        );
    }
    let name = |codec: Option<String>| codec.unwrap_or_else(|| "none".to_owned());
    let video = name(description.video.map(|codec| codec.to_string()));
    let audio = name(description.audio.map(|codec| codec.to_string()));
    WhepError::new(
        406,
        "no-common-codec",
        format!("The stream has video: {video}, audio: {audio}; the offer has no section for it."),
        "Offer a codec of the stream (H.264 with packetization-mode=1), or publish another one.",
    )
}
