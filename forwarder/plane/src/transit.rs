//! Owns the media packets whose copies are on their way out, until all of them have been handed to
//! the kernel: then it is counted how long the packet was inside. Hot.
//!
//! A packet counts once on each core that has viewers of its stream, when the last of its viewers
//! there has been served: the time of those who are served before is shorter. Packets sent again,
//! to catch up or to probe do not count.

use link::log::{Entry, Pinned};
use link::stats::{Counter, Stats};
use wire::time::Time;

use core::ops::Range;

/// Packets that may be on their way at once: eight bursts of 64 from each of eight streams. 64 KB,
/// of which a turn touches what it needs.
const WAITING_MAX: usize = 4096;

/// While the port is never empty, packets are counted when so many wait, with the time until then.
const PATIENCE: usize = WAITING_MAX / 2;

/// Packets on their way out.
pub struct Transits {
    waiting: Vec<(Entry, Time)>,
    /// Those for which there was no room.
    unknown: u64,
}

impl Transits {
    /// None. All allocation is here.
    pub fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(WAITING_MAX),
            unknown: 0,
        }
    }

    /// These packets are being sent to the viewers of their stream.
    #[inline]
    pub fn note(&mut self, log: &Pinned<'_>, range: Range<u64>) {
        for position in range {
            let Some(record) = log.record(position) else {
                continue;
            };
            if self.waiting.len() == self.waiting.capacity() {
                self.unknown += 1;
            } else {
                self.waiting.push((record.entry, record.came));
            }
        }
    }

    /// True if nothing is on its way.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A flush has ended at `at`, and `is_all` of what was to be sent is with the kernel.
    pub fn flushed(&mut self, at: Time, is_all: bool, stats: &Stats) {
        if !is_all && self.waiting.len() < PATIENCE {
            return;
        }
        for (entry, came) in self.waiting.drain(..) {
            stats.add_transit(entry, at.since(came));
        }
        stats.add(Counter::TransitUnknown, core::mem::take(&mut self.unknown));
    }
}
