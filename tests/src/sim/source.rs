//! Owns an encoder whose every byte can be told from its place, and the check of such bytes.

use link::command::{AUDIO, VIDEO};
use wire::time::{Span, Time};

use super::plan::StreamPlan;
use crate::random::Random;

/// Between two frames of video.
const FRAME: Span = Span::millis(40);

/// Between two packets of sound.
const SOUND: Span = Span::millis(20);

/// Encodings of one picture at the most, and their names.
pub const LAYERS_MAX: usize = 3;
/// See [`LAYERS_MAX`].
pub const NAMES: [&str; LAYERS_MAX] = ["q", "h", "f"];

/// Packets of a frame by encoding, about 50, 200 and 500 kbit/s; of a keyframe some more.
const PACKETS: [u16; LAYERS_MAX] = [1, 4, 10];
const PACKETS_KEY: u16 = 3;

/// The same of a stream of one encoding.
const PACKETS_ALONE: u16 = 2;

/// What a place takes at the front of a payload.
const PLACE_BYTES: usize = 11;

/// First bytes of H.264: parameters and a slice of a keyframe, and any other slice.
const NAL_PARAMETERS: u8 = 0x67;
const NAL_KEY: u8 = 0x65;
const NAL_OTHER: u8 = 0x41;

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of its stream.
    pub stream: u8,
    /// [`VIDEO`] or [`AUDIO`].
    pub track: u8,
    /// Which encoding of the picture it is of.
    pub layer: u8,
    /// It is of a keyframe.
    pub is_key: bool,
    /// It is the last of its frame.
    pub is_last: bool,
    /// Number of its frame.
    pub frame: u32,
    /// Its place in the frame.
    pub nth: u16,
}

/// A packet of an encoder.
pub struct Shot {
    /// Where it belongs.
    pub place: Place,
    /// On the clock of its track.
    pub timestamp: u32,
    /// What is sent.
    pub payload: Vec<u8>,
}

/// An encoder of one stream.
pub struct Encoder {
    stream: u8,
    /// Frames from keyframe to keyframe.
    group: u32,
    /// Of one picture.
    encodings: usize,
    frames: u32,
    since_key: [u32; LAYERS_MAX],
    sounds: u32,
    frame_at: Time,
    sound_at: Time,
    random: Random,
    /// A mutant's: the stream that its packets say they are of.
    pub says_stream: u8,
    /// A mutant's: one byte of each frame is another one.
    pub is_spoilt: bool,
}

impl Encoder {
    /// One that begins at `now`, with a keyframe.
    #[must_use]
    pub fn new(stream: u8, plan: &StreamPlan, now: Time, seed: u64) -> Self {
        Self {
            stream,
            group: plan.group,
            encodings: plan.encodings.max(1),
            frames: 0,
            since_key: [0; LAYERS_MAX],
            sounds: 0,
            frame_at: now,
            sound_at: now,
            random: Random::new(seed ^ 0xe0c0),
            says_stream: stream,
            is_spoilt: false,
        }
    }

    /// The next frame is a keyframe.
    pub fn force_key(&mut self) {
        self.since_key = [0; LAYERS_MAX];
    }

    /// The next frame of this encoding is a keyframe.
    pub fn force_key_of(&mut self, layer: usize) {
        self.since_key[layer] = 0;
    }

    /// Nobody takes what would have come until now.
    pub fn skip(&mut self, now: Time) {
        while !self.turn(now).is_empty() {}
        self.force_key();
    }

    /// What is due, in the order of time: one frame, or a sound.
    pub fn turn(&mut self, now: Time) -> Vec<Shot> {
        if self.frame_at <= now && self.frame_at <= self.sound_at {
            self.frame_at = self.frame_at + FRAME;
            // The largest first, as browsers do it.
            let all = (0..self.encodings).rev();
            let mut shots: Vec<_> = all.flat_map(|layer| self.frame(layer)).collect();
            self.frames += 1;
            if self.is_spoilt
                && let Some(byte) = shots.last_mut().and_then(|shot| shot.payload.last_mut())
            {
                *byte ^= 1;
            }
            return shots;
        }
        if self.sound_at <= now {
            self.sound_at = self.sound_at + SOUND;
            return vec![self.sound()];
        }
        Vec::new()
    }

