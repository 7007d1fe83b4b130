//! What every kernel backend must do. Scenarios take the port's type.

use core::ops::Range;
use freshet_io::uring::Settings;
use freshet_io::wake::Wake;
use freshet_io::{Error, FlushReport, Mmsg, Port, PortConfig, Socket, SocketConfig, Uring, clock};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::thread;
use std::time::Duration;
use wire::datagram::{Egress, NOBODY, RunMeta, RxMeta, RxSink};
use wire::peer::{Ip, Peer};
use wire::time::{Span, Time};

/// A backend that can be made, or says why not.
pub trait Made {
    type Port: Port;
    fn make(socket: Socket, wake: OwnedFd, config: &PortConfig) -> Result<Self::Port, Error>;
    fn socket(port: &Self::Port) -> &Socket;
}

impl Made for Mmsg {
    type Port = Self;
    fn make(socket: Socket, wake: OwnedFd, config: &PortConfig) -> Result<Self, Error> {
        Self::new(socket, wake, config)
    }
    fn socket(port: &Self) -> &Socket {
        port.socket()
    }
}

/// `io_uring` with a submission thread (1), zero copy (2), fixed buffers (4) and busy polling (8).
pub struct Ring<const SETTINGS: u8>;

impl<const SETTINGS: u8> Made for Ring<SETTINGS> {
    type Port = Uring;
    fn make(socket: Socket, wake: OwnedFd, config: &PortConfig) -> Result<Uring, Error> {
        let has = |bit: u8| SETTINGS & bit != 0;
        let uring = Settings {
            sqpoll_ms: if has(1) { 5 } else { 0 },
            zero_copy: has(2),
            fixed_buffers: has(4),
            napi_us: if has(8) { 20 } else { 0 },
            napi_prefer: has(8),
            ..Settings::default()
        };
        Uring::new(socket, wake, &PortConfig { uring, ..*config })
    }
    fn socket(port: &Uring) -> &Socket {
        port.socket()
    }
}

/// A port and what the sink got.
struct Rig<P: Made> {
    port: P::Port,
    wake: Wake,
    addr: SocketAddr,
}

#[derive(Default)]
struct Got(Vec<(RxMeta, Vec<u8>)>);

impl RxSink for Got {
    fn datagram(&mut self, meta: RxMeta, bytes: &mut [u8]) {
        self.0.push((meta, bytes.to_vec()));
        bytes.fill(0xee);
    }
}

/// A run of so many bytes for nobody in particular.
fn meta(to: SocketAddr, local: Ip, segment: usize, bytes: usize) -> RunMeta {
    RunMeta {
        peer: to.into(),
        local,
        segment_bytes: u16::try_from(segment).unwrap(),
        segments: u8::try_from(bytes.div_ceil(segment)).unwrap(),
        bytes,
        viewer: NOBODY,
    }
}

impl<P: Made> Rig<P> {
    /// `None`, with a printed reason, where the kernel has no such backend.
    fn new(addr: &str, config: PortConfig) -> Option<Self> {
        let socket = Socket::bind(vacant(addr), &SocketConfig::default());
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => return skip(&error),
        };
        let mut addr = socket.local();
        if addr.ip().is_unspecified() {
            addr.set_ip("127.0.0.1".parse().unwrap());
        }
        let wake = Wake::new().unwrap();
        match P::make(socket, wake.fd().unwrap(), &config) {
            Ok(port) => Some(Self { port, wake, addr }),
            Err(error) => skip(&error),
        }
    }

    /// Receives until `n` datagrams are here, or two seconds are over.
    fn receive(&mut self, n: usize) -> Vec<(RxMeta, Vec<u8>)> {
        let mut got = Got::default();
        let end = clock::now() + Span::secs(2);
        while got.0.len() < n && clock::now() < end {
            if self.port.recv(clock::now(), &mut got) == 0 {
                self.port.wait(end);
            }
        }
        got.0
    }

    fn queue(&mut self, to: SocketAddr, local: Ip, segment: usize, bytes: &[u8]) -> bool {
        let Some(mut slot) = self.port.claim(meta(to, local, segment, bytes.len())) else {
            return false;
        };
        slot.put(bytes, segment);
        self.port.commit(bytes.len());
        true
    }

    /// Flushes until the kernel has taken all, at most for two seconds.
    fn flush(&mut self) -> FlushReport {
        let mut sum = self.port.flush(clock::now());
        let end = clock::now() + Span::secs(2);
        while sum.waiting > 0 && clock::now() < end {
            self.port.wait(clock::now() + Span::millis(1));
            add(&mut sum, self.port.flush(clock::now()));
        }
        sum
    }
}

