//! Browsers publish in layers: others get the one that their way carries, and change it unseen.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::browser::{Browser, LONGEST_FREEZE, WATCH_FRAMES};
use freshet_tests::impair::{Impairment, Relay};
use freshet_tests::place::free_udp_port;
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, full, have, wait_for};
use freshet_tests::webdriver::Chromium;

const PATIENCE: Duration = Duration::from_secs(60);

/// Lets Chromium offer feedback by source and sequence number (RFC 8888).
const BY_SOURCE: &str =
    "--force-fieldtrials=WebRTC-RFC8888CongestionControlFeedback/Enabled,offer:true/";

/// Until a viewer is back when its way is wide again.
const BACK: Duration = Duration::from_secs(15);

/// How long a picture stands if nothing freezes, at 30 a second.
const PICTURE_MS: f64 = 33.4;

fn ready() -> bool {
    have(&["chromium", "chromedriver"])
}

/// Waits until the picture that is shown has such a height; gives the time that it took.
fn wait_height(browser: &mut Chromium, what: &str, is_it: impl Fn(u64) -> bool) -> Duration {
    let began = Instant::now();
    wait_for(what, PATIENCE, || {
        let shown = height(browser);
        if is_it(shown) {
            Ok(())
        } else {
            Err(format!("{shown} lines"))
        }
    });
    began.elapsed()
}

fn height(browser: &mut Chromium) -> u64 {
    let shown = browser.run("return document.querySelector('video').videoHeight", &[]);
    shown.as_u64().unwrap_or(0)
}

/// A server that is reached through a relay alone.
fn behind_a_relay(seed: u64) -> (Server, Relay) {
    let media_port = free_udp_port();
    let relay = Relay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, media_port)), seed);
    let setup = Setup {
        media_port: Some(media_port),
        advertise: Some(relay.address().to_string()),
        ..Setup::default()
    };
    (Server::start(setup), relay)
}

fn narrow_way(codec: &str, layers: &str, freeze_ms: f64) {
    narrow_way_of(codec, layers, freeze_ms, false);
}

/// The same of a viewer that tells `by_source` what it gets.
fn narrow_way_of(codec: &str, layers: &str, freeze_ms: f64, by_source: bool) {
    let _turn = alone();
    if !ready() {
        return;
    }
    let (server, relay) = behind_a_relay(7);
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "live/layers", codec, layers);
    wait_for("all sizes to be sent", PATIENCE, || {
        let stats = publisher.run("return window.freshetPublish.stats", &[]);
        let is_all = stats["layers"] == 3 || stats["scalability"] == layers;
        if is_all && stats["height"] == 720 {
            Ok(())
        } else {
            Err(format!("{stats}"))
        }
    });
    let flags: &[&str] = if by_source { &[BY_SOURCE] } else { &[] };
    let mut viewer = Chromium::start_with(flags);
    viewer.watch(&server, "live/layers");
    let climbed = wait_height(&mut viewer, "720 lines", |height| height == 720);
    viewer.must_show_a_moving_picture();
    let age = viewer.glass_to_glass_ms(90);
    if layers != "simulcast" {
        must_tell_of_nine_layers(&server);
    }
    assert!(age < 500.0, "{age} ms");
    println!(
        "{codec} {layers}: glass to glass {age:.0} ms, 720 lines {climbed:.1?} after the join"
    );
    let kept = (0..FALLS).any(|_| {
        let fall = Fall::see(&mut viewer, &relay, &server);
        let kept = fall.keeps(freeze_ms);
        println!("{codec} {layers}: {fall:.1?}: {kept:?}");
        kept.is_ok()
    });
    viewer.must_show_a_moving_picture();
    server.must_be_unharmed();
    must_be_told(&server, by_source);
    assert!(kept, "none of {FALLS} falls kept the limits");
}

/// Falls of which one has to keep the limits. Encoder and decoder share the machine's cores with
/// whatever else runs, and hold a picture up by themselves; a server that is too slow is so always.
const FALLS: usize = 3;

/// How a viewer fared whose way became narrow for a time.
#[derive(Debug)]
struct Fall {
    /// Until a smaller picture was shown.
    fell: Duration,
    /// The longest time that a picture stood while the way was narrow, in milliseconds.
    stood_ms: f64,
    /// Lines in the end.
    settled: u64,
    #[expect(dead_code, reason = "printed")]
    layers: String,
    /// Until the large picture was back.
    back: Duration,
    /// The longest time that a picture stood on the way back, in milliseconds.
    stood_then_ms: f64,
}

