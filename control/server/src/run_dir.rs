//! Owns the run directory: where sockets, process ids and the configuration of a run are.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// A directory of this run; removed when it is dropped if this run has made it.
pub struct RunDir {
    /// Where it is.
    pub path: PathBuf,
    /// This run has made it.
    pub is_ours: bool,
}

impl RunDir {
    /// The configured one, systemd's, or a new one that nobody else may enter.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(configured: &str) -> io::Result<Self> {
        let given = if configured.is_empty() {
            std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from)
        } else {
            Some(PathBuf::from(configured))
        };
        let (path, is_ours) = match given {
            Some(path) => (path, false),
            None => {
                let random: u64 = rand::random();
                (
                    std::env::temp_dir().join(format!("freshet-{random:016x}")),
                    true,
                )
            }
        };
        let explain = |e: io::Error| {
            io::Error::new(e.kind(), format!("run directory {}: {e}", path.display()))
        };
        DirBuilder::new()
            .recursive(!is_ours)
            .mode(0o700)
            .create(&path)
            .map_err(explain)?;
        Ok(Self { path, is_ours })
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.is_ours {
            // What is left behind is a few small files in the directory for such.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
