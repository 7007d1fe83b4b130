//! Owns one caller: its keys, its order, its counts.

use sapflow_srt as engine;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use wire::time::{Span, Time};

use super::Stats;
use super::crypto::{Keyring, Opened};
use super::handshake::be32;
use super::order::Order;
use super::seq::Seq;

/// Key refreshes on one connection are looked at no more often than this. Callers repeat one that
/// was not answered after a round trip or so.
const REFRESH_INTERVAL: Span = Span::millis(10);

/// A caller, from its conclusion to its end.
pub struct Connection {
    pub peer: SocketAddr,
    /// Its socket id, for what we send.
    pub socket: u32,
    pub first: Seq,
    pub latency: Span,
    pub stage: Stage,
    pub tally: Tally,
}

/// How far a connection is.
pub enum Stage {
    /// The server has been asked; this is the key material that came.
    Pending(Option<Vec<u8>>),
    Open(Box<Open>),
}

/// What an open connection has.
pub struct Open {
    /// `None`: in the clear, for good.
    pub keys: Option<Keyring>,
    /// `None`: the engine's timed delivery is used.
    pub order: Option<Order>,
    pub since: Time,
    pub refresh_after: Time,
}

/// What the engine does not count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Data packets dropped: a key field that does not fit, or no such key.
    pub undecryptable: u64,
    pub km_refused: u64,
    pub rtt: Span,
}

/// What became of a data packet's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is plaintext now, and the header says so.
    Pass,
    /// Dropped; it counts as lost.
    Undecryptable,
}

impl Connection {
    /// Its counts, put together from ours and the engine's.
    pub fn stats(&self, engine: engine::Stats) -> Stats {
        let order = self.order().map(Order::tally);
        Stats {
            packets: engine.received,
            bytes: engine.received_bytes,
            lost: engine.lost,
            retransmitted: engine.retransmitted,
            skipped: order.map_or(engine.dropped, |order| order.skipped),
            late: order.map_or(engine.belated + engine.duplicates, |order| order.late),
            undecryptable: self.tally.undecryptable,
            km_refused: self.tally.km_refused,
            rtt: self.tally.rtt,
            latency: self.latency,
        }
    }

    /// Its order, if it is open and has one.
    pub fn order(&self) -> Option<&Order> {
        match &self.stage {
            Stage::Open(open) => open.order.as_ref(),
            Stage::Pending(_) => None,
        }
    }

    /// The same, to put something in.
    pub fn order_mut(&mut self) -> Option<&mut Order> {
        match &mut self.stage {
            Stage::Open(open) => open.order.as_mut(),
            Stage::Pending(_) => None,
        }
    }
}

impl Open {
    /// Decrypts a data packet in place and clears its key field. A connection that encrypts
    /// never takes plaintext, and one in the clear never takes anything else.
    pub fn unseal(&mut self, seq: Seq, packet: &mut [u8]) -> Verdict {
        let Some((header, payload)) = packet.split_first_chunk_mut::<16>() else {
            return Verdict::Undecryptable;
        };
        let key_field = (header[4] & KEY_FIELD_MASK) >> 3;
        let passes = match (&mut self.keys, key_field) {
            (None, 0) => true,
            (Some(keys), 1 | 2) => keys.apply(key_field, seq, payload) == Opened::Yes,
            _ => false,
        };
        header[4] &= !KEY_FIELD_MASK;
        if passes {
            Verdict::Pass
        } else {
            Verdict::Undecryptable
        }
    }

    /// Takes a key refresh. `Some(true)`: taken, echo it; `Some(false)`: refused; `None`: not
    /// looked at, it came too soon.
    pub fn refresh(&mut self, now: Time, km: &[u8]) -> Option<bool> {
        if now < self.refresh_after {
            return None;
        }
        self.refresh_after = now + REFRESH_INTERVAL;
        Some(
            self.keys
                .as_mut()
                .is_some_and(|keys| keys.refresh(km, now).is_ok()),
        )
    }
}

/// A connection that a datagram belongs to.
pub struct Found<'a> {
    pub id: u32,
    pub socket: u32,
    pub tally: &'a mut Tally,
    pub open: &'a mut Open,
}

/// The open connection that `bytes` from `peer` is for.
pub fn found<'a>(
    connections: &'a mut BTreeMap<u32, Connection>,
    peer: SocketAddr,
    bytes: &[u8],
) -> Option<Found<'a>> {
    let id = be32(bytes, 12)?;
    let connection = connections.get_mut(&id).filter(|c| c.peer == peer)?;
    let Connection {
        socket,
        tally,
        stage: Stage::Open(open),
        ..
    } = connection
    else {
        return None;
    };
    Some(Found {
        id,
        socket: *socket,
        tally,
        open,
    })
}

/// KK in the second word of a data packet's header.
const KEY_FIELD_MASK: u8 = 0b0001_1000;