/// An address whose port is nobody's. Left to the kernel, sockets that may share a port do so now
/// and then: two tests would get each other's datagrams.
fn vacant(addr: &str) -> SocketAddr {
    let alone = UdpSocket::bind(addr).and_then(|socket| socket.local_addr());
    alone.unwrap_or_else(|_| addr.parse().unwrap())
}

fn skip<T>(error: &Error) -> Option<T> {
    println!("skipped: {error}");
    None
}

fn peer(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket
}

/// The next datagram. The end of a ring interrupts the thread that made it, some time later, and a
/// receive with a time limit is not begun again by the kernel.
fn read(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 2048];
    loop {
        match socket.recv_from(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            heard => {
                let (n, from) = heard.unwrap();
                return (bytes[..n].to_vec(), from);
            }
        }
    }
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

/// The whole list, but for those that make their own devices.
pub fn all<P: Made>() {
    echo::<P>();
    run_of_nine_and_a_shorter::<P>();
    parked_runs::<P>();
    source_is_kept::<P>();
    full_arena::<P>();
    segmenting_refused::<P>();
    wake::<P>();
    datagram_wakes::<P>();
    deadline::<P>();
    ten_thousand::<P>();
    flood::<P>();
    too_long::<P>();
    out_of_reach::<P>();
    come_and_go::<P>();
    long_runs::<P>();
}

pub fn echo<P: Made>() {
    for (bound, from) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("[::1]:0", "[::1]:0"),
        ("[::]:0", "127.0.0.1:0"),
        ("[::]:0", "[::1]:0"),
        ("0.0.0.0:0", "127.0.0.1:0"),
    ] {
        let Some(mut rig) = Rig::<P>::new(bound, PortConfig::default()) else {
            continue;
        };
        let client = peer(from);
        let mut to = rig.addr;
        to.set_ip(client.local_addr().unwrap().ip());
        client.send_to(b"who is there", to).unwrap();
        let got = rig.receive(1);
        assert_eq!(got[0].1, b"who is there", "{bound}");
        let meta = got[0].0;
        assert_eq!(meta.peer, Peer::from(client.local_addr().unwrap()));
        assert_eq!(meta.local, Ip::from(to.ip()), "{bound} from {from}");
        assert!(rig.queue(meta.peer.into(), meta.local, 5, b"it is"));
        let report = rig.flush();
        assert_eq!((report.runs, report.datagrams, report.bytes), (1, 1, 5));
        assert_eq!(read(&client), (b"it is".to_vec(), to));
    }
}

pub fn run_of_nine_and_a_shorter<P: Made>() {
    for bound in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let Some(mut rig) = Rig::<P>::new(bound, PortConfig::default()) else {
            continue;
        };
        let home: IpAddr = if bound == "[::1]:0" {
            "::1"
        } else {
            "127.0.0.1"
        }
        .parse()
        .unwrap();
        let client = peer(&SocketAddr::new(home, 0).to_string());
        let run = pattern(9 * 1200 + 333);
        assert!(rig.queue(client.local_addr().unwrap(), home.into(), 1200, &run));
        let report = rig.flush();
        assert_eq!(
            (report.runs, report.datagrams, report.unsegmented),
            (1, 10, 0)
        );
        for segment in run.chunks(1200) {
            assert_eq!(read(&client).0, segment);
        }
    }
}

