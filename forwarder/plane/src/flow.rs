//! Owns the table from 5-tuple to who it is. Hot.
//!
//! Open addressing with linear probing in memory that never grows. The hash is seeded, and only
//! commands and authenticated checks add entries, so that nobody outside can steer a long probe.

use link::ids::CoreId;
use wire::datagram::RxMeta;
use wire::time::Time;

/// Flows of other cores that are remembered, as a share of all: they are hints, and must not push
/// out our own.
const REMOTE_SHARE: usize = 4;

/// Whom a datagram belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The viewer with this index.
    Viewer(u32),
    /// The publisher of a stream, which sends this from here.
    Publisher {
        /// Index of the stream.
        stream: u32,
        /// Index among the publisher's ways in.
        way: u8,
    },
    /// A viewer or publisher that this other core serves.
    Remote(CoreId),
}

#[derive(Clone, Copy)]
struct Entry {
    meta: RxMeta,
    target: Target,
    /// When a flow of another core was used last; [`Time::FAR`]: it is pinned.
    used: Time,
}

impl Entry {
    /// True for what may be forgotten.
    fn is_hint(&self) -> bool {
        matches!(self.target, Target::Remote(_)) && self.used != Time::FAR
    }
}

/// The table.
pub struct Flows {
    slots: Box<[Option<Entry>]>,
    mask: usize,
    seed: u64,
    used: usize,
    flows_max: usize,
    hints: usize,
    sweep: usize,
}

impl Flows {
    /// A table for at most `flows_max` flows, half empty when it is full. All allocation is here.
    pub fn new(flows_max: usize, seed: u64) -> Self {
        let slots = slots(flows_max);
        Self {
            slots: vec![None; slots].into_boxed_slice(),
            mask: slots - 1,
            seed,
            used: 0,
            flows_max,
            hints: 0,
            sweep: 0,
        }
    }

    /// Bytes of a table for so many flows.
    pub const fn memory_bytes(flows_max: usize) -> usize {
        slots(flows_max) * size_of::<Option<Entry>>()
    }

    /// Whose this 5-tuple is.
    #[inline]
    pub fn target(&self, meta: &RxMeta) -> Option<Target> {
        let at = self.find(meta)?;
        self.slots[at].map(|entry| entry.target)
    }

    /// Enters a flow or changes whose it is. False: no room.
    pub fn insert(&mut self, now: Time, meta: RxMeta, target: Target) -> bool {
        let entry = Entry {
            meta,
            target,
            used: now,
        };
        let is_hint = entry.is_hint();
        if let Some(at) = self.find(&meta) {
            let old = self.slots[at].replace(entry);
            let was_hint = old.is_some_and(|old| old.is_hint());
            self.hints = self.hints + usize::from(is_hint) - usize::from(was_hint);
            return true;
        }
        if self.used >= self.flows_max || is_hint && self.hints >= self.flows_max / REMOTE_SHARE {
            return false;
        }
        let mut at = self.home(&meta);
        while self.slots[at].is_some() {
            at = (at + 1) & self.mask;
        }
        self.slots[at] = Some(entry);
        self.used += 1;
        self.hints += usize::from(is_hint);
        true
    }

    /// Enters a flow that another core serves, which stays until it is taken out. False: no room.
    pub fn pin(&mut self, meta: RxMeta, core: CoreId) -> bool {
        self.insert(Time::FAR, meta, Target::Remote(core))
    }

    /// Notes that a flow of another core is in use.
    pub fn touch(&mut self, now: Time, meta: &RxMeta) {
        if let Some(at) = self.find(meta)
            && let Some(entry) = &mut self.slots[at]
            && entry.is_hint()
        {
            entry.used = now;
        }
    }

    /// Takes a flow out if it is this target's.
    pub fn remove(&mut self, meta: &RxMeta, target: Target) {
        if let Some(at) = self.find(meta)
            && self.slots[at].is_some_and(|entry| entry.target == target)
        {
            self.take_out(at);
        }
    }

    /// Looks at `slots` more slots for flows of other cores that nobody has used since `since`.
    pub fn sweep(&mut self, slots: usize, since: Time) {
        for _ in 0..slots.min(self.slots.len()) {
            let at = self.sweep & self.mask;
            match self.slots[at] {
                // What moves up into this slot is looked at by the next step.
                Some(entry) if entry.is_hint() && entry.used < since => self.take_out(at),
                _ => self.sweep = self.sweep.wrapping_add(1),
            }
        }
    }

    /// Flows that others serve, as far as they may be forgotten, and who serves them.
    pub fn hints(&self) -> impl Iterator<Item = (RxMeta, CoreId)> {
        // Mostly there are none, and the table is large.
        let slots = if self.hints > 0 { &*self.slots } else { &[] };
        let hints = slots.iter().flatten().filter(|entry| entry.is_hint());
        hints.filter_map(|entry| match entry.target {
            Target::Remote(core) => Some((entry.meta, core)),
            _ => None,
        })
    }

