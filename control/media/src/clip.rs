//! Owns playing a recorded clip for ever: its bytes at their pace, its times going on.

use crate::num::{signed, unsigned};
use crate::ts::{self, PACKET_BYTES};
use core::fmt;
use std::borrow::Cow;
use wire::time::{Span, Time};

/// Most bytes given at once: what a burst of transport packets from an encoder brings.
const BYTES_MAX: usize = 64 * 1024;

/// A looper called later than this goes on from now instead of catching up.
const LATE_MAX: Span = Span::secs(1);

/// Most PIDs of a clip.
const PIDS_MAX: usize = 16;

/// Mask of 33-bit times.
const TIME_MASK: u64 = (1 << 33) - 1;

/// Why a clip cannot be looped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipError {
    /// It is not a whole number of transport packets, all readable.
    NotTransportStream,
    /// Fewer than two video frames have times that ascend.
    NoVideo,
    /// It has more PIDs than are kept.
    TooManyPids,
}

impl fmt::Display for ClipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotTransportStream => {
                "the clip is not MPEG-TS of 188-byte packets; make it with ffmpeg -f mpegts"
            }
            Self::NoVideo => "the clip has no video with ascending times",
            Self::TooManyPids => "the clip has more than 16 PIDs; keep one video and one audio",
        })
    }
}

impl core::error::Error for ClipError {}

/// Plays a clip of MPEG-TS for ever. Its audio should last as long as its video.
pub struct Looper {
    clip: Cow<'static, [u8]>,
    /// By transport packet: when it is due, in 90 kHz ticks from the clip's begin.
    due: Vec<i64>,
    /// Length of the clip in 90 kHz ticks.
    length: i64,
    /// When the clip's current round began.
    begin: Option<Time>,
    rounds: u64,
    /// The next packet.
    next: usize,
    /// Continuity counters by PID, so that they go on over the seam.
    counters: Vec<(u16, u8)>,
    out: Vec<u8>,
}

impl Looper {
    /// Reads a clip.
    ///
    /// # Errors
    /// It is not MPEG-TS with video; the error says what to do.
    pub fn new(clip: impl Into<Cow<'static, [u8]>>) -> Result<Self, ClipError> {
        let clip = clip.into();
        let (packets, rest) = clip.as_chunks::<PACKET_BYTES>();
        if !rest.is_empty() || packets.is_empty() {
            return Err(ClipError::NotTransportStream);
        }
        let mut due = Vec::with_capacity(packets.len());
        let mut counters: Vec<(u16, u8)> = Vec::new();
        let (mut first, mut last, mut frames) = (None, 0, 0);
        for bytes in packets {
            let packet = ts::read(bytes).filter(|_| bytes[0] == 0x47);
            let packet = packet.ok_or(ClipError::NotTransportStream)?;
            if !counters.iter().any(|(pid, _)| *pid == packet.pid) {
                counters.push((packet.pid, 0x0f));
            }
            if let Some(time) = video_time(packet.start, packet.payload) {
                let at = signed(time) - *first.get_or_insert(signed(time));
                frames += i64::from(at > last);
                last = last.max(at);
            }
            due.push(last);
        }
        if counters.len() > PIDS_MAX {
            return Err(ClipError::TooManyPids);
        }
        if frames == 0 {
            return Err(ClipError::NoVideo);
        }
        let length = last + (last + frames / 2) / frames;
        let (begin, rounds, next, out) = (None, 0, 0, Vec::new());
        Ok(Self {
            clip,
            due,
            length,
            begin,
            rounds,
            next,
            counters,
            out,
        })
    }

    /// How long one round lasts.
    #[must_use]
    pub fn length(&self) -> Span {
        ticks(self.length)
    }

    /// When the next bytes are due; before the first call of [`Self::poll`] at once.
    #[must_use]
    pub fn deadline(&self) -> Time {
        self.begin
            .map_or(Time::ZERO, |begin| begin + ticks(self.due[self.next]))
    }

    /// Bytes that are due by `now`, whole transport packets. Call until it gives `None`.
    pub fn poll(&mut self, now: Time) -> Option<&[u8]> {
        self.begin.get_or_insert(now);
        if now.since(self.deadline()) > LATE_MAX {
            self.begin = Some(now - ticks(self.due[self.next]));
        }
        self.out.clear();
        while self.deadline() <= now && self.out.len() < BYTES_MAX {
            self.append_packet();
            self.next += 1;
            if self.next == self.due.len() {
                self.next = 0;
                self.rounds += 1;
                self.begin = self.begin.map(|begin| begin + self.length());
            }
        }
        (!self.out.is_empty()).then_some(self.out.as_slice())
    }