/// Runs are parked, completed and committed, others are committed among them, and batches are full
/// meanwhile: all of them arrive in order with what was written last.
pub fn parked_runs<P: Made>() {
    let config = PortConfig {
        batch_runs: 4,
        ..PortConfig::default()
    };
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", config) else {
        return;
    };
    let peer = peer("127.0.0.1:0");
    let to = peer.local_addr().unwrap();
    let mut expected = Vec::new();
    for round in 0..6_u8 {
        let mut parked = Vec::new();
        for nth in 0..7_u8 {
            let segments = 1 + (round + nth) % 3;
            let bytes = 100 * usize::from(segments) - usize::from(nth);
            let mark = 16 * round + nth;
            let mut slot = rig.port.claim(meta(to, Ip::UNKNOWN, 100, bytes)).unwrap();
            slot.put(&vec![mark; bytes], 100);
            if nth % 4 == 3 {
                rig.port.commit(bytes);
            } else {
                parked.push((rig.port.park(bytes).unwrap(), bytes));
            }
            let mut whole = vec![mark; bytes];
            if nth % 4 != 3 {
                whole[bytes - 5..].fill(0xaa);
            }
            expected.extend(whole.chunks(100).map(<[u8]>::to_vec));
        }
        // Nothing of it leaves before it is complete, but for the first round's flush of nothing.
        rig.flush();
        for (run, bytes) in parked {
            assert_eq!(rig.port.parked(run).len(), bytes);
            rig.port.parked_mut(run)[bytes - 5..].fill(0xaa);
        }
        rig.port.commit_parked();
        rig.flush();
    }
    let got: Vec<_> = expected.iter().map(|_| read(&peer).0).collect();
    assert_eq!(got, expected);
}

pub fn source_is_kept<P: Made>() {
    for bound in ["0.0.0.0:0", "[::]:0"] {
        let Some(mut rig) = Rig::<P>::new(bound, PortConfig::default()) else {
            continue;
        };
        let client = peer("127.0.0.1:0");
        let asked = SocketAddr::new("127.0.0.2".parse().unwrap(), rig.addr.port());
        client.send_to(b"?", asked).unwrap();
        let meta = rig.receive(1)[0].0;
        assert_eq!(meta.local, Ip::from(asked.ip()));
        assert!(rig.queue(meta.peer.into(), meta.local, 100, &pattern(250)));
        rig.flush();
        for _ in 0..3 {
            assert_eq!(read(&client).1, asked, "{bound}");
        }
    }
}

pub fn full_arena<P: Made>() {
    // No batch is ever complete, so nothing is sent before the flush.
    let config = PortConfig {
        runs_max: 4,
        batch_runs: 4,
        ..PortConfig::default()
    };
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", config) else {
        return;
    };
    let client = peer("127.0.0.1:0");
    let to = client.local_addr().unwrap();
    for n in 0..3 {
        assert!(rig.queue(to, Ip::UNKNOWN, 10, &[n]));
    }
    // Three runs lie in 64 KiB rounded up to 2 MiB: the runs are what is full first.
    let mut sent = 3;
    while sent < 9 {
        if rig.queue(to, Ip::UNKNOWN, 10, &[sent]) {
            sent += 1;
        } else {
            rig.flush();
        }
    }
    rig.flush();
    for n in 0..9 {
        assert_eq!(read(&client).0, [n]);
    }
    // One longest run fills the smallest arena.
    let config = PortConfig {
        arena_bytes: 1,
        ..PortConfig::default()
    };
    let mut rig = Rig::<P>::new("127.0.0.1:0", config).unwrap();
    let long = pattern(44 * 1470);
    assert!(rig.queue(to, Ip::UNKNOWN, 1470, &long));
    assert!(!rig.queue(to, Ip::UNKNOWN, 1470, &long), "no room is None");
    assert_eq!(rig.flush().datagrams, 44);
    assert!(rig.queue(to, Ip::UNKNOWN, 1470, &long), "room again");
}