    /// How many flows there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.used
    }

    fn find(&self, meta: &RxMeta) -> Option<usize> {
        let mut at = self.home(meta);
        // Half of the slots are empty, so that the walk ends.
        while let Some(entry) = &self.slots[at] {
            if entry.meta == *meta {
                return Some(at);
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    /// Removes a slot and moves up what had to step over it (no tombstones).
    fn take_out(&mut self, at: usize) {
        let gone = self.slots[at].take();
        self.used -= usize::from(gone.is_some());
        self.hints -= usize::from(gone.is_some_and(|entry| entry.is_hint()));
        let mut hole = at;
        let mut next = (at + 1) & self.mask;
        while let Some(entry) = self.slots[next] {
            let home = self.home(&entry.meta);
            // It may move into the hole if the hole lies on its way from home to here.
            if (next.wrapping_sub(home) & self.mask) >= (next.wrapping_sub(hole) & self.mask) {
                self.slots[hole] = self.slots[next].take();
                hole = next;
            }
            next = (next + 1) & self.mask;
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "low bits of a hash")]
    fn home(&self, meta: &RxMeta) -> usize {
        hash(self.seed, meta) as usize & self.mask
    }
}

/// Twice as many slots as flows at the least.
const fn slots(flows_max: usize) -> usize {
    let least = if flows_max < 8 { 8 } else { flows_max };
    (least * 2).next_power_of_two()
}

/// Folded multiplication over the five words of a 5-tuple.
#[inline]
fn hash(seed: u64, meta: &RxMeta) -> u64 {
    let words = [
        halves(&meta.peer.ip.0),
        halves(&meta.local.0),
        (u64::from(meta.peer.port), 0),
    ];
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for (high, low) in words {
        state = fold(
            state ^ high,
            low ^ seed.rotate_left(32) ^ 0xd1b5_4a32_d192_ed03,
        );
    }
    fold(state, 0xa076_1d64_78bd_642f)
}

#[inline]
fn halves(ip: &[u8; 16]) -> (u64, u64) {
    (wire::field::u64_at(ip, 0), wire::field::u64_at(ip, 8))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use wire::peer::{Ip, Peer};

    fn meta(n: u32) -> RxMeta {
        let [a, b, c, d] = n.to_be_bytes();
        let ip = Ip([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, a, b, c]);
        RxMeta {
            peer: Peer {
                ip,
                port: 1000 + u16::from(d),
            },
            local: Ip::UNKNOWN,
        }
    }

    #[test]
    fn agrees_with_a_map_through_random_changes() {
        let mut flows = Flows::new(64, 7);
        let mut oracle = BTreeMap::new();
        let mut random = crate::random::Random::new(11);
        for step in 0..20_000 {
            let n = random.below(100);
            let target = Target::Viewer(n);
            if random.below(2) == 0 {
                let entered = flows.insert(Time(step), meta(n), target);
                assert_eq!(entered, oracle.contains_key(&n) || oracle.len() < 64);
                if entered {
                    oracle.insert(n, target);
                }
            } else {
                flows.remove(&meta(n), target);
                oracle.remove(&n);
            }
            assert_eq!(flows.len(), oracle.len());
            for n in 0..100 {
                assert_eq!(flows.target(&meta(n)), oracle.get(&n).copied());
            }
        }
    }

    #[test]
    fn flows_of_other_cores_are_few_and_fade() {
        let mut flows = Flows::new(64, 7);
        for n in 0..64 {
            let entered = flows.insert(Time(1), meta(n), Target::Remote(CoreId(3)));
            assert_eq!(entered, n < 16);
        }
        flows.touch(Time(9), &meta(5));
        // One that is taken out costs a step as well.
        flows.sweep(1024, Time(5));
        flows.sweep(1024, Time(5));
        assert_eq!(flows.len(), 1);
        assert_eq!(flows.target(&meta(5)), Some(Target::Remote(CoreId(3))));
    }

    #[test]
    fn pinned_flows_stay_and_take_no_room_of_hints() {
        let mut flows = Flows::new(64, 7);
        let target = Target::Remote(CoreId(3));
        for n in 0..20 {
            assert!(flows.pin(meta(n), CoreId(3)));
        }
        for n in 20..64 {
            assert_eq!(flows.insert(Time(1), meta(n), target), n < 36);
        }
        flows.touch(Time(2), &meta(5));
        flows.sweep(1024, Time(1_000_000));
        flows.sweep(1024, Time(1_000_000));
        assert_eq!(flows.len(), 20);
        flows.remove(&meta(5), target);
        assert_eq!((flows.len(), flows.hints), (19, 0));
    }

    #[test]
    fn another_ones_flow_stays() {
        let mut flows = Flows::new(8, 0);
        assert!(flows.insert(Time(0), meta(1), Target::Viewer(1)));
        flows.remove(&meta(1), Target::Viewer(2));
        assert_eq!(flows.target(&meta(1)), Some(Target::Viewer(1)));
    }
}
