//! Owns the references into shared memory: values that every bit pattern is fit for. Hot.

use super::map::Mapping;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;
use zerocopy::FromBytes;

/// One value in shared memory, alive as long as this.
pub(crate) struct Shared<T> {
    value: NonNull<T>,
    keep: Arc<Mapping>,
}

/// An array in shared memory, alive as long as this.
pub(crate) struct SharedSlice<T> {
    values: NonNull<[T]>,
    keep: Arc<Mapping>,
}

impl<T: FromBytes + Sync> Shared<T> {
    /// `value` lies inside `keep`, aligned: `Mapping` is the only caller and has checked it.
    pub(super) fn new(value: NonNull<T>, keep: Arc<Mapping>) -> Self {
        Self { value, keep }
    }
}

impl<T: FromBytes + Sync> SharedSlice<T> {
    /// As [`Shared::new`].
    pub(super) fn new(first: NonNull<T>, count: usize, keep: Arc<Mapping>) -> Self {
        Self {
            values: NonNull::slice_from_raw_parts(first, count),
            keep,
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value,
            keep: Arc::clone(&self.keep),
        }
    }
}

impl<T> Clone for SharedSlice<T> {
    fn clone(&self) -> Self {
        Self {
            values: self.values,
            keep: Arc::clone(&self.keep),
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: inside the mapping, aligned, and kept alive by `keep`. `FromBytes`: any bytes are
        // a value. What changes, changes through atomics or cells, whose owners prove exclusion.
        unsafe { self.value.as_ref() }
    }
}

impl<T> Deref for SharedSlice<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: as for `Shared`, for each of the values.
        unsafe { self.values.as_ref() }
    }
}

// SAFETY: only `&T` is ever handed out, and `new` takes `Sync` values alone.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Send for SharedSlice<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SharedSlice<T> {}
