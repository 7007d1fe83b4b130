//! Once a port is made, nothing is allocated: not to receive, not to send, not to wait.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod counting;

use freshet_io::uring::Settings;
use freshet_io::wake::Wake;
use freshet_io::{Mmsg, Port, PortConfig, Socket, SocketConfig, Uring, clock};
use std::net::UdpSocket;
use wire::datagram::{NOBODY, RunMeta, RxMeta, RxSink};
use wire::peer::Ip;
use wire::time::Span;

struct Heard(usize);

impl RxSink for Heard {
    fn datagram(&mut self, _: RxMeta, _: &mut [u8]) {
        self.0 += 1;
    }
}

fn socket() -> Socket {
    Socket::bind("127.0.0.1:0".parse().unwrap(), &SocketConfig::default()).unwrap()
}

fn turns(port: &mut impl Port, to: std::net::SocketAddr) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = peer.local_addr().unwrap();
    // An address that no send can reach, too.
    let refused = "255.255.255.255:9".parse().unwrap();
    let mut heard = Heard(0);
    let bytes = [2; 9000];
    counting::begin();
    for _ in 0..100 {
        peer.send_to(&[1; 100], to).unwrap();
        for (to, segments) in [(addr, 9), (addr, 1), (refused, 3)] {
            let run = RunMeta {
                peer: to.into(),
                local: Ip::UNKNOWN,
                segment_bytes: 1000,
                segments,
                bytes: usize::from(segments) * 1000 - 10,
                viewer: NOBODY,
            };
            port.claim(run).unwrap().put(&bytes[..run.bytes], 1000);
            port.commit(run.bytes);
        }
        port.flush(clock::now());
        port.wait(clock::now() + Span::millis(1));
        port.recv(clock::now(), &mut heard);
    }
    let end = clock::now() + Span::secs(2);
    while heard.0 < 100 && clock::now() < end {
        port.wait(clock::now() + Span::millis(1));
        port.recv(clock::now(), &mut heard);
    }
    assert_eq!(counting::end(), 0);
    assert_eq!(heard.0, 100);
}

#[test]
fn mmsg_allocates_nothing() {
    let socket = socket();
    let to = socket.local();
    let wake = Wake::new().unwrap().fd().unwrap();
    turns(
        &mut Mmsg::new(socket, wake, &PortConfig::default()).unwrap(),
        to,
    );
}

#[test]
fn uring_allocates_nothing_whatever_its_settings() {
    for nth in 0..16_u8 {
        let has = |bit: u8| nth & bit != 0;
        let uring = Settings {
            sqpoll_ms: u32::from(has(1)),
            zero_copy: has(2),
            fixed_buffers: has(4),
            napi_us: u32::from(has(8)),
            ..Settings::default()
        };
        let config = PortConfig {
            uring,
            ..PortConfig::default()
        };
        let socket = socket();
        let to = socket.local();
        let wake = Wake::new().unwrap().fd().unwrap();
        match Uring::new(socket, wake, &config) {
            Ok(mut port) => turns(&mut port, to),
            Err(error) => println!("skipped: {error}"),
        }
    }
}
