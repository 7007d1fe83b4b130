//! Tests of offers and answers: those of browsers, and those that nobody should send.

use super::answer::Sending;
use super::elements::Passed;
use super::fragment::Fragment;
use super::layers::Offered;
use super::offer::Offer;
use super::plan::{PLAYOUT_DELAY_URI, plan};
use super::text::Local;
use super::*;
use crate::description::{AudioCodec, StreamDescription, VideoCodec};
use link::command::{AUDIO, Hears, TRACKS_MAX, VIDEO};
use link::elements::KINDS;
use proptest::prelude::*;
use std::net::SocketAddr;

const CHROMIUM: &str = include_str!("../../../../tests/corpus/sdp/chromium_whep.sdp");
const CHROMIUM_GUM: &str = include_str!("../../../../tests/corpus/sdp/chromium_whep_after_gum.sdp");
const FIREFOX: &str = include_str!("../../../../tests/corpus/sdp/firefox_whep.sdp");
const CHROMIUM_WHIP: &str = include_str!("../../../../tests/corpus/sdp/chromium_whip.sdp");
const FIREFOX_WHIP: &str = include_str!("../../../../tests/corpus/sdp/firefox_whip.sdp");

const H264_AND_OPUS: StreamDescription = StreamDescription {
    video: Some(VideoCodec::H264 {
        profile_level_id: [0x42, 0xc0, 0x1f],
    }),
    audio: Some(AudioCodec::Opus { channels: 2 }),
};

fn h264(profile_level_id: [u8; 3]) -> StreamDescription {
    StreamDescription {
        video: Some(VideoCodec::H264 { profile_level_id }),
        audio: None,
    }
}

fn candidates() -> [SocketAddr; 2] {
    [
        "192.0.2.7:8000".parse().unwrap(),
        "[2001:db8::7]:8000".parse().unwrap(),
    ]
}

fn local(candidates: &[SocketAddr]) -> Local<'_> {
    Local {
        ufrag: "AAAAbbbbccccdddd",
        pwd: "AAAAbbbbccccddddeeeeffff",
        fingerprint: "AA:BB",
        candidates,
        session_number: 7,
        is_full: false,
    }
}

const SENDING: Sending<'static> = Sending {
    cname: "freshet",
    ssrcs: [[1001, 1002], [2001, 2002]],
    playout_delay: true,
    layered: false,
    offered: &Offered::NONE,
    passed: Passed {
        elements: [[false; KINDS]; TRACKS_MAX],
        red: false,
    },
};

fn answer(offer: &str, description: &StreamDescription) -> Result<String, SignalError> {
    let offer = Offer::parse(offer)?;
    let text = plan(&offer, description)?.write(&local(&candidates()), &SENDING);
    check_against(&offer, &text);
    Ok(text)
}

/// What must hold of every answer, whatever the offer (RFC 3264, RFC 8843, RFC 9429).
fn check_against(offer: &Offer, answer: &str) {
    assert!(
        answer.ends_with("\r\n") && !answer.contains("\n\n"),
        "{answer}"
    );
    assert!(
        answer
            .lines()
            .all(|line| line.as_bytes().get(1) == Some(&b'=')),
        "{answer}"
    );
    let read = sdp_types::Session::parse(answer.as_bytes()).unwrap();
    assert_eq!(read.medias.len(), offer.medias.len());
    let mut accepted = Vec::new();
    assert!(
        read.medias.iter().any(|media| media.port != 0),
        "nothing was accepted"
    );
    for (offered, media) in offer.medias.iter().zip(&read.medias) {
        let first = |name: &'static str| media.get_first_attribute_value(name).flatten();
        assert_eq!(media.media, offered.kind);
        assert_eq!(media.proto, offered.proto);
        assert_eq!(first("mid"), offered.mid.as_deref());
        assert_eq!(
            media.connections.len(),
            1,
            "Firefox wants one in every section"
        );
        if media.port == 0 {
            continue;
        }
        accepted.extend(first("mid"));
        for name in [
            "ice-ufrag",
            "ice-pwd",
            "fingerprint",
            "setup",
            "ssrc",
            "msid",
        ] {
            assert!(first(name).is_some(), "{name}: {answer}");
        }
        for name in ["rtcp-mux", "sendonly", "end-of-candidates"] {
            assert!(media.has_attribute(name), "{name}: {answer}");
        }
        assert!(matches!(first("setup"), Some("passive" | "active")));
        let offered_types: Vec<_> = offered.formats.split(' ').collect();
        assert!(
            media
                .fmt
                .split(' ')
                .all(|format| offered_types.contains(&format))
        );
        for feedback in media.get_attribute_values("rtcp-fb").flatten() {
            let (_, kind) = feedback.split_once(' ').unwrap();
            assert!(
                ["nack", "nack pli", "ccm fir"].contains(&kind),
                "{feedback}"
            );
        }
        assert_eq!(media.get_attribute_values("candidate").count(), 2);
    }
    let group = read.get_first_attribute_value("group").flatten();
    let expected = format!("BUNDLE {}", accepted.join(" "));
    assert_eq!(group, offer.bundle.is_some().then_some(&expected[..]));
    assert!(read.has_attribute("ice-lite"));
}

