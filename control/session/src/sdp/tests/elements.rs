//! Tests of what goes on from publishers to viewers beside the media.

use super::super::answer::Sending;
use super::super::counter;
use super::super::elements::{Agreed, Passed, URIS, ids};
use super::super::offer::Offer;
use super::super::plan;
use super::super::publish;
use super::{CHROMIUM, CHROMIUM_WHIP, FIREFOX_WHIP, SENDING, candidates, local, section};
use crate::description::{AudioCodec, StreamDescription, VideoCodec};
use link::command::{AUDIO, TRACKS_MAX, VIDEO};
use link::elements::{AUDIO_LEVEL, CAPTURE_TIME, DESCRIPTOR, KINDS};

const CHROMIUM_AV1: &str = include_str!("../../../../../tests/corpus/sdp/chromium_whip_av1.sdp");

const AV1_AND_OPUS: StreamDescription = StreamDescription {
    video: Some(VideoCodec::Av1 { profile: 0 }),
    audio: Some(AudioCodec::Opus { channels: 2 }),
};

const ALL: Passed = Passed {
    elements: [[true; KINDS]; TRACKS_MAX],
    red: true,
};

fn published(offer: &str) -> ([Agreed; TRACKS_MAX], String) {
    let offer = Offer::parse(offer).unwrap();
    let plan = publish::plan(&offer).unwrap();
    let text = plan.write(&local(&candidates()));
    let of = |track: usize| plan.tracks[track].map_or([None; KINDS], |track| track.elements);
    ([of(VIDEO), of(AUDIO)], text)
}

fn watched(offer: &str, passed: Passed) -> ([Agreed; TRACKS_MAX], String) {
    let offer = Offer::parse(offer).unwrap();
    let plan = plan::plan(&offer, &AV1_AND_OPUS).unwrap();
    let sending = Sending { passed, ..SENDING };
    let text = plan.write(&local(&candidates()), &sending);
    let of = |track: usize| plan.tracks[track].map_or([None; KINDS], |track| track.elements);
    ([of(VIDEO), of(AUDIO)], text)
}

/// The offer of a page that asks for descriptors: browsers do not do so by themselves.
fn asking() -> String {
    let more = format!("a=extmap:13 {}\r\na=rtcp-mux\r\n", URIS[DESCRIPTOR]);
    CHROMIUM.replace("a=rtcp-mux\r\n", &more)
}

fn lines<'a>(section: &'a str, uri: &str) -> Vec<&'a str> {
    let of_it = section.lines().filter(|line| line.ends_with(uri));
    of_it.collect()
}

#[test]
fn a_publisher_of_av1_tells_its_layers() {
    let ([video, audio], text) = published(CHROMIUM_AV1);
    assert_eq!(ids(&video)[DESCRIPTOR], 13);
    let answered = section(&text, "video");
    let line = format!("a=extmap:13 {}", URIS[DESCRIPTOR]);
    assert_eq!(lines(answered, URIS[DESCRIPTOR]), [line]);
    assert_eq!(lines(answered, "a=extmap-allow-mixed").len(), 1);
    assert_eq!(audio, [None; KINDS], "the offer has no sound");
    // One form of elements alone is too short for a structure.
    let plain = CHROMIUM_AV1.replace("a=extmap-allow-mixed\r\n", "");
    let ([video, _], text) = published(&plain);
    assert_eq!(video[DESCRIPTOR], None);
    assert!(!text.contains("mixed") && !text.contains(URIS[DESCRIPTOR]));
    // Other codecs tell their layers in the payload.
    let ([video, _], _) = published(CHROMIUM_WHIP);
    assert_eq!(video[DESCRIPTOR], None);
}

#[test]
fn levels_and_times_are_kept() {
    for offer in [CHROMIUM_WHIP, FIREFOX_WHIP] {
        let ([_, audio], text) = published(offer);
        let (id, is_one_way) = audio[AUDIO_LEVEL].unwrap();
        assert!(!is_one_way);
        let line = format!("a=extmap:{id} {}", URIS[AUDIO_LEVEL]);
        assert_eq!(lines(section(&text, "audio"), URIS[AUDIO_LEVEL]), [line]);
    }
    let time = URIS[CAPTURE_TIME];
    let of = |way: &str| {
        let mid = "a=extmap:9 urn:ietf:params:rtp-hdrext:sdes:mid";
        let more = format!("{mid}\r\na=extmap:8{way} {time}");
        let offer = CHROMIUM_AV1.replace("a=extmap:8 ", "a=extmap:12 ");
        published(&offer.replace(mid, &more))
    };
    let ([video, _], text) = of("");
    assert_eq!(video[CAPTURE_TIME], Some((8, false)));
    assert_eq!(lines(&text, time), [format!("a=extmap:8 {time}")]);
    // Beyond what one-byte elements have.
    let moved = CHROMIUM_WHIP.replace("a=extmap:1 urn:ietf", "a=extmap:17 urn:ietf");
    let ([_, audio], text) = published(&moved);
    assert_eq!(audio[AUDIO_LEVEL], Some((17, false)));
    assert!(section(&text, "audio").contains("a=extmap-allow-mixed\r\n"));
    let plain = moved.replace("a=extmap-allow-mixed\r\n", "");
    assert_eq!(published(&plain).0[AUDIO][AUDIO_LEVEL], None);
    let ([video, _], text) = of("/sendonly");
    assert_eq!(video[CAPTURE_TIME], Some((8, true)));
    assert_eq!(lines(&text, time), [format!("a=extmap:8/recvonly {time}")]);
    let ([video, _], text) = of("/recvonly");
    assert_eq!(video[CAPTURE_TIME], None);
    assert_eq!(lines(&text, time).len(), 0);
}

