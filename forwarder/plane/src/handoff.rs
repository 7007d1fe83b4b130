//! Owns what a core passes to another: datagrams of a peer that the other serves, and the word
//! that a 5-tuple is of a viewer of the sender's.

use link::ids::CoreId;
use wire::datagram::{DATAGRAM_MAX, RxMeta};
use wire::peer::{Ip, Peer};
use wire::time::Time;

/// Parcels that wait at once. They are taken out every turn, and only datagrams of viewers and
/// publishers that changed their address come this way: of a publisher, a keyframe at once, which
/// at 8 Mbit/s and one every 2 s has about 200 packets.
const PARCELS_MAX: usize = 256;

/// What a parcel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// A datagram that the sender received.
    Datagram,
    /// Nothing but its addresses: they are of a viewer that the sender serves.
    Flow,
}

/// What goes from one core to another. Fixed size, so that queues of it need no allocation.
#[derive(Clone, Copy)]
pub struct Parcel {
    /// Who sends it.
    pub from: CoreId,
    /// Who is to get it.
    pub to: CoreId,
    /// Where the datagram came from, and to which address of ours.
    pub meta: RxMeta,
    /// When the datagram was received, if that is known.
    pub came: Option<Time>,
    /// What it carries.
    pub contents: Contents,
    used: usize,
    bytes: [u8; DATAGRAM_MAX],
}

impl Parcel {
    const EMPTY: Self = Self {
        from: CoreId(0),
        to: CoreId(0),
        meta: RxMeta {
            peer: Peer {
                ip: Ip::UNKNOWN,
                port: 0,
            },
            local: Ip::UNKNOWN,
        },
        came: None,
        contents: Contents::Flow,
        used: 0,
        bytes: [0; DATAGRAM_MAX],
    };

    /// The datagram; it may be decrypted in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let used = self.used.min(DATAGRAM_MAX);
        &mut self.bytes[..used]
    }
}

/// The parcels of one core on their way out.
pub struct Handoffs {
    core: CoreId,
    ring: Box<[Parcel]>,
    first: usize,
    waiting: usize,
}

impl Handoffs {
    /// An empty queue. All allocation is here; one core alone never hands anything off.
    pub fn new(core: CoreId, cores: u16) -> Self {
        let parcels = if cores > 1 { PARCELS_MAX } else { 0 };
        Self {
            core,
            ring: vec![Parcel::EMPTY; parcels].into_boxed_slice(),
            first: 0,
            waiting: 0,
        }
    }

    /// Queues a parcel. False: no room, or the datagram is too long.
    pub fn push(
        &mut self,
        to: CoreId,
        meta: RxMeta,
        came: Option<Time>,
        contents: Contents,
        bytes: &[u8],
    ) -> bool {
        if self.waiting == self.ring.len() || bytes.len() > DATAGRAM_MAX {
            return false;
        }
        let at = (self.first + self.waiting) % self.ring.len();
        let parcel = &mut self.ring[at];
        parcel.from = self.core;
        parcel.to = to;
        parcel.meta = meta;
        parcel.came = came;
        parcel.contents = contents;
        parcel.used = bytes.len();
        parcel.bytes[..bytes.len()].copy_from_slice(bytes);
        self.waiting += 1;
        true
    }

    /// Lends the oldest parcel; it is gone afterwards.
    pub fn pop(&mut self) -> Option<&Parcel> {
        if self.waiting == 0 {
            return None;
        }
        let at = self.first;
        self.first = (self.first + 1) % self.ring.len();
        self.waiting -= 1;
        self.ring.get(at)
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }
}
