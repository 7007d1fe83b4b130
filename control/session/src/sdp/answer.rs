//! Owns the text of an answer.

use super::codec::OfferedCodec;
use super::offer::OfferedMedia;
use super::plan::{PLAYOUT_DELAY_URI, Plan, TrackPlan};
use crate::description::VideoCodec;
use link::command::TRACKS_MAX;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Identification of the one media stream that both tracks belong to (RFC 8830).
const MSID: &str = "freshet";

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
