//! Owns the rings that are shared with the kernel: one side writes entries, the other reads them.
//! Hot.

use super::mapping::Mapping;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// Where the parts of a ring lie in its memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The index of the side that writes.
    pub producer: usize,
    /// The index of the side that reads.
    pub consumer: usize,
    /// What the kernel wants to be told.
    pub flags: usize,
    /// The entries.
    pub entries: usize,
    /// How many of them: a power of two.
    pub size: u32,
}

/// The memory of a ring of `T`.
struct Shape<T> {
    mapping: Arc<Mapping>,
    layout: Layout,
    entry: PhantomData<T>,
}

impl<T: Copy> Shape<T> {
    /// # Panics
    /// The memory has no such ring.
    fn new(mapping: Arc<Mapping>, layout: Layout) -> Self {
        assert!(layout.size.is_power_of_two());
        let bytes = layout.size as usize * size_of::<T>();
        assert!(layout.entries.is_multiple_of(align_of::<T>()));
        assert!(layout.entries + bytes <= mapping.bytes());
        // These assert for themselves.
        mapping.word(layout.producer);
        mapping.word(layout.consumer);
        mapping.word(layout.flags);
        Self {
            mapping,
            layout,
            entry: PhantomData,
        }
    }

    fn producer(&self) -> &AtomicU32 {
        self.mapping.word(self.layout.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.mapping.word(self.layout.consumer)
    }

    /// Where the entry of an index lies.
    fn entry(&self, index: u32) -> *mut T {
        let nth = (index & (self.layout.size - 1)) as usize;
        // SAFETY: `new` has seen that entries of this size end within the mapping.
        unsafe {
            let first = self.mapping.at().add(self.layout.entries).cast::<T>();
            first.add(nth).as_ptr()
        }
    }
}

/// The side that writes.
pub(crate) struct Producer<T> {
    shape: Shape<T>,
    /// The index of the next entry that is written.
    next: u32,
    /// What has been published of them.
    published: u32,
}

impl<T: Copy> Producer<T> {
    /// The writing side of an empty ring.
    pub(crate) fn new(mapping: Arc<Mapping>, layout: Layout) -> Self {
        Self {
            shape: Shape::new(mapping, layout),
            next: 0,
            published: 0,
        }
    }

    /// Entries that the other side has not taken, published or not.
    pub(crate) fn waiting(&self) -> u32 {
        // Acquire: what was read is written over only after it was read.
        let taken = self.shape.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(taken)
    }

    /// Entries written since the last [`Producer::publish`].
    pub(crate) fn unpublished(&self) -> u32 {
        self.next.wrapping_sub(self.published)
    }

    /// Writes an entry; false if the ring is full.
    pub(crate) fn write(&mut self, value: T) -> bool {
        if self.waiting() >= self.shape.layout.size {
            return false;
        }
        // SAFETY: the pointer is that of an entry; by the test above the other side is through
        // with it and does not look at it before `publish`.
        unsafe { self.shape.entry(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the other side what was written.
    pub(crate) fn publish(&mut self) {
        self.published = self.next;
        self.shape.producer().store(self.next, Ordering::Release);
    }

    /// What the kernel wants to be told.
    pub(crate) fn flags(&self) -> u32 {
        let flags = self.shape.mapping.word(self.shape.layout.flags);
        flags.load(Ordering::Relaxed)
    }
}

/// The side that reads.
pub(crate) struct Consumer<T> {
    shape: Shape<T>,
    next: u32,
}

impl<T: Copy> Consumer<T> {
    /// The reading side of an empty ring.
    pub(crate) fn new(mapping: Arc<Mapping>, layout: Layout) -> Self {
        Self {
            shape: Shape::new(mapping, layout),
            next: 0,
        }
    }

    /// Gives every entry that is there to `take`, at most as many as the ring has; says how many.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(T)) -> u32 {
        let written = self.shape.producer().load(Ordering::Acquire);
        let waiting = written.wrapping_sub(self.next).min(self.shape.layout.size);
        for _ in 0..waiting {
            // SAFETY: the pointer is that of an entry; it lies before the producer's index, so the
            // other side has written it and leaves it alone until the store below.
            take(unsafe { self.shape.entry(self.next).read() });
            self.next = self.next.wrapping_add(1);
        }
        self.shape.consumer().store(self.next, Ordering::Release);
        waiting
    }
}
