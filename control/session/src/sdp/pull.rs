//! Owns the text of the offer with which we ask another server for a stream: everything that can be
//! passed on to viewers as it comes.

use super::codec::OfferedCodec;
use super::elements::{self, redundancy};
use super::publish::TRANSPORT_CC_URI;
use super::text::{self, Local, line};
use crate::description::{AudioCodec, VideoCodec};

/// Payload type of the first video codec, the first of those that are not assigned (RFC 3551
/// section 6); that of its retransmissions comes after it, then those of the next codec.
const VIDEO_TYPE: u8 = 96;

/// Payload type of Opus, beyond all of the video.
const AUDIO_TYPE: u8 = 126;

/// The same of Opus with redundancy (RFC 2198). It is offered behind Opus: whoever has the choice
/// need not send the sound twice, and whose publisher has made it already passes it on.
const RED_TYPE: u8 = 127;

/// Identifier of the transport-wide sequence number.
const TRANSPORT_CC_ID: u8 = 1;

/// The first identifier of elements that are passed on, by kind.
const ELEMENT_IDS: u8 = 2;

/// What can be passed on, with its format parameters. Of H.264 one for each profile, and a level
/// that no stream exceeds: whoever sends keeps to it (RFC 6184 section 8.2.2).
const VIDEO: [(&str, &str); 10] = [
    ("H264", "profile-level-id=640034"),
    ("H264", "profile-level-id=4d0034"),
    ("H264", "profile-level-id=42e034"),
    ("H264", "profile-level-id=420034"),
    ("VP8", ""),
    ("VP9", "profile-id=0"),
    ("VP9", "profile-id=2"),
    ("AV1", "profile=0"),
    ("H265", "level-id=183;profile-id=1;tier-flag=0;tx-mode=SRST"),
    ("H265", "level-id=183;profile-id=2;tier-flag=0;tx-mode=SRST"),
];

/// What we can make use of when we ask for it.
const FEEDBACK: [(bool, &str); 5] = [
    (true, "nack"),
    (true, "nack pli"),
    (true, "ccm fir"),
    (true, "transport-cc"),
    (true, "goog-remb"),
];

/// An offer to receive one video and one audio track.
#[must_use]
pub fn write(local: &Local<'_>) -> String {
    let mut out = String::with_capacity(8192);
    text::session(&mut out, &["0", "1"], local);
    let types: Vec<u8> = video()
        .flat_map(|(codec, rtx)| [codec.payload_type, rtx])
        .collect();
    section(&mut out, ("video", "0"), &types, local);
    for (codec, rtx) in video() {
        let fmtp = codec.fmtp.as_deref().unwrap_or_default();
        text::codec(&mut out, &codec, fmtp, &FEEDBACK, Some(rtx));
    }
    section(&mut out, ("audio", "1"), &[AUDIO_TYPE, RED_TYPE], local);
    let opus = OfferedCodec {
        payload_type: AUDIO_TYPE,
        name: "opus".to_owned(),
        clock_hz: AudioCodec::CLOCK_HZ,
        channels: 2,
        ..OfferedCodec::default()
    };
    // Without `stereo` it would be sent as mono (RFC 7587 section 6.1).
    let fmtp = "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1";
    text::codec(&mut out, &opus, fmtp, &[(true, "transport-cc")], None);
    let red = redundancy(RED_TYPE, AUDIO_TYPE);
    text::codec(&mut out, &red, red.fmtp.as_deref().unwrap_or(""), &[], None);
    out
}

fn section(out: &mut String, (kind, mid): (&str, &str), types: &[u8], local: &Local<'_>) {
    text::begin(out, kind, "UDP/TLS/RTP/SAVPF", types, local);
    line(out, format_args!("a=mid:{mid}"));
    line(out, format_args!("a=recvonly"));
    // Who opens the handshake is the answerer's choice (RFC 8842 section 5.2).
    text::ice_and_dtls(out, true, "actpass", local);
    let (id, uri) = (TRANSPORT_CC_ID, TRANSPORT_CC_URI);
    line(out, format_args!("a=extmap:{id} {uri}"));
    elements::write(out, &elements::wanted(kind == "video", ELEMENT_IDS), "");
}

/// Each codec, and the payload type of its retransmissions.
fn video() -> impl Iterator<Item = (OfferedCodec, u8)> {
    let types = (VIDEO_TYPE..).step_by(2);
    types.zip(VIDEO).map(|(payload_type, (name, parameters))| {
        let fmtp = match name {
            "H264" => format!("level-asymmetry-allowed=1;packetization-mode=1;{parameters}"),
            _ => parameters.to_owned(),
        };
        let codec = OfferedCodec {
            payload_type,
            name: name.to_owned(),
            clock_hz: VideoCodec::CLOCK_HZ,
            channels: 1,
            fmtp: Some(fmtp),
            ..OfferedCodec::default()
        };
        (codec, payload_type + 1)
    })
}
