//! Owns the order of a publisher's packets: those that came too early wait, and for each that is
//! missing it is known since when, and how often it was asked for. Hot.

use link::elements::{KINDS, Sizes};
use wire::datagram::DATAGRAM_MAX;
use wire::rtp::Header;
use wire::time::{Span, Time};

use crate::coming::Coming;

mod bits;
mod state;

use bits::Bits;
pub use state::OrderState;

/// Packets from the one that is due to the newest, of one track. While a repair is waited for,
/// 250 ms at most, 8 Mbit/s bring 208 packets of 1,200 bytes; twice that for a keyframe in between.
pub const WINDOW: usize = 512;

/// Packets that all publishers of a core may hold together: four that wait to the last, or every
/// tenth of 100 publishers of 8 Mbit/s. 3 MB. A lane may have as many waiting as are free (dynamic
/// thresholds of Choudhury and Hahne): one that lets much wait leaves room for others.
const POOL_MAX: usize = 2048;

/// A missing packet is asked for so often, then it is left to the keyframe that follows.
const ASKS_MAX: u8 = 10;

const WORDS: usize = WINDOW / 64;

/// No frame of the pool.
const NONE: u32 = u32::MAX;

/// A packet out of turn.
#[derive(Clone, Copy)]
pub struct Held {
    header: Header,
    used: usize,
    /// Of the elements, which lie behind the payload.
    sizes: Sizes,
    bytes: [u8; DATAGRAM_MAX],
}

impl Held {
    /// The packet again.
    pub fn coming(&self) -> Coming<'_> {
        let (payload, rest) = self.bytes.split_at(self.used.min(DATAGRAM_MAX));
        let element = |kind| rest.get(self.sizes.place(kind)).unwrap_or_default();
        Coming {
            header: self.header,
            payload,
            elements: core::array::from_fn(element),
        }
    }
}

/// Memory for packets of all publishers of a core.
pub struct Pool {
    frames: Box<[Held]>,
    free: Vec<u32>,
}

impl Pool {
    /// All allocation is here.
    pub fn new() -> Self {
        let empty = Held {
            header: Header::default(),
            used: 0,
            sizes: Sizes::NONE,
            bytes: [0; DATAGRAM_MAX],
        };
        let frames = vec![empty; POOL_MAX].into_boxed_slice();
        Self {
            free: (0..).take(frames.len()).collect(),
            frames,
        }
    }

    /// What a frame holds.
    pub fn held(&self, frame: u32) -> &Held {
        &self.frames[frame as usize]
    }

    /// Gives a frame back.
    pub fn release(&mut self, frame: u32) {
        self.free.push(frame);
    }

    /// A frame with this packet, for a lane that has so many waiting. `None`: no room.
    fn take(&mut self, packet: &Coming<'_>, waiting: usize) -> Option<u32> {
        if waiting >= self.free.len() {
            return None;
        }
        let payload = packet.payload;
        let sizes = Sizes::of(&packet.elements)?;
        if payload.len() + sizes.total() > DATAGRAM_MAX {
            return None;
        }
        let frame = self.free.pop()?;
        let held = &mut self.frames[frame as usize];
        held.header = packet.header;
        held.used = payload.len();
        held.sizes = sizes;
        held.bytes[..payload.len()].copy_from_slice(payload);
        for kind in 0..KINDS {
            let place = sizes.place(kind);
            let place = payload.len() + place.start..payload.len() + place.end;
            held.bytes[place].copy_from_slice(packet.elements[kind]);
        }
        Some(frame)
    }
}

/// Where a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is the next one.
    Due,
    /// It has to wait for others.
    Early,
    /// It is too far ahead to wait.
    Far,
    /// It was given up, or precedes the first.
    Lost,
    /// It is here already, or was long ago.
    Known,
}

/// What is known of a packet that fills a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How often it was asked for.
    pub asks: u8,
    /// When it was asked for last.
    pub asked: Time,
}

#[derive(Clone, Copy)]
struct Slot {
    frame: u32,
    asks: u8,
    /// When the gap was noticed, it was asked for last, and is to be asked for next.
    noticed: Time,
    asked: Time,
    due: Time,
}

const EMPTY: Slot = Slot {
    frame: NONE,
    asks: 0,
    noticed: Time::ZERO,
    asked: Time::ZERO,
    due: Time::FAR,
};

/// The order of one track, by the SRTP index of its packets.
pub struct Order {
    /// The index that is due; `None`: nothing has come.
    next: Option<u64>,
    /// The one after the newest.
    end: u64,
    /// Those that wait, from `next` to `end`: all others there are missing.
    held: Bits,
    /// Those before `next` that were given up.
    lost: Bits,
    slots: Box<[Slot]>,
    /// Nothing is to be asked for before this.
    ask_at: Time,
}

impl Order {
    /// Bytes that a lane allocates.
    pub const MEMORY_BYTES: usize = WINDOW * size_of::<Slot>();

