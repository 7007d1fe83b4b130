//! Owns the lanes of a log: each carries packets with numbers of their own, of one source.
//!
//! A stream has one lane of audio and, where its publisher sends several encodings of the same
//! picture (RFC 8853), as many lanes of video. They are in one log, so that all have one order.

use crate::command::{AUDIO, TRACKS_MAX, VIDEO};

/// Encodings of the same picture. Browsers send three at the most.
#[cfg(not(loom))]
pub const LAYERS_MAX: usize = 3;

/// The model of the log tries every order in which words are written: it has one.
#[cfg(loom)]
pub const LAYERS_MAX: usize = 1;

/// Spatial layers within one encoding that are told apart; what is above counts as the highest.
/// Browsers send three at the most (W3C WebRTC-SVC names modes up to L3T3).
pub const SPATIAL_MAX: usize = 3;

/// Temporal layers within one encoding that are told apart, likewise.
pub const TEMPORAL_MAX: usize = 3;

/// Lanes of a log: audio, and the layers of video.
pub const LANES_MAX: usize = LAYERS_MAX + 1;

/// The lanes of video, in the order in which the publisher names its encodings: which of them is
/// the best is told by their rates. A stream with one encoding has the first.
pub const LAYERS: [usize; LAYERS_MAX] = {
    let mut lanes = [VIDEO; LAYERS_MAX];
    let mut nth = 1;
    while nth < LAYERS_MAX {
        lanes[nth] = AUDIO + nth;
        nth += 1;
    }
    lanes
};

const _: () = assert!(VIDEO == 0 && AUDIO == 1 && TRACKS_MAX == 2);

/// The track of a viewer that a lane feeds.
#[inline]
#[must_use]
pub const fn track_of(lane: usize) -> usize {
    if lane == AUDIO { AUDIO } else { VIDEO }
}

/// A set of lanes, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lanes(pub u8);

impl Lanes {
    /// Every lane.
    pub const ALL: Self = Self((1 << LANES_MAX) - 1);
    /// Those of video.
    pub const VIDEO: Self = Self::ALL.without(AUDIO);

    /// This lane alone.
    #[inline]
    #[must_use]
    pub const fn only(lane: usize) -> Self {
        Self(1 << lane)
    }

    /// True if `lane` is among them.
    #[inline]
    #[must_use]
    pub const fn has(self, lane: usize) -> bool {
        self.0 >> lane & 1 == 1
    }

    /// These and `lane`.
    #[inline]
    #[must_use]
    pub const fn with(self, lane: usize) -> Self {
        Self(self.0 | 1 << lane)
    }

    /// These without `lane`.
    #[inline]
    #[must_use]
    pub const fn without(self, lane: usize) -> Self {
        Self(self.0 & !(1 << lane))
    }

    /// Those of either.
    #[inline]
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// True if there are none.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The lanes in ascending order of their indexes.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..LANES_MAX).filter(move |lane| self.has(*lane))
    }
}
