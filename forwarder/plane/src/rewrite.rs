//! Owns one track as one viewer gets it: numbers that run on for ever, whatever happens to the
//! stream, and the header made of them. Hot.

use core::mem::offset_of;

use link::command::{EXT_BYTES_MAX, Pin, TrackOut};
use link::log::Flags;
use serde::{Deserialize, Serialize};
use wire::rtp::{HEADER_BYTES, Header};
use wire::seq::newer32;
use wire::time::Time;

use crate::burst::Piece;
use crate::history::{History, Segment};
use names::Names;

mod names;
mod stamp;
mod told;

pub use stamp::{OSN_BYTES, Stamp, write, write_wide};

/// Bytes of the largest header that we write.
pub const HEADER_BYTES_MAX: usize = HEADER_BYTES + EXT_BYTES_MAX;

/// For so many frames after a change of lane timestamps are kept from running backwards: for hours.
/// Layers of one publisher are a few milliseconds apart, a keyframe of the past some seconds.
const SWITCHED_FRAMES: u32 = 1 << 20;

/// No packet of a lane has this number, so that the next one starts a segment.
const NO_SEQ: u64 = u64::MAX;

/// What of a frame's layers a viewer is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// No spatial layer above this.
    pub spatial: u8,
    /// No temporal layer above this.
    pub temporal: u8,
}

impl Cap {
    /// All of them.
    pub const NONE: Self = Self {
        spatial: u8::MAX,
        temporal: u8::MAX,
    };

    /// What a pin allows.
    pub const fn of(pin: &Pin) -> Self {
        Self {
            spatial: pin.spatial_max,
            temporal: pin.temporal_max,
        }
    }

    /// The lower of both.
    pub fn within(self, other: Self) -> Self {
        Self {
            spatial: self.spatial.min(other.spatial),
            temporal: self.temporal.min(other.temporal),
        }
    }

    /// What holds from this packet on, if `wanted` is to hold as soon as it can.
    pub const fn next(self, wanted: Self, piece: &Piece<'_>) -> Self {
        if !piece.flags.has(Flags::FIRST) {
            return self;
        }
        let mut next = self;
        let is_key = piece.flags.starts_keyframe();
        if wanted.spatial < self.spatial || is_key {
            next.spatial = wanted.spatial;
        }
        let opens_above = piece.temporal <= self.temporal && piece.flags.has(Flags::OPENS_ABOVE);
        let opens_own = piece.flags.has(Flags::OPENS_OWN)
            && piece.temporal == self.temporal.saturating_add(1)
            && piece.temporal <= wanted.temporal;
        if wanted.temporal < self.temporal || is_key || opens_above {
            next.temporal = wanted.temporal;
        } else if opens_own {
            next.temporal = piece.temporal;
        }
        next
    }

    /// True if the packet is sent.
    #[inline]
    pub const fn takes(&self, piece: &Piece<'_>) -> bool {
        piece.spatial <= self.spatial && piece.temporal <= self.temporal
    }
}

/// One track of one viewer. In this order in memory: a packet touches the first 160 bytes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[repr(C)]
pub struct OutTrack {
    /// SRTP index of the next packet.
    pub next_index: u64,
    /// The packet of the track that continues the segment.
    next_seq: u64,
    /// The newest timestamp sent, in the viewer's count.
    newest_timestamp: u32,
    /// The newest frame sent, as the lane counts them.
    newest_frame: u32,
    /// Packets sent, as sender reports count them.
    pub packets: u32,
    /// Payload bytes sent, as sender reports count them.
    pub octets: u32,
    /// The number of the next packet to this viewer over all tracks, where that is negotiated.
    pub transport_sequence: u16,
    /// The newest number of a frame that was sent in a dependency descriptor, in the viewer's
    /// count.
    newest_number: u16,
    has_number: bool,
    /// What the viewer is sent of layered frames.
    pub cap: Cap,
    /// What the viewer negotiated.
    #[serde(skip)]
    pub out: TrackOut,
    history: History,
    /// When a keyframe was last begun; `ZERO`: none yet.
    pub keyframe_at: Time,
    /// SRTP index of the next retransmission.
    pub rtx_next_index: u64,
    names: Names,
}

