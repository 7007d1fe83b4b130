//! Owns which addresses browsers are told to send to.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Interfaces that lead to containers and virtual machines of this host. Offering them slows ICE
/// down, since browsers elsewhere try them in vain.
const INNER_INTERFACES: [&str; 7] = ["docker", "veth", "br-", "virbr", "cni", "flannel", "cali"];

/// Most candidates in an answer: browsers check each against each of theirs.
pub const CANDIDATES_MAX: usize = 8;

/// The addresses that browsers are told: those of `wanted`; or else the address listened at; or
/// else, when that is every address, those of the host's interfaces. Loopback is told last, and
/// only where listening includes it, for browsers on this host.
///
/// # Errors
/// The interfaces cannot be listed.
pub fn advertised(wanted: &[String], listen: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    if !wanted.is_empty() {
        return Ok(wanted
            .iter()
            .filter_map(|text| parse(text, listen.port()))
            .collect());
    }
    if !listen.ip().is_unspecified() {
        return Ok(vec![listen]);
    }
    let mut found = Vec::new();
    for interface in getifaddrs()? {
        let inner = INNER_INTERFACES
            .iter()
            .any(|p| interface.interface_name.starts_with(p));
        let up = interface.flags.contains(InterfaceFlags::IFF_UP);
        if let (true, false, Some(address)) = (up, inner, interface.address) {
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            let v6 = address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
            found.extend(v4.or(v6));
        }
    }
    found.retain(|ip| usable(*ip) && (ip.is_ipv4() || listen.is_ipv6()));
    // Stable: the order of the interfaces is kept within each class.
    found.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    found.dedup();
    found.truncate(CANDIDATES_MAX);
    Ok(found
        .into_iter()
        .map(|ip| SocketAddr::new(ip, listen.port()))
        .collect())
}

/// `IP`, `IP:PORT` or `[IPv6]:PORT` that somebody can send to.
pub(super) fn parse(text: &str, port: u16) -> Option<SocketAddr> {
    let ip = text
        .parse::<IpAddr>()
        .ok()
        .map(|ip| SocketAddr::new(ip, port));
    let address = ip.or_else(|| text.parse().ok())?;
    let good = !address.ip().is_unspecified() && !address.ip().is_multicast();
    (good && address.port() != 0).then_some(address)
}

/// Link-local IPv6 needs a zone that a candidate cannot carry.
fn usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_unspecified() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wished_is_told() {
        let listen = "[::]:8000".parse().unwrap();
        let wanted = ["203.0.113.5".to_string(), "[2001:db8::1]:9".to_string()];
        let told = advertised(&wanted, listen).unwrap();
        assert_eq!(
            told,
            [
                "203.0.113.5:8000".parse().unwrap(),
                "[2001:db8::1]:9".parse().unwrap()
            ]
        );
    }

    #[test]
    fn a_single_address_is_told_as_it_is() {
        let listen = "192.0.2.1:8000".parse().unwrap();
        assert_eq!(advertised(&[], listen).unwrap(), [listen]);
    }

    #[test]
    fn every_address_becomes_those_of_the_host() {
        let told = advertised(&[], "0.0.0.0:8000".parse().unwrap()).unwrap();
        assert!(
            told.contains(&"127.0.0.1:8000".parse().unwrap()),
            "{told:?}"
        );
        assert!(
            told.iter().all(|a| a.is_ipv4() && a.port() == 8000),
            "{told:?}"
        );
    }

    #[test]
    fn names_and_wildcards_are_no_candidates() {
        for text in ["example.org", "0.0.0.0", "::", "1.2.3.4:0", "224.0.0.1", ""] {
            assert_eq!(parse(text, 1), None, "{text:?}");
        }
    }
}
