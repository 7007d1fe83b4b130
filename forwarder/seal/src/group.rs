//! Owns packets of several peers whose tags are computed together. Hot.

use arrayvec::ArrayVec;
use wire::datagram::{Egress, Parked};

use crate::backend::{Across, CM_LANES, MacKey, macs_across};
use crate::cm::Untagged;
use crate::sealer::{Run, Sealer};

/// Runs of several sealers that are encrypted and lack their tags, in memory that an egress has
/// parked. One tag alone takes as long as several, so what one peer's run leaves of the processor
/// idle the others' fill.
///
/// A group holds copies of keys, from a run's coming to [`Group::tag`].
#[derive(Default)]
#[must_use = "Group::tag writes the tags that are missing"]
pub struct Group {
    // Not an array: who has no use for a group does not pay for one.
    packets: ArrayVec<Waiting, CM_LANES>,
}

/// A packet of a group.
struct Waiting {
    key: MacKey,
    across: Across,
    tag_bytes: usize,
    run: Parked,
    packet: Untagged,
}

impl Group {
    /// Most packets of a group.
    pub const PACKETS_MAX: usize = CM_LANES;

    /// Most packets of a run that gain by a group. Longer ones fill what a tag leaves idle by
    /// themselves.
    pub const RUN_PACKETS_MAX: usize = CM_LANES / 2;

    /// True if no tag is missing.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Packets that it has room for.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.packets.remaining_capacity()
    }

    /// Takes over what `sealer` has still to do for the packets of `run`, which is parked now. The
    /// sealer is one that [shares tags](Sealer::shares_tags), and there is room.
    pub fn add(&mut self, sealer: &Sealer, run: &mut Run, parked: Parked) {
        debug_assert!(run.packets.len() <= self.room(), "there is room");
        if let Some((key, across)) = sealer.across() {
            for packet in run.packets.drain(..) {
                let waiting = Waiting {
                    key: MacKey { ..*key },
                    across,
                    tag_bytes: sealer.rtp_overhead(),
                    run: parked,
                    packet,
                };
                let _ = self.packets.try_push(waiting);
            }
        }
        debug_assert!(run.packets.is_empty(), "a sealer that shares tags");
    }

    /// Writes all tags to where `egress` has parked the packets.
    pub fn tag(&mut self, egress: &mut impl Egress) {
        let Some(first) = self.packets.first() else {
            return;
        };
        let mut macs = [[0; 20]; CM_LANES];
        let keys = self.packets.iter().map(|waiting| &waiting.key);
        let keys: ArrayVec<_, CM_LANES> = keys.collect();
        let messages = self.packets.iter();
        let messages = messages.map(|waiting| waiting.packet.message(egress.parked(waiting.run)));
        let messages: ArrayVec<_, CM_LANES> = messages.collect();
        macs_across(first.across, &keys, &messages, &mut macs[..messages.len()]);
        drop((keys, messages));
        for (waiting, mac) in self.packets.iter().zip(&macs) {
            let memory = egress.parked_mut(waiting.run);
            waiting.packet.put_tag(memory, &mac[..waiting.tag_bytes]);
        }
        // Dropped, and the keys wiped.
        self.packets.clear();
    }
}
