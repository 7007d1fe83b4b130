//! Owns the sockets over which the kernel is asked for routes, and tells of changes.

use super::message::{self, Link, Message, Neighbour, Route};
use crate::error::Error;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use wire::peer::Ip;

/// What the kernel says at once is at most 32 KiB.
const ANSWER_BYTES: usize = 64 << 10;

/// It answers at once, unless it is out of memory.
const PATIENCE_S: i64 = 1;

/// Bytes of news that may wait: what is lost is noticed, and everything asked for anew.
const NEWS_BYTES: usize = 1 << 20;

/// Where no other limit is known.
const HOP_LIMIT: u8 = 64;

const REMEDY: &str = "a system-call filter may forbid netlink: allow it, or choose to transmit by \
                      the socket";

/// What the kernel knows about ways; a trait, so that it can be played.
pub(crate) trait Kernel {
    /// All devices, with the hop limits of version 4 and 6.
    fn links(&mut self) -> io::Result<Vec<(Link, [u8; 2])>>;
    /// All addresses of ours.
    fn addresses(&mut self) -> io::Result<Vec<Ip>>;
    /// The route to `ip`.
    fn route(&mut self, ip: Ip, source: Option<Ip>) -> io::Result<Option<Route>>;
    /// A neighbour.
    fn neighbour(&mut self, device: u32, ip: Ip) -> io::Result<Option<Neighbour>>;
    /// A neighbour is in use.
    fn use_neighbour(&mut self, device: u32, ip: Ip);
}

/// The true one.
pub(crate) struct Netlink {
    socket: OwnedFd,
    number: u32,
    /// Our UDP port: rules may look at it.
    port: u16,
    answer: Vec<u8>,
}

impl Netlink {
    pub(crate) fn new(port: u16) -> Result<Self, Error> {
        let socket = open(SockFlag::empty(), 0)?;
        let patience = TimeVal::seconds(PATIENCE_S);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience)
            .map_err(|e| Error::new("netlink: SO_RCVTIMEO", e, REMEDY))?;
        Ok(Self {
            socket,
            number: 0,
            port,
            answer: vec![0; ANSWER_BYTES],
        })
    }

    /// Asks, and gives every message of the answer to `take`. False: the kernel refuses.
    fn ask(&mut self, mut request: Vec<u8>, mut take: impl FnMut(Message)) -> io::Result<bool> {
        self.number = self.number.wrapping_add(1);
        message::number(&mut request, self.number);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut end = None;
        while end.is_none() {
            let bytes = recv(self.socket.as_raw_fd(), &mut self.answer, MsgFlags::empty())?;
            message::each(&self.answer[..bytes], |number, message| {
                if number == self.number {
                    match message {
                        Message::Done => end = Some(true),
                        Message::Refused(_) => end = Some(false),
                        other => take(other),
                    }
                }
            });
        }
        Ok(end == Some(true))
    }
}

impl Kernel for Netlink {
    fn links(&mut self) -> io::Result<Vec<(Link, [u8; 2])>> {
        let mut links = Vec::new();
        self.ask(message::ask_links(), |message| {
            if let Message::Link(link) = message {
                links.push(link);
            }
        })?;
        let v4 = hop_limit("ipv4/ip_default_ttl");
        let with_limits = |link: Link| {
            let v6 = hop_limit(&format!("ipv6/conf/{}/hop_limit", link.name));
            (link, [v4, v6])
        };
        Ok(links.into_iter().map(with_limits).collect())
    }

    fn addresses(&mut self) -> io::Result<Vec<Ip>> {
        let mut addresses = Vec::new();
        self.ask(message::ask_addresses(), |message| {
            if let Message::Address(ip) = message {
                addresses.push(ip);
            }
        })?;
        Ok(addresses)
    }

    fn route(&mut self, ip: Ip, source: Option<Ip>) -> io::Result<Option<Route>> {
        let mut found = None;
        let request = message::ask_route(ip, source, self.port);
        self.ask(request, |message| {
            if let Message::Route(route) = message {
                found = Some(route);
            }
        })?;
        Ok(found)
    }

    fn neighbour(&mut self, device: u32, ip: Ip) -> io::Result<Option<Neighbour>> {
        let mut found = None;
        self.ask(message::ask_neighbour(device, ip), |message| {
            if let Message::Neighbour(neighbour) = message {
                found = Some(neighbour);
            }
        })?;
        Ok(found)
    }

    fn use_neighbour(&mut self, device: u32, ip: Ip) {
        // Refused without CAP_NET_ADMIN, and then it stays as it is: viewers of a neighbour that
        // the kernel lets go leave by the socket for a moment, which asks for it again.
        let _ = self.ask(message::use_neighbour(device, ip), drop);
    }
}

/// What the kernel tells of itself.
pub(crate) struct News {
    socket: OwnedFd,
    bytes: Vec<u8>,
}

impl News {
    pub(crate) fn new() -> Result<Self, Error> {
        const GROUPS: u32 = group(1) // links
            | group(3) // neighbours
            | group(5) // addresses of version 4
            | group(7) // routes
            | group(8) // rules
            | group(9) // addresses of version 6
            | group(11) // routes
            | group(19); // rules
        let socket = open(SockFlag::SOCK_NONBLOCK, GROUPS)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &NEWS_BYTES).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &NEWS_BYTES);
        }
        Ok(Self {
            socket,
            bytes: vec![0; ANSWER_BYTES],
        })
    }

    /// Gives all news to `take`; [`Message::Changed`] stands for what was lost.
    pub(crate) fn read(&mut self, mut take: impl FnMut(Message)) {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.bytes, MsgFlags::empty()) {
                Ok(bytes) => message::each(&self.bytes[..bytes], |_, message| take(message)),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => {
                    take(Message::Changed);
                    return;
                }
            }
        }
    }
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A multicast group as a bit of the address.
const fn group(number: u32) -> u32 {
    1 << (number - 1)
}

fn open(flags: SockFlag, groups: u32) -> Result<OwnedFd, Error> {
    let made = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    );
    let socket = made.map_err(|e| Error::new("netlink socket", e, REMEDY))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))
        .map_err(|e| Error::new("bind a netlink socket", e, REMEDY))?;
    Ok(socket)
}

/// A hop limit of the system's settings, those of the namespace of the calling thread.
fn hop_limit(setting: &str) -> u8 {
    let text = std::fs::read_to_string(format!("/proc/sys/net/{setting}")).unwrap_or_default();
    text.trim().parse().unwrap_or(HOP_LIMIT)
}
