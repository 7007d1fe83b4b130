//! Owns the handing out of memory for runs over `io_uring`. Hot.

use super::Uring;
use wire::datagram::{Egress, PARKED_MAX, Parked, RunMeta, Slot};

impl Egress for Uring {
    fn segments_max(&self) -> u8 {
        self.segments_max
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        let slot = self.arena.claim(run);
        self.full |= slot.is_none();
        slot
    }

    fn commit(&mut self, bytes: usize) {
        self.arena.commit(bytes);
        if self.arena.waiting() >= self.batch {
            self.send();
        }
    }

    fn parked_max(&self) -> u8 {
        PARKED_MAX
    }

    fn park(&mut self, bytes: usize) -> Option<Parked> {
        self.arena.park(bytes)
    }

    fn parked(&self, run: Parked) -> &[u8] {
        self.arena.parked(run)
    }

    fn parked_mut(&mut self, run: Parked) -> &mut [u8] {
        self.arena.parked_mut(run)
    }

    fn commit_parked(&mut self) {
        while self.arena.unpark() {
            if self.arena.waiting() >= self.batch {
                self.send();
            }
        }
    }
}
