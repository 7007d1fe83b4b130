//! Browsers publish by WHIP from the server's page, others watch: every codec, from glass to glass,
//! with loss on both sides, and over a reconnect.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::browser::{Browser, LONGEST_FREEZE, WATCH_FRAMES};
use freshet_tests::impair::{Impairment, Relay};
use freshet_tests::marionette::Firefox;
use freshet_tests::netns::Namespace;
use freshet_tests::place::free_udp_port;
use freshet_tests::process::kill_now;
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, have, quick, wait_for, wait_until};
use freshet_tests::webdriver::Chromium;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);

/// Fills the page's form and presses its button.
const GO_LIVE: &str = "
    const set = (id, value) => {
        const field = document.getElementById(id);
        field.value = value;
        field.dispatchEvent(new Event('input'));
    };
    set('name', arguments[0]);
    set('publish-source', 'test');
    set('publish-codec', arguments[1]);
    if (arguments[2]) set('publish-token', arguments[2]);
    document.getElementById('publish-go').click();";

/// For those who publish from another host.
const TOKEN: &str = "0123456789abcdef0123";

const STOP: &str = "document.getElementById('publish-go').click();";

/// Reads the clock that the test picture carries from the video that the page plays: milliseconds
/// from drawing to showing, of so many pictures.
const GLASS_TO_GLASS: &str = "
    const video = document.querySelector('video');
    const canvas = document.createElement('canvas');
    canvas.width = 240; canvas.height = 1;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const ages = [];
    await new Promise((done) => {
        const look = () => {
            const y = video.videoHeight * 24 / 720;
            context.drawImage(video, 0, y, video.videoWidth, 1, 0, 0, 240, 1);
            const line = context.getImageData(0, 0, 240, 1).data;
            let gray = 0;
            for (let bit = 0; bit < 24; bit += 1)
                gray = gray * 2 + (line[(bit * 10 + 5) * 4] > 127 ? 1 : 0);
            let code = gray;
            for (let shift = 1; shift < 24; shift *= 2) code ^= code >> shift;
            const age = (Date.now() - code) % 2 ** 24;
            ages.push(age);
            if (ages.length === arguments[0]) done();
            else video.requestVideoFrameCallback(look);
        };
        video.requestVideoFrameCallback(look);
        setTimeout(done, 15000);
    });
    return ages;";

fn ready() -> bool {
    have(&["chromium", "chromedriver"])
}

/// Publishes the page's test picture and waits until the server has it on air.
fn go_live(browser: &mut impl Browser, server: &Server, stream: &str, codec: &str) {
    browser.open(&server.url("/?stream=nothing-here")).unwrap();
    browser.run(GO_LIVE, &[json!(stream), json!(codec), json!(TOKEN)]);
    wait_for("the page to publish", PATIENCE, || {
        let state = browser.run("return window.freshetPublish", &[]);
        if state["state"] == "live" {
            Ok(())
        } else {
            Err(format!("{state} {}", browser.log()))
        }
    });
    server.wait_live(stream);
}

fn middle(values: &Value) -> f64 {
    let mut ages: Vec<f64> = values
        .as_array()
        .unwrap_or_else(|| panic!("{values}"))
        .iter()
        .map(|age| age.as_f64().unwrap())
        .collect();
    assert!(ages.len() >= 60, "only {} pictures", ages.len());
    ages.sort_by(f64::total_cmp);
    ages[ages.len() / 2]
}

fn passes_through(codec: &str, name: &str) {
    let _turn = alone();
    if !ready() {
        return;
    }
    let server = Server::start(Setup::default());
    let mut publisher = Chromium::start();
    go_live(&mut publisher, &server, "live/in", codec);
    let mut viewer = Chromium::start();
    viewer.watch(&server, "live/in");
    viewer.must_show_a_moving_picture();
    let age = middle(&viewer.run(GLASS_TO_GLASS, &[json!(90)]));
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
    go_live(&mut publisher, &server, "again", "vp8");
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
    publisher.run(GO_LIVE, &[json!("again"), json!("vp8"), json!(TOKEN)]);
    server.wait_live("again");
    let begun = Instant::now();
    let age = viewer.run(GLASS_TO_GLASS, &[json!(90)]);
    println!("first new picture after {:?}", begun.elapsed());
    let age = middle(&age);
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
    go_live(&mut first, &server, "hand", "h264");
    let mut viewer = Chromium::start();
    viewer.watch(&server, "hand");
    viewer.must_show_a_moving_picture();
    viewer.run(WATCH_FRAMES, &[]);
    let mut second = Chromium::start();
    go_live(&mut second, &server, "hand", "h264");
    let age = middle(&viewer.run(GLASS_TO_GLASS, &[json!(90)]));
    let shown = viewer.run(LONGEST_FREEZE, &[]);
    println!(
        "taken over: longest freeze {} ms, then {age:.0} ms behind",
        shown["longest"]
    );
    viewer.must_show_a_moving_picture();
    server.must_be_unharmed();
}

