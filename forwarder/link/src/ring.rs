//! Owns the ring between one producer and one consumer: fixed slots in shared memory. Hot.

#[cfg(test)]
#[cfg(loom)]
mod model;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

use crate::claim::Claim;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Shared, SharedSlice, UnsafeCell};
use zeroize::Zeroize;

/// No room: the other side has not kept up. An ordinary answer; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full")]
pub struct Full;

/// A word alone in its pair of cache lines (x86 fetches lines in pairs).
#[cfg_attr(not(loom), derive(zerocopy::FromBytes))]
#[repr(C, align(128))]
pub(crate) struct Lonely(pub(crate) AtomicU64);

/// The two ends' positions: each counts messages from the ring's creation and never wraps.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes))]
#[repr(C)]
pub(crate) struct RingHead {
    /// Messages written; stored by the producer.
    pub(crate) written: Lonely,
    /// Messages read; stored by the consumer.
    pub(crate) read: Lonely,
}

/// The bytes of one message.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes))]
#[repr(C, align(64))]
pub(crate) struct Slot<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: a slot is touched by the producer alone while its position is at or beyond `written`, and
// by the consumer alone while it is below; the positions pass with release and acquire.
unsafe impl<const N: usize> Sync for Slot<N> {}

#[cfg(loom)]
impl<const N: usize> Slot<N> {
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new([0; N]))
    }
}

/// Memory of one ring, as both ends see it. The number of slots is a power of two.
pub(crate) struct Ring<const N: usize> {
    pub(crate) head: Shared<RingHead>,
    pub(crate) slots: SharedSlice<Slot<N>>,
}

/// The end that writes. One at a time.
pub struct Producer<const N: usize> {
    ring: Ring<N>,
    written: u64,
    /// What the consumer had read when last asked: asked again only when this says full.
    read: u64,
    /// Dropped last.
    _claim: Option<Claim>,
}

/// The end that reads. One at a time.
pub struct Consumer<const N: usize> {
    ring: Ring<N>,
    read: u64,
    /// What the producer had written when last asked.
    written: u64,
    /// Messages carry keys: they are wiped before their slot is given back.
    wipe: bool,
    _claim: Option<Claim>,
}

impl<const N: usize> Ring<N> {
    /// How many messages fit.
    fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    fn slot(&self, position: u64) -> &UnsafeCell<[u8; N]> {
        let mask = self.slots.len() - 1;
        #[allow(clippy::cast_possible_truncation, reason = "masked to the ring")]
        let index = position as usize & mask;
        &self.slots[index].0
    }
}

impl<const N: usize> Producer<N> {
    /// Goes on where the last producer stopped.
    pub(crate) fn adopt(ring: Ring<N>, claim: Option<Claim>) -> Self {
        assert!(ring.slots.len().is_power_of_two(), "checked by Limits");
        let written = ring.head.written.0.load(Ordering::Acquire);
        let read = ring.head.read.0.load(Ordering::Acquire);
        Self {
            ring,
            written,
            read,
            _claim: claim,
        }
    }

    /// Messages that can be written now at the least.
    pub fn room(&mut self) -> usize {
        self.read = self.ring.head.read.0.load(Ordering::Acquire);
        usize::try_from(self.free()).unwrap_or(0)
    }

    /// Lets `write` fill a slot in place, makes it visible, and gives the message's number: how
    /// many messages came before it in the life of the ring.
    ///
    /// # Errors
    /// [`Full`]; `write` was not called.
    #[inline]
    pub fn push_with(&mut self, write: impl FnOnce(&mut [u8; N])) -> Result<u64, Full> {
        if self.free() == 0 && self.room() == 0 {
            return Err(Full);
        }
        let number = self.written;
        self.ring.slot(number).with_mut(|slot| {
            // SAFETY: `number` is not below `written`, so the consumer does not touch this slot
            // until the store below; we are the one producer (`Claim`, `&mut self`).
            write(unsafe { &mut *slot });
        });
        self.written = number.wrapping_add(1);
        self.ring
            .head
            .written
            .0
            .store(self.written, Ordering::Release);
        Ok(number)
    }

    /// Writes a message of at most `N` bytes; the rest of its slot is zeroed.
    ///
    /// # Errors
    /// [`Full`].
    ///
    /// # Panics
    /// If `message` is longer than a slot, in debug builds; otherwise it is cut.
    pub fn push(&mut self, message: &[u8]) -> Result<u64, Full> {
        debug_assert!(message.len() <= N, "messages fit their ring");
        let bytes = message.len().min(N);
        self.push_with(|slot| {
            slot[..bytes].copy_from_slice(&message[..bytes]);
            slot[bytes..].fill(0);
        })
    }

    /// Messages that the consumer has taken in the life of the ring.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.ring.head.read.0.load(Ordering::Acquire)
    }

    /// Free slots by the last known position of the consumer. One that is impossible (the other
    /// side is broken) counts as full: nothing is overwritten that might be read.
    fn free(&self) -> u64 {
        let used = self.written.wrapping_sub(self.read);
        self.ring.capacity().saturating_sub(used)
    }
}

impl<const N: usize> Consumer<N> {
    /// Goes on where the last consumer stopped.
    pub(crate) fn adopt(ring: Ring<N>, wipe: bool, claim: Option<Claim>) -> Self {
        assert!(ring.slots.len().is_power_of_two(), "checked by Limits");
        let read = ring.head.read.0.load(Ordering::Acquire);
        Self {
            ring,
            read,
            written: read,
            wipe,
            _claim: claim,
        }
    }

    /// True if there is nothing to read now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.head.written.0.load(Ordering::Acquire) == self.read
    }

    /// Lends the oldest message with its number to `read`, then gives its slot back. `None`: empty.
    #[inline]
    pub fn pop<R>(&mut self, read: impl FnOnce(u64, &mut [u8; N]) -> R) -> Option<R> {
        if self.written == self.read {
            self.written = self.ring.head.written.0.load(Ordering::Acquire);
            let waiting = self.written.wrapping_sub(self.read);
            if waiting > self.ring.capacity() {
                // No producer of ours writes that: start afresh behind whatever it was.
                self.give_back(self.written);
                return None;
            }
            if waiting == 0 {
                return None;
            }
        }
        let number = self.read;
        let wipe = self.wipe;
        let result = self.ring.slot(number).with_mut(|slot| {
            // SAFETY: `number` is below `written`, which was loaded with acquire, and not below
            // `read`: the slot is ours until `give_back`; we are the one consumer.
            let slot = unsafe { &mut *slot };
            let result = read(number, slot);
            if wipe {
                slot.zeroize();
            }
            result
        });
        self.give_back(number.wrapping_add(1));
        Some(result)
    }

    fn give_back(&mut self, read: u64) {
        self.read = read;
        self.ring.head.read.0.store(read, Ordering::Release);
    }
}
