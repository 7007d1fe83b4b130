//! Owns the making of UDP sockets: one for each core, all on one port.

use crate::addr::Family;
use crate::error::Error;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How sockets are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// Bytes of the receive buffer asked for: 4 MiB hold the checks and reports of a thousand
    /// viewers who all speak while the core is away for a few milliseconds.
    pub receive_bytes: usize,
    /// Bytes of the send buffer asked for. It bounds what lies in the queues of the device.
    pub send_bytes: usize,
    /// Microseconds for `SO_BUSY_POLL`: with more than 0, a read that finds nothing looks into the
    /// queue of the card itself, without its interrupt. More than `net.core.busy_read` takes
    /// `CAP_NET_ADMIN`; what was granted is in [`Socket::busy_poll_us`].
    pub busy_poll_us: u16,
}

impl Default for SocketConfig {
    fn default() -> Self {
        Self {
            receive_bytes: 4 << 20,
            send_bytes: 4 << 20,
            busy_poll_us: 0,
        }
    }
}

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct Socket {
    inner: socket2::Socket,
    family: Family,
    local: SocketAddr,
    busy_poll_us: u16,
}

impl Socket {
    /// Binds one socket. `[::]` speaks both families where the host has IPv6, and falls back to
    /// `0.0.0.0` where it has not.
    ///
    /// # Errors
    /// The address is in use or not ours, or an option that the port relies on is refused.
    pub fn bind(addr: SocketAddr, config: &SocketConfig) -> Result<Self, Error> {
        match bind(addr, config) {
            Err(error) if addr.is_ipv6() && addr.ip().is_unspecified() && no_ipv6(&error) => {
                bind((Ipv4Addr::UNSPECIFIED, addr.port()).into(), config)
            }
            other => other,
        }
    }

    /// Binds `cores` sockets to one port, in the order of the cores. All are bound before the
    /// first is used: the kernel spreads peers over the sockets by a hash of how many there are.
    ///
    /// # Errors
    /// As [`Socket::bind`].
    pub fn bind_all(
        mut addr: SocketAddr,
        cores: usize,
        config: &SocketConfig,
    ) -> Result<Vec<Self>, Error> {
        let mut sockets = Vec::with_capacity(cores);
        for _ in 0..cores {
            let socket = Self::bind(addr, config)?;
            addr = socket.local;
            sockets.push(socket);
        }
        Ok(sockets)
    }

    /// Takes a socket that another process has bound by [`Socket::bind`].
    ///
    /// # Errors
    /// It is no bound UDP socket.
    pub fn adopt(fd: OwnedFd) -> Result<Self, Error> {
        let inner = socket2::Socket::from(fd);
        let local = bound(&inner)?;
        let family = if local.is_ipv6() {
            Family::V6
        } else {
            Family::V4
        };
        Ok(Self {
            inner,
            family,
            local,
            busy_poll_us: 0,
        })
    }

    /// The address it is bound to.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Its family; a version 6 socket speaks both.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Bytes of the receive and send buffers that the kernel granted, as it counts them: twice
    /// what may be asked for without privilege is `net.core.rmem_max` and `wmem_max`.
    #[must_use]
    pub fn buffers(&self) -> (usize, usize) {
        (
            self.inner.recv_buffer_size().unwrap_or(0),
            self.inner.send_buffer_size().unwrap_or(0),
        )
    }

    /// What the kernel granted of [`SocketConfig::busy_poll_us`]; 0 of one that was adopted.
    #[must_use]
    pub fn busy_poll_us(&self) -> u16 {
        self.busy_poll_us
    }

    /// True if the kernel knows `UDP_SEGMENT`.
    #[must_use]
    pub fn segments(&self) -> bool {
        getsockopt(&self.inner, sockopt::UdpGsoSegment).is_ok()
    }

