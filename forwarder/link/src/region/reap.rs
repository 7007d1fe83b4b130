//! Owns what a keeper does for processes of a role: notes that one has come, and when one is dead
//! sets its ends free and lets go of its pins.

use super::cells::RingEnds;
use super::layout::Part;
use super::{Inner, Region, Role};
use crate::claim::Claim;
use crate::command::COMMAND_BYTES;
use crate::punt::PUNT_BYTES;
use crate::ring::Consumer;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use std::sync::Arc;

impl Region {
    /// The same memory as a process of this role holds it: for a simulation, whose planes come and
    /// go in one process and whose keeper calls [`Region::joined`] and [`Region::reap`].
    #[must_use]
    pub fn seen_by(&self, role: Role) -> Self {
        let Inner {
            map,
            layout,
            limits,
            wakers,
            control,
            bells,
            ..
        } = &*self.0;
        Self(Arc::new(Inner {
            map: Arc::clone(map),
            layout: layout.clone(),
            limits: *limits,
            role: role as u32,
            wakers: wakers.clone(),
            control: control.clone(),
            bells: bells.clone(),
        }))
    }

    /// Notes that a process of this role has joined. A keeper's, like [`Region::reap`].
    pub fn joined(&self, role: Role) {
        let roles = self.roles();
        let word = &roles.presence[role as usize];
        let joins = (word.load(Ordering::Relaxed) >> 1).wrapping_add(1);
        word.store(joins << 1 | 1, Ordering::Release);
        self.wake_all();
    }

    /// Sets free all that the dead process of this role held. The caller knows that it is dead:
    /// an end that is set free while somebody uses it has two users.
    pub fn reap(&self, role: Role) {
        // First of all: who finds below that nobody owns a viewer, and looks here then, sees why.
        self.roles().presence[role as usize].fetch_and(!1, Ordering::AcqRel);
        for place in 0..usize::from(self.0.limits.cores) {
            self.reap_rings(role, place);
        }
        for place in 0..usize::try_from(self.0.limits.streams_max).unwrap_or(0) {
            let memory = self.log_memory(place);
            Claim::reap(&memory.head.writer, role as u32);
            for line in memory.pins.iter() {
                if line.reader.load(Ordering::Acquire) == role as u32 {
                    line.pin.store(0, Ordering::Release);
                    Claim::reap(&line.reader, role as u32);
                }
            }
        }
        if role == Role::Forwarder {
            for viewer in self.viewers() {
                if let Ok(viewer) = self.viewer(viewer) {
                    viewer.set_owner(None);
                }
            }
        }
        self.wake_all();
    }

    /// What was on its way to a dead forwarder is thrown away and wiped: the next one is told
    /// everything afresh, from the leases.
    fn reap_rings(&self, role: Role, place: usize) {
        for part in [Part::Commands, Part::Events, Part::PuntsIn, Part::PuntsOut] {
            let producer = self.ring_word(part, place, offset_of!(RingEnds, producer));
            let consumer = self.ring_word(part, place, offset_of!(RingEnds, consumer));
            Claim::reap(&producer, role as u32);
            if consumer.load(Ordering::Acquire) != role as u32 {
                continue;
            }
            let limits = &self.0.limits;
            match part {
                Part::Commands => {
                    let ring = self.ring::<COMMAND_BYTES>(part, place, limits.commands_max);
                    drain(Consumer::adopt(ring, true, None), limits.commands_max);
                }
                Part::PuntsOut => {
                    let ring = self.ring::<PUNT_BYTES>(part, place, limits.punts_max);
                    drain(Consumer::adopt(ring, false, None), limits.punts_max);
                }
                _ => {}
            }
            Claim::reap(&consumer, role as u32);
        }
    }

    fn wake_all(&self) {
        self.0.control.wake();
        self.0.wakers.0.iter().for_each(crate::wake::Waker::wake);
    }
}

/// At most what the ring holds: its producer may be alive and pushing.
fn drain<const N: usize>(mut ring: Consumer<N>, slots: u32) {
    for _ in 0..slots {
        if ring.pop(|_, _| ()).is_none() {
            break;
        }
    }
}
