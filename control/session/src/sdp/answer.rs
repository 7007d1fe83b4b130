//! Owns the answer: which offered section carries which track, and the text that says so.

use super::codec::{OfferedCodec, match_audio, match_rtx, match_video};
use super::offer::{Offer, OfferedMedia, Transport};
use crate::description::{AudioCodec, StreamDescription, VideoCodec};
use crate::dtls::fingerprint::Fingerprint;
use crate::refusal::WhepError;
use link::command::{AUDIO, TRACKS_MAX, VIDEO};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// The playout-delay header extension.
pub const PLAYOUT_DELAY_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

/// Identification of the one media stream that both tracks belong to (RFC 8830).
const MSID: &str = "freshet";

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
    offer: &'a Offer,
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
    stereo: bool,
}

/// What we bring to an answer.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// Our username fragment.
    pub ufrag: &'a str,
    /// Our password.
    pub pwd: &'a str,
    /// SHA-256 of our certificate, `AA:BB:...`.
    pub fingerprint: &'a str,
    /// Where we can be reached; not empty.
    pub candidates: &'a [SocketAddr],
    /// Canonical name of both tracks.
    pub cname: &'a str,
    /// Identifier of the description, below 2^63.
    pub session_number: u64,
    /// By track index: SSRC of the media and of its retransmissions.
    pub ssrcs: [[u32; 2]; TRACKS_MAX],
    /// Whether the playout-delay extension is used where offered.
    pub playout_delay: bool,
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

impl Plan<'_> {
    /// The text of the answer.
    #[must_use]
    pub fn write(&self, local: &Local<'_>) -> String {
        let mut out = String::with_capacity(4096);
        line(&mut out, format_args!("v=0"));
        line(
            &mut out,
            format_args!("o=- {} 1 IN IP4 127.0.0.1", local.session_number),
        );
        line(&mut out, format_args!("s=-"));
        line(&mut out, format_args!("t=0 0"));
        if self.offer.bundle.is_some() {
            let accepted = self
                .offer
                .medias
                .iter()
                .enumerate()
                .filter_map(|(section, media)| self.track_of(section).and(media.mid.as_deref()));
            let mids = accepted.collect::<Vec<_>>().join(" ");
            line(&mut out, format_args!("a=group:BUNDLE {mids}"));
        }
        line(&mut out, format_args!("a=msid-semantic:WMS {MSID}"));
        line(&mut out, format_args!("a=ice-lite"));
        line(&mut out, format_args!("a=ice-options:trickle ice2"));
        for (section, media) in self.offer.medias.iter().enumerate() {
            match self.track_of(section) {
                Some(track) => self.accept(&mut out, media, track, local),
                None => reject(&mut out, media),
            }
        }
        out
    }

    /// Index of the track that a section carries.
    fn track_of(&self, section: usize) -> Option<usize> {
        self.tracks
            .iter()
            .position(|t| t.is_some_and(|track| track.section == section))
    }

    fn accept(&self, out: &mut String, media: &OfferedMedia, track: usize, local: &Local<'_>) {
        let Some(plan) = self.tracks.get(track).copied().flatten() else {
            return;
        };
        let codec = plan.codec;
        let formats = plan.rtx.map_or(String::new(), |rtx| format!(" {rtx}"));
        let payload_type = codec.payload_type;
        let port = local.candidates.first().map_or(9, SocketAddr::port);
        line(
            out,
            format_args!(
                "m={} {port} {} {payload_type}{formats}",
                media.kind, media.proto
            ),
        );
        write_address(out, local);
        if let Some(mid) = &media.mid {
            line(out, format_args!("a=mid:{mid}"));
        }
        line(out, format_args!("a=sendonly"));
        self.write_transport(out, media, local);
        write_codec(out, &plan);
        if let Some(value) = &media.rcvr_rtt {
            line(out, format_args!("a=rtcp-xr:{value}"));
        }
        if let (true, Some((id, recvonly))) = (local.playout_delay, plan.playout_delay) {
            let direction = if recvonly { "/sendonly" } else { "" };
            line(
                out,
                format_args!("a=extmap:{id}{direction} {PLAYOUT_DELAY_URI}"),
            );
        }
        line(out, format_args!("a=msid:{MSID} {}", media.kind));
        let [ssrc, rtx_ssrc] = local.ssrcs[track];
        if plan.rtx.is_some() {
            line(out, format_args!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
        }
        line(out, format_args!("a=ssrc:{ssrc} cname:{}", local.cname));
        if plan.rtx.is_some() {
            line(out, format_args!("a=ssrc:{rtx_ssrc} cname:{}", local.cname));
        }
    }

    fn write_transport(&self, out: &mut String, media: &OfferedMedia, local: &Local<'_>) {
        let setup = if self.dtls_client {
            "active"
        } else {
            "passive"
        };
        line(out, format_args!("a=ice-ufrag:{}", local.ufrag));
        line(out, format_args!("a=ice-pwd:{}", local.pwd));
        line(
            out,
            format_args!("a=fingerprint:sha-256 {}", local.fingerprint),
        );
        line(out, format_args!("a=setup:{setup}"));
        line(out, format_args!("a=rtcp-mux"));
        if media.rtcp_rsize {
            line(out, format_args!("a=rtcp-rsize"));
        }
        for (position, candidate) in local.candidates.iter().enumerate() {
            let (ip, port) = (candidate.ip(), candidate.port());
            let (foundation, priority) = (position + 1, host_priority(position));
            line(
                out,
                format_args!("a=candidate:{foundation} 1 udp {priority} {ip} {port} typ host"),
            );
        }
        line(out, format_args!("a=end-of-candidates"));
    }
}

