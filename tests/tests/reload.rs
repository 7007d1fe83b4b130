//! The configuration is changed under a server that serves: what may change does at once, what is
//! wrong is refused as a whole, and nobody is cut off.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::time::Duration;

use freshet_tests::http;
use freshet_tests::process::hang_up;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, wait_for, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

const OLD: &str = "0123456789abcdef-old";
const NEW: &str = "0123456789abcdef-new";

/// Whether somebody with this token may publish. The proxy's header makes the asker a stranger.
fn may_publish(server: &Server, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("content-type", "application/sdp"),
        ("authorization", &bearer[..]),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    let posted = http::request(server.http, "POST", "/whip/new", &headers, b"v=0\r\n").unwrap();
    // The offer is none, which is found out after the token.
    assert!(
        matches!(posted.status, 400 | 401 | 403 | 422),
        "{}",
        posted.status
    );
    !matches!(posted.status, 401 | 403)
}

#[test]
fn what_may_change_does_and_nobody_is_cut_off() {
    let _turn = alone();
    let server = Server::start(Setup {
        demo: true,
        toml: format!("[auth]\npublish_tokens = [\"{OLD}\"]\n"),
        ..Setup::default()
    });
    server.wait_live("demo");
    let mut crowd = Crowd::joined(server.http, "demo", 3, PATIENCE);
    crowd.run(Duration::from_secs(1));
    crowd.forget();
    let watch = crowd.watch();
    let planes = ["forwarder", "control"].map(|plane| server.plane(plane));
    assert!(may_publish(&server, OLD) && !may_publish(&server, NEW));
    let file = server.folder().join("freshet.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let change = |text: &str| {
        std::fs::write(&file, text).unwrap();
        hang_up(server.pid());
    };

    change(&before.replace(OLD, NEW));
    wait_until("the new token to be good", PATIENCE, || {
        may_publish(&server, NEW)
    });
    assert!(!may_publish(&server, OLD), "the old one is good no more");

    // With a line and a reason, and all of it or nothing.
    change(&format!("{before}[http]\nbody_bytes_max = 1\n"));
    let said = server.says("configuration stays as it was", PATIENCE);
    assert!(said.contains("freshet.toml:"), "{said}");
    assert!(may_publish(&server, NEW) && !may_publish(&server, OLD));

    // What is built into sockets wants a restart; what else is in the file is not taken either.
    change(&before.replace("streams_max = ", "streams_max = 1"));
    let refused = wait_for("a refusal", PATIENCE, || {
        let log = server.log();
        let line = log
            .lines()
            .find(|line| line.contains("limits.streams_max cannot change"));
        line.map(str::to_owned).ok_or(log)
    });
    assert!(refused.contains("while the server runs"), "{refused}");
    assert!(may_publish(&server, NEW) && !may_publish(&server, OLD));

    change(&before);
    wait_until("the old token to be good again", PATIENCE, || {
        may_publish(&server, OLD)
    });
    let crowd = watch.stop();
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (3, 0));
    assert_eq!(
        ["forwarder", "control"].map(|plane| server.plane(plane)),
        planes
    );
    crowd.leave();
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// A sidecar that comes later has the configuration that was read last.
#[test]
fn the_next_sidecar_knows_what_was_changed() {
    let _turn = alone();
    let mut server = Server::start(Setup {
        demo: true,
        toml: format!("[auth]\npublish_tokens = [\"{OLD}\"]\n"),
        ..Setup::default()
    });
    server.wait_live("demo");
    let file = server.folder().join("freshet.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(OLD, NEW)).unwrap();
    hang_up(server.pid());
    wait_until("the new token to be good", PATIENCE, || {
        may_publish(&server, NEW)
    });
    let control = server.plane("control");
    freshet_tests::process::kill_now(control);
    wait_until("another sidecar", PATIENCE, || {
        server.plane("control") != control
    });
    server.wait_ready();
    assert!(may_publish(&server, NEW) && !may_publish(&server, OLD));
}