pub fn segmenting_refused<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let before = rig.port.segments_max();
    assert_eq!(before, 64, "this kernel segments");
    // The kernel does not segment for a socket that sends without check sums.
    let on: libc::c_int = 1;
    // SAFETY: the option is an int; pointer and length are those of one that lives long enough.
    let answer = unsafe {
        libc::setsockopt(
            AsFd::as_fd(P::socket(&rig.port)).as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            4,
        )
    };
    assert_eq!(answer, 0);
    let client = peer("127.0.0.1:0");
    let run = pattern(2000);
    let to = client.local_addr().unwrap();
    assert!(rig.queue(to, Ip::UNKNOWN, 900, &run));
    assert!(rig.queue(to, Ip::UNKNOWN, 900, &run));
    let report = rig.flush();
    assert_eq!((report.runs, report.datagrams, report.dropped), (2, 6, 0));
    assert_eq!(report.unsegmented, 2);
    assert_eq!(report.bytes, 4000);
    assert_eq!(rig.port.segments_max(), 1, "and it stays so");
    for segment in run.chunks(900).chain(run.chunks(900)) {
        assert_eq!(read(&client).0, segment);
    }
    assert!(rig.queue(to, Ip::UNKNOWN, 900, &run[..900]));
    assert_eq!((rig.flush().errors, rig.port.segments_max()), (0, 1));
}

pub fn wake<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let fd = rig.wake.fd().unwrap();
    for round in 0..3 {
        let begin = clock::now();
        let fd = fd.try_clone().unwrap();
        let waker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(30));
            nix::unistd::write(&fd, &1_u64.to_ne_bytes()).unwrap();
        });
        rig.port.wait(Time::FAR);
        waker.join().unwrap();
        let took = clock::now().since(begin);
        assert!(took >= Span::millis(25), "round {round}: {took:?}");
    }
    // A wake-up before the wait is not lost, and counts once.
    rig.wake.wake();
    rig.wake.wake();
    let begin = clock::now();
    rig.port.wait(begin + Span::secs(5));
    assert!(clock::now().since(begin) < Span::secs(1));
    let begin = clock::now();
    rig.port.wait(begin + Span::millis(30));
    assert!(clock::now().since(begin) >= Span::millis(30));
}

pub fn datagram_wakes<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let to = rig.addr;
    let sender = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        peer("127.0.0.1:0").send_to(b"x", to).unwrap();
    });
    let begin = clock::now();
    rig.port.wait(begin + Span::secs(5));
    assert!(clock::now().since(begin) < Span::secs(1));
    assert_eq!(rig.receive(1).len(), 1);
    sender.join().unwrap();
}

pub fn deadline<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    for ms in [0, 5, 40] {
        let until = clock::now() + Span::millis(ms);
        rig.port.wait(until);
        let late = clock::now().since(until);
        assert!(clock::now() >= until, "{ms} ms: too early");
        assert!(late < Span::millis(500), "{ms} ms: late by {late:?}");
    }
    let begin = clock::now();
    rig.port.wait(Time::ZERO);
    assert!(
        clock::now().since(begin) < Span::millis(500),
        "the past does not block"
    );
}

pub fn ten_thousand<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let client = peer("127.0.0.1:0");
    let to = client.local_addr().unwrap();
    let mut next: u32 = 0;
    let mut back: u32 = 0;
    while next < 10_000 {
        // Out in runs of up to 25, as datagrams in, and the same numbers in again.
        let numbers: Vec<u8> = (next..next + 25)
            .flat_map(|n| [n.to_be_bytes(); 50].concat())
            .collect();
        assert!(rig.queue(to, Ip::UNKNOWN, 200, &numbers));
        let report = rig.flush();
        assert_eq!((report.datagrams, report.errors), (25, 0));
        for n in next..next + 25 {
            let (bytes, from) = read(&client);
            assert_eq!(bytes, [n.to_be_bytes(); 50].concat());
            client.send_to(&bytes, from).unwrap();
        }
        next += 25;
        for (_, bytes) in rig.receive(25) {
            assert_eq!(bytes, [back.to_be_bytes(); 50].concat());
            back += 1;
        }
    }
    assert_eq!(back, 10_000);
    let mut idle = rig.flush();
    idle.copied = 0;
    assert_eq!(idle, FlushReport::default());
}

