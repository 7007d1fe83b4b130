//! Another program goes on in the supervisor's process: nobody notices, what cannot go on says so
//! before or gives everything back after, and whoever stops the node meanwhile is heard.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::Duration;

use freshet_tests::http;
use freshet_tests::process::{hang_up, kill_now};
use freshet_tests::server::{Server, Setup, binary};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(60);

const VIEWERS: usize = 20;

const UPGRADES: usize = 3;

/// What an upgrade says when it begins with the supervisor.
const LAST_STEP: &str = "the supervisor is being replaced";

/// Moments of the last step at which something happens: while the link's keeper ends, while the
/// program is asked, and around the moment at which it goes on.
const MOMENTS_MS: [u64; 4] = [0, 60, 110, 150];

/// Less than a program takes from its start until it listens to signals.
const BETWEEN_SIGNALS: Duration = Duration::from_micros(100);

fn server() -> Server {
    let server = Server::start(Setup {
        own_program: true,
        demo: true,
        ..Setup::default()
    });
    server.wait_live("demo");
    server
}

fn planes(server: &Server) -> [u32; 2] {
    ["forwarder", "control"].map(|plane| server.plane(plane))
}

/// Which file a process runs, whatever its name is by now.
fn inode(program: impl AsRef<Path>) -> u64 {
    std::fs::metadata(program).unwrap().ino()
}

fn program_of(process: u32) -> u64 {
    inode(format!("/proc/{process}/exe"))
}

fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// Installs a Freshet with this fault; everything else is done by the real one.
fn install_faulty(server: &Server, fault: &str) {
    let text = format!("{fault}\n{}\n", binary().display());
    std::fs::write(server.folder().join("fault"), text).unwrap();
    server.install(env!("CARGO_BIN_EXE_next_program"));
}

/// Nobody has missed anything since the crowd last forgot.
fn must_have_missed_nothing(crowd: &Crowd) {
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (VIEWERS, 0), "{report:?}");
    assert!(report.refused.is_empty(), "{:?}", report.refused);
}

/// Whoever supervises the node starts each plane again that dies.
fn must_heal(server: &mut Server, crowd: &mut Crowd) {
    for plane in ["forwarder", "control"] {
        let before = server.plane(plane);
        kill_now(before);
        wait_until("another process of the plane", PATIENCE, || {
            server.process_with(&format!(" {plane} ")) != Some(before)
        });
        let _ = server.plane(plane);
        server.wait_ready();
    }
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    crowd.run(Duration::from_secs(2));
    must_have_missed_nothing(crowd);
}

#[test]
fn the_next_program_goes_on_in_the_process_of_the_supervisor() {
    let mut server = server();
    let owned = planes(&server).map(descriptors);
    let pid = server.pid();
    let mut crowd = Crowd::joined(server.http, "demo", VIEWERS, PATIENCE);
    crowd.run(Duration::from_secs(1));
    let mut own = Vec::new();
    for _ in 0..UPGRADES {
        crowd.forget();
        server.install(binary());
        let mut replaced = None;
        let watch = crowd.watch();
        let (done, said) = server.upgrade_seen(|line| {
            if line == LAST_STEP {
                replaced = Some(planes(&server));
            }
        });
        assert!(done, "{said}\n{}", server.log());
        assert!(said.contains("control and supervisor were"), "{said}");
        sleep(Duration::from_millis(500));
        crowd = watch.stop();
        must_have_missed_nothing(&crowd);
        assert_eq!(program_of(pid), inode(server.program()));
        assert_eq!(replaced, Some(planes(&server)), "the planes go on");
        own.push(descriptors(pid));
    }
    server.must_be_unharmed();
    assert!(own.iter().all(|count| *count <= own[0]), "{own:?}");
    must_heal(&mut server, &mut crowd);
    must_follow_its_configuration(&server);
    must_drain_and_take_that_back(&mut server);
    crowd.leave();
    // Both planes were started by a program that was handed everything.
    wait_until("planes with no more than their own", PATIENCE, || {
        let now = planes(&server).map(descriptors);
        now[0] <= owned[0] && now[1] <= owned[1]
    });
    let (good, log) = server.stop();
    assert!(good && !log.contains("panicked"), "{log}");
}