impl Fall {
    fn see(viewer: &mut Chromium, relay: &Relay, server: &Server) -> Self {
        // The way to whoever is behind the relay carries 600 kbit/s; what publishers hear is less.
        viewer.run(WATCH_FRAMES, &[]);
        let narrow = Impairment {
            rate_bps: 600_000,
            ..Impairment::default()
        };
        relay.set(Impairment::default(), narrow);
        let fell = wait_height(viewer, "a smaller picture", |height| height < 720);
        sleep(Duration::from_secs(8));
        let stood_ms = longest_ms(viewer);
        let settled = height(viewer);
        let layers = sent_to_the_viewer(server);
        viewer.run(WATCH_FRAMES, &[]);
        relay.set(Impairment::default(), Impairment::default());
        let back = wait_height(viewer, "720 lines again", |height| height == 720);
        Self {
            fell,
            stood_ms,
            settled,
            layers,
            back,
            stood_then_ms: longest_ms(viewer),
        }
    }

    fn keeps(&self, freeze_ms: f64) -> Result<(), &'static str> {
        if self.fell > Duration::from_secs(5) {
            Err("it fell too late")
        } else if self.settled >= 720 {
            Err("it did not stay")
        } else if self.back > BACK {
            Err("it was back too late")
        } else if self.stood_ms.max(self.stood_then_ms) - PICTURE_MS > freeze_ms {
            Err("it froze")
        } else {
            Ok(())
        }
    }
}

fn longest_ms(viewer: &mut Chromium) -> f64 {
    viewer.run(LONGEST_FREEZE, &[])["longest"].as_f64().unwrap()
}

/// The one viewer tells what it gets in this way alone.
fn must_be_told(server: &Server, by_source: bool) {
    let told = |counter: &str| server.metric(&format!("freshet_worker_{counter}_total")) > 100.0;
    assert_eq!(told("source_feedback_received"), by_source);
    assert_eq!(told("transport_feedback_received"), !by_source);
}

/// What the server says that its viewer is sent.
fn sent_to_the_viewer(server: &Server) -> String {
    let sessions = server.get("/v1/sessions").json();
    let sessions = sessions["sessions"].as_array().unwrap();
    let viewer = sessions.iter().find(|one| one["kind"] == "viewer").unwrap();
    let sent = ["layer_sent", "spatial_layer_sent", "temporal_layer_sent"];
    sent.map(|name| viewer[name].to_string()).join("/")
}

fn must_tell_of_nine_layers(server: &Server) {
    let stream = server.stream("live/layers");
    let layers = &stream["video"]["layers"][0]["layers"];
    let told = layers.as_array().map_or(0, Vec::len);
    assert_eq!(told, 9, "{stream}");
    assert_eq!(
        (&layers[0]["spatial"], &layers[0]["temporal"]),
        (&0.into(), &0.into())
    );
    assert_eq!(
        (&layers[8]["spatial"], &layers[8]["height"]),
        (&2.into(), &720.into())
    );
    let rates = [0, 4, 8].map(|nth| layers[nth]["bitrate_bps"].as_u64().unwrap());
    assert!(rates[0] > 0 && rates.is_sorted(), "{stream}");
    assert_eq!(sent_to_the_viewer(server), "\"0\"/2/2");
}

#[test]
fn a_viewer_behind_a_narrow_way_gets_a_smaller_vp8() {
    // Otherwise as below, with feedback by source.
    if full() {
        narrow_way("vp8", "simulcast", 300.0);
    }
}

#[test]
fn a_viewer_behind_a_narrow_way_gets_a_smaller_h264() {
    narrow_way("h264", "simulcast", 300.0);
}

#[test]
fn feedback_by_source_leads_to_a_smaller_vp8() {
    narrow_way_of("vp8", "simulcast", 300.0, true);
}

#[test]
fn a_viewer_behind_a_narrow_way_gets_fewer_layers_of_vp9() {
    // A picture of all layers with T0 has up to 23 KB, which take 310 ms of such a way by
    // themselves: what was sent before anybody could know has to pass.
    narrow_way("vp9", "L3T3", 400.0);
}

#[test]
fn av1_in_temporal_layers_is_passed_through() {
    let _turn = alone();
    if !ready() {
        return;
    }
    let server = Server::start(Setup::default());
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "live/in", "av1", "L1T2");
    let mut viewer = Chromium::start();
    viewer.watch(&server, "live/in");
    viewer.must_show_a_moving_picture();
    let age = viewer.glass_to_glass_ms(90);
    let sent = publisher.run("return window.freshetPublish.stats", &[]);
    println!("av1 L1T2: glass to glass {age:.0} ms, {sent}");
    assert_eq!(
        sent["scalability"], "L1T2",
        "the browser sends something else"
    );
    assert!(age < 500.0, "{age} ms");
    server.must_be_unharmed();
}

#[test]
fn a_viewer_behind_a_narrow_way_gets_a_smaller_vp9() {
    // For the server it is what VP8 is, and its layers are tested above.
    if full() {
        narrow_way("vp9", "simulcast", 300.0);
    }
}
