//! Encoders that are no browsers publish by WHIP: FFmpeg's own muxer, GStreamer's webrtcbin; and
//! webrtcbin watches.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::browser::{Browser, PLAY};
use freshet_tests::netns::Namespace;
use freshet_tests::process::Process;
use freshet_tests::publish::{ffmpeg_whip, have_ffmpeg_whip, have_webrtcbin, webrtcbin};
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, have, wait_until};
use freshet_tests::webdriver::Chromium;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);

/// What an encoder that was asked to stop may take to say so, and the server to notice.
const FAREWELL: Duration = Duration::from_secs(5);

/// For those who publish from another host.
const TOKEN: &str = "0123456789abcdef0123";

/// A publisher that is gone without a word has no consent any more after 30 s (RFC 7675
/// section 5.1).
const CONSENT: Duration = Duration::from_secs(30);

fn whip(server: &Server, stream: &str) -> String {
    server.url(&format!("/whip/{stream}"))
}

/// Chromium shows a moving picture of this codec and gets sound all the time.
fn is_seen_and_heard(server: &Server, stream: &str, codec: &str) {
    let view = server.wait_live(stream);
    assert_eq!(view["publisher"]["kind"], "whip", "{view}");
    assert_eq!(view["video"]["codec"], codec, "{view}");
    assert_eq!(view["audio"]["codec"], "opus", "{view}");
    let mut viewer = Chromium::start();
    viewer.open(&server.url("/?stream=nothing-here")).unwrap();
    let url = server.url(&format!("/whep/{stream}"));
    let played = viewer.run(PLAY, &[json!(url), json!(["video", "audio"])]);
    println!("{stream}: first picture after {} ms", played["ms"]);
    let sound = |viewer: &mut Chromium| {
        let stats = viewer.stats("inbound-rtp", "audio");
        stats["packetsReceived"].as_u64().unwrap_or(0)
    };
    let (begun, before) = (Instant::now(), sound(&mut viewer));
    let picture = viewer.must_show_a_moving_picture();
    assert_eq!((picture.width, picture.height), (640, 360));
    sleep(Duration::from_secs(1));
    let (heard, taken) = (sound(&mut viewer) - before, begun.elapsed());
    println!("{stream}: {heard} packets of sound in {taken:?}");
    // Opus has 50 a second.
    assert!(
        u128::from(heard) > taken.as_millis() / 30,
        "{heard} in {taken:?}"
    );
    let view = server.stream(stream);
    assert_eq!(view["publisher"]["loss"], 0, "{view}");
}

/// It stops as it should, and its stream ends with it: it has sent DELETE.
fn must_end(server: &Server, stream: &str, mut publisher: Process) {
    publisher.terminate();
    let status = publisher.wait(FAREWELL);
    let said = publisher.output();
    assert!(status.success() && said.contains("ended"), "{said}");
    wait_until("the stream to be off air", FAREWELL, || {
        server.stream(stream)["publisher"] == Value::Null
    });
    server.must_be_unharmed();
}

fn ffmpeg_publishes(more: &[&str]) {
    let _turn = alone();
    if !have_ffmpeg_whip() || !have(&["chromium", "chromedriver"]) {
        return;
    }
    let server = Server::start(Setup::default());
    let publisher = ffmpeg_whip(&whip(&server, "ff/one"), more, server.folder());
    is_seen_and_heard(&server, "ff/one", "H264");
    must_end(&server, "ff/one", publisher);
}

/// FFmpeg wants us to be the client of DTLS. Its certificate is on P-224.
#[test]
fn ffmpeg_publishes_as_the_server_of_dtls() {
    ffmpeg_publishes(&[]);
}

#[test]
fn ffmpeg_publishes_as_the_client_of_dtls() {
    ffmpeg_publishes(&["--option", "whip_flags=dtls_active"]);
}

#[test]
fn ffmpeg_that_is_killed_frees_the_name() {
    // Not alone: it waits for half a minute.
    if !have_ffmpeg_whip() {
        return;
    }
    let server = Server::start(Setup::default());
    let publish = || ffmpeg_whip(&whip(&server, "mine"), &[], server.folder());
    let killed = publish();
    server.wait_live("mine");
    drop(killed);
    let begun = Instant::now();
    let mut early = publish();
    assert!(!early.wait(PATIENCE).success(), "{}", early.output());
    assert!(early.output().contains("409"), "{}", early.output());
    wait_until("the name to be free", CONSENT + FAREWELL, || {
        server.stream("mine")["publisher"] == Value::Null
    });
    println!("free again after {:?}", begun.elapsed());
    let publisher = publish();
    server.wait_live("mine");
    must_end(&server, "mine", publisher);
}

