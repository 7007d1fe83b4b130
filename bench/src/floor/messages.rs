//! Owns messages as the kernel takes them: all but the address of the peer is written once for a
//! length of burst.

use core::ptr::null_mut;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::{BATCH, BURST_MAX, HOT_BYTES, SEALED_BYTES};

/// Bytes of two control messages: a source address and a segment size.
const CONTROL_BYTES: usize = 32 + 24;

/// A batch of messages with all that they point to.
pub(super) struct Messages {
    pub headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[libc::sockaddr_in]>,
    controls: Box<[[u64; CONTROL_BYTES / 8]]>,
    bytes: Box<[u8]>,
    local: Ipv4Addr,
    packets: u32,
}

impl Messages {
    /// Messages from `local`.
    pub(super) fn new(local: Ipv4Addr) -> Self {
        let mut bytes = vec![0; HOT_BYTES + BURST_MAX * SEALED_BYTES];
        for (value, byte) in (0_u8..=255).cycle().zip(&mut bytes) {
            *byte = value;
        }
        let vector = libc::iovec {
            iov_base: null_mut(),
            iov_len: 0,
        };
        let name = libc::sockaddr_in {
            sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap_or(0),
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: 0 },
            sin_zero: [0; 8],
        };
        let header = libc::mmsghdr {
            msg_hdr: libc::msghdr {
                msg_name: null_mut(),
                msg_namelen: 0,
                msg_iov: null_mut(),
                msg_iovlen: 0,
                msg_control: null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            msg_len: 0,
        };
        Self {
            headers: vec![header; BATCH].into_boxed_slice(),
            vectors: vec![vector; BATCH].into_boxed_slice(),
            names: vec![name; BATCH].into_boxed_slice(),
            controls: vec![[0; CONTROL_BYTES / 8]; BATCH].into_boxed_slice(),
            bytes: bytes.into_boxed_slice(),
            local,
            packets: 0,
        }
    }

    /// Writes all messages for bursts of `packets`, if they are not.
    pub(super) fn of(&mut self, packets: u32) {
        if self.packets == packets {
            return;
        }
        self.packets = packets;
        let bytes = SEALED_BYTES * packets as usize;
        let mut at = 0;
        for nth in 0..BATCH {
            let used = self.control(nth, packets > 1);
            self.vectors[nth] = libc::iovec {
                iov_base: self.bytes[at..at + bytes].as_mut_ptr().cast(),
                iov_len: bytes,
            };
            at = if at + bytes > HOT_BYTES {
                0
            } else {
                at + bytes
            };
            self.headers[nth].msg_hdr = libc::msghdr {
                msg_name: (&raw mut self.names[nth]).cast(),
                msg_namelen: 16,
                msg_iov: &raw mut self.vectors[nth],
                msg_iovlen: 1,
                msg_control: (&raw mut self.controls[nth]).cast(),
                msg_controllen: used,
                msg_flags: 0,
            };
        }
    }

    /// The source address, as the server names it, and the segment size if there are several.
    fn control(&mut self, nth: usize, segmented: bool) -> usize {
        let word = |low: i32, high: i32| {
            let [a, b, c, d] = low.to_ne_bytes();
            let [e, f, g, h] = high.to_ne_bytes();
            u64::from_ne_bytes([a, b, c, d, e, f, g, h])
        };
        let control = &mut self.controls[nth];
        // Length, level and kind, data: `struct cmsghdr`, then `struct in_pktinfo`.
        control[0] = 16 + 12;
        control[1] = word(libc::IPPROTO_IP, libc::IP_PKTINFO);
        control[2] = word(0, i32::from_ne_bytes(self.local.octets()));
        control[3] = 0;
        control[4] = 16 + 2;
        control[5] = word(libc::SOL_UDP, libc::UDP_SEGMENT);
        let segment = u16::try_from(SEALED_BYTES).unwrap_or(0).to_ne_bytes();
        control[6] = u64::from_ne_bytes([segment[0], segment[1], 0, 0, 0, 0, 0, 0]);
        if segmented { CONTROL_BYTES } else { 32 }
    }

    /// Addresses the first messages to the viewers from `first` on.
    pub(super) fn address(&mut self, first: SocketAddrV4, count: usize) {
        let from = first.ip().to_bits();
        for (ip, name) in (from..).zip(&mut self.names[..count]) {
            name.sin_addr.s_addr = ip.to_be();
            name.sin_port = first.port().to_be();
        }
    }
}
