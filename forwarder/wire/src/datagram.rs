//! Owns the seam between what to do with a packet and how bytes come and go.

use core::ops::Range;
use serde::{Deserialize, Serialize};

use crate::peer::{Ip, Peer};
use crate::time::Time;

/// Largest UDP payload ever sent or accepted in one datagram, in bytes: an Ethernet frame of 1500
/// less the IPv4 and UDP headers. Longer ones are dropped and counted by the backend.
pub const DATAGRAM_MAX: usize = 1472;

/// Most segments of one GSO send (`UDP_MAX_SEGMENTS` of Linux before 6.9).
pub const SEGMENTS_MAX: u8 = 64;

/// Most bytes of one GSO send: an IPv4 packet's 65,535 less its headers.
pub const RUN_BYTES_MAX: usize = 65_507;

/// What is known of a datagram that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RxMeta {
    /// The sender.
    pub peer: Peer,
    /// The address of ours that it was sent to (`IP_PKTINFO`); answers leave from there.
    pub local: Ip,
}

/// The place of a run that is for no viewer: an answer, a handshake.
pub const NOBODY: u32 = u32::MAX;

/// What is to be known of a run before it is written: datagrams to one peer, each of
/// `segment_bytes` but for the last, which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunMeta {
    /// The receiver.
    pub peer: Peer,
    /// The source address; [`Ip::UNKNOWN`] lets the kernel choose.
    pub local: Ip,
    /// Bytes of every segment but the last.
    pub segment_bytes: u16,
    /// How many segments, 1 to [`Egress::segments_max`].
    pub segments: u8,
    /// Bytes of the whole run.
    pub bytes: usize,
    /// The index of the viewer that it is for, which has proved that it is there: a backend may
    /// keep a way for it. [`NOBODY`]: for anybody else.
    pub viewer: u32,
}

/// Takes the datagrams of one receive call, one after another.
pub trait RxSink {
    /// When the kernel received the datagrams that follow, if that is known. For whoever does not
    /// want to know, nothing.
    #[inline]
    fn came(&mut self, at: Option<Time>) {
        let _ = at;
    }

    /// `bytes` are lent for the duration of the call and may be decrypted in place.
    fn datagram(&mut self, meta: RxMeta, bytes: &mut [u8]);
}

/// Most datagrams that are parked at once.
pub const PARKED_MAX: u8 = 16;

/// Takes runs to send. Claim, fill, commit; nothing is copied after that.
///
/// Where a run lacks something that costs less for several runs at once it can be parked instead of
/// committed, and is completed in its place while others are claimed.
pub trait Egress {
    /// Most segments of a run; may fall to 1 while running, when a device refuses to segment.
    fn segments_max(&self) -> u8;

    /// Memory for the datagrams of `run`, to be filled and committed before the next claim.
    /// `None`: no room this turn, an ordinary answer; nothing was claimed.
    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>>;

    /// Queues the run claimed last, cut to its first `bytes` bytes. Zero abandons it.
    fn commit(&mut self, bytes: usize);

    /// Most datagrams that may be parked at once, at most [`PARKED_MAX`]. 0: none, and what follows
    /// is not called.
    fn parked_max(&self) -> u8 {
        0
    }

    /// Keeps the run claimed last, cut to its first `bytes` bytes, until [`Egress::commit_parked`].
    /// Runs that are committed meanwhile may leave before it. Gives where it is found again, or
    /// `None` if it was abandoned: nothing was in it, or more than may be parked.
    fn park(&mut self, bytes: usize) -> Option<Parked> {
        let _ = bytes;
        self.commit(0);
        None
    }

    /// The memory of a parked run as [`Slot::memory`] had it, cut or not.
    fn parked(&self, run: Parked) -> &[u8] {
        let _ = run;
        &[]
    }

    /// The same, to be written to.
    fn parked_mut(&mut self, run: Parked) -> &mut [u8] {
        let _ = run;
        &mut []
    }

