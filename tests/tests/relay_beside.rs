//! What a publisher sends beside its sound comes to viewers of an edge as to those of the origin.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::Duration;

use freshet_tests::http;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::{Crowd, LEVEL_ID, TIME_ID};
use freshet_tests::wait::alone;
use serde_json::json;
use wire::rtp::Header;
use wire::rtp_ext::Block;

const PATIENCE: Duration = Duration::from_secs(30);

/// Of a packet of sound.
const PACKET: Duration = Duration::from_millis(20);

/// Identifiers under which the publisher sends them.
const OWN_IDS: [u8; 2] = [9, 3];

/// The time of capture of a packet, in units of 2^-32 s since 1900: none has that of another.
fn captured(number: u32) -> u64 {
    0xe8a0_1234_0000_0000 + u64::from(number) * 85_899_346
}

/// Level and voice bit of a packet.
fn level(number: u32) -> u8 {
    (number % 128) as u8 | 0x80
}

/// Sends sound with levels and times of capture until it is told to end.
fn send(socket: &UdpSocket, to: SocketAddr, stop: &AtomicBool) {
    let mut number = 0;
    while !stop.load(Relaxed) {
        let mut block = Block::new();
        block.push(OWN_IDS[0], &[level(number)]);
        block.push(OWN_IDS[1], &captured(number).to_be_bytes());
        let header = Header {
            payload_type: 111,
            sequence: u16::try_from(number & 0xffff).unwrap(),
            timestamp: number.wrapping_mul(960),
            ssrc: 77,
            ..Header::default()
        };
        let mut packet = [0; 128];
        let used = header.write(block.as_bytes(), &mut packet);
        packet[used..used + 4].copy_from_slice(&number.to_be_bytes());
        let _ = socket.send_to(&packet[..used + 40], to);
        number += 1;
        sleep(PACKET);
    }
}

/// What a viewer gets beside each packet, by its number.
fn beside(server: &Server, stream: &str) -> BTreeMap<u32, Vec<(u8, Vec<u8>)>> {
    let mut crowd = Crowd::joined(server.http, stream, 1, PATIENCE);
    crowd.run(Duration::from_secs(3));
    let found = crowd.sessions()[0].beside().iter().map(|one| {
        let number = u32::from_be_bytes(*one.payload.first_chunk().unwrap());
        let mut elements = one.elements.clone();
        elements.sort();
        (number, elements)
    });
    let found = found.collect();
    crowd.leave();
    found
}

fn relay(server: &Server, direction: &str, stream: &str, url: &str) {
    let body = json!({ "direction": direction, "stream": stream, "url": url }).to_string();
    let json = [("content-type", "application/json")];
    let made = http::request(server.http, "POST", "/v1/relays", &json, body.as_bytes());
    assert_eq!(made.unwrap().status, 201);
}

#[test]
fn capture_times_and_levels_are_the_origins() {
    let _turn = alone();
    let (origin, edge) = (
        Server::start(Setup::default()),
        Server::start(Setup::default()),
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let [level_id, time_id] = OWN_IDS;
    let sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio {port} RTP/AVP 111\r\n\
         c=IN IP4 127.0.0.1\r\na=rtpmap:111 opus/48000/2\r\na=sendonly\r\n\
         a=extmap:{level_id} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:{time_id} http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time\r\n"
    );
    let kind = [("content-type", "application/sdp")];
    let path = format!("/v1/streams/sound/push?audio_from={port}");
    let pushed = http::request(origin.http, "POST", &path, &kind, sdp.as_bytes()).unwrap();
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, to) = (stop.clone(), origin.media);
    let sender = thread::spawn(move || send(&socket, to, &stopped));
    origin.wait_live("sound");
    relay(&edge, "pull", "pulled", &origin.url("/whep/sound"));
    relay(&origin, "push", "sound", &edge.url("/whip/pushed"));
    edge.wait_live("pulled");
    edge.wait_live("pushed");

    let all = [
        beside(&origin, "sound"),
        beside(&edge, "pulled"),
        beside(&edge, "pushed"),
    ];
    stop.store(true, Relaxed);
    sender.join().unwrap();
    for (found, what) in all.iter().zip(["origin", "pulled", "pushed"]) {
        println!("{what}: {} packets with elements", found.len());
        assert!(found.len() > 100, "{what}: {}", found.len());
        for (number, elements) in found {
            let expected = [
                (LEVEL_ID, vec![level(*number)]),
                (TIME_ID, captured(*number).to_be_bytes().to_vec()),
            ];
            assert_eq!(elements[..], expected, "{what}, packet {number}");
        }
    }
    origin.must_be_unharmed();
    edge.must_be_unharmed();
}
