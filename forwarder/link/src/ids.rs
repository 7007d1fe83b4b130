//! Owns the names of things on both planes. Indexes are reused, generations tell the reuse.

/// A worker, 0 to `Limits::cores - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CoreId(pub u16);

/// A stream, and the log that carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct StreamId {
    /// 0 to `Limits::streams_max - 1`.
    pub index: u32,
    /// Counts the uses of `index`, from 1.
    pub generation: u32,
}

/// One subscriber of one stream (one WHEP session that has keys).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ViewerId {
    /// 0 to `Limits::viewers_max - 1`.
    pub index: u32,
    /// Counts the uses of `index`, from 1.
    pub generation: u32,
}