#[test]
fn viewers_are_answered_what_the_publisher_sends() {
    let ([video, audio], text) = watched(&asking(), ALL);
    let (id, _) = video[DESCRIPTOR].unwrap();
    let line = format!("a=extmap:{id} {}", URIS[DESCRIPTOR]);
    let answered = section(&text, "video");
    assert_eq!(lines(answered, URIS[DESCRIPTOR]), [line]);
    assert_eq!(lines(answered, "a=extmap-allow-mixed").len(), 1);
    assert!(audio[AUDIO_LEVEL].is_some());
    assert_eq!(lines(&text, URIS[AUDIO_LEVEL]).len(), 1);
    let (_, text) = watched(&asking(), Passed::default());
    for uri in URIS {
        assert!(!text.contains(uri), "{text}");
    }
    assert!(!text.contains("mixed") && !text.contains("red/"), "{text}");
    // Nor where the form is not allowed.
    let plain = asking().replace("a=extmap-allow-mixed\r\n", "");
    let ([video, _], _) = watched(&plain, ALL);
    assert_eq!(video[DESCRIPTOR], None);
}

/// An offer with redundancy of this kind before Opus.
fn with_red(offer: &str, fmtp: &str) -> String {
    let before = offer.find("m=audio").unwrap();
    let (head, audio) = offer.split_at(before);
    let end = audio.find("\r\n").unwrap();
    let (line, rest) = audio.split_at(end);
    let types = line.split_once("SAVPF ").unwrap().1;
    let types: Vec<&str> = types.split(' ').filter(|id| *id != "63").collect();
    let rest = rest
        .replace("a=rtpmap:63 red/48000/2\r\n", "")
        .replace("a=fmtp:63 111/111\r\n", "");
    format!(
        "{head}m=audio 9 UDP/TLS/RTP/SAVPF 63 {}{rest}a=rtpmap:63 red/48000/2\r\n{fmtp}",
        types.join(" ")
    )
}

#[test]
fn redundancy_is_taken_from_whoever_prefers_it() {
    // Browsers offer it after Opus: they would rather not.
    assert!(CHROMIUM_WHIP.contains("red/48000/2"));
    let (_, text) = published(CHROMIUM_WHIP);
    assert!(!text.contains("red/48000"), "{text}");
    let only_audio = |offer: &str| {
        let audio = &offer[offer.find("m=audio").unwrap()..];
        let audio = match audio[2..].find("m=") {
            Some(end) => &audio[..end + 2],
            None => audio,
        };
        let mid = audio.split("a=mid:").nth(1).unwrap();
        let mid = mid.split("\r\n").next().unwrap();
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mid}\r\n{audio}"
        )
    };
    let preferring = with_red(&only_audio(CHROMIUM_WHIP), "a=fmtp:63 111/111\r\n");
    let (_, text) = published(&preferring);
    assert!(text.contains("SAVPF 63 111\r\n"), "{text}");
    assert!(text.contains("a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"));
    // Of something else.
    let other = with_red(&only_audio(CHROMIUM_WHIP), "a=fmtp:63 111/9\r\n");
    let (_, text) = published(&other);
    assert!(!text.contains("red/48000"), "{text}");
    let bare = with_red(&only_audio(CHROMIUM_WHIP), "");
    let (_, text) = published(&bare);
    assert!(!text.contains("red/48000"), "{text}");
}

#[test]
fn redundancy_is_passed_to_whoever_takes_it() {
    let (_, text) = watched(CHROMIUM, ALL);
    let audio = section(&text, "audio");
    assert!(audio.starts_with("m=audio"), "{audio}");
    assert!(
        audio.lines().next().unwrap().ends_with(" 111 63"),
        "{audio}"
    );
    assert!(audio.contains("a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"));
}

#[test]
fn counter_offers_name_what_is_passed() {
    let sending = Sending {
        passed: ALL,
        ..SENDING
    };
    let text = counter::write(&AV1_AND_OPUS, &local(&candidates()), &sending);
    let certificate = ["AA"; 32].join(":");
    let offer = Offer::parse(&text.replace("AA:BB", &certificate)).unwrap();
    let answer = offer_as_receiver(&offer);
    let plan = plan::plan(&answer, &AV1_AND_OPUS).unwrap();
    let video = plan.tracks[VIDEO].unwrap().elements;
    assert!(video[DESCRIPTOR].is_some() && video[CAPTURE_TIME].is_some());
    assert!(plan.tracks[AUDIO].unwrap().elements[AUDIO_LEVEL].is_some());
}

/// The offer as an answer that takes all of it would have it.
fn offer_as_receiver(offer: &Offer) -> Offer {
    let mut answer = offer.clone();
    answer.ice_lite = false;
    for media in &mut answer.medias {
        media.receives = true;
    }
    answer
}
