//! Owns the memory of transactions that came lately.

use serde::{Deserialize, Serialize};

/// Transactions remembered: 40 s of checks by Chromium. Whoever overhears a check must not be able
/// to send the stream elsewhere by sending it once more from there.
const TRANSACTIONS: usize = 16;

/// The checks of a peer that came last, by the first four bytes of their transaction.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Lately {
    seen: [u32; TRANSACTIONS],
    next: usize,
}

impl Lately {
    /// True if this transaction was not seen lately; from now on it was.
    pub fn is_new(&mut self, transaction: [u8; 12]) -> bool {
        let [a, b, c, d, ..] = transaction;
        let word = u32::from_be_bytes([a, b, c, d]);
        if self.seen.contains(&word) {
            return false;
        }
        self.seen[self.next % TRANSACTIONS] = word;
        self.next = (self.next + 1) % TRANSACTIONS;
        true
    }

    /// All of it as words: the transactions, and where the next one goes.
    #[must_use]
    pub const fn words(&self) -> ([u32; TRANSACTIONS], usize) {
        (self.seen, self.next)
    }

    /// What had these words.
    #[must_use]
    pub const fn of(seen: [u32; TRANSACTIONS], next: usize) -> Self {
        Self {
            seen,
            next: next % TRANSACTIONS,
        }
    }
}
