//! Owns the memory of one log: positions, pins, slots, and the index by packet number. Hot.

use super::record::RECORD_BYTES;
use crate::lanes::LANES_MAX;
use crate::limits::SLOT_BYTES;
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::{Shared, SharedSlice, UnsafeCell};

/// The part of a log that the writer keeps free ahead of itself, so that readers may hold the
/// oldest packets for the length of a turn: one eighth of the slots.
pub(crate) const SLACK_DIVISOR: u64 = 8;

/// The writer moves the tail in steps of this part of the slack: the scan of the pins is paid once
/// a step, and the rest of the slack is what a reader may hold.
pub(crate) const STEP_DIVISOR: u64 = 4;

/// A position as it lies in memory: plus one, so that fresh memory says "none".
pub(crate) const fn store_position(position: u64) -> u64 {
    position.wrapping_add(1)
}

/// The position of [`store_position`], `None` for 0.
pub(crate) const fn load_position(stored: u64) -> Option<u64> {
    stored.checked_sub(1)
}

/// The words of a log. Positions count packets for the whole life of the memory, over all
/// generations of the stream: they only grow.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct LogHead {
    /// Generation << 1 | open. Stored by control.
    pub(crate) life: AtomicU64,
    /// The oldest position that a reader may touch. Stored by the writer, rarely.
    pub(crate) tail: AtomicU64,
    /// Who writes: see [`crate::claim`].
    pub(crate) writer: AtomicU32,
    pub(crate) reserved: [u32; 11],
    /// What [`super::LogWriter::publish`] stores.
    pub(crate) published: Published,
}

/// All that changes when packets become visible: two cache lines.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct Published {
    /// Packets before this position are visible.
    pub(crate) head: AtomicU64,
    /// First packet of the newest keyframe of each lane.
    pub(crate) keyframe: [AtomicU64; LANES_MAX],
    /// Newest packet of each lane.
    pub(crate) newest: [AtomicU64; LANES_MAX],
    /// Number of the next packet of each lane.
    pub(crate) seq_next: [AtomicU64; LANES_MAX],
    /// Frames begun in each lane.
    pub(crate) frames: [AtomicU32; LANES_MAX],
}

/// What one worker holds of one log; alone in its cache line.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes))]
#[cfg_attr(loom, derive(Default))]
#[repr(C, align(64))]
pub(crate) struct PinLine {
    /// The oldest position that the reader may touch now.
    pub(crate) pin: AtomicU64,
    /// Who reads: see [`crate::claim`]. Also whether its bell is to be rung.
    pub(crate) reader: AtomicU32,
}

/// One slot: description and payload.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes))]
#[repr(C, align(64))]
pub(crate) struct LogSlot(UnsafeCell<[u8; SLOT_BYTES]>);

// SAFETY: the one writer touches a slot only while its position is outside the range that readers
// may pin, and a reader only inside the range that it has pinned; see `LogWriter::reserve` and
// `LogReader::pin`, and the model in `log/model.rs`.
unsafe impl Sync for LogSlot {}

impl LogSlot {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new([0; SLOT_BYTES]))
    }

    /// # Safety
    /// The position of this slot lies in a range that the caller has pinned, for `'a` at least.
    unsafe fn read<'a>(&self) -> &'a [u8; SLOT_BYTES] {
        // SAFETY: nobody writes while the pin holds; the slot lives in memory that the pin's
        // reader keeps alive.
        self.0.with(|slot| unsafe { &*slot })
    }

    /// # Safety
    /// The caller is the one writer, the position is reserved and not yet published.
    unsafe fn write<R>(&self, f: impl FnOnce(&mut [u8; SLOT_BYTES]) -> R) -> R {
        // SAFETY: nobody else touches a reserved slot.
        self.0.with_mut(|slot| f(unsafe { &mut *slot }))
    }
}

/// One end's view of a log's memory.
#[derive(Clone)]
pub(crate) struct LogMemory {
    pub(crate) head: Shared<LogHead>,
    /// By core.
    pub(crate) pins: SharedSlice<PinLine>,
    /// By position; a power of two.
    pub(crate) slots: SharedSlice<LogSlot>,
    /// Where packet `n` of a lane is, by lane and `n` modulo the number of slots.
    pub(crate) index: [SharedSlice<AtomicU64>; LANES_MAX],
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "masked to the number of slots"
)]
fn masked(n: u64, slots: usize) -> usize {
    n as usize & (slots - 1)
}

impl LogMemory {
    /// How many packets the log has room for.
    pub(crate) fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    fn slot(&self, position: u64) -> &LogSlot {
        &self.slots[masked(position, self.slots.len())]
    }

    /// Where packet `lane_seq` of the lane is noted.
    pub(crate) fn place(&self, lane: usize, lane_seq: u64) -> Option<&AtomicU64> {
        let index = self.index.get(lane)?;
        index.get(masked(lane_seq, index.len()))
    }

    /// # Safety
    /// As [`LogSlot::read`].
    pub(crate) unsafe fn description(&self, position: u64) -> &[u8; RECORD_BYTES] {
        // SAFETY: passed on to the caller.
        let slot = unsafe { self.slot(position).read() };
        slot.first_chunk()
            .expect("a slot is longer than its description")
    }

    /// # Safety
    /// As [`LogSlot::read`].
    pub(crate) unsafe fn payload(&self, position: u64, bytes: usize) -> &[u8] {
        // SAFETY: passed on to the caller.
        let slot = unsafe { self.slot(position).read() };
        slot[RECORD_BYTES..].get(..bytes).unwrap_or_default()
    }

    /// # Safety
    /// As [`LogSlot::write`].
    pub(crate) unsafe fn write<R>(
        &self,
        position: u64,
        f: impl FnOnce(&mut [u8; SLOT_BYTES]) -> R,
    ) -> R {
        // SAFETY: passed on to the caller.
        unsafe { self.slot(position).write(f) }
    }
}
