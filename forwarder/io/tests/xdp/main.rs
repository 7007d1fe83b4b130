//! Sending by AF_XDP between network namespaces, to ordinary UDP sockets: the packets are those of
//! the socket, and viewers come and go between both as routes, neighbours and devices change.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "../counting/mod.rs"]
mod counting;
mod net;
mod program;

use freshet_io::port::XdpReport;
use freshet_io::route::{Router, XdpConfig};
use freshet_io::wake::Wake;
use freshet_io::{Mmsg, Port, PortConfig, Socket, SocketConfig, Xdp, clock};
use net::{ip, listen, scenario, try_ip};
use program::Mode;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use wire::datagram::{Egress, NOBODY, RunMeta, RxMeta, RxSink};
use wire::peer::Ip;

/// Long enough for a lane to be opened, closed and opened again on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(10);

const VIEWERS: u32 = 16;

struct Deaf;

impl RxSink for Deaf {
    fn datagram(&mut self, _: RxMeta, _: &mut [u8]) {}
}

/// The ports of workers, and what the first has reported.
struct Rig {
    ports: Vec<Xdp<Mmsg>>,
    _router: Router,
    addr: SocketAddr,
    dropped: u32,
}

/// What the routers have noted.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(text: &str) {
    println!("{text}");
    NOTES.lock().unwrap().push(text.to_owned());
}

/// A run in datagrams of 1,000 bytes.
fn meta(viewer: u32, to: SocketAddr, run: &[u8]) -> RunMeta {
    RunMeta {
        peer: to.into(),
        local: Ip::UNKNOWN,
        segment_bytes: 1000,
        segments: u8::try_from(run.len().div_ceil(1000)).unwrap(),
        bytes: run.len(),
        viewer,
    }
}

impl Rig {
    /// `None`, with a printed reason, where AF_XDP cannot be had.
    fn new(cores: usize) -> Option<Self> {
        let any = "[::]:0".parse().unwrap();
        let sockets = Socket::bind_all(any, cores, &SocketConfig::default()).unwrap();
        let config = XdpConfig {
            checksum: true,
            note,
        };
        let (router, ends) = match Router::start(&sockets, config) {
            Ok(started) => started,
            Err(error) => {
                println!("skipped: {error}");
                return None;
            }
        };
        let addr = sockets[0].local();
        let port = |(socket, end)| {
            let wake = Wake::new().unwrap().fd().unwrap();
            let under = Mmsg::new(socket, wake, &PortConfig::default()).unwrap();
            Xdp::new(under, end, VIEWERS)
        };
        Some(Self {
            ports: sockets.into_iter().zip(ends).map(port).collect(),
            _router: router,
            addr,
            dropped: 0,
        })
    }

    /// A turn: sends a run of a worker's viewer, [`NOBODY`]'s by the socket. What was done by
    /// AF_XDP and instead of it.
    fn turn(&mut self, core: usize, viewer: u32, to: SocketAddr, run: &[u8]) -> XdpReport {
        let port = &mut self.ports[core];
        port.recv(clock::now(), &mut Deaf);
        if let Some(mut slot) = port.claim(meta(viewer, to, run)) {
            slot.put(run, 1000);
            port.commit(run.len());
        }
        let report = port.flush(clock::now());
        self.dropped += report.dropped;
        report.xdp
    }

