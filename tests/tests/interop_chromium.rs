//! Chromium watches: the demo, encoders over SRT, a stream joined late, a publisher that leaves.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::browser::{Browser, LONGEST_FREEZE, PLAY, WATCH_FRAMES};
use freshet_tests::publish::Ffmpeg;
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, have, wait_for, wait_until};
use freshet_tests::webdriver::Chromium;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);

/// A page that plays nothing and from which WHEP endpoints may be asked.
const BLANK: &str = "/?stream=nothing-here";

fn ready(programs: &[&str]) -> bool {
    have(&["chromium", "chromedriver"]) && have(programs)
}

/// A report of getStats for what the page's player receives, by way of the page's own numbers.
fn number(browser: &mut Chromium, name: &str) -> f64 {
    let script = "return window.freshet.stats[arguments[0]] ?? null";
    browser
        .run(script, &[json!(name)])
        .as_f64()
        .unwrap_or(f64::NAN)
}

#[test]
fn the_demo_plays_on_the_page() {
    let _turn = alone();
    if !ready(&[]) {
        return;
    }
    let server = Server::demo();
    server.wait_live("demo");
    let mut browser = Chromium::start();
    // Without a choice the page plays what is live.
    browser.open(&server.url("/")).unwrap();
    browser.wait_playing();
    let picture = browser.must_show_a_moving_picture();
    assert!(picture.width >= 640 && picture.height >= 360, "{picture:?}");
    sleep(Duration::from_secs(3));
    assert!(
        number(&mut browser, "framesDecoded") > 60.0,
        "{}",
        browser.log()
    );
    assert!(number(&mut browser, "fps") > 20.0, "{}", browser.log());
    let listed = browser.run("return document.querySelector('#streams').innerText", &[]);
    assert!(listed.as_str().unwrap().contains("demo"), "{listed}");
    assert_eq!(server.stream("demo")["viewers"], 1);
    browser.open("about:blank").unwrap();
    wait_until("the page's session to end", PATIENCE, || {
        server.stream("demo")["viewers"] == 0
    });
    server.must_be_unharmed();
}

/// ffmpeg with these options publishes, the page shows it and gets its sound as Opus.
fn plays(video: &[&str], toml: &str, more: &str) {
    let _turn = alone();
    if !ready(&["ffmpeg"]) {
        return;
    }
    let server = Server::start(Setup {
        toml: toml.into(),
        ..Setup::default()
    });
    let encoder = Ffmpeg {
        video,
        ..Ffmpeg::default()
    };
    let publisher = encoder.to(&server.srt_url("live/one", more), server.folder());
    let view = server.wait_live("live/one");
    assert_eq!(view["publisher"]["kind"], "srt", "{view}");
    let mut browser = Chromium::start();
    browser.watch(&server, "live/one");
    let picture = browser.must_show_a_moving_picture();
    assert_eq!((picture.width, picture.height), (640, 360));
    browser.run(WATCH_FRAMES, &[]);
    sleep(Duration::from_secs(4));
    let shown = browser.run(LONGEST_FREEZE, &[]);
    assert!(
        shown["frames"].as_u64().unwrap() > 60,
        "{shown} {}",
        publisher.output()
    );
    assert!(shown["longest"].as_f64().unwrap() < 500.0, "{shown}");
    let view = server.stream("live/one");
    assert_eq!(
        view["video"]["codec"]
            .as_str()
            .unwrap()
            .to_uppercase()
            .replace('.', ""),
        "H264"
    );
    // ffmpeg bunches sound unless it is told not to, and is told so. Nothing else is wrong.
    let notices = view["notices"].as_array().unwrap();
    let others = notices
        .iter()
        .filter(|notice| notice["code"] != "audio_bunched");
    assert_eq!(others.count(), 0, "{notices:?}");
    let codec = browser.run("return window.freshet.stats.audioCodec", &[]);
    assert_eq!(
        codec.as_str().map(str::to_lowercase).as_deref(),
        Some("opus")
    );
    server.must_be_unharmed();
}

#[test]
fn a_baseline_stream_with_aac_plays() {
    plays(
        &["-preset", "veryfast", "-profile:v", "baseline", "-bf", "0"],
        "",
        "",
    );
}

#[test]
fn a_zerolatency_stream_with_aac_plays() {
    // No profile asked for: High, with several slices a frame.
    plays(&["-preset", "veryfast", "-tune", "zerolatency"], "", "");
}