    /// Queues all that are parked, in the order in which they were claimed. A claim that was
    /// neither committed nor parked is forgotten.
    fn commit_parked(&mut self) {}
}

/// Where an egress finds a parked run again. What it says is the egress's own affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parked(pub u32);

/// The memory of a claimed run, filled datagram by datagram. The datagrams lie one behind the
/// other, or each in a frame of its own: only the backend knows.
#[derive(Debug)]
pub struct Slot<'a> {
    memory: &'a mut [u8],
    /// Where each datagram begins; empty: behind the one before it.
    starts: &'a [u32],
    datagrams: usize,
    used: usize,
}

impl<'a> Slot<'a> {
    /// Datagrams one behind the other, `memory` being as long as the run.
    #[must_use]
    pub fn joined(memory: &'a mut [u8]) -> Self {
        Self::apart(memory, &[])
    }

    /// A datagram at each of `starts`, behind which there are [`DATAGRAM_MAX`] bytes.
    #[must_use]
    pub fn apart(memory: &'a mut [u8], starts: &'a [u32]) -> Self {
        Self {
            memory,
            starts,
            datagrams: 0,
            used: 0,
        }
    }

    /// Where the next datagram is to be written. Empty: the run has no room for another.
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        let place = self.place();
        self.memory.get_mut(place).unwrap_or_default()
    }

    /// Where in [`Slot::memory`] that is. It may be beyond its end: no room.
    #[inline]
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        if self.starts.is_empty() {
            return self.used..self.memory.len();
        }
        let start = self.starts.get(self.datagrams);
        match start.and_then(|start| usize::try_from(*start).ok()) {
            Some(start) => start..start + DATAGRAM_MAX,
            None => 0..0,
        }
    }

    /// All of it: for what is to be changed in datagrams that were written.
    #[inline]
    pub fn memory(&mut self) -> &mut [u8] {
        self.memory
    }

    /// So many bytes were written to [`Slot::room`]: a datagram, or nothing if zero.
    #[inline]
    pub fn fill(&mut self, bytes: usize) {
        self.used += bytes;
        self.datagrams += usize::from(bytes > 0);
    }

    /// Bytes of all datagrams so far: what is to be committed.
    #[inline]
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Copies the datagrams of a run, each of `segment_bytes` but for the last, as far as there
    /// is room for them.
    pub fn put(&mut self, run: &[u8], segment_bytes: usize) {
        for datagram in run.chunks(segment_bytes.max(1)) {
            let Some(room) = self.room().get_mut(..datagram.len()) else {
                return;
            };
            room.copy_from_slice(datagram);
            self.fill(datagram.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_lie_behind_each_other_or_apart() {
        let run: Vec<u8> = (0..250).collect();
        let mut memory = vec![0; 250];
        let mut slot = Slot::joined(&mut memory);
        slot.put(&run, 100);
        assert_eq!((slot.used(), slot.room().len()), (250, 0));
        assert_eq!(memory, run);
        let mut memory = vec![0; 3 * 2048];
        let starts = [4096, 0, 2048];
        let mut slot = Slot::apart(&mut memory, &starts);
        slot.put(&run, 100);
        assert_eq!((slot.used(), slot.room().len()), (250, 0));
        assert_eq!(memory[4096..4196], run[..100]);
        assert_eq!(memory[..100], run[100..200]);
        assert_eq!(memory[2048..2098], run[200..]);
    }

    #[test]
    fn a_slot_without_room_takes_nothing() {
        let mut slot = Slot::joined(&mut []);
        slot.put(&[1; 10], 5);
        slot.fill(0);
        assert_eq!(slot.used(), 0);
        let mut memory = vec![0; 100];
        let mut slot = Slot::apart(&mut memory, &[50]);
        assert!(slot.room().is_empty(), "a frame that is not all there");
        slot.fill(10);
        assert_eq!(slot.place(), 0..0, "no more frames");
    }
}