/// By SIGHUP and by the API.
fn must_follow_its_configuration(server: &Server) {
    let file = server.folder().join("freshet.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("max_load = 0.0", "max_load = 0.75");
    assert_ne!(text, other);
    std::fs::write(&file, &other).unwrap();
    hang_up(server.pid());
    let said = server.says("the configuration was read again", PATIENCE);
    assert!(said.contains("limits.max_load"), "{said}");
    let toml = [("content-type", "application/toml")];
    let put = http::request(server.http, "PUT", "/v1/config", &toml, text.as_bytes()).unwrap();
    assert!(put.status < 300, "{}: {}", put.status, put.text());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

fn must_drain_and_take_that_back(server: &mut Server) {
    let json = [("content-type", "application/json")];
    let begun = http::request(
        server.http,
        "POST",
        "/v1/drain",
        &json,
        b"{\"deadline_s\": 600}",
    );
    assert!(begun.unwrap().status < 300);
    // It goes on with it, as it was decided.
    server.install(binary());
    let (done, said) = server.upgrade();
    assert!(done, "{said}");
    assert_eq!(server.get("/readyz").status, 503);
    let over = http::request(server.http, "DELETE", "/v1/drain", &[], b"").unwrap();
    assert!(over.status < 300, "{}", over.text());
    server.wait_ready();
}

#[test]
fn what_says_that_it_cannot_go_on_is_not_asked_to() {
    let mut server = server();
    let mut crowd = Crowd::joined(server.http, "demo", VIEWERS, PATIENCE);
    let (pid, before) = (server.pid(), planes(&server));
    let program = program_of(pid);
    install_faulty(&server, "dry-run");
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    let watch = crowd.watch();
    let (done, said) = server.upgrade();
    sleep(Duration::from_millis(500));
    crowd = watch.stop();
    must_have_missed_nothing(&crowd);
    assert!(
        !done && said.contains("this one has forgotten how"),
        "{said}"
    );
    assert!(said.contains("goes on with the program before"), "{said}");
    assert_eq!(program_of(pid), program);
    // The planes run the other one.
    let now = planes(&server);
    assert!(now[0] != before[0] && now[1] != before[1]);
    assert_eq!(now.map(program_of), [inode(binary()); 2]);
    must_heal(&mut server, &mut crowd);
    // It can be tried again.
    server.install(binary());
    let (done, said) = server.upgrade();
    assert!(done, "{said}");
    assert_eq!(program_of(pid), inode(server.program()));
}

#[test]
fn what_cannot_go_on_after_all_gives_everything_back() {
    let mut server = server();
    let mut crowd = Crowd::joined(server.http, "demo", VIEWERS, PATIENCE);
    let pid = server.pid();
    let program = program_of(pid);
    install_faulty(&server, "resume");
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    let watch = crowd.watch();
    let (done, said) = server.upgrade();
    sleep(Duration::from_millis(500));
    crowd = watch.stop();
    must_have_missed_nothing(&crowd);
    assert!(!done && said.contains("--no-such-flag"), "{said}");
    assert!(
        said.contains("could not go on, and the one before does"),
        "{said}"
    );
    assert_eq!(program_of(pid), program);
    server.must_be_unharmed();
    must_heal(&mut server, &mut crowd);
    server.install(binary());
    let (done, said) = server.upgrade();
    assert!(done, "{said}");
    assert_eq!(program_of(pid), inode(server.program()));
}

#[test]
fn a_forwarder_with_another_layout_of_the_link_is_refused() {
    let server = server();
    let mut crowd = Crowd::joined(server.http, "demo", VIEWERS, PATIENCE);
    let (pid, before) = (server.pid(), planes(&server));
    let program = program_of(pid);
    install_faulty(&server, "layout");
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    let watch = crowd.watch();
    let (done, said) = server.upgrade();
    crowd = watch.stop();
    must_have_missed_nothing(&crowd);
    assert!(!done && said.contains("speaks layout 99"), "{said}");
    assert!(said.contains("the one before goes on"), "{said}");
    assert_eq!((planes(&server), program_of(pid)), (before, program));
    server.must_be_unharmed();
}

/// Sends signals that mean nothing, and by default the end, without a pause: one of them comes at
/// any moment that is not guarded.
fn pester(server: &Server, is_over: &AtomicBool) {
    while !is_over.load(Relaxed) {
        // It has ended: what follows fails.
        let _ = kill(pid_of(server), Signal::SIGUSR1);
        sleep(BETWEEN_SIGNALS);
    }
}

fn pid_of(server: &Server) -> Pid {
    Pid::from_raw(i32::try_from(server.pid()).unwrap())
}

#[test]
fn what_happens_meanwhile_is_seen_to() {
    let mut server = server();
    let file = server.folder().join("freshet.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (turn, after) in MOMENTS_MS.into_iter().enumerate() {
        // Nothing that keeps the viewers out who come at the end.
        let deadline = format!("deadline_s = {}", turn + 1);
        std::fs::write(&file, text.replace("deadline_s = 0", &deadline)).unwrap();
        server.install(binary());
        let mut killed = 0;
        let is_over = AtomicBool::new(false);
        let (done, said) = std::thread::scope(|scope| {
            let answer = server.upgrade_seen(|line| {
                if line == LAST_STEP {
                    scope.spawn(|| pester(&server, &is_over));
                    sleep(Duration::from_millis(after));
                    killed = server.plane("forwarder");
                    kill_now(killed);
                    hang_up(server.pid());
                }
            });
            is_over.store(true, Relaxed);
            answer
        });
        assert!(done, "{after} ms: {said}");
        assert_eq!(program_of(server.pid()), inode(server.program()));
        wait_until("another forwarder", PATIENCE, || {
            let now = server.process_with(" forwarder ");
            now.is_some_and(|now| now != killed)
        });
        wait_until("the configuration to be in force", PATIENCE, || {
            server.get("/v1/config").text().contains(&deadline)
        });
        server.wait_ready();
    }
    let mut crowd = Crowd::joined(server.http, "demo", VIEWERS, PATIENCE);
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    crowd.run(Duration::from_secs(2));
    must_have_missed_nothing(&crowd);
}

#[test]
fn whoever_stops_the_node_meanwhile_is_heard() {
    for after in MOMENTS_MS {
        let server = Server::start(Setup {
            own_program: true,
            own_run_dir: true,
            ..Setup::default()
        });
        let line = std::fs::read(format!("/proc/{}/cmdline", server.plane("control"))).unwrap();
        let line = String::from_utf8(line).unwrap();
        let words: Vec<&str> = line.split('\0').collect();
        let link = words.iter().position(|word| *word == "--link").unwrap() + 1;
        let run_dir = Path::new(words[link]).parent().unwrap().to_owned();
        assert!(run_dir.join("serve.pid").exists(), "{line}");
        server.install(binary());
        kill(pid_of(&server), Signal::SIGUSR2).unwrap();
        let _ = server.says(LAST_STEP, PATIENCE);
        sleep(Duration::from_millis(after));
        let stopped = planes(&server);
        server.terminate();
        let (good, log) = server.ended(PATIENCE);
        assert!(good && !log.contains("panicked"), "{after} ms: {log}");
        assert!(log.contains("SIGTERM: stopping"), "{after} ms: {log}");
        assert!(!log.contains("starting it again"), "{after} ms: {log}");
        for plane in stopped {
            assert!(!Path::new(&format!("/proc/{plane}")).exists());
        }
        assert!(!run_dir.exists(), "{after} ms: it was its own");
    }
}
