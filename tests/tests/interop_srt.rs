//! Encoders publish over SRT: ffmpeg, GStreamer, libsrt's own tool; and who may not is told why.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::thread::sleep;
use std::time::Duration;

use freshet_tests::place::{corpus, free_udp_port};
use freshet_tests::process::{Process, command};
use freshet_tests::publish::{Ffmpeg, gstreamer, live_transmit};
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, have, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

/// A viewer of the stream gets both tracks without a gap.
fn is_watchable(server: &Server, stream: &str) {
    let view = server.wait_live(stream);
    let mut crowd = Crowd::joined(server.http, stream, 1, PATIENCE);
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    crowd.run(Duration::from_secs(3));
    let report = crowd.report();
    assert_eq!(report.lost, 0, "{report:?}");
    for (lane, track) in crowd.sessions()[0].tracks().iter().enumerate() {
        // At least 20 frames and 40 packets of Opus a second.
        assert!(
            track.packets > [60, 120][lane],
            "{lane}: {} packets; {view}",
            track.packets
        );
    }
    assert_eq!(server.stream(stream)["publisher"]["loss"], 0);
    crowd.leave();
}

#[test]
fn ffmpeg_publishes() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let server = Server::start(Setup::default());
    let _publisher = Ffmpeg::default().to(&server.srt_url("f", ""), server.folder());
    is_watchable(&server, "f");
    server.must_be_unharmed();
}

#[test]
fn gstreamer_publishes_with_long_and_with_short_messages() {
    if !have(&["gst-launch-1.0"]) {
        return;
    }
    let server = Server::start(Setup::default());
    for (stream, aligned) in [("long", true), ("short", false)] {
        let publisher = gstreamer(&server.srt_url(stream, ""), aligned, server.folder());
        is_watchable(&server, stream);
        println!("{stream}: {}", publisher.output().lines().count());
    }
    server.must_be_unharmed();
}

#[test]
fn srt_live_transmit_publishes() {
    if !have(&["srt-live-transmit", "ffmpeg"]) {
        return;
    }
    let server = Server::start(Setup::default());
    let ts = corpus("ts/h264_baseline_aac44k1.ts");
    let url = format!("srt://{}?streamid=publish:slt", server.srt);
    let _publisher = live_transmit(&url, &ts, free_udp_port(), server.folder());
    is_watchable(&server, "slt");
    server.must_be_unharmed();
}

#[test]
fn every_key_length_of_aes_works() {
    if !have(&["ffmpeg"]) {
        return;
    }
    let toml = "[[stream]]\nname = \"secret/*\"\npassphrase = \"correct horse battery\"\n";
    let server = Server::start(Setup {
        toml: toml.into(),
        ..Setup::default()
    });
    for bytes in [16, 24, 32] {
        let more = format!("&passphrase=correct horse battery&pbkeylen={bytes}");
        let stream = format!("secret/{bytes}");
        let _publisher = Ffmpeg::default().to(&server.srt_url(&stream, &more), server.folder());
        is_watchable(&server, &stream);
    }
    server.must_be_unharmed();
}

/// srt-live-transmit ends and says why it was turned away, in these words.
fn must_be_refused(server: &Server, url: &str, text: &str) {
    let from = format!("udp://127.0.0.1:{}", free_udp_port());
    let tool = command("srt-live-transmit", &["-v", "-a:no", "-t:20", &from, url]);
    let mut tool = Process::start("refused", server.folder(), &tool);
    tool.wait(PATIENCE);
    let said = tool.output();
    assert!(said.contains(text), "{text:?} is not in: {said}");
}

#[test]
fn those_who_may_not_publish_are_told_why() {
    if !have(&["srt-live-transmit", "ffmpeg"]) {
        return;
    }
    let toml = "[streams]\naccept = \"listed\"\n\
                [[stream]]\nname = \"secret\"\npassphrase = \"correct horse battery\"\n\
                [[stream]]\nname = \"open\"\n";
    let server = Server::start(Setup {
        toml: toml.into(),
        ..Setup::default()
    });
    let at = server.srt;
    let base = format!("srt://{at}?mode=caller&streamid=publish:");
    let wrong = format!("{base}secret&passphrase=wrong wrong wrong");
    must_be_refused(&server, &wrong, "Incorrect passphrase");
    must_be_refused(&server, &format!("{base}secret"), "Password required");
    for name in ["unknown", "../../etc/passwd"] {
        must_be_refused(
            &server,
            &format!("{base}{name}"),
            "Application-defined rejection",
        );
    }
    let log = server.log();
    assert!(
        !log.contains("correct horse"),
        "the passphrase is in the log"
    );
    assert_eq!(
        server.stream("secret")["publisher"],
        serde_json::Value::Null
    );

    let encoder = Ffmpeg::default();
    let wrong = server.srt_url("secret", "&passphrase=wrong wrong wrong");
    let mut publisher = encoder.to(&wrong, server.folder());
    let status = publisher.wait(PATIENCE);
    assert!(!status.success(), "{}", publisher.output());
    server.must_be_unharmed();
}

#[test]
fn a_second_publisher_is_refused_and_the_first_goes_on() {
    let _turn = alone();
    if !have(&["ffmpeg"]) {
        return;
    }
    let server = Server::start(Setup::default());
    let url = server.srt_url("mine", "");
    let mut first = Ffmpeg::default().to(&url, server.folder());
    let before = server.wait_live("mine")["publisher"]["remote"].clone();
    let watch = Crowd::joined(server.http, "mine", 1, PATIENCE).watch();
    let mut second = Ffmpeg {
        audio: "",
        ..Ffmpeg::default()
    }
    .to(&url, server.folder());
    let status = second.wait(PATIENCE);
    assert!(
        !status.success(),
        "the second was taken: {}",
        second.output()
    );
    assert!(
        first.ended().is_none(),
        "the first was thrown out: {}",
        first.output()
    );
    assert_eq!(server.stream("mine")["publisher"]["remote"], before);
    let crowd = watch.stop();
    let report = crowd.report();
    assert_eq!(report.lost, 0, "{report:?}");
    assert!(
        report.longest_silence < Duration::from_millis(500),
        "{report:?}"
    );
    server.must_be_unharmed();
}

#[test]
fn a_second_publisher_takes_over_where_the_setting_says_so() {
    let _turn = alone();
    if !have(&["ffmpeg"]) {
        return;
    }
    let toml = "[streams]\ntakeover = \"replace\"\n";
    let server = Server::start(Setup {
        toml: toml.into(),
        ..Setup::default()
    });
    let url = server.srt_url("next", "");
    let _first = Ffmpeg::default().to(&url, server.folder());
    let before = server.wait_live("next")["publisher"]["remote"].clone();
    let watch = Crowd::joined(server.http, "next", 1, PATIENCE).watch();
    sleep(Duration::from_secs(1));
    let _second = Ffmpeg::default().to(&url, server.folder());
    wait_until("the second to be on air", PATIENCE, || {
        let view = server.stream("next");
        view["state"] == "live" && view["publisher"]["remote"] != before
    });
    sleep(Duration::from_secs(3));
    let mut crowd = watch.stop();
    // The sequence goes on without a gap: no browser would notice but by the picture.
    let report = crowd.report();
    assert_eq!(report.lost, 0, "{report:?}");
    crowd.forget();
    crowd.run(Duration::from_secs(2));
    assert!(crowd.report().packets > 60, "{:?}", crowd.report());
    server.must_be_unharmed();
}
