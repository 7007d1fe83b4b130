//! Owns the slots of sessions: viewer indexes and their generations, and who is where.

use crate::session::{Session, SessionId};
use link::ids::ViewerId;
use std::collections::{BTreeSet, HashMap, VecDeque};
use wire::peer::Peer;
use wire::time::{Span, Time};

/// An index rests this long before its next use, so that the worker which had it has long carried
/// out its removal when another gets it: both write into the same viewer cell.
const REST: Span = Span::secs(2);

/// Sessions of one socket of a peer. A node that relays has one for all of them.
const SHARERS_MAX: usize = 64;

/// All sessions, and the ways to find one.
#[derive(Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    /// Indexes to use again, the one that has rested longest first.
    free: VecDeque<(Time, u32)>,
    slots_max: u32,
    len: u32,
    by_id: HashMap<SessionId, u32>,
    /// Where a valid check has come from. A browser's socket belongs to one session; a node has one
    /// for all that it relays. The newest is last.
    by_peer: HashMap<Peer, Vec<u32>>,
    timers: BTreeSet<(Time, u32)>,
    /// Those in which we have called the peer.
    calls: BTreeSet<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    session: Option<Box<Session>>,
    timer: Option<Time>,
}

impl Table {
    pub(crate) fn new(slots_max: u32) -> Self {
        Self {
            slots_max,
            ..Self::default()
        }
    }

    /// A viewer id for [`Table::insert`]. `None`: all are in use, or have not rested.
    pub(crate) fn vacancy(&mut self, now: Time) -> Option<ViewerId> {
        let index = u32::try_from(self.slots.len())
            .ok()
            .filter(|index| *index < self.slots_max);
        let index = match index {
            Some(index) => {
                self.slots.push(Slot::default());
                index
            }
            None => {
                let &(rested_at, index) = self.free.front()?;
                if rested_at > now {
                    return None;
                }
                self.free.pop_front();
                index
            }
        };
        let slot = self.slots.get_mut(usize_of(index))?;
        slot.generation = slot.generation.wrapping_add(1).max(1);
        Some(ViewerId {
            index,
            generation: slot.generation,
        })
    }

    /// A viewer id of [`Table::vacancy`] that no session was inserted for is not wanted any more.
    pub(crate) fn release(&mut self, now: Time, viewer: ViewerId) {
        self.free.push_back((now + REST, viewer.index));
    }

    /// From now on generations of `index` come after `generation`.
    pub(crate) fn adopt(&mut self, index: u32, generation: u32) {
        while index < self.slots_max && self.slots.len() <= usize_of(index) {
            let new = u32::try_from(self.slots.len()).expect("bounded by slots_max");
            self.slots.push(Slot::default());
            self.free.push_back((Time::ZERO, new));
        }
        if let Some(slot) = self.slots.get_mut(usize_of(index)) {
            slot.generation = slot.generation.max(generation);
        }
    }

    /// Makes room for a session of an earlier life of control, to be told of before any newcomer
    /// comes. False: its place is taken, or there is none such.
    pub(crate) fn claim(&mut self, viewer: ViewerId) -> bool {
        self.adopt(viewer.index, viewer.generation);
        // The last one, if they come in their order.
        let place = self
            .free
            .iter()
            .rposition(|(_, index)| *index == viewer.index);
        place.is_some_and(|place| self.free.remove(place).is_some())
    }

    /// Puts a session where [`Table::vacancy`] has made room for it.
    pub(crate) fn insert(&mut self, session: Session) {
        let index = session.viewer.index;
        self.by_id.insert(session.id.clone(), index);
        if session.agent.is_some() {
            self.calls.insert(index);
        }
        if let Some(slot) = self.slots.get_mut(usize_of(index)) {
            slot.session = Some(Box::new(session));
            self.len += 1;
        }
    }

    /// Takes a session out, from everywhere.
    pub(crate) fn remove(&mut self, now: Time, index: u32) -> Option<Box<Session>> {
        self.set_timer(index, None);
        let session = self.slots.get_mut(usize_of(index))?.session.take()?;
        self.by_id.remove(&session.id);
        self.calls.remove(&index);
        for pair in session.ice.pairs() {
            self.unbind(pair.peer, index);
        }
        self.free.push_back((now + REST, index));
        self.len -= 1;
        Some(session)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&Session> {
        self.slots.get(usize_of(index))?.session.as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.slots.get_mut(usize_of(index))?.session.as_deref_mut()
    }

    pub(crate) fn by_viewer(&mut self, viewer: ViewerId) -> Option<&mut Session> {
        self.get_mut(viewer.index)
            .filter(|session| session.viewer == viewer)
    }

    /// The session that this viewer sends an encoding of beside the first.
    pub(crate) fn by_part(&mut self, viewer: ViewerId) -> Option<&mut Session> {
        let is_part = |session: &&Session| session.parts().iter().any(|p| p.viewer == viewer);
        let index = self.calls().find(is_part)?.viewer.index;
        self.get_mut(index)
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// The sessions of a peer's socket, the newest last.
    pub(crate) fn by_peer(&self, peer: Peer) -> &[u32] {
        self.by_peer.get(&peer).map_or(&[], Vec::as_slice)
    }

    /// A valid check from `peer` was for `index`; `forgotten` is a peer that it gave up for it.
    pub(crate) fn bind(&mut self, peer: Peer, index: u32, forgotten: Option<Peer>) {
        if let Some(old) = forgotten {
            self.unbind(old, index);
        }
        let all = self.by_peer.entry(peer).or_default();
        all.retain(|other| *other != index);
        all.push(index);
        if all.len() > SHARERS_MAX {
            let oldest = all.remove(0);
            if let Some(session) = self.get_mut(oldest) {
                session.ice.forget(peer);
            }
        }
    }

    fn unbind(&mut self, peer: Peer, index: u32) {
        if let Some(all) = self.by_peer.get_mut(&peer) {
            all.retain(|other| *other != index);
            if all.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
    }

    /// Sets when `index` is due; `None` never.
    pub(crate) fn set_timer(&mut self, index: u32, due: Option<Time>) {
        let Some(slot) = self.slots.get_mut(usize_of(index)) else {
            return;
        };
        if slot.timer == due {
            return;
        }
        if let Some(old) = slot.timer {
            self.timers.remove(&(old, index));
        }
        slot.timer = due;
        if let Some(due) = due {
            self.timers.insert((due, index));
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// A session that is due; its timer is off.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<u32> {
        let &(_, index) = self.timers.first().filter(|(due, _)| *due <= now)?;
        self.set_timer(index, None);
        Some(index)
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().filter_map(|slot| slot.session.as_deref())
    }

    /// The sessions in which we have called the peer: few, so that what comes of strangers costs
    /// little.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Session> {
        self.calls.iter().filter_map(|index| self.get(*index))
    }

    /// Indexes of the sessions that `wanted` picks.
    pub(crate) fn indexes(&self, wanted: impl Fn(&Session) -> bool) -> Vec<u32> {
        self.iter()
            .filter(|session| wanted(session))
            .map(|s| s.viewer.index)
            .collect()
    }

    /// Entries of every table, for tests of leaks: sessions, ids, peers, timers.
    #[cfg(test)]
    pub(crate) fn census(&self) -> [usize; 4] {
        [
            usize_of(self.len),
            self.by_id.len(),
            self.by_peer.len(),
            self.timers.len(),
        ]
    }
}

fn usize_of(index: u32) -> usize {
    usize::try_from(index).expect("we build for 64 bits")
}
