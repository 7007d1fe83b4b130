//! Owns what a worker tells control. Hints: when the ring is full they are counted and lost.

use crate::codec::{Put, Take};
use crate::command::encoding::{
    put_id, put_peer, put_stream, take_id, take_lanes, take_peer, take_stream,
};
use crate::ids::{StreamId, ViewerId};
use crate::lanes::Lanes;
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
    /// Viewers want keyframes of these lanes that the log has not: ask the publisher, if it can be
    /// asked. Not told by the worker that has the publisher: it asks by itself.
    KeyframeWanted(StreamId, Lanes),
    /// The worker feeds this stream from its publisher now.
    PublisherAdded(StreamId),
    /// The worker could not take the publisher of this stream: its log has another writer, its keys
    /// are unusable, or its viewer is not here.
    PublisherRefused(StreamId),
}

/// Bytes of an encoded event: one cache line; the longest takes 30.
pub const EVENT_BYTES: usize = 64;

const VIEWER_ADDED: u32 = 1;
const VIEWER_REFUSED: u32 = 2;
const VIEWER_GONE: u32 = 3;
const VIEWER_MOVED: u32 = 4;
const KEYFRAME_WANTED: u32 = 5;
const PUBLISHER_ADDED: u32 = 6;
const PUBLISHER_REFUSED: u32 = 7;

impl Event {
    /// Writes this event: 32-bit kind, then the fields in their order, little-endian.
    pub fn encode(&self, bytes: &mut [u8; EVENT_BYTES]) {
        let mut put = Put::new(bytes);
        match self {
            Self::ViewerAdded(viewer) => put_id(put.u32(VIEWER_ADDED), *viewer),
            Self::ViewerRefused(viewer) => put_id(put.u32(VIEWER_REFUSED), *viewer),
            Self::ViewerGone(viewer, why) => {
                put_id(put.u32(VIEWER_GONE), *viewer);
                put.u32(*why as u32);
            }
            Self::ViewerMoved(viewer, peer) => {
                put_id(put.u32(VIEWER_MOVED), *viewer);
                put_peer(&mut put, *peer);
            }
            Self::KeyframeWanted(stream, lanes) => {
                put_stream(put.u32(KEYFRAME_WANTED), *stream);
                put.u8(lanes.0);
            }
            Self::PublisherAdded(stream) => put_stream(put.u32(PUBLISHER_ADDED), *stream),
            Self::PublisherRefused(stream) => put_stream(put.u32(PUBLISHER_REFUSED), *stream),
        }
    }

    /// Reads an event. `None`: not one that this side knows.
    #[must_use]
    pub fn decode(bytes: &[u8; EVENT_BYTES]) -> Option<Self> {
        let mut take = Take::new(bytes);
        Some(match take.u32()? {
            VIEWER_ADDED => Self::ViewerAdded(take_id(&mut take)?),
            VIEWER_REFUSED => Self::ViewerRefused(take_id(&mut take)?),
            VIEWER_GONE => Self::ViewerGone(take_id(&mut take)?, Gone::from_id(take.u32()?)?),
            VIEWER_MOVED => Self::ViewerMoved(take_id(&mut take)?, take_peer(&mut take)?),
            KEYFRAME_WANTED => {
                Self::KeyframeWanted(take_stream(&mut take)?, take_lanes(&mut take)?)
            }
            PUBLISHER_ADDED => Self::PublisherAdded(take_stream(&mut take)?),
            PUBLISHER_REFUSED => Self::PublisherRefused(take_stream(&mut take)?),
            _ => return None,
        })
    }
}

impl Gone {
    /// The cause with this number.
    const fn from_id(id: u32) -> Option<Self> {
        match id {
            1 => Some(Self::Consent),
            2 => Some(Self::Bye),
            3 => Some(Self::KeyWornOut),
            _ => None,
        }
    }
}
