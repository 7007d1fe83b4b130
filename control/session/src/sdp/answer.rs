//! Owns the text of the answer to a viewer.

use super::codec::{OfferedCodec, join};
use super::elements::{self, Passed};
use super::layers::Offered;
use super::offer::OfferedMedia;
use super::plan::{PLAYOUT_DELAY_URI, Plan};
use super::publish::TRANSPORT_CC_URI;
use super::text::{self, Local, line};
use link::command::{Hears, TRACKS_MAX};

/// Identification of the one media stream that both tracks belong to (RFC 8830).
pub(super) const MSID: &str = "freshet";

/// What we say of the packets that we send.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// Canonical name of both tracks.
    pub cname: &'a str,
    /// By track index: SSRC of the media and of its retransmissions.
    pub ssrcs: [[u32; 2]; TRACKS_MAX],
    /// Whether the playout-delay extension is used where offered.
    pub playout_delay: bool,
    /// The stream has layers: what tells how much the path carries is used where offered.
    pub layered: bool,
    /// What of the publisher's packets is passed on beside the media, where offered.
    pub passed: Passed,
    /// In an offer of ours, what encodings the peer may take.
    pub offered: &'a Offered,
}

impl Plan<'_> {
    /// The text of the answer.
    #[must_use]
    pub fn write(&self, local: &Local<'_>, sending: &Sending<'_>) -> String {
        let mut out = String::with_capacity(4096);
        let accepts = |section| self.track_of(section).is_some();
        text::head(&mut out, self.offer, accepts, local);
        line(&mut out, format_args!("a=msid-semantic:WMS {MSID}"));
        for (section, media) in self.offer.medias.iter().enumerate() {
            match self.track_of(section) {
                Some(track) => self.accept(&mut out, media, track, local, sending),
                None => text::reject(&mut out, media),
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

    fn accept(
        &self,
        out: &mut String,
        media: &OfferedMedia,
        track: usize,
        local: &Local<'_>,
        sending: &Sending<'_>,
    ) {
        let Some(plan) = self.tracks.get(track).copied().flatten() else {
            return;
        };
        let codec = plan.codec;
        let red = plan.red.filter(|_| sending.passed.red);
        let red_type = red.map(|red| red.payload_type);
        let formats: Vec<u8> = [Some(codec.payload_type), plan.rtx, red_type]
            .into_iter()
            .flatten()
            .collect();
        text::accept(out, media, &formats, "sendonly", local);
        text::transport(out, media, &self.terms, local);
        let hears = self.hears(track, sending.layered);
        let transport_cc = plan.transport_cc.filter(|_| hears.has(Hears::TRANSPORT_CC));
        let feedback = [
            (Hears::NACK, "nack"),
            (Hears::PLI, "nack pli"),
            (Hears::FIR, "ccm fir"),
            (Hears::TRANSPORT_CC, "transport-cc"),
            (Hears::REMB, "goog-remb"),
        ];
        let feedback = feedback.map(|(kind, name)| (hears.has(kind), name));
        let fmtp = answered_fmtp(codec, plan.stereo);
        text::codec(out, codec, &fmtp, &feedback, plan.rtx);
        if let Some(red) = red {
            text::codec(out, red, red.fmtp.as_deref().unwrap_or_default(), &[], None);
        }
        if hears.has(Hears::BY_SOURCE) {
            line(out, format_args!("a=rtcp-fb:* ack ccfb"));
        }
        if let Some(value) = &media.rcvr_rtt {
            line(out, format_args!("a=rtcp-xr:{value}"));
        }
        let playout_delay = plan.playout_delay.filter(|_| sending.playout_delay);
        let extensions = [
            (playout_delay, PLAYOUT_DELAY_URI),
            (transport_cc, TRANSPORT_CC_URI),
        ];
        for (found, uri) in extensions {
            if let Some((id, recvonly)) = found {
                let direction = if recvonly { "/sendonly" } else { "" };
                line(out, format_args!("a=extmap:{id}{direction} {uri}"));
            }
        }
        let passed = sending.passed.filter(track, &plan.elements);
        elements::write(out, &passed, "/sendonly");
        name_source(out, &media.kind, sending, track, plan.rtx.is_some());
    }
}

/// Says which packets are those of a track.
pub(super) fn name_source(
    out: &mut String,
    kind: &str,
    sending: &Sending<'_>,
    track: usize,
    has_rtx: bool,
) {
    line(out, format_args!("a=msid:{MSID} {kind}"));
    let ([ssrc, rtx_ssrc], cname) = (sending.ssrcs[track], sending.cname);
    if has_rtx {
        line(out, format_args!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
    }
    line(out, format_args!("a=ssrc:{ssrc} cname:{cname}"));
    if has_rtx {
        line(out, format_args!("a=ssrc:{rtx_ssrc} cname:{cname}"));
    }
}

/// The offered parameters come back as they are: for H.264 receivers compare the profile and ignore
/// the level (RFC 6184 section 8.2.2 wants the profile unchanged). Opus is said to be stereo, else
/// browsers play it as mono (RFC 7587 section 6.1).
fn answered_fmtp(codec: &OfferedCodec, stereo: bool) -> String {
    let opus = codec.name.eq_ignore_ascii_case("opus");
    let dropped = |key: &str| opus && (key == "stereo" || key == "sprop-stereo");
    let kept = codec.parameters().filter(|(key, _)| !dropped(key));
    let said = [("stereo", "1"), ("sprop-stereo", "1")];
    join(kept.chain(said.into_iter().filter(|_| opus && stereo)))
}
