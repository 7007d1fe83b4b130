//! Owns an address to listen at, which may be "every address of this host".

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// Exactly there.
    At(SocketAddr),
    /// At this port of every address: IPv6 and IPv4 where IPv6 exists, else IPv4 alone.
    Everywhere(u16),
}

impl Listen {
    /// The address to bind. The dual-stack `[::]` where the kernel has IPv6.
    #[must_use]
    pub fn resolve(self) -> SocketAddr {
        match self {
            Self::At(address) => address,
            Self::Everywhere(port) if has_ipv6() => (Ipv6Addr::UNSPECIFIED, port).into(),
            Self::Everywhere(port) => (Ipv4Addr::UNSPECIFIED, port).into(),
        }
    }
}

/// Asks the kernel, by the cheapest thing that fails without IPv6 (module missing, or switched off
/// by `net.ipv6.conf.all.disable_ipv6`).
fn has_ipv6() -> bool {
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let everywhere = text.strip_prefix("*:").and_then(|port| port.parse().ok());
        match (text.parse(), everywhere) {
            (Ok(address), _) => Ok(Self::At(address)),
            (_, Some(port)) => Ok(Self::Everywhere(port)),
            _ => Err(format!(
                "{text:?} is not an address: write IP:PORT, [IPv6]:PORT or *:PORT"
            )),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Everywhere(port) => write!(f, "*:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in ["127.0.0.1:80", "[::1]:80", "*:8000", "0.0.0.0:0"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "8000",
            "*",
            "*:",
            "*:70000",
            "localhost:80",
            "::1:80",
            ":80",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn everywhere_keeps_the_port() {
        let address = Listen::Everywhere(7).resolve();
        assert_eq!((address.port(), address.ip().is_unspecified()), (7, true));
    }
}
