//! What the simulated network promises: times, faults from a seed, ports that share an address.

use super::*;
use crate::port::Port;
use wire::datagram::{Egress, NOBODY, RunMeta, RxMeta, RxSink};
use wire::time::Span;

#[derive(Default)]
struct Got(Vec<(RxMeta, Vec<u8>)>);

impl RxSink for Got {
    fn datagram(&mut self, meta: RxMeta, bytes: &mut [u8]) {
        self.0.push((meta, bytes.to_vec()));
    }
}

fn at(ms: u64) -> Time {
    Time::ZERO + Span::millis(ms)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn queue(port: &mut SimPort, to: SocketAddr, segment: u16, bytes: &[u8]) -> bool {
    let run = RunMeta {
        peer: to.into(),
        local: Ip::UNKNOWN,
        segment_bytes: segment,
        segments: u8::try_from(bytes.len().div_ceil(usize::from(segment))).unwrap(),
        bytes: bytes.len(),
        viewer: NOBODY,
    };
    let Some(mut slot) = port.claim(run) else {
        return false;
    };
    slot.put(bytes, usize::from(segment));
    port.commit(bytes.len());
    true
}

#[test]
fn a_run_travels_as_datagrams_and_takes_its_time() {
    let link = Link {
        latency: Span::millis(10),
        ..Link::default()
    };
    let net = SimNet::new(1, link);
    let mut port = net.port(addr("10.0.0.1:8000"), &PortConfig::default());
    let peer = net.peer(addr("10.0.0.9:5"));
    peer.send(at(0), addr("10.0.0.1:8000"), b"hello");
    let mut got = Got::default();
    assert_eq!(port.recv(at(9), &mut got), 0);
    port.wait(at(50));
    assert_eq!(
        (port.asleep(), net.next_arrival()),
        (Some(at(50)), Some(at(10)))
    );
    assert_eq!(port.recv(at(10), &mut got), 1);
    assert_eq!(got.0[0].0.peer, peer.addr().into());
    assert_eq!(got.0[0].0.local, addr("10.0.0.1:8000").ip().into());
    assert!(queue(&mut port, peer.addr(), 100, &[7; 250]));
    assert_eq!(port.flush(at(10)).datagrams, 3);
    assert!(peer.recv(at(19)).is_none());
    let sizes: Vec<_> = core::iter::from_fn(|| peer.recv(at(20)))
        .map(|(_, b)| b.len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let run = |seed: u64| {
        let link = Link {
            latency: Span::millis(5),
            jitter: Span::millis(5),
            loss_ppm: 100_000,
            duplicate_ppm: 50_000,
            ..Link::default()
        };
        let net = SimNet::new(seed, link);
        let (from, to) = (net.peer(addr("[fd00::1]:1")), net.peer(addr("[fd00::2]:2")));
        for n in 0..=255 {
            from.send(at(n), to.addr(), &[u8::try_from(n).unwrap()]);
        }
        let heard: Vec<u8> = core::iter::from_fn(|| to.recv(at(999)))
            .map(|(_, b)| b[0])
            .collect();
        (heard, net.counts())
    };
    let (heard, counts) = run(77);
    assert_eq!(run(77), (heard.clone(), counts));
    assert_ne!(run(78).0, heard);
    assert!((10..=45).contains(&counts.lost), "{counts:?}");
    assert!(counts.duplicated > 0 && !heard.is_sorted(), "{counts:?}");
    assert_eq!(heard.len() as u64, 256 - counts.lost + counts.duplicated);
}

#[test]
fn a_damaged_datagram_differs_by_one_bit() {
    let link = Link {
        corrupt_ppm: 500_000,
        ..Link::default()
    };
    let net = SimNet::new(5, link);
    let (from, to) = (net.peer(addr("[fd00::1]:1")), net.peer(addr("[fd00::2]:2")));
    for _ in 0..200 {
        from.send(at(0), to.addr(), &[0; 1000]);
    }
    let flipped = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
    let heard: Vec<u32> = core::iter::from_fn(|| to.recv(at(0)))
        .map(|(_, bytes)| flipped(&bytes))
        .collect();
    assert!(heard.len() == 200 && heard.iter().all(|bits| *bits <= 1));
    let damaged: u32 = heard.iter().sum();
    assert_eq!(u64::from(damaged), net.counts().corrupted);
    assert!((60..=140).contains(&damaged), "{damaged}");
}

#[test]
fn ports_of_one_address_share_its_peers_by_hash() {
    let net = SimNet::new(3, Link::default());
    let mut ports: Vec<_> = (0..3)
        .map(|_| net.port(addr("0.0.0.0:8000"), &PortConfig::default()))
        .collect();
    let mut homes = [0; 3];
    for n in 0..60 {
        let peer = net.peer(addr(&format!("10.0.1.{n}:9")));
        for _ in 0..2 {
            peer.send(at(1), addr("10.0.0.1:8000"), b"x");
        }
        let got: Vec<_> = ports
            .iter_mut()
            .map(|p| p.recv(at(1), &mut Got::default()))
            .collect();
        let home = got.iter().position(|n| *n == 2);
        homes[home.expect("both go to the same port")] += 1;
    }
    assert!(homes.iter().all(|n| *n > 5), "{homes:?}");
}

#[test]
fn faults_of_a_device_can_be_had() {
    let net = SimNet::new(4, Link::default());
    let config = PortConfig {
        runs_max: 4,
        ..PortConfig::default()
    };
    let mut port = net.port(addr("10.0.0.1:8000"), &config);
    let mut peer = net.peer(addr("10.0.0.2:1"));
    port.throttle(1);
    for _ in 0..4 {
        assert!(queue(&mut port, peer.addr(), 10, &[1; 20]));
    }
    assert!(!queue(&mut port, peer.addr(), 10, &[1; 20]), "full");
    assert_eq!(port.flush(at(0)).runs, 1);
    port.refuse_segments();
    assert_eq!(
        (port.segments_max(), port.flush(at(0)).unsegmented),
        (64, 1)
    );
    assert_eq!(port.segments_max(), 1);
    net.set_link_of(
        peer.addr().ip().into(),
        Link {
            mtu: 37,
            ..Link::default()
        },
    );
    port.flush(at(0));
    assert_eq!(net.counts().too_long, 2);
    let before = peer.addr();
    peer.rebind(addr("10.0.0.2:2"));
    net.set_link_of(before.ip().into(), Link::default());
    port.flush(at(0));
    assert!(peer.recv(at(0)).is_none());
    assert_eq!(net.counts().unbound, 2 + 4);
}

#[test]
fn what_comes_between_two_ports_of_a_socket_waits() {
    let net = SimNet::new(5, Link::default());
    let socket = net.socket(addr("10.0.0.9:9"));
    let peer = net.peer(addr("10.0.0.1:1"));
    drop(socket.port(&PortConfig::default()));
    peer.send(at(1), addr("10.0.0.9:9"), b"waits");
    assert_eq!(socket.waiting(at(1)), 1);
    let mut got = Got::default();
    let mut next = socket.port(&PortConfig::default());
    assert_eq!(next.recv(at(2), &mut got), 1);
    assert_eq!(got.0[0].1, b"waits");
    drop((socket, next));
    peer.send(at(3), addr("10.0.0.9:9"), b"late");
    net.lock().deliver(at(3));
    assert_eq!(net.counts().unbound, 1);
}

#[test]
fn a_capture_holds_what_was_sent() {
    let path = std::env::temp_dir().join(format!("freshet-sim-{}.pcap", std::process::id()));
    let net = SimNet::new(5, Link::default());
    net.capture(&path).unwrap();
    let (a, b) = (net.peer(addr("10.0.0.1:1")), net.peer(addr("[fd00::2]:2")));
    a.send(at(1), addr("10.0.0.3:3"), b"four");
    b.send(at(2), addr("[fd00::3]:3"), b"six");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(bytes.len(), 24 + 16 + 20 + 8 + 4 + 16 + 40 + 8 + 3);
    assert!(bytes.ends_with(b"six"));
}
