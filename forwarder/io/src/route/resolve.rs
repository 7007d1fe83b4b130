//! Owns which way leads to an address: route, device and neighbour, asked of the kernel once and
//! remembered until something of it changes.

use super::kernel::Kernel;
use super::message::{Link, Neighbour};
use crate::xdp::Fallback;
use std::collections::{HashMap, HashSet};
use std::io;
use wire::frame::Mac;
use wire::peer::Ip;

/// The next hop of packets between two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The device that frames are given to.
    pub device: u32,
    /// The tag that they have.
    pub vlan: Option<u16>,
    /// The source address.
    pub source: Ip,
    pub source_mac: Mac,
    pub target_mac: Mac,
    pub hop_limit: u8,
    /// Most bytes of an IP packet.
    pub mtu: u16,
}

/// A neighbour by its device and address.
type Near = (u32, Ip);

struct Known {
    hop: Result<Hop, Fallback>,
    /// On whom it depends.
    near: Option<Near>,
}

/// All that is known.
pub(crate) struct Resolver<K> {
    kernel: K,
    /// The address that our sockets are bound to, if it is one.
    bound: Option<Ip>,
    links: HashMap<u32, (Link, [u8; 2])>,
    addresses: HashSet<Ip>,
    neighbours: HashMap<Near, Neighbour>,
    /// By the peer's address and ours.
    known: HashMap<(Ip, Ip), Known>,
}

impl<K: Kernel> Resolver<K> {
    /// `bound` is the address of our sockets; all zeros of either family are none.
    pub(crate) fn new(kernel: K, bound: Ip) -> Self {
        let any = [Ip::UNKNOWN, crate::addr::mapped([0; 4])];
        Self {
            kernel,
            bound: (!any.contains(&bound)).then_some(bound),
            links: HashMap::new(),
            addresses: HashSet::new(),
            neighbours: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// Forgets everything, and learns devices and addresses anew.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        self.known.clear();
        self.neighbours.clear();
        let links = self.kernel.links()?;
        self.links = links.into_iter().map(|one| (one.0.index, one)).collect();
        self.addresses = self.kernel.addresses()?.into_iter().collect();
        Ok(())
    }

    /// The device, if there is one.
    pub(crate) fn link(&self, device: u32) -> Option<&Link> {
        self.links.get(&device).map(|(link, _)| link)
    }

    /// How many pairs of addresses are remembered.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// News of a neighbour; true if a way that is known depends on it and has changed.
    pub(crate) fn on_neighbour(&mut self, news: Neighbour) -> bool {
        let near = (news.device, news.ip);
        let Some(neighbour) = self.neighbours.get_mut(&near) else {
            return false;
        };
        let has_moved = neighbour.mac != news.mac;
        *neighbour = news;
        if has_moved {
            self.known.retain(|_, known| known.near != Some(near));
        }
        has_moved
    }

    /// Tells the kernel which of the neighbours in use have not been heard for a while.
    pub(crate) fn use_stale(&mut self) {
        for neighbour in self.neighbours.values().filter(|one| one.is_stale) {
            self.kernel.use_neighbour(neighbour.device, neighbour.ip);
        }
    }

    /// The way to `peer` from `local`, which may be unknown.
    pub(crate) fn hop(&mut self, peer: Ip, local: Ip) -> Result<Hop, Fallback> {
        if let Some(known) = self.known.get(&(peer, local)) {
            return known.hop;
        }
        let mut near = None;
        let hop = self.find(peer, local, &mut near);
        self.known.insert((peer, local), Known { hop, near });
        hop
    }

    fn find(&mut self, peer: Ip, local: Ip, near: &mut Option<Near>) -> Result<Hop, Fallback> {
        let is_ours = |ip: &Ip| self.addresses.contains(ip);
        let wanted = (!local.is_unknown()).then_some(local).or(self.bound);
        // The kernel would refuse to send from an address that is gone; so do we.
        if is_link_local(peer) || wanted.is_some_and(|ip| !is_ours(&ip)) {
            return Err(Fallback::Route);
        }
        let route = self.kernel.route(peer, wanted).ok().flatten();
        let route = route.filter(|route| route.is_plain);
        let route = route.ok_or(Fallback::Route)?;
        let (link, limits) = self.links.get(&route.device).ok_or(Fallback::Device)?;
        if !link.is_ethernet {
            return Err(Fallback::Route);
        }
        // A VLAN over another kind of device is left to the kernel, which tags for us.
        let under = link.vlan.and_then(|(id, under)| {
            let (under, _) = self.links.get(&under)?;
            (under.is_ethernet && under.vlan.is_none()).then_some((id, under))
        });
        let carrier = under.map_or(link, |(_, under)| under);
        if !link.is_up || !carrier.is_up {
            return Err(Fallback::Device);
        }
        let source = wanted.or(route.source.filter(is_ours));
        let source = source.ok_or(Fallback::Route)?;
        let mtu = link.mtu.min(carrier.mtu);
        let mut hop = Hop {
            device: carrier.index,
            vlan: under.map(|(id, _)| id),
            source,
            source_mac: link.mac,
            target_mac: [0; 6],
            hop_limit: route
                .hop_limit
                .unwrap_or(limits[usize::from(!peer.is_v4())]),
            mtu: u16::try_from(route.mtu.map_or(mtu, |other| mtu.min(other))).unwrap_or(u16::MAX),
        };
        let key = (route.device, route.gateway.unwrap_or(peer));
        *near = Some(key);
        hop.target_mac = self.mac(key).ok_or(Fallback::Neighbour)?;
        Ok(hop)
    }

    fn mac(&mut self, near: Near) -> Option<Mac> {
        if let Some(neighbour) = self.neighbours.get(&near) {
            return neighbour.mac;
        }
        let neighbour = self.kernel.neighbour(near.0, near.1).ok().flatten();
        // One that the kernel does not know may come.
        let neighbour = neighbour.unwrap_or(Neighbour {
            device: near.0,
            ip: near.1,
            mac: None,
            is_stale: false,
        });
        self.neighbours.insert(near, neighbour);
        neighbour.mac
    }
}

/// Without the device that it is meant on, such an address leads nowhere.
fn is_link_local(ip: Ip) -> bool {
    ip.0[0] == 0xfe && ip.0[1] & 0xc0 == 0x80
}
