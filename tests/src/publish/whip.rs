//! Owns synthetic publishers by WHIP: once let in, they send what looks like H.264 and Opus and is
//! nothing. They begin where they are told to, as shortly before a wrap, and send again what they
//! are asked for.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use wire::demux::{Class, classify};
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::Message;
use wire::rtcp_report::write_sender_report;

use super::entry::{Entry, receive};
use super::mark::ENCODINGS;
use super::offer::{CNAME, Offer};
use super::source::{Begin, Shape, Source, Way};

/// How long a publisher may take to be let in.
const START: Duration = Duration::from_secs(15);

/// Between two checks once connected, as browsers have it.
const CONSENT: Duration = Duration::from_millis(2500);

/// Between sender reports.
const REPORT: Duration = Duration::from_secs(1);

/// Sources of one publisher are so far apart, in their numbers and in their timestamps: who took
/// one for another would show it.
const APART: u32 = 1_000_003;

/// What a publisher sends.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One encoding of video.
    Video,
    /// Audio alone.
    Audio,
    /// Three encodings of video of so many kbit/s, the least first, and audio.
    Simulcast([usize; ENCODINGS]),
}

/// A publisher that sends on a thread of its own until it is dropped or leaves.
pub struct Whip {
    server: SocketAddr,
    location: String,
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
}

/// What thread and owner tell each other.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    held: AtomicBool,
    sent: AtomicU64,
    keyframes: [AtomicU64; ENCODINGS],
}

struct Sender {
    entry: Entry,
    sources: Vec<Source>,
    rtcp_index: u32,
}

impl Whip {
    /// Publishes `stream`.
    ///
    /// # Errors
    /// What has gone wrong.
    pub fn start(
        server: SocketAddr,
        stream: &str,
        kind: Kind,
        begin: Begin,
    ) -> Result<Self, String> {
        let sources = kind.sources(begin);
        // Audio is the last of them.
        let named = sources.last().map_or(begin.ssrc, |one| one.begin.ssrc);
        let offer = match kind {
            Kind::Video => Offer::Video(named),
            Kind::Audio => Offer::Audio(named),
            Kind::Simulcast(_) => Offer::Simulcast(named),
        };
        let entry = Entry::get(server, stream, offer, open, START)?;
        let location = entry.location.clone();
        let sender = Sender {
            entry,
            sources,
            rtcp_index: 0,
        };
        let told = Arc::new(Told::default());
        let ours = told.clone();
        let thread = std::thread::spawn(move || sender.run(&ours));
        Ok(Self {
            server,
            location,
            told,
            thread: Some(thread),
        })
    }

    /// Path of the session on the server.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Media packets so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.told.sent.load(Relaxed)
    }

    /// Keyframes so far, by encoding.
    #[must_use]
    pub fn keyframes(&self) -> [u64; ENCODINGS] {
        self.told.keyframes.each_ref().map(|one| one.load(Relaxed))
    }

    /// Sends no media, or goes on: nothing of it is on its way then. Its clock goes on.
    pub fn hold(&self, is_held: bool) {
        self.told.held.store(is_held, Relaxed);
    }

    /// Ends as a page does that is closed. One that is dropped vanishes without a word.
    pub fn leave(self) {
        Entry::delete(self.server, &self.location);
    }
}

impl Drop for Whip {
    fn drop(&mut self) {
        self.told.stop.store(true, Relaxed);
        // What has panicked there has been told already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Kind {
    /// Audio is the last.
    fn sources(self, begin: Begin) -> Vec<Source> {
        let shapes = match self {
            Self::Video => vec![Shape::VIDEO],
            Self::Audio => vec![Shape::AUDIO],
            Self::Simulcast(kbps) => {
                let video = (0..)
                    .zip(kbps)
                    .map(|(nth, kbps)| Shape::encoding(nth, kbps));
                video.chain([Shape::AUDIO]).collect()
            }
        };
        let begins = (0..).map(|nth: u32| Begin {
            sequence: begin.sequence,
            timestamp: begin.timestamp.wrapping_add(nth * APART),
            ssrc: begin.ssrc.wrapping_add(nth * APART),
        });
        let all = shapes.into_iter().zip(begins);
        all.map(|(shape, begin)| Source::new(shape, begin))
            .collect()
    }
}

impl Sender {
    fn run(mut self, told: &Told) {
        let start = Instant::now();
        let [mut checked, mut reported] = [start; 2];
        while !told.stop.load(Relaxed) {
            let due = self.sources.iter().map(Source::due).min();
            sleep(due.unwrap_or(REPORT).saturating_sub(start.elapsed()));
            let now = Instant::now();
            self.hear();
            self.send(now - start, told);
            if now - checked >= CONSENT {
                checked = now;
                self.entry.check();
            }
            if now - reported >= REPORT {
                reported = now;
                self.report();
            }
        }
    }

    fn send(&mut self, since: Duration, told: &Told) {
        let is_held = told.held.load(Relaxed);
        let way = Way {
            socket: &self.entry.socket,
            sealer: &self.entry.keys.sealer,
        };
        for source in &mut self.sources {
            told.sent
                .fetch_add(source.turn(since, is_held, &way), Relaxed);
            if !source.shape.is_audio {
                let number = usize::from(source.shape.encoding.unwrap_or(0));
                told.keyframes[number].store(source.keyframes, Relaxed);
            }
        }
    }

    fn report(&mut self) {
        for source in &self.sources {
            let (mut packet, mut out) = ([0; 128], [0; 192]);
            let bytes = write_sender_report(&source.report(), CNAME.as_bytes(), &mut packet);
            let sealer = &self.entry.keys.sealer;
            if let Some(bytes) = sealer.rtcp(self.rtcp_index, &packet[..bytes], &mut out) {
                self.rtcp_index += 1;
                let _ = self.entry.socket.send(&out[..bytes]);
            }
        }
    }

    /// Does what the server asks for: keyframes, and packets that it misses.
    fn hear(&mut self) {
        let mut buffer = [0; 2048];
        while let Some(bytes) = receive(&self.entry.socket, &mut buffer) {
            let datagram = &mut buffer[..bytes];
            if classify(datagram) != Class::Rtcp {
                continue;
            }
            let Ok(packet) = self.entry.keys.opener.rtcp(datagram) else {
                continue;
            };
            let way = Way {
                socket: &self.entry.socket,
                sealer: &self.entry.keys.sealer,
            };
            for item in compound(packet) {
                heed(&mut self.sources, &item, &way);
            }
        }
    }
}

fn heed(sources: &mut [Source], item: &Item<'_>, way: &Way<'_>) {
    match item {
        Item::ReceiverReport(report) => {
            let told: Vec<u32> = report.blocks.map(|block| block.ssrc).collect();
            for source in sources {
                source.is_known |= told.contains(&source.begin.ssrc);
            }
        }
        Item::Feedback(feedback) => {
            let is_meant = |one: &&mut Source| one.begin.ssrc == feedback.media_ssrc;
            match feedback.message {
                Message::Pli => {
                    let meant = sources.iter_mut().filter(is_meant);
                    meant.for_each(Source::want_keyframe);
                }
                Message::Fir(_) => sources.iter_mut().for_each(Source::want_keyframe),
                Message::Nack(nack) => {
                    let lost: Vec<u16> = nack.lost().collect();
                    let meant = sources.iter_mut().filter(is_meant);
                    meant.for_each(|one| one.resend(&lost, way));
                }
                _ => {}
            }
        }
        _ => {}
    }
}

fn open(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
