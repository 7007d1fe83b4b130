//! Owns the text of the offer that we make to a viewer whose own offer cannot be answered, or to a
//! server that takes the stream from us. What it answers is read as if it were an offer: it says as
//! much, of fewer codecs.

use super::answer::{MSID, Sending, name_source};
use super::codec::OfferedCodec;
use super::crypto::Cryptos;
use super::elements::{self, redundancy};
use super::offer::{Offer, OfferedMedia, Transport};
use super::plan::PLAYOUT_DELAY_URI;
use super::publish::TRANSPORT_CC_URI;
use super::source::Source;
use super::text::{self, Local, line};
use crate::description::{AudioCodec, StreamDescription, VideoCodec};
use link::command::{AUDIO, VIDEO};

/// Payload type of the video, the first of those that are not assigned (RFC 3551 section 6); that
/// of its retransmissions comes after it, then those of the same video by another profile.
const VIDEO_TYPE: u8 = 96;

/// Payload type of Opus, as browsers have it.
const AUDIO_TYPE: u8 = 111;

/// The same of Opus with redundancy.
const RED_TYPE: u8 = 63;

/// Identifier of the playout-delay extension.
const PLAYOUT_DELAY_ID: u8 = 1;

/// The same of the transport-wide sequence number.
const TRANSPORT_CC_ID: u8 = 2;

/// The first of the same of elements that are passed on, by kind.
const ELEMENT_IDS: u8 = 3;

/// Constrained Baseline at level 3.1: browsers that call nothing above it theirs decode Main and
/// High all the same.
const H264_BASELINE: [u8; 3] = [0x42, 0xe0, 0x1f];

/// An offer of everything that a stream of this `description` consists of.
#[must_use]
pub fn write(description: &StreamDescription, local: &Local<'_>, sending: &Sending<'_>) -> String {
    let video = description
        .video
        .map(|codec| (VIDEO, "video", video(&codec)));
    let audio = description
        .audio
        .map(|codec| (AUDIO, "audio", audio(&codec, sending.passed.red)));
    let tracks: Vec<_> = [video, audio].into_iter().flatten().collect();
    let medias = tracks.iter().enumerate();
    let medias: Vec<_> = medias
        .map(|(section, (_, kind, codecs))| media(section, kind, codecs))
        .collect();
    let offer = Offer {
        bundle: Some(
            medias
                .iter()
                .filter_map(|media| media.mid.clone())
                .collect(),
        ),
        medias,
        ice_lite: !local.is_full,
    };
    let mut out = String::with_capacity(4096);
    text::head(&mut out, &offer, |_| true, local);
    line(&mut out, format_args!("a=msid-semantic:WMS {MSID}"));
    for (media, (track, _, codecs)) in offer.medias.iter().zip(&tracks) {
        let types = codecs
            .iter()
            .flat_map(|(codec, rtx)| [Some(codec.payload_type), *rtx]);
        let types: Vec<u8> = types.flatten().collect();
        text::accept(&mut out, media, &types, "sendonly", local);
        // Who opens the handshake is the answerer's choice (RFC 8842 section 5.2).
        text::ice_and_dtls(&mut out, true, "actpass", local);
        // For offers alone (RFC 8858 section 3).
        line(&mut out, format_args!("a=rtcp-mux-only"));
        let adapts = sending.layered && *track == VIDEO;
        for (codec, rtx) in codecs {
            let feedback = [
                (codec.nack, "nack"),
                (codec.pli, "nack pli"),
                (codec.fir, "ccm fir"),
                (adapts, "transport-cc"),
            ];
            let fmtp = codec.fmtp.as_deref().unwrap_or_default();
            text::codec(&mut out, codec, fmtp, &feedback, *rtx);
        }
        if sending.playout_delay {
            let (id, uri) = (PLAYOUT_DELAY_ID, PLAYOUT_DELAY_URI);
            line(&mut out, format_args!("a=extmap:{id} {uri}"));
        }
        if adapts {
            let (id, uri) = (TRANSPORT_CC_ID, TRANSPORT_CC_URI);
            line(&mut out, format_args!("a=extmap:{id} {uri}"));
        }
        let all = elements::wanted(*track == VIDEO, ELEMENT_IDS);
        elements::write(&mut out, &sending.passed.filter(*track, &all), "");
        let has_rtx = codecs.iter().any(|(_, rtx)| rtx.is_some());
        if *track == VIDEO && !sending.offered.is_empty() {
            // Told by their names, as browsers do it: an SSRC would stand for one of them.
            line(&mut out, format_args!("a=msid:{MSID} {}", media.kind));
            sending.offered.write(&mut out);
        } else {
            name_source(&mut out, &media.kind, sending, *track, has_rtx);
        }
    }
    out
}

