//! Owns short runs of viewers whose tags are computed together: they are written and parked, and
//! leave when there are enough of them. Hot.
//!
//! All else is done when a run is written, as for one that leaves at once: its indexes are leased
//! and used, its room is claimed, it is counted. Viewers whose cipher gains nothing pass by.

use arrayvec::ArrayVec;
use seal::{Group, Run};
use wire::datagram::{Egress, PARKED_MAX, RunMeta};

use crate::viewer::Viewer;

/// Runs that may leave at once while others are parked: as many as a port gives to the kernel in
/// one call. Where those behind a parked run wait for it, they are to stay in the cache.
const PASSING_MAX: u8 = 16;

const _: () = assert!(Group::PACKETS_MAX <= PARKED_MAX as usize);

/// The runs that are parked.
#[derive(Default)]
pub struct Together {
    group: Group,
    /// Whose they are.
    viewers: ArrayVec<u32, { Group::PACKETS_MAX }>,
    passing: u8,
    is_open: bool,
}

impl Together {
    /// From now on runs are parked, if `egress` can do that.
    pub fn open(&mut self, egress: &impl Egress) {
        self.is_open = usize::from(egress.parked_max()) >= Group::PACKETS_MAX;
    }

    /// Everything leaves, and nothing is parked from now on.
    pub fn close(&mut self, egress: &mut impl Egress) {
        if !self.is_empty() {
            self.finish(egress);
        }
        self.is_open = false;
    }

    /// True if nothing is parked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.viewers.is_empty()
    }

    /// Before a run is claimed: sees that there is room for it if it will be parked, and that the
    /// viewer's runs before it leave first if it will not.
    #[inline]
    pub fn make_way(&mut self, egress: &mut impl Egress, viewer: &Viewer, run: &RunMeta) {
        if !self.is_empty() {
            self.make_way_for(egress, viewer, run);
        }
    }

    #[inline(never)]
    fn make_way_for(&mut self, egress: &mut impl Egress, viewer: &Viewer, run: &RunMeta) {
        let is_due = if gains(viewer, run) {
            usize::from(run.segments) > self.group.room()
        } else {
            self.passing += 1;
            self.passing >= PASSING_MAX || self.viewers.contains(&viewer.id.index)
        };
        if is_due {
            self.finish(egress);
        }
    }

    /// True if a run that lacks its tags is to be parked; otherwise they are to be written now.
    #[inline]
    pub fn takes(&self, viewer: &Viewer, run: &RunMeta) -> bool {
        self.is_open && gains(viewer, run)
    }

    /// Parks the run claimed last, of so many bytes; what `sealing` lacks is left to the group.
    pub fn park(
        &mut self,
        egress: &mut impl Egress,
        viewer: &Viewer,
        sealing: &mut Run,
        bytes: usize,
    ) {
        let parked = egress.park(bytes);
        debug_assert!(parked.is_some(), "measured, and there is room");
        if let Some(parked) = parked {
            self.group.add(&viewer.sealer, sealing, parked);
            let _ = self.viewers.try_push(viewer.id.index);
        }
    }

    /// What is parked gets its tags and leaves.
    #[cold]
    pub fn finish(&mut self, egress: &mut impl Egress) {
        self.group.tag(egress);
        egress.commit_parked();
        self.viewers.clear();
        self.passing = 0;
    }
}

#[inline]
fn gains(viewer: &Viewer, run: &RunMeta) -> bool {
    usize::from(run.segments) <= Group::RUN_PACKETS_MAX && viewer.sealer.shares_tags()
}
