//! Owns the provided-buffer ring: frames that the kernel fills and that come back. Hot.
//!
//! The ring is an array of (address, length, id) that the kernel reads; the tail is in the spare
//! field of the first entry. A frame is either with the kernel or with us, never both.

use crate::error::Error;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};
use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;

/// Bytes of a frame: 128 of description (see `rx`), the longest datagram, and room to tell
/// longer ones.
pub(super) const FRAME_BYTES: usize = 2048;

/// The kernel wants the ring on a page of its own.
const PAGE_BYTES: usize = 4096;

/// The name of our one group of buffers.
pub(super) const GROUP: u16 = 0;

/// The ring and its frames.
pub(super) struct Buffers {
    ring: NonNull<BufRingEntry>,
    frames: NonNull<u8>,
    count: u16,
    /// Entries ever given to the kernel, as it counts them.
    tail: u16,
    /// True for frames that are with us.
    ours: Box<[bool]>,
}

impl Buffers {
    /// Registers `count` frames, a power of two up to 32,768, and gives them to the kernel.
    pub(super) fn register(submitter: &Submitter<'_>, count: u16) -> Result<Self, Error> {
        assert!(count.is_power_of_two(), "frames are a power of two");
        let mut buffers = Self {
            ring: allocate(Self::ring_layout(count)).cast(),
            frames: allocate(Self::frames_layout(count)),
            count,
            tail: 0,
            ours: vec![true; usize::from(count)].into_boxed_slice(),
        };
        // SAFETY: the ring is page aligned, `count` entries long, zeroed, and lives until
        // `unregister` or, if that fails, for ever (see `leak`).
        let done = unsafe {
            submitter.register_buf_ring_with_flags(buffers.ring.as_ptr() as u64, count, GROUP, 0)
        };
        done.map_err(|e| Error::new("io_uring: register a buffer ring", e, super::REMEDY))?;
        for id in 0..count {
            buffers.give_back(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The kernel said that it filled frame `id`. False: it was not the kernel's to fill.
    pub(super) fn take(&mut self, id: u16) -> bool {
        match self.ours.get_mut(usize::from(id)) {
            Some(ours) if !*ours => {
                *ours = true;
                true
            }
            _ => false,
        }
    }

    /// Frame `id`, if it is with us.
    pub(super) fn frame(&mut self, id: u16) -> Option<&mut [u8]> {
        if self.ours.get(usize::from(id)) != Some(&true) {
            return None;
        }
        // SAFETY: `id < count`, so the frame lies inside the allocation, which was zeroed. It is
        // with us, so the kernel does not write to it, and `&mut self` keeps it the only borrow.
        Some(unsafe {
            let start = self.frames.add(usize::from(id) * FRAME_BYTES);
            core::slice::from_raw_parts_mut(start.as_ptr(), FRAME_BYTES)
        })
    }

    /// Readies frame `id` for the kernel; it sees it after [`Buffers::publish`].
    pub(super) fn give_back(&mut self, id: u16) {
        match self.ours.get_mut(usize::from(id)) {
            Some(ours) if *ours => *ours = false,
            _ => return,
        }
        let place = usize::from(self.tail & (self.count - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `place < count` and `id < count` keep both inside their allocations. The kernel
        // does not read entries at or past the published tail, and at most `count` frames are
        // with it, so this entry is not one that it may be reading. The tail shares the first
        // entry, but lies in a field that the setters do not write.
        unsafe {
            let frame = self.frames.add(usize::from(id) * FRAME_BYTES);
            let entry = self.ring.add(place).as_mut();
            entry.set_addr(frame.as_ptr() as u64);
            entry.set_len(FRAME_LENGTH);
            entry.set_bid(id);
        }
    }

    /// Shows the kernel all that was given back.
    pub(super) fn publish(&mut self) {
        // SAFETY: the ring's first entry is valid for its whole life, its spare field is the
        // tail, two bytes and aligned, and both sides access it atomically.
        let tail = unsafe {
            let field = BufRingEntry::tail(self.ring.as_ptr());
            AtomicU16::from_ptr(field.cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }

    /// Takes the ring from the kernel and frees all. To be called when no request can use it.
    pub(super) fn unregister(self, submitter: &Submitter<'_>) -> io::Result<()> {
        if let Err(error) = submitter.unregister_buf_ring(GROUP) {
            self.leak();
            return Err(error);
        }
        // SAFETY: both were allocated with these layouts by `register`; the kernel has let go of
        // them, and `self` is consumed.
        unsafe {
            dealloc(self.ring.as_ptr().cast(), Self::ring_layout(self.count));
            dealloc(self.frames.as_ptr(), Self::frames_layout(self.count));
        }
        Ok(())
    }

    /// Leaves the memory to the kernel, which may still write to it.
    pub(super) fn leak(self) {
        // Nothing frees the two allocations but `unregister`.
        drop(self.ours);
    }

    fn ring_layout(count: u16) -> Layout {
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        Layout::from_size_align(bytes, PAGE_BYTES).expect("at most 512 KiB on a page")
    }

    fn frames_layout(count: u16) -> Layout {
        let bytes = usize::from(count) * FRAME_BYTES;
        Layout::from_size_align(bytes, PAGE_BYTES).expect("at most 64 MiB on a page")
    }
}

#[allow(clippy::cast_possible_truncation, reason = "2048")]
const FRAME_LENGTH: u32 = FRAME_BYTES as u32;

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: both layouts have a size: `count` is a power of two, so not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}
