//! Owns a frame cut into RTP payloads, and the spare frames whose memory is used again.

use crate::num::len32;
use crate::output::{Packet, Track};
use core::ops::Range;
use wire::time::Time;

/// Spare frames kept: what is alive at once while frames are paced out.
const SPARES_MAX: usize = 16;

/// A spare frame with more memory than this is given back, so that one huge keyframe does not stay.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// One frame of a track as RTP payloads.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) track: Track,
    pub(crate) timestamp: u32,
    pub(crate) capture: Time,
    pub(crate) counter: u32,
    pub(crate) key: bool,
    pub(crate) discardable: bool,
    bytes: Vec<u8>,
    /// Where each payload ends in `bytes`.
    ends: Vec<u32>,
}

impl Frame {
    /// How many payloads.
    pub(crate) fn packets(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all payloads.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a payload made of parts.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.ends.push(len32(self.bytes.len()));
    }

    /// The payload with this number, counted from 0.
    pub(crate) fn payload(&self, index: usize) -> &[u8] {
        &self.bytes[self.range(index)]
    }

    /// The payload with this number and all that is known of it.
    pub(crate) fn packet(&self, index: usize) -> Packet<'_> {
        Packet {
            track: self.track,
            timestamp: self.timestamp,
            capture: self.capture,
            frame: self.counter,
            first: index == 0,
            last: index + 1 == self.ends.len(),
            key: self.key,
            discardable: self.discardable,
            payload: self.payload(index),
        }
    }

    fn range(&self, index: usize) -> Range<usize> {
        let at = |end: u32| usize::try_from(end).expect("32 bits fit this machine's addresses");
        let begin = if index == 0 {
            0
        } else {
            at(self.ends[index - 1])
        };
        begin..at(self.ends[index])
    }
}

/// Spare frames.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    frames: Vec<Frame>,
}

impl Spares {
    /// An empty frame of this track.
    pub(crate) fn take(&mut self, track: Track) -> Frame {
        let (bytes, ends) = match self.frames.pop() {
            Some(frame) => (frame.bytes, frame.ends),
            None => (Vec::new(), Vec::new()),
        };
        let (timestamp, capture, counter) = (0, Time::ZERO, 0);
        let (key, discardable) = (false, false);
        Frame {
            track,
            timestamp,
            capture,
            counter,
            key,
            discardable,
            bytes,
            ends,
        }
    }

    /// Keeps the memory of a frame that is done with.
    pub(crate) fn give(&mut self, mut frame: Frame) {
        if self.frames.len() < SPARES_MAX && frame.bytes.capacity() <= SPARE_BYTES_MAX {
            frame.bytes.clear();
            frame.ends.clear();
            self.frames.push(frame);
        }
    }
}
