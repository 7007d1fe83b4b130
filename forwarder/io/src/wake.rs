//! Owns the descriptor that wakes a waiting port: an eventfd.

use crate::error::Error;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Wakes a port that waits in another thread. The link brings its own eventfds; this one is for
/// worlds without a link.
#[derive(Debug)]
pub struct Wake(EventFd);

impl Wake {
    /// A new eventfd, non-blocking.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> Result<Self, Error> {
        EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map(Self)
            .map_err(|e| Error::new("eventfd", e, DESCRIPTORS))
    }

    /// A second handle to the same eventfd, to be given to a port.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn fd(&self) -> Result<OwnedFd, Error> {
        self.0
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| Error::new("duplicate an eventfd", e, DESCRIPTORS))
    }

    /// Ends the wait of the port, or makes its next one return at once.
    pub fn wake(&self) {
        // The counter can only be full if nobody has waited for 2^64 wake-ups.
        let _ = self.0.write(1);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

const DESCRIPTORS: &str = "raise the limit on open files, `ulimit -n`";

/// Takes the wake-ups out of an eventfd that is readable.
pub(crate) fn drain(fd: BorrowedFd<'_>) {
    let mut counter = [0; 8];
    // Whatever the answer, the port is awake; an empty eventfd says EAGAIN.
    let _ = nix::unistd::read(fd, &mut counter);
}
