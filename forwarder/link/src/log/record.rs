//! Owns the description of one packet in a log: 64 bytes, little-endian. Hot.

use crate::codec::{Put, Take};
use crate::elements::Sizes;
use crate::limits::PAYLOAD_MAX;
use core::ops::{BitOr, BitOrAssign};
use wire::time::Time;

/// Bytes of a description in front of its payload: one cache line.
pub(crate) const RECORD_BYTES: usize = 64;

/// What readers need to know of a packet without parsing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// Nothing special.
    pub const NONE: Self = Self(0);
    /// The first packet of its frame.
    pub const FIRST: Self = Self(1);
    /// The last packet of its frame: the RTP marker of video.
    pub const LAST: Self = Self(2);
    /// Part of a frame that a viewer can start at, parameter sets included.
    pub const KEY: Self = Self(4);
    /// Nothing depends on this frame.
    pub const DISCARDABLE: Self = Self(8);
    /// The last byte of the payload is RTP padding and says so: its value is 1 (RFC 3550 section
    /// 5.1). Whoever sends the packet, once or again, sets the padding bit.
    pub const PADDED: Self = Self(16);
    /// The last packet of its layer's part of the picture: of a viewer that gets no layer above it
    /// this is the last packet of the frame.
    pub const ENDS_LAYER: Self = Self(32);
    /// From this frame on its temporal layer can be decoded by whoever had those below it.
    pub const OPENS_OWN: Self = Self(64);
    /// After this frame all temporal layers can be decoded by whoever had its own and those below.
    pub const OPENS_ABOVE: Self = Self(128);

    /// True if all flags of `other` are set here.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True if this packet begins a keyframe.
    #[must_use]
    pub const fn starts_keyframe(self) -> bool {
        self.has(Self(Self::FIRST.0 | Self::KEY.0))
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// From where the time of a packet counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Entry {
    /// It is not known.
    #[default]
    Unknown = 0,
    /// From when the kernel took the packet from the network.
    Network = 1,
    /// From when the sidecar gave the packet away, which it does at the stream's pace.
    Sidecar = 2,
}

impl Entry {
    /// As it lies in memory; what is not known is [`Entry::Unknown`].
    pub(crate) const fn of(byte: u8) -> Self {
        match byte {
            1 => Self::Network,
            2 => Self::Sidecar,
            _ => Self::Unknown,
        }
    }

    /// The place of its distribution among those of a worker.
    #[must_use]
    pub const fn place(self) -> Option<usize> {
        match self {
            Self::Unknown => None,
            Self::Network => Some(0),
            Self::Sidecar => Some(1),
        }
    }
}

/// The description of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Which of the lanes of the log: see [`crate::lanes`].
    pub lane: u8,
    /// First, last, key, discardable.
    pub flags: Flags,
    /// RTP timestamp in the lane's clock, as the stream counts it.
    pub timestamp: u32,
    /// When it was captured, on the clock that all lanes share: the mapping of sender reports.
    pub capture: Time,
    /// When it came to us.
    pub arrival: Time,
    /// Counts the frames of the lane. The writer counts: what the caller puts here is ignored.
    pub frame: u32,
    /// Counts the packets of the lane from 0. The writer counts: the caller's value is ignored.
    pub lane_seq: u64,
    /// Its spatial layer within the lane, 0 the lowest.
    pub spatial: u8,
    /// Its temporal layer within the lane, 0 the lowest.
    pub temporal: u8,
    /// Bytes of the RTP payload, at most [`PAYLOAD_MAX`]. The writer sets it.
    pub payload_bytes: u16,
    /// Of sound with redundancy (RFC 2198): where in the payload the sound of this packet itself
    /// begins, for whom takes no redundancy; the format is that of the track. 0: there is none.
    pub primary_at: u16,
    /// The header-extension elements behind the payload. With the payload they have at most
    /// [`PAYLOAD_MAX`] bytes.
    pub elements: Sizes,
    /// What `came` is.
    pub entry: Entry,
    /// From when the time inside counts; nothing if the entry is not known.
    pub came: Time,
}

impl Record {
    /// True if it is legal as to its lengths.
    pub(crate) fn fits(&self) -> bool {
        let bytes = usize::from(self.payload_bytes);
        let is_whole = self.primary_at == 0 || self.primary_at < self.payload_bytes;
        is_whole && self.elements.is_legal() && bytes + self.elements.total() <= PAYLOAD_MAX
    }

    pub(crate) fn encode(&self, bytes: &mut [u8; RECORD_BYTES]) {
        let mut put = Put::new(bytes);
        put.u8(self.lane).u8(self.flags.0).u16(self.payload_bytes);
        put.u32(self.timestamp).u32(self.frame);
        put.u8(self.spatial).u8(self.temporal).u16(self.primary_at);
        put.u64(self.lane_seq)
            .u64(self.capture.0)
            .u64(self.arrival.0)
            .bytes(&self.elements.0)
            .u8(self.entry as u8)
            .u64(self.came.0);
    }

    /// `None`: not a record of a writer of ours.
    pub(crate) fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let mut take = Take::new(bytes);
        let (lane, flags) = (take.u8()?, Flags(take.u8()?));
        let payload_bytes = take.u16()?;
        let (timestamp, frame) = (take.u32()?, take.u32()?);
        let (spatial, temporal, primary_at) = (take.u8()?, take.u8()?, take.u16()?);
        let record = Self {
            lane,
            flags,
            timestamp,
            frame,
            spatial,
            temporal,
            payload_bytes,
            lane_seq: take.u64()?,
            capture: Time(take.u64()?),
            arrival: Time(take.u64()?),
            primary_at,
            elements: Sizes(take.array()?),
            entry: Entry::of(take.u8()?),
            came: Time(take.u64()?),
        };
        record.fits().then_some(record)
    }
}
