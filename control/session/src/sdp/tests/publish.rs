//! Tests of offers to publish and their answers: those of browsers and encoders, and hostile ones.

use super::super::offer::Offer;
use super::super::publish::{PublishPlan, REPAIRED_RID_URI, RID_URI, TRANSPORT_CC_URI, plan};
use super::super::source::Source;
use super::super::{SDP_BYTES_MAX, SDP_MEDIAS_MAX};
use super::{CHROMIUM, CHROMIUM_WHIP, FIREFOX_WHIP, candidates, local, section};
use crate::description::{AudioCodec, VideoCodec};
use crate::refusal::SignalError;
use link::command::{AUDIO, VIDEO};
use proptest::prelude::*;

const CHROMIUM_H264: &str = include_str!("../../../../../tests/corpus/sdp/chromium_whip_h264.sdp");
const CHROMIUM_AV1: &str = include_str!("../../../../../tests/corpus/sdp/chromium_whip_av1.sdp");
const CHROMIUM_VP9: &str = include_str!("../../../../../tests/corpus/sdp/chromium_whip_vp9.sdp");
const SIMULCAST: &str = include_str!("../../../../../tests/corpus/sdp/chromium_whip_simulcast.sdp");
const FFMPEG: &str = include_str!("../../../../../tests/corpus/sdp/ffmpeg81_whip.sdp");
const FFMPEG_VIDEO: &str = include_str!("../../../../../tests/corpus/sdp/ffmpeg81_whip_video.sdp");

const ALL: [&str; 8] = [
    CHROMIUM_WHIP,
    CHROMIUM_H264,
    CHROMIUM_AV1,
    CHROMIUM_VP9,
    SIMULCAST,
    FIREFOX_WHIP,
    FFMPEG,
    FFMPEG_VIDEO,
];

fn answer(offer: &str) -> Result<String, SignalError> {
    let offer = Offer::parse(offer)?;
    let plan = plan(&offer)?;
    let text = plan.write(&local(&candidates()));
    check(&offer, &plan, &text);
    Ok(text)
}

/// What an answer says of encodings and extensions, as the plan has them.
fn check_extensions(plan: &PublishPlan<'_>, media: &sdp_types::Media, tells_transport: bool) {
    let encodings = plan.simulcast.as_ref().filter(|_| media.media == "video");
    for name in ["simulcast", "rid"] {
        assert_eq!(media.has_attribute(name), encodings.is_some(), "{name}");
    }
    let extensions: Vec<_> = media.get_attribute_values("extmap").flatten().collect();
    let transport = extensions.iter().filter(|e| e.ends_with(TRANSPORT_CC_URI));
    assert_eq!(tells_transport, transport.count() == 1);
    let named = encodings.map_or(0, |encodings| encodings.extensions.len());
    let tracks = plan.tracks.iter().flatten();
    let of_it = tracks.filter(|track| {
        let offered = &plan.offer.medias[track.section];
        Some(offered.kind.as_str()) == Some(media.media.as_str())
    });
    let kept: usize = of_it
        .map(|track| track.elements.iter().flatten().count())
        .sum();
    assert_eq!(
        extensions.len(),
        named + kept + usize::from(tells_transport)
    );
}

