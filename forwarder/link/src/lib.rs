//! The contract between the planes, on one page: commands and punts down, events and counters up,
//! and the stream logs, all in shared memory.

pub mod command;
pub mod event;
pub mod ids;
pub mod keys;
pub mod limits;
