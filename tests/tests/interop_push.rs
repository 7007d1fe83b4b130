//! ffmpeg pushes plain RTP, and SRTP with its keys in the description; others watch.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::UdpSocket;
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::browser::{Browser, PLAY};
use freshet_tests::http::{self, Answer};
use freshet_tests::process::{Process, kill_now};
use freshet_tests::publish::RtpPush;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, have, wait_until};
use freshet_tests::webdriver::Chromium;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// Base64 of 30 bytes: key and salt of AES-128 in counter mode.
const KEYS: [&str; 2] = [
    "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR",
    "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
];

/// The shortest that there is.
const TIMEOUT: &str = "[streams]\npush_timeout_ms = 3000\n";

fn server(cores: u16, toml: &str) -> Server {
    Server::start(Setup {
        cores,
        toml: toml.to_owned(),
        ..Setup::default()
    })
}

/// Two free ports, with the next one free as well, where RTCP comes from.
fn ports() -> [u16; 2] {
    let mut found = Vec::new();
    while found.len() < 2 {
        let one = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = one.local_addr().unwrap().port();
        let is_free = port.is_multiple_of(2) && UdpSocket::bind(("0.0.0.0", port + 1)).is_ok();
        if is_free && !found.contains(&port) {
            found.push(port);
        }
    }
    [found[0], found[1]]
}

fn ffmpeg(server: &Server, keys: Option<&str>) -> (Process, String, [u16; 2]) {
    let from = ports();
    let push = RtpPush {
        to: server.media,
        from,
        keys: keys.map(|suite| (suite.to_owned(), KEYS.map(str::to_owned))),
        gop: 30,
    };
    let (process, sdp) = push.start(server.folder());
    (process, sdp, from)
}

fn post(server: &Server, stream: &str, query: &str, sdp: &str) -> Answer {
    let path = format!("/v1/streams/{stream}/push{query}");
    let headers = [("content-type", "application/sdp")];
    http::request(server.http, "POST", &path, &headers, sdp.as_bytes()).unwrap()
}

fn from(ports: [u16; 2]) -> String {
    format!("?video_from={}&audio_from={}", ports[0], ports[1])
}

/// The Location of a push that was let in.
fn pushed(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.header("location").unwrap().to_owned()
}

fn delete(server: &Server, location: &str) -> u16 {
    let answer = http::request(server.http, "DELETE", location, &[], b"");
    answer.unwrap().status
}

fn counted(server: &Server, name: &str) -> f64 {
    server.metric(&format!("freshet_worker_{name}_total"))
}

/// Viewers get everything for some seconds: 30 frames and 50 packets of sound a second.
fn must_flow(server: &Server, stream: &str) {
    let mut crowd = Crowd::joined(server.http, stream, 3, PATIENCE);
    crowd.run(Duration::from_secs(2));
    crowd.forget();
    let begun = Instant::now();
    let frames = server.stream(stream)["publisher"]["packets"].as_u64();
    crowd.run(Duration::from_secs(5));
    let seconds = begun.elapsed().as_secs();
    let report = crowd.report();
    let view = server.stream(stream);
    println!(
        "{} packets, {} lost, age {:?} us\n{view}",
        report.packets,
        report.lost,
        report.age_us(50)
    );
    assert_eq!((report.served, report.lost), (3, 0), "{report:?}");
    assert!(report.refused.is_empty(), "{report:?}");
    assert!(report.packets > 3 * seconds * 80, "{report:?}");
    assert!(report.longest_silence < Duration::from_millis(900));
    assert!(view["publisher"]["packets"].as_u64() > frames);
    let fps = view["video"]["fps"].as_f64().unwrap();
    assert!((25.0..35.0).contains(&fps), "{view}");
    crowd.leave();
}