/// What must hold of every answer, whatever the offer.
fn check(offer: &Offer, plan: &PublishPlan<'_>, answer: &str) {
    assert!(answer.ends_with("\r\n") && answer.len() < 2 * SDP_BYTES_MAX);
    let read = sdp_types::Session::parse(answer.as_bytes()).unwrap();
    assert_eq!(read.medias.len(), offer.medias.len());
    assert!(read.has_attribute("ice-lite"));
    assert!(offer.medias.len() <= SDP_MEDIAS_MAX);
    let mut accepted = 0;
    for (number, (offered, media)) in offer.medias.iter().zip(&read.medias).enumerate() {
        let first = |name: &'static str| media.get_first_attribute_value(name).flatten();
        assert_eq!(
            (&media.media, &media.proto),
            (&offered.kind, &offered.proto)
        );
        assert_eq!(first("mid"), offered.mid.as_deref());
        assert_eq!(media.connections.len(), 1, "Firefox wants one everywhere");
        let track = plan.tracks.iter().flatten().find(|t| t.section == number);
        assert_eq!(media.port != 0, track.is_some());
        let Some(track) = track else {
            assert!(
                !(offered.sends && ["video", "audio"].contains(&&offered.kind[..]))
                    || offered.disabled
            );
            continue;
        };
        accepted += 1;
        for name in ["ice-ufrag", "ice-pwd", "fingerprint"] {
            assert!(first(name).is_some(), "{name}: {answer}");
        }
        for name in ["rtcp-mux", "recvonly", "end-of-candidates"] {
            assert!(media.has_attribute(name), "{name}: {answer}");
        }
        assert!(!media.has_attribute("ssrc"), "{answer}");
        let expected = if plan.terms.dtls_client {
            "active"
        } else {
            "passive"
        };
        assert_eq!(first("setup"), Some(expected));
        let red = track.red.map(|red| red.payload_type);
        let formats: Vec<_> = [red, Some(track.codec.payload_type), track.rtx]
            .into_iter()
            .flatten()
            .map(|format| format.to_string())
            .collect();
        assert_eq!(media.fmt, formats.join(" "));
        let maps = media.get_attribute_values("rtpmap").count();
        assert_eq!(maps, formats.len(), "one codec and its retransmissions");
        let feedback: Vec<_> = media.get_attribute_values("rtcp-fb").flatten().collect();
        let told = |name: &str| feedback.iter().any(|line| line.ends_with(name));
        assert!(!(told(" transport-cc") && told(" goog-remb")));
        check_extensions(plan, media, told(" transport-cc"));
        assert!(track.rtx_ssrc == 0 || (track.rtx.is_some() && track.rtx_ssrc != track.ssrc));
    }
    assert_eq!(accepted, plan.tracks.iter().flatten().count());
    assert_eq!(
        plan.tracks[VIDEO].is_some(),
        plan.description.video.is_some()
    );
    assert_eq!(
        plan.tracks[AUDIO].is_some(),
        plan.description.audio.is_some()
    );
    assert!(plan.transport_cc.is_none_or(|id| (1..=14).contains(&id)));
    let group = read.get_first_attribute_value("group").flatten();
    if accepted == 2 {
        assert_eq!(group.unwrap().split(' ').count(), 3);
    }
}

fn has(section: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            section.lines().any(|have| have == *line),
            "{line} is not in {section}"
        );
    }
}

fn has_not(section: &str, words: &[&str]) {
    for word in words {
        assert!(!section.contains(word), "{word} is in {section}");
    }
}

#[test]
fn chromium_is_taken_at_its_first_choice() {
    let offer = Offer::parse(CHROMIUM_WHIP).unwrap();
    let plan = plan(&offer).unwrap();
    assert_eq!(plan.description.video, Some(VideoCodec::Vp8));
    assert_eq!(
        plan.description.audio,
        Some(AudioCodec::Opus { channels: 2 })
    );
    let answer = answer(CHROMIUM_WHIP).unwrap();
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"));
    has_not(
        &answer,
        &["msid", "ulpfec", "red/", "H264", "x-google", "b=AS"],
    );
    let video = section(&answer, "video");
    assert!(
        video.starts_with("m=video 8000 UDP/TLS/RTP/SAVPF 96 97\r\n"),
        "{video}"
    );
    has(
        video,
        &[
            "c=IN IP4 192.0.2.7",
            "a=mid:1",
            "a=rtpmap:96 VP8/90000",
            "a=rtcp-fb:96 nack",
            "a=rtcp-fb:96 nack pli",
            "a=rtcp-fb:96 ccm fir",
            "a=rtcp-fb:96 transport-cc",
            "a=rtpmap:97 rtx/90000",
            "a=fmtp:97 apt=96",
            "a=rtcp-rsize",
            "a=rtcp-xr:rcvr-rtt=all",
            "a=setup:passive",
            "a=candidate:1 1 udp 2130706431 192.0.2.7 8000 typ host",
            &format!("a=extmap:3 {TRANSPORT_CC_URI}"),
        ],
    );
    has_not(video, &["goog-remb", "a=fmtp:96"]);
    let audio = section(&answer, "audio");
    has(
        audio,
        &[
            "a=rtpmap:111 opus/48000/2",
            "a=fmtp:111 minptime=10;useinbandfec=1",
            "a=rtcp-fb:111 transport-cc",
            &format!("a=extmap:3 {TRANSPORT_CC_URI}"),
        ],
    );
}

