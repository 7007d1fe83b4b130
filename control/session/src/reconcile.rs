//! Owns the match of what should be with what workers have: their events, their deaths, and a look
//! at what they hold.

use crate::output::{Cause, Output};
use crate::session::{Placed, Session};
use crate::sessions::Sessions;
use link::command::Command;
use link::event::{Event, Gone};
use link::ids::{CoreId, StreamId, ViewerId};
use link::lanes::Lanes;
use wire::time::Time;

/// Who holds a viewer, as its cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This worker.
    Core(CoreId),
    /// No worker: whoever had it has let it go.
    Nobody,
    /// No worker has it because they have died, and will be told of it again when they are back.
    Unknown,
}

impl Sessions {
    /// Takes an event of a worker.
    pub fn event(&mut self, now: Time, core: CoreId, event: Event) {
        match event {
            Event::ViewerAdded(viewer) => self.on_added(core, viewer),
            Event::ViewerRefused(viewer) => self.on_lost(now, core, viewer, Cause::Refused),
            Event::ViewerGone(viewer, Gone::Consent) => {
                self.on_lost(now, core, viewer, Cause::Consent);
            }
            Event::ViewerGone(viewer, Gone::Bye) => self.on_lost(now, core, viewer, Cause::Bye),
            Event::ViewerGone(viewer, Gone::KeyWornOut) => {
                self.on_lost(now, core, viewer, Cause::KeyWornOut);
            }
            Event::ViewerMoved(viewer, peer) => {
                let Some(session) = self.table.by_viewer(viewer) else {
                    return;
                };
                let Some(placed) = session.placed.as_mut().filter(|p| p.core == core) else {
                    return;
                };
                placed.peer = peer;
                let forgotten = session.ice.on_moved(now, peer, core);
                self.table.bind(peer, viewer.index, forgotten);
                self.keep(viewer.index);
            }
            Event::KeyframeWanted(stream, lanes) => self.on_keyframe_wanted(stream, lanes),
            Event::PublisherAdded(stream) => self.on_publisher_added(core, stream),
            Event::PublisherRefused(stream) => self.on_publisher_refused(now, core, stream),
        }
    }

    /// A worker has lost everything. Each of its viewers and publishers is sent again, with first
    /// indexes from `leases`: for a viewer index the first index not leased of video, video
    /// retransmission, audio, audio retransmission and RTCP, as its cell says.
    pub fn worker_restarted(&mut self, now: Time, core: CoreId, leases: impl Fn(u32) -> [u64; 5]) {
        let placed_there = |placed: &Placed| placed.core == core;
        let lost = self
            .table
            .indexes(|s| s.placed.as_ref().is_some_and(placed_there));
        for index in lost {
            if let Some(session) = self.table.get_mut(index) {
                session.renew(now, leases(index));
                session.renew_parts(&leases);
            }
            self.counters.viewer_resent += 1;
            self.send_commands(index);
            self.schedule(index);
        }
        self.pushes_restarted(now, core);
    }

    /// Events are hints and can be lost, so now and then the cells are looked at: `holder` says who
    /// holds that generation of a viewer. What should be held and is, is acknowledged; what was
    /// acknowledged and is not held any more has gone.
    pub fn audit(&mut self, now: Time, holder: impl Fn(ViewerId) -> Holder) {
        for index in self.table.indexes(|session| session.placed.is_some()) {
            let Some(session) = self.table.get_mut(index) else {
                continue;
            };
            if !session.audit_parts(&holder) {
                self.close(now, index, Cause::Lost, true);
                continue;
            }
            let holder = holder(session.viewer);
            let Some(placed) = &mut session.placed else {
                continue;
            };
            match holder {
                Holder::Core(core) if core == placed.core => {
                    placed.viewer_added = true;
                    self.schedule(index);
                }
                Holder::Core(_) | Holder::Nobody if placed.viewer_added => {
                    self.close(now, index, Cause::Lost, true);
                }
                _ => {}
            }
        }
    }

    /// Viewer index `index` has been in use up to this generation, before this process began.
    /// To be told at the start, for every cell.
    pub fn adopt_generation(&mut self, index: u32, generation: u32) {
        self.table.adopt(index, generation);
    }

    /// A viewer of an earlier life of control that no session goes on with, and that a worker may
    /// have: its index rests until [`Sessions::release_stray`]. False: there is no such index.
    pub fn adopt_stray(&mut self, viewer: ViewerId) -> bool {
        self.table.claim(viewer)
    }

    /// Its index may be used again.
    pub fn release_stray(&mut self, now: Time, viewer: ViewerId) {
        self.table.release(now, viewer);
    }

    fn on_added(&mut self, core: CoreId, viewer: ViewerId) {
        let is_there = |s: &mut Session| s.placed.as_ref().is_some_and(|p| p.core == core);
        if let Some(session) = self.table.by_part(viewer)
            && is_there(session)
        {
            session.on_part_added(viewer);
            let index = session.viewer.index;
            return self.schedule(index);
        }
        let placed = self
            .table
            .by_viewer(viewer)
            .and_then(|session| session.placed.as_mut());
        if let Some(placed) = placed.filter(|placed| placed.core == core) {
            placed.viewer_added = true;
            self.schedule(viewer.index);
        }
    }

    fn on_publisher_added(&mut self, core: CoreId, stream: StreamId) {
        if let Some((index, placed)) = self.publisher_at(core, stream) {
            placed.on_publisher_added();
            self.schedule(index);
        } else {
            self.on_push_added(core, stream);
        }
    }

    /// Its log has another writer for a moment: whoever wrote there before, or a publisher that is
    /// being removed by another worker. It is given again, but not for ever.
    fn on_publisher_refused(&mut self, now: Time, core: CoreId, stream: StreamId) {
        self.counters.publisher_refused += 1;
        let Some((index, placed)) = self.publisher_at(core, stream) else {
            return self.on_push_refused(now, core, stream);
        };
        placed.on_publisher_refused(now);
        if placed.is_hopeless(now) {
            return self.close(now, index, Cause::Refused, true);
        }
        self.schedule(index);
    }

    /// Whoever publishes a stream by a session is asked by its own worker.
    fn on_keyframe_wanted(&mut self, stream: StreamId, lanes: Lanes) {
        let publisher = self.publisher_of(stream).and_then(|p| p.placed.as_ref());
        match publisher.map(|placed| placed.core) {
            Some(core) => self.command(core, Command::AskKeyframe(stream, lanes)),
            None => self.output(Output::KeyframeWanted(stream)),
        }
    }

    /// The publisher of a stream, if it is on that worker.
    fn publisher_at(&mut self, core: CoreId, stream: StreamId) -> Option<(u32, &mut Placed)> {
        let viewer = self.streams.by_id(stream)?.publisher?;
        let placed = self.table.by_viewer(viewer)?.placed.as_mut();
        placed
            .filter(|placed| placed.core == core)
            .map(|placed| (viewer.index, placed))
    }

    fn on_lost(&mut self, now: Time, core: CoreId, viewer: ViewerId, cause: Cause) {
        // With one encoding all of them are lost: another session sends them all.
        let (viewer, is_part) = match self.table.by_part(viewer) {
            Some(session) => (session.viewer, true),
            None => (viewer, false),
        };
        let placed = self
            .table
            .by_viewer(viewer)
            .and_then(|session| session.placed.as_ref());
        if placed.is_some_and(|placed| placed.core == core) {
            self.close(now, viewer.index, cause, is_part);
        }
    }
}