    /// A mutant's: the next frame is a keyframe, and the one before is never sent.
    pub fn leave_out(&mut self) {
        self.frames += 1;
        self.force_key();
    }

    fn frame(&mut self, layer: usize) -> Vec<Shot> {
        let is_key = self.since_key[layer] == 0;
        self.since_key[layer] = (self.since_key[layer] + 1) % self.group;
        let alone = self.encodings == 1;
        let count = if alone { PACKETS_ALONE } else { PACKETS[layer] };
        let count = count + if is_key { PACKETS_KEY } else { 0 };
        // Of one size but for the last, as payloaders make them: those travel together.
        let bytes = 100 + self.random.below(300);
        let last = PLACE_BYTES + self.random.below(bytes - PLACE_BYTES);
        let frame = self.frames;
        let shots = (0..count).map(|nth| {
            let place = Place {
                stream: self.says_stream,
                track: 0,
                layer: u8::try_from(layer).unwrap_or(0),
                is_key,
                is_last: nth + 1 == count,
                frame,
                nth,
            };
            Shot {
                place,
                timestamp: place.timestamp(),
                payload: place.payload(if nth + 1 == count { last } else { bytes }),
            }
        });
        shots.collect()
    }

    fn sound(&mut self) -> Shot {
        let place = Place {
            stream: self.says_stream,
            track: 1,
            layer: 0,
            is_key: false,
            is_last: true,
            frame: self.sounds,
            nth: 0,
        };
        self.sounds += 1;
        Shot {
            place,
            timestamp: place.timestamp(),
            payload: place.payload(40 + self.random.below(40)),
        }
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> u8 {
        self.stream
    }
}

impl Place {
    /// Its lane in a log.
    #[must_use]
    pub fn lane(&self) -> usize {
        if self.track == 0 { VIDEO } else { AUDIO }
    }

    /// When it is to be shown, on the clock of its track. Soon wraps.
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        let ticks = if self.track == 0 { 3600 } else { 960 };
        0xffff_8000_u32.wrapping_add(self.frame.wrapping_mul(ticks))
    }

    /// The bytes of the packet at this place, at least those of the place itself.
    #[must_use]
    pub fn payload(&self, bytes: usize) -> Vec<u8> {
        let first = match (self.track, self.is_key, self.nth) {
            (0, true, 0) => NAL_PARAMETERS,
            (0, true, _) => NAL_KEY,
            _ => NAL_OTHER,
        };
        let flags = u8::from(self.is_key) | u8::from(self.is_last) << 1;
        let mut payload = Vec::with_capacity(bytes.max(PLACE_BYTES));
        payload.extend([first, self.stream, self.track, flags, self.layer]);
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.nth.to_be_bytes());
        let mut random = Random::new(
            u64::from(self.layer) << 40 ^ u64::from(self.frame) << 32
                | u64::from(self.nth) << 16
                | u64::from(self.stream) << 8
                | u64::from(self.track),
        );
        while payload.len() < bytes {
            payload.extend(random.next_u64().to_be_bytes());
        }
        payload.truncate(bytes.max(PLACE_BYTES));
        payload
    }

    /// Where a payload says it belongs; `None` unless it is what an encoder made for that place,
    /// byte for byte.
    #[must_use]
    pub fn of(payload: &[u8]) -> Option<Self> {
        let (head, _) = payload.split_at_checked(PLACE_BYTES)?;
        let place = Self {
            stream: head[1],
            track: head[2],
            layer: head[4],
            is_key: head[3] & 1 != 0,
            is_last: head[3] & 2 != 0,
            frame: u32::from_be_bytes(*head[5..].first_chunk()?),
            nth: u16::from_be_bytes(*head[9..].first_chunk()?),
        };
        (place.payload(payload.len()) == payload).then_some(place)
    }
}