    /// A lane of which nothing has come. All allocation is here.
    pub fn new() -> Self {
        Self {
            slots: vec![EMPTY; WINDOW].into_boxed_slice(),
            ..Self::none()
        }
    }

    /// A lane that there is not: nothing may be placed.
    pub fn none() -> Self {
        Self {
            next: None,
            end: 0,
            held: Bits::default(),
            lost: Bits::default(),
            slots: Box::default(),
            ask_at: Time::FAR,
        }
    }

    /// The newest index that came.
    pub fn newest(&self) -> Option<u64> {
        self.next.map(|_| self.end.saturating_sub(1))
    }

    /// Where a packet stands that came now.
    #[inline]
    pub fn place(&mut self, index: u64) -> Place {
        let next = *self.next.get_or_insert_with(|| {
            self.end = index;
            // What was sent before the first that came is past.
            self.lost = Bits([u64::MAX; WORDS]);
            index
        });
        if index == next {
            return Place::Due;
        }
        if index < next {
            let is_remembered = index + WINDOW as u64 >= next;
            return if is_remembered && self.lost.has(index) {
                Place::Lost
            } else {
                Place::Known
            };
        }
        if index - next >= WINDOW as u64 {
            return Place::Far;
        }
        if index < self.end && self.held.has(index) {
            return Place::Known;
        }
        Place::Early
    }

    /// True if this packet was not passed yet.
    pub fn awaits(&self, index: u64) -> bool {
        self.next.is_some_and(|next| next <= index)
    }

    /// What is known of the gap that this packet, due or early, fills. `None`: there was none.
    #[inline]
    pub fn gap(&self, index: u64) -> Option<Gap> {
        if index >= self.end {
            return None;
        }
        let slot = &self.slots[at(index)];
        Some(Gap {
            asks: slot.asks,
            asked: slot.asked,
        })
    }

    /// Keeps a packet that is early. What is missing before it is noticed now, and asked for after
    /// `ask_after`, if at all. False: no room.
    pub fn hold(
        &mut self,
        pool: &mut Pool,
        now: Time,
        index: u64,
        packet: &Coming<'_>,
        ask_after: Option<Span>,
    ) -> bool {
        let Some(frame) = pool.take(packet, self.held.count()) else {
            return false;
        };
        let due = ask_after.map_or(Time::FAR, |after| now + after);
        for missing in self.end..index {
            self.slots[at(missing)] = Slot {
                noticed: now,
                due,
                ..EMPTY
            };
            self.ask_at = self.ask_at.min(due);
        }
        self.end = self.end.max(index + 1);
        self.slots[at(index)].frame = frame;
        self.held.set(index, true);
        true
    }

    /// Goes past the packet that is due.
    #[inline]
    pub fn pass(&mut self, index: u64) {
        self.lost.set(index, false);
        self.next = Some(index + 1);
        self.end = self.end.max(index + 1);
    }

    /// Takes out the packet that is due, if it waits: its frame, to be released.
    #[inline]
    pub fn take_due(&mut self) -> Option<u32> {
        let next = self.next?;
        if next >= self.end || !self.held.has(next) {
            return None;
        }
        self.held.set(next, false);
        self.pass(next);
        Some(self.slots[at(next)].frame)
    }

    /// The first packet that waits.
    pub fn first_held(&self) -> Option<u64> {
        self.held.first(self.next?, self.end)
    }

    /// Gives up what is missing before `index`, where none waits; says how many.
    pub fn give_up(&mut self, index: u64) -> u64 {
        let Some(next) = self.next.filter(|next| *next < index) else {
            return 0;
        };
        for missing in next.max(index.saturating_sub(WINDOW as u64))..index {
            self.lost.set(missing, true);
        }
        self.next = Some(index);
        self.end = self.end.max(index);
        index - next
    }

    /// Since when the packet that is due is missing, if others wait for it.
    #[inline]
    pub fn missing_since(&self) -> Option<Time> {
        let next = self.next.filter(|next| *next < self.end)?;
        Some(self.slots[at(next)].noticed)
    }

    /// When something is to be asked for.
    #[inline]
    pub fn ask_at(&self) -> Time {
        self.ask_at
    }

    /// Writes the sequence numbers that are to be asked for now; says how many. Each is asked for
    /// again after `interval`, a little later every time.
    pub fn ask(&mut self, now: Time, interval: Span, lost: &mut [u16]) -> usize {
        let Some(next) = self.next else {
            return 0;
        };
        let mut used = 0;
        let mut ask_at = Time::FAR;
        for index in next..self.end {
            if self.held.has(index) {
                continue;
            }
            let slot = &mut self.slots[at(index)];
            if slot.due <= now
                && let Some(room) = lost.get_mut(used)
            {
                *room = low_16(index);
                used += 1;
                slot.asks += 1;
                slot.asked = now;
                slot.due = match slot.asks {
                    ASKS_MAX.. => Time::FAR,
                    asks => now + Span(interval.0 * (u64::from(asks) + 3) / 4),
                };
            }
            ask_at = ask_at.min(slot.due);
        }
        self.ask_at = ask_at;
        used
    }

