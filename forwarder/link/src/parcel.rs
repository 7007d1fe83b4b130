//! Owns a parcel: what one program leaves to the next one in the same process, as a text and
//! descriptors. It waits in a socket: that alone passes through `execve`, so nothing leaks into a
//! program that does not ask for it.

use crate::region::pass::{self, DESCRIPTORS_MAX};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

/// Longest text: far more than a supervisor has to say, and less than a socket holds (212,992 bytes
/// if nobody has changed `net.core.wmem_default`).
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// A text, and descriptors that it speaks of.
pub struct Parcel {
    /// The text.
    pub text: Vec<u8>,
    /// The descriptors, each known by its place.
    pub descriptors: Vec<OwnedFd>,
}

impl Parcel {
    /// Posts copies of everything; it can be taken once, at the end that is given back.
    ///
    /// # Errors
    /// It is too large, or the system has no room for it.
    pub fn post(&self) -> io::Result<OwnedFd> {
        let (bytes, count) = (self.text.len(), self.descriptors.len());
        if bytes > TEXT_BYTES_MAX || count > DESCRIPTORS_MAX {
            let why = format!(
                "{bytes} bytes and {count} descriptors, {TEXT_BYTES_MAX} and {DESCRIPTORS_MAX} can \
                 be passed on"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let passed: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
        pass::post(&self.text, &passed)
    }

    /// The same, for the next program in this process, which [`Parcel::inherit`]s it by the number
    /// of the end.
    ///
    /// # Errors
    /// As [`Parcel::post`].
    pub fn bequeath(&self) -> io::Result<OwnedFd> {
        let end = self.post()?;
        pass::bequeath(&end)?;
        Ok(end)
    }

    /// Takes what the program before has left at this number.
    ///
    /// # Errors
    /// There is nothing.
    pub fn inherit(number: RawFd) -> io::Result<Self> {
        let explain = |e: io::Error| {
            let why = format!("descriptor {number}: {e}: nothing was left there to go on with");
            io::Error::new(e.kind(), why)
        };
        let end = pass::inherited(number).map_err(explain)?;
        let mut text = vec![0; TEXT_BYTES_MAX];
        let (length, descriptors) = pass::recv_passed(&end, &mut text).map_err(explain)?;
        if length == 0 {
            return Err(explain(io::ErrorKind::UnexpectedEof.into()));
        }
        text.truncate(length);
        Ok(Self { text, descriptors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_parcel_is_taken_once_by_its_number() {
        let parcel = Parcel {
            text: b"two".to_vec(),
            descriptors: vec![
                File::open("/dev/null").unwrap().into(),
                File::open("/dev/zero").unwrap().into(),
            ],
        };
        let number = parcel.bequeath().unwrap().into_raw_fd();
        let mut taken = Parcel::inherit(number).unwrap();
        assert_eq!((&taken.text[..], taken.descriptors.len()), (&b"two"[..], 2));
        let mut byte = [1];
        let mut zero = File::from(taken.descriptors.remove(1));
        zero.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [0], "in their order");
        let again = Parcel::inherit(number).err().unwrap().to_string();
        assert!(again.contains("go on with"), "{again}");
        assert!(Parcel::inherit(-1).is_err());
    }

    #[test]
    fn what_is_too_large_is_said() {
        let text = vec![b' '; TEXT_BYTES_MAX + 1];
        let descriptors = Vec::new();
        let said = Parcel { text, descriptors }.post().unwrap_err().to_string();
        assert!(said.contains("65537 bytes"), "{said}");
    }
}
