//! Owns where a test keeps its files: a folder that vanishes, unless the test failed.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder for one run of something: logs, sockets, profiles. Removed at the end; kept in
/// `tests/.artifacts` when the test failed.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    name: String,
}

impl Place {
    /// A new, empty folder. `name` is for people who look at what was kept.
    ///
    /// # Panics
    /// When the folder cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(format!("freshet-{name}"));
        fs::create_dir_all(&path).expect("a folder in the temporary directory");
        Self { path, name }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it, with this content.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).expect("a file in a folder of ours");
        path
    }

    /// A copy of a file, with its permissions.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn copy(&self, name: &str, of: &Path) -> PathBuf {
        let path = self.path.join(name);
        fs::copy(of, &path).expect("a file in a folder of ours");
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = artifacts().join(&self.name);
            keep_small_files(&self.path, &kept);
            eprintln!("kept: {}", kept.display());
        }
        // Nothing depends on it; the system clears its temporary directory.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where what helps to understand a failure is kept.
#[must_use]
pub fn artifacts() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".artifacts");
    // If it cannot be made, writing there says so.
    let _ = fs::create_dir_all(&path);
    path
}

/// A fixture from `tests/corpus`.
#[must_use]
pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

/// A TCP port of loopback that nobody uses now.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_tcp_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("it is bound").port()
}

/// A UDP port that nobody uses now.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_udp_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    socket.local_addr().expect("it is bound").port()
}

/// Copies logs and the like; the caches of a browser are not worth it.
fn keep_small_files(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else {
        return;
    };
    // Keeping is a courtesy: a failure here must not hide the one of the test.
    let _ = fs::create_dir_all(to);
    for entry in entries.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.metadata().is_ok_and(|data| data.len() < 4 << 20) {
            let _ = fs::copy(entry.path(), to.join(entry.file_name()));
        }
    }
}