    /// Sends to a viewer until a run of its has left as `wanted`; gives that report.
    fn until(
        &mut self,
        (core, viewer): (usize, u32),
        to: SocketAddr,
        what: &str,
        wanted: fn(&XdpReport) -> bool,
    ) -> XdpReport {
        let begin = Instant::now();
        let mut last = XdpReport::default();
        while begin.elapsed() < PATIENCE {
            last = self.turn(core, viewer, to, b"probe");
            if wanted(&last) {
                return last;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("not {what}: {last:?}");
    }

    /// A turn in which these runs of viewers are parked before any of them is complete; and one
    /// leaves at once.
    fn turn_parked(&mut self, runs: &[(u32, SocketAddr, Vec<u8>)]) -> XdpReport {
        let port = &mut self.ports[0];
        port.recv(clock::now(), &mut Deaf);
        let mut parked = Vec::new();
        for (viewer, to, run) in runs {
            let mut slot = port.claim(meta(*viewer, *to, run)).unwrap();
            let from = slot.place().start;
            slot.put(run, 1000);
            slot.memory()[from] ^= 0xff;
            parked.push((port.park(run.len()).unwrap(), from));
        }
        let (viewer, to, _) = runs[0];
        let mut slot = port.claim(meta(viewer, to, b"probe")).unwrap();
        slot.put(b"probe", 1000);
        port.commit(5);
        for (run, from) in parked {
            port.parked_mut(run)[from] ^= 0xff;
        }
        port.commit_parked();
        let report = port.flush(clock::now());
        self.dropped += report.dropped;
        report.xdp
    }

    fn until_xdp(&mut self, viewer: u32, to: SocketAddr) {
        self.until((0, viewer), to, "by AF_XDP", by_xdp);
    }
}

fn by_xdp(report: &XdpReport) -> bool {
    report.datagrams > 0
}

fn run(bytes: usize, mark: u8) -> Vec<u8> {
    (0..bytes)
        .map(|at| u8::try_from(at * 7 % 251).unwrap() ^ mark)
        .collect()
}

/// The next datagram that is no probe.
fn read(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 2048];
    loop {
        let (length, from) = match socket.recv_from(&mut bytes) {
            // A signal, which a receive with a time limit is not begun again after.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            received => received.unwrap(),
        };
        if &bytes[..length] != b"probe" {
            return (bytes[..length].to_vec(), from);
        }
    }
}

/// Runs by the socket and by AF_XDP arrive alike: the same datagrams, in order, from the same
/// address, with checksums that the receiver's kernel has found right.
fn both_ways(rig: &mut Rig, viewer: u32, peer: &UdpSocket) {
    let to = peer.local_addr().unwrap();
    rig.until_xdp(viewer, to);
    for (mark, bytes) in (1..).zip([1, 5, 1000, 1001, 2999, 15_500]) {
        let sent = run(bytes, mark);
        let ways = [NOBODY, viewer].map(|viewer| {
            let report = rig.turn(0, viewer, to, &sent);
            let wanted = if viewer == NOBODY {
                0
            } else {
                bytes.div_ceil(1000)
            };
            assert_eq!(report.datagrams as usize, wanted, "{report:?}");
            sent.chunks(1000).map(|_| read(peer)).collect::<Vec<_>>()
        });
        let got: Vec<&[u8]> = ways[0].iter().map(|(bytes, _)| &bytes[..]).collect();
        assert_eq!(got, sent.chunks(1000).collect::<Vec<_>>());
        assert_eq!(ways[0], ways[1]);
        assert_eq!(ways[0][0].1.port(), rig.addr.port());
    }
}

#[test]
fn packets_are_those_of_the_socket_in_both_families() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let v4 = other.socket("10.7.0.2:5000");
        let v6 = other.socket("[fd00:7::2]:5000");
        let Some(mut rig) = Rig::new(1) else { return };
        both_ways(&mut rig, 0, &v4);
        both_ways(&mut rig, 1, &v6);
        assert_eq!(rig.dropped, 0);
    });
}

#[test]
fn parked_runs_have_the_checksums_of_what_was_written_last() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let peers = ["10.7.0.2:5000", "[fd00:7::2]:5000", "10.7.0.2:5001"];
        let peers = peers.map(|addr| other.socket(addr));
        let Some(mut rig) = Rig::new(1) else { return };
        let to = peers.each_ref().map(|peer| peer.local_addr().unwrap());
        rig.until_xdp(0, to[0]);
        rig.until_xdp(1, to[1]);
        for turn in 0..3 {
            // By a lane, by the socket, by lanes again.
            let runs = [
                (0, to[0], run(999, turn)),
                (1, to[1], run(4000, turn)),
                (NOBODY, to[2], run(1500, turn)),
                (0, to[0], run(2001, turn)),
                (1, to[1], run(1, turn)),
            ];
            let report = rig.turn_parked(&runs);
            assert_eq!(report.datagrams, 1 + 4 + 3 + 1 + 1);
            for (to, peer) in to.iter().zip(&peers) {
                let runs = runs.iter().filter(|(_, at, _)| at == to);
                for datagram in runs.flat_map(|(_, _, run)| run.chunks(1000)) {
                    assert_eq!(read(peer).0, datagram);
                }
            }
        }
        assert_eq!(rig.dropped, 0);
    });
}

