//! Browsers publish by WHIP from the server's page, others watch: every codec, from glass to glass,
//! with loss on both sides, and over a reconnect.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::browser::{Browser, LONGEST_FREEZE, PUBLISH_TOKEN, WATCH_FRAMES};
use freshet_tests::impair::{Impairment, Relay};
use freshet_tests::marionette::Firefox;
use freshet_tests::netns::Namespace;
use freshet_tests::place::free_udp_port;
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, full, have, wait_until};
use freshet_tests::webdriver::Chromium;

const PATIENCE: Duration = Duration::from_secs(40);

const STOP: &str = "document.getElementById('publish-go').click();";

fn ready() -> bool {
    have(&["chromium", "chromedriver"])
}

fn passes_through(codec: &str, name: &str) {
    let _turn = alone();
    if !ready() {
        return;
    }
    let server = Server::start(Setup::default());
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "live/in", codec, "one");
    let mut viewer = Chromium::start();
    viewer.watch(&server, "live/in");
    viewer.must_show_a_moving_picture();
    let age = viewer.glass_to_glass_ms(90);
    let sent = publisher.run("return window.freshetPublish.stats", &[]);
    println!(
        "{name}: glass to glass {age:.0} ms, {}x{} at {} kbit/s",
        sent["width"],
        sent["height"],
        sent["bitrateBps"].as_u64().unwrap_or(0) / 1000,
    );
    assert!(age < 500.0, "{age} ms");
    assert_eq!(sent["codec"], name, "{sent}");
    let stream = server.stream("live/in");
    assert_eq!(stream["publisher"]["kind"], "whip", "{stream}");
    assert_eq!(stream["video"]["codec"], name, "{stream}");
    let codec = viewer.run("return window.freshet.stats", &[]);
    assert_eq!(codec["videoCodec"], name, "{codec}");
    assert_eq!(codec["audioCodec"], "opus", "{codec}");
    server.must_be_unharmed();
}

#[test]
fn h264_is_passed_through() {
    passes_through("h264", "H264");
}

#[test]
fn vp8_is_passed_through() {
    passes_through("vp8", "VP8");
}

#[test]
fn vp9_is_passed_through() {
    passes_through("vp9", "VP9");
}

#[test]
fn av1_is_passed_through() {
    passes_through("av1", "AV1");
}

#[test]
fn a_publisher_that_stops_and_begins_again_is_seen_on_the_same_page() {
    let _turn = alone();
    if !ready() {
        return;
    }
    let server = Server::start(Setup::default());
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "again", "vp8", "one");
    let mut viewer = Chromium::start();
    viewer.watch(&server, "again");
    viewer.must_show_a_moving_picture();
    let sessions = |server: &Server| {
        let page = server.get("/v1/sessions").json();
        let all = page["sessions"].as_array().unwrap().clone();
        let of_viewers = all.into_iter().filter(|one| one["kind"] == "viewer");
        of_viewers.map(|one| one["id"].clone()).collect::<Vec<_>>()
    };
    let before = sessions(&server);
    assert_eq!(before.len(), 1);
    publisher.run(STOP, &[]);
    wait_until("the stream to be off air", PATIENCE, || {
        server.stream("again")["state"] != "live"
    });
    publisher.begin_publishing("again", "vp8", "one");
    server.wait_live("again");
    let begun = Instant::now();
    println!("first new picture after {:?}", begun.elapsed());
    let age = viewer.glass_to_glass_ms(90);
    assert!(age < 700.0, "{age} ms");
    viewer.must_show_a_moving_picture();
    assert_eq!(
        sessions(&server),
        before,
        "the viewer's session is the same"
    );
    server.must_be_unharmed();
}

#[test]
fn a_browser_that_takes_over_is_seen_without_a_freeze() {
    let _turn = alone();
    if !ready() {
        return;
    }
    let toml = "[streams]\ntakeover = \"replace\"\n";
    let server = Server::start(Setup {
        toml: toml.to_owned(),
        ..Setup::default()
    });
    let mut first = Chromium::start();
    first.go_live(&server, "hand", "h264", "one");
    let mut viewer = Chromium::start();
    viewer.watch(&server, "hand");
    viewer.must_show_a_moving_picture();
    viewer.run(WATCH_FRAMES, &[]);
    let mut second = Chromium::start();
    second.go_live(&server, "hand", "h264", "one");
    let age = viewer.glass_to_glass_ms(90);
    let shown = viewer.run(LONGEST_FREEZE, &[]);
    println!(
        "taken over: longest freeze {} ms, then {age:.0} ms behind",
        shown["longest"]
    );
    viewer.must_show_a_moving_picture();
    server.must_be_unharmed();
}