fn section<'a>(answer: &'a str, kind: &str) -> &'a str {
    let start = answer.find(&format!("m={kind} ")).unwrap();
    let end = answer[start + 2..]
        .find("\nm=")
        .map_or(answer.len(), |at| start + 3 + at);
    &answer[start..end]
}

#[test]
fn chromium_gets_h264_with_repair_and_stereo_opus() {
    for offer in [CHROMIUM, CHROMIUM_GUM] {
        let answer = answer(offer, &H264_AND_OPUS).unwrap();
        let video = section(&answer, "video");
        assert!(
            video.starts_with("m=video 8000 UDP/TLS/RTP/SAVPF 108 109\r\n"),
            "{video}"
        );
        for line in [
            "a=rtpmap:108 H264/90000",
            "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            "a=rtcp-fb:108 nack",
            "a=rtcp-fb:108 nack pli",
            "a=rtcp-fb:108 ccm fir",
            "a=rtpmap:109 rtx/90000",
            "a=fmtp:109 apt=108",
            "a=ssrc-group:FID 1001 1002",
            "a=ssrc:1001 cname:freshet",
            "a=ssrc:1002 cname:freshet",
            "a=rtcp-xr:rcvr-rtt=all",
            "a=rtcp-rsize",
            "a=setup:passive",
            "c=IN IP4 192.0.2.7",
            "a=candidate:1 1 udp 2130706431 192.0.2.7 8000 typ host",
            "a=candidate:2 1 udp 2130706175 2001:db8::7 8000 typ host",
            &format!("a=extmap:5 {PLAYOUT_DELAY_URI}"),
        ] {
            assert!(
                video.lines().any(|have| have == line),
                "{line} is not in {video}"
            );
        }
        let audio = section(&answer, "audio");
        for line in [
            "a=rtpmap:111 opus/48000/2",
            "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1",
            "a=ssrc:2001 cname:freshet",
        ] {
            assert!(
                audio.lines().any(|have| have == line),
                "{line} is not in {audio}"
            );
        }
        assert!(!answer.contains("transport-cc") && !answer.contains("goog-remb"));
        assert!(!audio.contains("rtcp-fb") && !audio.contains("FID"));
    }
}

/// What the answer to a viewer of a stream says of feedback on its video, besides repairs.
fn feedback_on_layers(offer: &str, layered: bool) -> Vec<String> {
    let sending = Sending { layered, ..SENDING };
    let offer = Offer::parse(offer).unwrap();
    let plan = plan(&offer, &H264_AND_OPUS).unwrap();
    let answer = plan.write(&local(&candidates()), &sending);
    let [audio, video] = ["audio", "video"].map(|kind| section(&answer, kind));
    let told_of_sound = audio.lines().filter(|line| line.starts_with("a=rtcp-fb:"));
    let by_source = video.contains("a=rtcp-fb:* ack ccfb\r\n");
    assert_eq!(told_of_sound.count(), usize::from(by_source), "{answer}");
    assert_eq!(
        audio.contains("a=rtcp-fb:* ack ccfb\r\n"),
        by_source,
        "{answer}"
    );
    let told = video.lines().filter(|line| {
        let is_repair = line.contains("nack") || line.contains("ccm");
        line.starts_with("a=rtcp-fb:") && !is_repair || line.contains("transport-wide-cc")
    });
    told.map(str::to_owned).collect()
}

