//! Nodes that fetch streams from each other and send them on, and a server of another make.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use freshet_tests::http;
use freshet_tests::place::{free_tcp_port, free_udp_port};
use freshet_tests::publish::{aiortc, have_aiortc};
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, wait_for, wait_until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn relay(server: &Server, body: &Value) -> http::Answer {
    let text = body.to_string();
    http::request(server.http, "POST", "/v1/relays", &JSON, text.as_bytes()).unwrap()
}

/// The relay of a stream, as the API tells of it.
fn view(server: &Server, stream: &str) -> Value {
    let all = server.get("/v1/relays").json();
    let all = all.as_array().unwrap().iter();
    let mut of_it = all.filter(|relay| relay["stream"] == stream);
    of_it.next().cloned().unwrap_or_default()
}

fn wait_relayed(server: &Server, stream: &str, attempts: u64) -> Value {
    wait_for("the relay to be live", PATIENCE, || {
        let view = view(server, stream);
        let is_so = view["state"] == "live" && view["attempts"].as_u64() >= Some(attempts);
        is_so.then_some(view.clone()).ok_or(view.to_string())
    })
}

/// Viewers get everything; gives how old it is when it comes.
fn must_flow(http: SocketAddr, stream: &str) -> Option<i64> {
    let mut crowd = Crowd::joined(http, stream, 3, PATIENCE);
    crowd.run(Duration::from_millis(1500));
    crowd.forget();
    crowd.run(Duration::from_millis(2500));
    let report = crowd.report();
    crowd.leave();
    assert_eq!((report.served, report.lost), (3, 0), "{stream}: {report:?}");
    assert!(report.packets > 300, "{stream}: {report:?}");
    assert!(
        report.longest_silence < Duration::from_millis(900),
        "{report:?}"
    );
    report.age_us(50)
}

#[test]
fn nodes_relay_to_each_other_and_come_back() {
    let _turn = alone();
    let (http_port, media_port) = (free_tcp_port(), free_udp_port());
    let origin = || {
        Server::start(Setup {
            demo: true,
            http_port: Some(http_port),
            media_port: Some(media_port),
            ..Setup::default()
        })
    };
    let first = origin();
    let pull = format!(
        "[[pull]]\nstream = \"demo\"\nurl = \"{}\"\n",
        first.url("/whep/{stream}")
    );
    let edge = Server::start(Setup {
        toml: pull,
        cores: 2,
        ..Setup::default()
    });
    let begun = Instant::now();
    wait_relayed(&edge, "demo", 1);
    edge.wait_live("demo");
    println!("pulled {:?} after the start", begun.elapsed());

    // The origin pushes as well, and the edge cannot be made to feed itself.
    let push = json!({"direction": "push", "stream": "demo", "url": edge.url("/whip/pushed")});
    let made = relay(&first, &push);
    assert_eq!(made.status, 201, "{}", made.text());
    let made_at = made.header("location").unwrap().to_owned();
    assert_eq!(relay(&first, &push).status, 409);
    let own = json!({"direction": "pull", "stream": "x", "url": edge.url("/whep/x")});
    let refused = relay(&edge, &own);
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("relay-loop"), "{}", refused.text());
    edge.wait_live("pushed");
    // Another of the same two nodes, whose ports are the same: they are told apart.
    let other = json!({"direction": "pull", "stream": "again", "url": first.url("/whep/demo")});
    assert_eq!(relay(&edge, &other).status, 201);
    edge.wait_live("again");
    assert_eq!(edge.stream("demo")["publisher"]["kind"], "pull");
    assert_eq!(edge.stream("pushed")["publisher"]["kind"], "whip");

    let at_origin = must_flow(first.http, "demo");
    let (pulled, pushed) = (must_flow(edge.http, "demo"), must_flow(edge.http, "pushed"));
    must_flow(edge.http, "again");
    println!("age of packets in us: origin {at_origin:?}, pulled {pulled:?}, pushed {pushed:?}");
    let shown = wait_relayed(&edge, "demo", 1);
    println!("{shown}");
    assert!(shown["bitrate_bps"].as_u64() > Some(100_000), "{shown}");

    // What is not wanted any more ends there too.
    let deleted = http::request(first.http, "DELETE", &made_at, &[], b"").unwrap();
    assert_eq!(deleted.status, 204);
    assert_eq!(edge.stream("pushed")["publisher"], Value::Null);

    drop(first);
    let gone = Instant::now();
    let again = origin();
    let view = wait_relayed(&edge, "demo", 2);
    println!("back {:?} after the origin went: {view}", gone.elapsed());
    assert!(view["failures"].as_u64() >= Some(1), "{view}");
    wait_until("media to flow again", PATIENCE, || {
        edge.stream("demo")["state"] == "live"
    });
    must_flow(edge.http, "demo");
    edge.must_be_unharmed();
    again.must_be_unharmed();
}

#[test]
fn a_server_of_another_make_is_pulled_from_and_pushed_to() {
    let _turn = alone();
    if !have_aiortc() {
        return;
    }
    let server = Server::demo();
    let port = free_tcp_port();
    let _peer = aiortc(port, server.folder());
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let stats = || http::get(at, "/stats").map(|answer| answer.json());
    wait_until("aiortc to listen", PATIENCE, || stats().is_ok());

    let denied = json!({
        "direction": "pull", "stream": "denied", "url": format!("http://{at}/whep/x"),
    });
    assert_eq!(relay(&server, &denied).status, 201);
    let pull = json!({
        "direction": "pull", "stream": "foreign", "url": format!("http://{at}/elsewhere/whep"),
        "token": "a-token-of-16-bytes",
    });
    let made = relay(&server, &pull);
    assert_eq!(made.status, 201, "{}", made.text());
    let push = json!({
        "direction": "push", "stream": "demo", "url": format!("http://{at}/whip/x"),
        "token": "a-token-of-16-bytes",
    });
    assert_eq!(relay(&server, &push).status, 201);
    wait_relayed(&server, "foreign", 1);
    let found = server.wait_live("foreign");
    println!("{found}");
    wait_relayed(&server, "demo", 1);
    let counts = wait_for("aiortc to decode what is pushed", PATIENCE, || {
        let counts = stats()?;
        let enough = |kind: &str| counts[kind].as_u64() > Some(60);
        let both = enough("video") && enough("audio");
        both.then_some(counts.clone()).ok_or(counts.to_string())
    });
    println!("decoded there: {counts}");
    let mut crowd = Crowd::joined(server.http, "foreign", 1, PATIENCE);
    crowd.run(Duration::from_secs(2));
    let report = crowd.report();
    assert!(report.served == 1 && report.packets > 100, "{report:?}");
    crowd.leave();

    let view = view(&server, "denied");
    assert_eq!(view["last_error"]["reason"], "denied", "{view}");
    assert_eq!(server.metric("freshet_relay_failed_denied_total"), 1.0);
    assert_eq!(server.metric("freshet_relay_live"), 2.0);
    let made_at = made.header("location").unwrap().to_owned();
    let before = stats().unwrap()["sessions"].as_u64().unwrap();
    let deleted = http::request(server.http, "DELETE", &made_at, &[], b"").unwrap();
    assert_eq!(deleted.status, 204);
    assert_eq!(stats().unwrap()["sessions"].as_u64(), Some(before - 1));
    server.must_be_unharmed();
}
