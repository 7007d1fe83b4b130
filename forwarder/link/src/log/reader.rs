//! Owns the reading end of a log: pin, look, let go. Hot.

use super::memory::{LogMemory, load_position, store_position};
use super::record::Record;
use crate::claim::Claim;
use crate::lanes::LANES_MAX;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use core::ops::Range;

/// How often a pin is tried. The tail moves once in dozens of packets: one retry is rare already.
const PIN_TRIES: usize = 8;

/// One worker's end of a log.
pub struct LogReader {
    memory: LogMemory,
    core: usize,
    /// Generation << 1 | open, as it must be.
    life: u64,
    _claim: Option<Claim>,
}

/// What a worker may look at until it drops this. The packets do not change meanwhile, and the
/// writer has the slack of the log to go on: hold it for a turn, never for longer.
pub struct Pinned<'a> {
    reader: &'a LogReader,
    range: Range<u64>,
    keyframe: [Option<u64>; LANES_MAX],
    newest: [Option<u64>; LANES_MAX],
}

impl LogReader {
    pub(crate) fn new(memory: LogMemory, core: usize, life: u64, claim: Option<Claim>) -> Self {
        assert!(core < memory.pins.len(), "checked by Region");
        Self {
            memory,
            core,
            life,
            _claim: claim,
        }
    }

    /// The position after the newest visible packet. Cheap: to see whether there is work. Of a
    /// stream that was closed it may be anything.
    #[inline]
    #[must_use]
    pub fn head(&self) -> u64 {
        self.memory.head.published.head.load(Ordering::Acquire)
    }

    /// Holds what the log has now. The range is empty if the stream was closed or reused.
    #[inline]
    pub fn pin(&mut self) -> Pinned<'_> {
        self.pin_from(0)
    }

    /// Holds what the log has now from a position on. The less that is, the longer the writer can
    /// go on if this worker is held up meanwhile.
    #[inline]
    pub fn pin_from(&mut self, from: u64) -> Pinned<'_> {
        let head = &self.memory.head;
        let line = &self.memory.pins[self.core].pin;
        let mut start = head.tail.load(Ordering::Acquire).max(from);
        let mut held = false;
        for _ in 0..PIN_TRIES {
            // Release: the reads under our last pin happened before whoever sees this one.
            line.store(store_position(start), Ordering::Release);
            // See `LogWriter::free_below`.
            fence(Ordering::SeqCst);
            let tail = head.tail.load(Ordering::Acquire);
            if tail <= start {
                held = true;
                break;
            }
            start = tail;
        }
        let published = &head.published;
        let positions = |words: &[AtomicU64; LANES_MAX]| {
            words
                .each_ref()
                .map(|word| load_position(word.load(Ordering::Acquire)))
        };
        let newest = positions(&published.newest);
        let keyframe = positions(&published.keyframe);
        let end = published.head.load(Ordering::Acquire);
        // After the head: had a later generation moved it, this would show that generation.
        let alive = head.life.load(Ordering::Relaxed) == self.life;
        let sane = end
            .checked_sub(start)
            .is_some_and(|n| n <= self.memory.capacity());
        let range = if held && alive && sane {
            start..end
        } else {
            0..0
        };
        Pinned {
            keyframe: keyframe.map(|keyframe| keyframe.filter(|at| range.contains(at))),
            newest: newest.map(|newest| newest.filter(|at| range.contains(at))),
            range,
            reader: self,
        }
    }
}

impl Drop for LogReader {
    /// Nothing is held beyond the reader, even if a [`Pinned`] was forgotten.
    fn drop(&mut self) {
        self.unpin();
    }
}

impl LogReader {
    fn unpin(&self) {
        self.memory.pins[self.core].pin.store(0, Ordering::Release);
    }
}

impl Pinned<'_> {
    /// The positions that may be looked at. A reader whose own place lies before the start has been
    /// overtaken and goes on at the start, or at [`Pinned::keyframe`].
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The description of the packet at `position`. `None`: not in the range.
    #[inline]
    #[must_use]
    pub fn record(&self, position: u64) -> Option<Record> {
        if !self.range.contains(&position) {
            return None;
        }
        // SAFETY: inside the range that `pin` has pinned, and pinned until we are dropped.
        Record::decode(unsafe { self.reader.memory.description(position) })
    }

    /// Description and RTP payload of the packet at `position`. `None`: not in the range.
    #[inline]
    #[must_use]
    pub fn packet(&self, position: u64) -> Option<(Record, &[u8])> {
        let record = self.record(position)?;
        let bytes = usize::from(record.payload_bytes);
        // SAFETY: `record` has found the position inside the pinned range.
        Some((record, unsafe {
            self.reader.memory.payload(position, bytes)
        }))
    }

    /// Description, RTP payload and header-extension elements of the packet at `position`. `None`:
    /// not in the range.
    #[inline]
    #[must_use]
    pub fn whole(&self, position: u64) -> Option<(Record, &[u8], &[u8])> {
        let record = self.record(position)?;
        let payload_bytes = usize::from(record.payload_bytes);
        let bytes = payload_bytes + record.elements.total();
        // SAFETY: `record` has found the position inside the pinned range.
        let both = unsafe { self.reader.memory.payload(position, bytes) };
        let (payload, elements) = both.split_at_checked(payload_bytes)?;
        Some((record, payload, elements))
    }

    /// The RTP payload of the packet at `position`; empty if it is not in the range.
    #[inline]
    #[must_use]
    pub fn payload(&self, position: u64) -> &[u8] {
        self.packet(position).map_or(&[], |(_, payload)| payload)
    }

    /// Where packet `lane_seq` of this lane is, if the log still has it. One look, no search.
    #[must_use]
    pub fn locate(&self, lane: usize, lane_seq: u64) -> Option<u64> {
        let position = self
            .reader
            .memory
            .place(lane, lane_seq)?
            .load(Ordering::Relaxed);
        let record = self.record(position)?;
        let same = usize::from(record.lane) == lane && record.lane_seq == lane_seq;
        same.then_some(position)
    }

    /// The first packet of the newest keyframe of this lane. `None`: there has been none, or
    /// its first packet is overwritten. Of a frame that is being released piece by piece the last
    /// packets may not be visible yet.
    #[must_use]
    pub fn keyframe(&self, lane: usize) -> Option<u64> {
        self.keyframe.get(lane).copied().flatten()
    }

    /// The newest packet of this lane.
    #[must_use]
    pub fn newest(&self, lane: usize) -> Option<u64> {
        self.newest.get(lane).copied().flatten()
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.reader.unpin();
    }
}
