//! Owns the frames that packets are sealed into, and who has each of them. Hot.

use super::mapping::Mapping;
use core::ops::Range;
use std::sync::Arc;
use wire::datagram::{DATAGRAM_MAX, PARKED_MAX, SEGMENTS_MAX, Slot};
use wire::frame::HEADER_MAX;

/// Bytes of a frame: the smallest that the kernel takes and a packet fits into.
pub(crate) const FRAME_BYTES: u32 = 2048;

/// Where in its frame a datagram begins: at a cache line, with room for the longest header.
pub(crate) const PAYLOAD_AT: u32 = 128;
const _: () = assert!(HEADER_MAX <= PAYLOAD_AT as usize);
const _: () = assert!(PAYLOAD_AT as usize + DATAGRAM_MAX <= FRAME_BYTES as usize);

/// Most frames of a core: their numbers and addresses fit 32 bits with room to spare.
const FRAMES_MAX: u32 = 1 << 16;

/// Datagrams of the claimed run, and before it of those that are parked.
const STARTS: usize = (SEGMENTS_MAX + PARKED_MAX) as usize;

/// Who has a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Nobody: it is on the stack.
    Free,
    /// A run that is being written, or is parked.
    Claimed,
    /// The kernel, by this lane.
    Lane(u8),
    /// A device that does not let it go.
    Lost,
}

/// The frames of a core. Those that came back last are used first: they are in a cache.
pub(crate) struct Frames {
    memory: Arc<Mapping>,
    owners: Box<[Owner]>,
    free: Box<[u32]>,
    free_count: usize,
    /// Where the datagrams of parked runs begin, and behind them those of the claimed one.
    starts: [u32; STARTS],
    parked: usize,
    claimed: usize,
    /// Frames that the kernel gave back and did not have, or never gave back.
    strays: usize,
}

impl Frames {
    /// Frames in `memory`, which nobody else writes to, in Rust or out of it.
    ///
    /// # Panics
    /// It is not a multiple of a frame's bytes, or too long.
    pub(crate) fn new(memory: Arc<Mapping>) -> Self {
        let bytes = u32::try_from(memory.bytes()).unwrap_or(u32::MAX);
        let frames = bytes / FRAME_BYTES;
        assert!(bytes.is_multiple_of(FRAME_BYTES) && frames <= FRAMES_MAX);
        Self {
            memory,
            owners: vec![Owner::Free; frames as usize].into_boxed_slice(),
            free: (0..frames).rev().collect(),
            free_count: frames as usize,
            starts: [0; STARTS],
            parked: 0,
            claimed: 0,
            strays: 0,
        }
    }

    /// Frames that nobody has.
    pub(crate) fn free(&self) -> usize {
        self.free_count
    }

    /// Frames that the kernel gave back and did not have, or never gave back, since this was last
    /// asked: its mistake or ours, and none of them was taken for free.
    pub(crate) fn strays(&mut self) -> usize {
        core::mem::take(&mut self.strays)
    }

