//! Owns the mapping of the memory file into this process.

use super::shared::{Shared, SharedSlice};
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use zerocopy::FromBytes;

/// The whole memory file, mapped for reading and writing until the last user lets go.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    /// The memory file itself: for passing it on, and for giving pages back.
    pub(super) file: OwnedFd,
    /// The connection to the keeper; it hangs up when the last end in this process is gone.
    pub(super) line: Option<OwnedFd>,
}

// SAFETY: the mapping is plain memory of the process; it is reached only through `Shared` and
// `SharedSlice`, which demand `Sync` contents.
unsafe impl Send for Mapping {}
// SAFETY: as above; `Mapping` itself has no method that writes.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes of `file`, whose size is sealed and at least that.
    pub(super) fn new(file: OwnedFd, bytes: usize, line: Option<OwnedFd>) -> io::Result<Self> {
        let size = NonZeroUsize::new(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; the file's size is sealed, so
        // no access inside it can fault for being past the end.
        let base = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, &file, 0)? };
        let mapping = Self {
            base: base.cast(),
            bytes,
            file,
            line,
        };
        // Keys pass through the command rings: they have no place in a core dump.
        mapping.advise(0, bytes, MmapAdvise::MADV_DONTDUMP)?;
        Ok(mapping)
    }

    /// Asks for huge pages; a kernel without them is no error.
    pub(super) fn prefer_huge_pages(&self, offset: usize, bytes: usize) {
        let _ = self.advise(offset, bytes, MmapAdvise::MADV_HUGEPAGE);
    }

    /// Takes the pages now, so that none has to be found on the packet path.
    ///
    /// # Errors
    /// The kernel has no memory left. A kernel older than 5.14 cannot and says nothing.
    pub(super) fn populate(&self, offset: usize, bytes: usize) -> io::Result<()> {
        match self.advise(offset, bytes, MmapAdvise::MADV_POPULATE_WRITE) {
            Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EINVAL as i32) => Ok(()),
            other => other,
        }
    }

    fn advise(&self, offset: usize, bytes: usize, advice: MmapAdvise) -> io::Result<()> {
        let inside = offset
            .checked_add(bytes)
            .is_some_and(|end| end <= self.bytes);
        assert!(inside, "advice for memory of the mapping");
        // SAFETY: inside the mapping by the check above; none of the advice used here changes what
        // the memory holds.
        unsafe { Ok(madvise(self.base.add(offset).cast(), bytes, advice)?) }
    }

    /// The value at this offset.
    ///
    /// # Panics
    /// If it does not lie inside the mapping, aligned: a mistake in the layout.
    pub(super) fn value<T: FromBytes + Sync>(self: &Arc<Self>, offset: usize) -> Shared<T> {
        Shared::new(self.address(offset, 1), Arc::clone(self))
    }

    /// The array of `count` values at this offset; panics as [`Mapping::value`] does.
    pub(super) fn array<T: FromBytes + Sync>(
        self: &Arc<Self>,
        offset: usize,
        count: usize,
    ) -> SharedSlice<T> {
        SharedSlice::new(self.address(offset, count), count, Arc::clone(self))
    }

    fn address<T>(&self, offset: usize, count: usize) -> NonNull<T> {
        let end = size_of::<T>()
            .checked_mul(count)
            .and_then(|bytes| bytes.checked_add(offset));
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "inside the mapping"
        );
        assert!(offset.is_multiple_of(align_of::<T>()), "aligned");
        // SAFETY: `offset` is at most `bytes`, so the sum stays inside the mapping. Its base is
        // aligned to a page, more than any `T` wants.
        unsafe { self.base.add(offset).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the address and length of our own mapping; every `Shared` keeps it alive, so
        // nothing points into it any more.
        let _ = unsafe { munmap(self.base.cast(), self.bytes) };
    }
}
