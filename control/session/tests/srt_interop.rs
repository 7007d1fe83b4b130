//! Real SRT callers (ffmpeg, srt-live-transmit, GStreamer) against the ingest, on loopback.
//! A caller that is not installed is skipped, and the reason printed.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "this test is the driver: it has the socket, the clock and the threads"
)]

use freshet_session::srt::{
    Answer, CallerId, CloseReason, Config, Event, Passphrase, Reason, Refusal, SrtIngest, Stats,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use wire::time::{Span, Time};

const SECRET: &str = "freshetfreshet";
const CLIP: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/corpus/ts/h264_baseline_aac44k1.ts"
);

/// What came out of one caller's visit.
#[derive(Default)]
struct Visit {
    name: String,
    breaks: usize,
    ts_packets: usize,
    sizes: BTreeMap<usize, usize>,
    refusals: Vec<Refusal>,
    closed: Option<(CloseReason, Stats)>,
    stats: Stats,
    last: BTreeMap<u16, u8>,
}

impl Visit {
    fn take(&mut self, payload: &[u8]) {
        *self.sizes.entry(payload.len()).or_default() += 1;
        for packet in payload.chunks(188) {
            assert_eq!((packet.len(), packet[0]), (188, 0x47), "no TS packet");
            self.ts_packets += 1;
            let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
            let counter = packet[3] & 0xf;
            if pid != 0x1fff && packet[3] & 0x10 != 0 {
                let before = self.last.insert(pid, counter);
                self.breaks += usize::from(before.is_some_and(|b| (b + 1) & 0xf != counter));
            }
        }
    }

    /// Nothing was lost on the way to us.
    fn assert_clean(&self, ts_packets_min: usize) {
        assert_eq!(self.breaks, 0, "continuity, {:?}", self.stats);
        assert_eq!((self.stats.skipped, self.stats.undecryptable), (0, 0));
        assert!(
            self.ts_packets >= ts_packets_min,
            "{} TS packets",
            self.ts_packets
        );
        assert!(self.refusals.is_empty(), "{:?}", self.refusals);
    }
}

/// The ingest on a loopback socket.
struct Server {
    socket: UdpSocket,
    ingest: SrtIngest,
    start: Instant,
}

impl Server {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let start = Instant::now();
        let ingest = SrtIngest::new(Config::default(), Time::ZERO, start, &[7; 32]);
        Self {
            socket,
            ingest,
            start,
        }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    /// Serves until `caller` has ended and its connection with it.
    fn serve(&mut self, caller: &mut Child, answer: &Answer) -> Visit {
        let mut visit = Visit::default();
        let mut open: Option<CallerId> = None;
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut buffer = [0; 2048];
        loop {
            assert!(Instant::now() < deadline, "the caller does not end");
            let now = self.now();
            let wait = self
                .ingest
                .deadline()
                .map_or(Span::millis(20), |at| at.since(now));
            let wait = wait.clamp(Span::micros(200), Span::millis(20));
            self.socket
                .set_read_timeout(Some(Duration::from_nanos(wait.0)))
                .unwrap();
            match self.socket.recv_from(&mut buffer) {
                Ok((len, peer)) => self.ingest.datagram(self.now(), peer, &buffer[..len]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => panic!("{e}"),
            }
            let now = self.now();
            if self.ingest.deadline().is_some_and(|at| at <= now) {
                self.ingest.handle_timeout(now);
            }
            while let Some(event) = self.ingest.poll_event() {
                match event {
                    Event::Connect { id, stream_id, .. } => {
                        visit.name = stream_id.name;
                        open = self
                            .ingest
                            .answer(now, id, answer.clone())
                            .then_some(id)
                            .or(open);
                    }
                    Event::Data { payload, .. } => visit.take(&payload),
                    Event::Refused { refusal, .. } => visit.refusals.push(refusal),
                    Event::Closed { reason, stats, .. } => {
                        visit.stats = stats;
                        visit.closed = Some((reason, stats));
                        open = None;
                    }
                }
            }
            while let Some((to, bytes)) = self.ingest.poll_transmit() {
                self.socket.send_to(&bytes, to).unwrap();
            }
            visit.stats = open
                .and_then(|id| self.ingest.stats(id))
                .unwrap_or(visit.stats);
            if open.is_none() && caller.try_wait().unwrap().is_some() {
                return visit;
            }
        }
    }

    fn now(&self) -> Time {
        let nanos = u64::try_from(self.start.elapsed().as_nanos()).unwrap();
        Time::ZERO + Span(nanos)
    }
}

/// Starts `program`, unless it is not installed.
fn start(program: &str, args: &[&str]) -> Option<Child> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match child {
        Ok(child) => Some(child),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            None
        }
        Err(e) => panic!("{program}: {e}"),
    }
}

