//! Owns the least that a way of forwarding can cost: the kernel alone, given messages that were
//! made before and hold what nobody has sealed, and the cipher alone.
//!
//! The loops are the barest that use the kernel's interface well; none of the server's own code
//! for sending is in them.

pub mod cipher;
mod messages;
pub mod mmsg;
pub mod uring;
pub mod xdp;

use lab::PAYLOAD_BYTES;
use wire::rtp::HEADER_BYTES;

/// Bytes of a sealed packet: header, payload, and a tag of AES-GCM, the longest there is.
const SEALED_BYTES: usize = HEADER_BYTES + PAYLOAD_BYTES + 16;

/// Most packets of a burst.
const BURST_MAX: usize = 64;

/// Messages that one call hands to the kernel.
const BATCH: usize = 64;

/// Bytes that the messages point to in turn: they stay in a second-level cache.
const HOT_BYTES: usize = 256 << 10;
