//! Owns what stands before a datagram in an Ethernet frame: Ethernet, 802.1Q, IP and UDP, written
//! once for each peer and patched for each packet. Hot.

use crate::checksum::Sum;
use crate::field::set;
use crate::peer::{Ip, Peer};

/// Bytes of the longest header: Ethernet 14, 802.1Q 4, IPv6 40, UDP 8.
pub const HEADER_MAX: usize = 66;

const ETHERNET_BYTES: usize = 14;
const VLAN_BYTES: usize = 4;
const V4_BYTES: usize = 20;
/// The same as it is written.
const V4_LENGTH: u16 = 20;
const V6_BYTES: usize = 40;
const UDP_BYTES: usize = 8;

/// Where the parts begin, counted in the room before the payload: they end with it.
const UDP_AT: usize = HEADER_MAX - UDP_BYTES;
const V4_AT: usize = UDP_AT - V4_BYTES;
const V6_AT: usize = UDP_AT - V6_BYTES;

const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const PROTOCOL_UDP: u8 = 17;

/// The bits of an 802.1Q tag that name the VLAN.
const VLAN_ID: u16 = 0x0fff;

/// A hardware address.
pub type Mac = [u8; 6];

/// The way of all packets to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The hardware address of our device.
    pub source_mac: Mac,
    /// The hardware address of the peer, or of the router that leads to it.
    pub target_mac: Mac,
    /// The VLAN whose tag the frame has, 0 to 4,095.
    pub vlan: Option<u16>,
    /// Our address and port.
    pub source: Peer,
    /// The peer's, of the same family.
    pub target: Peer,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Compute the UDP checksum over IPv4 too. Over IPv6 it always is.
    pub checksum: bool,
}

/// The header of all packets to one peer, but for their lengths and checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// At the end of the room.
    room: [u8; HEADER_MAX],
    bytes: u8,
    is_v6: bool,
    checksum: bool,
    /// Of the IPv4 header without its length.
    ip: Sum,
    /// Of pseudo-header and UDP header without the length, which is in both.
    udp: Sum,
}

impl Header {
    /// The header of `path`. `None`: its ends are not of one family.
    #[must_use]
    pub fn new(path: &Path) -> Option<Self> {
        let is_v6 = !path.target.ip.is_v4();
        if path.source.ip.is_v4() == is_v6 || path.source.ip.is_unknown() {
            return None;
        }
        let mut room = [0; HEADER_MAX];
        let ip_at = if is_v6 { V6_AT } else { V4_AT };
        let ethertype = if is_v6 { ETHERTYPE_V6 } else { ETHERTYPE_V4 };
        let mut at = ip_at - 2;
        set(&mut room, at, ethertype.to_be_bytes());
        if let Some(vlan) = path.vlan {
            at -= VLAN_BYTES;
            set(&mut room, at, ETHERTYPE_VLAN.to_be_bytes());
            set(&mut room, at + 2, (vlan & VLAN_ID).to_be_bytes());
        }
        at -= ETHERNET_BYTES - 2;
        set(&mut room, at, path.target_mac);
        set(&mut room, at + 6, path.source_mac);
        if is_v6 {
            set_v6(&mut room, path);
        } else {
            set_v4(&mut room, path);
        }
        set(&mut room, UDP_AT, path.source.port.to_be_bytes());
        set(&mut room, UDP_AT + 2, path.target.port.to_be_bytes());
        // The addresses are the end of either IP header.
        let addresses = if is_v6 { 32 } else { 8 };
        let udp = Sum::of(&room[UDP_AT - addresses..]).and(Sum::word(PROTOCOL_UDP.into()));
        Some(Self {
            ip: Sum::of(&room[V4_AT..UDP_AT]),
            udp,
            bytes: u8::try_from(HEADER_MAX - at).ok()?,
            is_v6,
            checksum: is_v6 || path.checksum,
            room,
        })
    }

    /// Its bytes.
    #[inline]
    #[must_use]
    pub fn length(&self) -> u32 {
        self.bytes.into()
    }