#[test]
fn h264_keeps_its_profile_and_its_sources() {
    let offer = Offer::parse(CHROMIUM_H264).unwrap();
    let plan = plan(&offer).unwrap();
    assert_eq!(
        plan.description.video,
        Some(VideoCodec::H264 {
            profile_level_id: [0x42, 0, 0x1f]
        })
    );
    let video = plan.tracks[VIDEO].unwrap();
    assert_eq!((video.ssrc, video.rtx_ssrc), (950_761_573, 58_465_319));
    assert_eq!((video.codec.payload_type, video.rtx), (102, Some(103)));
    assert_eq!(plan.tracks[AUDIO].unwrap().ssrc, 1_936_359_539);
    let answer = answer(CHROMIUM_H264).unwrap();
    has(
        section(&answer, "video"),
        &["a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"],
    );
}

#[test]
fn packets_of_other_modes_are_not_asked_for() {
    // Mode 0 of the first profile, then the second profile in mode 1.
    let offer = CHROMIUM_H264.replacen("packetization-mode=1", "packetization-mode=0", 1);
    let answer = answer(&offer).unwrap();
    assert!(section(&answer, "video").starts_with("m=video 8000 UDP/TLS/RTP/SAVPF 108 109\r\n"));
    let none = CHROMIUM_H264.replace("packetization-mode=1", "packetization-mode=0");
    let error = plan(&Offer::parse(&none).unwrap()).unwrap_err();
    assert_eq!((error.status, error.name), (406, "no-common-codec"));
    assert!(error.detail.contains("H264, rtx for video"), "{error}");
    assert!(error.detail.contains("H265, VP8, VP9, AV1"), "{error}");
}

#[test]
fn encodings_are_taken_by_their_names() {
    let offer = Offer::parse(SIMULCAST).unwrap();
    assert_eq!(offer.medias[1].source.rids, ["q", "h", "f"]);
    let plan = plan(&offer).unwrap();
    let video = plan.tracks[VIDEO].unwrap();
    assert_eq!((video.ssrc, video.rtx_ssrc, video.rtx), (0, 0, Some(97)));
    assert_eq!(plan.tracks[AUDIO].unwrap().ssrc, 2_484_416_993);
    let simulcast = plan.simulcast.as_ref().unwrap();
    let names: Vec<_> = simulcast.rids.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["q", "h", "f"]);
    let answered = answer(SIMULCAST).unwrap();
    let video = section(&answered, "video");
    let (rid, repaired) = (simulcast.rid_id, simulcast.repaired_rid_id.unwrap());
    has(
        video,
        &[
            "a=rid:q recv",
            "a=rid:h recv",
            "a=rid:f recv",
            "a=simulcast:recv q;h;f",
            &format!("a=extmap:{rid} {RID_URI}"),
            &format!("a=extmap:{repaired} {REPAIRED_RID_URI}"),
        ],
    );
    has_not(section(&answered, "audio"), &["rid", "simulcast"]);
    // Three lanes; names that can be told apart, and an extension that carries them.
    let changed = |from: &str, to: &str| {
        let offer = Offer::parse(&SIMULCAST.replace(from, to)).unwrap();
        super::super::publish::plan(&offer)
            .unwrap()
            .simulcast
            .map(|found| {
                let names = found.rids.iter().map(|(name, _)| (*name).to_owned());
                names.collect::<Vec<_>>()
            })
    };
    let send = "a=simulcast:send q;h;f";
    assert_eq!(changed(send, "a=simulcast:send q;h;f;u").unwrap().len(), 3);
    assert_eq!(changed(send, "a=simulcast:send q;q;h").unwrap(), ["q", "h"]);
    assert_eq!(changed(send, "a=simulcast:send q"), None);
    // One that is not sent in the format that was chosen is left out.
    let types = |q: &str, h: &str| {
        let rids = format!("a=rid:q send {q}\r\na=rid:h send {h}\r\n{send}");
        changed(send, &rids).map(|names| names.join(" "))
    };
    assert_eq!(
        types("pt=96", "max-width=9;pt=5,96").as_deref(),
        Some("q h f")
    );
    assert_eq!(types("pt=97,98", "max-width=9").as_deref(), Some("h f"));
    assert_eq!(types("pt=97", "max-fps=30;pt=x"), None);
    assert_eq!(changed(RID_URI, "urn:other"), None);
    // Sources of several layers do not say which of them will come.
    let listed = format!("{SIMULCAST}a=ssrc-group:FID 1 2\r\na=ssrc:1 cname:x\r\n");
    let offer = Offer::parse(&listed).unwrap();
    assert_eq!(offer.medias[1].source.ssrc, Some(1));
    assert_eq!(
        super::super::publish::plan(&offer).unwrap().tracks[VIDEO]
            .unwrap()
            .ssrc,
        0
    );
}

