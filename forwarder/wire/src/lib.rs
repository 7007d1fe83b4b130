//! Bytes to meaning and back. Sans-IO: no clock, no socket, no allocation, no panic on input.
#![forbid(unsafe_code)]

pub mod datagram;
pub mod peer;
pub mod srtp;
pub mod time;
