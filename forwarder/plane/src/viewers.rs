//! Owns the table of this core's viewers, and the ring of viewers of each stream. Hot.
//!
//! Slots are handed out from the lowest and reused first, so that memory is touched only as far as
//! there have been viewers at once. The memory itself is reserved at the start.

use link::ids::ViewerId;
use link::lanes::Lanes;

use crate::stream::Stream;
use crate::viewer::{self, Viewer};

/// No slot.
pub const NONE: u32 = u32::MAX;

/// All viewers of a core.
pub struct Viewers {
    slots: Vec<Option<Viewer>>,
    free: Vec<u32>,
    /// Slot by the index of the viewer's id.
    slot_of: Box<[u32]>,
    /// Slots in use, in any order: what timers walk.
    active: Vec<u32>,
    /// Those among them that take nothing.
    publishers: usize,
    /// Those among them that count with another.
    parts: usize,
}

impl Viewers {
    /// An empty table for viewers with indexes below `viewers_max`. All allocation is here.
    pub fn new(viewers_max: u32) -> Self {
        let capacity = viewers_max as usize;
        Self {
            slots: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            slot_of: vec![NONE; capacity].into_boxed_slice(),
            active: Vec::with_capacity(capacity),
            publishers: 0,
            parts: 0,
        }
    }

    /// The slot of the viewer with this index, whatever its generation.
    #[inline]
    pub fn slot(&self, index: u32) -> Option<u32> {
        let slot = *self.slot_of.get(index as usize)?;
        (slot != NONE).then_some(slot)
    }

    /// The slot of exactly this viewer.
    pub fn slot_of(&self, id: ViewerId) -> Option<u32> {
        let slot = self.slot(id.index)?;
        (self.at(slot)?.id == id).then_some(slot)
    }

    /// The viewer in this slot.
    #[inline]
    pub fn at(&self, slot: u32) -> Option<&Viewer> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The viewer in this slot.
    #[inline]
    pub fn at_mut(&mut self, slot: u32) -> Option<&mut Viewer> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Asks the processor for what a burst of `lanes` touches of the viewer in this slot.
    #[inline]
    pub fn prefetch(&self, slot: u32, lanes: Lanes) {
        if let Some(place) = self.slots.get(slot as usize) {
            viewer::prefetch(place, lanes);
        }
    }

    /// Slots in use, in any order.
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// Viewers in use that watch.
    pub fn watching(&self) -> usize {
        self.active.len() - self.publishers - self.parts
    }

    /// Touches the memory of so many viewers. The table is empty.
    pub fn touch(&mut self, viewers: usize) {
        debug_assert!(self.slots.is_empty(), "nobody is there yet");
        let viewers = viewers.min(self.slots.capacity());
        self.slots.resize_with(viewers, || None);
        self.slots.clear();
    }

    /// Puts a viewer into the table and at the end of its stream's ring, if it watches. `None`: its
    /// index is out of range or taken.
    pub fn insert(&mut self, stream: &mut Stream, mut viewer: Viewer) -> Option<u32> {
        let place = self.slot_of.get_mut(viewer.id.index as usize)?;
        if *place != NONE {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => u32::try_from(self.slots.len()).ok()?,
        };
        *place = slot;
        viewer.cold.active_at = u32::try_from(self.active.len()).ok()?;
        self.active.push(slot);
        let is_publisher = viewer.is_publisher;
        let is_part = viewer.is_part;
        if self.slots.len() == slot as usize {
            self.slots.push(Some(viewer));
        } else {
            self.slots[slot as usize] = Some(viewer);
        }
        if is_publisher {
            self.publishers += 1;
        } else {
            self.link(stream, slot);
            stream.parts += u32::from(is_part);
            self.parts += usize::from(is_part);
        }
        Some(slot)
    }

    /// Takes a viewer out of the table and of its stream's ring. Its keys are wiped when it drops.
    pub fn remove(&mut self, stream: Option<&mut Stream>, slot: u32) -> Option<ViewerId> {
        let Viewer {
            is_publisher,
            is_part,
            ..
        } = *self.at(slot)?;
        self.parts -= usize::from(is_part);
        if is_publisher {
            self.publishers -= 1;
        } else if let Some(stream) = stream {
            self.unlink(stream, slot);
            stream.parts -= u32::from(is_part);
        }
        let viewer = self.slots.get_mut(slot as usize)?.take()?;
        self.slot_of[viewer.id.index as usize] = NONE;
        self.free.push(slot);
        let at = viewer.cold.active_at as usize;
        self.active.swap_remove(at);
        if let Some(&moved) = self.active.get(at)
            && let Some(moved) = self.at_mut(moved)
        {
            moved.cold.active_at = viewer.cold.active_at;
        }
        Some(viewer.id)
    }

    fn link(&mut self, stream: &mut Stream, slot: u32) {
        let first = if stream.first_viewer == NONE {
            slot
        } else {
            stream.first_viewer
        };
        stream.first_viewer = first;
        stream.viewers += 1;
        let last = if first == slot {
            slot
        } else {
            self.at(first).map_or(slot, |viewer| viewer.prev)
        };
        self.join(last, slot);
        self.join(slot, first);
    }

    fn unlink(&mut self, stream: &mut Stream, slot: u32) {
        let Some((next, prev)) = self.at(slot).map(|viewer| (viewer.next, viewer.prev)) else {
            return;
        };
        stream.viewers -= 1;
        if next == slot {
            stream.first_viewer = NONE;
            stream.round = None;
            return;
        }
        self.join(prev, next);
        if let Some(round) = &mut stream.round
            && round.next == slot
        {
            round.next = next;
            if next == stream.first_viewer {
                stream.round = None;
            }
        }
        if stream.first_viewer == slot {
            stream.first_viewer = next;
        }
    }

    fn join(&mut self, left: u32, right: u32) {
        if let Some(viewer) = self.at_mut(left) {
            viewer.next = right;
        }
        if let Some(viewer) = self.at_mut(right) {
            viewer.prev = left;
        }
    }
}
