//! Owns the header extension of a packet that has elements of its own: which of them a viewer is
//! passed, in what form, and the numbers in them that are the viewer's. Hot.

use link::command::{EXT_BYTES_MAX, TrackOut};
use link::elements::{BYTES_MAX, DESCRIPTOR, KINDS, Sizes};
use link::limits::PAYLOAD_MAX;
use wire::datagram::DATAGRAM_MAX;
use wire::field::{set_u16, u16_at};
use wire::rtp::HEADER_BYTES;
use wire::rtp_ext::{PROFILE_ONE_BYTE, PROFILE_TWO_BYTE};

use crate::burst::Piece;

/// Profile and length of a block.
const BLOCK_HEADER_BYTES: usize = 4;

/// Longest value of a one-byte element (RFC 8285 section 4.2).
const ONE_BYTE_MAX: usize = 16;

/// Largest identifier of a one-byte element; 15 ends the block.
const ONE_BYTE_ID_MAX: u8 = 14;

/// Most bytes that a block of elements adds to the fixed one, but for the elements themselves: its
/// header if there was none, padding, and a byte more for each fixed element in two-byte form.
const BLOCK_OVERHEAD_MAX: usize = BLOCK_HEADER_BYTES + 3 + EXT_BYTES_MAX / 2;

/// Identifier and length of a two-byte element.
const ELEMENT_HEADER_BYTES: usize = 2;

/// Original sequence number and tag: what a packet may have besides header and payload.
const BESIDES_MAX: usize = 2 + 16;

/// Bytes of the longest header with elements: all of them, in two-byte form.
pub const WIDE_HEADER_BYTES_MAX: usize = HEADER_BYTES
    + EXT_BYTES_MAX
    + BLOCK_OVERHEAD_MAX
    + BYTES_MAX[0]
    + BYTES_MAX[1]
    + BYTES_MAX[2]
    + KINDS * ELEMENT_HEADER_BYTES;

/// Most bytes that these elements add to a packet of a viewer.
#[inline]
pub fn cost_max(sizes: Sizes) -> usize {
    if sizes.is_none() {
        return 0;
    }
    sizes.total() + KINDS * ELEMENT_HEADER_BYTES + BLOCK_OVERHEAD_MAX
}

/// What goes into the log of the elements of a packet with so long a payload, so that no packet of
/// a viewer is longer than one with the longest payload: those that are no use without room go
/// first. `None`: not even the descriptor fits, without which the packet is no use. Besides, how
/// many were left out.
#[inline]
pub fn fit(payload_bytes: usize, elements: [&[u8]; KINDS]) -> Option<([&[u8]; KINDS], u64)> {
    let fits = |sizes| payload_bytes + cost_max(sizes) <= PAYLOAD_MAX;
    if Sizes::of(&elements).is_some_and(fits) {
        return Some((elements, 0));
    }
    let mut kept = [&[][..]; KINDS];
    kept[DESCRIPTOR] = elements[DESCRIPTOR];
    let dropped = elements.iter().zip(&kept);
    let dropped = dropped.filter(|(had, has)| had.len() > has.len()).count();
    let is_legal = Sizes::of(&kept).is_some_and(fits);
    is_legal.then_some((kept, dropped as u64))
}

/// The elements of a packet that a viewer is passed, and the block that they make with the fixed
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passing {
    /// By kind; 0: it is not passed.
    sizes: [u8; KINDS],
    is_wide: bool,
    /// Of the whole block.
    pub block_bytes: usize,
}

impl Passing {
    /// What is passed of a packet. `None`: nothing, the block is the fixed one.
    #[inline]
    pub fn of(out: &TrackOut, piece: &Piece<'_>) -> Option<Self> {
        if piece.sizes.is_none() {
            return None;
        }
        let mut sizes = piece.sizes.0;
        for (size, id) in sizes.iter_mut().zip(out.elements) {
            if id == 0 {
                *size = 0;
            }
        }
        Self::within(out, sizes, piece.payload.len())
    }