impl OutTrack {
    /// What a packet touches, from the beginning: up to the segment that it continues.
    pub const HOT_BYTES: usize = offset_of!(OutTrack, history) + size_of::<Segment>();

    /// A track of which nothing has been sent.
    pub fn new(out: &TrackOut) -> Self {
        let out = &sane(out);
        Self {
            out: *out,
            next_index: out.first_index,
            rtx_next_index: out.rtx_first_index,
            next_seq: NO_SEQ,
            newest_timestamp: 0,
            newest_frame: 0,
            packets: 0,
            octets: 0,
            transport_sequence: 0,
            newest_number: 0,
            has_number: false,
            cap: Cap::NONE,
            keyframe_at: Time::ZERO,
            history: History::starting(out.first_index),
            names: Names::of(out),
        }
    }

    /// Goes on where another worker was with the same track.
    pub fn go_on(&mut self, before: Self) {
        let mut out = self.out;
        before.names.apply(&mut out);
        *self = Self { out, ..before };
    }

    /// What was negotiated.
    pub fn negotiated(&self) -> TrackOut {
        self.names.negotiated(&self.out)
    }

    /// True if the viewer takes this track.
    #[inline]
    pub const fn is_taken(&self) -> bool {
        self.out.clock_hz != 0
    }

    /// Bytes of every header of this track.
    #[inline]
    pub fn header_bytes(&self) -> usize {
        HEADER_BYTES + usize::from(self.out.ext_bytes)
    }

    /// Takes over what was negotiated anew. Its SSRCs and indexes stay what they are.
    ///
    /// What was sent before cannot be sent again after a change: another header under an index
    /// that was used would reuse a nonce.
    pub fn renegotiate(&mut self, out: &TrackOut) {
        let mut renewed = sane(out);
        renewed.first_index = self.out.first_index;
        renewed.rtx_first_index = self.out.rtx_first_index;
        if self.packets > 0 {
            renewed.ssrc = self.out.ssrc;
        }
        if self.out.rtx_ssrc != 0 && renewed.rtx_ssrc != 0 {
            renewed.rtx_ssrc = self.out.rtx_ssrc;
        }
        self.names.renew(&mut renewed);
        let same_headers = renewed.payload_type == self.out.payload_type
            && renewed.ext == self.out.ext
            && renewed.ext_bytes == self.out.ext_bytes
            && renewed.transport_cc_at == self.out.transport_cc_at
            && renewed.elements == self.out.elements
            && renewed.red_payload_type == self.out.red_payload_type
            && renewed.ssrc == self.out.ssrc;
        self.out = renewed;
        if !same_headers {
            self.history.forget(self.next_index);
            self.next_seq = NO_SEQ;
        }
    }

    /// What the next packet of this track leaves as; counts it as sent.
    #[inline]
    pub fn stamp(&mut self, now: Time, piece: &Piece<'_>) -> Stamp {
        let segment = self.history.current();
        let goes_on = piece.seq == self.next_seq
            && piece.lane == segment.lane
            && self.cap.spatial == segment.spatial_max
            && !(piece.starts_key() && self.numbers_turn_back(piece));
        if !goes_on {
            self.begin_segment(piece);
        }
        if piece.starts_key() {
            self.keyframe_at = now;
        }
        let index = self.next_index;
        let segment = self.history.current();
        let timestamp = self.timestamp(segment, piece);
        let marker = piece.marker(segment.spatial_max);
        self.next_index += 1;
        self.next_seq = piece.seq.wrapping_add(1);
        if newer32(timestamp, self.newest_timestamp) {
            self.newest_timestamp = timestamp;
        }
        if newer32(piece.frame, self.newest_frame) {
            self.newest_frame = piece.frame;
        }
        self.packets = self.packets.wrapping_add(1);
        // RFC 3550 section 6.4.1: without header and padding.
        let padding = usize::from(piece.is_padded());
        let octets = self.payload(piece).len().saturating_sub(padding);
        self.octets = self
            .octets
            .wrapping_add(u32::try_from(octets).unwrap_or_default());
        let number_offset = segment.number_offset;
        self.note_number(number_offset, piece);
        Stamp {
            index,
            header: self.header(index, timestamp, marker, piece),
            transport: self.next_transport(),
            number_offset,
            padded: piece.is_padded(),
        }
    }

