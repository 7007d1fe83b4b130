//! Owns the swap between the real atomics and those of the model checker (`--cfg loom`).

#[cfg(not(loom))]
pub(crate) use crate::region::shared::{Shared, SharedSlice};
#[cfg(loom)]
pub(crate) use loom::{cell::UnsafeCell, sync::atomic};
#[cfg(loom)]
pub(crate) use modelled::{Shared, SharedSlice};
#[cfg(not(loom))]
pub(crate) use {real::UnsafeCell, std::sync::atomic};

#[cfg(not(loom))]
mod real {
    /// The standard cell behind the interface of loom's.
    #[derive(zerocopy::FromBytes)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Lends the address for reading.
        #[inline]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Lends the address for writing.
        #[inline]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(loom)]
mod modelled {
    use core::ops::Deref;
    use std::sync::Arc;

    /// What shared memory is in the model: a value on the heap.
    pub(crate) struct Shared<T>(pub(crate) Arc<T>);

    /// An array in the model's shared memory.
    pub(crate) struct SharedSlice<T>(pub(crate) Arc<[T]>);

    impl<T> Clone for Shared<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Clone for SharedSlice<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Deref for Shared<T> {
        type Target = T;
        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> Deref for SharedSlice<T> {
        type Target = [T];
        fn deref(&self) -> &[T] {
            &self.0
        }
    }
}
