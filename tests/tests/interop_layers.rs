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
use freshet_tests::wait::{alone, have, wait_for};
use freshet_tests::webdriver::Chromium;

const PATIENCE: Duration = Duration::from_secs(40);

fn ready() -> bool {
    have(&["chromium", "chromedriver"])
}

/// Waits until the picture that is shown has this height; gives the time that it took.
fn wait_height(browser: &mut Chromium, height: u64) -> Duration {
    let began = Instant::now();
    wait_for(&format!("{height} lines"), PATIENCE, || {
        let shown = browser.run("return document.querySelector('video').videoHeight", &[]);
        if shown.as_u64() == Some(height) {
            Ok(())
        } else {
            Err(format!("{shown}"))
        }
    });
    began.elapsed()
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

fn narrow_way(codec: &str) {
    let _turn = alone();
    if !ready() {
        return;
    }
    let (server, relay) = behind_a_relay(7);
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "live/layers", codec, "simulcast");
    wait_for("three sizes to be sent", PATIENCE, || {
        let stats = publisher.run("return window.freshetPublish.stats", &[]);
        if stats["layers"] == 3 && stats["height"] == 720 {
            Ok(())
        } else {
            Err(format!("{stats}"))
        }
    });
    let mut viewer = Chromium::start();
    viewer.watch(&server, "live/layers");
    let climbed = wait_height(&mut viewer, 720);
    viewer.must_show_a_moving_picture();
    sleep(Duration::from_secs(3));
    // The way to whoever is behind the relay carries 600 kbit/s; what publishers hear is less.
    viewer.run(WATCH_FRAMES, &[]);
    let narrow = Impairment {
        rate_bps: 600_000,
        ..Impairment::default()
    };
    relay.set(Impairment::default(), narrow);
    let fell = wait_height(&mut viewer, 180);
    sleep(Duration::from_secs(12));
    let shown = viewer.run(LONGEST_FREEZE, &[]);
    let settled = viewer.run("return document.querySelector('video').videoHeight", &[]);
    viewer.run(WATCH_FRAMES, &[]);
    relay.set(Impairment::default(), Impairment::default());
    let back = wait_height(&mut viewer, 720);
    let freed = viewer.run(LONGEST_FREEZE, &[]);
    println!(
        "{codec}: 720 lines {climbed:.1?} after the join, 180 {fell:.1?} after the limit ({shown}), \
         back {back:.1?} after its end ({freed})"
    );
    viewer.must_show_a_moving_picture();
    server.must_be_unharmed();
    assert_eq!(settled, 180);
    assert!(fell <= Duration::from_secs(5), "{fell:?}");
    assert!(back <= Duration::from_secs(15), "{back:?}");
    for seen in [shown, freed] {
        assert!(seen["longest"].as_f64().unwrap() <= 300.0, "{seen}");
    }
}

#[test]
fn a_viewer_behind_a_narrow_way_gets_a_smaller_vp8() {
    narrow_way("vp8");
}

#[test]
fn a_viewer_behind_a_narrow_way_gets_a_smaller_h264() {
    narrow_way("h264");
}

fn passes_through(codec: &str, layers: &str) {
    let _turn = alone();
    if !ready() {
        return;
    }
    let server = Server::start(Setup::default());
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "live/in", codec, layers);
    let mut viewer = Chromium::start();
    viewer.watch(&server, "live/in");
    viewer.must_show_a_moving_picture();
    let age = viewer.glass_to_glass_ms(90);
    let sent = publisher.run("return window.freshetPublish.stats", &[]);
    println!(
        "{codec} {layers}: glass to glass {age:.0} ms, {}x{} at {} kbit/s, {} sizes, {}",
        sent["width"],
        sent["height"],
        sent["bitrateBps"].as_u64().unwrap_or(0) / 1000,
        sent["layers"],
        sent["scalability"],
    );
    if layers != "simulcast" {
        assert_eq!(
            sent["scalability"], layers,
            "the browser sends something else"
        );
    }
    assert!(age < 500.0, "{age} ms");
    server.must_be_unharmed();
}

#[test]
fn vp9_in_spatial_and_temporal_layers_is_passed_through() {
    passes_through("vp9", "L3T3");
}

#[test]
fn av1_in_temporal_layers_is_passed_through() {
    passes_through("av1", "L1T2");
}

#[test]
fn vp8_in_three_sizes_is_seen() {
    passes_through("vp8", "simulcast");
}
