//! Owns asking the processor for memory before it is used. Hot.
#![allow(unsafe_code)]

use core::ops::Range;

/// Bytes of a cache line.
pub const LINE_BYTES: usize = 64;

/// Asks for the cache lines of the bytes `range` from where `place` begins, cut to its size. Their
/// loads overlap with what is done meanwhile; nothing waits, and nothing is read.
///
/// Does nothing on processors other than `x86_64`.
#[inline]
pub fn lines<T>(place: &T, range: Range<usize>) {
    let first = core::ptr::from_ref(place).cast::<u8>();
    for at in (range.start..range.end.min(size_of::<T>())).step_by(LINE_BYTES) {
        // SAFETY: the pointer is inside of `place`; the instruction reads nothing and never faults.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(first.add(at).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (first, at);
    }
}