    /// A frame for each of `segments` datagrams, or `None` if there are not so many. What was
    /// claimed before and not committed is free again.
    pub(crate) fn claim(&mut self, segments: u8) -> Option<Slot<'_>> {
        self.abandon();
        let segments = usize::from(segments);
        if segments > self.free_count || segments > usize::from(SEGMENTS_MAX) {
            return None;
        }
        let place = self.parked..self.parked + segments;
        for start in &mut self.starts[place.clone()] {
            self.free_count -= 1;
            let frame = self.free[self.free_count];
            self.owners[frame as usize] = Owner::Claimed;
            *start = frame * FRAME_BYTES + PAYLOAD_AT;
        }
        self.claimed = segments;
        let starts = &self.starts[place];
        let (at, bytes) = (self.memory.at(), self.memory.bytes());
        // SAFETY: the mapping is so long and lives as long as `self`; no other reference into it
        // exists, as all are made here, in `memory_mut` and in `datagram`, from `&mut self`, or in
        // `memory` from `&self`. The kernel reads frames of lanes meanwhile and writes none: no
        // socket over this memory receives.
        let memory = unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), bytes) };
        Some(Slot::apart(memory, starts))
    }

    /// All frames, as a slot has them.
    pub(crate) fn memory(&self) -> &[u8] {
        let (at, bytes) = (self.memory.at(), self.memory.bytes());
        // SAFETY: as in `claim`; nobody writes to it as long as `self` is borrowed.
        unsafe { core::slice::from_raw_parts(at.as_ptr(), bytes) }
    }

    /// The same, to be written to.
    pub(crate) fn memory_mut(&mut self) -> &mut [u8] {
        let (at, bytes) = (self.memory.at(), self.memory.bytes());
        // SAFETY: as in `claim`.
        unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), bytes) }
    }

    /// The first of the claimed frames' places: parked ones have those before it.
    pub(crate) fn first_claimed(&self) -> usize {
        self.parked
    }

    /// The datagram at this place of those that are parked or claimed: its address, the room for
    /// its header and its bytes, of which there are `bytes`.
    pub(crate) fn datagram(
        &mut self,
        place: usize,
        bytes: usize,
    ) -> Option<(u32, &mut [u8; HEADER_MAX], &[u8])> {
        let start = *self.starts[..self.parked + self.claimed].get(place)?;
        let from = start as usize - HEADER_MAX;
        let length = HEADER_MAX + bytes.min(DATAGRAM_MAX);
        // SAFETY: a frame that is claimed lies in the mapping, with room before its datagram; see
        // `claim` for the rest.
        let memory = unsafe {
            let at = self.memory.at().add(from);
            core::slice::from_raw_parts_mut(at.as_ptr(), length)
        };
        let (room, payload) = memory.split_first_chunk_mut()?;
        Some((start, room, payload))
    }

    /// The first `count` of the claimed frames are the kernel's now, by `lane`; the others are
    /// free again.
    pub(crate) fn commit(&mut self, count: usize, lane: u8) {
        let count = count.min(self.claimed);
        self.give(self.parked..self.parked + count, lane);
        self.let_go(self.parked + count..self.parked + self.claimed);
        self.claimed = 0;
    }

    /// What is claimed is free again.
    pub(crate) fn abandon(&mut self) {
        self.commit(0, 0);
    }

    /// The first `count` of the claimed frames stay claimed behind those that did before; the
    /// others are free again. False: so many may not be parked, and all are free again.
    pub(crate) fn park(&mut self, count: usize) -> bool {
        let fits = count <= self.claimed && self.parked + count <= usize::from(PARKED_MAX);
        debug_assert!(fits, "more than is claimed, or may be parked");
        let count = if fits { count } else { 0 };
        self.let_go(self.parked + count..self.parked + self.claimed);
        self.parked += count;
        self.claimed = 0;
        count > 0
    }

    /// Parked frames are the kernel's now, by `lane`.
    pub(crate) fn give(&mut self, places: Range<usize>, lane: u8) {
        for start in &self.starts[places] {
            self.owners[(start / FRAME_BYTES) as usize] = Owner::Lane(lane);
        }
    }

    /// Parked frames are free again.
    pub(crate) fn let_go(&mut self, places: Range<usize>) {
        for place in places {
            self.put(self.starts[place] / FRAME_BYTES);
        }
    }

    /// Every parked frame has been given to a lane, or is free again.
    pub(crate) fn none_parked(&mut self) {
        self.parked = 0;
    }

    /// The kernel gives back what `lane` gave it at this address.
    pub(crate) fn release(&mut self, lane: u8, address: u64) {
        let frame = address / u64::from(FRAME_BYTES);
        let frame = u32::try_from(frame).unwrap_or(u32::MAX);
        if self.owners.get(frame as usize) == Some(&Owner::Lane(lane)) {
            self.put(frame);
        } else {
            self.strays += 1;
        }
    }

    /// `lane` is closed and has everything back that was taken: what it had is free again.
    pub(crate) fn release_all(&mut self, lane: u8) {
        for frame in 0..u32::try_from(self.owners.len()).unwrap_or(0) {
            if self.owners[frame as usize] == Owner::Lane(lane) {
                self.put(frame);
            }
        }
    }

    /// `lane` is closed, and what the kernel has of it may be looked at for ever.
    pub(crate) fn lose_all(&mut self, lane: u8) {
        for owner in &mut self.owners {
            if *owner == Owner::Lane(lane) {
                *owner = Owner::Lost;
                self.strays += 1;
            }
        }
    }

    fn put(&mut self, frame: u32) {
        self.owners[frame as usize] = Owner::Free;
        self.free[self.free_count] = frame;
        self.free_count += 1;
    }
}
