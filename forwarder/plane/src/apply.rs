//! Owns commands: what control asks becomes entries in the tables. Every command may come twice.

use link::command::{AddPublisher, AddViewer, Command, IceCredentials, PassPublisher, Pin};
use link::event::{Event, Gone};
use link::ids::{CoreId, StreamId, ViewerId};
use link::lanes::Lanes;
use link::stats::Counter;
use wire::datagram::RxMeta;
use wire::time::Time;

use crate::Plane;
use crate::flow::Target;
use crate::handover::PublisherState;
use crate::keyframe::restart;
use crate::publishers::Home;
use crate::rewrite::Cap;
use crate::viewer::Phase;

impl Plane {
    /// Does what control asks.
    pub fn apply(&mut self, now: Time, command: &Command) {
        self.begin(now);
        match command {
            Command::AddViewer(add) => self.add_viewer(add),
            Command::RemoveViewer(viewer) => self.remove_viewer(*viewer),
            Command::RestartIce { viewer, ice } => self.restart_ice(*viewer, ice),
            Command::AddPublisher(add) => self.add_publisher(add),
            Command::PassPublisher(pass) => self.pass_publisher(pass),
            Command::RemovePublisher(stream) => {
                self.publishers.remove(*stream, &mut self.flows);
                self.passed.remove(*stream, &mut self.flows);
            }
            Command::AskKeyframe(stream, lanes) => self.ask_keyframe(*stream, *lanes),
            Command::ChooseLayer(viewer, pin) => self.choose_layer(*viewer, *pin),
            Command::Consent(viewer) => self.consent(*viewer),
            Command::CloseStream(stream) => self.close_stream(*stream),
        }
    }

    fn add_viewer(&mut self, add: &AddViewer) {
        if let Some(slot) = self.tables.viewers.slot_of(add.viewer) {
            self.update_viewer(slot, add);
            self.tell(&Event::ViewerAdded(add.viewer));
            return;
        }
        // An earlier generation that we were not told to forget.
        if let Some(slot) = self.tables.viewers.slot(add.viewer.index) {
            self.let_go(slot, None);
        }
        if self.take_viewer(add, None).is_some() {
            self.outlets.stats.add(Counter::ViewerAdded, 1);
            self.tell(&Event::ViewerAdded(add.viewer));
        } else {
            self.outlets.stats.add(Counter::ViewerRefused, 1);
            self.tell(&Event::ViewerRefused(add.viewer));
        }
    }

    fn add_publisher(&mut self, add: &AddPublisher) {
        let event = if self.take_publisher(add, None).is_some() {
            Event::PublisherAdded(add.stream)
        } else {
            self.outlets.stats.add(Counter::PublisherRefused, 1);
            Event::PublisherRefused(add.stream)
        };
        self.tell(&event);
    }

    /// Takes a publisher, as another worker left it if that is known. `None`: something about it
    /// cannot be.
    pub(crate) fn take_publisher(
        &mut self,
        add: &AddPublisher,
        before: Option<&PublisherState>,
    ) -> Option<()> {
        if !self.open_stream(add.stream) {
            return None;
        }
        self.passed.remove(add.stream, &mut self.flows);
        if let Some(id) = add.viewer {
            let viewers = &self.tables.viewers;
            let viewer = viewers.at(viewers.slot_of(id)?)?;
            if !viewer.is_publisher || viewer.stream != add.stream.index {
                return None;
            }
        }
        let home = Home {
            region: &self.outlets.region,
            stats: self.tables.streams.at(add.stream.index)?.stats.clone(),
            // 0 means that there is none.
            ssrc: self.random.next_u32() | 1,
        };
        let (publishers, flows) = (&mut self.publishers, &mut self.flows);
        let taken = publishers.add(self.now, add, home, before, flows);
        taken.then_some(())
    }