#[test]
fn firefox_is_not_bound_by_its_own_decoder() {
    let offer = Offer::parse(FIREFOX_WHIP).unwrap();
    let plan = plan(&offer).unwrap();
    let video = plan.tracks[VIDEO].unwrap();
    assert_eq!((video.ssrc, video.rtx_ssrc), (4_215_874_828, 1_721_218_382));
    let answer = answer(FIREFOX_WHIP).unwrap();
    let video = section(&answer, "video");
    assert!(
        video.starts_with("m=video 8000 UDP/TLS/RTP/SAVPF 120 124\r\n"),
        "{video}"
    );
    has(video, &[&format!("a=extmap:7 {TRANSPORT_CC_URI}")]);
    has_not(video, &["max-fs", "max-fr"]);
    let fmtp = "a=fmtp:109 maxplaybackrate=48000;useinbandfec=1;stereo=1;sprop-stereo=1";
    has(section(&answer, "audio"), &[fmtp]);
}

#[test]
fn ffmpeg_is_the_server_and_hears_what_it_asked_for() {
    let offer = Offer::parse(FFMPEG).unwrap();
    let plan = plan(&offer).unwrap();
    assert!(plan.terms.dtls_client);
    assert_eq!(plan.transport_cc, None);
    let video = plan.tracks[VIDEO].unwrap();
    assert_eq!((video.ssrc, video.rtx_ssrc), (2_035_416_284, 2_035_416_285));
    assert_eq!((video.codec.payload_type, video.rtx), (106, Some(105)));
    assert_eq!(
        plan.description.video,
        Some(VideoCodec::H264 {
            profile_level_id: [0x42, 0, 0x0d]
        })
    );
    assert_eq!(
        plan.description.audio,
        Some(AudioCodec::Opus { channels: 2 })
    );
    let text = answer(FFMPEG).unwrap();
    has_not(
        &text,
        &[
            "extmap",
            "transport-cc",
            "goog-remb",
            "pli",
            "fir",
            "rtcp-xr",
        ],
    );
    has(
        section(&text, "video"),
        &["a=setup:active", "a=rtcp-fb:106 nack"],
    );
    has(
        section(&text, "audio"),
        &["a=setup:active", "a=fmtp:111 useinbandfec=1"],
    );
    let text = answer(FFMPEG_VIDEO).unwrap();
    assert!(text.contains("a=group:BUNDLE 1\r\n"), "{text}");
}

#[test]
fn every_codec_that_viewers_can_have_is_taken() {
    let video = |offer: &str| {
        plan(&Offer::parse(offer).unwrap())
            .unwrap()
            .description
            .video
    };
    assert_eq!(video(CHROMIUM_AV1), Some(VideoCodec::Av1 { profile: 0 }));
    assert_eq!(video(CHROMIUM_VP9), Some(VideoCodec::Vp9 { profile: 0 }));
    let silent = CHROMIUM_VP9.replace("a=fmtp:98 profile-id=0", "a=x");
    assert_eq!(video(&silent), Some(VideoCodec::Vp9 { profile: 0 }));
    let high = CHROMIUM_VP9.replace("a=fmtp:98 profile-id=0", "a=fmtp:98 profile-id=2");
    assert_eq!(video(&high), Some(VideoCodec::Vp9 { profile: 2 }));
    let lower_case = CHROMIUM_AV1.replace("AV1/90000", "av1/90000");
    assert_eq!(video(&lower_case), Some(VideoCodec::Av1 { profile: 0 }));
    let h265 = |fmtp: &str| {
        let offer = CHROMIUM_AV1.replace("AV1/90000", "H265/90000");
        offer.replace("a=fmtp:45 level-idx=5;profile=0;tier=0", fmtp)
    };
    assert_eq!(
        video(&h265(
            "a=fmtp:45 level-id=120;profile-id=2;tier-flag=1;tx-mode=SRST"
        )),
        Some(VideoCodec::H265 {
            profile: 2,
            high_tier: true,
            level: 120
        })
    );
    assert_eq!(
        video(&h265("a=x")),
        Some(VideoCodec::H265 {
            profile: 1,
            high_tier: false,
            level: 93
        })
    );
    for fmtp in ["a=fmtp:45 tx-mode=MRST", "a=fmtp:45 sprop-max-don-diff=2"] {
        assert_eq!(
            plan(&Offer::parse(&h265(fmtp)).unwrap())
                .unwrap_err()
                .status,
            406
        );
    }
}

