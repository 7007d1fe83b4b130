//! Owns `[uring]`: how `io_uring` is used, where it is the backend.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `[uring]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uring {
    /// Devices read packets where they were written.
    pub zero_copy: bool,
    /// That memory is pinned once.
    pub fixed_buffers: bool,
    /// How long a wait asks the card itself; 0: not at all.
    pub napi_us: u32,
    /// The card's interrupts stay off meanwhile.
    pub napi_prefer: bool,
}

impl Uring {
    /// Its numbers with their ranges.
    pub(super) fn numbers(&self) -> [(&'static str, u64, RangeInclusive<u64>); 1] {
        [("uring.napi_us", self.napi_us.into(), 0..=10_000)]
    }
}

impl Default for Uring {
    fn default() -> Self {
        Self {
            zero_copy: false,
            fixed_buffers: true,
            napi_us: 0,
            napi_prefer: false,
        }
    }
}
