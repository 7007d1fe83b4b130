//! Owns how the sequence numbers that a viewer has seen map back to the packets of the log. Hot.
//!
//! While a viewer is sent packet after packet of a track, the distance between the two numbers is
//! constant: a *segment*. A jump, a replay or a skip starts the next one. A packet sent again
//! is found by its segment and comes out with the very header it had, which is what makes it
//! legal to send it again under the same SRTP index.

use core::hash::{Hash, Hasher};
use serde::{Deserialize, Serialize};
use wire::seq::diff32;

/// Segments remembered besides the current one. Whoever asks for packets from before so many jumps
/// is better served by the keyframe that those jumps brought. A viewer that gets every second frame
/// jumps with each: of 15 a second these are one and a half.
const OLDER: usize = 24;

/// A stretch of a track as one viewer gets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// SRTP index of its first packet.
    pub first_index: u64,
    /// The same packet's number within the track.
    pub first_seq: u64,
    /// That packet's frame.
    pub first_frame: u32,
    /// What a repeated first frame has for a timestamp: one tick after all that was sent.
    pub floor: u32,
    /// So many frames from the first have been sent before, at their true time. A repeated frame
    /// is placed one tick after the one before it: timestamps never run backwards.
    pub repeated_frames: u32,
    /// The lane that it was taken from.
    pub lane: u8,
    /// Packets of higher spatial layers were left out, which decides where frames end.
    pub spatial_max: u8,
    /// Added to the numbers of frames in dependency descriptors.
    pub number_offset: u16,
}

impl Segment {
    /// The SRTP index under which packet `seq` of the track leaves.
    #[cfg(test)]
    pub const fn index(&self, seq: u64) -> u64 {
        self.first_index
            .wrapping_add(seq.wrapping_sub(self.first_seq))
    }

    /// The number within the track of what left under `index`.
    #[inline]
    pub const fn seq(&self, index: u64) -> u64 {
        self.first_seq
            .wrapping_add(index.wrapping_sub(self.first_index))
    }

    /// The timestamp of a packet of `frame` whose true one is `timestamp`.
    #[inline]
    pub const fn timestamp(&self, timestamp: u32, frame: u32) -> u32 {
        let nth = frame.wrapping_sub(self.first_frame);
        if nth < self.repeated_frames {
            let squeezed = self.floor.wrapping_add(nth);
            if diff32(squeezed, timestamp) > 0 {
                return squeezed;
            }
        }
        timestamp
    }
}

/// The segments of one track of one viewer, newest first.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Told", from = "Told")]
#[repr(C)]
pub struct History {
    current: Segment,
    /// A ring.
    older: [Segment; OLDER],
    /// Where the newest of them is.
    newest: u8,
    used: u8,
    /// What left before this index cannot be had again.
    oldest_index: u64,
}

/// The same on its way to another worker, without the segments that there are not: the newest
/// first.
#[derive(Serialize, Deserialize)]
struct Told {
    segments: Vec<Segment>,
    oldest_index: u64,
}

impl From<History> for Told {
    fn from(history: History) -> Self {
        Self {
            segments: history.segments().copied().collect(),
            oldest_index: history.oldest_index,
        }
    }
}

impl From<Told> for History {
    fn from(told: Told) -> Self {
        let mut history = Self::starting(told.oldest_index);
        for segment in told.segments.into_iter().take(OLDER + 1).rev() {
            history.begin(segment);
        }
        history
    }
}

impl History {
    /// A history that starts at this SRTP index.
    pub fn starting(first_index: u64) -> Self {
        Self {
            oldest_index: first_index,
            ..Self::default()
        }
    }

    /// The segment that is being sent.
    #[inline]
    pub const fn current(&self) -> &Segment {
        &self.current
    }

    /// Begins another segment.
    pub fn begin(&mut self, segment: Segment) {
        if self.used > 0 {
            let next = (usize::from(self.newest) + 1) % OLDER;
            self.older[next] = self.current;
            self.newest = u8::try_from(next).unwrap_or_default();
        }
        if usize::from(self.used) <= OLDER {
            self.used += 1;
        }
        self.current = segment;
    }

    /// Forgets all that was sent before `index`, because headers look different from there on.
    pub fn forget(&mut self, index: u64) {
        *self = Self::starting(index);
    }

    /// What changes whenever a segment is begun or what was sent is forgotten.
    pub fn standing(&self, hasher: &mut impl Hasher) {
        let Self {
            current,
            used,
            oldest_index,
            ..
        } = self;
        (current, used, oldest_index).hash(hasher);
    }

    /// What left before `index` cannot be had again.
    pub fn forsake(&mut self, index: u64) {
        self.oldest_index = self.oldest_index.max(index);
    }

    /// The segment in which `index` left. The caller knows that `index` has been sent.
    #[inline]
    pub fn find(&self, index: u64) -> Option<&Segment> {
        if index < self.oldest_index || self.used == 0 {
            return None;
        }
        if index >= self.current.first_index {
            return Some(&self.current);
        }
        self.older().find(|segment| index >= segment.first_index)
    }

    /// All segments but the current one, the newest first.
    fn older(&self) -> impl Iterator<Item = &Segment> {
        let newest = usize::from(self.newest) + OLDER;
        let older = usize::from(self.used).saturating_sub(1);
        (0..older).map(move |back| &self.older[(newest - back) % OLDER])
    }

    /// All segments, the newest first.
    fn segments(&self) -> impl Iterator<Item = &Segment> {
        let current = (self.used > 0).then_some(&self.current);
        current.into_iter().chain(self.older())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(first_index: u64, first_seq: u64) -> Segment {
        Segment {
            first_index,
            first_seq,
            ..Segment::default()
        }
    }

    #[test]
    fn every_index_maps_to_the_packet_it_carried() {
        let mut history = History::starting(1000);
        assert_eq!(history.find(1000), None);
        // 26 segments of 10 packets; the k-th starts at packet 5000 - 100 k of the track.
        for k in 0..26 {
            history.begin(segment(1000 + 10 * k, 5000 - 100 * k));
        }
        assert_eq!(history.find(1009), None); // the first of 26 has been forgotten
        for index in 1010..1260 {
            let k = (index - 1000) / 10;
            let found = history.find(index).unwrap();
            assert_eq!(found.seq(index), 5000 - 100 * k + index % 10);
            assert_eq!(found.index(found.seq(index)), index);
        }
        history.forget(1260);
        assert_eq!(history.find(1259), None);
    }

    #[test]
    fn repeated_frames_move_on_by_a_tick() {
        let replay = Segment {
            first_frame: u32::MAX - 1,
            floor: 1_000_001,
            repeated_frames: 4,
            ..Segment::default()
        };
        let sent: Vec<u32> = (0..6)
            .map(|n| replay.timestamp(991_000 + 3000 * n, (u32::MAX - 1).wrapping_add(n)))
            .collect();
        assert_eq!(
            sent,
            [
                1_000_001, 1_000_002, 1_000_003, 1_000_004, 1_003_000, 1_006_000
            ]
        );
    }
}
