//! Either process dies again and again. Of the sidecar's death nobody notices anything, and all
//! sessions are the next one's; of the forwarder's those who watch see a short freeze.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::browser::{Browser, LONGEST_FREEZE, WATCH_FRAMES};
use freshet_tests::http;
use freshet_tests::process::kill_now;
use freshet_tests::publish::Ffmpeg;
use freshet_tests::random::Random;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, full, have, quick, wait_for, wait_until};
use freshet_tests::webdriver::Chromium;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);

/// How often the sidecar dies.
const DEATHS: usize = 10;

/// Of the moments at which it dies.
const SEED: u64 = 20_261_123;

/// Of a picture of 30 frames a second, how long one may stay on a busy machine without any being
/// missed: what was counted by the browser is looked at as well.
const FREEZE_MAX_MS: f64 = 200.0;

/// Synthetic viewers beside the pages. Each opens every packet, and SRTP refuses an index that is
/// not new: none of any key was used twice if nothing is refused.
fn crowd_size() -> usize {
    if quick() {
        20
    } else if full() {
        500
    } else {
        100
    }
}

/// A restart of ICE, as a page would ask for it.
const RESTART: &[u8] = b"a=ice-ufrag:Wxyz\r\na=ice-pwd:0123456789012345678901\r\n";

/// Sessions as the server lists them.
fn sessions(server: &Server) -> Vec<Value> {
    let page = server.get("/v1/sessions?limit=1000").json();
    page["sessions"].as_array().unwrap().clone()
}

/// Of a list of sessions, what must not change: in the order of their names.
fn identities(sessions: &[Value]) -> Vec<String> {
    let of = |one: &Value| {
        let fields = ["id", "kind", "stream", "remote", "state"];
        fields.map(|field| one[field].to_string()).join(" ")
    };
    let mut all: Vec<String> = sessions.iter().map(of).collect();
    all.sort();
    all
}

/// Kills the sidecar, and waits until the next one answers: how long that took.
fn die(server: &mut Server) -> Duration {
    let old = server.plane("control");
    kill_now(old);
    let start = Instant::now();
    wait_until("another sidecar", PATIENCE, || {
        server.plane("control") != old
    });
    server.wait_ready();
    start.elapsed()
}

#[test]
fn nobody_notices_ten_deaths_of_the_sidecar() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver"]) {
        return;
    }
    let mut random = Random::new(SEED);
    let mut server = Server::start(Setup::default());
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "on/air", "h264", "one");
    let mut viewer = Chromium::start();
    viewer.watch(&server, "on/air");
    viewer.must_show_a_moving_picture();
    let size = crowd_size();
    let mut crowd = Crowd::joined(server.http, "on/air", size, PATIENCE);
    wait_until("all sessions to be served", PATIENCE, || {
        let all = sessions(&server);
        all.len() == size + 2 && all.iter().all(|one| one["state"] == "connected")
    });
    let before = identities(&sessions(&server));
    let forwarder = server.plane("forwarder");
    viewer.run(WATCH_FRAMES, &[]);
    let decoded = |viewer: &mut Chromium| {
        let stats = viewer.stats("inbound-rtp", "video");
        let number = |name: &str| stats[name].as_u64().unwrap_or(0);
        ["packetsLost", "framesDropped", "pliCount", "freezeCount"].map(|name| (name, number(name)))
    };
    let counted = decoded(&mut viewer);
    crowd.forget();
    let watch = crowd.watch();

    for death in 0..DEATHS {
        let back = die(&mut server);
        println!("death {death}: back after {back:.0?}");
        if death == 0 {
            assert!(back < Duration::from_secs(1), "{back:?}");
        }
        wait_for("every session to go on", PATIENCE, || {
            let after = identities(&sessions(&server));
            let other = after.iter().zip(&before).find(|(one, other)| one != other);
            match after == before {
                true => Ok(()),
                false => Err(format!("{} of {}: {other:?}", after.len(), before.len())),
            }
        });
        let pause = u64::try_from(random.below(700)).unwrap();
        sleep(Duration::from_millis(pause));
    }
    assert_eq!(server.plane("forwarder"), forwarder, "it was not touched");

    let shown = viewer.run(LONGEST_FREEZE, &[]);
    let after = decoded(&mut viewer);
    println!("the page over {DEATHS} deaths: {shown}, {counted:?}, then {after:?}");
    assert_eq!(after, counted, "something was lost");
    assert!(
        shown["longest"].as_f64().unwrap() < FREEZE_MAX_MS,
        "{shown}"
    );
    viewer.must_show_a_moving_picture();
    let state = publisher.run("return window.freshetPublish.state", &[]);
    assert_eq!(state, "live");
    let mut crowd = watch.stop();
    let report = crowd.report();
    println!(
        "the crowd: {} packets, {} lost, the longest silence {:.0?}",
        report.packets, report.lost, report.longest_silence
    );
    assert_eq!((report.served, report.lost), (size, 0));
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    old_sessions_obey(&server, &mut crowd);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// How often the forwarder dies.
const FORWARDER_DEATHS: usize = 5;

