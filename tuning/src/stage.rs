//! Owns what a stage is: one thing of the host that matters, and how it should be.

use crate::host::Host;
use std::io;

/// What the host is to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Viewers at once.
    pub viewers_max: u64,
    /// UDP port of media.
    pub media_port: u16,
    /// UDP port of SRT.
    pub srt_port: u16,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            viewers_max: 16_384,
            media_port: 8000,
            srt_port: 9000,
        }
    }
}

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Does not exist on this host, or cannot be seen; nothing to do.
    Absent,
    /// It works, and would work better otherwise.
    Better,
    /// Something will not work.
    Bad,
}

/// A value to be written into a file of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file.
    pub path: String,
    /// What is there.
    pub from: String,
    /// What should be there.
    pub to: String,
}

/// What a stage has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How to take it.
    pub verdict: Verdict,
    /// What is.
    pub found: String,
    /// What should be.
    pub wanted: String,
    /// The command or setting that makes it so; none: nothing to do.
    pub fix: Option<String>,
    /// What `tune --apply` would write; empty if it must not be changed without an operator.
    pub changes: Vec<Change>,
}

/// One thing of the host that matters.
pub trait Stage: Sync {
    /// Its name, for tables and the undo file.
    fn name(&self) -> &'static str;

    /// Why it matters, in one sentence.
    fn why(&self) -> &'static str;

    /// Looks; changes nothing.
    fn check(&self, host: &Host, plan: &Plan) -> Finding;

    /// Whether a change of this file is a change of this stage.
    fn owns(&self, path: &str) -> bool;

    /// Makes one of the changes that [`Stage::check`] has named.
    ///
    /// # Errors
    /// Not allowed, or the kernel does not take the value.
    fn apply(&self, host: &Host, change: &Change) -> io::Result<()> {
        host.write(&change.path, &change.to)
    }

    /// Takes a change back.
    ///
    /// # Errors
    /// The same.
    fn undo(&self, host: &Host, change: &Change) -> io::Result<()> {
        host.write(&change.path, &change.from)
    }
}

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn good(found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Good,
            found: found.into(),
            wanted: wanted.into(),
            fix: None,
            changes: Vec::new(),
        }
    }

    /// Not there.
    #[must_use]
    pub fn absent(found: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Absent,
            ..Self::good(found, "-")
        }
    }

    /// Not as it should be, and only an operator may change it.
    #[must_use]
    pub fn wanting(
        verdict: Verdict,
        found: impl Into<String>,
        wanted: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            verdict,
            fix: Some(fix.into()),
            ..Self::good(found, wanted)
        }
    }
}