#[test]
fn nothing_is_allocated_by_a_port_with_lanes() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let first = other.socket("10.7.0.2:5000").local_addr().unwrap();
        let then = other.socket("10.7.0.2:5001").local_addr().unwrap();
        let Some(mut rig) = Rig::new(1) else { return };
        rig.until_xdp(0, first);
        let sent = run(9000, 1);
        let mut done = [0; 2];
        counting::begin();
        for turn in 0..200 {
            // The viewer moves: it is asked for anew, and leaves by the socket meanwhile.
            let to = if turn < 100 { first } else { then };
            let report = rig.turn(0, 0, to, &sent);
            done[usize::from(report.datagrams == 9)] += 1;
            // To nobody, too: by the socket.
            rig.turn(0, NOBODY, to, &sent);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(counting::end(), 0);
        assert!(done[0] > 0 && done[1] > 100, "{done:?}");
    });
}

#[test]
fn a_program_at_the_receiver_sees_ordinary_frames() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let v4 = other.socket("10.7.0.2:5000");
        let v6 = other.socket("[fd00:7::2]:5000");
        let Some(mut rig) = Rig::new(1) else { return };
        for mode in [Mode::Native, Mode::Generic] {
            let attached = other.run(move || program::pass("b0", mode));
            let _attached = match attached {
                Ok(attached) => attached,
                Err(error) => {
                    println!("skipped {mode:?}: {error}");
                    continue;
                }
            };
            both_ways(&mut rig, 0, &v4);
            both_ways(&mut rig, 1, &v6);
        }
    });
}

#[test]
fn a_vlan_is_tagged_by_us() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        if let Err(said) = try_ip("link add link a0 name a0.5 type vlan id 5") {
            println!("skipped: this kernel has no VLANs: {said}");
            return;
        }
        ip("address add 10.8.0.1/24 dev a0.5");
        ip("link set a0.5 up");
        other.ip("link add link b0 name b0.5 type vlan id 5");
        other.ip("address add 10.8.0.2/24 dev b0.5");
        other.ip("link set b0.5 up");
        let peer = other.socket("10.8.0.2:5000");
        let Some(mut rig) = Rig::new(1) else { return };
        both_ways(&mut rig, 0, &peer);
    });
}

#[test]
fn a_link_that_goes_and_comes_takes_its_viewers_along() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let peer = other.socket("10.7.0.2:5000");
        let to = peer.local_addr().unwrap();
        let Some(mut rig) = Rig::new(1) else { return };
        rig.until_xdp(0, to);
        for _ in 0..2 {
            other.ip("link set b0 down");
            rig.until((0, 0), to, "by the socket", |report| report.device > 0);
            other.ip("link set b0 up");
            rig.until_xdp(0, to);
            both_ways(&mut rig, 0, &peer);
        }
        // Gone for good, and with it the route.
        ip("link delete a0");
        rig.until((0, 0), to, "without a route", |report| report.route > 0);
        // Another of the same name.
        other.cable("a0", "b0", 7);
        let peer = other.socket("10.7.0.2:5001");
        both_ways(&mut rig, 0, &peer);
    });
}

#[test]
fn neighbours_and_addresses_are_followed() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let peer = listen(other.socket("10.7.0.2:5000"));
        let to = "10.7.0.2:5000".parse().unwrap();
        let Some(mut rig) = Rig::new(1) else { return };
        rig.until_xdp(0, to);
        let arrives = |rig: &mut Rig, text: &[u8]| {
            let begin = Instant::now();
            while begin.elapsed() < PATIENCE {
                rig.turn(0, 0, to, text);
                while let Ok((bytes, _)) = peer.recv_timeout(Duration::from_millis(2)) {
                    if bytes == text {
                        return;
                    }
                }
            }
            panic!("{} never came", String::from_utf8_lossy(text));
        };
        // The peer has another card, and says so.
        other.ip("link set b0 address 02:00:00:00:07:02");
        ip("neighbour replace 10.7.0.2 lladdr 02:00:00:00:07:02 dev a0 nud reachable");
        arrives(&mut rig, b"another card there");
        rig.until_xdp(0, to);
        // So have we.
        ip("link set a0 address 02:00:00:00:07:01");
        arrives(&mut rig, b"another card here");
        rig.until_xdp(0, to);
        // It is not to be found: the kernel looks for it while we send to it by the socket.
        ip("neighbour replace 10.7.0.2 dev a0 nud failed");
        arrives(&mut rig, b"lost and found");
        rig.until_xdp(0, to);
        // Our address is another, and so is that of the sender.
        ip("address add 10.7.0.9/24 dev a0");
        ip("address delete 10.7.0.1/24 dev a0");
        ip("address replace 10.7.0.9/24 dev a0");
        rig.until_xdp(0, to);
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "still from the old address");
            let report = rig.turn(0, 0, to, b"moved");
            let got = peer.recv_timeout(PATIENCE).unwrap();
            let moved =
                got.1.ip().to_canonical() == "10.7.0.9".parse::<std::net::IpAddr>().unwrap();
            if report.datagrams > 0 && got.0 == b"moved" && moved {
                break;
            }
        }
    });
}

