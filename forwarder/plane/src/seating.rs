//! Owns how a viewer comes to its place in the tables: as a newcomer, or from another worker.

use link::command::AddViewer;
use link::ids::StreamId;

use crate::Plane;
use crate::flow::Target;
use crate::handover::{Rest, Staged, ViewerState};
use crate::keyframe::{begin, resume};
use crate::viewer::{Phase, Viewer, is_sane};

impl Plane {
    /// Takes a viewer, as another worker left it if that is known. `None`: something about it
    /// cannot be.
    pub(crate) fn take_viewer(
        &mut self,
        add: &AddViewer,
        before: Option<&ViewerState>,
    ) -> Option<()> {
        if !is_sane(add) || !self.open_stream(add.stream) {
            return None;
        }
        let leader = self.leader_of(add).ok()?;
        let cell = self.outlets.region.viewer(add.viewer).ok()?;
        // Another process has served it, and whoever published died with that one.
        let is_resumed = cell.leases().iter().any(|lease| *lease > 0)
            && !self.outlets.region.is_written_by_control(add.stream);
        let mut viewer = Viewer::new(self.now, add, cell, self.cipher, &mut self.random).ok()?;
        if let Some(before) = before {
            viewer.go_on(before);
            return self.seat(viewer, add.stream, leader, Some(&before.rest()));
        }
        viewer.begin_leases();
        if !viewer.is_publisher {
            let stream = self.tables.streams.at_mut(add.stream.index)?;
            if stream.viewers == 0 {
                stream.start_here();
            }
            let start = if is_resumed { resume } else { begin };
            let wanted = start(self.now, &mut viewer, stream);
            stream.wants_key = stream.wants_key.or(wanted);
        }
        self.seat(viewer, add.stream, leader, None)
    }

    /// Takes a viewer that was made ahead and has been told the rest. `None`: its stream is gone.
    pub(crate) fn take_staged(&mut self, staged: Staged) -> Option<()> {
        let Staged {
            viewer,
            stream,
            rest,
        } = staged;
        if !self.open_stream(stream) {
            return None;
        }
        self.seat(viewer, stream, None, Some(&rest))
    }

    /// Puts a viewer into the tables. `leader`: the slot of the one that it counts with.
    fn seat(
        &mut self,
        mut viewer: Viewer,
        stream: StreamId,
        leader: Option<u32>,
        before: Option<&Rest>,
    ) -> Option<()> {
        if let Some(before) = before {
            self.adaptations.go_on(self.now, &mut viewer, before);
        }
        let tables = &mut self.tables;
        let stream = tables.streams.at_mut(stream.index)?;
        let slot = tables.viewers.insert(stream, viewer)?;
        let viewer = tables.viewers.at_mut(slot)?;
        if !viewer.is_publisher {
            if viewer.phase == Phase::CatchUp {
                tables.lists.join(slot, viewer);
            }
            if viewer.cursor < stream.seen {
                tables.lists.block(slot, viewer);
            }
            stream.stats.set_viewers(stream.watching());
        }
        viewer.cell.set_owner(Some(self.core));
        let to = viewer.to;
        if let Some(leader) = leader {
            if !self.join_leader(slot, leader) {
                self.let_go(slot, None);
                return None;
            }
            self.ask_keyframes();
            return Some(());
        }
        // The one before goes on beside it: nodes have one port for all that they relay.
        if let Some(Target::Viewer(before)) = self.flows.target(&to)
            && before != slot
        {
            self.shared.add(to, before);
        }
        if !self.flows.insert(self.now, to, Target::Viewer(slot)) {
            self.let_go(slot, None);
            return None;
        }
        if let Some(before) = before {
            self.learn_paths(slot, before);
        }
        self.ask_keyframes();
        Some(())
    }
}
