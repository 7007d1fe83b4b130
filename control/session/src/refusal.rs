//! Owns the answer to a signalling request that cannot be granted: what happened and what to do.

use std::fmt;

/// A refusal as HTTP wants it: a status, a stable name for programs, and two sentences for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalError {
    /// HTTP status code, 400 to 503.
    pub status: u16,
    /// Stable machine-readable name, `kebab-case`.
    pub name: &'static str,
    /// What happened.
    pub detail: String,
    /// What to do about it.
    pub remedy: &'static str,
    /// Seconds for a `Retry-After` field, when trying again later makes sense.
    pub retry_after_secs: Option<u32>,
}

impl SignalError {
    /// A refusal that trying again does not change.
    pub(crate) fn new(
        status: u16,
        name: &'static str,
        detail: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self {
            status,
            name,
            detail: detail.into(),
            remedy,
            retry_after_secs: None,
        }
    }

    /// The offer cannot be read: 400.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            400,
            "sdp-malformed",
            detail,
            "Send the SDP exactly as the browser or the encoder made it.",
        )
    }

    /// The offer can be read, but we cannot do what it asks for: 422.
    pub(crate) fn unacceptable(
        name: &'static str,
        detail: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self::new(422, name, detail, remedy)
    }

    /// Trying again in `secs` seconds may help.
    pub(crate) fn retry_after(mut self, secs: u32) -> Self {
        self.retry_after_secs = Some(secs);
        self
    }
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {} {}",
            self.status, self.name, self.detail, self.remedy
        )
    }
}

impl std::error::Error for SignalError {}
