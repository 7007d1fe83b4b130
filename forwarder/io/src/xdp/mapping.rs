//! Owns memory that is shared with the kernel, from its mapping to its end.

use core::num::NonZeroUsize;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU32;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::io;
use std::os::fd::AsFd;

/// A page of the larger kind that nearly every machine has.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Mapped memory, readable and writable. The kernel has it at the same time; every access goes
/// through atomics or to bytes that the rings say are ours.
#[derive(Debug)]
pub(crate) struct Mapping {
    at: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is memory, of no thread in particular; who may touch which byte is settled by the
// rings, and the pointers are handed out for that only.
unsafe impl Send for Mapping {}
// SAFETY: the same.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory of our own, zeroed: of huge pages where the system keeps some, or else of pages that
    /// it may join.
    ///
    /// # Errors
    /// There is not so much memory.
    pub(crate) fn anonymous(bytes: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
        if bytes.is_multiple_of(HUGE_PAGE_BYTES) {
            // SAFETY: a new mapping at an address of the kernel's choice touches nothing else.
            let huge =
                unsafe { mmap_anonymous(None, length, access, flags | MapFlags::MAP_HUGETLB) };
            if let Ok(at) = huge {
                return Ok(Self {
                    at: at.cast(),
                    bytes,
                });
            }
        }
        let flags = MapFlags::MAP_PRIVATE;
        // SAFETY: as above.
        let at = unsafe { mmap_anonymous(None, length, access, flags) }?;
        // SAFETY: the mapping is ours; the advice changes no byte of it. Refused: small pages.
        let _ = unsafe { madvise(at, bytes, MmapAdvise::MADV_HUGEPAGE) };
        Ok(Self {
            at: at.cast(),
            bytes,
        })
    }

    /// `bytes` of what `fd` has at `offset`.
    ///
    /// # Errors
    /// `fd` has nothing there.
    pub(crate) fn of(fd: impl AsFd, bytes: usize, offset: libc::off_t) -> io::Result<Self> {
        let length = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing else.
        let at = unsafe { mmap(None, length, access, flags, fd, offset) }?;
        Ok(Self {
            at: at.cast(),
            bytes,
        })
    }

    /// Where it begins.
    pub(crate) fn at(&self) -> NonNull<u8> {
        self.at
    }

    /// How long it is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The word at `offset`.
    ///
    /// # Panics
    /// It is not in the mapping, or not aligned: an oversight while a ring is made.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.bytes);
        // SAFETY: inside the mapping, which lives as long as `self`; aligned, as a mapping begins
        // at a page; both sides use it as an atomic.
        unsafe { AtomicU32::from_ptr(self.at.add(offset).cast().as_ptr()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and whoever had a pointer into it has borrowed
        // or shares `self`.
        let _ = unsafe { munmap(self.at.cast(), self.bytes) };
    }
}
