//! Owns socket addresses as the kernel lays them out. Hot.

use wire::peer::{Ip, Peer};

/// Bytes of `sockaddr_in6`, the longer of the two.
pub(crate) const NAME_BYTES: usize = 28;
/// The same as the kernel counts it.
pub(crate) const NAME_LENGTH: libc::socklen_t = 28;
/// Bytes of `sockaddr_in`.
const NAME_V4_BYTES: usize = 16;
#[allow(clippy::cast_possible_truncation, reason = "2 and 10")]
const V4: u16 = libc::AF_INET as u16;
#[allow(clippy::cast_possible_truncation, reason = "2 and 10")]
const V6: u16 = libc::AF_INET6 as u16;

/// Which family a socket has. A version 6 socket speaks version 4 by mapped addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

/// A socket address in the kernel's layout.
#[derive(Clone, Copy, Default)]
#[repr(C, align(8))]
pub(crate) struct Name(pub [u8; NAME_BYTES]);

impl Name {
    /// Writes `peer` as the address family of the socket wants it; returns the length in bytes.
    pub(crate) fn set(&mut self, family: Family, peer: Peer) -> u32 {
        let port = peer.port.to_be_bytes();
        self.0[2..4].copy_from_slice(&port);
        match family {
            Family::V4 => {
                let [.., a, b, c, d] = peer.ip.0;
                self.0[..2].copy_from_slice(&V4.to_ne_bytes());
                self.0[4..8].copy_from_slice(&[a, b, c, d]);
                self.0[8..16].fill(0);
                16
            }
            Family::V6 => {
                self.0[..2].copy_from_slice(&V6.to_ne_bytes());
                self.0[4..8].fill(0);
                self.0[8..24].copy_from_slice(&peer.ip.0);
                self.0[24..28].fill(0);
                28
            }
        }
    }
}

/// The peer in a socket address of the kernel; `None` for families other than IP.
pub(crate) fn parse(name: &[u8]) -> Option<Peer> {
    let (family, rest) = name.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    match u16::from_ne_bytes(*family) {
        V4 if name.len() >= NAME_V4_BYTES => Some(Peer {
            ip: mapped(*rest.first_chunk()?),
            port,
        }),
        V6 => Some(Peer {
            ip: Ip(*rest.get(4..)?.first_chunk()?),
            port,
        }),
        _ => None,
    }
}

/// A version 4 address in the form that [`Ip`] keeps.
pub(crate) fn mapped([a, b, c, d]: [u8; 4]) -> Ip {
    Ip([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn names_agree_with_socket2() {
        for text in ["127.0.0.2:9", "[2001:db8::1]:65535", "[::1]:1"] {
            let addr: SocketAddr = text.parse().unwrap();
            let family = if addr.is_ipv4() {
                Family::V4
            } else {
                Family::V6
            };
            let mut name = Name::default();
            let len = name.set(family, addr.into()) as usize;
            let theirs = socket2::SockAddr::from(addr);
            assert_eq!(len, theirs.len() as usize);
            assert_eq!(parse(&name.0[..len]), Some(addr.into()));
        }
    }

    #[test]
    fn short_or_foreign_names_give_nothing() {
        let mut name = Name::default();
        assert_eq!(parse(&name.0), None);
        let len = name.set(Family::V6, Peer::default()) as usize;
        for cut in 0..24.min(len) {
            assert_eq!(parse(&name.0[..cut]), None, "{cut}");
        }
    }
}