/// One port leaves its socket to another one while datagrams come: each of them is received by
/// one of the two, and what waits for the first to send does not let it receive again.
pub fn left<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let socket = P::socket(&rig.port).as_fd().try_clone_to_owned().unwrap();
    let (client, to) = (peer("127.0.0.1:0"), rig.addr);
    let send = |range: Range<u32>| {
        range.for_each(|n| {
            client.send_to(&n.to_be_bytes(), to).unwrap();
        });
    };
    send(0..20);
    let mut got = Got(rig.receive(10));
    send(20..40);
    rig.port.leave(clock::now(), &mut got);
    send(40..60);
    rig.port.wait(clock::now() + Span::millis(20));
    rig.port.flush(clock::now());
    drop(rig);
    send(60..80);
    let wake = Wake::new().unwrap();
    let socket = Socket::adopt(socket).unwrap();
    let port = P::make(socket, wake.fd().unwrap(), &PortConfig::default()).unwrap();
    let addr = to;
    let mut next = Rig::<P> { port, wake, addr };
    got.0.extend(next.receive(80 - got.0.len()));
    let mut numbers: Vec<u32> = got.0.iter().map(|(_, bytes)| number(bytes)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..80).collect::<Vec<_>>());
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

/// The kernel stamps by another clock; what lies between the two is read from one and then from the
/// other, and there may be an interrupt in between.
const APART: Span = Span::micros(50);

/// What a datagram is said to have come at lies between the begin and the end of its sending, since
/// the loopback delivers meanwhile, and not where it was read.
pub fn stamps<P: Made>() {
    for addr in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let Some(mut rig) = Rig::<P>::new(addr, PortConfig::default()) else {
            return;
        };
        let own = if addr == "[::1]:0" {
            addr
        } else {
            "127.0.0.1:0"
        };
        let client = peer(own);
        for n in 0..50_u8 {
            let mut spans = Vec::new();
            for _ in 0..2 {
                let before = clock::now();
                client.send_to(&[n; 30], rig.addr).unwrap();
                spans.push(before - APART..=clock::now() + APART);
            }
            let mut got = Stamped::default();
            let end = clock::now() + Span::secs(2);
            while got.0.len() < 2 && clock::now() < end {
                rig.port.wait(end);
                rig.port.recv(clock::now(), &mut got);
            }
            for (span, came) in spans.iter().zip(&got.0) {
                let came = came.expect("nobody sets the clock meanwhile");
                assert!(span.contains(&came), "{came:?} is not in {span:?}");
            }
            assert_eq!(got.0.len(), 2);
        }
    }
}

/// Notes the stamp of each datagram.
#[derive(Default)]
struct Stamped(Vec<Option<Time>>, Option<Time>);

impl RxSink for Stamped {
    fn came(&mut self, at: Option<Time>) {
        self.1 = at;
    }

    fn datagram(&mut self, _: RxMeta, _: &mut [u8]) {
        self.0.push(self.1.take());
    }
}

pub fn flood<P: Made>() {
    let config = PortConfig {
        rx_buffers: 4,
        rx_turn_max: 3,
        ..PortConfig::default()
    };
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", config) else {
        return;
    };
    let client = peer("127.0.0.1:0");
    for round in 0..5_u8 {
        for n in 0..40_u8 {
            client.send_to(&[round, n], rig.addr).unwrap();
        }
        let mut got = Got::default();
        let given = rig.port.recv(clock::now(), &mut got);
        assert!(given <= 3, "a turn is bounded");
        got.0.extend(rig.receive(40 - given));
        let bytes: Vec<_> = got.0.into_iter().map(|(_, bytes)| bytes).collect();
        let expected: Vec<_> = (0..40).map(|n| vec![round, n]).collect();
        assert_eq!(bytes, expected);
    }
}

pub fn too_long<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let client = peer("127.0.0.1:0");
    client.send_to(&pattern(1472), rig.addr).unwrap();
    client.send_to(&pattern(1473), rig.addr).unwrap();
    client.send_to(&pattern(9000), rig.addr).unwrap();
    client.send_to(&[], rig.addr).unwrap();
    client.send_to(b"end", rig.addr).unwrap();
    let got = rig.receive(3);
    let lengths: Vec<_> = got.iter().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(lengths, [1472, 0, 3]);
    assert_eq!(rig.flush().received_unusable, 2);
}