    fn pass_publisher(&mut self, pass: &PassPublisher) {
        self.publishers.remove(pass.stream, &mut self.flows);
        if pass.core == self.core || !self.passed.add(pass, &mut self.flows) {
            self.outlets.stats.add(Counter::PublisherRefused, 1);
        }
    }

    fn ask_keyframe(&mut self, id: StreamId, lanes: Lanes) {
        let stream = self.tables.streams.at(id.index);
        let is_ours = stream.is_some_and(|stream| stream.id == id);
        if !is_ours || !self.publishers.wish(id.index, lanes) {
            self.outlets.stats.add(Counter::CommandStale, 1);
        }
    }

    fn choose_layer(&mut self, viewer: ViewerId, pin: Pin) {
        let slot = self.tables.viewers.slot_of(viewer);
        let Some(viewer) = slot.and_then(|slot| self.tables.viewers.at_mut(slot)) else {
            self.outlets.stats.add(Counter::CommandStale, 1);
            return;
        };
        viewer.cold.pin = pin;
        if viewer.is_fixed {
            return;
        }
        let cap = Cap::of(&pin);
        // What it may not have any more is left out at once.
        viewer.next_cap = if self.adaptations.choose_anew(viewer) {
            viewer.next_cap.within(cap)
        } else {
            cap
        };
        if let Some(slot) = slot {
            self.adapt(slot);
        }
    }

    /// The peer has answered a check of ours.
    fn consent(&mut self, viewer: ViewerId) {
        let slot = self.tables.viewers.slot_of(viewer);
        let Some(viewer) = slot.and_then(|slot| self.tables.viewers.at_mut(slot)) else {
            self.outlets.stats.add(Counter::CommandStale, 1);
            return;
        };
        viewer.cold.is_controlling = true;
        viewer.cold.checked_at = self.now;
        viewer.cold.selected_at = self.now;
    }

    fn update_viewer(&mut self, slot: u32, add: &AddViewer) {
        let Some(viewer) = self.tables.viewers.at_mut(slot) else {
            return;
        };
        let had_video = viewer.takes_video;
        viewer.renegotiate(add);
        if had_video != viewer.takes_video
            && let Some(stream) = self.tables.streams.at_mut(viewer.stream)
        {
            stream.wants_key = stream.wants_key.or(restart(self.now, viewer, stream));
            if viewer.phase == Phase::CatchUp {
                self.tables.lists.join(slot, viewer);
            }
        }
        if viewer.cold.ice != add.ice {
            viewer.cold.ice = add.ice;
            viewer.cold.ice_next = None;
        }
        let to = RxMeta {
            peer: add.peer,
            local: add.local,
        };
        if viewer.is_part {
            viewer.to = to;
        } else if viewer.to != to
            && crate::check::learn(self.now, &mut self.flows, slot, viewer, to)
        {
            viewer.to = to;
            viewer.cold.selected_at = self.now;
        }
    }

    fn remove_viewer(&mut self, viewer: ViewerId) {
        if let Some(slot) = self.tables.viewers.slot_of(viewer) {
            self.let_go(slot, None);
        }
    }

    fn restart_ice(&mut self, viewer: ViewerId, ice: &IceCredentials) {
        let slot = self.tables.viewers.slot_of(viewer);
        let Some(viewer) = slot.and_then(|slot| self.tables.viewers.at_mut(slot)) else {
            self.outlets.stats.add(Counter::CommandStale, 1);
            return;
        };
        if viewer.cold.ice != *ice {
            viewer.cold.ice_next = Some(*ice);
        }
    }

    /// Makes sure that this core knows a stream. False: it is not open, or somebody reads it for
    /// this core already.
    pub(crate) fn open_stream(&mut self, id: StreamId) -> bool {
        if let Some(stream) = self.tables.streams.at(id.index) {
            if stream.id == id {
                return true;
            }
            let old = stream.id;
            self.close_stream(old);
        }
        let region = &self.outlets.region;
        let (Ok(mut reader), Ok(stats)) = (
            region.log_reader(id, self.core),
            region.stream_stats(id, self.core),
        ) else {
            self.outlets.stats.add(Counter::CommandStale, 1);
            return false;
        };
        let seen = reader.pin().range().end;
        self.tables.streams.insert(id, reader, stats, seen);
        true
    }

