//! Owns datagrams on their way between cores: a peer's packets may come to another core than the
//! one that serves it, since the kernel chooses by a hash of addresses.

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use link::Region;
use link::ids::CoreId;
use link::wake::Waker;
use plane::{Parcel, Plane};
use std::sync::Arc;

/// Parcels that may wait for one core. They are checks and reports, a few in a second for each
/// viewer that moved, and the media of publishers that did, 1,000 a second at 8 Mbit/s: full means
/// that the core is half a second behind, and loss is the right answer.
const WAITING_MAX: usize = 512;

/// Parcels that one turn takes from its inbox.
const TURN_MAX: usize = 256;

/// The inboxes of all cores. Clones are handles to the same ones.
#[derive(Clone)]
pub struct Exchange(Arc<[Inbox]>);

struct Inbox {
    queue: CachePadded<ArrayQueue<Parcel>>,
    waker: Waker,
}

impl Exchange {
    /// An empty inbox for each core of `region`.
    #[must_use]
    pub fn new(region: &Region) -> Self {
        let cores = region.limits().cores;
        let wakers = (0..cores).filter_map(|core| region.waker(CoreId(core)).ok());
        // One core alone sends nothing to itself.
        let waiting_max = if cores > 1 { WAITING_MAX } else { 1 };
        let inboxes = wakers.map(|waker| Inbox {
            queue: CachePadded::new(ArrayQueue::new(waiting_max)),
            waker,
        });
        Self(inboxes.collect())
    }

    /// Takes the parcels that `plane` has for others to their inboxes. Those that find no room are
    /// lost, their peers send again; returns how many.
    pub(crate) fn post(&self, plane: &mut Plane) -> u64 {
        let mut lost = 0;
        while let Some(parcel) = plane.handoff() {
            lost += u64::from(!self.push(parcel));
        }
        lost
    }

    /// Gives what waits for `core` to its plane, up to the bound of a turn; returns how many.
    pub(crate) fn take(&self, core: CoreId, plane: &mut Plane) -> usize {
        let Some(inbox) = self.0.get(usize::from(core.0)) else {
            return 0;
        };
        let mut taken = 0;
        while taken < TURN_MAX
            && let Some(mut parcel) = inbox.queue.pop()
        {
            plane.parcel(&mut parcel);
            taken += 1;
        }
        taken
    }

    /// True if nothing waits for `core`.
    pub(crate) fn is_empty(&self, core: CoreId) -> bool {
        let inbox = self.0.get(usize::from(core.0));
        inbox.is_none_or(|inbox| inbox.queue.is_empty())
    }

    fn push(&self, parcel: &Parcel) -> bool {
        let Some(inbox) = self.0.get(usize::from(parcel.to.0)) else {
            return false;
        };
        let taken = inbox.queue.push(*parcel).is_ok();
        inbox.waker.wake();
        taken
    }
}
