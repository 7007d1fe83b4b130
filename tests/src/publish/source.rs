//! Owns one source of a synthetic publisher: frames of one encoding that nobody could see anything
//! in, or audio that nobody could hear, the packets that were sent of it, and what it reports.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use seal::Sealer;
use wire::ntp::Ntp;
use wire::rtcp_report::SenderInfo;
use wire::rtp::Header;
use wire::rtp_ext::Block;

use super::mark::{MARKED_BYTES, Mark};
use super::offer::{AUDIO_TYPE, MID_ID, PAYLOAD_TYPE, RID_ID, RIDS, VIDEO_MID};
use crate::viewer::unix_ns;

/// A keyframe that was asked for comes no sooner than this after the one before.
const KEYFRAME_PAUSE: Duration = Duration::from_millis(500);

/// Packets that are kept to be sent again: a second of them and more.
const HISTORY: usize = 1024;

/// Longest payload.
const PAYLOAD_MAX: usize = 1180;

/// Header, longest block of extensions and tag around it.
const AROUND_MAX: usize = 128;

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

/// A frame of Opus: 20 ms of CELT in stereo (RFC 6716 section 3.1).
const OPUS: u8 = 0xfc;

/// What a source sends.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Frames a second.
    pub fps: u32,
    /// Packets of a frame.
    pub packets: usize,
    /// Payload of each.
    pub payload_bytes: usize,
    /// Frames from keyframe to keyframe; 0: only when asked, as browsers do.
    pub key_every: u64,
    /// Packets of a keyframe.
    pub key_packets: usize,
    /// Number and name of the encoding, if there are several.
    pub encoding: Option<u8>,
    /// Frames are of audio.
    pub is_audio: bool,
}

impl Shape {
    /// Sixty small frames a second, and a keyframe every other.
    pub const VIDEO: Self = Self {
        fps: 60,
        packets: 6,
        payload_bytes: 400,
        key_every: 120,
        key_packets: 6,
        encoding: None,
        is_audio: false,
    };

    /// Frames of 20 ms, 32 kbit/s.
    pub const AUDIO: Self = Self {
        fps: 50,
        packets: 1,
        payload_bytes: 80,
        key_every: 0,
        key_packets: 1,
        encoding: None,
        is_audio: true,
    };

    /// One of several encodings, of about so many kbit/s: 30 frames a second, and a keyframe of
    /// four times their size when one is asked for.
    ///
    /// # Panics
    /// When there is no such encoding.
    #[must_use]
    pub fn encoding(number: u8, kbps: usize) -> Self {
        const FPS: u32 = 30;
        /// Of a keyframe, in frames.
        const WEIGHT: usize = 4;
        assert!(usize::from(number) < RIDS.len(), "{number}");
        let bytes = kbps * 125 / usize::try_from(FPS).unwrap_or(1);
        // A unit in one fragment is against the rule (RFC 6184 section 5.8).
        let packets = bytes.div_ceil(PAYLOAD_MAX).max(2);
        Self {
            fps: FPS,
            packets,
            payload_bytes: (bytes / packets).max(MARKED_BYTES),
            key_every: 0,
            key_packets: WEIGHT * packets,
            encoding: Some(number),
            is_audio: false,
        }
    }

    const fn clock_hz(&self) -> u32 {
        if self.is_audio { 48_000 } else { 90_000 }
    }

    fn is_due(&self, frame: u64, since: Duration) -> bool {
        Duration::from_secs(frame) <= since * self.fps
    }
}

/// The numbers with which a source begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Sequence number of the first packet.
    pub sequence: u16,
    /// RTP timestamp of the first frame.
    pub timestamp: u32,
    /// Source of the media.
    pub ssrc: u32,
}

/// What carries packets away.
pub struct Way<'a> {
    pub socket: &'a UdpSocket,
    pub sealer: &'a Sealer,
}

/// One source.
pub struct Source {
    pub begin: Begin,
    pub shape: Shape,
    pub keyframes: u64,
    index: u64,
    frame: u64,
    /// Packets with a mark.
    marked: u32,
    octets: u32,
    history: VecDeque<(u16, Vec<u8>)>,
    keyframe_at: Option<Instant>,
    keyframe_wanted: bool,
    /// The other side has reported about it, and so knows which one it is: it is named no more.
    pub is_known: bool,
}

impl Source {
    pub fn new(shape: Shape, begin: Begin) -> Self {
        Self {
            begin,
            shape,
            index: begin.sequence.into(),
            frame: 0,
            marked: 0,
            octets: 0,
            history: VecDeque::new(),
            keyframe_at: None,
            keyframe_wanted: false,
            keyframes: 0,
            is_known: false,
        }
    }

