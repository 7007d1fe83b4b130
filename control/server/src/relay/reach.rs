//! Owns where a server may send a relay to: no closer to this host than the operator did.
//!
//! Requests of a relay come from within: whoever could choose where they go would ask services of
//! this host and its network that believe everybody who can reach them.

use super::failure::{Failure, Reason};
use super::url::host_and_port;
use hyper::Uri;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpStream, lookup_host};

/// How far from this host an address is, the closest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// This host, or no host at all.
    Host,
    /// The same link, where clouds have their metadata services.
    Link,
    /// The same site: addresses that are private.
    Site,
    /// Anywhere.
    World,
}

impl Reach {
    /// Where an address is.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) if ip.octets()[0] == 0 || ip.is_loopback() => Self::Host,
            IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => Self::Host,
            IpAddr::V4(ip) if ip.is_link_local() => Self::Link,
            IpAddr::V4(ip) if ip.is_private() || is_shared(ip.octets()) => Self::Site,
            IpAddr::V4(_) => Self::World,
            IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() => Self::Host,
            IpAddr::V6(ip) if ip.is_multicast() => Self::Host,
            IpAddr::V6(ip) if ip.is_unicast_link_local() || ip == METADATA_V6 => Self::Link,
            IpAddr::V6(ip) if ip.is_unique_local() => Self::Site,
            IpAddr::V6(_) => Self::World,
        }
    }

    /// Where the closest address of a server is.
    ///
    /// # Errors
    /// Its name has none, or names cannot be looked up.
    pub async fn of_server(url: &Uri) -> Result<Self, Failure> {
        let all = addresses(url).await?;
        let closest = all.iter().map(|address| Self::of(address.ip())).min();
        closest.ok_or_else(|| Failure::new(Reason::Unreachable, format!("{url}: no address")))
    }
}

/// That of Amazon, which is unique local in form.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// RFC 6598: between a provider and its customers, and where another cloud has its metadata.
fn is_shared(octets: [u8; 4]) -> bool {
    octets[0] == 100 && octets[1] & 0xc0 == 64
}

/// Connects to a server, by an address that is no closer than this. The address that was judged is
/// the one that is used, whatever the name means a moment later.
///
/// # Errors
/// All of its addresses are closer, or as the system says.
pub async fn connect(url: &Uri, closest: Reach) -> Result<TcpStream, Failure> {
    let mut all = addresses(url).await?;
    all.retain(|address| Reach::of(address.ip()) >= closest);
    if all.is_empty() {
        let host = url.host().unwrap_or_default();
        let detail = format!("it leads to {host}, closer to this host than its own URL");
        return Err(Failure::new(Reason::BadAnswer, detail));
    }
    let stream = TcpStream::connect(&all[..]).await;
    stream.map_err(|error| unreachable(url, &error))
}

async fn addresses(url: &Uri) -> Result<Vec<SocketAddr>, Failure> {
    match lookup_host(host_and_port(url)).await {
        Ok(all) => Ok(all.collect()),
        Err(error) => Err(unreachable(url, &error)),
    }
}

fn unreachable(url: &Uri, error: &io::Error) -> Failure {
    let (host, port) = host_and_port(url);
    Failure::new(Reason::Unreachable, format!("{host} port {port}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_by_how_close_they_are() {
        for (reach, ips) in [
            (
                Reach::Host,
                &[
                    "127.0.0.1",
                    "127.9.9.9",
                    "0.0.0.0",
                    "0.1.2.3",
                    "::1",
                    "::",
                    "224.0.0.1",
                ][..],
            ),
            (
                Reach::Host,
                &["::ffff:127.0.0.1", "255.255.255.255", "ff02::1"],
            ),
            (
                Reach::Link,
                &[
                    "169.254.169.254",
                    "fe80::1",
                    "fd00:ec2::254",
                    "::ffff:169.254.0.1",
                ],
            ),
            (
                Reach::Site,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "192.168.1.1",
                    "100.100.100.200",
                    "fd12::1",
                ],
            ),
            (
                Reach::World,
                &["192.0.2.1", "100.128.0.1", "172.32.0.1", "2001:db8::1"],
            ),
        ] {
            for ip in ips {
                assert_eq!(Reach::of(ip.parse().unwrap()), reach, "{ip}");
            }
        }
        assert!(Reach::Host < Reach::Link && Reach::Link < Reach::Site);
        assert!(Reach::Site < Reach::World);
    }

    #[tokio::test]
    async fn nothing_closer_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for (host, closest, is_asked) in [
            ("127.0.0.1", Reach::Host, true),
            ("127.0.0.1", Reach::Link, false),
            ("localhost", Reach::World, false),
        ] {
            let url = format!("http://{host}:{port}/").parse().unwrap();
            let connected = connect(&url, closest).await;
            assert_eq!(connected.is_ok(), is_asked, "{host} {closest:?}");
        }
        let named = "http://localhost/whep/a".parse().unwrap();
        assert_eq!(Reach::of_server(&named).await.unwrap(), Reach::Host);
    }
}
