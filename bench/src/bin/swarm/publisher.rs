//! Owns publishers by WHIP: one thread sends what all of them have, frame by frame, with the time
//! of sending in every packet. It looks like H.264; nobody could see anything in it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tools::publish::{CNAME, Entry, Offer, PAYLOAD_TYPE};
use wire::demux::{Class, classify};
use wire::ntp::Ntp;
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::Message as Feedback;
use wire::rtcp_report::{SenderInfo, write_sender_report};
use wire::rtp::Header;

use crate::options::Options;
use crate::stamp;
use crate::viewer::{Inbox, bind, tune};

/// How long a publisher may take to be let in.
const START_MAX: Duration = Duration::from_secs(30);

/// RFC 7675 section 5.1.
const CONSENT: Duration = Duration::from_secs(5);

/// Between sender reports.
const REPORT: Duration = Duration::from_secs(1);

/// A keyframe that was asked for comes no sooner than this after the one before.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(500);

/// Payload of a packet of 1,200 bytes.
const PAYLOAD_BYTES: usize = 1188;

/// A keyframe has so many times the bytes of another frame.
const KEYFRAME_WEIGHT: usize = 4;

/// What a frame's payload begins with in a packet of its own, and in fragments (RFC 6184).
const SLICE: u8 = 0x41;
const FRAGMENT: u8 = 0x7c;
const FRAGMENT_START: u8 = 0x80;
const FRAGMENT_END: u8 = 0x40;
const TYPE_SLICE: u8 = 1;
const TYPE_KEY: u8 = 5;

/// STAP-A of SPS and PPS, and a filler unit whose content is to be the time.
const PARAMETERS: [u8; 22] = [
    0x78, 0, 10, 0x67, 0x42, 0xc0, 0x1e, 0xd9, 0, 0xa0, 0x47, 0xfe, 0xc8, 0, 4, 0x68, 0xce, 0x3c,
    0x80, 0, 17, 0x0c,
];

const VIDEO_HZ: u64 = 90_000;
const NS_PER_S: u64 = 1_000_000_000;

/// A publisher that is let in.
pub struct Publisher {
    entry: Entry,
    ssrc: u32,
    index: u64,
    rtcp_index: u32,
    frame: u64,
    packets: u32,
    octets: u32,
    checked: Instant,
    reported: Option<Instant>,
    keyframe: Instant,
    keyframe_wanted: bool,
}

/// What a frame is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    fps: u64,
    gop: u64,
    frame_bytes: usize,
}

impl Shape {
    pub fn of(options: &Options) -> Self {
        let bytes = options.kbps * 125 / options.fps;
        Self {
            fps: options.fps.into(),
            gop: options.gop.into(),
            frame_bytes: usize::try_from(bytes).unwrap_or(usize::MAX).max(64),
        }
    }
}

impl Publisher {
    /// Publishes `stream`: offer, checks, handshake.
    ///
    /// # Errors
    /// What has gone wrong.
    pub fn start(server: SocketAddr, stream: &str, number: u32) -> Result<Self, String> {
        let ssrc = 0x5700_0001 + number;
        let entry = Entry::get(
            server,
            stream,
            Offer::Video(ssrc),
            |to| bind(to, number),
            START_MAX,
        )?;
        tune(&entry.socket);
        let now = Instant::now();
        Ok(Self {
            entry,
            ssrc,
            index: 1000,
            rtcp_index: 0,
            frame: 0,
            packets: 0,
            octets: 0,
            checked: now,
            reported: None,
            keyframe: now,
            keyframe_wanted: true,
        })
    }

