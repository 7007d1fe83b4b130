//! Owns what the operator may choose of `io_uring`, and the trial of it when a port is made.

use super::ring;
use crate::error::Error;
use core::ptr::null_mut;
use core::time::Duration;
use io_uring::types::{Napi, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::io;

/// How the ring is used. What the kernel refuses is an error of [`super::Uring::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A thread of the kernel's takes what is submitted, without a call (`SQPOLL`), and sleeps
    /// after so many milliseconds without work. 0: there is none. For benches: a server does not
    /// offer it, see `bench/RESULTS.md`.
    pub sqpoll_ms: u32,
    /// The processor of that thread; `None`: any.
    pub sqpoll_cpu: Option<u32>,
    /// Devices read runs where they were written (`SENDMSG_ZC`).
    pub zero_copy: bool,
    /// With `zero_copy`: the memory of runs is pinned once, not for each run.
    pub fixed_buffers: bool,
    /// A wait asks the network card itself for so many microseconds before it sleeps. 0: never.
    pub napi_us: u32,
    /// With `napi_us`: the card's interrupts stay off while it is asked often enough.
    pub napi_prefer: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// `IORING_RECVSEND_FIXED_BUF`: vectors lie in the registered buffer that the request names, which
/// is number 0 where it names none.
const FIXED: u16 = 1 << 2;
/// `IORING_SEND_ZC_REPORT_USAGE`: notifications say whether it was copied after all.
const REPORT: u16 = 1 << 3;
/// `IORING_NOTIF_USAGE_ZC_COPIED`.
const COPIED: i32 = i32::MIN;

const FIXED_REMEDY: &str = "set uring.fixed_buffers = false; or Linux 6.15, and as much \
                            locked memory (ulimit -l, LimitMEMLOCK=) as workers' arenas take";
const ZERO_COPY_REMEDY: &str = "set uring.zero_copy = false; or Linux 6.2, and locked memory \
                                (ulimit -l, LimitMEMLOCK=)";
const NAPI_REMEDY: &str = "set uring.napi_us = 0; or Linux 6.9 with CONFIG_NET_RX_BUSY_POLL";

impl Settings {
    /// What measured fastest: the bench `uring` compares them.
    pub const DEFAULT: Self = Self {
        sqpoll_ms: 0,
        sqpoll_cpu: None,
        zero_copy: false,
        fixed_buffers: true,
        napi_us: 0,
        napi_prefer: false,
    };

    /// The request that sends `message`.
    pub(super) fn request(&self, message: *const libc::msghdr) -> squeue::Entry {
        if self.zero_copy {
            let fixed = if self.fixed_buffers { FIXED } else { 0 };
            let request = opcode::SendMsgZc::new(ring::SOCKET, message);
            return request.ioprio(REPORT | fixed).build();
        }
        opcode::SendMsg::new(ring::SOCKET, message).build()
    }

    /// Makes `ring`, on which nothing has been submitted, ready for runs in `memory`.
    ///
    /// # Safety
    /// `memory` stays where it is until the ring is gone.
    pub(super) unsafe fn prepare(&self, ring: &mut IoUring, memory: &[u8]) -> Result<(), Error> {
        if self.napi_us > 0 {
            let napi = Napi::new().set_busy_poll_timeout(self.napi_us);
            let mut napi = napi.set_prefer_busy_poll(self.napi_prefer);
            let done = ring.submitter().register_napi(&mut napi);
            done.map_err(|e| Error::new("io_uring: busy polling", e, NAPI_REMEDY))?;
        }
        if !self.zero_copy {
            return Ok(());
        }
        let vector = libc::iovec {
            iov_base: memory.as_ptr().cast_mut().cast(),
            iov_len: memory.len(),
        };
        if self.fixed_buffers {
            keep_small(memory);
            // SAFETY: the caller's promise; requests only read from it.
            let done = unsafe { ring.submitter().register_buffers(&[vector]) };
            done.map_err(|e| Error::new("io_uring: fixed buffers", e, FIXED_REMEDY))?;
        }
        let (what, remedy) = if self.fixed_buffers {
            ("io_uring: zero copy from fixed buffers", FIXED_REMEDY)
        } else {
            ("io_uring: zero copy", ZERO_COPY_REMEDY)
        };
        self.try_send(ring, vector)
            .map_err(|e| Error::new(what, e, remedy))
    }

    /// Sends all memory to nobody, since as much may be locked at once. A kernel that knows the
    /// request asks for an address, or finds it too long; one that does not calls it invalid.
    /// Nothing leaves.
    fn try_send(&self, ring: &mut IoUring, memory: libc::iovec) -> io::Result<()> {
        // Leaked if the answer doesn't come: the kernel may still read them.
        let vector = Box::leak(Box::new(memory));
        let message = Box::leak(Box::new(libc::msghdr {
            msg_name: null_mut(),
            msg_namelen: 0,
            msg_iov: &raw mut *vector,
            msg_iovlen: 1,
            msg_control: null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        }));
        let (vector, message) = (&raw mut *vector, &raw mut *message);
        // SAFETY: the message and its vector are not freed before the last answer, and they lead to
        // memory that the caller keeps.
        let pushed = unsafe { ring.submission().push(&self.request(message)) };
        pushed.map_err(io::Error::other)?;
        let mut answer = None;
        let mut is_over = false;
        for _ in 0..TRIES {
            let pause = Timespec::from(Duration::from_millis(10));
            // The end of the pause is no error.
            let _ = (ring.submitter()).submit_with_args(1, &SubmitArgs::new().timespec(&pause));
            while let Some(done) = ring.completion().next() {
                if !cqueue::notif(done.flags()) {
                    answer = Some(done.result());
                }
                is_over = !cqueue::more(done.flags());
            }
            if is_over {
                break;
            }
        }
        if is_over {
            // SAFETY: both were leaked above, and the kernel has given its last answer.
            unsafe {
                drop(Box::from_raw(message));
                drop(Box::from_raw(vector));
            }
        }
        match answer {
            Some(result) => match -result {
                libc::EDESTADDRREQ | libc::EMSGSIZE => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            },
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Takes `memory`, which is still zero, out of huge pages. Of those the kernel charges each run
/// with all that lies before it in the page: sockets are full after a run or two.
fn keep_small(memory: &[u8]) {
    const PAGE_BYTES: usize = 4096;
    debug_assert!(memory.iter().all(|byte| *byte == 0), "memory in use");
    let start = memory.as_ptr().cast_mut();
    let before = start.align_offset(PAGE_BYTES);
    let bytes = memory.len().saturating_sub(before) / PAGE_BYTES * PAGE_BYTES;
    for advice in [libc::MADV_NOHUGEPAGE, libc::MADV_DONTNEED] {
        // SAFETY: these are pages that lie wholly in `memory`. They are private and zero, and what
        // comes instead of those that are given back is zero too.
        // JUSTIFICATION: what the allocator has joined is only split so. Refused: nothing changes.
        let _ = unsafe { libc::madvise(start.wrapping_add(before).cast(), bytes, advice) };
    }
}

/// True if a notification with `result` says that the run was copied all the same.
pub(super) fn was_copied(result: i32) -> bool {
    result & COPIED != 0
}

/// Pauses for the answer to a trial: a second.
const TRIES: u32 = 100;

/// Why there is no thread that takes submissions.
pub(super) fn sqpoll_refused(cause: io::Error) -> Error {
    let remedy = "Linux 5.19, a processor of this host's (and this process's) for sqpoll_cpu, and \
                  leave of the container for io_uring";
    Error::new("io_uring: a submission thread (SQPOLL)", cause, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::PortConfig;
    use crate::socket::{Socket, SocketConfig};
    use crate::uring::{Mode, Uring};
    use crate::wake::Wake;

    fn port(uring: Settings) -> Result<Uring, Error> {
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &SocketConfig::default())?;
        let config = PortConfig {
            uring,
            ..PortConfig::default()
        };
        Uring::new(socket, Wake::new()?.fd()?, &config)
    }

    #[test]
    fn what_is_asked_for_is_what_is_made() {
        if let Err(error) = port(Settings::DEFAULT) {
            println!("skipped: {error}");
            return;
        }
        let polled = port(Settings {
            sqpoll_ms: 1,
            sqpoll_cpu: Some(0),
            ..Settings::DEFAULT
        });
        assert_eq!(polled.unwrap().mode(), Mode::Polled);
    }

    #[test]
    fn a_refusal_names_the_key() {
        let refused = port(Settings {
            sqpoll_ms: 1,
            sqpoll_cpu: Some(100_000),
            ..Settings::DEFAULT
        });
        let text = refused.err().unwrap().to_string();
        assert!(text.contains("sqpoll_cpu"), "{text}");
        // A request that the kernel does not know is not one that wants an address.
        let mut ring = IoUring::new(4).unwrap();
        let nowhere = libc::iovec {
            iov_base: null_mut(),
            iov_len: 0,
        };
        let zero_copy = Settings {
            zero_copy: true,
            ..Settings::DEFAULT
        };
        assert!(zero_copy.try_send(&mut ring, nowhere).is_err());
    }
}
