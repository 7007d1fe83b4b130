//! Owns what is known of the way to each viewer: asked for once, answered off the packet path.
//! Hot.

use wire::datagram::RunMeta;
use wire::frame::Header;
use wire::peer::{Ip, Peer};

/// Why a run leaves by the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The way has been asked for, and there is no answer yet.
    Asking,
    /// The route does not lead over Ethernet: loopback, a tunnel, or none.
    Route,
    /// The hardware address of the next hop is not known.
    Neighbour,
    /// The device is down, or there is no lane to it.
    Device,
    /// A datagram is longer than the device carries: the kernel says what it thinks of that.
    Size,
}

/// The way to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nobody has asked.
    Unknown,
    /// By the socket.
    Socket(Fallback),
    /// By a lane.
    Lane {
        /// Which of the core's.
        lane: u8,
        /// Most bytes of an IP packet.
        mtu: u16,
        /// What stands before each datagram.
        header: Header,
    },
}

/// What is known of one viewer's way.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Place {
    peer: Peer,
    local: Ip,
    /// The second in which it was last used.
    used_s: u32,
    pub way: Way,
}

/// Two cache lines: what is needed of a viewer before its frames are written.
const _: () = assert!(size_of::<Place>() <= 128);

const EMPTY: Place = Place {
    peer: Peer {
        ip: Ip::UNKNOWN,
        port: 0,
    },
    local: Ip::UNKNOWN,
    used_s: 0,
    way: Way::Unknown,
};

/// A viewer that has been sent nothing for so long is forgotten: its way is not kept up to date
/// any more. A stream that pauses for longer costs a question when it goes on.
const IDLE_S: u32 = 30;

/// The ways to all viewers of a core, by the index of the viewer.
pub(crate) struct Places {
    places: Box<[Place]>,
    /// Places below have been in use.
    reached: u32,
    /// The next to be looked at by [`Places::idle`].
    looked: u32,
}

impl Places {
    /// For viewers with indexes below `viewers_max`. All allocation is here; memory is touched
    /// only as far as there have been viewers.
    pub(crate) fn new(viewers_max: u32) -> Self {
        Self {
            places: vec![EMPTY; viewers_max as usize].into_boxed_slice(),
            reached: 0,
            looked: 0,
        }
    }

    /// The place of the viewer that `run` is for; its way is `Unknown` if it is new there or has
    /// moved.
    #[inline]
    pub(crate) fn of(&mut self, run: &RunMeta, now_s: u32) -> Option<&mut Place> {
        let place = self.places.get_mut(run.viewer as usize)?;
        place.used_s = now_s;
        if place.peer != run.peer || place.local != run.local {
            *place = Place {
                peer: run.peer,
                local: run.local,
                used_s: now_s,
                way: Way::Unknown,
            };
            self.reached = self.reached.max(run.viewer + 1);
        }
        Some(place)
    }

    /// The way to a viewer that a run was claimed for.
    #[inline]
    pub(crate) fn way(&self, viewer: u32) -> Option<&Way> {
        Some(&self.places.get(viewer as usize)?.way)
    }

    /// Takes the answer of the router; one for a peer that has moved meanwhile is of no use.
    pub(crate) fn answer(&mut self, viewer: u32, peer: Peer, local: Ip, way: Way) {
        if let Some(place) = self.places.get_mut(viewer as usize)
            && place.peer == peer
            && place.local == local
            && place.way != Way::Unknown
        {
            place.way = way;
        }
    }

    /// Looks at the next place: its viewer, if nothing has been sent to it for long.
    pub(crate) fn idle(&mut self, now_s: u32) -> Option<u32> {
        if self.looked >= self.reached {
            self.looked = 0;
        }
        let viewer = self.looked;
        let place = self.places.get(viewer as usize)?;
        self.looked += 1;
        let idle = now_s.saturating_sub(place.used_s) > IDLE_S;
        (place.way != Way::Unknown && idle).then_some(viewer)
    }

    /// Forgets the way of a viewer.
    pub(crate) fn forget(&mut self, viewer: u32) {
        if let Some(place) = self.places.get_mut(viewer as usize) {
            place.way = Way::Unknown;
        }
    }
}