    fn close_stream(&mut self, id: StreamId) {
        self.passed.remove(id, &mut self.flows);
        if self
            .tables
            .streams
            .at(id.index)
            .is_none_or(|stream| stream.id != id)
        {
            return;
        }
        self.publishers.remove(id, &mut self.flows);
        while let Some(slot) = self
            .tables
            .streams
            .at(id.index)
            .and_then(|s| s.any_viewer())
        {
            self.let_go(slot, None);
        }
        while let Some(slot) = self.publishing(id.index) {
            self.let_go(slot, None);
        }
        self.tables.streams.remove(id.index);
    }

    /// A viewer by which the publisher of a stream comes, or is to come.
    fn publishing(&self, stream: u32) -> Option<u32> {
        let viewers = &self.tables.viewers;
        let mut slots = viewers.active().iter().copied();
        slots.find(|&slot| {
            viewers
                .at(slot)
                .is_some_and(|viewer| viewer.is_publisher && viewer.stream == stream)
        })
    }

    /// Forgets a viewer and everything that is its, its parts too. With a cause, control is told.
    pub(crate) fn let_go(&mut self, slot: u32, why: Option<Gone>) {
        let Some(viewer) = self.tables.viewers.at(slot) else {
            return;
        };
        let parts = viewer.cold.parts;
        if viewer.is_part {
            self.leave_leader(slot);
        }
        for part in parts.iter() {
            self.forget(part, why);
        }
        self.forget(slot, why);
    }

    fn forget(&mut self, slot: u32, why: Option<Gone>) {
        let tables = &mut self.tables;
        let Some(viewer) = tables.viewers.at(slot) else {
            return;
        };
        let (id, index, is_part) = (viewer.id, viewer.stream, viewer.is_part);
        self.shared.forget(slot);
        for path in viewer.cold.paths.iter().flatten() {
            self.flows.remove(path, Target::Viewer(slot));
            if self.flows.target(path).is_none()
                && let Some(before) = self.shared.take(path)
            {
                self.flows.insert(self.now, *path, Target::Viewer(before));
            }
        }
        if viewer.cell.owner() == Some(self.core) {
            viewer.cell.set_owner(None);
        }
        viewer.tell_counters(self.adaptations.bps_of(viewer), Cap::default());
        if viewer.is_publisher {
            self.publishers.leave(index, id, &mut self.flows);
        }
        tables.lists.forget(slot);
        if let Some(viewer) = tables.viewers.at_mut(slot) {
            self.adaptations.end(slot, viewer);
        }
        let mut stream = tables.streams.at_mut(index);
        tables.viewers.remove(stream.as_deref_mut(), slot);
        if let Some(stream) = stream {
            stream.stats.set_viewers(stream.watching());
        }
        let Some(why) = why else {
            return;
        };
        match why {
            // Counted with its leader.
            _ if is_part => {}
            Gone::Consent => self.outlets.stats.add(Counter::ViewerExpired, 1),
            Gone::KeyWornOut => self.outlets.stats.add(Counter::KeyWornOut, 1),
            Gone::Bye => {}
        }
        self.tell(&Event::ViewerGone(id, why));
    }

    /// Tells control, if there is room.
    pub(crate) fn tell(&mut self, event: &Event) {
        let told = self.outlets.events.push(event).is_ok();
        self.has_told |= told;
        let counter = if told {
            Counter::EventSent
        } else {
            Counter::EventLostFull
        };
        self.outlets.stats.add(counter, 1);
    }

    /// The core that serves the viewer with this index, by its cell.
    pub(crate) fn owner(&self, index: u32) -> Option<CoreId> {
        self.outlets.region.viewer_at(index)?.owner()
    }
}