#[test]
fn an_encrypted_stream_plays() {
    let toml = "[[stream]]\nname = \"live/*\"\npassphrase = \"freshetfreshet\"\n";
    let video = &[
        "-preset",
        "ultrafast",
        "-tune",
        "zerolatency",
        "-profile:v",
        "baseline",
    ];
    plays(video, toml, "&passphrase=freshetfreshet&pbkeylen=16");
}

#[test]
fn a_stream_that_began_long_before_starts_at_once() {
    let _turn = alone();
    if !ready(&["ffmpeg"]) {
        return;
    }
    let server = Server::demo();
    let encoder = Ffmpeg {
        gop: 300,
        video_kbps: 2000,
        ..Ffmpeg::default()
    };
    let publisher = encoder.to(&server.srt_url("slow", ""), server.folder());
    server.wait_live("slow");
    server.wait_live("demo");
    let began = Instant::now();
    let mut browser = Chromium::start();
    browser.open(&server.url(BLANK)).unwrap();
    // The browser's first connection loads its libraries: what is measured is the server.
    play(&mut browser, &server, "demo");
    // Well into a group of 10 s, of which the keyframe is the first of 300 frames.
    sleep(Duration::from_millis(16_500).saturating_sub(began.elapsed()));

    let mut firsts = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let first = play(&mut browser, &server, "slow");
        firsts.push(first);
        sleep(Duration::from_secs(1).saturating_sub(start.elapsed()));
        let after_a_second = next_picture(&mut browser);
        browser.run(WATCH_FRAMES, &[]);
        sleep(Duration::from_millis(1500));
        let shown = browser.run(LONGEST_FREEZE, &[]);
        assert!(shown["longest"].as_f64().unwrap() < 500.0, "{shown}");
        assert!(shown["frames"].as_u64().unwrap() > 30, "{shown}");
        // Live within a second: nothing was left to catch up with, and nothing is held back.
        let late = caught_up_ms(&after_a_second, &next_picture(&mut browser));
        let buffered = buffered_ms(&mut browser);
        println!("{late:.1} ms behind after a second, {buffered:.1} ms in the buffer");
        assert!(
            late < 200.0 && buffered < 300.0,
            "{late} {buffered} ms; {firsts:?}"
        );
        browser.must_show_a_moving_picture();
    }
    println!("first frame after the POST: {firsts:.1?} ms");
    for first in &firsts {
        assert!(*first < 300.0, "{firsts:?} ms; {}", publisher.output());
    }
    server.must_be_unharmed();
}

/// Plays without the server's page; milliseconds from POST to the first frame.
fn play(browser: &mut Chromium, server: &Server, stream: &str) -> f64 {
    let arguments = [
        json!(server.url(&format!("/whep/{stream}"))),
        json!(["video", "audio"]),
    ];
    browser.run("if (window.pc) window.pc.close()", &[]);
    let played = browser.run(PLAY, &arguments);
    played["ms"]
        .as_f64()
        .unwrap_or_else(|| panic!("{played} {}", browser.log()))
}

/// The next picture that is shown: when, and its RTP timestamp, both in milliseconds.
const NEXT_PICTURE: &str = "
    const video = document.querySelector('video');
    const meta = await new Promise(r => video.requestVideoFrameCallback((_, m) => r(m)));
    return [performance.now(), meta.rtpTimestamp / 90];";

/// A picture on the page.
struct Picture {
    shown_ms: f64,
    stamp_ms: f64,
}

fn next_picture(browser: &mut Chromium) -> Picture {
    let told = browser.run(NEXT_PICTURE, &[]);
    let number = |at: usize| told[at].as_f64().unwrap_or_else(|| panic!("{told}"));
    Picture {
        shown_ms: number(0),
        stamp_ms: number(1),
    }
}

/// How much time of the stream has been caught up with from one picture to another, in
/// milliseconds: nothing, if the first was as near to the present as the second.
fn caught_up_ms(from: &Picture, to: &Picture) -> f64 {
    // RTP timestamps count modulo 2^32.
    let turn_ms = 4_294_967_296.0 / 90.0;
    let streamed = (to.stamp_ms - from.stamp_ms).rem_euclid(turn_ms);
    streamed - (to.shown_ms - from.shown_ms)
}

/// Milliseconds that pictures wait in the browser before they are shown, over all so far.
fn buffered_ms(browser: &mut Chromium) -> f64 {
    let script = "
        for (const one of (await window.pc.getStats()).values())
            if (one.type === 'inbound-rtp' && one.kind === 'video')
                return 1000 * one.jitterBufferDelay / one.jitterBufferEmittedCount;";
    let told = browser.run(script, &[]);
    told.as_f64().unwrap_or_else(|| panic!("{told}"))
}

