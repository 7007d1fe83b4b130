//! Owns `sendmmsg` alone.
#![allow(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd};

use io::{Socket, SocketConfig};

use super::BATCH;
use super::messages::Messages;
use lab::sink::Sink;

/// A socket with the server's options, and messages for it.
pub struct Mmsg {
    socket: Socket,
    messages: Messages,
    first: SocketAddrV4,
    viewers: u32,
    /// Messages that were not taken.
    pub errors: u64,
}

impl Mmsg {
    /// For so many viewers behind `sink`.
    ///
    /// # Panics
    /// There is no socket.
    #[must_use]
    pub fn new(viewers: u32, sink: &Sink) -> Self {
        Self {
            socket: socket(),
            messages: Messages::new(sink.local),
            first: sink.first,
            viewers,
            errors: 0,
        }
    }

    /// A run of `packets` for everybody.
    pub fn burst(&mut self, packets: u32) {
        self.messages.of(packets);
        let fd = self.socket.as_fd().as_raw_fd();
        for (first, count) in batches(self.first, self.viewers) {
            self.messages.address(first, count);
            let mut taken = 0;
            while taken < count {
                let headers = &mut self.messages.headers[taken..count];
                let places = libc::c_uint::try_from(headers.len()).unwrap_or(0);
                // SAFETY: `places` headers, which point to what lives as long as `messages`; the
                // kernel reads it during the call and writes lengths into the headers.
                let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), places, 0) };
                if let Ok(sent @ 1..) = usize::try_from(sent) {
                    taken += sent;
                } else {
                    self.errors += 1;
                    taken += 1;
                }
            }
        }
    }
}

/// A socket like the server's that waits where the server would come back later.
///
/// # Panics
/// There is none.
pub(super) fn socket() -> Socket {
    let any = (Ipv4Addr::UNSPECIFIED, 0).into();
    Socket::bind(any, &SocketConfig::default()).expect("a socket")
}

/// The viewers in batches: the first address and how many.
pub(super) fn batches(
    first: SocketAddrV4,
    viewers: u32,
) -> impl Iterator<Item = (SocketAddrV4, usize)> {
    (0..viewers).step_by(BATCH).map(move |from| {
        let ip = Ipv4Addr::from_bits(first.ip().to_bits() + from);
        let count = BATCH.min((viewers - from) as usize);
        (SocketAddrV4::new(ip, first.port()), count)
    })
}
