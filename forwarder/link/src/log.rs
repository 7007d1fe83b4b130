//! Owns the stream log, the one place where media lives: one writer, many readers, in shared
//! memory. The writer never touches what a reader has pinned, and readers never wait.
//!
//! A position names a packet and lies in slot `position % slots`. Readers may pin `tail..head`.
//! The writer keeps seven eighths of the slots as history; before it takes back a slot it moves
//! the tail, then looks at the pins. Why it is so: `forwarder/notes/0001-stream-log.md`.

mod memory;
#[cfg(test)]
#[cfg(loom)]
mod model;
mod reader;
mod record;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
mod writer;

#[cfg(not(loom))]
pub(crate) use memory::{LogHead, LogMemory, PinLine};
pub use reader::{LogReader, Pinned};
pub use record::{Entry, Flags, Record};
pub use writer::{AppendError, LogWriter};
