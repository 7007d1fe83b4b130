//! Owns sockets of viewers, and the buffer into which all of a thread receive.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::slice::ChunksMut;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

use crate::stamp;

/// Room for what a viewer is sent while its thread is busy with others.
const SOCKET_BYTES: usize = 1 << 20;

/// A run that the kernel hands over at once.
const RUN_BYTES: usize = 65536;

/// Sockets of one loopback address: well below the 28,000 ports that the system gives away.
const SOCKETS_OF_ADDRESS: u32 = 16_000;

/// Where datagrams are read.
pub struct Inbox {
    buffer: Box<[u8]>,
    space: Vec<u8>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            buffer: vec![0; RUN_BYTES].into(),
            space: nix::cmsg_space!(i32, libc::timespec),
        }
    }
}

impl Inbox {
    /// What a socket has: datagrams of one run, and when the kernel got them, in nanoseconds since
    /// 1970. `None`: nothing.
    pub fn receive<'a>(&'a mut self, socket: &UdpSocket) -> Option<(ChunksMut<'a, u8>, u64)> {
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let space = Some(&mut self.space[..]);
        let descriptor = socket.as_raw_fd();
        // Whatever the error: the socket has nothing for us now.
        let got = recvmsg::<SockaddrStorage>(descriptor, &mut parts, space, flags).ok()?;
        let bytes = got.bytes;
        let (mut segment, mut arrived) = (bytes.max(1), None);
        for message in got.cmsgs().into_iter().flatten() {
            match message {
                ControlMessageOwned::UdpGroSegments(size) => {
                    segment = usize::try_from(size).unwrap_or(segment).max(1);
                }
                ControlMessageOwned::ScmTimestampns(at) => arrived = stamp::of(at),
                _ => {}
            }
        }
        let arrived = arrived.unwrap_or_else(stamp::now);
        Some((self.buffer[..bytes].chunks_mut(segment), arrived))
    }
}

/// A socket to this server; `number` spreads them over loopback addresses.
pub fn bind(server: SocketAddr, number: u32) -> io::Result<UdpSocket> {
    let local = match server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => {
            let block = Ipv4Addr::LOCALHOST.to_bits() + number / SOCKETS_OF_ADDRESS;
            IpAddr::V4(Ipv4Addr::from_bits(block))
        }
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((local, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Lets it hold more, and an [`Inbox`] take whole runs of it with their time.
pub fn tune(socket: &UdpSocket) {
    // Without privilege, or before Linux 5.0, it works with less.
    let _ = setsockopt(socket, sockopt::RcvBuf, &SOCKET_BYTES);
    let _ = setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BYTES);
    let _ = setsockopt(socket, sockopt::UdpGroSegment, &true);
    let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &true);
}