#[test]
fn a_bare_offer_is_enough() {
    let dropped = [
        "a=msid",
        "a=ssrc",
        "a=mid",
        "a=group",
        "a=extmap",
        "a=rtcp-fb",
        "a=candidate",
    ];
    let kept = FFMPEG_VIDEO
        .lines()
        .filter(|line| !dropped.iter().any(|start| line.starts_with(start)));
    let bare: String = kept.map(|line| format!("{line}\r\n")).collect();
    let offer = Offer::parse(&bare).unwrap();
    assert_eq!(offer.medias[0].source, Source::default());
    let plan = plan(&offer).unwrap();
    let video = plan.tracks[VIDEO].unwrap();
    // Without NACK there is no use for retransmissions.
    assert_eq!((video.ssrc, video.rtx), (0, None));
    let text = answer(&bare).unwrap();
    has_not(&text, &["a=group", "a=mid", "rtcp-fb"]);
}

#[test]
fn feedback_about_the_path_is_what_the_offer_allows() {
    let line = format!("a=extmap:3 {TRANSPORT_CC_URI}");
    let with = |video: &str, audio: &str| {
        let (head, tail) = CHROMIUM_H264.split_once("m=video").unwrap();
        format!(
            "{}m=video{}",
            head.replace(&line, audio),
            tail.replace(&line, video)
        )
    };
    let of = |offer: &str| {
        let offer = Offer::parse(offer).unwrap();
        let plan = plan(&offer).unwrap();
        let feedback = |track: usize| plan.tracks[track].unwrap().feedback;
        let (video, audio) = (feedback(VIDEO), feedback(AUDIO));
        assert!(answer(CHROMIUM_H264).is_ok());
        (
            plan.transport_cc,
            video.transport_cc,
            video.remb,
            audio.transport_cc,
        )
    };
    assert_eq!(of(CHROMIUM_H264), (Some(3), true, false, true));
    // Without the extension, or with one that does not fit a one-byte header, REMB has to do.
    assert_eq!(of(&with("a=x", "a=x")), (None, false, true, false));
    let far = format!("a=extmap:15 {TRANSPORT_CC_URI}");
    assert_eq!(of(&with(&far, &far)), (None, false, true, false));
    let deaf = format!("a=extmap:3/recvonly {TRANSPORT_CC_URI}");
    assert_eq!(of(&with(&deaf, &deaf)), (None, false, true, false));
    // One transport, one identifier.
    let other = format!("a=extmap:5 {TRANSPORT_CC_URI}");
    assert_eq!(of(&with(&line, &other)), (Some(3), true, false, false));
    assert_eq!(of(&with("a=x", &other)), (Some(5), false, true, true));
    let sending = format!("a=extmap:3/sendonly {TRANSPORT_CC_URI}");
    let text = answer(&with(&sending, &line)).unwrap();
    let answered = format!("a=extmap:3/recvonly {TRANSPORT_CC_URI}");
    has(section(&text, "video"), &[&answered]);
    let text = answer(&with("a=x", "a=x")).unwrap();
    has(section(&text, "video"), &["a=rtcp-fb:102 goog-remb"]);
    has_not(&text, &["transport-cc"]);
}

