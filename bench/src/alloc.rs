//! Owns an allocator that counts: for the guard that the packet path allocates nothing.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Allocations of this thread while it counts.
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The system's allocator, with a count. A test or bench makes it its `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// Allocations and reallocations of this thread during `work`. Zero for ever in a program whose
/// global allocator is not [`Counting`]: see [`is_counting`].
pub fn counted(work: impl FnOnce()) -> u64 {
    COUNTED.set(Some(0));
    work();
    COUNTED.take().unwrap_or(0)
}

/// True if [`Counting`] is this program's allocator.
#[must_use]
pub fn is_counting() -> bool {
    counted(|| drop(std::hint::black_box(Box::new(1_u64)))) > 0
}

fn note() {
    // A thread that is ending has no locals any more; it is not the one that counts.
    let _ = COUNTED.try_with(|counted| counted.set(counted.get().map(|n| n + 1)));
}

// SAFETY: every call goes to the system's allocator with the caller's own arguments.
// JUSTIFICATION: an allocator cannot be written in safe code.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note();
        // SAFETY: as the caller promised us.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}
