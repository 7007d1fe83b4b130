//! Each plane is killed at a bad moment: those who watch go on.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::http;
use freshet_tests::process::kill_now;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn who_watches_does_not_notice_that_control_died() {
    let _turn = alone();
    let mut server = Server::demo();
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 5, PATIENCE);
    crowd.run(Duration::from_secs(2));
    crowd.forget();
    let answers: Vec<u64> = crowd.sessions().iter().map(|one| one.answers()).collect();
    let watch = crowd.watch();
    let (forwarder, control) = (server.plane("forwarder"), server.plane("control"));
    kill_now(control);
    let start = Instant::now();
    sleep(Duration::from_millis(50));
    server.wait_ready();
    println!("control is back after {:.0?}", start.elapsed());
    assert_ne!(server.plane("control"), control);
    assert_eq!(
        server.plane("forwarder"),
        forwarder,
        "the data plane was not touched"
    );
    server.wait_live("demo");

    let newcomers = Crowd::joined(server.http, "demo", 2, PATIENCE);
    sleep(Duration::from_secs(6));
    let mut crowd = watch.stop();
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (5, 0), "{report:?}");
    assert!(report.refused.is_empty(), "{report:?}");
    for (session, before) in crowd.sessions().iter().zip(answers) {
        assert!(
            session.answers() > before,
            "checks are not answered any more: {session:?}"
        );
    }
    // The demo is published by control itself: its gap is that of the publisher.
    crowd.forget();
    crowd.run(Duration::from_secs(2));
    let report = crowd.report();
    assert!(report.served == 5 && report.packets > 5 * 60, "{report:?}");
    newcomers.leave();
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn viewers_go_on_when_the_forwarder_died() {
    let _turn = alone();
    let server = Server::demo();
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 5, PATIENCE);
    crowd.run(Duration::from_secs(2));
    let watch = crowd.watch();
    let (forwarder, control) = (server.plane("forwarder"), server.plane("control"));
    kill_now(forwarder);
    wait_until("another forwarder", PATIENCE, || {
        server.plane("forwarder") != forwarder
    });
    assert_eq!(
        server.plane("control"),
        control,
        "signalling was not touched"
    );
    sleep(Duration::from_secs(3));
    let mut crowd = watch.stop();
    let gap = crowd.report().longest_silence;
    println!("the longest gap: {gap:.0?}");
    assert!(gap < Duration::from_secs(3), "a gap of {gap:?}");
    crowd.forget();
    crowd.run(Duration::from_secs(2));
    let report = crowd.report();
    // The same keys, sequence numbers that go on, and none used twice: a replay would be refused.
    assert_eq!((report.served, report.lost), (5, 0), "{report:?}");
    assert!(report.refused.is_empty(), "{report:?}");
    assert!(report.packets > 5 * 60, "{report:?}");
    let newcomers = Crowd::joined(server.http, "demo", 1, PATIENCE);
    newcomers.leave();
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn it_stops_when_it_is_told_to() {
    let _turn = alone();
    let server = Server::demo();
    server.wait_live("demo");
    let crowd = Crowd::joined(server.http, "demo", 3, PATIENCE);
    let planes = [server.plane("forwarder"), server.plane("control")];
    let http = server.http;
    let start = Instant::now();
    let (good, log) = server.stop();
    assert!(good, "{log}");
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(
        http::get(http, "/livez").is_err(),
        "something still answers"
    );
    for plane in planes {
        assert!(
            !std::path::Path::new(&format!("/proc/{plane}")).exists(),
            "{plane} lives on"
        );
    }
    assert!(!log.contains("panicked"), "{log}");
    drop(crowd);
}

#[test]
fn what_it_cannot_do_is_said_with_a_remedy() {
    let _turn = alone();
    let server = Server::start(Setup::default());
    // The port is taken: by the server that runs.
    let mut second = std::process::Command::new("setpriv");
    let binary = std::fs::read_link(format!("/proc/{}/exe", server.plane("control"))).unwrap();
    second
        .args(["--pdeathsig", "KILL", "--"])
        .arg(binary)
        .arg("serve");
    second.arg("--http").arg(server.http.to_string());
    let folder = server.folder().join("second");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    second.env("FRESHET_NODE_RUN_DIR", &folder);
    let second = freshet_tests::process::Process::start("second", &folder, &second);
    let taken = format!("cannot listen at {}", server.http);
    let _ = second.says(&taken, PATIENCE);
    // The remedy is on the next line.
    let said = second.says("http.listen", PATIENCE);
    assert!(said.to_lowercase().contains("in use"), "{said}");
    server.must_be_unharmed();
}
