//! Owns the rule that an end is held once: a word in shared memory that names the holder's role.

use crate::sync::Shared;
use crate::sync::atomic::{AtomicU32, Ordering};

/// Nobody holds this end.
pub(crate) const FREE: u32 = 0;

/// A held end; dropping it sets it free.
pub(crate) struct Claim {
    word: Shared<AtomicU32>,
    role: u32,
}

impl Claim {
    /// Takes the end for `role` (not [`FREE`]). `None`: somebody has it.
    pub(crate) fn take(word: Shared<AtomicU32>, role: u32) -> Option<Self> {
        // Acquire: we see all that the last holder did with the end; pairs with the drop below.
        word.compare_exchange(FREE, role, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(Self { word, role })
    }

    /// Sets free what a dead process of this role held. True if it did hold it.
    pub(crate) fn reap(word: &AtomicU32, role: u32) -> bool {
        word.compare_exchange(role, FREE, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Not held: a keeper has given this process up for dead, and set the end free itself.
        Self::reap(&self.word, self.role);
    }
}
