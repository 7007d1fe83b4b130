//! Owns a stream whose every byte can be told from its place.

use link::Region;
use link::command::{AUDIO, VIDEO};
use link::ids::StreamId;
use link::log::{Flags, LogWriter, Record};
use wire::time::Time;

use crate::random::Random;

/// Frames from keyframe to keyframe.
const GROUP: u32 = 45;

/// A stream and the writer of its log.
pub struct Source {
    /// The stream.
    pub id: StreamId,
    writer: LogWriter,
    frames: u32,
    sounds: u32,
    random: Random,
}

impl Source {
    /// Opens stream `index`.
    pub(super) fn open(region: &Region, index: u32) -> Self {
        let name = format!("world/{index}");
        let id = region
            .open_stream(index, &name)
            .expect("a stream below the limit");
        let writer = region.log_writer(id).expect("nobody else writes it");
        Self {
            id,
            writer,
            frames: 0,
            sounds: 0,
            random: Random::new(u64::from(index) + 1),
        }
    }

    /// The next frame of video, and the sound that belongs to its time (five packets of 20 ms for
    /// every three frames).
    pub fn frame(&mut self, now: Time) {
        let is_key = self.frames.is_multiple_of(GROUP);
        let (packets, bytes) = if is_key {
            (24, 1188)
        } else {
            (8, 1050 + self.random.below(100))
        };
        for nth in 0..packets {
            let is_last = nth + 1 == packets;
            let mut flags = if is_key { Flags::KEY } else { Flags::NONE };
            if nth == 0 {
                flags |= Flags::FIRST;
            }
            if is_last {
                flags |= Flags::LAST;
            }
            let bytes = if is_last {
                200 + self.random.below(700)
            } else {
                bytes
            };
            self.append(now, VIDEO, flags, self.frames, nth, bytes);
        }
        self.frames += 1;
        while self.sounds * 3 < self.frames * 5 {
            let bytes = 160 + self.random.below(160);
            self.append(
                now,
                AUDIO,
                Flags::FIRST | Flags::LAST,
                self.sounds,
                0,
                bytes,
            );
            self.sounds += 1;
        }
        self.writer.publish();
    }

    fn append(
        &mut self,
        now: Time,
        track: usize,
        flags: Flags,
        frame: u32,
        nth: u32,
        bytes: usize,
    ) {
        let ticks = if track == VIDEO { 3000 } else { 960 };
        let record = Record {
            lane: u8::try_from(track).expect("two tracks"),
            flags,
            // Near the wrap, which every run of the world crosses.
            timestamp: 0xffff_8000_u32.wrapping_add(frame.wrapping_mul(ticks)),
            capture: now,
            arrival: now,
            ..Record::default()
        };
        let payload = content(self.id.index, track, frame, nth, bytes);
        self.writer
            .append(&record, &[&payload])
            .expect("readers of this world keep up");
    }
}

/// The payload of a packet: its place, and bytes that follow from it.
#[must_use]
pub fn content(stream: u32, track: usize, frame: u32, nth: u32, bytes: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(bytes);
    let track = u32::try_from(track).unwrap_or(u32::MAX);
    for part in [stream, track, frame, nth] {
        payload.extend(part.to_be_bytes());
    }
    let place = payload
        .iter()
        .fold(7, |sum: u64, byte| sum.wrapping_mul(31) ^ u64::from(*byte));
    let rest = bytes.saturating_sub(payload.len());
    payload.extend(Random::new(place).bytes(rest));
    payload
}
