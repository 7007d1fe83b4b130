//! Owns control messages: bytes in the kernel's layout, built and read without pointers. Hot.

use crate::addr::{Family, mapped};
use wire::peer::Ip;

/// Bytes of `struct cmsghdr` on 64-bit Linux: length (8), level (4), type (4).
const HEADER: usize = 16;
/// Room for a source address and a segment size.
pub(crate) const CONTROL_BYTES: usize = space(20) + space(2);
/// Room for what may come with a datagram: a packet info of either family and a stamp. More than
/// that, so that what follows in a frame of `io_uring` begins at a cache line.
pub(crate) const RX_CONTROL_BYTES: usize = 148;

const _: () = assert!(size_of::<libc::cmsghdr>() == HEADER);
const _: () = assert!(RX_CONTROL_BYTES >= space(20) + space(12) + space(16));

/// Bytes of a control message with `data` bytes, padding included.
const fn space(data: usize) -> usize {
    HEADER + data.next_multiple_of(8)
}

/// Control messages of one send.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control(pub [u8; CONTROL_BYTES]);

impl Default for Control {
    fn default() -> Self {
        Self([0; CONTROL_BYTES])
    }
}

impl Control {
    /// Writes what the run needs; returns the length in bytes, 0 for none.
    pub(crate) fn set(&mut self, family: Family, local: Ip, segment_bytes: Option<u16>) -> usize {
        let mut used = 0;
        if !local.is_unknown() {
            used = match family {
                Family::V4 => self.put_v4(local),
                Family::V6 => self.put_v6(local),
            };
        }
        if let Some(bytes) = segment_bytes {
            let at = self.put(used, libc::SOL_UDP, libc::UDP_SEGMENT, 2);
            self.0[at..at + 2].copy_from_slice(&bytes.to_ne_bytes());
            used += space(2);
        }
        used
    }

    // struct in_pktinfo { int ifindex; in_addr spec_dst; in_addr addr }: the source is spec_dst.
    fn put_v4(&mut self, local: Ip) -> usize {
        let at = self.put(0, libc::IPPROTO_IP, libc::IP_PKTINFO, 12);
        self.0[at..at + 12].fill(0);
        self.0[at + 4..at + 8].copy_from_slice(&local.0[12..]);
        space(12)
    }

    // struct in6_pktinfo { in6_addr addr; unsigned ifindex }. A mapped address is accepted for
    // a version 4 receiver.
    fn put_v6(&mut self, local: Ip) -> usize {
        let at = self.put(0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20);
        self.0[at..at + 16].copy_from_slice(&local.0);
        self.0[at + 16..at + 20].fill(0);
        space(20)
    }

    /// Writes a header at `at`; returns where its data begins.
    fn put(&mut self, at: usize, level: i32, kind: i32, data: usize) -> usize {
        let header = &mut self.0[at..at + HEADER];
        header[..8].copy_from_slice(&(HEADER + data).to_ne_bytes());
        header[8..12].copy_from_slice(&level.to_ne_bytes());
        header[12..].copy_from_slice(&kind.to_ne_bytes());
        at + HEADER
    }
}

/// What the control messages of a datagram say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    /// The address that it was sent to; [`Ip::UNKNOWN`] if they don't say.
    pub local: Ip,
    /// When the kernel received it, in nanoseconds since 1970.
    pub stamp_ns: Option<u64>,
}

/// Reads the control messages of a datagram.
pub(crate) fn came(mut control: &[u8]) -> Came {
    let mut came = Came {
        local: Ip::UNKNOWN,
        stamp_ns: None,
    };
    while let Some((message, rest)) = Message::split(control) {
        let data = message.data;
        match (message.level, message.kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let address = data.get(8..).and_then(|rest| rest.first_chunk());
                came.local = address.map_or(came.local, |address| mapped(*address));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                came.local = data.first_chunk().map_or(came.local, |bytes| Ip(*bytes));
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => came.stamp_ns = stamp(data),
            _ => {}
        }
        control = rest;
    }
    came
}

