//! Whole workers over loopback: a publisher's packets go in, viewers' packets come out.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use freshet_worker::standalone::{File, Forwarder};
use freshet_worker::{Cipher, Config, Error, Idle, LoadLimit, Pin, spawn};
use io::probe::{Backend, Probe, choose};
use io::uring::Settings;
use io::{PortConfig, Socket, SocketConfig};
use link::Region;
use link::ids::CoreId;
use link::limits::Limits;
use link::stats::Counter;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

fn limits(cores: u16) -> Limits {
    Limits {
        cores,
        streams_max: 2,
        viewers_max: 64,
        log_packets: 1024,
        ..Limits::default()
    }
}

/// A backend, and how `io_uring` is used if it is that.
type Way = (Backend, Settings);

const PLAIN: Way = (Backend::Mmsg, Settings::DEFAULT);

fn config(region: &Region, (backend, uring): Way, idle: Idle) -> Config {
    let cores = usize::from(region.limits().cores);
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    Config {
        region: region.clone(),
        sockets: Socket::bind_all(any, cores, &SocketConfig::default()).unwrap(),
        backend,
        xdp: None,
        cipher: match backend {
            Backend::Mmsg => Cipher::Ring,
            Backend::Uring => Cipher::best(),
        },
        port: PortConfig {
            uring,
            ..PortConfig::default()
        },
        idle,
        pin: Pin::Off,
        load_limit: LoadLimit::new(0.0),
    }
}

/// Both backends, `uring` with all of its settings, or one with a printed reason.
fn backends() -> Vec<Way> {
    let probe = Probe::run();
    let choice = choose(&probe, Some(Backend::Uring));
    if choice.backend == Backend::Mmsg {
        println!("skipped: uring: {}", choice.why);
        return vec![PLAIN];
    }
    let both = Settings {
        zero_copy: true,
        napi_us: 20,
        ..Settings::DEFAULT
    };
    let one = |setting| (Backend::Uring, setting);
    let zero_copy = Settings { napi_us: 0, ..both };
    let napi = Settings {
        zero_copy: false,
        ..both
    };
    let mut ways = vec![PLAIN, one(Settings::DEFAULT)];
    if probe.fixed_buffers.is_ok() && probe.napi.is_ok() {
        ways.extend([zero_copy, napi, both].map(one));
    } else {
        println!("skipped: settings of uring: {probe}");
    }
    ways
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket
}

