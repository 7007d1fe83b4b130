//! Owns the way most media servers forward, to compare with: libsrtp and one `sendto` per packet.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};

use seal::Profile;
use seal::oracle::Session;
use wire::rtp::{HEADER_BYTES, Header};

use lab::PAYLOAD_BYTES;
use lab::rig::{address, secret};
use lab::sink::Sink;

/// What libsrtp may add to a packet: room for its largest trailer.
const TRAILER_BYTES: usize = 160;

/// Viewers who are served in the classic way.
pub struct Classic {
    socket: UdpSocket,
    viewers: Vec<Viewer>,
    packet: Vec<u8>,
    /// Packets that were not sealed or not sent.
    pub errors: u64,
}

struct Viewer {
    session: Session,
    to: SocketAddr,
    header: Header,
}

/// Who is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each packet, as it comes, to all viewers.
    PacketByPacket,
    /// Each viewer all packets of a burst: keys stay in the cache.
    ViewerByViewer,
}

impl Classic {
    /// Sessions of libsrtp and a plain socket at the sink's address.
    ///
    /// # Panics
    /// When libsrtp refuses a key or the profile, or the system a socket.
    #[must_use]
    pub fn new(viewers: u32, profile: Profile, sink: &Sink) -> Self {
        let viewers = (0..viewers).map(|n| viewer(n, profile, sink.first));
        Self {
            socket: UdpSocket::bind((sink.local, 0)).expect("an address of ours"),
            viewers: viewers.collect(),
            packet: Vec::with_capacity(HEADER_BYTES + PAYLOAD_BYTES + TRAILER_BYTES),
            errors: 0,
        }
    }

    /// A burst of `packets` goes to everybody.
    pub fn burst(&mut self, packets: u32, order: Order) {
        let viewers = self.viewers.len();
        match order {
            Order::PacketByPacket => {
                for packet in 0..packets {
                    for n in 0..viewers {
                        self.send(n, packet + 1 == packets);
                    }
                }
            }
            Order::ViewerByViewer => {
                for n in 0..viewers {
                    for packet in 0..packets {
                        self.send(n, packet + 1 == packets);
                    }
                }
            }
        }
    }

    /// The same, viewer by viewer, but for the sending.
    pub fn seal_burst(&mut self, packets: u32) {
        for n in 0..self.viewers.len() {
            for packet in 0..packets {
                let sealed = self.seal(n, packet + 1 == packets);
                self.errors += u64::from(!sealed);
            }
        }
    }

    fn send(&mut self, n: usize, marker: bool) {
        let sealed = self.seal(n, marker);
        let to = self.viewers[n].to;
        let sent = sealed && self.socket.send_to(&self.packet, to).is_ok();
        self.errors += u64::from(!sent);
    }

    fn seal(&mut self, n: usize, marker: bool) -> bool {
        static PAYLOAD: [u8; PAYLOAD_BYTES] = [0x5a; PAYLOAD_BYTES];
        let viewer = &mut self.viewers[n];
        viewer.header.sequence = viewer.header.sequence.wrapping_add(1);
        viewer.header.marker = marker;
        self.packet.resize(HEADER_BYTES, 0);
        let _ = viewer.header.write(&[], &mut self.packet);
        self.packet.extend_from_slice(&PAYLOAD);
        viewer.session.protect(&mut self.packet)
    }
}

fn viewer(n: u32, profile: Profile, first: SocketAddrV4) -> Viewer {
    let mut session = Session::new(&secret(profile, n)).expect("libsrtp knows the profile");
    let ssrc = 0x1000_0000 + n;
    assert!(session.add(ssrc, 0), "libsrtp takes a new SSRC");
    Viewer {
        session,
        to: address(first, n),
        header: Header {
            payload_type: 102,
            ssrc,
            ..Header::default()
        },
    }
}