/// ffmpeg pushing the clip at its own speed, without encoding.
fn ffmpeg(port: u16, query: &str) -> Option<Child> {
    let url = format!("srt://127.0.0.1:{port}?mode=caller&{query}");
    let args = [
        "-nostdin", "-v", "warning", "-re", "-i", CLIP, "-t", "3", "-c", "copy",
    ];
    start("ffmpeg", &[&args[..], &["-f", "mpegts", &url]].concat())
}

/// srt-live-transmit, which pushes what [`feed`] gives it. It does not end with its input but after
/// seven seconds; it does not call again once turned away.
fn live_transmit(port: u16, query: &str) -> Option<Child> {
    let url = format!("srt://127.0.0.1:{port}?mode=caller&{query}");
    start(
        "srt-live-transmit",
        &["-chunk:1316", "-v", "-a:no", "-t:7", "file://con", &url],
    )
}

/// Writes the clip three times at about 5 Mbit/s, then closes.
fn feed(mut stdin: ChildStdin) -> thread::JoinHandle<()> {
    let clip = std::fs::read(CLIP).unwrap();
    thread::spawn(move || {
        for chunk in clip.chunks(1316).cycle().take(1500) {
            if stdin.write_all(chunk).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    })
}

fn text(output: &Output) -> String {
    let out = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&out).into_owned()
}

fn accept(secret: Option<&str>) -> Answer {
    let passphrase = secret.map(|secret| Passphrase::new(secret).unwrap());
    Answer::Accept {
        passphrase,
        tsbpd: false,
    }
}

#[test]
fn ffmpeg_in_the_clear() {
    let mut server = Server::new();
    let Some(mut caller) = ffmpeg(server.port(), "streamid=%23!::r=studio/cam1,m=publish") else {
        return;
    };
    let visit = server.serve(&mut caller, &accept(None));
    visit.assert_clean(500);
    assert_eq!(
        visit.name, "studio/cam1",
        "as ffmpeg sends it, percent-encoded"
    );
    assert_eq!(visit.closed.unwrap().0, CloseReason::Shutdown);
}

#[test]
fn ffmpeg_with_each_key_length() {
    for bytes in [16, 24, 32] {
        let mut server = Server::new();
        let query = format!("streamid=publish:cam&passphrase={SECRET}&pbkeylen={bytes}");
        let Some(mut caller) = ffmpeg(server.port(), &query) else {
            return;
        };
        let visit = server.serve(&mut caller, &accept(Some(SECRET)));
        visit.assert_clean(500);
    }
}

#[test]
fn ffmpeg_with_timed_delivery() {
    let mut server = Server::new();
    let query = format!("streamid=publish:cam&passphrase={SECRET}");
    let Some(mut caller) = ffmpeg(server.port(), &query) else {
        return;
    };
    let passphrase = Some(Passphrase::new(SECRET).unwrap());
    let visit = server.serve(
        &mut caller,
        &Answer::Accept {
            passphrase,
            tsbpd: true,
        },
    );
    visit.assert_clean(500);
}

#[test]
fn a_wrong_or_missing_passphrase_is_told_to_the_caller() {
    for (query, secret, want, told) in [
        (
            "passphrase=not-the-secret",
            Some(SECRET),
            Refusal::BadSecret,
            "Incorrect passphrase",
        ),
        (
            "",
            Some(SECRET),
            Refusal::PassphraseMissing,
            "Password required or unexpected",
        ),
        (
            "passphrase=freshetfreshet",
            None,
            Refusal::PassphraseUnexpected,
            "Password required or unexpected",
        ),
    ] {
        let mut server = Server::new();
        let query = format!("streamid=publish:cam&{query}");
        let Some(mut caller) = live_transmit(server.port(), &query) else {
            return;
        };
        let feeder = feed(caller.stdin.take().unwrap());
        let visit = server.serve(&mut caller, &accept(secret));
        let output = text(&caller.wait_with_output().unwrap());
        feeder.join().unwrap();
        assert_eq!(visit.refusals.first(), Some(&want), "{output}");
        assert_eq!(visit.ts_packets, 0);
        assert!(output.contains(told), "{output}");

        let Some(mut caller) = ffmpeg(server.port(), &query) else {
            return;
        };
        let visit = server.serve(&mut caller, &accept(secret));
        assert_eq!(visit.refusals.first(), Some(&want));
        assert!(!caller.wait().unwrap().success(), "ffmpeg notices");
    }
}