/// Longer than the longest freeze of a page when the forwarder dies: its packets are lost, and a
/// keyframe has to come.
const FORWARDER_FREEZE_MAX_MS: f64 = 700.0;

/// Longer than viewers may be without media when the forwarder dies.
const FORWARDER_GAP_MAX: Duration = Duration::from_millis(500);

#[test]
fn five_deaths_of_the_forwarder_are_short_freezes() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver"]) {
        return;
    }
    // One stream comes by WebRTC, through the forwarder; the other one is written by the sidecar.
    let server = Server::demo();
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "on/air", "h264", "one");
    let mut pages = ["on/air", "demo"].map(|stream| {
        let mut page = Chromium::start();
        page.watch(&server, stream);
        page.must_show_a_moving_picture();
        page
    });
    let size = crowd_size();
    let mut crowd = Crowd::joined(server.http, "on/air", size, PATIENCE);
    let control = server.plane("control");
    let before = identities(&sessions(&server));
    for death in 0..FORWARDER_DEATHS {
        // With what follows long enough for it to count as healthy: it is started again at once.
        sleep(Duration::from_secs(2));
        crowd.run(Duration::from_secs(1));
        crowd.forget();
        for page in &mut pages {
            page.run(WATCH_FRAMES, &[]);
        }
        let watch = crowd.watch();
        let old = server.plane("forwarder");
        kill_now(old);
        wait_until("another forwarder", PATIENCE, || {
            server.plane("forwarder") != old
        });
        sleep(Duration::from_secs(3));
        crowd = watch.stop();
        let report = crowd.report();
        let stood = pages.each_mut().map(|page| {
            let shown = page.run(LONGEST_FREEZE, &[]);
            shown["longest"].as_f64().unwrap()
        });
        println!(
            "death {death}: the pages stood {stood:.0?} ms, viewers had nothing for {:.0?}",
            report.longest_silence
        );
        assert!(stood.iter().all(|ms| *ms < FORWARDER_FREEZE_MAX_MS));
        assert!(report.longest_silence < FORWARDER_GAP_MAX);
        assert_eq!(report.served, size);
        // A replay would be refused: no number of a key has been used twice.
        assert!(report.refused.is_empty(), "{:?}", report.refused);
    }
    for page in &mut pages {
        page.must_show_a_moving_picture();
    }
    assert_eq!(server.plane("control"), control, "it was not touched");
    assert_eq!(identities(&sessions(&server)), before);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// How far a picture's timestamp may be from what the clock says after an encoder came back: ffmpeg
/// sends its first second in less than one.
const MAPPED_WITHIN: Duration = Duration::from_millis(1500);

