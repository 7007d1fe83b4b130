//! What measures the data plane on a host, for benches and for operators: a core with its viewers,
//! places that swallow datagrams, clocks; and each step of a packet's way by itself.

#![deny(unsafe_code)]

pub mod cpu;
pub mod host;
pub mod null;
pub mod open;
pub mod ports;
pub mod rig;
pub mod samples;
pub mod seals;
pub mod seats;
pub mod sink;

/// Bytes of one RTP payload: with the header of 12 a packet of 1,200 bytes.
pub const PAYLOAD_BYTES: usize = 1188;

/// Bytes of the RTP packet.
pub const PACKET_BYTES: usize = PAYLOAD_BYTES + 12;

/// Bits per second of the stream that is forwarded.
pub const STREAM_BIT_S: u64 = 2_500_000;
