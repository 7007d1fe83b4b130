//! Bytes to meaning and back. Sans-IO: no clock, no socket, no allocation, no panic on input.
//!
//! Views borrow the bytes and check every length once. Writers fill a caller's buffer and return
//! the bytes written, or 0 if the buffer is too short.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod datagram;
pub mod demux;
pub mod field;
pub mod frame;
pub mod ntp;
pub mod payload;
pub mod peer;
pub mod rtcp;
pub mod rtcp_feedback;
pub mod rtcp_report;
pub mod rtp;
pub mod rtp_ext;
pub mod seq;
pub mod srtp;
pub mod stun;
pub mod time;
