//! Owns what a worker tells control. Hints: when the ring is full they are counted and lost.

use crate::ids::{StreamId, ViewerId};
use wire::peer::Peer;

/// Why a viewer was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Gone {
    /// Consent was not renewed in time (RFC 7675 section 5.1).
    Consent = 1,
    /// The peer said goodbye for all our SSRCs (RTCP BYE).
    Bye = 2,
    /// An index of its keys is used up (RFC 3711 section 9.2).
    KeyWornOut = 3,
}

/// What a worker tells control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The worker serves this viewer now.
    ViewerAdded(ViewerId),
    /// The worker could not take this viewer: tables full, keys unusable, stream unknown.
    ViewerRefused(ViewerId),
    /// The worker has let this viewer go by itself and has freed everything.
    ViewerGone(ViewerId, Gone),
    /// A valid check has moved this viewer to another address (RFC 8445 section 2.4).
    ViewerMoved(ViewerId, Peer),
    /// A viewer wants a keyframe and the log has none: ask the publisher, if it can be asked.
    KeyframeWanted(StreamId),
}
