//! Each plane is killed at a bad moment: those who watch go on.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::http;
use freshet_tests::process::kill_now;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, wait_until};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

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

/// The thread of a process that has this name.
fn thread_of(process: u32, name: &str) -> Pid {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap());
    let is_it = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let task = tasks.find(is_it).unwrap();
    Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap())
}

#[test]
fn a_worker_that_is_stuck_is_not_waited_for() {
    let _turn = alone();
    let server = Server::start(Setup {
        cores: 2,
        demo: true,
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 20, PATIENCE);
    crowd.run(Duration::from_secs(1));
    let forwarder = server.plane("forwarder");
    let worker = thread_of(forwarder, "worker-1");
    let watch = crowd.watch();
    // As a debugger would stop it, wherever it is.
    ptrace::seize(worker, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(worker).unwrap();
    let start = Instant::now();
    let stopped = waitpid(worker, Some(WaitPidFlag::__WALL)).unwrap();
    assert!(
        matches!(stopped, WaitStatus::PtraceEvent(..)),
        "{stopped:?}"
    );
    let ended = waitpid(worker, Some(WaitPidFlag::__WALL)).unwrap();
    println!(
        "the forwarder ended after {:.1?}: {ended:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() > Duration::from_secs(1),
        "it could still come back"
    );
    wait_until("another forwarder", PATIENCE, || {
        server.plane("forwarder") != forwarder
    });
    sleep(Duration::from_secs(1));
    let mut crowd = watch.stop();
    crowd.forget();
    crowd.run(Duration::from_secs(2));
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (20, 0), "{report:?}");
    assert!(report.refused.is_empty(), "{report:?}");
    assert!(server.log().contains("a worker is stuck"));
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
    let binary = fs::read_link(format!("/proc/{}/exe", server.plane("control"))).unwrap();
    second
        .args(["--pdeathsig", "KILL", "--"])
        .arg(binary)
        .arg("serve");
    second.arg("--http").arg(server.http.to_string());
    let folder = server.folder().join("second");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    second.env("FRESHET_NODE_RUN_DIR", &folder);
    let second = freshet_tests::process::Process::start("second", &folder, &second);
    let taken = format!("cannot listen at {}", server.http);
    let _ = second.says(&taken, PATIENCE);
    // The remedy is on the next line.
    let said = second.says("http.listen", PATIENCE);
    assert!(said.to_lowercase().contains("in use"), "{said}");
    server.must_be_unharmed();
}
