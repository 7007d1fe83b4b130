//! A browser publishes several encodings to one node, which sends them all to another: viewers
//! there choose among the same.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::time::{Duration, Instant};

use freshet_tests::browser::Browser;
use freshet_tests::http;
use freshet_tests::place::{free_tcp_port, free_udp_port};
use freshet_tests::server::{Server, Setup};
use freshet_tests::wait::{alone, have, wait_for};
use freshet_tests::webdriver::Chromium;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(40);

/// Where the browser publishes, and what the other node has.
const STREAM: &str = "live/layers";

/// The encodings as the page names them, and their lines.
const ENCODINGS: [(&str, u64); 3] = [("q", 180), ("h", 360), ("f", 720)];

/// What of all encodings a stream has now, in bits a second.
fn encodings(server: &Server) -> Result<u64, String> {
    let stream = server.stream(STREAM);
    let layers = stream["video"]["layers"].as_array().cloned();
    let layers = layers.unwrap_or_default();
    let live = layers.iter().filter(|layer| layer["live"] == true);
    let names = live.map(|layer| layer["id"].as_str().unwrap_or(""));
    if names.eq(ENCODINGS.map(|(name, _)| name)) {
        let rates = layers.iter().filter_map(|l| l["bitrate_bps"].as_u64());
        Ok(rates.sum())
    } else {
        Err(format!("{stream}"))
    }
}

/// The first session that is a viewer's, which has been established.
fn viewer(server: &Server) -> Value {
    wait_for("a viewer's session", PATIENCE, || {
        let page = server.get("/v1/sessions").json();
        let all = page["sessions"].as_array().cloned().unwrap_or_default();
        let mut all = all.into_iter();
        let found = all.find(|one| one["kind"] == "viewer" && one["state"] == "connected");
        found.ok_or(page.to_string())
    })
}

fn relay(server: &Server) -> Value {
    server.get("/v1/relays").json()[0].clone()
}

fn relays(codec: &str) {
    let _turn = alone();
    if !have(&["chromium", "chromedriver"]) {
        return;
    }
    let edge = Server::start(Setup {
        toml: "[streams]\ntakeover = \"replace\"\n".into(),
        cores: 2,
        ..Setup::default()
    });
    let (http_port, media_port) = (free_tcp_port(), free_udp_port());
    let origin = || {
        let to = edge.url("/whip/{stream}");
        Server::start(Setup {
            toml: format!("[[push]]\nstream = \"live/*\"\nurl = \"{to}\"\n"),
            http_port: Some(http_port),
            media_port: Some(media_port),
            ..Setup::default()
        })
    };
    let first = origin();
    let mut publisher = Chromium::start();
    publisher.go_live(&first, STREAM, codec, "simulcast");
    wait_for("the origin to have all encodings", PATIENCE, || {
        encodings(&first)
    });
    wait_for("the edge to have all encodings", PATIENCE, || {
        encodings(&edge).map_err(|error| format!("{error} {}", relay(&first)))
    });

    // One relay is one viewer of the stream and one session, with the sum of all that goes out.
    let shown = wait_for("the relay to tell of them", PATIENCE, || {
        let shown = relay(&first);
        let all = shown["encodings"].as_array().map(Vec::len);
        (all == Some(3))
            .then_some(shown.clone())
            .ok_or(shown.to_string())
    });
    assert_eq!(first.stream(STREAM)["viewers"], 1, "{shown}");
    assert_eq!(first.metric("freshet_relay_encoding"), 3.0);
    let session = viewer(&first);
    assert_eq!(session["encodings"], shown["encodings"], "{session}");
    let rate = wait_for("the relay to send all of them", PATIENCE, || {
        let sum = encodings(&first)?;
        let sent = relay(&first)["bitrate_bps"].as_u64().unwrap_or(0);
        let is_all = sent * 10 > sum * 8 && sent > 500_000;
        is_all.then_some(sent).ok_or(format!("{sent} of {sum}"))
    });

    let mut watching = Chromium::start();
    watching.watch(&edge, STREAM);
    for (name, height) in ENCODINGS.iter().chain(ENCODINGS.iter().rev()) {
        let body = json!({ "encodingId": name }).to_string();
        let kind = [("content-type", "application/json")];
        let id = viewer(&edge)["id"].as_str().unwrap().to_owned();
        let path = format!("/session/{id}/layer");
        let chosen = http::request(edge.http, "POST", &path, &kind, body.as_bytes()).unwrap();
        assert!(chosen.status < 300, "{} {}", chosen.status, chosen.text());
        let began = Instant::now();
        wait_for("the picture's size", PATIENCE, || {
            let script = "return document.querySelector('video').videoHeight";
            let lines = watching.run(script, &[]).as_u64();
            if lines == Some(*height) {
                Ok(())
            } else {
                Err(format!("{lines:?} lines, not {height}"))
            }
        });
        println!(
            "{codec}: {name}, {height} lines after {:.0?}",
            began.elapsed()
        );
        watching.must_show_a_moving_picture();
    }
    println!(
        "{codec}: {} kbit/s by the relay: {}",
        rate / 1000,
        relay(&first)
    );
    first.must_be_unharmed();

    drop(first);
    let gone = Instant::now();
    let again = origin();
    publisher.go_live(&again, STREAM, codec, "simulcast");
    wait_for("the edge to have them again", PATIENCE, || {
        let shown = relay(&again);
        let is_live = shown["state"] == "live";
        is_live.then_some(()).ok_or(shown.to_string())?;
        encodings(&edge)
    });
    println!("{codec}: back {:.1?} after the origin went", gone.elapsed());
    edge.must_be_unharmed();
    again.must_be_unharmed();
}

#[test]
fn vp8_in_three_sizes_is_relayed() {
    relays("vp8");
}

#[test]
fn h264_in_three_sizes_is_relayed() {
    relays("h264");
}