    /// Bytes of the headers of IP and UDP: what counts for the size that a link can carry.
    #[must_use]
    pub fn ip_bytes(&self) -> usize {
        HEADER_MAX - if self.is_v6 { V6_AT } else { V4_AT }
    }

    /// Writes the header of a datagram with this payload to the end of `room`, which lies before
    /// it.
    #[inline]
    pub fn write(&self, room: &mut [u8; HEADER_MAX], payload: &[u8]) {
        *room = self.room;
        let udp_bytes = u16::try_from(UDP_BYTES + payload.len()).unwrap_or(u16::MAX);
        if self.is_v6 {
            set(room, V6_AT + 4, udp_bytes.to_be_bytes());
        } else {
            let bytes = udp_bytes.saturating_add(V4_LENGTH);
            set(room, V4_AT + 2, bytes.to_be_bytes());
            let sum = self.ip.and(Sum::word(bytes));
            set(room, V4_AT + 10, sum.checksum());
        }
        set(room, UDP_AT + 4, udp_bytes.to_be_bytes());
        if self.checksum {
            let lengths = Sum::word(udp_bytes).and(Sum::word(udp_bytes));
            let sum = self.udp.and(lengths).and(Sum::of(payload)).checksum();
            //= https://www.rfc-editor.org/rfc/rfc768
            //# If the computed  checksum  is zero,  it is transmitted  as all ones
            let sum = if sum == [0, 0] { [0xff, 0xff] } else { sum };
            set(room, UDP_AT + 6, sum);
        }
    }
}

fn set_v4(room: &mut [u8; HEADER_MAX], path: &Path) {
    // Version 4, five words, no class of service: as the kernel sends what our sockets send.
    set(room, V4_AT, [0x45, 0]);
    //= https://www.rfc-editor.org/rfc/rfc6864#section-4.1
    //# Originating sources MAY set the IPv4 ID field of atomic datagrams
    //# to any value.
    // Atomic: "don't fragment" is set. Zero keeps it out of the checksum.
    set(room, V4_AT + 6, [0x40, 0]);
    set(room, V4_AT + 8, [path.hop_limit, PROTOCOL_UDP]);
    let v4 = |ip: Ip| ip.v4_octets().unwrap_or_default();
    set(room, V4_AT + 12, v4(path.source.ip));
    set(room, V4_AT + 16, v4(path.target.ip));
}

fn set_v6(room: &mut [u8; HEADER_MAX], path: &Path) {
    set(room, V6_AT, (0x6000_0000 | flow_label(path)).to_be_bytes());
    set(room, V6_AT + 6, [PROTOCOL_UDP, path.hop_limit]);
    set(room, V6_AT + 8, path.source.ip.0);
    set(room, V6_AT + 24, path.target.ip.0);
}

