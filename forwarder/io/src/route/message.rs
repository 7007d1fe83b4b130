//! Owns netlink messages about routes: the few that are sent, and what is read from the kernel's.
//! Numbers are of the machine's byte order, addresses of the network's.

use wire::frame::Mac;
use wire::peer::Ip;

const HEADER_BYTES: usize = 16;
const ROUTE_BYTES: usize = 12;
const NEIGHBOUR_BYTES: usize = 12;
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;

#[allow(clippy::cast_possible_truncation, reason = "2 and 10")]
const V4: u8 = libc::AF_INET as u8;
#[allow(clippy::cast_possible_truncation, reason = "2 and 10")]
const V6: u8 = libc::AF_INET6 as u8;
#[allow(clippy::cast_possible_truncation, reason = "1 and 768")]
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
#[allow(clippy::cast_possible_truncation, reason = "1 and 768")]
const DUMP: u16 = libc::NLM_F_DUMP as u16;
#[allow(clippy::cast_possible_truncation, reason = "4")]
const ACK: u16 = libc::NLM_F_ACK as u16;

// Of linux/if_link.h, linux/rtnetlink.h, linux/neighbour.h; libc lacks most of them.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_TENTATIVE: u8 = 0x40;
const IFA_F_DADFAILED: u8 = 0x08;
const RTA_DST: u16 = 1;
const RTA_SRC: u16 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_VIA: u16 = 18;
const RTA_NEWDST: u16 = 19;
const RTA_ENCAP: u16 = 22;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTAX_MTU: u16 = 2;
const RTAX_HOPLIMIT: u16 = 10;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const ARPHRD_ETHER: u16 = 1;
const RTN_UNICAST: u8 = 1;
const IPPROTO_UDP: u8 = 17;
/// The bits of an attribute's type that are its type.
const TYPE: u16 = 0x3fff;
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0];

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    /// It is up, and so is what it hangs on.
    pub is_up: bool,
    pub is_ethernet: bool,
    pub mac: Mac,
    pub mtu: u32,
    /// It is an 802.1Q VLAN of this number over this device, which is in our namespace.
    pub vlan: Option<(u16, u32)>,
}

/// A route to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// It leads to another host, and nothing is put around its packets.
    pub is_plain: bool,
    pub device: u32,
    pub gateway: Option<Ip>,
    /// The source that the kernel would choose.
    pub source: Option<Ip>,
    pub mtu: Option<u32>,
    pub hop_limit: Option<u8>,
}

/// A neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub device: u32,
    pub ip: Ip,
    /// Its hardware address, if that is known and in use.
    pub mac: Option<Mac>,
    /// Known for longer than it counts as fresh: whoever uses it has to say so.
    pub is_stale: bool,
}

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Link(Link),
    LinkGone(u32),
    /// An address of ours that may be used.
    Address(Ip),
    Route(Route),
    Neighbour(Neighbour),
    /// Something about routes, rules or addresses has changed.
    Changed,
    /// An answer is complete.
    Done,
    /// The kernel refuses: its `errno`.
    Refused(i32),
    /// Nothing that concerns us.
    Other,
}