/// A codec and the payload type of its retransmissions.
type Codec = (OfferedCodec, Option<u8>);

fn video(codec: &VideoCodec) -> Vec<Codec> {
    let (name, parameters) = match codec {
        VideoCodec::H264 { profile_level_id } => {
            let of = |[a, b, c]: [u8; 3]| {
                format!(
                    "level-asymmetry-allowed=1;packetization-mode=1;\
                     profile-level-id={a:02x}{b:02x}{c:02x}"
                )
            };
            let mut all = vec![of(*profile_level_id)];
            if *profile_level_id != H264_BASELINE {
                all.push(of(H264_BASELINE));
            }
            ("H264", all)
        }
        VideoCodec::H265 {
            profile,
            high_tier,
            level,
        } => {
            let tier = u8::from(*high_tier);
            let text =
                format!("level-id={level};profile-id={profile};tier-flag={tier};tx-mode=SRST");
            ("H265", vec![text])
        }
        VideoCodec::Vp8 => ("VP8", vec![String::new()]),
        VideoCodec::Vp9 { profile } => ("VP9", vec![format!("profile-id={profile}")]),
        VideoCodec::Av1 { profile } => ("AV1", vec![format!("profile={profile}")]),
    };
    let types = (VIDEO_TYPE..).step_by(2);
    let all = types.zip(parameters).map(|(payload_type, fmtp)| {
        let codec = OfferedCodec {
            payload_type,
            name: name.to_owned(),
            clock_hz: VideoCodec::CLOCK_HZ,
            channels: 1,
            fmtp: Some(fmtp),
            nack: true,
            pli: true,
            fir: true,
            ..OfferedCodec::default()
        };
        (codec, Some(payload_type + 1))
    });
    all.collect()
}

/// Opus, and before it the same with redundancy if the stream has that.
fn audio(codec: &AudioCodec, red: bool) -> Vec<Codec> {
    let AudioCodec::Opus { channels } = codec;
    let stereo = match channels {
        1 => "",
        _ => ";stereo=1;sprop-stereo=1",
    };
    let codec = OfferedCodec {
        payload_type: AUDIO_TYPE,
        name: "opus".to_owned(),
        clock_hz: AudioCodec::CLOCK_HZ,
        channels: 2,
        fmtp: Some(format!("minptime=10;useinbandfec=1{stereo}")),
        ..OfferedCodec::default()
    };
    let red = red.then(|| (redundancy(RED_TYPE, AUDIO_TYPE), None));
    red.into_iter().chain([(codec, None)]).collect()
}

fn media(section: usize, kind: &str, codecs: &[Codec]) -> OfferedMedia {
    OfferedMedia {
        kind: kind.to_owned(),
        proto: "UDP/TLS/RTP/SAVPF".to_owned(),
        formats: String::new(),
        port: 9,
        address: None,
        cryptos: Cryptos::default(),
        disabled: false,
        mid: Some(section.to_string()),
        receives: false,
        sends: true,
        source: Source::default(),
        rtcp_mux: true,
        rtcp_rsize: true,
        rcvr_rtt: None,
        codecs: codecs.iter().map(|(codec, _)| codec.clone()).collect(),
        extensions: Vec::new(),
        allows_mixed: true,
        transport: Transport::default(),
    }
}
