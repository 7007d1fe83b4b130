//! The configuration is changed under a server that serves: what may change does at once, what is
//! wrong is refused as a whole, and nobody is cut off.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::time::Duration;

use freshet_tests::http::{self, Answer};
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

/// A server with a stream to watch, where the old token is good.
fn served() -> Server {
    let server = Server::start(Setup {
        demo: true,
        toml: format!("[auth]\npublish_tokens = [\"{OLD}\"]\n"),
        ..Setup::default()
    });
    server.wait_live("demo");
    server
}

#[test]
fn what_may_change_does_and_nobody_is_cut_off() {
    let _turn = alone();
    let server = served();
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

/// Workers follow the limit of the load: beyond it they give up what is missed the least.
#[test]
fn a_lower_limit_of_the_load_is_kept_by_workers_too() {
    let _turn = alone();
    let server = served();
    let mut crowd = Crowd::joined(server.http, "demo", 20, PATIENCE);
    crowd.run(Duration::from_secs(2));
    crowd.forget();
    let watch = crowd.watch();
    let gives_up = || server.get("/v1/node").json()["load"]["gives_up"][0].clone();
    assert_eq!(gives_up(), "nothing");
    let file = server.folder().join("freshet.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let limit = |limit: &str| {
        let change = |line: &str| match line.starts_with("max_load") {
            true => format!("max_load = {limit}\n"),
            false => format!("{line}\n"),
        };
        let text: String = before.lines().map(change).collect();
        std::fs::write(&file, text).unwrap();
        hang_up(server.pid());
    };
    limit("0.001");
    wait_until("the worker to give up layers", PATIENCE, || {
        gives_up() == "layers"
    });
    assert!(server.metric("freshet_worker_overload_stage") >= 2.0);
    limit("0.0");
    wait_until("the worker to have its time back", PATIENCE, || {
        gives_up() == "nothing"
    });
    let report = watch.stop().report();
    assert_eq!((report.served, report.lost), (20, 0));
}

/// Relays come and go with their rules, and those that stay are not touched.
#[test]
fn relays_follow_their_rules() {
    let _turn = alone();
    let origin = served();
    let url = origin.url("/whep/demo");
    let edge = Server::start(Setup {
        toml: format!("[[pull]]\nstream = \"stays\"\nurl = \"{url}\"\n"),
        ..Setup::default()
    });
    edge.wait_live("stays");
    let relays = || edge.get("/v1/relays").json().as_array().unwrap().clone();
    let stays = relays()[0].clone();
    let file = edge.folder().join("freshet.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let change = |more: &str| {
        std::fs::write(&file, format!("{before}{more}")).unwrap();
        hang_up(edge.pid());
    };

    let push = origin.url("/whip/{stream}");
    let pull = format!("[[pull]]\nstream = \"comes\"\nurl = \"{url}\"\n");
    change(&format!(
        "{pull}[[push]]\nstream = \"st*\"\nurl = \"{push}\"\n"
    ));
    edge.wait_live("comes");
    wait_until("what a pattern matches", PATIENCE, || relays().len() == 3);
    change("");
    wait_until("one relay alone", PATIENCE, || relays().len() == 1);
    let viewers = || origin.stream("demo")["viewers"].as_u64().unwrap();
    wait_until("the origin to hear of it", PATIENCE, || viewers() == 1);
    let after = relays()[0].clone();
    for field in ["id", "attempts", "since_unix_ms", "state"] {
        assert_eq!(after[field], stays[field], "{field}");
    }
    assert!(!edge.log().contains("panicked"), "{}", edge.log());
}

/// A sidecar that comes later has the configuration that was read last.
#[test]
fn the_next_sidecar_knows_what_was_changed() {
    let _turn = alone();
    let mut server = served();
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

fn put(server: &Server, text: &str, if_match: Option<&str>) -> Answer {
    let mut headers = vec![("content-type", "application/toml")];
    headers.extend(if_match.map(|tag| ("if-match", tag)));
    http::request(server.http, "PUT", "/v1/config", &headers, text.as_bytes()).unwrap()
}

/// What is sent over the API holds at once, stands in the file, and outlives everything that reads
/// that again.
#[test]
fn an_operator_replaces_the_configuration_over_the_api() {
    let _turn = alone();
    let mut server = served();
    let file = server.folder().join("freshet.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let shown = server.get("/v1/config");
    let tag = shown.header("etag").unwrap().to_owned();
    assert!(!shown.text().contains(OLD), "{}", shown.text());

    let after = before.replace(OLD, NEW);
    let taken = put(&server, &after, Some(&tag));
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(taken.json()["changed"][0], "auth.publish_tokens");
    assert!(
        may_publish(&server, NEW) && !may_publish(&server, OLD),
        "at once"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), after);
    assert_eq!(
        server.get("/v1/config").header("etag"),
        taken.header("etag")
    );
    assert_eq!(put(&server, &before, Some(&tag)).status, 412);

    let wrong = put(
        &server,
        &after.replace("max_load = 0.0", "max_load = 7.0"),
        None,
    );
    assert_eq!(wrong.status, 422, "{}", wrong.text());
    let line = after.lines().position(|line| line.starts_with("max_load"));
    assert_eq!(wrong.json()["line"], line.unwrap() + 1, "{}", wrong.text());
    assert_eq!(wrong.json()["keys"][0], "limits.max_load");
    let fixed = put(
        &server,
        &after.replace("viewers_max = ", "viewers_max = 1"),
        None,
    );
    assert_eq!(fixed.status, 409, "{}", fixed.text());
    assert_eq!(fixed.json()["keys"][0], "limits.viewers_max");
    let seen = put(&server, &shown.text(), None);
    assert_eq!(seen.status, 422, "secrets that are none: {}", seen.text());
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        after,
        "all or nothing"
    );

    // What reads it again finds the same.
    hang_up(server.pid());
    let control = server.plane("control");
    freshet_tests::process::kill_now(control);
    wait_until("another sidecar", PATIENCE, || {
        server.plane("control") != control
    });
    server.wait_ready();
    assert!(may_publish(&server, NEW) && !may_publish(&server, OLD));
}

#[test]
fn the_level_of_the_log_changes_at_once() {
    let _turn = alone();
    let server = Server::start(Setup {
        demo: true,
        ..Setup::default()
    });
    server.wait_live("demo");
    // Said of each viewer, for those who want to know more.
    let said = |server: &Server| server.log().matches("session established").count();
    let join = || Crowd::joined(server.http, "demo", 1, PATIENCE).leave();
    join();
    assert_eq!(said(&server), 0);
    put_level(&server, "debug");
    join();
    wait_until("a line of more", PATIENCE, || said(&server) == 1);
    put_level(&server, "info");
    join();
    assert_eq!(said(&server), 1);
}

/// Sets the level.
fn put_level(server: &Server, level: &str) {
    let file = std::fs::read_to_string(server.folder().join("freshet.toml")).unwrap();
    let change = |line: &str| match line.starts_with("level = ") {
        true => format!("level = \"{level}\"\n"),
        false => format!("{line}\n"),
    };
    let taken = put(server, &file.lines().map(change).collect::<String>(), None);
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(taken.json()["changed"][0], "log.level");
}
