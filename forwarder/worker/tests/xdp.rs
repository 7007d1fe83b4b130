//! A whole forwarder that transmits by AF_XDP in a network of its own: a viewer beyond a device and
//! one on loopback get the same stream, each by the way that leads there.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use freshet_worker::standalone::{File, Forwarder};
use link::stats::Counter;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Packets of each round of the stream, and rounds that may pass until the way is found.
const ROUND: u16 = 30;
const ROUNDS_MAX: u16 = 100;

fn ip(arguments: &str) {
    let words = arguments.split_whitespace();
    let output = Command::new("ip").args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
}

fn socket(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap();
    let patience = Some(Duration::from_secs(2));
    socket.set_read_timeout(patience).unwrap();
    socket
}

/// A socket at 10.7.0.2:5000 at the other end of a cable from this thread's namespace.
fn beyond() -> UdpSocket {
    let (tell, told) = channel();
    let (go, gone) = channel::<()>();
    let there = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(gettid().as_raw()).unwrap();
        gone.recv().unwrap();
        ip("address add 10.7.0.2/24 dev b0");
        ip("link set b0 up");
        socket("10.7.0.2:5000")
    });
    let tid = told.recv().unwrap();
    ip("link set lo up");
    ip("link add a0 type veth peer name b0");
    ip(&format!("link set b0 netns {tid}"));
    ip("address add 10.7.0.1/24 dev a0");
    ip("link set a0 up");
    go.send(()).unwrap();
    // The namespace lives as long as its socket.
    there.join().unwrap()
}

/// An RTP packet of an H.264 stream, ten a picture, the first a keyframe.
fn rtp(seq: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96 | u8::from(seq % 10 == 9) << 7];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq / 10) * 3000).to_be_bytes());
    packet.extend(7_u32.to_be_bytes());
    packet.push(match seq {
        0 => 0x67,
        1..10 => 0x65,
        _ => 0x41,
    });
    packet.resize(900, seq.to_be_bytes()[1]);
    packet
}

/// The next packets of a viewer that are no reports.
fn watch(viewer: &UdpSocket, packets: u16) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    while got.len() < usize::from(packets) {
        let mut bytes = [0; 2048];
        let (length, _) = match viewer.recv_from(&mut bytes) {
            // A signal, which a receive with a time limit is not begun again after.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            received => received.unwrap(),
        };
        if !(192..224).contains(&bytes[1]) {
            got.push(bytes[..length].to_vec());
        }
    }
    got
}

fn scenario(backend: &str) {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        println!("skipped: a network namespace needs privilege: {error}");
        return;
    }
    let far = beyond();
    let (near, publisher) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
    let mut text = format!(
        "listen = \"0.0.0.0:0\"\nbackend = \"{backend}\"\ntransmit = \"xdp\"\n\
         log_packets = 1024\n[[stream]]\nname = \"demo\"\npublisher = {{ peer = \"{}\", \
         video = {{ ssrc = 7, clock_hz = 90000, codec = \"h264\" }} }}\n",
        publisher.local_addr().unwrap()
    );
    for viewer in [&far, &near] {
        let peer = viewer.local_addr().unwrap();
        text += &format!(
            "[[viewer]]\nstream = \"demo\"\npeer = \"{peer}\"\n\
             video = {{ ssrc = 100, payload_type = 110, clock_hz = 90000 }}\n"
        );
    }
    let mut forwarder = Forwarder::start(File::parse(&text).unwrap()).unwrap();
    if forwarder.describe().contains("by udp") {
        println!("skipped: {}", forwarder.describe());
        return;
    }
    let end = Instant::now() + Duration::from_secs(5);
    while forwarder.count(Counter::ViewerAdded) < 2 {
        assert!(Instant::now() < end, "no viewers");
        forwarder.look().unwrap();
    }
    let to = SocketAddr::from(([127, 0, 0, 1], forwarder.local().port()));
    let mut seq = 0;
    for round in 0.. {
        assert!(
            round < ROUNDS_MAX,
            "never by AF_XDP: {}",
            forwarder.counters()
        );
        let before = forwarder.count(Counter::XdpSent);
        for _ in 0..ROUND {
            publisher.send_to(&rtp(seq), to).unwrap();
            seq += 1;
        }
        // Both have all of it, whichever way it went, and the same.
        let ways = [&far, &near].map(|viewer| watch(viewer, ROUND));
        let same = |a: &[u8], b: &[u8]| a[1] == b[1] && a[8..] == b[8..];
        for (one, other) in ways[0].iter().zip(&ways[1]) {
            assert!(same(one, other), "{one:02x?}\n{other:02x?}");
        }
        let sequence = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        for two in ways[0].windows(2) {
            assert_eq!(sequence(&two[1]), sequence(&two[0]).wrapping_add(1));
        }
        if forwarder.count(Counter::XdpSent) - before == u64::from(ROUND) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    println!("{}", forwarder.counters());
    // The one on loopback cannot be reached over Ethernet.
    assert!(forwarder.count(Counter::XdpPassedRoute) >= u64::from(ROUND));
    assert!(forwarder.count(Counter::XdpCalled) > 0);
    assert_eq!(forwarder.count(Counter::SendError), 0);
    assert_eq!(forwarder.count(Counter::SendDropped), 0);
    forwarder.stop().unwrap();
}

#[test]
fn viewers_beyond_a_device_and_on_loopback_get_the_same() {
    for backend in ["mmsg", "uring"] {
        thread::spawn(move || scenario(backend)).join().unwrap();
    }
}
