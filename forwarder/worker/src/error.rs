//! Owns what can go wrong while workers are set up, and how one may end.

use link::region::LinkError;
use std::io;

/// A worker could not be started, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An end of the link cannot be had.
    #[error("worker {core}: its end of the link: {cause} (is another forwarder running?)")]
    Link {
        /// The worker.
        core: u16,
        /// What the link said.
        cause: LinkError,
    },
    /// The port cannot be made.
    #[error("worker {core}: {cause}")]
    Port {
        /// The worker.
        core: u16,
        /// What the kernel said, and the remedy.
        cause: ::io::Error,
    },
    /// The wake-up descriptor cannot be duplicated.
    #[error("worker {core}: its wake-up: {cause} (raise the limit on open files, `ulimit -n`)")]
    Wake {
        /// The worker.
        core: u16,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The system has no thread for it.
    #[error("worker {core}: its thread: {cause} (raise the limit on tasks, `ulimit -u`)")]
    Thread {
        /// The worker.
        core: u16,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Sockets and workers are not as many.
    #[error("{sockets} sockets for {cores} workers: bind one for each")]
    Sockets {
        /// How many were given.
        sockets: usize,
        /// How many are needed.
        cores: u16,
    },
    /// What a worker leaves to the next one.
    #[error("worker {core}: {cause}")]
    Handover {
        /// The worker.
        core: u16,
        /// What cannot be read or written.
        cause: plane::HandoverError,
    },
    /// A worker has not told of its viewers ahead.
    #[error("worker {core} does not answer")]
    Silent {
        /// The worker.
        core: u16,
    },
    /// A worker has panicked; its message is on standard error.
    #[error("worker {core} has died")]
    Died {
        /// The worker.
        core: u16,
    },
}
