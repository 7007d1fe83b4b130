//! Owns synthetic publishers by WHIP: once let in, they send frames that look like H.264 and that
//! nobody could see anything in. They begin where they are told to, as shortly before a
//! wrap, and send again what they are asked for.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use wire::demux::{Class, classify};
use wire::ntp::Ntp;
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::Message as Feedback;
use wire::rtcp_report::{SenderInfo, write_sender_report};
use wire::rtp::Header;

use super::entry::{CNAME, Entry, PAYLOAD_TYPE, receive};
use crate::viewer::unix_ns;

/// How long a publisher may take to be let in.
const START: Duration = Duration::from_secs(15);

/// Between two checks once connected, as browsers have it.
const CONSENT: Duration = Duration::from_millis(2500);

/// Between sender reports.
const REPORT: Duration = Duration::from_secs(1);

/// A keyframe that was asked for comes no sooner than this after the one before.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(500);

/// Packets that are kept to be sent again: more than a second of them.
const HISTORY: usize = 1024;

const FRAMES_PER_S: u32 = 60;
const FRAMES_PER_KEY: u64 = 120;
const PACKETS_PER_FRAME: usize = 6;
const PAYLOAD_BYTES: usize = 400;
const VIDEO_HZ: u32 = 90_000;

/// STAP-A of SPS and PPS (RFC 6184 section 5.7.1).
const PARAMETERS: [u8; 19] = [
    0x78, 0, 10, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0, 0xa0, 0x47, 0xfe, 0xc8, 0, 4, 0x68, 0xce, 0x3c,
    0x80,
];

/// FU-A, and its header's first and last of a unit (RFC 6184 section 5.8).
const FRAGMENT: u8 = 0x7c;
const FRAGMENT_START: u8 = 0x80;
const FRAGMENT_END: u8 = 0x40;
const TYPE_SLICE: u8 = 1;
const TYPE_KEY: u8 = 5;

/// The numbers with which a publisher begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Sequence number of the first packet.
    pub sequence: u16,
    /// RTP timestamp of the first frame.
    pub timestamp: u32,
    /// Source of the media.
    pub ssrc: u32,
}