    /// `None`: there are none, or the packet would be longer than a datagram, which [`fit`]
    /// prevents.
    fn within(out: &TrackOut, sizes: [u8; KINDS], payload_bytes: usize) -> Option<Self> {
        let passed = sizes.iter().filter(|size| **size > 0);
        let (mut count, mut total, mut longest) = (0, 0, 0);
        for size in passed.map(|size| usize::from(*size)) {
            count += 1;
            total += size;
            longest = longest.max(size);
        }
        if count == 0 {
            return None;
        }
        let mut ids = out.elements.iter().zip(sizes);
        let has_wide_id = ids.any(|(id, size)| size > 0 && *id > ONE_BYTE_ID_MAX);
        let is_wide = longest > ONE_BYTE_MAX || has_wide_id;
        let used = if is_wide {
            let fixed: usize = fixed(out)
                .map(|place| ELEMENT_HEADER_BYTES + place.bytes)
                .sum();
            BLOCK_HEADER_BYTES + fixed + count * ELEMENT_HEADER_BYTES + total
        } else {
            usize::from(out.ext_bytes).max(BLOCK_HEADER_BYTES) + count + total
        };
        let block_bytes = used.next_multiple_of(4);
        let bytes = HEADER_BYTES + block_bytes + payload_bytes + BESIDES_MAX;
        (bytes <= DATAGRAM_MAX).then_some(Self {
            sizes,
            is_wide,
            block_bytes,
        })
    }

    /// Writes the block. `number_offset` is added to the number of the frame in the descriptor,
    /// `transport` is the transport-wide number where that is negotiated. `out` has room for
    /// [`Self::block_bytes`], all zeros.
    pub fn write(
        &self,
        out: &TrackOut,
        piece: &Piece<'_>,
        number_offset: u16,
        transport: u16,
        block: &mut [u8],
    ) {
        let words = (self.block_bytes - BLOCK_HEADER_BYTES) / 4;
        let profile = if self.is_wide {
            PROFILE_TWO_BYTE
        } else {
            PROFILE_ONE_BYTE
        };
        set_u16(block, 0, profile);
        set_u16(block, 2, u16::try_from(words).unwrap_or(0));
        let mut at = BLOCK_HEADER_BYTES;
        for place in fixed(out) {
            // Where it was in one-byte form.
            if !self.is_wide {
                at = place.at - 1;
            }
            let value = out.ext.get(place.at..place.at + place.bytes);
            let begun = self.push(block, at, place.id, value.unwrap_or_default());
            if place.at == usize::from(out.transport_cc_at) {
                set_u16(block, begun, transport);
            }
            at = begun + place.bytes;
        }
        if !self.is_wide {
            at = usize::from(out.ext_bytes).max(BLOCK_HEADER_BYTES);
        }
        for (kind, size) in self.sizes.into_iter().enumerate() {
            if size == 0 {
                continue;
            }
            let value = piece.elements.get(piece.sizes.place(kind));
            let begun = self.push(block, at, out.elements[kind], value.unwrap_or_default());
            if kind == DESCRIPTOR {
                let number = u16_at(block, begun + 1).wrapping_add(number_offset);
                set_u16(block, begun + 1, number);
            }
            at = begun + usize::from(size);
        }
    }

    /// Writes an element at `at`; gives where its value begins.
    #[inline]
    fn push(&self, block: &mut [u8], at: usize, id: u8, value: &[u8]) -> usize {
        let bytes = u8::try_from(value.len()).unwrap_or(u8::MAX);
        let begun = if self.is_wide {
            if let Some(head) = block.get_mut(at..at + 2) {
                head.copy_from_slice(&[id, bytes]);
            }
            at + 2
        } else {
            if let Some(head) = block.get_mut(at) {
                *head = id << 4 | bytes.saturating_sub(1);
            }
            at + 1
        };
        if let Some(room) = block.get_mut(begun..begun + value.len()) {
            room.copy_from_slice(value);
        }
        begun
    }
}

/// Where an element of the fixed block is.
#[derive(Clone, Copy)]
struct Place {
    id: u8,
    /// Where its value begins.
    at: usize,
    bytes: usize,
}

/// The elements of the fixed block, which are of one-byte form.
#[inline]
fn fixed(out: &TrackOut) -> impl Iterator<Item = Place> {
    let ext = out
        .ext
        .get(..usize::from(out.ext_bytes))
        .unwrap_or_default();
    let mut at = BLOCK_HEADER_BYTES;
    core::iter::from_fn(move || {
        while ext.get(at) == Some(&0) {
            at += 1;
        }
        let head = *ext.get(at)?;
        let place = Place {
            id: head >> 4,
            at: at + 1,
            bytes: usize::from(head & 0x0f) + 1,
        };
        ext.get(place.at..place.at + place.bytes)?;
        at = place.at + place.bytes;
        Some(place)
    })
}

#[cfg(test)]
mod tests;