pub fn out_of_reach<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let client = peer("127.0.0.1:0");
    // A port of nobody: the kernel may tell later. A broadcast: refused at once.
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let refused: SocketAddr = "255.255.255.255:9".parse().unwrap();
    let there = client.local_addr().unwrap();
    for _ in 0..3 {
        assert!(rig.queue(nobody, Ip::UNKNOWN, 100, &pattern(300)));
        assert!(rig.queue(refused, Ip::UNKNOWN, 100, &pattern(300)));
        assert!(rig.queue(there, Ip::UNKNOWN, 100, &pattern(300)));
    }
    let report = rig.flush();
    assert_eq!((report.runs, report.datagrams, report.dropped), (6, 18, 9));
    assert_eq!(report.errors, 3);
    for _ in 0..9 {
        assert_eq!(read(&client).0.len(), 100);
    }
    assert_eq!(rig.port.segments_max(), 64);
    client.send_to(b"still here", rig.addr).unwrap();
    assert_eq!(rig.receive(1)[0].1, b"still here");
}

pub fn come_and_go<P: Made>() {
    let open = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = open();
    for _ in 0..20 {
        let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
            return;
        };
        let client = peer("127.0.0.1:0");
        client.send_to(b"unread", rig.addr).unwrap();
        assert!(rig.queue(client.local_addr().unwrap(), Ip::UNKNOWN, 9, b"unflushed"));
        let begin = clock::now();
        drop(rig);
        assert!(
            clock::now().since(begin) < Span::millis(900),
            "drop waits for nobody"
        );
    }
    // Helper threads of the kernel, if any, end with their rings.
    assert!(open() <= before + 24);
}

/// Runs `scenario` in a network namespace of its own, where loopback is up.
pub fn in_namespace(scenario: fn()) {
    let run = move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            println!("skipped: a network namespace needs privilege: {error}");
            return;
        }
        if ip(&["link", "set", "lo", "up"]) {
            scenario();
        }
    };
    thread::spawn(run).join().unwrap();
}

/// False, with a printed reason, if the tool is missing.
fn ip(args: &[&str]) -> bool {
    run("ip", args)
}

fn run(tool: &str, args: &[&str]) -> bool {
    match Command::new(tool).args(args).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            println!("skipped: {tool} {args:?}: {text}");
            false
        }
        Err(error) => {
            println!("skipped: {tool}: {error}");
            false
        }
    }
}

/// A device with a queue of a few packets each millisecond: the kernel says EAGAIN, nothing may
/// be lost, all in order.
pub fn slow_device<P: Made>() {
    let slow = "qdisc add dev lo root tbf rate 20mbit burst 10000 limit 10000000";
    let slow: Vec<&str> = slow.split(' ').collect();
    if !run("tc", &slow) {
        return;
    }
    let config = PortConfig {
        runs_max: 8,
        batch_runs: 2,
        ..PortConfig::default()
    };
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", config) else {
        return;
    };
    socket2::SockRef::from(P::socket(&rig.port))
        .set_send_buffer_size(20_000)
        .unwrap();
    let client = peer("127.0.0.1:0");
    let to = client.local_addr().unwrap();
    let reader = thread::spawn(move || (0..400).map(|_| read(&client).0[0]).collect::<Vec<_>>());
    let mut full = 0;
    let mut report = FlushReport::default();
    let mut n: u8 = 0;
    while n < 200 {
        if rig.queue(to, Ip::UNKNOWN, 1000, &[n; 2000]) {
            n += 1;
        } else {
            full += 1;
            rig.port.wait(clock::now() + Span::millis(20));
            rig.port.recv(clock::now(), &mut Got::default());
        }
        add(&mut report, rig.port.flush(clock::now()));
    }
    let end = clock::now() + Span::secs(2);
    while report.datagrams < 400 && clock::now() < end {
        rig.port.wait(clock::now() + Span::millis(20));
        rig.port.recv(clock::now(), &mut Got::default());
        add(&mut report, rig.port.flush(clock::now()));
    }
    assert!(full > 0, "the queue was never full");
    assert_eq!((report.datagrams, report.dropped), (400, 0));
    let mut numbers = reader.join().unwrap();
    numbers.sort_unstable();
    let expected: Vec<u8> = (0..200).flat_map(|n| [n, n]).collect();
    assert_eq!(numbers, expected);
}

