//! What the benches share besides what operators have too (`lab`): the classic way of forwarding to
//! compare with, what kernel and cipher cost alone, and counting.

pub mod alloc;
pub mod classic;
pub mod cores;
pub mod floor;

pub use lab::{PAYLOAD_BYTES, STREAM_BIT_S, cpu, host, null, open, rig, samples, seats, sink};
