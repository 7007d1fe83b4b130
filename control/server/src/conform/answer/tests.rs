//! A good answer has no fault; an answer with one fault breaks one rule, and that one alone.

use super::*;
use crate::conform::offer::{Offer, Variant};
use crate::conform::report::Outcome;

const FINGERPRINT: &str = "AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:\
                           AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99";

/// What is changed in a good answer, to what, and the rule that this breaks.
const FAULTS: [(&str, &str, &str); 25] = [
    ("s=-\r\n", "", "answer-parses"),
    ("a=mid:vid", "hello", "answer-parses"),
    ("a=setup:passive", "a=setup:actpass", "answer-setup"),
    ("a=setup:passive\r\n", "", "answer-setup"),
    ("a=ice-ufrag:abcd", "a=ice-ufrag:abc", "answer-ice"),
    ("a=ice-ufrag:abcd", "a=ice-ufrag:ab-d", "answer-ice"),
    ("0123456789012345678901", "0123456789", "answer-ice"),
    ("a=ice-pwd", "a=x", "answer-ice"),
    ("AA:BB:", "AA:", "answer-fingerprint"),
    ("sha-256", "sha-1", "answer-fingerprint"),
    ("a=fingerprint", "a=x", "answer-fingerprint"),
    ("a=candidate", "a=x", "answer-candidates"),
    (" typ host", "", "answer-candidates"),
    ("a=sendonly", "a=sendrecv", "answer-direction"),
    ("a=sendonly\r\n", "", "answer-direction"),
    ("a=sendonly", "a=inactive", "answer-direction"),
    ("a=rtcp-mux\r\n", "", "answer-rtcp-mux"),
    (
        "a=group:BUNDLE aud vid",
        "a=group:BUNDLE aud",
        "answer-bundle",
    ),
    ("a=group", "a=x", "answer-bundle"),
    ("SAVPF 111", "SAVPF 112", "answer-payload"),
    ("96 H264", "96 VP8", "answer-payload"),
    ("a=extmap:1", "a=extmap:5", "answer-extmap"),
    ("a=msid:s aud", "a=msid:t aud", "answer-msid"),
    ("a=msid", "a=x", "answer-msid"),
    ("m=audio", "m=video", "answer-m-lines"),
];

fn section(line: &str, mid: &str, direction: &str, codec: &str) -> String {
    format!(
        "m={line}\r\nc=IN IP4 192.0.2.7\r\na=mid:{mid}\r\na={direction}\r\na=ice-ufrag:abcd\r\n\
         a=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 {FINGERPRINT}\r\n\
         a=setup:passive\r\na=rtcp-mux\r\na=msid:s {mid}\r\n{codec}\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=candidate:1 1 udp 2130706431 192.0.2.7 8000 typ host\r\n"
    )
}

fn answer(direction: &str) -> String {
    let audio = section(
        "audio 8000 UDP/TLS/RTP/SAVPF 111",
        "aud",
        direction,
        "a=rtpmap:111 OPUS/48000/2",
    );
    let video = section(
        "video 8000 UDP/TLS/RTP/SAVPF 96 97",
        "vid",
        direction,
        "a=rtpmap:96 H264/90000",
    );
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE aud vid\r\n\
         a=ice-lite\r\n{audio}{video}"
    )
}

/// The ids of the rules that an answer breaks.
fn faults(protocol: Protocol, variant: Variant, answer: &str) -> Vec<&'static str> {
    let offer = Offer::new(protocol, variant);
    let findings = examine(protocol, &offer.text, answer);
    let wrong = findings
        .iter()
        .filter(|one| matches!(one.outcome, Outcome::Wrong(_)) && one.rule.holds_for(protocol));
    wrong.map(|one| one.rule.id).collect()
}

fn of(answer: &str) -> Vec<&'static str> {
    faults(Protocol::Whep, Variant::Plain, answer)
}

#[test]
fn a_good_answer_has_no_fault() {
    assert_eq!(of(&answer("sendonly")), [""; 0]);
    let whip = faults(Protocol::Whip, Variant::Plain, &answer("recvonly"));
    assert_eq!(whip, [""; 0]);
    let active = faults(Protocol::Whip, Variant::Active, &answer("recvonly"));
    assert_eq!(active, [""; 0]);
    // As RFC 9725 section 4.2 shows it: the transport stands in the first section alone.
    let whole = answer("sendonly");
    let (head, video) = whole.rsplit_once("m=video").unwrap();
    let kept = |line: &&str| !line.starts_with("a=ice-") && !line.contains("fingerprint");
    let video: Vec<_> = video.lines().filter(kept).collect();
    let video = video.join("\r\n").replace("8000", "0") + "\r\na=bundle-only\r\n";
    assert_eq!(of(&format!("{head}m=video{video}")), [""; 0]);
}

#[test]
fn one_fault_breaks_one_rule() {
    let good = answer("sendonly");
    for (from, to, rule) in FAULTS {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        assert_eq!(of(&bad), [rule], "{from} -> {to}");
    }
    let mids = good
        .replace("a=mid:vid", "a=mid:1")
        .replace("BUNDLE aud vid", "BUNDLE aud 1");
    assert_eq!(of(&mids), ["answer-mids"]);
    let (head, _) = good.rsplit_once("m=video").unwrap();
    let short = head.replace("BUNDLE aud vid", "BUNDLE aud");
    assert_eq!(of(&short), ["answer-m-lines"]);
    assert_eq!(of("not sdp"), ["answer-parses"]);
    let both_active = good
        .replace("passive", "active")
        .replace("sendonly", "recvonly");
    let active = faults(Protocol::Whip, Variant::Active, &both_active);
    assert_eq!(active, ["answer-setup"]);
}

#[test]
fn what_is_rejected_is_judged_for_that_alone() {
    let good = answer("sendonly");
    let (head, _) = good.rsplit_once("m=video").unwrap();
    let head = head.replace("BUNDLE aud vid", "BUNDLE aud");
    let rejected = format!("{head}m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:vid\r\n");
    assert_eq!(of(&rejected), ["answer-rejected"]);
    let with_line = format!("{rejected}c=IN IP4 0.0.0.0\r\n");
    assert_eq!(of(&with_line), [""; 0]);
    let whip = faults(
        Protocol::Whip,
        Variant::Plain,
        &with_line.replace("sendonly", "recvonly"),
    );
    assert_eq!(whip, ["answer-complete"]);
}