fn add(sum: &mut FlushReport, part: FlushReport) {
    sum.runs += part.runs;
    sum.datagrams += part.datagrams;
    sum.bytes += part.bytes;
    sum.errors += part.errors;
    sum.dropped += part.dropped;
    sum.unsegmented += part.unsegmented;
    sum.received_unusable += part.received_unusable;
    sum.copied += part.copied;
    sum.waiting = part.waiting;
}

/// Runs lie in the device's queue, and what is read there at the end is what was written: later
/// runs did not use their memory again.
pub fn held<P: Made>() {
    hold::<P>("80mbit", 200);
}

/// The same when the port is gone long before the device has sent the last of them.
pub fn held_past_the_end<P: Made>() {
    hold::<P>("1mbit", 11);
}

fn hold<P: Made>(rate: &str, runs: u8) {
    let slow = format!("qdisc add dev lo root tbf rate {rate} burst 10000 limit 10000000");
    let slow: Vec<&str> = slow.split(' ').collect();
    if !run("tc", &slow) {
        return;
    }
    let config = PortConfig {
        runs_max: 8,
        batch_runs: 2,
        arena_bytes: 65_536,
        ..PortConfig::default()
    };
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", config) else {
        return;
    };
    let client = peer("127.0.0.1:0");
    // However late the reader is, nothing is lost there.
    setsockopt(&client, sockopt::RcvBufForce, &(8 << 20)).unwrap();
    let to = client.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let whole = |datagram: Vec<u8>| {
            assert_eq!(datagram.len(), 1100);
            let first = datagram[0];
            assert!(datagram.iter().all(|byte| *byte == first), "written over");
            first
        };
        let seen = (0..usize::from(runs) * 5).map(|_| whole(read(&client).0));
        seen.collect::<Vec<_>>()
    });
    let end = clock::now() + Span::secs(5);
    let mut n: u8 = 0;
    while n < runs && clock::now() < end {
        if rig.queue(to, Ip::UNKNOWN, 1100, &[n; 5500]) {
            n += 1;
        } else if rig.port.flush(clock::now()).waiting > 0 {
            rig.port.wait(clock::now() + Span::millis(1));
        }
    }
    assert_eq!(n, runs, "room comes back");
    rig.flush();
    drop(rig);
    // What was freed is in use again.
    let junk: Vec<_> = (0..64).map(|_| vec![0xee_u8; 65_536]).collect();
    let seen = reader.join().unwrap();
    drop(junk);
    let expected: Vec<u8> = (0..runs).flat_map(|n| [n; 5]).collect();
    assert_eq!(seen, expected, "in order");
}

/// The longest runs, from every place of a page.
pub fn long_runs<P: Made>() {
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let client = peer("127.0.0.1:0");
    let to = client.local_addr().unwrap();
    for n in 0..64 {
        let before = pattern(64 * n + 1);
        let long = pattern(44 * 1472);
        assert!(rig.queue(to, Ip::UNKNOWN, 1472, &before));
        assert!(rig.queue(to, Ip::UNKNOWN, 1472, &long));
        let report = rig.flush();
        assert_eq!((report.runs, report.errors), (2, 0), "{n}");
        for segment in before.chunks(1472).chain(long.chunks(1472)) {
            assert_eq!(read(&client).0, segment);
        }
    }
    assert_eq!(rig.port.segments_max(), 64);
}

/// A segment longer than the device takes: the run is lost, but other viewers keep their runs.
pub fn short_path<P: Made>() {
    if !ip(&["link", "set", "lo", "mtu", "1000"]) {
        return;
    }
    let Some(mut rig) = Rig::<P>::new("127.0.0.1:0", PortConfig::default()) else {
        return;
    };
    let client = peer("127.0.0.1:0");
    let to = client.local_addr().unwrap();
    assert!(rig.queue(to, Ip::UNKNOWN, 1200, &pattern(2400)));
    let report = rig.flush();
    assert_eq!((report.datagrams, report.dropped), (0, 2));
    assert_eq!(rig.port.segments_max(), 64);
    assert!(rig.queue(to, Ip::UNKNOWN, 900, &pattern(2400)));
    assert_eq!(rig.flush().unsegmented, 0);
    assert_eq!(read(&client).0.len(), 900);
}
