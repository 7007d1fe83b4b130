//! Owns `io_uring` alone: one submitter and a registered socket, with completions when asked for,
//! with a thread of the kernel's that looks for work, or without copying.
#![allow(unsafe_code)]

use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd};

use io::Socket;
use io_uring::{IoUring, cqueue, opcode, types};

use super::BATCH;
use super::messages::Messages;
use super::mmsg::{batches, socket};
use lab::sink::Sink;

/// How the ring is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `DEFER_TASKRUN`: what costs least elsewhere.
    Deferred,
    /// `SQPOLL`: a thread of the kernel's takes what is submitted, without a call. Its time is
    /// this process's too.
    Polled,
    /// `SENDMSG_ZC`: pages are handed to the device as they are, and given back later.
    ZeroCopy,
}

/// Milliseconds after which the kernel's thread sleeps.
const POLL_MS: u32 = 20;

/// A ring, a socket and messages.
pub struct Uring {
    ring: IoUring,
    _socket: Socket,
    messages: Messages,
    first: SocketAddrV4,
    viewers: u32,
    setting: Setting,
    /// Messages that were not taken.
    pub errors: u64,
}

impl Uring {
    /// For so many viewers behind `sink`.
    ///
    /// # Errors
    /// Why the kernel gives no such ring.
    pub fn new(viewers: u32, sink: &Sink, setting: Setting) -> Result<Self, String> {
        let socket = socket();
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_submit_all();
        match setting {
            Setting::Deferred | Setting::ZeroCopy => builder.setup_defer_taskrun(),
            Setting::Polled => builder.setup_sqpoll(POLL_MS),
        };
        let entries = u32::try_from(BATCH).unwrap_or(u32::MAX);
        let ring: IoUring = builder.build(entries).map_err(|error| error.to_string())?;
        let files = [socket.as_fd().as_raw_fd()];
        let registered = ring.submitter().register_files(&files);
        registered.map_err(|error| error.to_string())?;
        Ok(Self {
            ring,
            _socket: socket,
            messages: Messages::new(sink.local),
            first: sink.first,
            viewers,
            setting,
            errors: 0,
        })
    }

    /// A run of `packets` for everybody.
    ///
    /// # Panics
    /// The ring takes nothing any more.
    pub fn burst(&mut self, packets: u32) {
        self.messages.of(packets);
        for (first, count) in batches(self.first, self.viewers) {
            self.messages.address(first, count);
            for header in &self.messages.headers[..count] {
                let (socket, message) = (types::Fixed(0), &raw const header.msg_hdr);
                let entry = match self.setting {
                    Setting::ZeroCopy => opcode::SendMsgZc::new(socket, message).build(),
                    _ => opcode::SendMsg::new(socket, message).build(),
                };
                // SAFETY: the message and what it points to live as long as `messages`, and
                // nothing is written to them before the batch is done with.
                let pushed = unsafe { self.ring.submission().push(&entry) };
                pushed.expect("an entry for each message of a batch");
            }
            // What is not copied is answered twice: taken, and given back.
            let mut out = count;
            while out > 0 {
                let waited = self.ring.submit_and_wait(out);
                waited.expect("the ring goes on");
                for answer in self.ring.completion() {
                    self.errors += u64::from(answer.result() < 0);
                    out -= usize::from(!cqueue::more(answer.flags()));
                }
            }
        }
    }
}