/// One of 20 bits for the packets between these ends (RFC 6437 section 3), never zero.
fn flow_label(path: &Path) -> u32 {
    let ports = [
        path.source.port.to_be_bytes(),
        path.target.port.to_be_bytes(),
    ];
    let bytes = path.source.ip.0.iter().chain(&path.target.ip.0);
    // FNV-1a: spreads, and needs no secret: both ends are in the packet beside it.
    let hash = bytes.chain(ports.iter().flatten());
    let hash = hash.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    ((hash ^ hash >> 20) & 0x000f_ffff).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    fn path(source: &str, target: &str) -> Path {
        let peer = |text: &str| Peer::from(text.parse::<SocketAddr>().unwrap());
        Path {
            source_mac: [2, 0, 0, 0, 0, 1],
            target_mac: [2, 0, 0, 0, 0, 2],
            vlan: None,
            source: peer(source),
            target: peer(target),
            hop_limit: 64,
            checksum: true,
        }
    }

    fn frame(path: &Path, payload: &[u8]) -> Vec<u8> {
        let header = Header::new(path).unwrap();
        let mut room = [0xee; HEADER_MAX];
        header.write(&mut room, payload);
        let mut frame = room[HEADER_MAX - header.length() as usize..].to_vec();
        frame.extend(payload);
        frame
    }

    /// The sum of RFC 1071 the slow way; valid data with its checksum sums to ffff.
    fn sums_up(parts: &[&[u8]]) -> bool {
        let bytes = parts.concat();
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    #[test]
    fn a_frame_of_version_4_byte_for_byte() {
        let mut path = path("10.0.0.1:8000", "10.0.0.2:5000");
        path.checksum = false;
        let expected = [
            2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
            0x45, 0, 0, 31, 0, 0, 0x40, 0, 64, 17, 0x26, 0xcc, 10, 0, 0, 1, 10, 0, 0, 2, // IP
            0x1f, 0x40, 0x13, 0x88, 0, 11, 0, 0, 1, 2, 3, // UDP
        ];
        assert_eq!(frame(&path, &[1, 2, 3]), expected);
        path.vlan = Some(0x0105);
        let tagged = frame(&path, &[1, 2, 3]);
        assert_eq!(tagged[12..18], [0x81, 0, 1, 5, 8, 0]);
        assert_eq!(tagged[18..], expected[14..]);
    }

    #[test]
    fn ends_of_two_families_have_no_header() {
        assert!(Header::new(&path("10.0.0.1:1", "[2001:db8::1]:2")).is_none());
        assert!(Header::new(&path("[2001:db8::1]:1", "10.0.0.1:2")).is_none());
        let mut unknown = path("[2001:db8::1]:1", "[2001:db8::2]:2");
        unknown.source.ip = Ip::UNKNOWN;
        assert!(Header::new(&unknown).is_none());
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_ones() {
        let path = path("10.0.0.1:8000", "10.0.0.2:5000");
        let zero = (0..=u16::MAX).any(|word| {
            let frame = frame(&path, &word.to_be_bytes());
            assert_ne!(frame[40..42], [0, 0]);
            frame[40..42] == [0xff, 0xff]
        });
        assert!(zero, "one of all words makes the sum zero");
    }

    proptest! {
        #[test]
        fn lengths_and_checksums_are_right(
            source in any::<[u8; 16]>(),
            target in any::<[u8; 16]>(),
            ports in any::<(u16, u16)>(),
            is_v4 in any::<bool>(),
            vlan in proptest::option::of(0_u16..4096),
            payload in proptest::collection::vec(any::<u8>(), 1..1473),
        ) {
            let ip = |mut ip: [u8; 16]| {
                if is_v4 {
                    ip[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
                } else {
                    ip[0] = 0x20;
                }
                Ip(ip)
            };
            let path = Path {
                source_mac: [2; 6],
                target_mac: [4; 6],
                vlan,
                source: Peer { ip: ip(source), port: ports.0 },
                target: Peer { ip: ip(target), port: ports.1 },
                hop_limit: 64,
                checksum: true,
            };
            let frame = frame(&path, &payload);
            let link = 14 + if vlan.is_some() { 4 } else { 0 };
            let (ip_bytes, addresses) = if is_v4 { (20, 12..20) } else { (40, 8..40) };
            let (ip, udp) = frame[link..].split_at(ip_bytes);
            prop_assert_eq!(udp.len(), 8 + payload.len());
            prop_assert_eq!(u16::from_be_bytes([udp[4], udp[5]]) as usize, udp.len());
            prop_assert_eq!(&udp[8..], &payload[..]);
            if is_v4 {
                prop_assert!(sums_up(&[ip]));
                let total = u16::from_be_bytes([ip[2], ip[3]]);
                prop_assert_eq!(total as usize, ip.len() + udp.len());
            } else {
                prop_assert_eq!(u16::from_be_bytes([ip[4], ip[5]]) as usize, udp.len());
                prop_assert_eq!((ip[0] >> 4, ip[6], ip[7]), (6, 17, 64));
            }
            let pseudo = [0, 17, udp[4], udp[5]];
            prop_assert!(sums_up(&[&ip[addresses], &pseudo, udp]));
        }
    }
}