#[test]
fn plain_rtp_is_watched_whichever_core_it_comes_to() {
    let _turn = alone();
    if !have(&["ffmpeg", "chromium", "chromedriver"]) {
        return;
    }
    // The kernel chooses the core of each of the two senders.
    let server = server(2, "");
    let (_ffmpeg, sdp, ports) = ffmpeg(&server, None);
    // Its description says where it sends to, which is us.
    let asked = post(&server, "cam/one", "", &sdp);
    assert_eq!(asked.status, 422, "{}", asked.text());
    assert!(asked.text().contains("source-ours"), "{}", asked.text());
    assert_eq!(server.stream("cam/one"), Value::Null);

    let answer = post(&server, "cam/one", &from(ports), &sdp);
    let location = pushed(&answer);
    let to = format!("m=video {} RTP/AVP 96", server.media.port());
    assert!(answer.text().contains(&to), "{}", answer.text());
    let view = server.wait_live("cam/one");
    assert_eq!(view["publisher"]["kind"], "push", "{view}");
    let sources = ports.map(|port| format!("127.0.0.1:{port}"));
    assert_eq!(view["publisher"]["sources"], json!(sources), "{view}");
    assert_eq!(view["video"]["codec"], "H264", "{view}");
    assert_eq!(view["audio"]["codec"], "opus", "{view}");
    must_flow(&server, "cam/one");

    let mut viewer = Chromium::start();
    viewer.open(&server.url("/?stream=nothing-here")).unwrap();
    let url = server.url("/whep/cam/one");
    let played = viewer.run(PLAY, &[json!(url), json!(["video", "audio"])]);
    println!("first picture after {} ms", played["ms"]);
    let frames = |viewer: &mut Chromium| {
        let stats = viewer.stats("inbound-rtp", "video");
        stats["framesDecoded"].as_u64().unwrap_or(0)
    };
    let before = frames(&mut viewer);
    let begun = Instant::now();
    let picture = viewer.must_show_a_moving_picture();
    assert_eq!((picture.width, picture.height), (640, 360));
    sleep(Duration::from_secs(3));
    let (decoded, taken) = (frames(&mut viewer) - before, begun.elapsed());
    println!("{decoded} frames decoded in {taken:?}");
    assert!(u128::from(decoded) > taken.as_millis() / 50, "{decoded}");

    assert_eq!(delete(&server, &location), 204);
    wait_until("the push to be over", PATIENCE, || {
        server.stream("cam/one")["publisher"] == Value::Null
    });
    assert_eq!(delete(&server, &location), 404);
    // What comes now is nobody's.
    let before = counted(&server, "datagram_unknown_dropped");
    wait_until("its packets to be dropped", PATIENCE, || {
        counted(&server, "datagram_unknown_dropped") > before + 50.0
    });
    server.must_be_unharmed();
}

#[test]
fn srtp_is_opened_with_the_keys_of_the_description() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let server = server(1, "");
    for suite in ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"] {
        let (_ffmpeg, sdp, ports) = ffmpeg(&server, Some(suite));
        assert_eq!(sdp.matches("a=crypto:").count(), 2, "{sdp}");
        let answer = post(&server, "cam/srtp", &from(ports), &sdp);
        let location = pushed(&answer);
        let ours = format!("a=crypto:1 {suite} inline:");
        assert_eq!(answer.text().matches(&ours).count(), 2, "{}", answer.text());
        assert!(!answer.text().contains(KEYS[0]), "their key comes back");
        server.wait_live("cam/srtp");
        must_flow(&server, "cam/srtp");
        assert_eq!(delete(&server, &location), 204);
    }
    assert_eq!(counted(&server, "srtp_refused_auth"), 0.0);
    server.must_be_unharmed();
}

#[test]
fn wrong_keys_are_counted_and_the_push_ends_as_if_nothing_came() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let server = server(1, TIMEOUT);
    let (_ffmpeg, sdp, ports) = ffmpeg(&server, Some("AES_CM_128_HMAC_SHA1_80"));
    let forged = sdp.replace(KEYS[0], KEYS[1].to_lowercase().as_str());
    let forged = forged.replace(KEYS[1], KEYS[0]);
    let location = pushed(&post(&server, "cam/srtp", &from(ports), &forged));
    wait_until("refused packets", PATIENCE, || {
        counted(&server, "srtp_refused_auth") > 100.0
    });
    let view = server.stream("cam/srtp");
    assert_eq!(view["state"], "waiting", "{view}");
    assert_eq!(view["publisher"]["packets"], 0, "{view}");
    wait_until("the push to be over", PATIENCE, || {
        server.stream("cam/srtp")["publisher"] == Value::Null
    });
    assert_eq!(delete(&server, &location), 404);
    // With the right ones it goes, from the same ports.
    pushed(&post(&server, "cam/srtp", &from(ports), &sdp));
    let view = server.wait_live("cam/srtp");
    assert_eq!(view["state"], "live", "{view}");
    server.must_be_unharmed();
}