#[test]
fn a_route_to_another_device_takes_its_viewers_there() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        other.cable("a1", "b1", 8);
        other.ip("address add 10.9.0.1/32 dev lo");
        ip("route add 10.9.0.1/32 via 10.7.0.2 src 10.7.0.1");
        let peer = other.socket("10.9.0.1:5000");
        let near = other.socket("10.8.0.2:5000");
        let Some(mut rig) = Rig::new(1) else { return };
        both_ways(&mut rig, 0, &peer);
        // A second device, over the same frames.
        both_ways(&mut rig, 1, &near);
        ip("route replace 10.9.0.1/32 via 10.8.0.2 src 10.8.0.1");
        let to = peer.local_addr().unwrap();
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "still the old way");
            let report = rig.turn(0, 0, to, b"moved");
            let from = read(&peer).1.ip();
            if report.datagrams > 0 && from == "10.8.0.1".parse::<std::net::IpAddr>().unwrap() {
                break;
            }
        }
        both_ways(&mut rig, 0, &peer);
        // The first device goes, the second stays.
        ip("link delete a0");
        std::thread::sleep(Duration::from_millis(100));
        both_ways(&mut rig, 0, &peer);
        both_ways(&mut rig, 1, &near);
    });
}

#[test]
fn what_is_not_ethernet_leaves_by_the_socket() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let here = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = here.local_addr().unwrap();
        let Some(mut rig) = Rig::new(1) else { return };
        rig.until((0, 0), to, "by loopback", |report| report.route > 0);
        let own = "10.7.0.1:9".parse().unwrap();
        rig.until((0, 1), own, "to ourselves", |report| report.route > 0);
        let far = "203.0.113.1:9".parse().unwrap();
        rig.until((0, 2), far, "without a route", |report| report.route > 0);
        // Nobody is there.
        let absent = "10.7.0.77:9".parse().unwrap();
        rig.until((0, 3), absent, "absent", |report| report.neighbour > 0);
        // Longer than the device carries.
        ip("link set a0 mtu 1300");
        let peer = other.socket("10.7.0.2:5000");
        rig.until_xdp(4, peer.local_addr().unwrap());
        ip("link set a0 mtu 1000");
        let to = peer.local_addr().unwrap();
        let begin = Instant::now();
        while rig.turn(0, 4, to, &run(1000, 0)).size == 0 {
            assert!(begin.elapsed() < PATIENCE, "never too long");
            std::thread::sleep(Duration::from_millis(2));
        }
        // It did arrive: a short one goes, and is not touched by it.
        rig.until_xdp(4, to);
    });
}

#[test]
fn a_device_with_one_queue_serves_one_worker() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let peer = other.socket("10.7.0.2:5000");
        let to = peer.local_addr().unwrap();
        let Some(mut rig) = Rig::new(2) else { return };
        rig.until_xdp(0, to);
        rig.until((1, 1), to, "without a queue", |report| report.device > 0);
        let notes = NOTES.lock().unwrap();
        let said = notes.iter().any(|note| note.contains("fewer queues"));
        assert!(said, "{notes:?}");
    });
}

#[test]
fn a_flood_arrives_in_order_and_whole() {
    scenario(|other| {
        other.cable("a0", "b0", 7);
        let peer = other.socket("10.7.0.2:5000");
        let to = peer.local_addr().unwrap();
        let Some(mut rig) = Rig::new(1) else { return };
        rig.until_xdp(0, to);
        let reader = std::thread::spawn(move || {
            (0..20_000_u32)
                .map(|_| u32::from_be_bytes(read(&peer).0[..4].try_into().unwrap()))
                .collect::<Vec<_>>()
        });
        let mut sent = 0_u32;
        while sent < 20_000 {
            let mut bytes = Vec::new();
            for number in sent..sent + 50 {
                bytes.extend(number.to_be_bytes());
                bytes.resize(bytes.len() + 996, 1);
            }
            let report = rig.turn(0, 0, to, &bytes);
            assert_eq!(report.datagrams + 50 * report.full, 50, "{report:?}");
            sent += report.datagrams;
            if sent.is_multiple_of(5000) {
                // A receiver's buffer has its end too.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let got = reader.join().unwrap();
        assert_eq!(got, (0..20_000).collect::<Vec<_>>());
        assert_eq!(rig.dropped, 0);
    });
}
