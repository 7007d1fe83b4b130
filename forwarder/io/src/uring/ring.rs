//! Owns the making of a ring, with the best flags that the kernel takes.

use super::REMEDY;
use super::settings::{Settings, sqpoll_refused};
use crate::error::Error;
use crate::socket::Socket;
use io_uring::IoUring;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// The socket's place in the table of registered files.
pub(super) const SOCKET: io_uring::types::Fixed = io_uring::types::Fixed(0);
/// The eventfd's place.
pub(super) const WAKE: io_uring::types::Fixed = io_uring::types::Fixed(1);

/// How completions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only when we ask (`SINGLE_ISSUER | DEFER_TASKRUN`, Linux 6.1): no interrupts of the loop.
    Deferred,
    /// At the next system call (`COOP_TASKRUN`, Linux 5.19).
    Cooperative,
    /// Whenever the kernel likes.
    Plain,
    /// By a thread of the kernel's that takes submissions as well (`SQPOLL`).
    Polled,
}

/// A ring for `submissions` and `completions` at once, with the first mode that is accepted, or
/// with the one that is asked for.
pub(super) fn create(
    submissions: u32,
    completions: u32,
    settings: &Settings,
) -> Result<(IoUring, Mode), Error> {
    if settings.sqpoll_ms > 0 {
        let ring = build_polled(submissions, completions, settings).map_err(sqpoll_refused)?;
        return Ok((ring, Mode::Polled));
    }
    let mut refused = None;
    for mode in [Mode::Deferred, Mode::Cooperative, Mode::Plain] {
        match build(mode, submissions, completions) {
            Ok(ring) => return Ok((ring, mode)),
            Err(error) => refused = Some(error),
        }
    }
    let cause = refused.unwrap_or_else(|| io::Error::from(io::ErrorKind::Unsupported));
    Err(Error::new("io_uring: set up a ring", cause, REMEDY))
}

/// Makes the descriptors known to the ring, so that each request saves looking them up.
pub(super) fn register(ring: &IoUring, socket: &Socket, wake: &OwnedFd) -> Result<(), Error> {
    use std::os::fd::AsFd;
    let files = [socket.as_fd().as_raw_fd(), wake.as_raw_fd()];
    ring.submitter()
        .register_files(&files)
        .map_err(|e| Error::new("io_uring: register files", e, REMEDY))
}

fn build(mode: Mode, submissions: u32, completions: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_cqsize(completions);
    match mode {
        Mode::Deferred => {
            builder.setup_single_issuer().setup_defer_taskrun();
            builder.setup_taskrun_flag().setup_submit_all();
        }
        Mode::Cooperative => {
            builder.setup_coop_taskrun().setup_taskrun_flag();
            builder.setup_submit_all();
        }
        Mode::Plain | Mode::Polled => {}
    }
    builder.build(submissions)
}

/// The kernel's thread runs completions, too: the other modes' flags do not go with it.
fn build_polled(submissions: u32, completions: u32, settings: &Settings) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_cqsize(completions);
    builder.setup_submit_all().setup_sqpoll(settings.sqpoll_ms);
    if let Some(cpu) = settings.sqpoll_cpu {
        builder.setup_sqpoll_cpu(cpu);
    }
    builder.build(submissions)
}