/// 5 % of everything is lost, both ways, between the server and all browsers.
#[test]
fn loss_on_both_sides_freezes_nothing() {
    let _turn = alone();
    if !ready() {
        return;
    }
    let media_port = free_udp_port();
    let relay = Relay::start(
        SocketAddr::from((Ipv4Addr::LOCALHOST, media_port)),
        20_261_122,
    );
    let server = Server::start(Setup {
        media_port: Some(media_port),
        advertise: Some(relay.address().to_string()),
        ..Setup::default()
    });
    let mut on_air = ["h264", "vp8"].map(|codec| {
        let mut publisher = Chromium::start();
        publisher.go_live(&server, codec, codec, "one");
        let mut viewer = Chromium::start();
        viewer.watch(&server, codec);
        viewer.must_show_a_moving_picture();
        (codec, publisher, viewer)
    });
    let loss = Impairment {
        loss_ppm: 50_000,
        ..Impairment::default()
    };
    relay.set(loss, loss);
    sleep(Duration::from_secs(2));
    for (_, _, viewer) in &mut on_air {
        viewer.run(WATCH_FRAMES, &[]);
    }
    sleep(Duration::from_secs(if full() { 30 } else { 15 }));
    let metric = |name: &str| server.metric(&format!("freshet_worker_{name}_total"));
    println!(
        "publishers were asked for {} packets, {} came, {} never; to the server {} of {} lost",
        metric("nack_sent"),
        metric("rtp_recovered"),
        metric("rtp_lost"),
        relay.to_server().lost(),
        relay.to_server().lost() + relay.to_server().passed(),
    );
    assert!(metric("rtp_recovered") > 40.0, "nothing was repaired");
    assert!(relay.to_server().lost() > 100, "the relay lost too little");
    for (codec, _, viewer) in &mut on_air {
        let shown = viewer.run(LONGEST_FREEZE, &[]);
        println!("{codec}: {shown}");
        assert!(
            shown["longest"].as_f64().unwrap() <= 500.0,
            "{codec}: {shown}"
        );
        viewer.must_show_a_moving_picture();
    }
    server.must_be_unharmed();
}

/// A server that browsers of another host reach, who need a token to publish.
fn elsewhere() -> Option<(Namespace, Server)> {
    if !ready() || !have(&["firefox-esr", "ip"]) {
        return None;
    }
    let namespace = Namespace::new()?;
    let server = Server::start(Setup {
        http_ip: namespace.here(),
        advertise: Some(namespace.here().to_string()),
        toml: format!("[auth]\npublish_tokens = [\"{PUBLISH_TOKEN}\"]\n"),
        ..Setup::default()
    });
    Some((namespace, server))
}

fn firefox_publishes(codec: &str, name: &str) {
    let _turn = alone();
    let Some((namespace, server)) = elsewhere() else {
        return;
    };
    let mut publisher = Firefox::start(&namespace);
    publisher.go_live(&server, "fox", codec, "one");
    let mut viewer = Chromium::start();
    viewer.watch(&server, "fox");
    viewer.must_show_a_moving_picture();
    let age = viewer.glass_to_glass_ms(60);
    println!("Firefox, {name}: glass to glass {age:.0} ms");
    let shown = viewer.run("return window.freshet.stats", &[]);
    assert_eq!(shown["videoCodec"], name, "{shown}");
    server.must_be_unharmed();
}

#[test]
fn firefox_publishes_vp8() {
    firefox_publishes("vp8", "VP8");
}

#[test]
fn firefox_publishes_av1() {
    firefox_publishes("av1", "AV1");
}

#[test]
fn firefox_watches_what_chromium_publishes() {
    let _turn = alone();
    let Some((namespace, server)) = elsewhere() else {
        return;
    };
    let mut publisher = Chromium::start();
    for (stream, codec) in [("one", "vp8"), ("two", "av1")] {
        publisher.go_live(&server, stream, codec, "one");
        let mut viewer = Firefox::start(&namespace);
        viewer.watch(&server, stream);
        viewer.must_show_a_moving_picture();
    }
    server.must_be_unharmed();
}
