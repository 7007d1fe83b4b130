//! Chromium behind a bad network: what is lost is repaired before it is seen.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use freshet_tests::browser::{Browser, LONGEST_FREEZE, WATCH_FRAMES};
use freshet_tests::impair::{Impairment, Relay};
use freshet_tests::place::free_udp_port;
use freshet_tests::publish::Ffmpeg;
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, have, quick};
use freshet_tests::webdriver::Chromium;

const PATIENCE: Duration = Duration::from_secs(40);

/// A server whose media is only known by a relay's address.
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

fn watch_for(seconds: u64, impairment: Impairment) -> (f64, u64) {
    let (server, relay) = behind_a_relay(20_261_122);
    let _publisher = Ffmpeg {
        video_kbps: 2000,
        ..Ffmpeg::default()
    }
    .to(&server.srt_url("far", ""), server.folder());
    server.wait_live("far");
    let mut browser = Chromium::start();
    browser.watch(&server, "far");
    sleep(Duration::from_secs(2));
    relay.set(impairment, impairment);
    browser.run(WATCH_FRAMES, &[]);
    sleep(Duration::from_secs(seconds));
    let shown = browser.run(LONGEST_FREEZE, &[]);
    let nacks = browser
        .run("return window.freshet.stats.nacks", &[])
        .as_f64()
        .unwrap();
    browser.must_show_a_moving_picture();
    println!(
        "{shown}; NACKs {nacks}; to the server {} of {} lost, from it {} of {}",
        relay.to_server().lost(),
        relay.to_server().lost() + relay.to_server().passed(),
        relay.from_server().lost(),
        relay.from_server().lost() + relay.from_server().passed(),
    );
    assert!(shown["frames"].as_u64().unwrap() > seconds * 12, "{shown}");
    let sent_again = server.metric("freshet_worker_retransmission_sent_total");
    if impairment.loss_ppm > 0 {
        assert!(
            nacks > 0.0 && sent_again > 0.0,
            "{nacks} NACKs, {sent_again} retransmissions"
        );
        assert!(
            relay.from_server().lost() > 20 * seconds / 10,
            "the relay lost too little"
        );
    }
    server.must_be_unharmed();
    (
        shown["longest"].as_f64().unwrap(),
        relay.from_server().lost(),
    )
}

#[test]
fn five_percent_of_loss_freezes_nothing_for_half_a_second() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    let loss = Impairment {
        loss_ppm: 50_000,
        ..Impairment::default()
    };
    let (longest, _) = watch_for(if quick() { 10 } else { 30 }, loss);
    assert!(longest <= 500.0, "a freeze of {longest} ms");
}

#[test]
fn loss_on_a_long_way_is_repaired() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver", "ffmpeg"]) {
        return;
    }
    // A round trip of 60 ms, reordered by up to 5 ms, and 2 % lost each way.
    let far = Impairment {
        loss_ppm: 20_000,
        repeat_ppm: 5_000,
        delay: Duration::from_millis(30),
        jitter: Duration::from_millis(5),
        ..Impairment::default()
    };
    let (longest, _) = watch_for(if quick() { 6 } else { 15 }, far);
    assert!(longest <= 1000.0, "a freeze of {longest} ms");
}

#[test]
fn a_viewer_whose_network_is_gone_for_a_while_goes_on() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver"]) {
        return;
    }
    let media_port = free_udp_port();
    let relay = Relay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, media_port)), 3);
    let server = Server::start(Setup {
        demo: true,
        media_port: Some(media_port),
        advertise: Some(relay.address().to_string()),
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut browser = Chromium::start();
    browser.watch(&server, "demo");
    browser.must_show_a_moving_picture();
    let nothing = Impairment {
        loss_ppm: 1_000_000,
        ..Impairment::default()
    };
    relay.set(nothing, nothing);
    sleep(Duration::from_secs(3));
    relay.set(Impairment::default(), Impairment::default());
    browser.wait(
        "the picture to move again",
        PATIENCE,
        "
        const video = document.querySelector('video');
        const at = video.currentTime;
        await new Promise(r => setTimeout(r, 300));
        return video.currentTime > at",
    );
    browser.must_show_a_moving_picture();
    server.must_be_unharmed();
}
