//! Owns the order of a lane on its way from one worker to the next.

use link::elements::KINDS;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wire::rtp::Header;
use wire::time::{Span, Time};

use super::{Order, Place, Pool, at};
use crate::coming::Coming;

/// A packet that waits, as one worker leaves it to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeldState {
    index: u64,
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: ByteBuf,
    elements: [ByteBuf; KINDS],
}

/// The order of a lane, likewise: what is missing is asked for anew.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OrderState {
    next: Option<u64>,
    held: Vec<HeldState>,
}

impl Order {
    /// What the worker that takes the place of this one goes on with.
    pub fn state(&self, pool: &Pool) -> OrderState {
        let Some(next) = self.next else {
            return OrderState::default();
        };
        let held = (next..self.end).filter(|index| self.held.has(*index));
        let state = |index| {
            let coming = pool.held(self.slots[at(index)].frame).coming();
            HeldState {
                index,
                marker: coming.header.marker,
                payload_type: coming.header.payload_type,
                sequence: coming.header.sequence,
                timestamp: coming.header.timestamp,
                ssrc: coming.header.ssrc,
                payload: ByteBuf::from(coming.payload),
                elements: coming.elements.map(ByteBuf::from),
            }
        };
        OrderState {
            next: self.next,
            held: held.map(state).collect(),
        }
    }

    /// Goes on where another worker was. Nothing has come here yet.
    pub fn go_on(
        &mut self,
        pool: &mut Pool,
        now: Time,
        before: &OrderState,
        ask_after: Option<Span>,
    ) {
        let Some(next) = before.next.filter(|_| !self.slots.is_empty()) else {
            return;
        };
        (self.next, self.end) = (Some(next), next);
        for held in &before.held {
            let coming = Coming {
                header: Header {
                    marker: held.marker,
                    payload_type: held.payload_type,
                    sequence: held.sequence,
                    timestamp: held.timestamp,
                    ssrc: held.ssrc,
                },
                payload: &held.payload,
                elements: held.elements.each_ref().map(|element| element.as_ref()),
            };
            if self.place(held.index) == Place::Early {
                // Without room it counts as missing.
                self.hold(pool, now, held.index, &coming, ask_after);
            }
        }
    }
}
