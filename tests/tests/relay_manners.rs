//! What a relay does as a client: whom it believes, what it answers, how it bears a silent server.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::front::{Authority, Front};
use freshet_tests::impair::{Impairment, Relay};
use freshet_tests::place::{Place, free_udp_port};
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::wait_for;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

fn relay(server: &Server) -> Value {
    server.get("/v1/relays").json()[0].clone()
}

fn wait_state(server: &Server, state: &str) -> Value {
    wait_for(&format!("the relay to be {state}"), PATIENCE, || {
        let view = relay(server);
        let is_so = view["state"] == state;
        is_so.then_some(view.clone()).ok_or(view.to_string())
    })
}

fn must_flow(server: &Server) {
    let mut crowd = Crowd::joined(server.http, "demo", 1, PATIENCE);
    crowd.run(Duration::from_secs(3));
    let report = crowd.report();
    crowd.leave();
    assert!(report.served == 1 && report.packets > 150, "{report:?}");
}

/// An edge that pulls `demo` from this address, believing the certificates of a file.
fn edge(url: &str, ca_file: &str) -> Server {
    let toml =
        format!("[relays]\nca_file = {ca_file:?}\n[[pull]]\nstream = \"demo\"\nurl = \"{url}\"\n");
    Server::start(Setup {
        toml,
        ..Setup::default()
    })
}

#[test]
fn a_server_is_believed_by_its_authority_alone() {
    let origin = Server::demo();
    let ours = Authority::new("ours").unwrap();
    let front = Front::start(origin.http, &ours, false);
    let place = Place::new("authority");
    let file = |name: &str, authority: &Authority| {
        let path = place.file(name, &authority.pem().unwrap());
        path.to_str().unwrap().to_owned()
    };
    let right = file("right.pem", &ours);
    let wrong = file("wrong.pem", &Authority::new("another").unwrap());

    let url = front.url("/whep/{stream}");
    let denied = edge(&url, &wrong);
    let view = wait_state(&denied, "waiting");
    let error = &view["last_error"];
    assert_eq!(error["reason"], "tls", "{view}");
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains("UnknownIssuer"), "{view}");
    let remedy = error["remedy"].as_str().unwrap();
    assert!(remedy.contains("relays.ca_file"), "{view}");
    assert_eq!(front.requests(), 0, "not a word was said to it");
    println!("{view}");
    drop(denied);

    // Another host's name is not its own, whoever has signed.
    let by_address = url.replace("localhost", "127.0.0.1");
    let denied = edge(&by_address, &right);
    let view = wait_state(&denied, "waiting");
    assert_eq!(view["last_error"]["reason"], "tls", "{view}");
    drop(denied);

    let believing = edge(&url, &right);
    let view = wait_state(&believing, "live");
    assert_eq!(view["failures"], 0, "{view}");
    must_flow(&believing);
    // The session ends by the same road.
    let before = front.requests();
    drop(believing);
    assert!(front.requests() > before);
    wait_for("the origin to have no viewer", PATIENCE, || {
        let viewers = origin.stream("demo")["viewers"].as_u64();
        (viewers == Some(0))
            .then_some(())
            .ok_or(format!("{viewers:?}"))
    });
    origin.must_be_unharmed();
}

#[test]
fn a_server_that_only_offers_is_answered() {
    let origin = Server::demo();
    let authority = Authority::new("ours").unwrap();
    // The origin sees an empty offer, and makes one of its own: 406.
    let front = Front::start(origin.http, &authority, true);
    let place = Place::new("authority");
    let file = place.file("ca.pem", &authority.pem().unwrap());
    let edge = edge(&front.url("/whep/{stream}"), file.to_str().unwrap());
    let view = wait_state(&edge, "live");
    assert_eq!(
        (&view["attempts"], &view["failures"]),
        (&1.into(), &0.into())
    );
    assert!(origin.metric("freshet_counter_offered_total") >= 1.0);
    must_flow(&edge);
    edge.must_be_unharmed();
    origin.must_be_unharmed();
}

#[test]
fn a_server_that_falls_silent_restarts_ice() {
    let media_port = free_udp_port();
    let way = Relay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, media_port)), 5);
    let origin = Server::start(Setup {
        demo: true,
        media_port: Some(media_port),
        advertise: Some(way.address().to_string()),
        ..Setup::default()
    });
    let edge = edge(&origin.url("/whep/{stream}"), "");
    let before = wait_state(&edge, "live");
    must_flow(&edge);
    // Its HTTP side lives on.
    let nothing = Impairment {
        loss_ppm: 1_000_000,
        ..Impairment::default()
    };
    way.set(nothing, nothing);
    let began = Instant::now();
    let view = wait_for("ICE to be restarted", PATIENCE, || {
        let view = relay(&edge);
        let is_so = view["restarts"] == 1;
        is_so.then_some(view.clone()).ok_or(view.to_string())
    });
    println!(
        "restarted {:.1?} after it fell silent: {view}",
        began.elapsed()
    );
    sleep(Duration::from_secs(2));
    way.set(Impairment::default(), Impairment::default());
    must_flow(&edge);
    sleep(Duration::from_secs(12));
    let after = relay(&edge);
    // The same session as before, without another handshake.
    assert_eq!(after["session"], before["session"], "{after}");
    assert_eq!(
        (&after["attempts"], &after["failures"]),
        (&1.into(), &0.into())
    );
    assert_eq!(after["restarts"], 1, "{after}");
    assert_eq!(edge.metric("freshet_relay_restarted_total"), 1.0);
    must_flow(&edge);
    edge.must_be_unharmed();
    origin.must_be_unharmed();
}