#[test]
fn silence_ends_a_push_and_frees_its_stream() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let server = server(2, TIMEOUT);
    let (ffmpeg, sdp, ports) = ffmpeg(&server, None);
    pushed(&post(&server, "cam/one", &from(ports), &sdp));
    server.wait_live("cam/one");
    // As long as something comes it stays.
    sleep(Duration::from_secs(5));
    assert_eq!(server.stream("cam/one")["publisher"]["kind"], "push");
    drop(ffmpeg);
    let begun = Instant::now();
    wait_until("the push to be over", PATIENCE, || {
        server.stream("cam/one")["publisher"] == Value::Null
    });
    let taken = begun.elapsed();
    println!("over after {taken:?}");
    assert!(taken > Duration::from_secs(2) && taken < Duration::from_secs(8));
    // Whoever comes next gets the log.
    let (_ffmpeg, sdp, ports) = self::ffmpeg(&server, None);
    pushed(&post(&server, "cam/one", &from(ports), &sdp));
    must_flow(&server, "cam/one");
    server.must_be_unharmed();
}

#[test]
fn a_stream_is_taken_over_if_its_operator_lets_it() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let toml = "[[stream]]\nname = \"open/*\"\ntakeover = \"replace\"\n";
    let server = server(2, toml);
    let (_first, sdp, ports) = ffmpeg(&server, None);
    let (_second, other_sdp, other_ports) = ffmpeg(&server, None);
    for (stream, status) in [("own/cam", 409), ("open/cam", 201)] {
        let location = pushed(&post(&server, stream, &from(ports), &sdp));
        server.wait_live(stream);
        let second = post(&server, stream, &from(other_ports), &other_sdp);
        assert_eq!(second.status, status, "{}", second.text());
        if status == 409 {
            assert!(second.text().contains("stream-taken"), "{}", second.text());
            // Its sender's address is another's as well.
            let same = post(&server, "own/other", &from(ports), &sdp);
            assert!(same.text().contains("source-taken"), "{}", same.text());
            assert_eq!((same.status, delete(&server, &location)), (409, 204));
            continue;
        }
        assert_eq!(delete(&server, &location), 404);
        let sources = &server.stream(stream)["publisher"]["sources"];
        assert_eq!(sources[0], format!("127.0.0.1:{}", other_ports[0]));
        must_flow(&server, stream);
    }
    server.must_be_unharmed();
}

#[test]
fn a_push_outlives_control_and_is_known_to_the_next_one() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let mut server = server(2, "");
    let (_ffmpeg, sdp, ports) = ffmpeg(&server, None);
    let location = pushed(&post(&server, "cam/one", &from(ports), &sdp));
    server.wait_live("cam/one");
    let mut crowd = Crowd::joined(server.http, "cam/one", 2, PATIENCE);
    crowd.run(Duration::from_secs(2));
    crowd.forget();
    kill_now(server.plane("control"));
    crowd.run(Duration::from_secs(4));
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (2, 0), "{report:?}");
    assert!(report.packets > 2 * 4 * 70, "{report:?}");
    server.wait_ready();
    server.wait_live("cam/one");
    // The forwarder that comes next is told of it as well.
    kill_now(server.plane("forwarder"));
    must_flow(&server, "cam/one");
    assert_eq!(delete(&server, &location), 204);
    assert_eq!(delete(&server, &location), 404);
    // Who posts again is another one.
    let next = pushed(&post(&server, "cam/one", &from(ports), &sdp));
    assert_ne!(next, location);
    must_flow(&server, "cam/one");
}