/// A request for the route to `ip` from `source` with our port.
pub(crate) fn ask_route(ip: Ip, source: Option<Ip>, port: u16) -> Vec<u8> {
    let (family, address) = family(ip);
    let bits = if family == V4 { 32 } else { 128 };
    let source = source.map(|source| self::family(source).1);
    let source_bits = if source.is_some() { bits } else { 0 };
    let mut request = Request::new(libc::RTM_GETROUTE, ACK);
    request.put(&[family, bits, source_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    request.attribute(RTA_DST, &address);
    if let Some(source) = source {
        request.attribute(RTA_SRC, &source);
    }
    request.attribute(RTA_IP_PROTO, &[IPPROTO_UDP]);
    request.attribute(RTA_SPORT, &port.to_be_bytes());
    request.end()
}

/// A request for a neighbour.
pub(crate) fn ask_neighbour(device: u32, ip: Ip) -> Vec<u8> {
    about_neighbour(libc::RTM_GETNEIGH, 0, device, ip)
}

/// Says that a neighbour is in use: the kernel asks it again whether it is there.
pub(crate) fn use_neighbour(device: u32, ip: Ip) -> Vec<u8> {
    about_neighbour(libc::RTM_NEWNEIGH, libc::NTF_USE, device, ip)
}

/// A request for all devices.
pub(crate) fn ask_links() -> Vec<u8> {
    let mut request = Request::new(libc::RTM_GETLINK, DUMP);
    request.put(&[0; LINK_BYTES]);
    request.end()
}

/// A request for all addresses of ours.
pub(crate) fn ask_addresses() -> Vec<u8> {
    let mut request = Request::new(libc::RTM_GETADDR, DUMP);
    request.put(&[0; ADDRESS_BYTES]);
    request.end()
}

/// Numbers a request: its answers have the number too.
pub(crate) fn number(request: &mut [u8], number: u32) {
    wire::field::set(request, 8, number.to_ne_bytes());
}

/// Gives each message of a datagram and its number to `take`. One that is cut ends it.
pub(crate) fn each(mut bytes: &[u8], mut take: impl FnMut(u32, Message)) {
    while let Some(length) = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = bytes.get(HEADER_BYTES..length) else {
            return;
        };
        let kind = u16_at(bytes, 4).unwrap_or(0);
        let number = u32_at(bytes, 8).unwrap_or(0);
        take(number, read(kind, message).unwrap_or(Message::Other));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn read(kind: u16, body: &[u8]) -> Option<Message> {
    const DONE: u16 = 3;
    const ERROR: u16 = 2;
    Some(match kind {
        DONE => Message::Done,
        ERROR => match i32::from_ne_bytes(u32_at(body, 0)?.to_ne_bytes()) {
            0 => Message::Done,
            error => Message::Refused(error.saturating_neg()),
        },
        libc::RTM_NEWLINK => Message::Link(link(body)?),
        libc::RTM_DELLINK => Message::LinkGone(u32_at(body, 4)?),
        libc::RTM_NEWADDR => address(body).map_or(Message::Changed, Message::Address),
        libc::RTM_NEWROUTE => Message::Route(route(body)?),
        libc::RTM_NEWNEIGH => Message::Neighbour(neighbour(body)?),
        libc::RTM_DELNEIGH => Message::Neighbour(Neighbour {
            mac: None,
            ..neighbour(body)?
        }),
        libc::RTM_DELADDR | libc::RTM_DELROUTE | libc::RTM_NEWRULE | libc::RTM_DELRULE => {
            Message::Changed
        }
        _ => return None,
    })
}

fn link(body: &[u8]) -> Option<Link> {
    let kind = u16_at(body, 2)?;
    let flags = u32_at(body, 8)?;
    let has = |flag: libc::c_int| u32::try_from(flag).is_ok_and(|flag| flags & flag != 0);
    let mut link = Link {
        index: u32_at(body, 4)?,
        name: String::new(),
        is_up: has(libc::IFF_UP) && has(libc::IFF_RUNNING),
        is_ethernet: kind == ARPHRD_ETHER && !has(libc::IFF_LOOPBACK),
        mac: [0; 6],
        mtu: 0,
        vlan: None,
    };
    let (mut under, mut elsewhere, mut vlan) = (None, false, None);
    for (kind, value) in attributes(body.get(LINK_BYTES..)?) {
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().unwrap_or_default(),
            IFLA_IFNAME => {
                let name = value.split(|byte| *byte == 0).next()?;
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            IFLA_MTU => link.mtu = u32_at(value, 0)?,
            IFLA_LINK => under = u32_at(value, 0),
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_LINKINFO => vlan = vlan_id(value),
            _ => {}
        }
    }
    if !elsewhere {
        link.vlan = vlan.zip(under);
    }
    Some(link)
}

/// The number of an 802.1Q VLAN, if that is the kind of a device.
fn vlan_id(info: &[u8]) -> Option<u16> {
    let find = |wanted, of| attributes(of).find(|(kind, _)| *kind == wanted);
    let (_, kind) = find(IFLA_INFO_KIND, info)?;
    if kind.strip_suffix(&[0]).unwrap_or(kind) != b"vlan" {
        return None;
    }
    let (_, data) = find(IFLA_INFO_DATA, info)?;
    let (_, protocol) = find(IFLA_VLAN_PROTOCOL, data)?;
    (protocol == ETHERTYPE_VLAN).then_some(())?;
    u16_at(find(IFLA_VLAN_ID, data)?.1, 0)
}

/// An address that packets may come from: not one that is still being tried, or was refused.
fn address(body: &[u8]) -> Option<Ip> {
    if body.get(2)? & (IFA_F_TENTATIVE | IFA_F_DADFAILED) != 0 {
        return None;
    }
    let values = || attributes(body.get(ADDRESS_BYTES..).unwrap_or_default());
    // On a point-to-point device IFA_ADDRESS is the other end.
    let local = values().find(|(kind, _)| *kind == IFA_LOCAL);
    let local = local.or_else(|| values().find(|(kind, _)| *kind == IFA_ADDRESS));
    ip(local?.1)
}

fn route(body: &[u8]) -> Option<Route> {
    let mut route = Route {
        is_plain: *body.get(7)? == RTN_UNICAST,
        device: 0,
        gateway: None,
        source: None,
        mtu: None,
        hop_limit: None,
    };
    for (kind, value) in attributes(body.get(ROUTE_BYTES..)?) {
        match kind {
            RTA_OIF => route.device = u32_at(value, 0)?,
            RTA_GATEWAY => route.gateway = ip(value),
            // Behind the family.
            RTA_VIA => route.gateway = ip(value.get(2..)?),
            RTA_PREFSRC => route.source = ip(value),
            RTA_ENCAP | RTA_NEWDST => route.is_plain = false,
            RTA_METRICS => {
                for (kind, value) in attributes(value) {
                    let value = u32_at(value, 0).filter(|value| *value > 0);
                    match kind {
                        RTAX_MTU => route.mtu = value,
                        RTAX_HOPLIMIT => {
                            route.hop_limit = value.and_then(|value| u8::try_from(value).ok());
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(route)
}

fn neighbour(body: &[u8]) -> Option<Neighbour> {
    const USABLE: u16 = libc::NUD_REACHABLE
        | libc::NUD_STALE
        | libc::NUD_DELAY
        | libc::NUD_PROBE
        | libc::NUD_NOARP
        | libc::NUD_PERMANENT;
    let state = u16_at(body, 8)?;
    let (mut address, mut mac) = (None, None);
    for (kind, value) in attributes(body.get(NEIGHBOUR_BYTES..)?) {
        match kind {
            NDA_DST => address = ip(value),
            NDA_LLADDR => mac = value.try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour {
        device: u32_at(body, 4)?,
        ip: address?,
        mac: mac.filter(|mac| state & USABLE != 0 && *mac != [0; 6]),
        is_stale: state & libc::NUD_STALE != 0,
    })
}

fn about_neighbour(kind: u16, flags: u8, device: u32, ip: Ip) -> Vec<u8> {
    let (family, address) = family(ip);
    let mut request = Request::new(kind, ACK);
    request.put(&[family, 0, 0, 0]);
    request.put(&device.to_ne_bytes());
    request.put(&[0, 0, flags, 0]);
    request.attribute(NDA_DST, &address);
    request.end()
}

/// The family of an address and its bytes as the kernel has them.
fn family(ip: Ip) -> (u8, Vec<u8>) {
    match ip.v4_octets() {
        Some(octets) => (V4, octets.to_vec()),
        None => (V6, ip.0.to_vec()),
    }
}

fn ip(bytes: &[u8]) -> Option<Ip> {
    match bytes.len() {
        4 => Some(crate::addr::mapped(*bytes.first_chunk()?)),
        16 => Some(Ip(*bytes.first_chunk()?)),
        _ => None,
    }
}

/// Type and value of each attribute. One that is cut ends it.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A message that is being written.
struct Request(Vec<u8>);

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        Self(bytes)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.put(value);
    }

    fn end(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(bytes: &[u8]) -> Vec<Message> {
        let mut all = Vec::new();
        each(bytes, |_, message| all.push(message));
        all
    }

    fn v4(text: &str) -> Ip {
        text.parse::<std::net::IpAddr>().unwrap().into()
    }

    #[test]
    fn a_neighbour_is_read_as_it_is_written() {
        let mut bytes = use_neighbour(7, v4("10.0.0.9"));
        let mut expected = Neighbour {
            device: 7,
            ip: v4("10.0.0.9"),
            mac: None,
            is_stale: false,
        };
        assert_eq!(messages(&bytes), [Message::Neighbour(expected)]);
        bytes.extend([10, 0, 2, 0, 2, 0, 0, 0, 0, 9, 0, 0]);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(messages(&bytes), [Message::Neighbour(expected)], "no state");
        bytes[HEADER_BYTES + 8..][..2].copy_from_slice(&libc::NUD_STALE.to_ne_bytes());
        expected.mac = Some([2, 0, 0, 0, 0, 9]);
        expected.is_stale = true;
        assert_eq!(messages(&bytes), [Message::Neighbour(expected)]);
        bytes[HEADER_BYTES + 8..][..2].copy_from_slice(&libc::NUD_FAILED.to_ne_bytes());
        (expected.mac, expected.is_stale) = (None, false);
        assert_eq!(messages(&bytes), [Message::Neighbour(expected)]);
    }

    #[test]
    fn a_vlan_over_a_device_is_read() {
        let nested = |attributes: &[(u16, &[u8])]| {
            let mut request = Request(Vec::new());
            for (kind, value) in attributes {
                request.attribute(*kind, value);
            }
            request.0
        };
        let data = nested(&[(IFLA_VLAN_PROTOCOL, &[0x81, 0]), (IFLA_VLAN_ID, &[5, 0])]);
        let info = nested(&[(IFLA_INFO_KIND, b"vlan\0"), (IFLA_INFO_DATA, &data)]);
        let body = |more: &[(u16, &[u8])]| {
            let flags = u32::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap();
            let mut request = Request::new(libc::RTM_NEWLINK, 0);
            request.put(&[0, 0, 1, 0, 9, 0, 0, 0]);
            request.put(&flags.to_ne_bytes());
            request.put(&[0; 4]);
            request.attribute(IFLA_IFNAME, b"eth0.5\0");
            request.attribute(IFLA_MTU, &1500_u32.to_ne_bytes());
            request.attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 9]);
            request.attribute(IFLA_LINK, &2_u32.to_ne_bytes());
            request.0.extend(nested(more));
            request.end()
        };
        let mut expected = Link {
            index: 9,
            name: "eth0.5".to_owned(),
            is_up: true,
            is_ethernet: true,
            mac: [2, 0, 0, 0, 0, 9],
            mtu: 1500,
            vlan: Some((5, 2)),
        };
        let tagged = messages(&body(&[(IFLA_LINKINFO, &info)]));
        assert_eq!(tagged, [Message::Link(expected.clone())]);
        // Its carrier is in another namespace.
        let away = body(&[(IFLA_LINKINFO, &info), (IFLA_LINK_NETNSID, &[0; 4])]);
        expected.vlan = None;
        assert_eq!(messages(&away), [Message::Link(expected)]);
    }

    #[test]
    fn refusals_have_their_number() {
        let mut request = Request::new(2, 0);
        request.put(&(-libc::ENETUNREACH).to_ne_bytes());
        let refused = Message::Refused(libc::ENETUNREACH);
        assert_eq!(messages(&request.end()), [refused]);
    }

    proptest! {
        #[test]
        fn no_bytes_end_in_a_panic(
            kind in prop_oneof![16_u16..40, 0_u16..4],
            body in proptest::collection::vec(any::<u8>(), 0..200),
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut request = Request::new(kind, 0);
            request.put(&body);
            let mut bytes = request.end();
            bytes.extend(&rest);
            let _ = messages(&bytes);
            let _ = messages(&body);
        }
    }
}
