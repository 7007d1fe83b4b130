//! Owns `[uring]`: how `io_uring` is used, where it is the backend.

use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// `[uring]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uring {
    /// After so long without work the kernel's submission thread sleeps; 0: there is none.
    pub sqpoll_ms: u32,
    /// The processor of that thread; -1: any.
    pub sqpoll_cpu: i32,
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
    pub(super) fn numbers(&self) -> [(&'static str, i64, RangeInclusive<i64>); 3] {
        [
            ("uring.sqpoll_ms", self.sqpoll_ms.into(), 0..=10_000),
            ("uring.sqpoll_cpu", self.sqpoll_cpu.into(), -1..=8191),
            ("uring.napi_us", self.napi_us.into(), 0..=10_000),
        ]
    }
}

impl Default for Uring {
    fn default() -> Self {
        Self {
            sqpoll_ms: 0,
            sqpoll_cpu: -1,
            zero_copy: false,
            fixed_buffers: true,
            napi_us: 0,
            napi_prefer: false,
        }
    }
}