    /// When its next frame is due, after the beginning.
    pub fn due(&self) -> Duration {
        Duration::from_secs(self.frame + 1) / self.shape.fps
    }

    /// Sends the next frame if it is due, or lets it pass: how many packets that were.
    pub fn turn(&mut self, since: Duration, is_held: bool, way: &Way<'_>) -> u64 {
        if !self.shape.is_due(self.frame + 1, since) {
            return 0;
        }
        self.frame += 1;
        match is_held {
            true => 0,
            false => self.frame(Instant::now(), way),
        }
    }

    /// A keyframe is wanted.
    pub fn want_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// Sends again what was lost of these.
    pub fn resend(&self, lost: &[u16], way: &Way<'_>) {
        let all = self.history.iter();
        for (_, sealed) in all.filter(|(number, _)| lost.contains(number)) {
            let _ = way.socket.send(sealed);
        }
    }

    /// What it reports now.
    pub fn report(&self) -> SenderInfo {
        let packets = self.index - u64::from(self.begin.sequence);
        SenderInfo {
            ssrc: self.begin.ssrc,
            ntp: Ntp::from_unix_ns(unix_ns()),
            rtp_timestamp: self.timestamp(),
            packets: low(packets),
            octets: self.octets,
        }
    }

    fn timestamp(&self) -> u32 {
        let ticks = self.frame * u64::from(self.shape.clock_hz() / self.shape.fps);
        self.begin.timestamp.wrapping_add(low(ticks))
    }

    fn frame(&mut self, now: Instant, way: &Way<'_>) -> u64 {
        let Shape {
            packets,
            payload_bytes,
            key_every,
            key_packets,
            ..
        } = self.shape;
        let first = self.index;
        let mut payload = [0x5a; PAYLOAD_MAX];
        let payload = &mut payload[..payload_bytes];
        if self.shape.is_audio {
            payload[0] = OPUS;
            self.marked(payload, self.frame == 1, way);
            return self.index - first;
        }
        let paused = self.keyframe_at.map(|at| now - at);
        let is_wanted = self.keyframe_wanted && paused.is_none_or(|it| it >= KEYFRAME_PAUSE);
        let is_turn = key_every > 0 && self.frame.is_multiple_of(key_every);
        let is_key = is_wanted || is_turn || paused.is_none();
        if is_key {
            (self.keyframe_at, self.keyframe_wanted) = (Some(now), false);
            self.keyframes += 1;
            self.packet(&PARAMETERS, false, way);
        }
        let (kind, count) = match is_key {
            true => (TYPE_KEY, key_packets),
            false => (TYPE_SLICE, packets),
        };
        for nth in 1..=count {
            let place = match nth {
                1 => FRAGMENT_START,
                _ if nth == count => FRAGMENT_END,
                _ => 0,
            };
            payload[..2].copy_from_slice(&[FRAGMENT, place | kind]);
            self.marked(payload, nth == count, way);
        }
        self.index - first
    }

    fn marked(&mut self, payload: &mut [u8], marker: bool, way: &Way<'_>) {
        let mark = Mark {
            encoding: self.shape.encoding.unwrap_or(0),
            number: self.marked,
        };
        mark.write(payload);
        self.marked = self.marked.wrapping_add(1);
        self.packet(payload, marker, way);
    }

    fn packet(&mut self, payload: &[u8], marker: bool, way: &Way<'_>) {
        let header = Header {
            marker,
            payload_type: match self.shape.is_audio {
                true => AUDIO_TYPE,
                false => PAYLOAD_TYPE,
            },
            sequence: u16::try_from(self.index & 0xffff).unwrap_or(0),
            timestamp: self.timestamp(),
            ssrc: self.begin.ssrc,
        };
        let mut names = Block::new();
        if let Some(encoding) = self.shape.encoding.filter(|_| !self.is_known) {
            names.push(MID_ID, VIDEO_MID.as_bytes());
            names.push(RID_ID, RIDS[usize::from(encoding)].as_bytes());
        }
        let (mut head, mut out) = ([0; AROUND_MAX], [0; PAYLOAD_MAX + AROUND_MAX]);
        let head_bytes = header.write(names.as_bytes(), &mut head);
        let sealed = way
            .sealer
            .rtp(self.index, &head[..head_bytes], payload, &mut out);
        if let Some(bytes) = sealed {
            // What does not leave is asked for again.
            let _ = way.socket.send(&out[..bytes]);
            self.history
                .push_back((header.sequence, out[..bytes].to_vec()));
        }
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.index += 1;
        let bytes = u32::try_from(payload.len()).unwrap_or(0);
        self.octets = self.octets.wrapping_add(bytes);
    }
}

fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).unwrap_or(0)
}