/// The next datagram. The end of a ring interrupts the thread that made it, some time later, and a
/// receive with a time limit is not begun again by the kernel.
fn hear(socket: &UdpSocket, bytes: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            heard => return heard,
        }
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(3);
    while !done() {
        assert!(Instant::now() < end, "{what}: not within 3 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The first byte of a DTLS handshake record: control's business.
const DTLS: [u8; 20] = [
    22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0, 0, 0, 0, 0, 0,
];

#[test]
fn handshakes_reach_control_and_answers_their_peer() {
    for backend in backends() {
        for idle in [Idle::Sleep, Idle::Spin(wire::time::Span::millis(1))] {
            let region = Region::create(&limits(1)).unwrap();
            let config = config(&region, backend, idle);
            let to = config.sockets[0].local();
            let workers = spawn(config).unwrap();
            let mut inward = region.punts_in_consumer(CoreId(0)).unwrap();
            let mut outward = region.punts_out_producer(CoreId(0)).unwrap();
            let client = client();
            for round in 0..20_u8 {
                // Long enough for the worker to fall asleep in between.
                std::thread::sleep(Duration::from_millis(u64::from(round % 4)));
                client.send_to(&DTLS, to).unwrap();
                let mut answered = false;
                until("a punt", || {
                    inward
                        .pop(|punt| {
                            assert_eq!(punt.bytes, DTLS);
                            let bytes = [round; 9];
                            outward
                                .push(punt.core, punt.peer, punt.local, &bytes)
                                .unwrap();
                            answered = true;
                        })
                        .is_some()
                });
                region.waker(CoreId(0)).unwrap().wake();
                let begin = Instant::now();
                let mut bytes = [0; 64];
                let (n, from) = hear(&client, &mut bytes).unwrap();
                assert_eq!((&bytes[..n], from), (&[round; 9][..], to));
                assert!(
                    begin.elapsed() < Duration::from_millis(90),
                    "woken, not timed out"
                );
            }
            let stats = region.stats(CoreId(0)).unwrap();
            assert_eq!(stats.read(Counter::DatagramReceived), 20);
            assert_eq!(stats.read(Counter::PuntReceived), 20);
            workers.stop();
            workers.join().unwrap();
        }
    }
}

#[test]
fn an_idle_worker_sleeps_and_stops_at_once() {
    for backend in backends() {
        let region = Region::create(&limits(2)).unwrap();
        let workers = spawn(config(&region, backend, Idle::Sleep)).unwrap();
        let turns = || region.stats(CoreId(1)).unwrap().read(Counter::Turn);
        std::thread::sleep(Duration::from_millis(50));
        let before = turns();
        std::thread::sleep(Duration::from_millis(500));
        let turned = turns() - before;
        assert!(
            (2..=20).contains(&turned),
            "{turned} turns in half a second"
        );
        assert_eq!(workers.dead(), None);
        let begin = Instant::now();
        workers.stop();
        workers.join().unwrap();
        assert!(
            begin.elapsed() < Duration::from_millis(80),
            "{:?}",
            begin.elapsed()
        );
    }
}

#[test]
fn ends_and_sockets_must_be_had() {
    let region = Region::create(&limits(2)).unwrap();
    let _taken = region.commands_consumer(CoreId(1)).unwrap();
    let refused = spawn(config(&region, PLAIN, Idle::Sleep));
    assert!(matches!(refused, Err(Error::Link { core: 1, .. })));
    let mut config = config(&region, PLAIN, Idle::Sleep);
    config.sockets.pop();
    let refused = spawn(config);
    assert!(matches!(
        refused,
        Err(Error::Sockets {
            sockets: 1,
            cores: 2
        })
    ));
}

/// One RTP packet of an H.264 stream with a single NAL unit.
fn rtp(seq: u16, timestamp: u32, last: bool, nal: u8, n: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 96 | u8::from(last) << 7];
    packet.extend(seq.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(7_u32.to_be_bytes());
    packet.push(nal);
    packet.resize(12 + n, seq.to_be_bytes()[1]);
    packet
}

/// The flows of one publisher and its viewers; viewer n wants SSRC 100 + n, type 110 + n.
fn flows(backend: Backend, publisher: &UdpSocket, viewers: &[UdpSocket]) -> String {
    let mut text = format!(
        "listen = \"127.0.0.1:0\"\nlog_packets = 1024\nbackend = \"{backend}\"\n\
         [[stream]]\nname = \"demo\"\npublisher = {{ peer = \"{}\", \
         video = {{ ssrc = 7, clock_hz = 90000, codec = \"h264\" }} }}\n",
        publisher.local_addr().unwrap()
    );
    for (n, viewer) in viewers.iter().enumerate() {
        text += &format!(
            "[[viewer]]\nstream = \"demo\"\npeer = \"{}\"\nlocal = \"127.0.0.1\"\n\
             video = {{ ssrc = {}, payload_type = {}, clock_hz = 90000 }}\n",
            viewer.local_addr().unwrap(),
            100 + n,
            110 + n,
        );
    }
    text
}

/// Four frames of ten packets from viewer `n`'s socket, as `publish` made them.
fn watch(n: u8, viewer: &UdpSocket, server: SocketAddr) {
    let mut last: Option<u16> = None;
    let mut media: u16 = 0;
    while media < 40 {
        let mut bytes = [0; 2048];
        let Ok((length, from)) = hear(viewer, &mut bytes) else {
            panic!("viewer {n}: silence after {media} packets");
        };
        assert_eq!(from, server);
        let packet = &bytes[..length];
        if (192..224).contains(&packet[1]) {
            continue; // RTCP
        }
        assert_eq!(packet[1] & 0x7f, 110 + n);
        assert_eq!(packet[8..12], [0, 0, 0, 100 + n]);
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        assert!(
            last.is_none_or(|last| seq == last.wrapping_add(1)),
            "continuous"
        );
        last = Some(seq);
        let is_last = media % 10 == 9;
        // All but the last of a frame carry a byte of padding, which says so.
        let padding = packet[length - 1] * u8::from(packet[0] & 0x20 != 0);
        assert_eq!(padding, u8::from(!is_last));
        let packet = &packet[..length - usize::from(padding)];
        assert_eq!(packet.len(), 12 + if is_last { 500 } else { 1100 });
        assert_eq!(packet[1] >> 7 == 1, is_last);
        let fill = (4000 + media).to_be_bytes()[1];
        assert!(packet[13..].iter().all(|byte| *byte == fill));
        media += 1;
    }
}

fn publish(publisher: &UdpSocket, to: SocketAddr) {
    let mut seq = 4000;
    for frame in 0..4 {
        for part in 0..10 {
            let n = if part == 9 { 500 } else { 1100 };
            // A keyframe begins with its parameter sets.
            let nal = match (frame, part) {
                (0, 0) => 0x67,
                (0, _) => 0x65,
                _ => 0x41,
            };
            let packet = rtp(seq, frame * 3000, part == 9, nal, n);
            publisher.send_to(&packet, to).unwrap();
            seq += 1;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_static_publisher_is_forwarded_to_every_viewer() {
    // A file of flows has no settings of `uring`.
    let plain = |way: &Way| way.1 == Settings::DEFAULT;
    for (backend, _) in backends().into_iter().filter(plain) {
        let publisher = client();
        let viewers = [client(), client(), client()];
        let file = File::parse(&flows(backend, &publisher, &viewers)).unwrap();
        let mut forwarder = Forwarder::start(file).unwrap();
        until("three viewers", || {
            forwarder.look().unwrap();
            forwarder.count(Counter::ViewerAdded) == 3
        });
        publish(&publisher, forwarder.local());
        println!("{}", forwarder.counters());
        for (n, viewer) in (0..).zip(&viewers) {
            watch(n, viewer, forwarder.local());
        }
        assert_eq!(forwarder.count(Counter::PacketIngested), 40);
        assert_eq!(forwarder.count(Counter::PacketSent), 120);
        let runs = forwarder.count(Counter::RunSent);
        assert!(runs < 120, "{runs} runs: bursts are sent as one");
        assert_eq!(forwarder.count(Counter::SendError), 0);
        forwarder.stop().unwrap();
    }
}
