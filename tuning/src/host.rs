//! Owns how the host is looked at and changed: files under a root, which a test may replace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// A host, seen through its files.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    // Programs are asked only about the real host.
    real: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/"),
            real: true,
        }
    }
}

impl Host {
    /// A host made of the files below `root`, for tests.
    #[must_use]
    pub fn under(root: &Path) -> Self {
        Self {
            root: root.into(),
            real: false,
        }
    }

    /// The text of a file, without space around it; none if it is not there or not readable.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.at(path)).ok()?;
        Some(text.trim().to_string())
    }

    /// A whole number in a file.
    #[must_use]
    pub fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    /// The names in a directory, sorted.
    #[must_use]
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Writes a value into a file that is there.
    ///
    /// # Errors
    /// Not there, not allowed, or the kernel does not take the value.
    pub fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.at(path))?;
        io::Write::write_all(&mut file, value.as_bytes())
    }

    /// What a program says, if it is there and content.
    #[must_use]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Option<String> {
        if !self.real {
            return None;
        }
        let output = Command::new(program).args(arguments).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}
