//! Owns what is told of a publisher's packets, as numbers in shared memory.

use crate::lanes::{LANES_MAX, SPATIAL_MAX, TEMPORAL_MAX};
use wire::time::Time;

/// Words of an [`Intake`] for each lane: four of the lane, one for each of its layers and one for
/// the size of each spatial one.
const LANE_WORDS: usize = 4 + SPATIAL_MAX * TEMPORAL_MAX + SPATIAL_MAX;

/// Words of an [`Intake`].
pub(super) const INTAKE_WORDS: usize = LANE_WORDS * LANES_MAX + 5;

/// What the worker that has a stream's publisher has taken in, over all publishers of this
/// generation of the stream, and what is known of the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// Media packets appended to the log, by lane.
    pub packets: [u64; LANES_MAX],
    /// Payload bytes of them.
    pub bytes: [u64; LANES_MAX],
    /// Width and height of the newest keyframe by lane, in pixels, where the packets tell; 0: not
    /// known.
    pub sizes: [(u16, u16); LANES_MAX],
    /// Payload bytes by lane, spatial and temporal layer; layers above the highest that is told
    /// apart count with that.
    pub layer_bytes: [[[u64; TEMPORAL_MAX]; SPATIAL_MAX]; LANES_MAX],
    /// Width and height by lane and spatial layer, likewise; 0: not known.
    pub layer_sizes: [[(u16, u16); SPATIAL_MAX]; LANES_MAX],
    /// Frames of video that began, by lane.
    pub frames: [u64; LANES_MAX],
    /// Keyframes among them, of all lanes.
    pub keyframes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came when they were asked for again.
    pub recovered: u64,
    /// When the last packet came.
    pub arrival: Time,
    /// Round trip to the publisher in microseconds; 0: not known.
    pub rtt_us: u64,
}

impl Intake {
    pub(super) fn words(&self) -> [u64; INTAKE_WORDS] {
        let mut words = [0; INTAKE_WORDS];
        let mut put = words.iter_mut();
        let mut put = |word: u64| put.by_ref().take(1).for_each(|place| *place = word);
        for lane in 0..LANES_MAX {
            put(self.packets[lane]);
            put(self.bytes[lane]);
            put(word_of(self.sizes[lane]));
            put(self.frames[lane]);
            self.layer_bytes[lane]
                .iter()
                .flatten()
                .for_each(|n| put(*n));
            self.layer_sizes[lane]
                .iter()
                .for_each(|size| put(word_of(*size)));
        }
        put(self.keyframes);
        put(self.lost);
        put(self.recovered);
        put(self.arrival.0);
        put(self.rtt_us);
        words
    }

    pub(super) fn of_words(words: [u64; INTAKE_WORDS]) -> Self {
        let mut words = words.into_iter();
        let mut take = || words.next().unwrap_or_default();
        let mut intake = Self::default();
        for lane in 0..LANES_MAX {
            intake.packets[lane] = take();
            intake.bytes[lane] = take();
            intake.sizes[lane] = size_of_word(take());
            intake.frames[lane] = take();
            let layers = intake.layer_bytes[lane].iter_mut().flatten();
            layers.for_each(|n| *n = take());
            let sizes = intake.layer_sizes[lane].iter_mut();
            sizes.for_each(|size| *size = size_of_word(take()));
        }
        intake.keyframes = take();
        intake.lost = take();
        intake.recovered = take();
        intake.arrival = Time(take());
        intake.rtt_us = take();
        intake
    }
}

fn word_of((width, height): (u16, u16)) -> u64 {
    u64::from(width) << 16 | u64::from(height)
}

fn size_of_word(word: u64) -> (u16, u16) {
    let side = |word: u64| u16::try_from(word & 0xffff).unwrap_or(0);
    (side(word >> 16), side(word))
}