#[test]
fn the_servers_reason_reaches_the_caller() {
    let mut server = Server::new();
    for reason in [Reason::Unauthorized, Reason::NotFound, Reason::Conflict] {
        let query = "streamid=publish:cam";
        let Some(mut caller) = live_transmit(server.port(), query) else {
            return;
        };
        let feeder = feed(caller.stdin.take().unwrap());
        let visit = server.serve(&mut caller, &Answer::Reject(reason));
        let output = text(&caller.wait_with_output().unwrap());
        feeder.join().unwrap();
        assert!(
            output.contains("Application-defined rejection reason"),
            "{output}"
        );
        assert_eq!((visit.name.as_str(), visit.ts_packets), ("cam", 0));
        assert!(server.ingest.counters().rejected.of(reason) > 0);
    }
}

#[test]
fn srt_live_transmit_changes_its_keys() {
    let mut server = Server::new();
    let query = format!(
        "streamid=publish:cam&passphrase={SECRET}&pbkeylen=24&kmrefreshrate=400&kmpreannounce=100"
    );
    let Some(mut caller) = live_transmit(server.port(), &query) else {
        return;
    };
    let feeder = feed(caller.stdin.take().unwrap());
    let visit = server.serve(&mut caller, &accept(Some(SECRET)));
    feeder.join().unwrap();
    let output = text(&caller.wait_with_output().unwrap());
    // Every payload was TS, so every key was right; there were three changes at least.
    assert!(
        visit.stats.packets > 1300,
        "{} {output}",
        visit.stats.packets
    );
    assert_eq!(
        (
            visit.stats.undecryptable,
            visit.stats.km_refused,
            visit.stats.skipped
        ),
        (0, 0, 0)
    );
    assert_eq!(
        visit.sizes.keys().copied().collect::<Vec<_>>().last(),
        Some(&1316)
    );
}

#[test]
fn gstreamer_with_messages_of_one_ts_packet() {
    let mut server = Server::new();
    let sink = format!("uri=srt://127.0.0.1:{}", server.port());
    let args = [
        "-q",
        "videotestsrc",
        "num-buffers=75",
        "is-live=true",
        "!",
        "video/x-raw,width=320,height=180,framerate=25/1",
        "!",
        "x264enc",
        "tune=zerolatency",
        "speed-preset=ultrafast",
        "!",
        "mpegtsmux",
        "!",
        "srtsink",
        &sink,
        "streamid=#!::r=gst,m=publish",
        "passphrase=freshetfreshet",
        "pbkeylen=16",
    ];
    let Some(mut caller) = start("gst-launch-1.0", &args) else {
        return;
    };
    let visit = server.serve(&mut caller, &accept(Some(SECRET)));
    let output = text(&caller.wait_with_output().unwrap());
    assert_eq!(visit.name, "gst", "{output}");
    assert_eq!(
        visit.sizes.keys().collect::<Vec<_>>(),
        [&188],
        "one TS packet a message"
    );
    // The sink drops a packet now and then before it numbers them (the recording in the corpus
    // shows it too), so continuity is not ours to promise here; what was numbered must be there.
    let messages = u64::try_from(visit.sizes[&188]).unwrap();
    assert_eq!((visit.stats.packets, visit.stats.skipped), (messages, 0));
    assert!(
        visit.ts_packets > 300 && visit.breaks < 10,
        "{}",
        visit.breaks
    );
}

#[test]
fn five_per_cent_loss_leaves_no_trace() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut server = Server::new();
    let relay = Relay::new(server.port(), seed, 0.05);
    let query = format!("streamid=publish:cam&passphrase={SECRET}&pbkeylen=32&latency=800000");
    let Some(mut caller) = ffmpeg(relay.port, &query) else {
        return;
    };
    let visit = server.serve(&mut caller, &accept(Some(SECRET)));
    visit.assert_clean(500);
    let stats = visit.stats;
    assert!(stats.lost > 0 && stats.retransmitted > 0, "{stats:?}");
    assert_eq!(stats.latency, Span::millis(800));
}

/// A relay that loses datagrams both ways, from after the handshake on.
struct Relay {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Relay {
    fn new(server: u16, seed: u64, loss: f64) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let port = socket.local_addr().unwrap().port();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut caller, mut buffer) = (None, [0; 2048]);
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let to = if from == server { caller } else { Some(server) };
                if from != server {
                    caller = Some(from);
                }
                // Handshakes are repeated four times a second and goodbyes never: those pass.
                let spared = matches!(buffer[..2], [0x80, 0 | 5]);
                if let Some(to) = to.filter(|_| spared || !rng.random_bool(loss)) {
                    socket.send_to(&buffer[..len], to).unwrap();
                }
            }
        });
        Self {
            port,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