    /// Forgets everything, and gives back what waits.
    pub fn clear(&mut self, pool: &mut Pool) {
        while let Some(first) = self.first_held() {
            self.held.set(first, false);
            pool.release(self.slots[at(first)].frame);
        }
        self.next = None;
        self.end = 0;
        self.lost = Bits::default();
        self.ask_at = Time::FAR;
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "below the window")]
const fn at(index: u64) -> usize {
    (index % WINDOW as u64) as usize
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "numbers count modulo 2^16")]
const fn low_16(index: u64) -> u16 {
    index as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const MS: Span = Span::millis(1);

    fn arrive(order: &mut Order, pool: &mut Pool, now: Time, index: u64) -> Place {
        let place = order.place(index);
        match place {
            Place::Due => {
                order.pass(index);
                while let Some(frame) = order.take_due() {
                    let held = pool.held(frame).coming();
                    assert_eq!(held.payload, [1, 2]);
                    assert_eq!(held.elements, [&[][..], &[7], &[8, 9]]);
                    pool.release(frame);
                }
            }
            Place::Early => {
                let packet = Coming {
                    header: Header::default(),
                    payload: &[1, 2],
                    elements: [&[], &[7], &[8, 9]],
                };
                assert!(order.hold(pool, now, index, &packet, Some(MS)));
            }
            _ => {}
        }
        place
    }

    #[test]
    fn agrees_with_a_set_through_random_arrivals() {
        let mut random = crate::random::Random::new(5);
        let mut pool = Pool::new();
        let mut order = Order::new();
        let base = 70_000;
        assert_eq!(arrive(&mut order, &mut pool, Time(1), base), Place::Due);
        let (mut came, mut due) = (BTreeSet::new(), base + 1);
        for step in 0..60_000 {
            let index = due + u64::from(random.below(600)) * u64::from(random.below(2));
            let place = arrive(&mut order, &mut pool, Time(step), index);
            let expected = match index - due {
                0 => Place::Due,
                512.. => Place::Far,
                _ if came.contains(&index) => Place::Known,
                _ => Place::Early,
            };
            assert_eq!(place, expected);
            if matches!(place, Place::Due | Place::Early) {
                came.insert(index);
            }
            while came.remove(&due) {
                due += 1;
            }
            assert_eq!(order.first_held(), came.first().copied());
            assert_eq!(order.missing_since().is_some(), !came.is_empty());
            assert_eq!(pool.free.len(), POOL_MAX - came.len());
            if random.below(50) == 0
                && let Some(first) = order.first_held()
            {
                assert_eq!(order.give_up(first), first - due);
                let back = due;
                due = first;
                while let Some(frame) = order.take_due() {
                    pool.release(frame);
                }
                while came.remove(&due) {
                    due += 1;
                }
                if back + 512 >= due {
                    assert_eq!(order.place(back), Place::Lost);
                }
                assert_eq!(order.place(due - 1), Place::Known);
            }
        }
        order.clear(&mut pool);
        assert_eq!(pool.free.len(), POOL_MAX);
    }

    #[test]
    fn what_is_missing_is_asked_for_and_then_left() {
        let mut pool = Pool::new();
        let mut order = Order::new();
        let mut now = Time(Span::secs(1).0);
        arrive(&mut order, &mut pool, now, 9);
        arrive(&mut order, &mut pool, now, 13);
        let mut lost = [0; 8];
        assert_eq!(order.ask(now, MS, &mut lost), 0);
        assert_eq!(order.ask_at(), now + MS);
        now = order.ask_at();
        // No room for all: the rest is due at once.
        assert_eq!(order.ask(now, MS, &mut lost[..2]), 2);
        assert_eq!((lost[..2].to_vec(), order.ask_at()), (vec![10, 11], now));
        assert_eq!(order.ask(now, MS, &mut lost), 1);
        assert_eq!(lost[0], 12);
        let gap = order.gap(11).unwrap();
        assert_eq!((gap.asks, gap.asked), (1, now));
        assert_eq!(order.gap(14), None);
        let began = now;
        let mut asks = 1;
        while order.ask_at() != Time::FAR {
            now = order.ask_at();
            asks += 1;
            assert_eq!(order.ask(now, MS, &mut lost), 3);
        }
        assert_eq!(asks, 10);
        assert!(now.since(began) > Span::millis(15));
        // Of a thousand that are missing at once none is kept in mind.
        assert_eq!(order.place(2000), Place::Far);
        assert_eq!(order.give_up(13), 3);
        pool.release(order.take_due().unwrap());
        assert_eq!(order.give_up(2000), 1986);
        assert_eq!(order.place(1999), Place::Lost);
        assert_eq!(order.place(1000), Place::Known);
        assert_eq!(order.place(2000), Place::Due);
    }
}
