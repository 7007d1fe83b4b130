//! Owns the memory of what was there before tuning.

use crate::stage::Change;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file with one line for each change. It lies where a restart of the host clears it, as the
/// restart undoes the changes too.
#[derive(Clone, Debug)]
pub struct UndoFile {
    path: PathBuf,
}

/// A change that was made or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The stage.
    pub stage: String,
    /// What was written: `to` is what is there now.
    pub change: Change,
}

/// Something could not be changed or remembered.
#[derive(Debug)]
pub struct TuneError {
    path: String,
    cause: io::Error,
}

impl Default for UndoFile {
    fn default() -> Self {
        Self::at(Path::new("/run/freshet-tune.undo"))
    }
}

impl UndoFile {
    /// A file of this name.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// True if there is something to undo.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Remembers what `change` replaces, before it is made. The first memory of a file holds: a
    /// second `apply` must not take our own value for the one that was there.
    pub(crate) fn remember(&self, stage: &str, change: &Change) -> Result<(), TuneError> {
        if self
            .entries()?
            .iter()
            .any(|(_, known)| known.path == change.path)
        {
            return Ok(());
        }
        let mut open = std::fs::OpenOptions::new();
        open.append(true).create(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
        let line = format!("{stage}\t{}\t{}\t{}\n", change.path, change.from, change.to);
        let written = open.open(&self.path).and_then(|mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|cause| self.error(cause))
    }

    /// What is remembered, first change first. A broken line is passed over.
    pub(crate) fn entries(&self) -> Result<Vec<(String, Change)>, TuneError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(self.error(cause)),
        };
        let parse = |line: &str| {
            let [stage, path, from, to] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
            let change = Change {
                path: String::from(path),
                from: String::from(from),
                to: String::from(to),
            };
            Some((String::from(stage), change))
        };
        Ok(text.lines().filter_map(parse).collect())
    }

    /// Forgets everything.
    pub(crate) fn remove(&self) -> Result<(), TuneError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.error(error)),
            _ => Ok(()),
        }
    }

    fn error(&self, cause: io::Error) -> TuneError {
        TuneError::new(&self.path.to_string_lossy(), cause)
    }
}

impl TuneError {
    pub(crate) fn new(path: &str, cause: io::Error) -> Self {
        Self {
            path: path.into(),
            cause,
        }
    }
}

impl fmt::Display for TuneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = match self.cause.kind() {
            io::ErrorKind::PermissionDenied => "run it as root (sudo freshet tune ...)",
            io::ErrorKind::ReadOnlyFilesystem => {
                "this is a container that may not change its host: run it on the host"
            }
            _ => "set it by hand as `freshet doctor` shows",
        };
        write!(
            f,
            "{} cannot be written: {}\n  remedy: {remedy}",
            self.path, self.cause
        )
    }
}

impl std::error::Error for TuneError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
