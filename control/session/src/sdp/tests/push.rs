//! Tests of descriptions of pushes and their answers: those of encoders, and hostile ones.

use super::super::offer::Offer;
use super::super::push::{Given, Origins, PushPlan, plan};
use super::super::push_answer::Receiver;
use super::{CHROMIUM, candidates};
use crate::description::{AudioCodec, VideoCodec};
use crate::refusal::SignalError;
use link::command::{AUDIO, VIDEO};
use link::keys::Profile;
use proptest::prelude::*;
use std::net::SocketAddr;

const FFMPEG: &str = include_str!("../../../../../tests/corpus/sdp/ffmpeg5_push.sdp");
const FFMPEG_SRTP: &str = include_str!("../../../../../tests/corpus/sdp/ffmpeg5_push_srtp.sdp");

const KEY: &str = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
const OTHER_KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// As GStreamer's payloaders describe what they send, both under their default payload type.
const GSTREAMER: &str = "v=0\r\n\
    o=- 1188340656180883 1 IN IP4 192.0.2.9\r\n\
    s=Session streamed with GStreamer\r\n\
    t=0 0\r\n\
    m=video 5000 RTP/AVP 96\r\n\
    c=IN IP4 192.0.2.9\r\n\
    a=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=42c01f;sprop-parameter-sets=Z0LAHw==,aM4=\r\n\
    a=ssrc:3735928559 cname:user@host\r\n\
    a=sendonly\r\n\
    m=audio 5002 RTP/AVP 96\r\n\
    c=IN IP4 192.0.2.9\r\n\
    a=rtpmap:96 OPUS/48000/2\r\n\
    a=fmtp:96 sprop-stereo=1\r\n\
    a=sendonly\r\n";

fn from(video: &str, audio: &str) -> Origins {
    Origins {
        asker: Some("198.51.100.4".parse().unwrap()),
        given: [video, audio].map(|text| text.parse::<Given>().ok()),
    }
}

fn answer(offer: &str, origins: &Origins) -> Result<String, SignalError> {
    let offer = Offer::parse(offer)?;
    let plan = plan(&offer, origins, &candidates())?;
    let text = write(&plan);
    let read = sdp_types::Session::parse(text.as_bytes()).unwrap();
    assert_eq!(read.medias.len(), offer.medias.len());
    assert!(!text.contains("ice") && !text.contains("fingerprint"));
    Ok(text)
}

fn write(plan: &PushPlan<'_>) -> String {
    let receiver = Receiver {
        candidates: &candidates(),
        session_number: 7,
    };
    plan.write(&receiver, &[[1; 46], [2; 46]])
}

fn refusal(offer: &str, origins: &Origins) -> SignalError {
    answer(offer, origins).unwrap_err()
}