    /// What a packet left as when it was sent under `index`.
    pub fn stamp_again(&self, index: u64, piece: &Piece<'_>) -> Option<Stamp> {
        let segment = self.history.find(index)?;
        let timestamp = self.timestamp(segment, piece);
        let marker = piece.marker(segment.spatial_max);
        Some(Stamp {
            index,
            header: self.header(index, timestamp, marker, piece),
            // Nothing with a transport-wide number goes out again as it was: see `sane`.
            transport: 0,
            number_offset: segment.number_offset,
            padded: piece.is_padded(),
        })
    }

    /// What a retransmission (RFC 4588 section 4) of what was sent under `index` leaves as.
    pub fn stamp_rtx(&mut self, index: u64, piece: &Piece<'_>) -> Option<Stamp> {
        let segment = self.history.find(index)?;
        let timestamp = self.timestamp(segment, piece);
        let rtx_index = self.rtx_next_index;
        let marker = piece.marker(segment.spatial_max);
        self.rtx_next_index += 1;
        let header = Header {
            marker,
            payload_type: self.out.rtx_payload_type,
            sequence: low(rtx_index),
            timestamp,
            ssrc: self.out.rtx_ssrc,
        };
        let number_offset = segment.number_offset;
        Some(Stamp {
            index: rtx_index,
            header,
            transport: self.next_transport(),
            number_offset,
            padded: piece.is_padded(),
        })
    }

    /// Nothing that was sent until now is sent again: it is of a picture that nobody waits for.
    pub fn forsake(&mut self) {
        self.history.forsake(self.next_index);
    }

    /// Lane and number of the packet that left under `index`, if it can be sent again.
    pub fn sent(&self, index: u64) -> Option<(usize, u64)> {
        if index >= self.next_index {
            return None;
        }
        let segment = self.history.find(index)?;
        Some((usize::from(segment.lane), segment.seq(index)))
    }

    /// The stream's timestamp in the viewer's count, as it is when nothing is repeated.
    pub fn true_timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.out.timestamp_offset)
    }

    #[inline]
    const fn next_transport(&mut self) -> u16 {
        let number = self.transport_sequence;
        self.transport_sequence = number.wrapping_add(1);
        number
    }

    #[cold]
    fn begin_segment(&mut self, piece: &Piece<'_>) {
        if self.packets == 0 {
            self.newest_frame = piece.frame.wrapping_sub(1);
            self.newest_timestamp = self.true_timestamp(piece.timestamp).wrapping_sub(1);
        }
        let repeated_frames = if piece.lane == self.history.current().lane {
            // Frames up to the newest have been sent: those that come now come again.
            let ahead = self.newest_frame.wrapping_sub(piece.frame);
            if ahead < 1 << 31 { ahead + 1 } else { 0 }
        } else {
            // The same picture may have been sent of the other lane; how many frames later this
            // one is ahead of it is not known.
            self.newest_frame = piece.frame;
            SWITCHED_FRAMES
        };
        let number_offset = self.number_offset(piece);
        self.history.begin(Segment {
            first_index: self.next_index,
            first_seq: piece.seq,
            first_frame: piece.frame,
            floor: self.newest_timestamp.wrapping_add(1),
            repeated_frames,
            lane: piece.lane,
            spatial_max: self.cap.spatial,
            number_offset,
        });
    }

    #[inline]
    fn timestamp(&self, segment: &Segment, piece: &Piece<'_>) -> u32 {
        segment.timestamp(self.true_timestamp(piece.timestamp), piece.frame)
    }
}

/// What the other process sent, with lengths that hold.
fn sane(out: &TrackOut) -> TrackOut {
    let mut sane = *out;
    if usize::from(sane.ext_bytes) > EXT_BYTES_MAX || !sane.ext_bytes.is_multiple_of(4) {
        sane.ext_bytes = 0;
    }
    let beyond = usize::from(sane.transport_cc_at) + 2 > usize::from(sane.ext_bytes);
    if sane.rtx_ssrc == 0 || beyond || sane.name_at != 0 {
        sane.transport_cc_at = 0;
    }
    names::check(&mut sane);
    sane
}

/// The sequence number of what leaves under this SRTP index.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are the sequence number"
)]
pub const fn low(index: u64) -> u16 {
    index as u16
}