    /// `io_uring` fails a request at once, instead of waiting, on a socket that is non-blocking.
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> Result<(), Error> {
        self.inner
            .set_nonblocking(nonblocking)
            .map_err(|e| Error::new("set O_NONBLOCK", e, KERNEL))
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.inner.into()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

const KERNEL: &str = "a Linux kernel of 5.10 or newer is needed";

fn bind(addr: SocketAddr, config: &SocketConfig) -> Result<Socket, Error> {
    let what = |step: &str| format!("UDP {addr}: {step}");
    let set =
        |step: &str, done: io::Result<()>| done.map_err(|e| Error::new(what(step), e, KERNEL));
    let inner = socket2::Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))
        .map_err(|e| Error::new(what("socket"), e, "raise the limit on open files"))?;
    set("SO_REUSEPORT", inner.set_reuse_port(true))?;
    set("O_NONBLOCK", inner.set_nonblocking(true))?;
    let family = if addr.is_ipv6() {
        set(
            "IPV6_V6ONLY",
            inner.set_only_v6(!addr.ip().is_unspecified()),
        )?;
        let packet_info = setsockopt(&inner, sockopt::Ipv6RecvPacketInfo, &true);
        set("IPV6_RECVPKTINFO", packet_info.map_err(Into::into))?;
        set("IPV6_MTU_DISCOVER", probe(&inner, Family::V6))?;
        Family::V6
    } else {
        let packet_info = setsockopt(&inner, sockopt::Ipv4PacketInfo, &true);
        set("IP_PKTINFO", packet_info.map_err(Into::into))?;
        Family::V4
    };
    // A version 6 socket needs it too, for what it sends to version 4.
    set("IP_MTU_DISCOVER", probe(&inner, Family::V4))?;
    // Without it packets are as well forwarded; how long that took is not known then.
    let _ = setsockopt(&inner, sockopt::ReceiveTimestampns, &true);
    let is_granted = set_int(
        &inner,
        (libc::SOL_SOCKET, libc::SO_BUSY_POLL),
        config.busy_poll_us.into(),
    )
    .is_ok();
    let busy_poll_us = if is_granted { config.busy_poll_us } else { 0 };
    grow(&inner, config);
    inner
        .bind(&SockAddr::from(addr))
        .map_err(|e| Error::new(what("bind"), e, BIND))?;
    let local = bound(&inner)?;
    Ok(Socket {
        inner,
        family,
        local,
        busy_poll_us,
    })
}

/// The address that a socket is bound to.
fn bound(socket: &socket2::Socket) -> Result<SocketAddr, Error> {
    let name = socket.local_addr().ok().and_then(|name| name.as_socket());
    name.ok_or_else(|| {
        let nameless = io::Error::from(io::ErrorKind::InvalidData);
        Error::new("UDP: getsockname", nameless, KERNEL)
    })
}

const BIND: &str = "choose an address of this host and a port that no other program has; \
                    a program of another user cannot share it";

fn no_ipv6(error: &Error) -> bool {
    let code = error.cause().raw_os_error();
    matches!(
        code,
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

/// Sets "don't fragment" and ignores what routers say of the path: our datagrams are small, and
/// the kernel saves the choice of an identification, which is 9 % of a send.
fn probe(socket: &socket2::Socket, family: Family) -> io::Result<()> {
    let (option, value) = match family {
        Family::V4 => (
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
            libc::IP_PMTUDISC_PROBE,
        ),
        Family::V6 => (
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
            libc::IPV6_PMTUDISC_PROBE,
        ),
    };
    set_int(socket, option, value)
}

/// Sets an option, by level and name, whose value is an int.
#[allow(unsafe_code)]
fn set_int(
    socket: &socket2::Socket,
    (level, name): (libc::c_int, libc::c_int),
    value: libc::c_int,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the option is an int, and the pointer and length are those of an int that lives
    // through the call.
    // JUSTIFICATION: neither socket2 nor nix knows these options.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            4,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Asks for large buffers, past the system's maximum if we may. What was granted is in
/// [`Socket::buffers`].
fn grow(socket: &socket2::Socket, config: &SocketConfig) {
    if setsockopt(socket, sockopt::RcvBufForce, &config.receive_bytes).is_err() {
        let _ = socket.set_recv_buffer_size(config.receive_bytes);
    }
    if setsockopt(socket, sockopt::SndBufForce, &config.send_bytes).is_err() {
        let _ = socket.set_send_buffer_size(config.send_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_share_one_port() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let all = Socket::bind_all(any, 3, &SocketConfig::default()).unwrap();
        assert_ne!(all[0].local().port(), 0);
        assert!(all.iter().all(|s| s.local() == all[0].local()));
        assert!(all[0].buffers().0 > 0 && all[0].buffers().1 > 0);
    }

    #[test]
    fn busy_polling_is_asked_for_and_what_is_granted_is_told() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let off = Socket::bind(any, &SocketConfig::default()).unwrap();
        assert_eq!(off.busy_poll_us(), 0);
        let config = SocketConfig {
            busy_poll_us: 50,
            ..SocketConfig::default()
        };
        let on = Socket::bind(any, &config).unwrap();
        let may = set_int(&on.inner, (libc::SOL_SOCKET, libc::SO_BUSY_POLL), 51);
        assert_eq!(on.busy_poll_us(), if may.is_ok() { 50 } else { 0 });
    }

    #[test]
    fn a_foreign_address_is_refused_with_a_remedy() {
        let error = Socket::bind("192.0.2.1:9".parse().unwrap(), &SocketConfig::default());
        let text = error.unwrap_err().to_string();
        assert!(text.contains("192.0.2.1:9: bind"), "{text}");
        assert!(text.contains("choose an address"), "{text}");
    }
}
