//! What the benches share: a core with its viewers, places that swallow datagrams, the classic way
//! of forwarding to compare with, clocks and counting.

pub mod alloc;
pub mod classic;
pub mod cpu;
pub mod host;
pub mod null;
pub mod open;
pub mod rig;
pub mod samples;
pub mod sink;

/// Bytes of one RTP payload: with the header of 12 a packet of 1,200 bytes.
pub const PAYLOAD_BYTES: usize = 1188;

/// Bits per second of the stream that the benches forward.
pub const STREAM_BIT_S: u64 = 2_500_000;