/// A publisher that sends on a thread of its own until it is dropped or leaves.
pub struct Whip {
    server: SocketAddr,
    location: String,
    stop: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

struct Sender {
    entry: Entry,
    begin: Begin,
    index: u64,
    frame: u64,
    rtcp_index: u32,
    octets: u32,
    history: VecDeque<(u16, Vec<u8>)>,
    keyframe_at: Option<Instant>,
    keyframe_wanted: bool,
}

impl Whip {
    /// Publishes `stream`.
    ///
    /// # Errors
    /// What has gone wrong.
    pub fn start(server: SocketAddr, stream: &str, begin: Begin) -> Result<Self, String> {
        let entry = Entry::get(server, stream, begin.ssrc, open, START)?;
        let location = entry.location.clone();
        let sender = Sender {
            entry,
            begin,
            index: begin.sequence.into(),
            frame: 0,
            rtcp_index: 0,
            octets: 0,
            history: VecDeque::new(),
            keyframe_at: None,
            keyframe_wanted: false,
        };
        let [stop, held] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let sent = Arc::new(AtomicU64::new(0));
        let told = (stop.clone(), held.clone(), sent.clone());
        let thread = std::thread::spawn(move || sender.run(&told.0, &told.1, &told.2));
        Ok(Self {
            server,
            location,
            stop,
            held,
            sent,
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
        self.sent.load(Relaxed)
    }

    /// Sends no media, or goes on: nothing of it is on its way then. Its clock goes on.
    pub fn hold(&self, is_held: bool) {
        self.held.store(is_held, Relaxed);
    }

    /// Ends as a page does that is closed. One that is dropped vanishes without a word.
    pub fn leave(self) {
        Entry::delete(self.server, &self.location);
    }
}

impl Drop for Whip {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // What has panicked there has been told already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Sender {
    fn run(mut self, stop: &AtomicBool, held: &AtomicBool, sent: &AtomicU64) {
        let start = Instant::now();
        let [mut checked, mut reported] = [start; 2];
        let mut turn = 0;
        while !stop.load(Relaxed) {
            turn += 1;
            let due = Duration::from_secs(1) * turn / FRAMES_PER_S;
            sleep(due.saturating_sub(start.elapsed()));
            let now = Instant::now();
            self.hear();
            self.frame += 1;
            if !held.load(Relaxed) {
                sent.fetch_add(self.frame(now), Relaxed);
            }
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

    fn timestamp(&self) -> u32 {
        let ticks = self.frame * u64::from(VIDEO_HZ / FRAMES_PER_S);
        let ticks = u32::try_from(ticks & 0xffff_ffff).unwrap_or(0);
        self.begin.timestamp.wrapping_add(ticks)
    }

    /// Sends one: how many packets that were.
    fn frame(&mut self, now: Instant) -> u64 {
        let paused = self.keyframe_at.map(|at| now - at);
        let is_wanted = self.keyframe_wanted && paused.is_none_or(|it| it >= KEYFRAME_PAUSE);
        let is_key = is_wanted || paused.is_none() || self.frame.is_multiple_of(FRAMES_PER_KEY);
        let first = self.index;
        if is_key {
            (self.keyframe_at, self.keyframe_wanted) = (Some(now), false);
            self.packet(&PARAMETERS, false);
        }
        let kind = if is_key { TYPE_KEY } else { TYPE_SLICE };
        for nth in 1..=PACKETS_PER_FRAME {
            let place = match nth {
                1 => FRAGMENT_START,
                PACKETS_PER_FRAME => FRAGMENT_END,
                _ => 0,
            };
            let mut payload = [0x5a; PAYLOAD_BYTES];
            payload[..2].copy_from_slice(&[FRAGMENT, place | kind]);
            self.packet(&payload, nth == PACKETS_PER_FRAME);
        }
        self.index - first
    }

    fn packet(&mut self, payload: &[u8], marker: bool) {
        let sequence = u16::try_from(self.index & 0xffff).unwrap_or(0);
        let header = Header {
            marker,
            payload_type: PAYLOAD_TYPE,
            sequence,
            timestamp: self.timestamp(),
            ssrc: self.begin.ssrc,
        };
        let (mut head, mut out) = ([0; 12], [0; PAYLOAD_BYTES + 64]);
        let _ = header.write(&[], &mut head);
        if let Some(bytes) = self
            .entry
            .keys
            .sealer
            .rtp(self.index, &head, payload, &mut out)
        {
            // What does not leave is asked for again.
            let _ = self.entry.socket.send(&out[..bytes]);
            self.history.push_back((sequence, out[..bytes].to_vec()));
        }
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.index += 1;
        let bytes = u32::try_from(payload.len()).unwrap_or(0);
        self.octets = self.octets.wrapping_add(bytes);
    }

    fn report(&mut self) {
        let packets = self.index - u64::from(self.begin.sequence);
        let info = SenderInfo {
            ssrc: self.begin.ssrc,
            ntp: Ntp::from_unix_ns(unix_ns()),
            rtp_timestamp: self.timestamp(),
            packets: u32::try_from(packets & 0xffff_ffff).unwrap_or(0),
            octets: self.octets,
        };
        let (mut packet, mut out) = ([0; 128], [0; 192]);
        let bytes = write_sender_report(&info, CNAME.as_bytes(), &mut packet);
        let sealed = self
            .entry
            .keys
            .sealer
            .rtcp(self.rtcp_index, &packet[..bytes], &mut out);
        if let Some(bytes) = sealed {
            self.rtcp_index += 1;
            let _ = self.entry.socket.send(&out[..bytes]);
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
            for item in compound(packet) {
                let Item::Feedback(feedback) = item else {
                    continue;
                };
                match feedback.message {
                    Feedback::Pli | Feedback::Fir(_) => self.keyframe_wanted = true,
                    Feedback::Nack(nack) => {
                        let lost: Vec<u16> = nack.lost().collect();
                        let all = self.history.iter();
                        for (_, sealed) in all.filter(|(number, _)| lost.contains(number)) {
                            let _ = self.entry.socket.send(sealed);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

fn open(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
