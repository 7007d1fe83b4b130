//! Owns the load up to which control lets newcomers in, as all workers are told while they run.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Up to which load of a core newcomers are let in: shortly before it, a worker gives up what its
/// viewers miss the least.
#[derive(Clone, Debug)]
pub struct LoadLimit(Arc<AtomicU64>);

impl LoadLimit {
    /// A load of 0 to 1; 0: newcomers are always let in.
    #[must_use]
    pub fn new(load: f64) -> Self {
        Self(Arc::new(AtomicU64::new(load.to_bits())))
    }

    /// Another one from now on, for all who have a copy.
    pub fn set(&self, load: f64) {
        self.0.store(load.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}