#[test]
fn ffmpeg_takes_over_from_one_that_was_killed() {
    let _turn = alone();
    if !have_ffmpeg_whip() || !have(&["chromium", "chromedriver"]) {
        return;
    }
    let server = Server::start(Setup {
        toml: "[streams]\ntakeover = \"replace\"\n".to_owned(),
        ..Setup::default()
    });
    let publish = || ffmpeg_whip(&whip(&server, "mine"), &[], server.folder());
    let packets = || server.stream("mine")["publisher"]["packets"].as_u64();
    let killed = publish();
    server.wait_live("mine");
    wait_until("some seconds of media", PATIENCE, || packets() > Some(500));
    drop(killed);
    let publisher = publish();
    let _ = publisher.says("live", PATIENCE);
    // It is not given what the one before it has sent.
    assert!(packets() < Some(500), "{:?}", packets());
    is_seen_and_heard(&server, "mine", "H264");
    must_end(&server, "mine", publisher);
}

/// A server that another host reaches.
fn elsewhere() -> Option<(Namespace, Server)> {
    if !have(&["ip", "chromium", "chromedriver"]) {
        return None;
    }
    let namespace = Namespace::new()?;
    let server = Server::start(Setup {
        demo: true,
        http_ip: namespace.here(),
        advertise: Some(namespace.here().to_string()),
        toml: format!("[auth]\npublish_tokens = [\"{TOKEN}\"]\n"),
        ..Setup::default()
    });
    Some((namespace, server))
}

/// Its certificate is RSA.
fn gstreamer_publishes(codec: &str, more: &[&str]) {
    let _turn = alone();
    if !have_webrtcbin() {
        return;
    }
    let Some((namespace, server)) = elsewhere() else {
        return;
    };
    let more = [&["--token", TOKEN][..], more].concat();
    let publisher = webrtcbin(&namespace, &whip(&server, "gst"), &more, server.folder());
    is_seen_and_heard(&server, "gst", codec);
    must_end(&server, "gst", publisher);
}

#[test]
fn gstreamer_publishes_h264() {
    gstreamer_publishes("H264", &["--codec", "h264"]);
}

#[test]
fn gstreamer_publishes_vp8_and_trickles() {
    gstreamer_publishes("VP8", &["--codec", "vp8", "--nack", "--trickle"]);
}

#[test]
fn gstreamer_watches() {
    let _turn = alone();
    if !have_webrtcbin() {
        return;
    }
    let Some((namespace, server)) = elsewhere() else {
        return;
    };
    server.wait_live("demo");
    let url = server.url("/whep/demo");
    let viewer = webrtcbin(&namespace, &url, &["--watch"], server.folder());
    let _ = viewer.says("state: connected", PATIENCE);
    // Of each second's report the last, of the last line.
    let counts = |viewer: &Process| {
        let output = viewer.output();
        let last = output.lines().rfind(|line| line.starts_with("shown: "));
        let numbers = last.unwrap_or_default().split([' ', ',']);
        let numbers: Vec<u64> = numbers.filter_map(|word| word.parse().ok()).collect();
        <[u64; 2]>::try_from(numbers).unwrap_or_default()
    };
    wait_until("a picture and sound", PATIENCE, || {
        counts(&viewer).iter().all(|count| *count > 0)
    });
    let before = counts(&viewer);
    sleep(Duration::from_secs(4));
    let after = counts(&viewer);
    let [shown, heard] = [after[0] - before[0], after[1] - before[1]];
    println!("in 4 s {shown} frames decoded, {heard} packets of sound");
    // 30 and 50 a second, of three seconds at least.
    assert!(shown > 80 && heard > 135, "{}", viewer.output());
    assert_eq!(server.stream("demo")["viewers"], 1);
    viewer.terminate();
    let _ = viewer.says("ended", FAREWELL);
    server.must_be_unharmed();
}
