//! Owns receiving by `recvmmsg` into frames that are lent to the sink. Hot.

use crate::addr::{self, Name};
use crate::cmsg::{self, RX_CONTROL_BYTES};
use crate::message::{EMPTY, NOTHING};
use crate::port::{FlushReport, PortConfig};
use crate::socket::Socket;
use crate::stamp::{Clocks, Stamps};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use wire::datagram::{DATAGRAM_MAX, RxMeta, RxSink};

/// Datagrams of one call. A core that keeps up sees far fewer; 64 cost no less each.
const BATCH: u16 = 32;

/// Bytes of a frame: the longest datagram that we take, and one more byte to tell longer ones.
const FRAME_BYTES: usize = 1536;
const _: () = assert!(FRAME_BYTES > DATAGRAM_MAX);

/// Where one datagram lands.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Frame {
    bytes: [u8; FRAME_BYTES],
    control: [u8; RX_CONTROL_BYTES],
    name: Name,
}

/// The receive lane of [`super::Mmsg`].
pub(crate) struct Rx {
    frames: Box<[Frame]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    stamps: Stamps,
    turn_max: usize,
}

impl Rx {
    pub(crate) fn new(config: &PortConfig) -> Self {
        let places = usize::from(BATCH.min(config.rx_buffers));
        let frame = Frame {
            bytes: [0; FRAME_BYTES],
            control: [0; RX_CONTROL_BYTES],
            name: Name::default(),
        };
        let mut rx = Self {
            frames: vec![frame; places].into_boxed_slice(),
            vectors: vec![NOTHING; places].into_boxed_slice(),
            headers: vec![EMPTY; places].into_boxed_slice(),
            stamps: Stamps::default(),
            turn_max: usize::from(config.rx_turn_max),
        };
        for place in 0..places {
            rx.reset(place);
        }
        rx
    }

    /// Gives what has arrived to `sink`; returns how many datagrams.
    pub(crate) fn recv(
        &mut self,
        socket: &Socket,
        sink: &mut impl RxSink,
        report: &mut FlushReport,
    ) -> usize {
        let mut given = 0;
        while given < self.turn_max {
            let places = self.headers.len().min(self.turn_max - given);
            let arrived = match recvmmsg(socket, &mut self.headers[..places]) {
                Ok(arrived) => arrived,
                Err(libc::EINTR) => continue,
                Err(libc::EAGAIN) => break,
                Err(_) => {
                    // An error that was waiting in the socket, for a datagram sent earlier. It is
                    // taken by this call; what has arrived is read next turn.
                    report.errors += 1;
                    break;
                }
            };
            self.stamps.look(Clocks::read);
            for place in 0..arrived {
                given += usize::from(self.give(place, sink, report));
                self.reset(place);
            }
            if arrived < places {
                break;
            }
        }
        given
    }

    /// Lends the datagram at `place`; false if it was dropped.
    fn give(&mut self, place: usize, sink: &mut impl RxSink, report: &mut FlushReport) -> bool {
        let header = &self.headers[place];
        let frame = &mut self.frames[place];
        let bytes = header.msg_len as usize;
        let name_bytes = (header.msg_hdr.msg_namelen as usize).min(frame.name.0.len());
        let control_bytes = header.msg_hdr.msg_controllen.min(RX_CONTROL_BYTES);
        let peer = addr::parse(&frame.name.0[..name_bytes]);
        let (Some(peer), true) = (peer, bytes <= DATAGRAM_MAX) else {
            report.received_unusable += 1;
            return false;
        };
        let came = cmsg::came(&frame.control[..control_bytes]);
        let local = came.local;
        sink.came(self.stamps.time(came.stamp_ns));
        sink.datagram(RxMeta { peer, local }, &mut frame.bytes[..bytes]);
        true
    }

    /// Readies `place` for the next datagram.
    fn reset(&mut self, place: usize) {
        let frame = &mut self.frames[place];
        self.vectors[place] = libc::iovec {
            iov_base: frame.bytes.as_mut_ptr().cast(),
            iov_len: FRAME_BYTES,
        };
        self.headers[place].msg_hdr = libc::msghdr {
            msg_name: frame.name.0.as_mut_ptr().cast(),
            msg_namelen: addr::NAME_LENGTH,
            msg_iov: &raw mut self.vectors[place],
            msg_iovlen: 1,
            msg_control: frame.control.as_mut_ptr().cast(),
            msg_controllen: RX_CONTROL_BYTES,
            msg_flags: 0,
        };
    }
}

/// Returns how many datagrams came, or the `errno`.
fn recvmmsg(socket: &Socket, headers: &mut [libc::mmsghdr]) -> Result<usize, i32> {
    let places = libc::c_uint::try_from(headers.len()).unwrap_or(libc::c_uint::MAX);
    // SAFETY: `headers` are `places` headers written by `Rx::reset`; name, control block and
    // vector of each point into boxed memory of the same `Rx`, with its true lengths, and nobody
    // else reads or writes that memory during the call.
    // JUSTIFICATION: nix's `recvmmsg` parses into iterators that borrow the whole set; lending
    // one frame at a time as `&mut` is not possible with it.
    let answer = unsafe {
        libc::recvmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            places,
            libc::MSG_DONTWAIT,
            core::ptr::null_mut(),
        )
    };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
