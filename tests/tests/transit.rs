//! How long packets were inside, as the API and the metrics tell it, for what comes by the network
//! and for what the sidecar makes, over both backends, asleep and spinning.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::Duration;

use freshet_tests::http;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, wait_for};
use serde_json::Value;
use wire::rtp::Header;

const PATIENCE: Duration = Duration::from_secs(30);

/// Nothing may be inside for longer: a machine that is busy with other things has its share in it.
const LONGEST_US: u64 = 2_000_000;

/// Sends 50 packets of sound a second until it is told to end.
fn send(socket: &UdpSocket, to: SocketAddr, stop: &AtomicBool) {
    let mut number: u16 = 0;
    while !stop.load(Relaxed) {
        let header = Header {
            payload_type: 111,
            sequence: number,
            timestamp: u32::from(number) * 960,
            ssrc: 77,
            ..Header::default()
        };
        let mut packet = [0; 60];
        assert_eq!(header.write(&[], &mut packet), 12);
        let _ = socket.send_to(&packet, to);
        number = number.wrapping_add(1);
        sleep(Duration::from_millis(20));
    }
}

fn push(server: &Server, stream: &str, port: u16) {
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio {port} RTP/AVP 111\r\n\
         c=IN IP4 127.0.0.1\r\na=rtpmap:111 opus/48000/2\r\na=sendonly\r\n"
    );
    let kind = [("content-type", "application/sdp")];
    let path = format!("/v1/streams/{stream}/push?audio_from={port}");
    let pushed = http::request(server.http, "POST", &path, &kind, sdp.as_bytes()).unwrap();
    assert_eq!(pushed.status, 201, "{}", pushed.text());
}

/// What `/v1/node` says of packets that came in by `entry`, on the first worker and on all.
fn told(server: &Server, entry: &str) -> Result<[Value; 2], String> {
    let node = server.get("/v1/node").json();
    let of = |list: &Value| {
        let views = list.as_array().into_iter().flatten();
        let mut named = views.filter(|view| view["entry"] == entry);
        named.next().cloned().ok_or_else(|| format!("{node:#}"))
    };
    Ok([of(&node["counters"][0]["transit"])?, of(&node["transit"])?])
}

fn check(setup: Setup) {
    let (backend, media) = (setup.backend, setup.media);
    let server = Server::start(Setup {
        demo: true,
        ..setup
    });
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    push(&server, "sound", socket.local_addr().unwrap().port());
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, to) = (stop.clone(), server.media);
    let sender = thread::spawn(move || send(&socket, to, &stopped));
    server.wait_live("sound");
    server.wait_live("demo");
    // Nobody watches: nothing is to be sent, so nothing counts.
    let count = "freshet_worker_transit_seconds_count";
    assert!(server.metric(count).abs() < 1.0);
    for (stream, entry) in [("sound", "network"), ("demo", "sidecar")] {
        let mut crowd = Crowd::joined(server.http, stream, 3, PATIENCE);
        let [worker, all] = wait_for("packets to be counted", PATIENCE, || {
            crowd.run(Duration::from_millis(200));
            let told = told(&server, entry)?;
            let packets = told[0]["packets"].as_u64().unwrap();
            (packets >= 100).then_some(told).ok_or(format!("{packets}"))
        });
        println!("{backend} {media}: {entry}: {worker}");
        assert_eq!(worker["p50_us"], all["p50_us"], "there is one worker");
        let of = |name: &str| worker[name].as_u64().unwrap();
        let figures = ["p50_us", "p99_us", "p999_us", "max_us"].map(of);
        assert!(figures.is_sorted() && figures[0] > 0, "{figures:?}");
        assert!(figures[3] < LONGEST_US, "{figures:?}");
        // Once for the worker, whoever watches.
        let served = server.metric("freshet_worker_packet_sent_total");
        assert!(server.metric(count) < served, "of {served}");
        crowd.leave();
    }
    stop.store(true, Relaxed);
    sender.join().unwrap();
    let unknown = server.metric("freshet_worker_transit_unknown_total");
    assert!(unknown.abs() < 1.0, "{unknown} packets without a time");
    server.must_be_unharmed();
}

#[test]
fn times_inside_are_told_over_both_backends_and_ways_to_rest() {
    let _turn = alone();
    for backend in ["mmsg", "uring"] {
        for media in ["idle = \"sleep\"", "idle = \"spin\"\nspin_us = 20000"] {
            check(Setup {
                backend,
                media,
                ..Setup::default()
            });
        }
    }
}
