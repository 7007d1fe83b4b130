//! Owns the order of payloads without a hold: out at once, and a bounded wait at a gap.

use std::collections::VecDeque;
use wire::time::{Span, Time};

use super::seq::Seq;

/// Puts payloads in the order of their sequence numbers. What is in order leaves at once; at a gap
/// it waits until the packet comes, the sender gives it up, or `patience` has passed since the gap
/// was seen.
pub struct Order {
    /// The number to leave next.
    next: Seq,
    /// What is known from `next` on; the last entry is always a payload.
    ring: VecDeque<Slot>,
    ring_max: usize,
    patience: Span,
    tally: Tally,
}

/// What happened to sequence numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Payloads released.
    pub released: u64,
    /// Numbers given up: their payloads are missing from what was released.
    pub skipped: u64,
    /// Payloads that came after their number was released or given up.
    pub late: u64,
}

enum Slot {
    Payload(Vec<u8>),
    /// Not come yet; missed since.
    Missing(Time),
    /// The sender no longer has it.
    GivenUp,
}

impl Order {
    /// Begins at `first`, holding at most `ring_max` packets (at least one) and waiting at most
    /// `patience` at a gap.
    #[must_use]
    pub fn new(first: Seq, ring_max: usize, patience: Span) -> Self {
        let ring_max = ring_max.max(1);
        Self {
            next: first,
            ring: VecDeque::new(),
            ring_max,
            patience,
            tally: Tally::default(),
        }
    }

    /// Takes a payload and hands `out` everything that may leave now. A jump further than the ring
    /// is long releases what is held, gives up what lies between and goes on from there.
    pub fn push(&mut self, now: Time, seq: Seq, payload: &[u8], out: &mut impl FnMut(Vec<u8>)) {
        let Ok(ahead) = usize::try_from(self.next.ahead_by(seq)) else {
            self.tally.late += 1;
            return;
        };
        let ahead = self.make_room(seq, ahead, out);
        match self.ring.get_mut(ahead) {
            Some(Slot::Payload(_)) => self.tally.late += 1,
            Some(slot) => *slot = Slot::Payload(payload.to_vec()),
            None => {
                self.ring.resize_with(ahead, || Slot::Missing(now));
                self.ring.push_back(Slot::Payload(payload.to_vec()));
            }
        }
        self.release(now, out);
    }

    /// The sender no longer has `first` to `last`.
    ///
    //= https://datatracker.ietf.org/doc/html/draft-sharabayko-srt-01#section-3.2.9
    //# The sender notifies the receiver that it must not wait for retransmission of this
    //# message.
    /// Numbers not known to be missing are left alone:
    /// a forged request must not erase what is still to come.
    pub fn give_up(&mut self, now: Time, first: Seq, last: Seq, out: &mut impl FnMut(Vec<u8>)) {
        let first = self.next.ahead_by(first).max(0);
        let last = self.next.ahead_by(last);
        let (Ok(first), Ok(last)) = (usize::try_from(first), usize::try_from(last)) else {
            return;
        };
        let count = last.saturating_add(1).saturating_sub(first);
        for slot in self.ring.iter_mut().skip(first).take(count) {
            if matches!(slot, Slot::Missing(_)) {
                *slot = Slot::GivenUp;
            }
        }
        self.release(now, out);
    }

    /// Lets go of what is due at `now`.
    pub fn release(&mut self, now: Time, out: &mut impl FnMut(Vec<u8>)) {
        while let Some(slot) = self.ring.front() {
            if matches!(slot, Slot::Missing(since) if now < *since + self.patience) {
                return;
            }
            self.pop(out);
        }
    }

    /// Lets go of everything held: nothing more will come.
    pub fn flush(&mut self, out: &mut impl FnMut(Vec<u8>)) {
        while !self.ring.is_empty() {
            self.pop(out);
        }
    }

    /// When [`Order::release`] is due, if something waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match self.ring.front()? {
            Slot::Missing(since) => Some(*since + self.patience),
            Slot::Payload(_) | Slot::GivenUp => Some(Time::ZERO),
        }
    }

    /// Counts so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Packets held and gaps between them.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.ring.len()
    }

    fn pop(&mut self, out: &mut impl FnMut(Vec<u8>)) {
        let Some(slot) = self.ring.pop_front() else {
            return;
        };
        self.next = self.next.plus(1);
        match slot {
            Slot::Payload(payload) => {
                self.tally.released += 1;
                // A packet may be empty; it has a number all the same.
                if !payload.is_empty() {
                    out(payload);
                }
            }
            Slot::Missing(_) | Slot::GivenUp => self.tally.skipped += 1,
        }
    }

    /// Makes sure that `seq`, which lies `ahead`, has a place in the ring; says where.
    fn make_room(&mut self, seq: Seq, ahead: usize, out: &mut impl FnMut(Vec<u8>)) -> usize {
        let excess = (ahead + 1).saturating_sub(self.ring_max);
        for _ in 0..excess.min(self.ring.len()) {
            self.pop(out);
        }
        let Ok(left) = usize::try_from(self.next.ahead_by(seq)) else {
            return 0;
        };
        if left < self.ring_max {
            return left;
        }
        self.tally.skipped += left as u64;
        self.next = seq;
        0
    }
}

#[cfg(test)]
mod tests;
