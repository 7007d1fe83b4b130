//! Owns the small shared cells that belong to no other module: who is alive, who holds a ring.

use core::sync::atomic::AtomicU32;

/// Joins << 1 | alive, by [`super::Role`]; and room for roles to come.
#[derive(zerocopy::FromBytes)]
#[repr(C, align(128))]
pub(crate) struct Roles {
    pub(crate) presence: [AtomicU32; 8],
}

/// Who holds the ends of a ring: see [`crate::claim`].
#[derive(zerocopy::FromBytes)]
#[repr(C, align(128))]
pub(crate) struct RingEnds {
    pub(crate) producer: AtomicU32,
    pub(crate) consumer: AtomicU32,
}
