//! Owns the flows that several viewers have in common: nodes that relay to each other send all of
//! their sessions from one port to one port. The table of flows knows the newest of them; this the
//! others. Which of them a datagram is for is told by whose keys open it.

use wire::datagram::RxMeta;

/// Most viewers beside the newest of their flow, all flows together: as many as a node has relays.
const SHARED_MAX: usize = 256;

/// Most of them on one flow: each that does not fit costs an attempt to open.
pub const SHARERS_MAX: usize = 64;

/// The viewers beside the newest of their flow.
pub struct Shared(Vec<(RxMeta, u32)>);

impl Shared {
    /// None. All allocation is here.
    pub fn new() -> Self {
        Self(Vec::with_capacity(SHARED_MAX))
    }

    /// True if no flow is shared: the ordinary case.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The viewer in `slot` makes room for a newer one of its flow. Without room it is forgotten
    /// here: nothing that comes reaches it, and it ends by its silence.
    pub fn add(&mut self, flow: RxMeta, slot: u32) {
        let is_known = self.0.contains(&(flow, slot));
        let sharers = self.0.iter().filter(|(other, _)| *other == flow).count();
        if !is_known && self.0.len() < SHARED_MAX && sharers < SHARERS_MAX {
            self.0.push((flow, slot));
        }
    }

    /// The others of a flow, and how many.
    pub fn of(&self, flow: &RxMeta) -> ([u32; SHARERS_MAX], usize) {
        let mut slots = [0; SHARERS_MAX];
        let found = self.0.iter().filter(|(other, _)| other == flow);
        let mut count = 0;
        for (place, (_, slot)) in slots.iter_mut().zip(found) {
            *place = *slot;
            count += 1;
        }
        (slots, count)
    }

    /// Takes one of the others of a flow out: it is the newest now.
    pub fn take(&mut self, flow: &RxMeta) -> Option<u32> {
        let at = self.0.iter().rposition(|(other, _)| other == flow)?;
        Some(self.0.remove(at).1)
    }

    /// Forgets a viewer.
    pub fn forget(&mut self, slot: u32) {
        self.0.retain(|(_, other)| *other != slot);
    }
}