#[test]
fn feedback_by_source_is_taken_where_all_of_the_transport_offers_it() {
    let wide = feedback_on_layers(CHROMIUM, true);
    assert!(wide[0] == "a=rtcp-fb:108 transport-cc", "{wide:?}");
    assert_eq!(wide.len(), 2, "{wide:?}");
    let both = CHROMIUM.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-fb:* ack ccfb\r\n");
    assert_eq!(feedback_on_layers(&both, true), ["a=rtcp-fb:* ack ccfb"]);
    assert_eq!(feedback_on_layers(&both, false), [""; 0]);
    // As Chromium says it.
    let each: String = CHROMIUM
        .lines()
        .map(|line| {
            match line
                .strip_prefix("a=rtpmap:")
                .and_then(|rest| rest.split_once(' '))
            {
                Some((format, _)) => format!("{line}\r\na=rtcp-fb:{format} ack ccfb\r\n"),
                None => format!("{line}\r\n"),
            }
        })
        .collect();
    assert_eq!(feedback_on_layers(&each, true), ["a=rtcp-fb:* ack ccfb"]);
    // Of one format or one section it is no offer.
    for part in [
        each.replacen(" ack ccfb\r\n", " ack rpsi\r\n", 1),
        both.replacen("a=rtcp-fb:* ack ccfb\r\n", "", 1),
    ] {
        assert_eq!(feedback_on_layers(&part, true), wide);
    }
    // Without retransmissions of their own there is no telling apart what came twice.
    let bare = both.replace("a=fmtp:109 apt=108\r\n", "");
    assert_eq!(feedback_on_layers(&bare, true), ["a=rtcp-fb:108 goog-remb"]);
}

