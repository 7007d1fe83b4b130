//! Firefox takes our answer, connects and plays Opus. Without a plug-in from the network it has no
//! H.264, so that a picture is asked of Chromium.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::thread::sleep;
use std::time::Duration;

use freshet_tests::browser::{Browser, PLAY};
use freshet_tests::marionette::Firefox;
use freshet_tests::netns::Namespace;
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, have};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn the_sound_of_the_demo_plays() {
    let _turn = alone();
    if !have(&["firefox-esr", "ip"]) {
        return;
    }
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let server = Server::start(Setup {
        demo: true,
        http_ip: namespace.here(),
        advertise: Some(namespace.here().to_string()),
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut browser = Firefox::start(&namespace);
    browser.open(&server.url("/?stream=nothing-here")).unwrap();
    // Video is offered too, by codecs that the stream is not in: it is refused, sound plays.
    let arguments = [json!(server.url("/whep/demo")), json!(["video", "audio"])];
    let played = browser.run(&PLAY.replace("15000", "100"), &arguments);
    assert_eq!(played["answered"], 201, "{played}");
    browser.wait(
        "ICE and DTLS to complete",
        PATIENCE,
        "return window.pc.connectionState === 'connected'",
    );
    let heard = |browser: &mut Firefox| {
        let stats = browser.stats("inbound-rtp", "audio");
        let number = |name: &str| stats[name].as_f64().unwrap_or(0.0);
        (
            number("packetsReceived"),
            number("totalSamplesReceived"),
            number("packetsLost"),
        )
    };
    browser.wait(
        "sound to arrive",
        PATIENCE,
        "
        for (const one of (await window.pc.getStats()).values())
            if (one.type === 'inbound-rtp' && one.kind === 'audio' && one.packetsReceived > 10)
                return true;
        return false",
    );
    let (packets, samples, _) = heard(&mut browser);
    let before = browser.run("return document.querySelector('video').currentTime", &[]);
    sleep(Duration::from_secs(3));
    let (more_packets, more_samples, lost) = heard(&mut browser);
    // 50 packets and 48,000 samples a second.
    assert!(
        more_packets - packets > 120.0,
        "{packets} -> {more_packets}"
    );
    assert!(
        samples == 0.0 || more_samples - samples > 100_000.0,
        "{samples} -> {more_samples}"
    );
    assert!(lost <= 0.0, "{lost} packets of sound lost");
    let after = browser.run("return document.querySelector('video').currentTime", &[]);
    let played = after.as_f64().unwrap() - before.as_f64().unwrap();
    assert!(played > 2.0, "played {played} s of 3");
    let answer = browser.run("return window.answer", &[]);
    let answer = answer.as_str().unwrap();
    assert!(
        answer.contains("a=setup:passive") && answer.contains("opus/48000/2"),
        "{answer}"
    );
    let states = browser.run("return window.states", &[]);
    assert!(states.to_string().contains("connected"), "{states}");
    assert!(!states.to_string().contains("failed"), "{states}");
    server.must_be_unharmed();
}

#[test]
fn the_page_says_why_there_is_no_picture() {
    let _turn = alone();
    if !have(&["firefox-esr", "ip"]) {
        return;
    }
    let Some(namespace) = Namespace::new() else {
        return;
    };
    let server = Server::start(Setup {
        demo: true,
        http_ip: namespace.here(),
        advertise: Some(namespace.here().to_string()),
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut browser = Firefox::start(&namespace);
    // The sound of the demo plays, and the page knows that it does.
    browser.watch(&server, "demo");
    server.must_be_unharmed();
}