    /// One frame, and what else is due.
    fn frame(&mut self, shape: Shape, now: Instant) {
        let timestamp = self.timestamp(shape);
        let is_key = self.keyframe_wanted && now - self.keyframe >= KEYFRAME_PAUSE
            || self.frame.is_multiple_of(shape.gop);
        let mut bytes = shape.frame_bytes;
        if is_key {
            (self.keyframe, self.keyframe_wanted) = (now, false);
            bytes *= KEYFRAME_WEIGHT;
            let mut payload = [0; PARAMETERS.len() + stamp::BYTES];
            payload[..PARAMETERS.len()].copy_from_slice(&PARAMETERS);
            self.packet(&mut payload, timestamp, false);
        }
        let count = bytes.div_ceil(PAYLOAD_BYTES);
        let each = bytes.div_ceil(count).max(stamp::BYTES + 2);
        let mut payload = [0; PAYLOAD_BYTES];
        let kind = if is_key { TYPE_KEY } else { TYPE_SLICE };
        for nth in 0..count {
            let (is_first, is_last) = (nth == 0, nth + 1 == count);
            let head = match (is_first, is_last) {
                (true, true) => [SLICE & 0xe0 | kind, 0],
                (true, false) => [FRAGMENT, FRAGMENT_START | kind],
                (false, true) => [FRAGMENT, FRAGMENT_END | kind],
                (false, false) => [FRAGMENT, kind],
            };
            payload[..2].copy_from_slice(&head);
            let room = each.min(PAYLOAD_BYTES);
            self.packet(&mut payload[..room], timestamp, is_last);
        }
        self.frame += 1;
        if now - self.checked >= CONSENT {
            self.checked = now;
            self.entry.check();
        }
        if self.reported.is_none_or(|at| now - at >= REPORT) {
            self.reported = Some(now);
            self.report(timestamp);
        }
    }

    fn timestamp(&self, shape: Shape) -> u32 {
        let ticks = self.frame * VIDEO_HZ / shape.fps;
        u32::try_from(ticks & 0xffff_ffff).unwrap_or(0)
    }

    fn packet(&mut self, payload: &mut [u8], timestamp: u32, marker: bool) {
        let header = Header {
            marker,
            payload_type: PAYLOAD_TYPE,
            sequence: u16::try_from(self.index & 0xffff).unwrap_or(0),
            timestamp,
            ssrc: self.ssrc,
        };
        let (mut head, mut out) = ([0; 12], [0; PAYLOAD_BYTES + 64]);
        let _ = header.write(&[], &mut head);
        stamp::write(payload, stamp::now());
        if let Some(bytes) = self
            .entry
            .keys
            .sealer
            .rtp(self.index, &head, payload, &mut out)
        {
            // What does not leave is lost, and asked for again by nobody: viewers see it.
            let _ = self.entry.socket.send(&out[..bytes]);
        }
        self.index += 1;
        self.packets = self.packets.wrapping_add(1);
        let bytes = u32::try_from(payload.len()).unwrap_or(0);
        self.octets = self.octets.wrapping_add(bytes);
    }

    fn report(&mut self, timestamp: u32) {
        let info = SenderInfo {
            ssrc: self.ssrc,
            ntp: Ntp::from_unix_ns(stamp::now()),
            rtp_timestamp: timestamp,
            packets: self.packets,
            octets: self.octets,
        };
        let (mut packet, mut out) = ([0; 128], [0; 192]);
        let bytes = write_sender_report(&info, CNAME.as_bytes(), &mut packet);
        if let Some(bytes) =
            self.entry
                .keys
                .sealer
                .rtcp(self.rtcp_index, &packet[..bytes], &mut out)
        {
            self.rtcp_index += 1;
            let _ = self.entry.socket.send(&out[..bytes]);
        }
    }

    /// Reads what the server says: whether a keyframe is wanted.
    fn hear(&mut self, inbox: &mut Inbox) {
        while let Some((datagrams, _)) = inbox.receive(&self.entry.socket) {
            for datagram in datagrams {
                if classify(datagram) != Class::Rtcp {
                    continue;
                }
                let Ok(packet) = self.entry.keys.opener.rtcp(datagram) else {
                    continue;
                };
                self.keyframe_wanted |= compound(packet).any(|item| match item {
                    Item::Feedback(feedback) => {
                        matches!(feedback.message, Feedback::Pli | Feedback::Fir(_))
                    }
                    _ => false,
                });
            }
        }
    }
}

/// Sends until it is told to stop, then says goodbye.
pub fn run(mut all: Vec<Publisher>, server: SocketAddr, shape: Shape, stop: &Arc<AtomicBool>) {
    let start = Instant::now();
    let mut inbox = Inbox::default();
    let count = all.len() as u64;
    let mut turn: u64 = 0;
    while !stop.load(Relaxed) && count > 0 {
        // Each has its own place between two frames.
        let at = Duration::from_nanos(turn * NS_PER_S / (shape.fps * count));
        if let Some(early) = at.checked_sub(start.elapsed()) {
            std::thread::sleep(early);
        }
        let nth = usize::try_from(turn % count).unwrap_or(0);
        all[nth].hear(&mut inbox);
        all[nth].frame(shape, Instant::now());
        turn += 1;
    }
    for publisher in &all {
        Entry::delete(server, &publisher.entry.location);
    }
}
