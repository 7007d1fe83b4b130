//! Other programs take the places of those that run: nobody notices, what does not fit is refused,
//! and what is not well is rolled back.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use freshet_tests::browser::{Browser, LONGEST_FREEZE, WATCH_FRAMES};
use freshet_tests::process::kill_now;
use freshet_tests::server::{Server, Setup, binary};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, have, quick, wait_until};
use freshet_tests::webdriver::Chromium;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

const UPGRADES: usize = 3;

/// Of a picture of 30 frames a second, how long one may stay on a busy machine without any being
/// missed.
const FREEZE_MAX_MS: f64 = 200.0;

/// The same as a multiple of what is seen just before, without an upgrade: a machine that also
/// builds makes pictures stand by itself.
const FREEZE_RATIO: f64 = 3.0;

/// Upgrades that a page may notice: a machine with other things to do makes its picture stand now
/// and then. That no packet is lost holds for all.
const NOTICED_MAX: usize = 1;

/// No core stands longer while another process takes its place. Here two workers share two
/// processors with two browsers and 500 viewers that open every packet: 9 to 13 ms were seen, and
/// ten times as much beside builds.
const STOOD_MAX: Duration = Duration::from_millis(300);

fn server() -> Server {
    Server::start(Setup {
        own_program: true,
        cores: 2,
        ..Setup::default()
    })
}

fn program_of(server: &Server, plane: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/exe", server.plane(plane))).unwrap()
}

/// How long cores stood, upgrade by upgrade, as the forwarders have logged it.
fn stood(server: &Server) -> Vec<Duration> {
    let log = server.log();
    let all = log.split("stood_us").skip(1).map(|rest| {
        let digits = rest.chars().skip_while(|c| !c.is_ascii_digit());
        let plain: String = digits.take_while(char::is_ascii_digit).collect();
        Duration::from_micros(plain.parse().unwrap())
    });
    all.collect()
}

/// What a page has counted: what must not change, and what the page may miss by itself.
fn counts(page: &mut Chromium) -> ([u64; 2], u64) {
    let stats = page.stats("inbound-rtp", "video");
    let number = |name: &str| stats[name].as_u64().unwrap_or(0);
    let lost = ["packetsLost", "pliCount"].map(number);
    (lost, number("framesDropped"))
}

fn longest(page: &mut Chromium) -> f64 {
    page.run(LONGEST_FREEZE, &[])["longest"].as_f64().unwrap()
}

#[test]
fn nobody_notices_three_upgrades_in_a_row() {
    let _turn = alone();
    if !have(&["chromium", "chromedriver"]) {
        return;
    }
    let server = server();
    let mut publisher = Chromium::start();
    publisher.go_live(&server, "on/air", "h264", "one");
    let mut page = Chromium::start();
    page.watch(&server, "on/air");
    page.must_show_a_moving_picture();
    let size = if quick() { 100 } else { 500 };
    let mut crowd = Crowd::joined(server.http, "on/air", size, PATIENCE);
    crowd.run(Duration::from_secs(1));
    let known = names(&server);
    assert_eq!(known.len(), size + 2);
    let (lost, _) = counts(&mut page);
    let mut noticed = 0;
    for upgrade in 0..UPGRADES {
        page.run(WATCH_FRAMES, &[]);
        crowd.run(Duration::from_secs(2));
        let idle = longest(&mut page);
        crowd.forget();
        let (_, dropped) = counts(&mut page);
        page.run(WATCH_FRAMES, &[]);
        let before = ["forwarder", "control"].map(|plane| server.plane(plane));
        server.install(binary());
        let watch = crowd.watch();
        let (done, said) = server.upgrade();
        assert!(done, "{said}\n{}", server.log());
        sleep(Duration::from_secs(1));
        crowd = watch.stop();
        let report = crowd.report();
        let stood = stood(&server);
        let freeze = longest(&mut page);
        let dropped = counts(&mut page).1 - dropped;
        println!(
            "upgrade {upgrade}: cores stood {:.1?}; the page {freeze:.0} ms (idle {idle:.0}), and \
             {dropped} frames; viewers had nothing for {:.0?}, and {} of {} packets never",
            stood[upgrade], report.longest_silence, report.lost, report.packets,
        );
        noticed += usize::from(freeze > FREEZE_MAX_MS.max(idle * FREEZE_RATIO) || dropped > 0);
        for (plane, before) in ["forwarder", "control"].into_iter().zip(before) {
            assert_ne!(server.plane(plane), before);
            assert_eq!(program_of(&server, plane), server.program(), "{plane}");
        }
        assert!(stood[upgrade] < STOOD_MAX, "{stood:?}");
        assert_eq!((report.served, report.lost), (size, 0));
        // A replay would be refused: no number of a key has been used twice.
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        assert_eq!(names(&server), known, "the same sessions");
    }
    assert_eq!(counts(&mut page).0, lost, "something was lost");
    assert!(noticed <= NOTICED_MAX, "{noticed} upgrades were noticed");
    page.must_show_a_moving_picture();
    let state = publisher.run("return window.freshetPublish.state", &[]);
    assert_eq!(state, "live");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// All sessions, by their ids.
fn names(server: &Server) -> Vec<String> {
    let page = server.get("/v1/sessions?limit=1000").json();
    let all = page["sessions"].as_array().unwrap().iter();
    let mut names: Vec<String> = all.map(|one: &Value| one["id"].to_string()).collect();
    names.sort();
    names
}

#[test]
fn what_is_no_freshet_is_refused_and_what_dies_is_rolled_back() {
    let _turn = alone();
    let mut server = Server::start(Setup {
        own_program: true,
        demo: true,
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 10, PATIENCE);
    let before = ["forwarder", "control"].map(|plane| server.plane(plane));

    // A program that knows nothing of all this, and one that cannot be run.
    server.install("/bin/echo");
    let (done, said) = server.upgrade();
    assert!(!done && said.contains("nothing has changed"), "{said}");
    server.install("/etc/os-release");
    let (done, said) = server.upgrade();
    assert!(!done && said.contains("cannot be run"), "{said}");
    assert_eq!(
        ["forwarder", "control"].map(|plane| server.plane(plane)),
        before
    );

    // The next forwarder dies as soon as it has its place.
    server.install(binary());
    let next = std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| server.upgrade());
        wait_until("another forwarder to have its place", PATIENCE, || {
            server.log().contains("goes on where the one before was")
        });
        let next = server.process_with("--stand-by").unwrap();
        kill_now(next);
        let (done, said) = upgrade.join().unwrap();
        assert!(!done, "{said}");
        assert!(
            said.contains("the program before was started again"),
            "{said}"
        );
        next
    });
    wait_until("the forwarder before", PATIENCE, || {
        server.plane("forwarder") != next
    });
    server.wait_ready();
    let old = program_of(&server, "forwarder");
    assert!(old.to_string_lossy().contains("(deleted)"), "{old:?}");
    crowd.forget();
    crowd.run(Duration::from_secs(3));
    let report = crowd.report();
    assert_eq!(report.served, 10);
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    // It can be tried again.
    let (done, said) = server.upgrade();
    assert!(done, "{said}");
    assert_eq!(program_of(&server, "forwarder"), server.program());
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