/// 5 % of everything is lost, both ways, between the server and both browsers.
fn survives_loss(codec: &str) {
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
    let mut publisher = Chromium::start();
    go_live(&mut publisher, &server, "far", codec);
    let mut viewer = Chromium::start();
    viewer.watch(&server, "far");
    viewer.must_show_a_moving_picture();
    let loss = Impairment {
        loss_ppm: 50_000,
        ..Impairment::default()
    };
    relay.set(loss, loss);
    sleep(Duration::from_secs(2));
    viewer.run(WATCH_FRAMES, &[]);
    sleep(Duration::from_secs(if quick() { 10 } else { 30 }));
    let shown = viewer.run(LONGEST_FREEZE, &[]);
    let metric = |name: &str| server.metric(&format!("freshet_worker_{name}_total"));
    println!(
        "{codec}: {shown}; publisher asked for {} packets, {} came, {} never; to the server {} of \
         {} lost",
        metric("nack_sent"),
        metric("rtp_recovered"),
        metric("rtp_lost"),
        relay.to_server().lost(),
        relay.to_server().lost() + relay.to_server().passed(),
    );
    assert!(metric("rtp_recovered") > 20.0, "nothing was repaired");
    assert!(relay.to_server().lost() > 50, "the relay lost too little");
    assert!(shown["longest"].as_f64().unwrap() <= 500.0, "{shown}");
    viewer.must_show_a_moving_picture();
    server.must_be_unharmed();
}

#[test]
fn loss_on_both_sides_freezes_no_h264() {
    survives_loss("h264");
}

#[test]
fn loss_on_both_sides_freezes_no_vp8() {
    survives_loss("vp8");
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
        toml: format!("[auth]\npublish_tokens = [\"{TOKEN}\"]\n"),
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
    go_live(&mut publisher, &server, "fox", codec);
    let mut viewer = Chromium::start();
    viewer.watch(&server, "fox");
    viewer.must_show_a_moving_picture();
    let age = middle(&viewer.run(GLASS_TO_GLASS, &[json!(60)]));
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
        go_live(&mut publisher, &server, stream, codec);
        let mut viewer = Firefox::start(&namespace);
        viewer.watch(&server, stream);
        viewer.must_show_a_moving_picture();
    }
    server.must_be_unharmed();
}

#[test]
fn nobody_notices_that_control_died_while_a_browser_publishes() {
    let _turn = alone();
    if !ready() {
        return;
    }
    let mut server = Server::start(Setup::default());
    let mut publisher = Chromium::start();
    go_live(&mut publisher, &server, "on", "h264");
    let mut viewer = Chromium::start();
    viewer.watch(&server, "on");
    viewer.must_show_a_moving_picture();
    viewer.run(WATCH_FRAMES, &[]);
    sleep(Duration::from_secs(2));
    let control = server.plane("control");
    kill_now(control);
    sleep(Duration::from_millis(50));
    server.wait_ready();
    assert_ne!(server.plane("control"), control);
    sleep(Duration::from_secs(3));
    let shown = viewer.run(LONGEST_FREEZE, &[]);
    println!("control was killed: {shown}");
    // Two pictures of 30 a second, and what a busy machine needs.
    assert!(shown["longest"].as_f64().unwrap() < 200.0, "{shown}");
    let state = server.stream("on");
    assert_eq!(state["state"], "live", "{state}");

    // A newcomer finds the stream, and its publisher is asked for what it needs.
    let mut newcomer = Chromium::start();
    newcomer.watch(&server, "on");
    newcomer.must_show_a_moving_picture();

    // Its session is not known any more; it ends by itself, and the name is free for the next.
    publisher.run(STOP, &[]);
    wait_until("the stream to be off air", PATIENCE, || {
        server.stream("on")["state"] != "live"
    });
    publisher.run(GO_LIVE, &[json!("on"), json!("h264"), json!(TOKEN)]);
    server.wait_live("on");
    viewer.must_show_a_moving_picture();
}