fn sender(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn ffmpeg_says_where_it_sends_to_and_has_to_be_asked_where_from() {
    let nothing = Origins::default();
    let ours = FFMPEG.replace("127.0.0.1", "192.0.2.7");
    assert_eq!(refusal(&ours, &nothing).name, "source-ours");
    let origins = from("5004", "203.0.113.1:5006");
    let offer = Offer::parse(&ours).unwrap();
    let plan = plan(&offer, &origins, &candidates()).unwrap();
    let [video, audio] = plan.ways.each_ref().map(|way| way.as_ref().unwrap());
    assert_eq!(video.from, sender("198.51.100.4:5004"));
    assert_eq!(audio.from, sender("203.0.113.1:5006"));
    assert!(video.crypto.is_none() && audio.crypto.is_none());
    // RFC 6184 section 8.1: what no profile-level-id stands for.
    let h264 = VideoCodec::H264 {
        profile_level_id: [66, 0, 10],
    };
    assert_eq!(plan.description.video, Some(h264));
    let opus = AudioCodec::Opus { channels: 2 };
    assert_eq!(plan.description.audio, Some(opus));
    assert_eq!(
        write(&plan),
        "v=0\r\n\
         o=- 7 1 IN IP4 127.0.0.1\r\n\
         s=-\r\n\
         t=0 0\r\n\
         m=video 8000 RTP/AVP 96\r\n\
         c=IN IP4 192.0.2.7\r\n\
         a=recvonly\r\n\
         a=rtpmap:96 H264/90000\r\n\
         a=fmtp:96 packetization-mode=1\r\n\
         m=audio 8000 RTP/AVP 97\r\n\
         c=IN IP4 192.0.2.7\r\n\
         a=recvonly\r\n\
         a=rtpmap:97 opus/48000/2\r\n\
         a=fmtp:97 useinbandfec=1\r\n"
    );
}

#[test]
fn keys_of_ffmpeg_are_read_though_it_calls_the_profile_plain() {
    let offer = Offer::parse(FFMPEG_SRTP).unwrap();
    assert_eq!(offer.medias[0].proto, "RTP/AVP");
    let plan = plan(&offer, &from("5004", ""), &candidates()).unwrap();
    let way = plan.ways[VIDEO].as_ref().unwrap();
    let crypto = way.crypto.as_ref().unwrap();
    assert_eq!((crypto.tag, crypto.profile), (1, Profile::Aes128CmSha1_80));
    assert!(plan.ways[AUDIO].is_none());
    let text = write(&plan);
    let ours = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";
    assert!(text.contains(ours), "{text}");
    assert!(!format!("{offer:?} {plan:?}").contains("inline"));
}

#[test]
fn gstreamer_sends_from_where_it_says_and_twice_under_one_type() {
    let offer = Offer::parse(GSTREAMER).unwrap();
    let plan = plan(&offer, &Origins::default(), &candidates()).unwrap();
    let [video, audio] = plan.ways.each_ref().map(|way| way.as_ref().unwrap());
    assert_eq!(video.from, sender("192.0.2.9:5000"));
    assert_eq!(audio.from, sender("192.0.2.9:5002"));
    let tracks = plan.tracks.map(Option::unwrap);
    assert_eq!(tracks.map(|track| track.codec.payload_type), [96, 96]);
    assert_eq!(tracks.map(|track| track.ssrc), [3_735_928_559, 0]);
    assert!(!plan.has_one_sender());
    // From one port they could not be told apart.
    let one = from("192.0.2.9:5000", "192.0.2.9:5000");
    assert_eq!(refusal(GSTREAMER, &one).name, "payload-type-shared");
}

#[test]
fn addresses_come_from_the_request_the_section_or_the_session() {
    let of = |offer: &str, origins: &Origins| {
        let offer = Offer::parse(offer).unwrap();
        let plan = plan(&offer, origins, &candidates());
        plan.map(|plan| plan.ways.map(|way| way.map(|way| way.from.to_string())))
            .map_err(|error| error.name)
    };
    let pair = |video: &str, audio: &str| Ok([Some(video.to_owned()), Some(audio.to_owned())]);
    let asked = from("", "");
    // Any address with a port: the asker's.
    let any = GSTREAMER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0");
    assert_eq!(
        of(&any, &asked),
        pair("198.51.100.4:5000", "198.51.100.4:5002")
    );
    assert_eq!(of(&any, &Origins::default()), Err("source-missing"));
    let named = GSTREAMER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 origin.example");
    assert_eq!(
        of(&named, &asked),
        pair("198.51.100.4:5000", "198.51.100.4:5002")
    );
    // No port.
    let discard = GSTREAMER.replace("5000 RTP", "9 RTP");
    assert_eq!(of(&discard, &asked), Err("source-missing"));
    let given = from("[2001:db8::9]:77", "");
    assert_eq!(
        of(&discard, &given),
        pair("[2001:db8::9]:77", "192.0.2.9:5002")
    );
    let session = GSTREAMER
        .replace("c=IN IP4 192.0.2.9\r\n", "")
        .replace("t=0 0", "c=IN IP6 2001:db8::5\r\nt=0 0");
    assert_eq!(
        of(&session, &asked),
        pair("[2001:db8::5]:5000", "[2001:db8::5]:5002")
    );
    let group = GSTREAMER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 233.252.0.1/127");
    assert_eq!(of(&group, &asked), Err("source-unusable"));
}

#[test]
fn the_answer_names_an_address_of_the_senders_family() {
    let text = answer(GSTREAMER, &from("[2001:db8::9]:77", "")).unwrap();
    assert!(text.contains("m=video 8000 RTP/AVP 96\r\nc=IN IP6 2001:db8::7\r\n"));
    assert!(text.contains("m=audio 8000 RTP/AVP 96\r\nc=IN IP4 192.0.2.7\r\n"));
}

#[test]
fn where_an_address_is_expected_nothing_else_will_do() {
    for (text, ip, port) in [
        ("5004", None, 5004),
        (":5004", None, 5004),
        ("192.0.2.1:5", Some("192.0.2.1"), 5),
        ("0.0.0.0:5", None, 5),
        ("[2001:db8::1]:5", Some("2001:db8::1"), 5),
    ] {
        let given: Given = text.parse().unwrap();
        let ip = ip.map(|ip| ip.parse().unwrap());
        assert_eq!((given.ip, given.port), (ip, port), "{text}");
    }
    for text in [
        "",
        ":",
        "0",
        "65536",
        "host:5",
        "192.0.2.1",
        "192.0.2.1:0",
        "::1:5",
        "[::1]",
    ] {
        assert!(text.parse::<Given>().is_err(), "{text}");
    }
}

fn secured(video: &str, audio: &str) -> String {
    GSTREAMER.replace("RTP/AVP", "RTP/SAVP").replacen(
        "a=sendonly",
        &format!("a=crypto:{video}\r\na=sendonly"),
        1,
    ) + &format!("a=crypto:{audio}\r\n")
}

#[test]
fn each_section_has_a_key_of_its_own_unless_one_port_sends_both() {
    let suite = "AES_CM_128_HMAC_SHA1_80";
    let [one, two] = [KEY, OTHER_KEY].map(|key| format!("1 {suite} inline:{key}"));
    let offer = secured(&one, &two);
    let text = answer(&offer, &Origins::default()).unwrap();
    assert_eq!(
        text.matches("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:")
            .count(),
        2
    );
    let same = from("192.0.2.9:5000", "192.0.2.9:5000");
    let apart = |offer: &str| {
        let tail = offer.split_once("m=audio").unwrap().1;
        let head = offer.split_once("m=audio").unwrap().0;
        format!("{head}m=audio{}", tail.replace("96", "97"))
    };
    assert_eq!(refusal(&apart(&offer), &same).name, "key-differs");
    let half = secured(&one, "").replace("m=audio 5002 RTP/SAVP", "m=audio 5002 RTP/AVP");
    let half = half.trim_end_matches("a=crypto:\r\n").to_owned();
    assert_eq!(refusal(&apart(&half), &same).name, "key-differs");
    answer(&apart(&half), &Origins::default()).unwrap();
    answer(&apart(&secured(&one, &one)), &same).unwrap();
}

#[test]
fn what_cannot_be_taken_is_refused_with_its_cause() {
    let nowhere = Origins::default();
    let name = |offer: &str| refusal(offer, &nowhere).name;
    assert_eq!(name(CHROMIUM), "direction-unusable");
    let dtls = GSTREAMER.replace("RTP/AVP", "UDP/TLS/RTP/SAVPF");
    assert_eq!(name(&dtls), "not-plain-rtp");
    let keyless = GSTREAMER.replace("RTP/AVP", "RTP/SAVP");
    assert_eq!(name(&keyless), "key-missing");
    let unusable = refusal(&secured("1 F8_128_HMAC_SHA1_80 inline:x", "1"), &nowhere);
    assert_eq!((unusable.status, unusable.name), (422, "key-unusable"));
    assert!(unusable.detail.contains("suite"), "{unusable}");
    let mpeg = refusal(&GSTREAMER.replace("H264", "MP4V-ES"), &nowhere);
    assert_eq!((mpeg.status, mpeg.name), (406, "no-common-codec"));
    let mode0 = GSTREAMER.replace("packetization-mode=1", "packetization-mode=0");
    assert_eq!(name(&mode0), "no-common-codec");
    let two = GSTREAMER.to_owned() + GSTREAMER.split_once("t=0 0\r\n").unwrap().1;
    assert_eq!(name(&two), "track-second");
    let inactive = GSTREAMER.replace("sendonly", "recvonly");
    assert_eq!(name(&inactive), "direction-unusable");
    assert_eq!(refusal("hello", &nowhere).status, 400);
}

#[test]
fn what_is_refused_in_part_is_answered_in_part() {
    let offer = GSTREAMER.replace("m=audio 5002", "m=audio 0");
    let text = answer(&offer, &Origins::default()).unwrap();
    assert!(text.contains("m=audio 0 RTP/AVP 96\r\n"), "{text}");
}

proptest! {
    #[test]
    fn any_change_is_answered_or_refused(
        srtp in any::<bool>(),
        at in 0..900_usize,
        with in prop_oneof!["[ -~]{0,12}", Just("\r\na=crypto:1 ".to_owned())],
    ) {
        let mut text = if srtp { secured(KEY, OTHER_KEY) } else { FFMPEG.to_owned() };
        let at = at.min(text.len());
        let to = (at + with.len() / 2).min(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(to) {
            text.replace_range(at..to, &with);
        }
        if let Err(error) = answer(&text, &from("5004", "5006")) {
            prop_assert!((400..500).contains(&error.status));
        }
    }
}
