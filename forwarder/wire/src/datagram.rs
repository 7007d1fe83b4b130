//! Owns the seam between what to do with a packet and how bytes come and go.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxMeta {
    /// The sender.
    pub peer: Peer,
    /// The address of ours that it was sent to (`IP_PKTINFO`); answers leave from there.
    pub local: Ip,
}

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

/// Takes runs to send. Claim, fill, commit; nothing is copied after that.
pub trait Egress {
    /// Most segments of a run; may fall to 1 while running, when a device refuses to segment.
    fn segments_max(&self) -> u8;

    /// Memory for exactly `run.bytes` bytes, to be filled and committed before the next claim.
    /// `None`: no room this turn, an ordinary answer; nothing was claimed.
    fn claim(&mut self, run: RunMeta) -> Option<&mut [u8]>;

    /// Queues the run claimed last, cut to its first `bytes` bytes. Zero abandons it.
    fn commit(&mut self, bytes: usize);
}