#[test]
fn opus_is_stereo_where_it_is_spoken_of() {
    let offered = "minptime=10;useinbandfec=1";
    let of = |fmtp: &str| {
        let offer = CHROMIUM_H264.replace(offered, fmtp);
        let text = answer(&offer).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("a=fmtp:111 "))
            .unwrap();
        let description = plan(&Offer::parse(&offer).unwrap()).unwrap().description;
        let AudioCodec::Opus { channels } = description.audio.unwrap();
        (line["a=fmtp:111 ".len()..].to_owned(), channels)
    };
    let both = "useinbandfec=1;stereo=1;sprop-stereo=1";
    assert_eq!(of(offered), ("minptime=10;useinbandfec=1".to_owned(), 2));
    assert_eq!(
        of("useinbandfec=0;stereo=1;cbr=1"),
        (format!("cbr=1;{both}"), 2)
    );
    assert_eq!(of("sprop-stereo=1"), (both.to_owned(), 2));
    assert_eq!(of("sprop-stereo=0"), ("useinbandfec=1".to_owned(), 1));
}

#[test]
fn sections_that_do_not_send_are_rejected_beside_those_that_do() {
    let data =
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\n";
    let deaf = section(CHROMIUM, "video").replace("a=mid:0", "a=mid:3");
    let offer = format!("{CHROMIUM_H264}{data}{deaf}").replace("BUNDLE 0 1", "BUNDLE 0 1 2 3");
    let text = answer(&offer).unwrap();
    assert!(text.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 "));
    assert!(text.contains("a=group:BUNDLE 0 1\r\n"), "{text}");
    assert_eq!(text.matches("\r\nm=video 0 ").count(), 1);
    // Sound alone is a stream too.
    let silent = CHROMIUM_H264.replacen("m=video 9 ", "m=video 0 ", 1);
    let plan = plan(&Offer::parse(&silent).unwrap()).unwrap().description;
    assert!(plan.video.is_none() && plan.audio.is_some());
}

#[test]
fn what_cannot_be_taken_as_a_whole_is_refused_with_a_reason() {
    let second = |kind: &str, from: &str, to: &str| {
        let more = section(CHROMIUM_H264, kind).replace(from, to);
        format!("{CHROMIUM_H264}{more}").replace("BUNDLE 0 1", "BUNDLE 0 1 2")
    };
    let with = |from: &str, to: &str| {
        assert!(CHROMIUM_H264.contains(from), "{from}");
        CHROMIUM_H264.replace(from, to)
    };
    let audio_type = with("102", "111");
    for (offer, status, name) in [
        (second("video", "a=mid:1", "a=mid:2"), 422, "track-second"),
        (second("audio", "a=mid:0", "a=mid:2"), 422, "track-second"),
        (with("a=group:BUNDLE 0 1", "a=x"), 422, "bundle-missing"),
        (
            with("BUNDLE 0 1", "BUNDLE 0\r\na=group:BUNDLE 1"),
            422,
            "bundle-missing",
        ),
        (
            with("UDP/TLS/RTP/SAVPF 102", "RTP/AVP 102"),
            422,
            "no-secure-rtp",
        ),
        (with("a=sendonly", "a=recvonly"), 422, "direction-unusable"),
        (with("a=sendonly", "a=inactive"), 422, "direction-unusable"),
        (CHROMIUM.to_owned(), 422, "direction-unusable"),
        (with("H264", "H263"), 406, "no-common-codec"),
        (with("opus", "speex"), 406, "no-common-codec"),
        (with("opus/48000/2", "opus/48000"), 406, "no-common-codec"),
        (audio_type, 422, "payload-type-shared"),
        (with("a=rtcp-mux", "a=x"), 422, "rtcp-mux-missing"),
        (
            with("a=setup:actpass", "a=setup:holdconn"),
            422,
            "setup-unusable",
        ),
        (with("a=fingerprint", "a=x"), 422, "fingerprint-missing"),
        (with("a=ice-pwd", "a=x"), 422, "ice-credentials-missing"),
        (
            with("a=msid-semantic: WMS", "a=ice-lite"),
            422,
            "ice-lite-both",
        ),
        (String::new(), 400, "sdp-malformed"),
        (CHROMIUM_H264.repeat(20), 413, "sdp-too-large"),
    ] {
        let error = answer(&offer).unwrap_err();
        assert_eq!(
            (error.status, error.name),
            (status, name),
            "{error}\n{offer}"
        );
        assert!(
            error.detail.ends_with('.') && error.remedy.ends_with('.'),
            "{error}"
        );
    }
}

#[test]
fn payload_types_that_look_like_rtcp_are_passed_over() {
    // Their SDP may be right, but a marker bit makes reports of them.
    let offer = CHROMIUM_VP9.replace("98", "72");
    assert_eq!(
        plan(&Offer::parse(&offer).unwrap())
            .unwrap()
            .description
            .video,
        Some(VideoCodec::Vp9 { profile: 2 })
    );
}

#[test]
fn sources_that_say_nothing_are_not_believed() {
    let of = |from: &str, to: &str| {
        let offer = Offer::parse(&CHROMIUM_H264.replace(from, to)).unwrap();
        let plan = plan(&offer).unwrap();
        let video = plan.tracks[VIDEO].unwrap();
        (video.ssrc, video.rtx_ssrc, plan.tracks[AUDIO].unwrap().ssrc)
    };
    let audio = 1_936_359_539;
    assert_eq!(of("950761573", "0"), (58_465_319, 0, audio));
    assert_eq!(of("950761573", "99999999999"), (58_465_319, 0, audio));
    assert_eq!(of("58465319", "950761573"), (950_761_573, 0, audio));
    assert_eq!(of("950761573", "1936359539"), (0, 58_465_319, 0));
    assert_eq!(of("FID 950761573 58465319", "FEC 950761573 58465319").1, 0);
    assert_eq!(
        of("FID 950761573 58465319", "FID 950761573"),
        (950_761_573, 0, audio)
    );
}

#[test]
fn layers_are_read_within_bounds() {
    let rids = |lines: &str| {
        let offer = Offer::parse(&format!("{CHROMIUM_VP9}{lines}")).unwrap();
        offer.medias[0].source.rids.clone()
    };
    assert_eq!(rids("a=simulcast:send 1,2;~3 recv 4\r\n"), ["1", "3"]);
    assert_eq!(
        rids("a=simulcast:recv 4\r\na=rid:5 send\r\na=rid:6 recv\r\n"),
        ["5"]
    );
    assert_eq!(rids("a=simulcast: send rid=hi;lo\r\n"), ["hi", "lo"]);
    assert_eq!(rids("a=simulcast:send ;;a b\r\n"), ["a"]);
    assert_eq!(rids("a=simulcast:send a!;b\u{e9};c\r\n"), ["c"]);
    let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(
        rids(&format!("a=simulcast:send {}\r\n", many.join(";"))).len(),
        8
    );
    assert!(rids(&format!("a=simulcast:send {}\r\n", "x".repeat(300))).is_empty());
}

proptest! {
    #[test]
    fn any_damage_to_an_offer_is_survived(
        changes in proptest::collection::vec((0..6000_usize, "[ -~\r\n]{0,6}", 0..6_usize), 1..6),
        which in 0..ALL.len(),
    ) {
        let mut text = ALL[which].to_owned();
        for (at, new, cut) in changes {
            let at = at % text.len();
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &new);
        }
        // `answer` asserts what must hold of every answer.
        let _answer = answer(&text);
    }

    #[test]
    fn lines_shuffled_and_doubled_are_survived(
        picks in proptest::collection::vec((0..ALL.len(), 0..200_usize), 1..160),
    ) {
        let mut text = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned();
        for (which, line) in picks {
            let lines: Vec<_> = ALL[which].lines().collect();
            text.push_str(lines[line % lines.len()]);
            text.push_str("\r\n");
        }
        let _answer = answer(&text);
    }

    #[test]
    fn a_word_exchanged_is_survived(
        which in 0..ALL.len(),
        place in 0..2000_usize,
        word in prop_oneof![
            Just("4294967296"), Just("-1"), Just("0"), Just("127"), Just("65535"), Just("*"),
            Just("send"), Just("FID"), Just(";;;"), Just("111"), Just("nack pli"), Just(""),
        ],
    ) {
        let words: Vec<&str> = ALL[which].split(' ').collect();
        let place = place % words.len();
        let mut changed = words.clone();
        changed[place] = word;
        let _answer = answer(&changed.join(" "));
    }
}
