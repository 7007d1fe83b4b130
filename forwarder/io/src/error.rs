//! Owns what can go wrong while a port is set up: the cause, and what to do about it.
//!
//! Full is not an error: `claim` answers `None`. A failed send is not one either: it is counted.

use core::fmt;
use std::io;

/// A port, socket or ring could not be made.
#[derive(Debug)]
pub struct Error {
    what: String,
    cause: io::Error,
    remedy: &'static str,
}

impl Error {
    pub(crate) fn new(
        what: impl Into<String>,
        cause: impl Into<io::Error>,
        remedy: &'static str,
    ) -> Self {
        Self {
            what: what.into(),
            cause: cause.into(),
            remedy,
        }
    }

    /// What the kernel said.
    #[must_use]
    pub fn cause(&self) -> &io::Error {
        &self.cause
    }

    /// What an operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.what, self.cause, self.remedy)
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.cause)
    }
}