#[test]
fn a_stream_of_lowest_latency_waits_for_no_late_sound() {
    let _turn = alone();
    if !ready(&["ffmpeg"]) {
        return;
    }
    let toml = "[[stream]]\nname = \"now\"\nlatency = \"lowest\"\n";
    let server = Server::start(Setup {
        toml: toml.to_owned(),
        ..Setup::default()
    });
    // Sound comes 200 ms late, as by ffmpeg's default.
    let mut watching = ["now", "smooth"].map(|stream| {
        let publisher = Ffmpeg::default().to(&server.srt_url(stream, ""), server.folder());
        server.wait_live(stream);
        let mut browser = Chromium::start();
        browser.open(&server.url(BLANK)).unwrap();
        play(&mut browser, &server, stream);
        (publisher, browser)
    });
    sleep(Duration::from_secs(12));
    let held = watching.each_mut().map(|(_, browser)| {
        browser.must_show_a_moving_picture();
        buffered_ms(browser)
    });
    println!(
        "pictures wait {:.1} ms, and {:.1} ms without the setting",
        held[0], held[1]
    );
    assert!(held[0] < 30.0 && held[0] < held[1], "{held:?}");
    server.must_be_unharmed();
}

/// Waits for a picture that the page has not shown yet.
const NEXT_FRAME: &str = "
    const video = document.querySelector('video');
    return await new Promise((done) => {
        video.requestVideoFrameCallback((_, meta) => done({ shown: true, meta }));
        setTimeout(() => done({ shown: false, state: window.freshet }), 10000);
    });";

#[test]
fn a_publisher_that_comes_back_is_seen_on_the_same_page() {
    let _turn = alone();
    if !ready(&["ffmpeg"]) {
        return;
    }
    let server = Server::start(Setup::default());
    let url = server.srt_url("come", "");
    let first = Ffmpeg::default().to(&url, server.folder());
    server.wait_live("come");
    let mut browser = Chromium::start();
    browser.watch(&server, "come");
    browser.must_show_a_moving_picture();
    let sessions = server.get("/v1/sessions").json();
    drop(first);
    wait_until("the stream to be off air", PATIENCE, || {
        server.stream("come")["state"] != "live"
    });
    sleep(Duration::from_secs(2));

    let _second = Ffmpeg::default().to(&url, server.folder());
    server.wait_live("come");
    let begun = Instant::now();
    let shown = browser.run(NEXT_FRAME, &[]);
    assert_eq!(shown["shown"], true, "{shown} {}", browser.log());
    assert!(begun.elapsed() < Duration::from_secs(1), "{shown}");
    println!(
        "a new picture {:?} after the stream is live",
        begun.elapsed()
    );
    browser.must_show_a_moving_picture();
    let again = server.get("/v1/sessions").json();
    let ids = |page: &Value| page["sessions"][0]["id"].clone();
    assert_eq!(ids(&again), ids(&sessions), "the session is the same");
    server.must_be_unharmed();
}

#[test]
fn b_frames_are_told_to_the_publisher_on_the_page_and_by_the_api() {
    let _turn = alone();
    if !ready(&["ffmpeg"]) {
        return;
    }
    let server = Server::start(Setup::default());
    let video = &["-preset", "veryfast", "-bf", "3", "-profile:v", "high"];
    let encoder = Ffmpeg {
        video,
        ..Ffmpeg::default()
    };
    let _publisher = encoder.to(&server.srt_url("bees", ""), server.folder());
    server.wait_live("bees");
    let notice = wait_for("the notice", PATIENCE, || {
        let view = server.stream("bees");
        let notices = view["notices"].as_array().cloned().unwrap_or_default();
        let found = notices.into_iter().find(|one| {
            one["code"]
                .as_str()
                .is_some_and(|code| code.replace('-', "_").contains("b_frames"))
        });
        found.ok_or_else(|| view.to_string())
    });
    let remedy = notice["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("-bf 0"),
        "the remedy is what to type: {remedy}"
    );
    let mut browser = Chromium::start();
    browser.open(&server.url("/?stream=bees")).unwrap();
    let shown = browser.wait(
        "the notice on the page",
        PATIENCE,
        "return document.querySelector('#notices:not([hidden])')?.innerText ?? null",
    );
    assert!(shown.as_str().unwrap().contains("-bf 0"), "{shown}");
    server.must_be_unharmed();
}
