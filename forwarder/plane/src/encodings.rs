//! Owns the viewers by which one peer is sent several encodings of a stream: a leader, which
//! everything from the peer comes to, and parts that have its keys, its address and its life.

use link::command::{AddViewer, TrackOut};
use link::lanes::LAYERS_MAX;
use wire::rtcp::Item;

use crate::Plane;
use crate::viewer::Viewer;

/// No slot.
const NONE: u32 = u32::MAX;

/// Most parts of a leader, which is sent one encoding itself. One place more than needed where
/// there is one encoding.
const PARTS_MAX: usize = LAYERS_MAX;

/// Slots of the parts of a leader.
#[derive(Clone, Copy, Debug)]
pub struct Parts([u32; PARTS_MAX]);

impl Default for Parts {
    fn default() -> Self {
        Self([NONE; PARTS_MAX])
    }
}

impl Parts {
    /// The slots.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = u32> {
        self.0.into_iter().filter(|slot| *slot != NONE)
    }

    /// False: there is no room.
    fn add(&mut self, slot: u32) -> bool {
        let free = self.0.iter_mut().find(|place| **place == NONE);
        free.map(|place| *place = slot).is_some()
    }

    fn remove(&mut self, slot: u32) {
        for place in self.0.iter_mut().filter(|place| **place == slot) {
            *place = NONE;
        }
    }
}

/// True if what a peer says may be of a part's source as well. Clocks and goodbyes are the
/// leader's.
pub const fn is_of_sources(item: &Item<'_>) -> bool {
    matches!(
        item,
        Item::ReceiverReport(_) | Item::SenderReport(_) | Item::Feedback(_)
    )
}

impl Plane {
    /// The leader that a viewer that is to be added names. `Ok(None)`: it stands for itself.
    /// `Err`: it cannot be a part of that one. Two sources of one key must not have one name.
    pub(crate) fn leader_of(&self, add: &AddViewer) -> Result<Option<u32>, NoLeader> {
        let Some(one) = add.encoding.filter(|one| one.leader != add.viewer) else {
            return Ok(None);
        };
        let viewers = &self.tables.viewers;
        let slot = viewers.slot_of(one.leader).ok_or(NoLeader)?;
        let leader = viewers.at(slot).ok_or(NoLeader)?;
        let is_one = leader.is_fixed && !leader.is_part && leader.stream == add.stream.index;
        let mut all = leader.cold.parts.iter().chain([slot]);
        let is_distinct = all.all(|other| {
            let other = viewers.at(other);
            other.is_some_and(|other| !shares_sources(other, &add.tracks))
        });
        match is_one && is_distinct {
            true => Ok(Some(slot)),
            false => Err(NoLeader),
        }
    }

    /// Makes the viewer in `slot` a part of the one in `leader`. False: that has no room.
    pub(crate) fn join_leader(&mut self, slot: u32, leader: u32) -> bool {
        let viewers = &mut self.tables.viewers;
        let Some(all) = viewers.at_mut(leader) else {
            return false;
        };
        if !all.cold.parts.add(slot) {
            return false;
        }
        if let Some(part) = viewers.at_mut(slot) {
            part.cold.leader = leader;
            // What comes on its flow comes to the leader.
            part.cold.paths = Default::default();
        }
        true
    }

    /// A part is about to be forgotten.
    pub(crate) fn leave_leader(&mut self, slot: u32) {
        let viewers = &mut self.tables.viewers;
        let leader = viewers.at(slot).map_or(NONE, |part| part.cold.leader);
        if let Some(leader) = viewers.at_mut(leader) {
            leader.cold.parts.remove(slot);
        }
    }
}

/// There is no such leader, or it cannot have this part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLeader;

fn shares_sources(viewer: &Viewer, tracks: &[TrackOut]) -> bool {
    let taken = |track: &&TrackOut| track.clock_hz != 0;
    let of = |track: &TrackOut| [track.ssrc, track.rtx_ssrc];
    let theirs = viewer.tracks.each_ref().map(|track| &track.out);
    let mut theirs = theirs.into_iter().filter(taken).flat_map(of);
    theirs.any(|ssrc| {
        let mut ours = tracks.iter().filter(taken).flat_map(of);
        ssrc != 0 && ours.any(|own| own == ssrc)
    })
}
