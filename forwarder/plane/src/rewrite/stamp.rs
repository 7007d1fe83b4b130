//! Owns what a packet leaves as: its header in bytes, and the numbers of frames that are the
//! viewer's. Hot.

use arrayvec::ArrayVec;
use link::command::TrackOut;
use link::elements::DESCRIPTOR;
use wire::payload::red::{HEADERS_BYTES_MAX, headers_bytes, rename};
use wire::rtp::{EXTENSION, HEADER_BYTES, Header, PADDING};
use wire::seq::newer16;

use super::{HEADER_BYTES_MAX, OutTrack, low};
use crate::burst::Piece;
use crate::extension::{Passing, WIDE_HEADER_BYTES_MAX};

/// What a packet leaves as.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// SRTP index: ROC << 16 | sequence number.
    pub index: u64,
    pub(super) header: Header,
    pub(super) transport: u16,
    pub(super) number_offset: u16,
    pub(super) padded: bool,
}

/// Bytes of the number that a packet was first sent under, which precedes its payload when it is
/// sent again (RFC 4588 section 4).
pub const OSN_BYTES: usize = 2;

/// What precedes that of a payload which goes out as the log has it.
pub type Front = ArrayVec<u8, { OSN_BYTES + HEADERS_BYTES_MAX }>;

/// A header in bytes. Those of packets with elements are longer, and fewer: zeros for them all
/// would cost every packet.
pub struct Written<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Written<N> {
    /// The header with its extension.
    #[inline]
    pub fn header(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

impl OutTrack {
    /// Bytes of this packet before it is sealed.
    #[inline]
    pub fn packet_bytes(&self, piece: &Piece<'_>) -> usize {
        self.packet_bytes_as(&self.out, piece)
    }

    /// The same of one that leaves as `out`.
    #[inline]
    pub fn packet_bytes_as(&self, out: &TrackOut, piece: &Piece<'_>) -> usize {
        let fixed = usize::from(out.ext_bytes);
        let block = Passing::of(out, piece).map_or(fixed, |passing| passing.block_bytes);
        HEADER_BYTES + block + self.payload(piece).len()
    }

    /// The payload as this viewer gets it.
    #[inline]
    pub fn payload<'a>(&self, piece: &Piece<'a>) -> &'a [u8] {
        if piece.primary_at == 0 || self.out.red_payload_type != 0 {
            return piece.payload;
        }
        let primary = piece.payload.get(usize::from(piece.primary_at)..);
        primary.unwrap_or_default()
    }

    /// The same after `osn`, in two parts: sound with redundancy says in itself what payload type
    /// it is of, and that is the viewer's.
    #[inline]
    pub fn parts<'a>(&self, osn: &[u8], piece: &Piece<'a>) -> (Front, &'a [u8]) {
        let mut front = Front::new();
        let mut payload = self.payload(piece);
        let mut take = |bytes: &[u8]| {
            let taken = front.try_extend_from_slice(bytes);
            debug_assert!(taken.is_ok(), "ingest lets no more through");
        };
        take(osn);
        if piece.primary_at != 0 && self.out.red_payload_type != 0 {
            let (headers, blocks) = payload.split_at(headers_bytes(payload));
            take(headers);
            payload = blocks;
            rename(
                front.get_mut(osn.len()..).unwrap_or_default(),
                self.out.payload_type,
            );
        }
        (front, payload)
    }

    //= https://aomediacodec.github.io/av1-rtp-spec/#a82-syntax
    /// What is to be added to the numbers of frames from this packet on. They may leave some out,
    /// where a temporal layer is left out, but never run backwards: receivers go by them.
    pub(super) fn number_offset(&self, piece: &Piece<'_>) -> u16 {
        let current = self.history.current();
        let Some(number) = piece.number().filter(|_| self.passes_numbers()) else {
            return current.number_offset;
        };
        let turns = piece.lane != current.lane || self.numbers_turn_back(piece);
        if turns && self.has_number {
            self.newest_number.wrapping_add(1).wrapping_sub(number)
        } else {
            current.number_offset
        }
    }

    /// True if the frame of this packet would seem to precede one that was sent.
    #[inline]
    pub(super) fn numbers_turn_back(&self, piece: &Piece<'_>) -> bool {
        let Some(number) = piece.number().filter(|_| self.has_number) else {
            return false;
        };
        let number = number.wrapping_add(self.history.current().number_offset);
        !newer16(number, self.newest_number)
    }

    #[inline]
    const fn passes_numbers(&self) -> bool {
        self.out.elements[DESCRIPTOR] != 0
    }

    #[inline]
    pub(super) fn note_number(&mut self, offset: u16, piece: &Piece<'_>) {
        if self.passes_numbers()
            && let Some(number) = piece.number()
        {
            let number = number.wrapping_add(offset);
            if !self.has_number || newer16(number, self.newest_number) {
                self.newest_number = number;
            }
            self.has_number = true;
        }
    }

    #[inline]
    pub(super) fn header(
        &self,
        index: u64,
        timestamp: u32,
        marker: bool,
        piece: &Piece<'_>,
    ) -> Header {
        let is_red = piece.primary_at != 0 && self.out.red_payload_type != 0;
        Header {
            marker,
            payload_type: if is_red {
                self.out.red_payload_type
            } else {
                self.out.payload_type
            },
            sequence: low(index),
            timestamp,
            ssrc: self.out.ssrc,
        }
    }
}

/// The header of a packet that leaves as `out` and has no elements, or whose elements are not
/// passed.
#[inline]
pub fn write(out: &TrackOut, stamp: &Stamp) -> Written<HEADER_BYTES_MAX> {
    let mut bytes = [0; HEADER_BYTES_MAX];
    let ext = out.ext.get(..usize::from(out.ext_bytes));
    let used = stamp.header.write(ext.unwrap_or_default(), &mut bytes);
    if stamp.padded {
        bytes[0] |= PADDING;
    }
    if out.transport_cc_at != 0 {
        let at = HEADER_BYTES + usize::from(out.transport_cc_at);
        if let Some(number) = bytes.get_mut(at..at + 2) {
            number.copy_from_slice(&stamp.transport.to_be_bytes());
        }
    }
    Written { bytes, used }
}

/// The header of a packet with elements. `None`: none of them is passed.
pub fn write_wide(
    out: &TrackOut,
    stamp: &Stamp,
    piece: &Piece<'_>,
) -> Option<Written<WIDE_HEADER_BYTES_MAX>> {
    let passing = Passing::of(out, piece)?;
    let mut bytes = [0; WIDE_HEADER_BYTES_MAX];
    let used = HEADER_BYTES + passing.block_bytes;
    let (fixed, block) = bytes.split_at_mut_checked(HEADER_BYTES)?;
    let written = stamp.header.write(&[], fixed);
    debug_assert_eq!(written, HEADER_BYTES, "it is as long as that");
    fixed[0] |= EXTENSION;
    if stamp.padded {
        fixed[0] |= PADDING;
    }
    let (offset, transport) = (stamp.number_offset, stamp.transport);
    passing.write(out, piece, offset, transport, block);
    Some(Written { bytes, used })
}
