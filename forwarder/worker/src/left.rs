//! Owns what all workers of a process leave, in a nameless file that goes to the next process.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

/// More is no handover: 64 cores with 100,000 viewers.
const BYTES_MAX: u64 = 4 << 30;

/// Writes what each worker leaves, by core. There are keys in it: it has no name, and is gone with
/// its last reader.
///
/// # Errors
/// No memory or descriptors.
pub fn write(left: &[Vec<u8>]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("freshet-left", MFdFlags::MFD_CLOEXEC)?);
    for part in left {
        file.write_all(&(part.len() as u64).to_le_bytes())?;
        file.write_all(part)?;
    }
    Ok(file.into())
}

/// Reads it.
///
/// # Errors
/// It is not what [`write`] writes.
pub fn read(left: OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut file = File::from(left);
    file.rewind()?;
    let mut rest = file.metadata()?.len().min(BYTES_MAX);
    let mut parts = Vec::new();
    while rest > 0 {
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        rest = rest
            .checked_sub(8)
            .and_then(|rest| rest.checked_sub(length))
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut part = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact(&mut part)?;
        parts.push(part);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_read_and_damage_is_refused() {
        let left = [vec![1; 70_000], Vec::new(), vec![2]];
        assert_eq!(read(write(&left).unwrap()).unwrap(), left);
        assert_eq!(read(write(&[]).unwrap()).unwrap().len(), 0);
        let file = File::from(write(&left).unwrap());
        file.set_len(69_000).unwrap();
        assert!(read(file.into()).is_err());
        let mut file = File::from(write(&[]).unwrap());
        file.write_all(&[0xff; 9]).unwrap();
        assert!(read(file.into()).is_err());
    }
}
