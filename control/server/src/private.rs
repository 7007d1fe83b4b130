//! Owns the writing of files that hold secrets, and that are there whole or not at all.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Nobody else reads or writes it.
pub const OWNER_ONLY: u32 = 0o600;

/// What of a mode says who may do what.
const PERMISSIONS: u32 = 0o777;

/// Puts a file in place of the one before; whoever reads it meanwhile reads that. Each process has
/// a name of its own for what it has not finished yet.
///
/// # Errors
/// As the system says. What was there before stays.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    put(path, text, OWNER_ONLY)
}

/// Puts another text into a file that somebody else has made: it is read by whom it was read by,
/// and outlives a power cut. Where a link leads to it, that goes on leading there.
///
/// # Errors
/// As the system says, with the name. What was there before stays.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let explain =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let path = path.canonicalize().map_err(explain)?;
    let mode = std::fs::metadata(&path).map_err(explain)?.mode();
    put(&path, text, mode & PERMISSIONS).map_err(explain)
}

fn put(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(&new)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}