//= https://www.rfc-editor.org/rfc/rfc8445#section-5.1.2.1
//# priority = (2^24)*(type preference) +
//# (2^8)*(local preference) +
//# (2^0)*(256 - component ID)
pub(crate) fn host_priority(position: usize) -> u32 {
    const HOST: u32 = 126;
    let local = 65_535_u32.saturating_sub(u32::try_from(position).unwrap_or(u32::MAX));
    (HOST << 24) | (local << 8) | 255
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
//# Endpoints MUST NOT use the MD2 and MD5 hash functions for
//# fingerprints.
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

fn write_address(out: &mut String, local: &Local<'_>) {
    match local.candidates.first() {
        Some(SocketAddr::V4(addr)) => line(out, format_args!("c=IN IP4 {}", addr.ip())),
        Some(SocketAddr::V6(addr)) => line(out, format_args!("c=IN IP6 {}", addr.ip())),
        None => line(out, format_args!("c=IN IP4 0.0.0.0")),
    }
}

fn write_codec(out: &mut String, plan: &TrackPlan<'_>) {
    let codec = plan.codec;
    let (payload_type, name, clock) = (codec.payload_type, &codec.name, codec.clock_hz);
    let channels = if codec.channels > 1 {
        format!("/{}", codec.channels)
    } else {
        String::new()
    };
    line(
        out,
        format_args!("a=rtpmap:{payload_type} {name}/{clock}{channels}"),
    );
    let fmtp = answered_fmtp(codec, plan.stereo);
    if !fmtp.is_empty() {
        line(out, format_args!("a=fmtp:{payload_type} {fmtp}"));
    }
    // No transport-cc and no goog-remb: a stream of one layer has nothing to adapt, and the
    // feedback would be 17 packets a second and viewer in place of 1.2.
    let feedback = [
        (codec.nack, "nack"),
        (codec.pli, "nack pli"),
        (codec.fir, "ccm fir"),
    ];
    let is_video = codec.clock_hz == VideoCodec::CLOCK_HZ;
    for (_, name) in feedback.iter().filter(|(offered, _)| *offered && is_video) {
        line(out, format_args!("a=rtcp-fb:{payload_type} {name}"));
    }
    if let Some(rtx) = plan.rtx {
        line(out, format_args!("a=rtpmap:{rtx} rtx/{clock}"));
        line(out, format_args!("a=fmtp:{rtx} apt={payload_type}"));
    }
}

/// The offered parameters come back as they are: for H.264 receivers compare the profile and ignore
/// the level (RFC 6184 section 8.2.2 wants the profile unchanged). Opus is said to be stereo, else
/// browsers play it as mono (RFC 7587 section 6.1).
fn answered_fmtp(codec: &OfferedCodec, stereo: bool) -> String {
    let opus = codec.name.eq_ignore_ascii_case("opus");
    let dropped = |key: &str| opus && (key == "stereo" || key == "sprop-stereo");
    let mut parts: Vec<String> = codec
        .parameters()
        .filter(|(key, _)| !dropped(key))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if opus && stereo {
        parts.extend(["stereo=1".to_owned(), "sprop-stereo=1".to_owned()]);
    }
    parts.join(";")
}

/// A section that we do not want: port 0, and a `c=` line, without which Firefox refuses the whole
/// answer.
fn reject(out: &mut String, media: &OfferedMedia) {
    line(
        out,
        format_args!("m={} 0 {} {}", media.kind, media.proto, media.formats),
    );
    line(out, format_args!("c=IN IP4 0.0.0.0"));
    if let Some(mid) = &media.mid {
        line(out, format_args!("a=mid:{mid}"));
    }
    line(out, format_args!("a=inactive"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("a string takes whatever is written");
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests;
