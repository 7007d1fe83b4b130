//! Owns what all workers of a process leave or tell ahead, in a nameless file that goes to the next
//! process, and the memory for it: touched before anybody waits for it, since the system takes
//! longer to find a page than to fill it.

use core::ops::Range;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// About what is left of a viewer.
const VIEWER_BYTES: usize = 3072;

/// And of everything else.
const MORE_BYTES: usize = 1 << 20;

/// Bytes that are about enough for what is left of so many viewers.
#[must_use]
pub const fn bytes_for(viewers: usize) -> usize {
    viewers * VIEWER_BYTES + MORE_BYTES
}

/// Memory for so many bytes.
pub(crate) fn room(bytes: usize) -> Vec<u8> {
    let mut room = Vec::with_capacity(bytes);
    room.resize(bytes, 1);
    room.clear();
    room
}

/// A file for about so many bytes.
///
/// # Errors
/// No memory or descriptors.
pub fn file(bytes: usize) -> io::Result<File> {
    let file = File::from(memfd_create("freshet-left", MFdFlags::MFD_CLOEXEC)?);
    let length = i64::try_from(bytes).map_err(io::Error::other)?;
    // Only faster with it.
    let _ = fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, length);
    Ok(file)
}

/// Writes what each worker leaves, by core. There are keys in it: the file has no name, and is gone
/// with its last reader.
///
/// # Errors
/// No memory.
pub fn write(mut file: File, left: &[Vec<u8>]) -> io::Result<OwnedFd> {
    for part in left {
        file.write_all(&(part.len() as u64).to_le_bytes())?;
        file.write_all(part)?;
    }
    Ok(file.into())
}

/// What workers have left, by core.
pub struct Left {
    bytes: Arc<Vec<u8>>,
    parts: Vec<Range<usize>>,
}

/// What will be read of that, with memory for it.
pub struct Reader(Vec<u8>);

impl Reader {
    /// With memory for about so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(room(bytes))
    }

    /// Reads what [`write`] has written.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(self, left: OwnedFd) -> io::Result<Left> {
        let mut file = File::from(left);
        file.rewind()?;
        let mut bytes = self.0;
        file.read_to_end(&mut bytes)?;
        let mut parts = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let length = bytes.get(at..).and_then(<[u8]>::first_chunk);
            let length = u64::from_le_bytes(*length.ok_or(io::ErrorKind::InvalidData)?);
            let length = usize::try_from(length).map_err(io::Error::other)?;
            let start = at + size_of::<u64>();
            let end = start.checked_add(length).filter(|end| *end <= bytes.len());
            at = end.ok_or(io::ErrorKind::InvalidData)?;
            parts.push(start..at);
        }
        Ok(Left {
            bytes: Arc::new(bytes),
            parts,
        })
    }
}

impl Left {
    /// How many workers there were.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// What the worker of this core has left.
    pub(crate) fn part(&self, core: usize) -> Option<(Arc<Vec<u8>>, Range<usize>)> {
        let part = self.parts.get(core)?.clone();
        Some((Arc::clone(&self.bytes), part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(left: OwnedFd) -> io::Result<Vec<Vec<u8>>> {
        let left = Reader::new(100).read(left)?;
        let part = |part: &Range<usize>| left.bytes[part.clone()].to_vec();
        Ok(left.parts.iter().map(part).collect())
    }

    #[test]
    fn what_was_left_is_read_and_damage_is_refused() {
        let left = [vec![1; 70_000], Vec::new(), vec![2]];
        let written = |left: &[Vec<u8>]| write(file(64).unwrap(), left).unwrap();
        assert_eq!(read(written(&left)).unwrap(), left);
        assert_eq!(read(written(&[])).unwrap().len(), 0);
        let file = File::from(written(&left));
        file.set_len(69_000).unwrap();
        assert!(read(file.into()).is_err());
        let mut file = File::from(written(&[]));
        file.write_all(&[0xff; 9]).unwrap();
        assert!(read(file.into()).is_err());
    }
}
