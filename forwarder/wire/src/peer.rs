//! Owns the compact address of a peer: 16 bytes of IPv6 (IPv4 mapped) and a port.

use core::fmt;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An IP address as 16 bytes; IPv4 is stored mapped (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
/// All zero means "not known" and lets the kernel choose a source address.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(transparent)]
pub struct Ip(pub [u8; 16]);

/// Where a datagram came from or goes to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(C)]
pub struct Peer {
    /// The peer's address.
    pub ip: Ip,
    /// The peer's UDP port, host byte order.
    pub port: u16,
}

impl Ip {
    /// The address that is not known.
    pub const UNKNOWN: Self = Self([0; 16]);

    /// True for [`Ip::UNKNOWN`].
    #[must_use]
    pub fn is_unknown(self) -> bool {
        self == Self::UNKNOWN
    }

    /// True if this is a mapped IPv4 address.
    #[must_use]
    pub fn is_v4(self) -> bool {
        self.0[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
    }

    /// The four bytes of a mapped IPv4 address.
    #[must_use]
    pub fn v4_octets(self) -> Option<[u8; 4]> {
        let [.., a, b, c, d] = self.0;
        self.is_v4().then_some([a, b, c, d])
    }
}

impl From<IpAddr> for Ip {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Ip> for IpAddr {
    fn from(ip: Ip) -> Self {
        Self::V6(Ipv6Addr::from(ip.0)).to_canonical()
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Self {
            ip: addr.ip().into(),
            port: addr.port(),
        }
    }
}

impl From<Peer> for SocketAddr {
    fn from(peer: Peer) -> Self {
        Self::new(peer.ip.into(), peer.port)
    }
}

impl fmt::Debug for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in [
            "127.0.0.1:5",
            "[::1]:80",
            "[2001:db8::7]:65535",
            "0.0.0.0:0",
        ] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Peer::from(addr)), addr);
            assert_eq!(Peer::from(addr).ip.is_v4(), addr.is_ipv4());
        }
    }
}