/// struct timespec { i64 seconds; i64 nanoseconds } as nanoseconds.
fn stamp(data: &[u8]) -> Option<u64> {
    let (seconds, rest) = data.split_first_chunk::<8>()?;
    let seconds = u64::try_from(i64::from_ne_bytes(*seconds)).ok()?;
    let ns = u64::try_from(i64::from_ne_bytes(*rest.first_chunk()?)).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

/// One control message that came in.
struct Message<'a> {
    level: i32,
    kind: i32,
    data: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message and what follows it. A length that does not fit ends the walk.
    fn split(control: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, _) = control.split_first_chunk::<HEADER>()?;
        let (len, names) = header.split_first_chunk::<8>()?;
        let len = usize::from_ne_bytes(*len);
        let message = Self {
            level: i32::from_ne_bytes(*names.first_chunk()?),
            kind: i32::from_ne_bytes(*names.last_chunk()?),
            data: control.get(HEADER..len)?,
        };
        let rest = control.get(len.next_multiple_of(8)..).unwrap_or(&[]);
        Some((message, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back() {
        let v4 = mapped([127, 0, 0, 2]);
        let v6 = Ip([7; 16]);
        let mut control = Control::default();
        let used = control.set(Family::V6, v6, Some(1200));
        assert_eq!(used, 64);
        assert_eq!(came(&control.0[..used]).local, v6);
        let used = control.set(Family::V6, v4, None);
        assert_eq!(came(&control.0[..used]).local, v4);
        // The sending form keeps the source in spec_dst, the receiving form in addr.
        let used = control.set(Family::V4, v4, Some(9));
        control.0.copy_within(HEADER + 4..HEADER + 8, HEADER + 8);
        assert_eq!(came(&control.0[..used]).local, v4);
        assert_eq!(control.set(Family::V4, Ip::UNKNOWN, None), 0);
        let used = control.set(Family::V4, Ip::UNKNOWN, Some(77));
        assert_eq!((used, came(&control.0[..used]).local), (24, Ip::UNKNOWN));
    }

    #[test]
    fn a_stamp_is_read_wherever_it_stands() {
        let v4 = mapped([192, 0, 2, 1]);
        let mut bytes = [0; space(16)];
        bytes[..8].copy_from_slice(&(HEADER + 16).to_ne_bytes());
        bytes[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        bytes[12..16].copy_from_slice(&libc::SCM_TIMESTAMPNS.to_ne_bytes());
        bytes[16..24].copy_from_slice(&1_700_000_000_i64.to_ne_bytes());
        bytes[24..32].copy_from_slice(&5_i64.to_ne_bytes());
        let mut info = Control::default();
        let used = info.set(Family::V6, v4, None);
        let info = &info.0[..used];
        let both = Came {
            local: v4,
            stamp_ns: Some(1_700_000_000_000_000_005),
        };
        assert_eq!(came(&[&bytes, info].concat()), both);
        assert_eq!(came(&[info, &bytes].concat()), both);
        // Before 1970, beyond 2554, cut short: none.
        bytes[16..24].copy_from_slice(&(-1_i64).to_ne_bytes());
        assert_eq!(came(&bytes).stamp_ns, None);
        bytes[16..24].copy_from_slice(&i64::MAX.to_ne_bytes());
        assert_eq!(came(&bytes).stamp_ns, None);
        bytes[..8].copy_from_slice(&(HEADER + 12).to_ne_bytes());
        assert_eq!(came(&bytes).stamp_ns, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200),
                                           len in 0_usize..40) {
            let mut bytes = bytes;
            let _ = came(&bytes);
            if let Some(first) = bytes.first_chunk_mut::<8>() {
                *first = len.to_ne_bytes();
            }
            let _ = came(&bytes);
        }
    }
}