/// The worker acts upon what the answer has said, and upon nothing else.
#[test]
fn what_is_heard_is_what_was_negotiated() {
    let by_source = CHROMIUM.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-fb:* ack ccfb\r\n");
    let without = |what: &str| {
        let lines = CHROMIUM.lines().filter(|line| !line.ends_with(what));
        lines.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    let offers = [
        CHROMIUM.to_owned(),
        by_source,
        without(" nack"),
        without(" nack pli"),
        without(" ccm fir"),
        without(" transport-cc"),
    ];
    let kinds = [
        (Hears::NACK, " nack\r\n"),
        (Hears::PLI, " nack pli\r\n"),
        (Hears::FIR, " ccm fir\r\n"),
        (Hears::TRANSPORT_CC, " transport-cc\r\n"),
        (Hears::REMB, " goog-remb\r\n"),
        (Hears::BY_SOURCE, " ack ccfb\r\n"),
    ];
    let mut seen = [[0; 2]; 6];
    for (offer, layered) in offers
        .iter()
        .flat_map(|offer| [(offer, true), (offer, false)])
    {
        let offer = Offer::parse(offer).unwrap();
        let plan = plan(&offer, &H264_AND_OPUS).unwrap();
        let sending = Sending { layered, ..SENDING };
        let answer = plan.write(&local(&candidates()), &sending);
        for (track, kind) in [(VIDEO, "video"), (AUDIO, "audio")] {
            let hears = plan.hears(track, layered);
            for ((kind, line), seen) in kinds.iter().zip(&mut seen) {
                let is_said = section(&answer, ["video", "audio"][track]).contains(line);
                assert_eq!(hears.has(*kind), is_said, "{line:?} of {kind:?}: {answer}");
                seen[usize::from(is_said)] += 1;
            }
            assert!(answer.contains(kind));
        }
    }
    assert!(
        seen.as_flattened().iter().all(|times| *times > 0),
        "{seen:?}"
    );
}

#[test]
fn the_offered_h264_profile_is_the_nearest_that_decodes() {
    for (profile_level_id, payload_type) in [
        ([0x42, 0xc0, 0x28], 108), // Constrained Baseline, level 4.0
        ([0x42, 0x00, 0x1f], 102), // Baseline
        ([0x4d, 0x40, 0x1f], 116), // Main
        ([0x64, 0x00, 0x1f], 116), // High: Main is nearest, High 4:4:4 is not for hardware
        ([0xf4, 0x00, 0x1f], 41),  // High 4:4:4
    ] {
        let offer = Offer::parse(CHROMIUM).unwrap();
        let plan = plan(&offer, &h264(profile_level_id)).unwrap();
        let video = plan.tracks[VIDEO].unwrap();
        assert_eq!(
            video.codec.payload_type, payload_type,
            "{profile_level_id:02x?}"
        );
        assert_eq!(video.rtx, Some(payload_type + 1));
    }
    // An encoder that offers one thing gets that thing.
    let only = CHROMIUM.replace(
        "packetization-mode=1;profile-level-id=4",
        "packetization-mode=0;x=4",
    );
    let only = only.replacen(
        "packetization-mode=0;x=42001f",
        "packetization-mode=1;profile-level-id=42e01f",
        1,
    );
    let offer = Offer::parse(&only).unwrap();
    let plan = plan(&offer, &h264([0x64, 0, 0x33])).unwrap();
    assert_eq!(plan.tracks[VIDEO].unwrap().codec.payload_type, 102);
}

#[test]
fn firefox_without_h264_gets_audio_and_a_rejected_video() {
    let answer = answer(FIREFOX, &H264_AND_OPUS).unwrap();
    let video = section(&answer, "video");
    assert!(video.starts_with("m=video 0 UDP/TLS/RTP/SAVPF "), "{video}");
    assert!(
        video.contains("\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n"),
        "{video}"
    );
    let audio = section(&answer, "audio");
    let fmtp = "a=fmtp:109 maxplaybackrate=48000;useinbandfec=1;stereo=1;sprop-stereo=1";
    assert!(audio.lines().any(|line| line == fmtp), "{audio}");
    assert!(answer.contains("a=group:BUNDLE 1\r\n"));
}

#[test]
fn firefox_with_h264_gets_a_sendonly_extension() {
    let offer = FIREFOX.replace(
        "a=rtpmap:120 VP8/90000",
        "a=rtpmap:120 H264/90000\r\na=fmtp:120 profile-level-id=42e01f;packetization-mode=1",
    );
    let answer = answer(&offer, &H264_AND_OPUS).unwrap();
    let video = section(&answer, "video");
    assert!(
        video.contains(&format!("a=extmap:6/sendonly {PLAYOUT_DELAY_URI}\r\n")),
        "{video}"
    );
}

#[test]
fn h265_goes_to_who_decodes_its_profile() {
    let offer = CHROMIUM.replace(
        "a=rtpmap:96 VP8/90000",
        "a=rtpmap:96 H265/90000\r\na=fmtp:96 level-id=180;profile-id=2;tier-flag=0;tx-mode=SRST",
    );
    let of = |profile| StreamDescription {
        video: Some(VideoCodec::H265 {
            profile,
            high_tier: false,
            level: 93,
        }),
        audio: None,
    };
    let offer = Offer::parse(&offer).unwrap();
    assert_eq!(
        plan(&offer, &of(2)).unwrap().tracks[VIDEO]
            .unwrap()
            .codec
            .payload_type,
        96
    );
    assert_eq!(plan(&offer, &of(1)).unwrap_err().status, 406);
}

#[test]
fn mono_is_not_called_stereo() {
    let description = StreamDescription {
        video: None,
        audio: Some(AudioCodec::Opus { channels: 1 }),
    };
    let answer = answer(CHROMIUM, &description).unwrap();
    assert!(!answer.contains("stereo"), "{answer}");
}

#[test]
fn who_wants_to_be_the_server_is_answered_by_a_client() {
    let answer_to =
        |setup: &str| answer(&CHROMIUM.replace("a=setup:actpass", setup), &H264_AND_OPUS).unwrap();
    assert!(answer_to("a=setup:passive").contains("a=setup:active\r\n"));
    for setup in ["a=setup:active", "a=setup:actpass", "a=x"] {
        assert!(answer_to(setup).contains("a=setup:passive\r\n"));
    }
}

#[test]
fn only_the_first_transport_is_answered() {
    let unbundled = CHROMIUM.replace("a=group:BUNDLE 0 1", "a=x");
    let text = answer(&unbundled, &H264_AND_OPUS).unwrap();
    assert!(section(&text, "audio").starts_with("m=audio 0 "));
    let video_only = CHROMIUM.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0\r\na=group:BUNDLE 1");
    let text = answer(&video_only, &H264_AND_OPUS).unwrap();
    assert!(section(&text, "audio").starts_with("m=audio 0 "));
    assert!(text.contains("a=group:BUNDLE 0\r\n"));
}

#[test]
fn other_sections_and_second_tracks_are_rejected() {
    let data =
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\n";
    let second = section(CHROMIUM, "audio").replace("a=mid:1", "a=mid:3");
    let offer = format!("{CHROMIUM}{data}{second}").replace("BUNDLE 0 1", "BUNDLE 0 1 2 3");
    let text = answer(&offer, &H264_AND_OPUS).unwrap();
    assert!(text.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(text.contains("a=group:BUNDLE 0 1\r\n"), "{text}");
}

/// Offers that cannot be served, with the status and the name of the refusal.
#[allow(clippy::too_many_lines, reason = "a table")]
fn refused_offers() -> Vec<(String, u16, &'static str)> {
    let without = |prefix: &str| {
        let kept = CHROMIUM.lines().filter(|line| !line.starts_with(prefix));
        kept.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    let with = |from: &str, to: &str| {
        assert!(CHROMIUM.contains(from));
        CHROMIUM.replace(from, to)
    };
    let sha1 = {
        let line = CHROMIUM
            .lines()
            .find(|line| line.starts_with("a=fingerprint"))
            .unwrap();
        with(
            line,
            "a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB",
        )
    };
    vec![
        (without("a=ice-ufrag"), 422, "ice-credentials-missing"),
        (without("a=ice-pwd"), 422, "ice-credentials-missing"),
        (without("a=fingerprint"), 422, "fingerprint-missing"),
        (sha1, 422, "fingerprint-weak"),
        (without("a=rtcp-mux"), 422, "rtcp-mux-missing"),
        (with("a=recvonly", "a=sendonly"), 422, "direction-unusable"),
        (with("a=recvonly", "a=inactive"), 422, "direction-unusable"),
        (with("UDP/TLS/RTP/SAVPF", "RTP/AVP"), 422, "no-secure-rtp"),
        (
            with("a=setup:actpass", "a=setup:holdconn"),
            422,
            "setup-unusable",
        ),
        (
            with("a=msid-semantic: WMS", "a=ice-lite"),
            422,
            "ice-lite-both",
        ),
        (
            with("a=group:BUNDLE 0 1", "a=group:BUNDLE"),
            422,
            "no-secure-rtp",
        ),
        (without("a=rtpmap"), 406, "no-common-codec"),
        (
            with("m=video 37787 ", "m=video 0 ").replace("opus", "x"),
            406,
            "no-common-codec",
        ),
        (with("a=mid:1", "a=mid:0"), 400, "sdp-malformed"),
        (with("a=mid:1", "a=mid:a b"), 400, "sdp-malformed"),
        (with("a=ice-ufrag:", "a=ice-ufrag:!"), 400, "sdp-malformed"),
        (
            with("a=ice-pwd:", "a=ice-pwd:short\r\na=x:"),
            400,
            "sdp-malformed",
        ),
        (
            with("m=video 37787 ", "m=video 99999 "),
            400,
            "sdp-malformed",
        ),
        (
            with("a=recvonly", "a=recvonly\ra=sendonly"),
            400,
            "sdp-malformed",
        ),
        (with("a=recvonly", "a=rec\0vonly"), 400, "sdp-malformed"),
        (CHROMIUM_WHIP.to_owned(), 422, "direction-unusable"),
        (FIREFOX_WHIP.to_owned(), 422, "direction-unusable"),
        (String::new(), 400, "sdp-malformed"),
        (
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned(),
            400,
            "sdp-malformed",
        ),
        ("<html>".to_owned(), 400, "sdp-malformed"),
        (
            format!("{CHROMIUM}a={}\r\n", "x".repeat(SDP_LINE_BYTES_MAX)),
            413,
            "sdp-too-large",
        ),
        (
            format!("{CHROMIUM}{}", "a=x\r\n".repeat(SDP_LINES_MAX)),
            413,
            "sdp-too-large",
        ),
        (CHROMIUM.repeat(12), 413, "sdp-too-large"),
        (
            format!("{CHROMIUM}{}", "m=audio 9 X 0\r\n".repeat(15)),
            400,
            "sdp-malformed",
        ),
    ]
}

#[test]
fn what_cannot_be_served_is_refused_with_a_reason() {
    for (offer, status, name) in refused_offers() {
        let error = answer(&offer, &H264_AND_OPUS).unwrap_err();
        assert_eq!((error.status, error.name), (status, name), "{error}");
        assert!(
            error.detail.ends_with('.') && error.remedy.ends_with('.'),
            "{error}"
        );
    }
}

#[test]
fn a_refusal_for_codecs_says_what_the_stream_has() {
    let error = answer(FIREFOX, &h264([0x64, 0, 0x1f])).unwrap_err();
    assert_eq!(error.status, 406);
    assert!(
        error.detail.contains("64001f") && error.detail.contains("audio: none"),
        "{error}"
    );
}

#[test]
fn sections_that_stand_for_nothing_stay_out_of_the_plan() {
    let offer = Offer::parse(CHROMIUM).unwrap();
    let plan = plan(&offer, &h264([0x42, 0xc0, 0x1f])).unwrap();
    assert!(plan.tracks[AUDIO].is_none());
    assert_eq!(plan.terms.fingerprints.len(), 1);
    assert!(!plan.terms.dtls_client);
}

#[test]
fn fragments_are_read_and_written() {
    for is_lite in [true, false] {
        let ours = fragment::Side {
            ufrag: "AAAA",
            pwd: &"p".repeat(24),
            is_lite,
            candidates: &candidates(),
        };
        let text = fragment::write(&ours, "0", "video");
        assert_eq!(text.contains("a=ice-lite"), is_lite);
        let read = Fragment::parse(&text).unwrap();
        assert_eq!(read.ice, Some(("AAAA".into(), "p".repeat(24))));
        assert_eq!(read.candidates, 2);
        let addresses = read.list.iter().map(|one| one.address);
        assert!(addresses.eq(candidates()));
    }
    let browser = "a=ice-ufrag:UhTH\r\na=ice-pwd:KKXLCmbHwcNgj/FgsY4a/pUy\r\nm=video 9 \
                   UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 a.local 5 typ host\r\n";
    let read = Fragment::parse(browser).unwrap();
    assert_eq!((read.ice.unwrap().0.as_str(), read.candidates), ("UhTH", 1));
    assert!(read.list.is_empty(), "a name is no address");
    assert_eq!(Fragment::parse("").unwrap(), Fragment::default());
    for (bad, status) in [
        ("a=ice-ufrag:UhTH\r\n", 400),
        (
            "a=ice-ufrag:U\r\na=ice-pwd:KKXLCmbHwcNgj/FgsY4a/pUy\r\n",
            400,
        ),
        ("a=ice-ufrag:UhTH\r\na=ice-pwd:short\r\n", 400),
        ("{\"candidate\": 1}", 400),
        ("a=\u{0}\r\n", 400),
        (&"a=candidate:\r\n".repeat(SDP_LINES_MAX + 1), 413),
    ] {
        assert_eq!(Fragment::parse(bad).unwrap_err().status, status, "{bad:?}");
    }
}

mod elements;
mod publish;
mod push;

proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,300}") {
        let _offer = Offer::parse(&text);
        let _fragment = Fragment::parse(&text);
    }

    #[test]
    fn any_damage_to_an_offer_is_survived(
        changes in proptest::collection::vec((0..5000_usize, "[ -~\r\n]{0,6}", 0..6_usize), 1..6),
        firefox: bool,
    ) {
        let mut text = if firefox { FIREFOX } else { CHROMIUM }.to_owned();
        for (at, new, cut) in changes {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &new);
        }
        // `answer` asserts what must hold of every answer.
        let _answer = answer(&text, &H264_AND_OPUS);
    }

    #[test]
    fn lines_shuffled_and_doubled_are_survived(
        picks in proptest::collection::vec(0..300_usize, 1..120),
    ) {
        let lines: Vec<_> = CHROMIUM.lines().collect();
        let mut text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned();
        for pick in picks {
            text.push_str(lines[pick % lines.len()]);
            text.push_str("\r\n");
        }
        let _answer = answer(&text, &H264_AND_OPUS);
    }
}
