//! The contract between the planes, on one page: commands and punts down, events and counters up,
//! and the stream logs, all in shared memory.
//!
//! | what | from | to | ends |
//! |---|---|---|---|
//! | [`command`] | control | a worker | [`Region::commands_producer`] and `_consumer` |
//! | [`event`] | a worker | control | [`Region::events_producer`] and `_consumer` |
//! | [`punt`] | both | both | [`Region::punts_in_producer`] and three more |
//! | [`log`] | one writer | every worker | [`Region::log_writer`], [`Region::log_reader`] |
//! | [`stats`], [`viewer`] | a worker | control | [`Region::stats`], [`Region::viewer`] |
//! | [`transit`] | a worker | control | [`stats::Stats::transit`] |
//! | [`wake`] | both | both | [`Region::waker`], [`Region::sleeper`] |
//!
//! [`Region::create`] makes the memory for use in one process; a [`keeper::Keeper`] keeps it alive
//! and hands it to the two planes.

pub mod channel;
mod claim;
pub mod codec;
pub mod command;
pub mod elements;
pub mod event;
#[cfg(test)]
#[cfg(not(loom))]
mod frozen;
pub mod heard;
pub mod ids;
#[cfg(not(loom))]
pub mod keeper;
pub mod keys;
pub mod lanes;
mod life;
pub mod limits;
pub mod log;
#[cfg(not(loom))]
pub mod parcel;
pub mod prefetch;
pub mod punt;
#[cfg(not(loom))]
pub mod region;
pub mod ring;
#[cfg(not(loom))]
pub mod stats;
#[cfg(not(loom))]
pub mod stream;
mod sync;
#[cfg(not(loom))]
mod text;
#[cfg(not(loom))]
pub mod transit;
#[cfg(not(loom))]
pub mod viewer;
pub mod wake;

#[cfg(not(loom))]
pub use region::Region;