/// An SRT connection ends with the sidecar: the encoder comes back, and its viewers have stayed.
#[test]
fn an_encoder_comes_back_to_the_viewers_that_it_had() {
    let _turn = alone();
    if !have(&["ffmpeg", "chromium", "chromedriver"]) {
        return;
    }
    let mut server = Server::start(Setup::default());
    let url = server.srt_url("cam", "");
    let encoder = Ffmpeg::default().to(&url, server.folder());
    server.wait_live("cam");
    let mut page = Chromium::start();
    page.watch(&server, "cam");
    page.must_show_a_moving_picture();
    let mut crowd = Crowd::joined(server.http, "cam", 10, PATIENCE);
    crowd.run(Duration::from_secs(2));
    crowd.forget();
    crowd.run(Duration::from_secs(1));
    let timestamp = |crowd: &mut Crowd| crowd.sessions()[0].tracks()[0].timestamp;
    let (before, at) = (timestamp(&mut crowd), Instant::now());
    let known = identities(&sessions(&server));
    let watch = crowd.watch();
    let back = die(&mut server);
    drop(encoder);
    let _encoder = Ffmpeg::default().to(&url, server.folder());
    server.wait_live("cam");
    page.must_show_a_moving_picture();
    sleep(Duration::from_secs(2));
    let mut crowd = watch.stop();
    let (after, elapsed) = (timestamp(&mut crowd), at.elapsed());
    let report = crowd.report();
    let ticks = Duration::from_secs_f64(f64::from(after.wrapping_sub(before)) / 90_000.0);
    println!(
        "back after {back:.0?}; media stood still for {:.0?}; timestamps went on by {ticks:.2?} in \
         {elapsed:.2?}",
        report.longest_silence
    );
    assert_eq!(identities(&sessions(&server)), known, "the same sessions");
    // The same sources, with numbers that go on without a gap.
    assert_eq!((report.served, report.lost), (10, 0));
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    assert!(
        ticks.abs_diff(elapsed) < MAPPED_WITHIN,
        "{ticks:?} {elapsed:?}"
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// PATCH, DELETE, NACK and PLI of sessions that an earlier sidecar has made.
fn old_sessions_obey(server: &Server, crowd: &mut Crowd) {
    let count = |server: &Server| sessions(server).len();
    let before = count(server);
    let locations: Vec<String> = crowd
        .sessions()
        .iter()
        .map(|one| one.location().to_owned())
        .collect();
    let fragment = [
        ("content-type", "application/trickle-ice-sdpfrag"),
        ("if-match", "*"),
    ];
    let ask = |method, path: &str| http::request(server.http, method, path, &fragment, RESTART);
    let patched = ask("PATCH", &locations[0]).unwrap();
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert!(
        patched.text().contains("a=ice-ufrag:"),
        "{}",
        patched.text()
    );
    let asked = |name: &str| server.metric(&format!("freshet_worker_{name}_total"));
    let asked_before = ["nack_received", "pli_received"].map(asked);
    let one = &mut crowd.sessions()[1];
    let (_, highest) = one.tracks()[0].span.unwrap();
    one.nack(&[u16::try_from(highest & 0xffff).unwrap().wrapping_sub(3)]);
    one.pli();
    let repeated = one.tracks()[0].retransmissions;
    crowd.run(Duration::from_secs(2));
    let again = crowd.sessions()[1].tracks()[0].retransmissions;
    assert!(again > repeated, "a packet was not sent again");
    let asked_after = ["nack_received", "pli_received"].map(asked);
    assert!(
        asked_after[0] > asked_before[0] && asked_after[1] > asked_before[1],
        "{asked_before:?} {asked_after:?}"
    );
    let deleted = ask("DELETE", &locations[2]).unwrap();
    assert!((200..300).contains(&deleted.status), "{}", deleted.text());
    wait_until("one session less", PATIENCE, || count(server) == before - 1);
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    crowd.run(Duration::from_secs(1));
    let served = |one: usize, crowd: &mut Crowd| crowd.sessions()[one].tracks()[0].packets > 0;
    assert!(served(0, crowd) && served(1, crowd) && !served(2, crowd));
}