    /// Copies the next packet with times and counter moved on.
    fn append_packet(&mut self) {
        let (packets, _) = self.clip.as_chunks::<PACKET_BYTES>();
        let mut bytes = packets[self.next];
        let Some(packet) = ts::read(&bytes) else {
            return;
        };
        let (pid, start, payload) = (packet.pid, packet.start, packet.payload.len());
        if payload > 0
            && let Some((_, counter)) = self.counters.iter_mut().find(|(known, _)| *known == pid)
        {
            *counter = (*counter + 1) & 0x0f;
            bytes[3] = bytes[3] & 0xf0 | *counter;
        }
        let moved = self.rounds.wrapping_mul(unsigned(self.length)) & TIME_MASK;
        move_clock_reference(&mut bytes, moved);
        if start {
            move_stamps(&mut bytes[PACKET_BYTES - payload..], moved);
        }
        self.out.extend_from_slice(&bytes);
    }
}

fn ticks(count: i64) -> Span {
    Span(unsigned(count) * 100_000 / 9)
}

/// Decoding time of the video frame that begins in this payload.
fn video_time(start: bool, payload: &[u8]) -> Option<u64> {
    let [0, 0, 1, 0xe0..=0xef, _, _, _, flags, _, stamps @ ..] = payload else {
        return None;
    };
    match flags >> 6 {
        _ if !start => None,
        2 => read_stamp(stamps),
        3 => read_stamp(stamps.get(5..)?),
        _ => None,
    }
}

fn read_stamp(bytes: &[u8]) -> Option<u64> {
    let [a, b, c, d, e] = bytes.first_chunk().map(|bytes| bytes.map(u64::from))?;
    Some((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1)
}

/// Moves presentation and decoding time of the PES packet that begins here.
fn move_stamps(payload: &mut [u8], moved: u64) {
    let [0, 0, 1, _, _, _, marker, flags, _, stamps @ ..] = payload else {
        return;
    };
    if *marker & 0xc0 != 0x80 {
        return;
    }
    let count = match *flags >> 6 {
        2 => 1,
        3 => 2,
        _ => 0,
    };
    for stamp in stamps.chunks_exact_mut(5).take(count) {
        let Some(time) = read_stamp(stamp) else {
            return;
        };
        write_stamp(stamp, (time + moved) & TIME_MASK);
    }
}

fn write_stamp(bytes: &mut [u8], time: u64) {
    let byte = |shift: u32, bits: u64| {
        u8::try_from(time >> shift & ((1 << bits) - 1)).expect("at most eight bits")
    };
    bytes[0] = bytes[0] & 0xf0 | byte(30, 3) << 1 | 1;
    bytes[1] = byte(22, 8);
    bytes[2] = byte(15, 7) << 1 | 1;
    bytes[3] = byte(7, 8);
    bytes[4] = byte(0, 7) << 1 | 1;
}

/// Moves the clock reference, if this packet carries one: 33 bits of 90 kHz, then 15 others.
fn move_clock_reference(bytes: &mut [u8; PACKET_BYTES], moved: u64) {
    if bytes[3] & 0x20 == 0 || bytes[4] < 7 || bytes[5] & 0x10 == 0 {
        return;
    }
    let mut field = [0; 8];
    field[..6].copy_from_slice(&bytes[6..12]);
    let field = u64::from_be_bytes(field);
    let base = ((field >> 31) + moved) & TIME_MASK;
    let field = base << 31 | field & 0x7fff_ffff;
    bytes[6..12].copy_from_slice(&field.to_be_bytes()[..6]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_written_as_read() {
        for time in [0, 1, TIME_MASK, 0x1_2345_6789] {
            let mut bytes = [0x31, 0, 0, 0, 0];
            write_stamp(&mut bytes, time);
            assert_eq!(read_stamp(&bytes), Some(time));
            assert_eq!(bytes[0] & 0xf1, 0x31);
            assert_eq!((bytes[2] & 1, bytes[4] & 1), (1, 1));
        }
    }

    #[test]
    fn clock_references_move_and_keep_their_extension() {
        let mut bytes = [0; PACKET_BYTES];
        bytes[3..6].copy_from_slice(&[0x30, 7, 0x10]);
        bytes[6..12].copy_from_slice(&[0, 0, 0, 5, 0xfe, 0x77]);
        move_clock_reference(&mut bytes, 3);
        // The base's last bit is the first of the fifth byte: 5 * 2 + 1 = 11, and 3 makes 14.
        assert_eq!(bytes[6..12], [0, 0, 0, 7, 0x7e, 0x77]);
    }

    #[test]
    fn what_is_no_clip_is_refused() {
        assert_eq!(
            Looper::new(vec![]).err(),
            Some(ClipError::NotTransportStream)
        );
        assert_eq!(
            Looper::new(vec![0x47; 187]).err(),
            Some(ClipError::NotTransportStream)
        );
        let mut null = vec![0xff; PACKET_BYTES];
        null[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
        assert_eq!(Looper::new(null).err(), Some(ClipError::NoVideo));
    }
}
