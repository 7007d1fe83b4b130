//! Owns `struct msghdr` for runs that are sent, and what a send error means. Hot.

use crate::addr::{Family, Name};
use crate::arena::Run;
use crate::cmsg::Control;
use core::ptr::null_mut;

/// Headers with all that they point to, by place. The places never move.
pub(crate) struct Messages {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
}

impl Messages {
    /// Room for `places` messages.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            headers: vec![EMPTY; places].into_boxed_slice(),
            vectors: vec![NOTHING; places].into_boxed_slice(),
            names: vec![Name::default(); places].into_boxed_slice(),
            controls: vec![Control::default(); places].into_boxed_slice(),
        }
    }

    /// Writes the message of `run` to `place`. It points to `bytes`, which must stay where they
    /// are until it is sent.
    pub(crate) fn set(&mut self, place: usize, family: Family, run: &Run, bytes: &[u8]) {
        let name = &mut self.names[place];
        let name_bytes = name.set(family, run.peer);
        let control = &mut self.controls[place];
        let control_bytes = control.set(family, run.local, run.segment());
        self.vectors[place] = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        self.headers[place].msg_len = 0;
        self.headers[place].msg_hdr = libc::msghdr {
            msg_name: (&raw mut *name).cast(),
            msg_namelen: name_bytes,
            msg_iov: &raw mut self.vectors[place],
            msg_iovlen: 1,
            msg_control: if control_bytes == 0 {
                null_mut()
            } else {
                (&raw mut *control).cast()
            },
            msg_controllen: control_bytes,
            msg_flags: 0,
        };
    }

    /// The headers from place 0.
    pub(crate) fn headers(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.headers
    }

    /// The header at `place`.
    pub(crate) fn header(&self, place: usize) -> *const libc::msghdr {
        &raw const self.headers[place].msg_hdr
    }
}

/// A header of nothing.
pub(crate) const EMPTY: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: null_mut(),
        msg_namelen: 0,
        msg_iov: null_mut(),
        msg_iovlen: 0,
        msg_control: null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};

/// A vector of nothing.
pub(crate) const NOTHING: libc::iovec = libc::iovec {
    iov_base: null_mut(),
    iov_len: 0,
};

/// What the kernel's refusal of one send means for the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing was looked at: try the same again.
    Again,
    /// The queue is full: try later.
    Full,
    /// Perhaps only the segmenting is refused: try the datagrams one by one.
    Segmenting,
    /// This peer cannot be reached now, or memory is short: give the run up and go on.
    Lost,
}

impl Refusal {
    /// Reads an `errno` for a run of `segments`.
    pub(crate) fn of(errno: i32, segments: u8) -> Self {
        match errno {
            libc::EINTR => Self::Again,
            libc::EAGAIN => Self::Full,
            // EIO: the device cannot check-sum, or the route transforms (IPsec). EINVAL: segments
            // with SO_NO_CHECK, or too many. EMSGSIZE: a segment longer than the path takes.
            libc::EIO | libc::EINVAL | libc::EMSGSIZE if segments > 1 => Self::Segmenting,
            _ => Self::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_are_retried_in_pieces() {
        assert_eq!(Refusal::of(libc::EIO, 9), Refusal::Segmenting);
        assert_eq!(Refusal::of(libc::EIO, 1), Refusal::Lost);
        assert_eq!(Refusal::of(libc::EAGAIN, 9), Refusal::Full);
        assert_eq!(Refusal::of(libc::ENETUNREACH, 9), Refusal::Lost);
    }
}
