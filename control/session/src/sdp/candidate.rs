//! Owns the candidates of a description (RFC 8839 section 5.1): where its author can be reached.

use super::offer::values;
use sdp_types::Attribute;
use std::net::{IpAddr, SocketAddr};

/// Most candidates that are noted: each costs checks. Servers name a handful of addresses.
pub const CANDIDATES_MAX: usize = 16;

/// An address and what its owner thinks that it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where to send.
    pub address: SocketAddr,
    /// The higher the better (RFC 8445 section 5.1.2).
    pub priority: u32,
}

/// Those of a media section that we could send to, the best first.
pub(super) fn candidates(attributes: &[Attribute]) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = values(attributes, "candidate")
        .filter_map(candidate)
        .take(CANDIDATES_MAX)
        .collect();
    all.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
    all
}

/// UDP of the first component, with an address; names (RFC 8828 hides hosts behind them) are for
/// whoever shares a link with their owner.
pub(super) fn candidate(value: &str) -> Option<Candidate> {
    let mut words = value.split_ascii_whitespace();
    let (_foundation, component) = (words.next()?, words.next()?);
    let (transport, priority) = (words.next()?, words.next()?);
    let ip: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let is_ours = component == "1" && transport.eq_ignore_ascii_case("udp");
    let is_there = port != 0 && !ip.is_unspecified() && !ip.is_multicast();
    (is_ours && is_there).then_some(Candidate {
        address: SocketAddr::new(ip, port),
        priority: priority.parse().ok()?,
    })
}
