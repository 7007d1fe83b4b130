//! Owns both ends of a stage: publishers that send plain RTP, and a viewer that reads.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use io::wake::Wake;
use io::{Mmsg, Port, PortConfig, Socket, SocketConfig};
use link::command::{AddPublisher, AddViewer, Codec, IceCredentials, Origin, TrackIn, TrackOut};
use link::ids::{StreamId, ViewerId, ufrag};
use link::keys::{Profile, SrtpKeys};
use wire::datagram::{RxMeta, RxSink};
use wire::field::u32_at;
use wire::rtp::{HEADER_BYTES, Header};
use wire::time::Time;

use crate::PAYLOAD_BYTES;
use crate::rig::master;

/// The payload type that viewers are sent.
const PAYLOAD_TYPE: u8 = 102;

/// RTP ticks from one frame of a stream to the next, by which the witness knows them.
const TICKS: u32 = 300;

/// One publisher: plain RTP from a socket of its own.
pub(super) struct Source {
    pub(super) socket: UdpSocket,
    packet: [u8; HEADER_BYTES + PAYLOAD_BYTES],
    header: Header,
    frames: u32,
}

/// A viewer of the first stream that reads what it is sent.
pub(super) struct Witness {
    port: Mmsg,
    _wake: Wake,
    pub(super) seen: Seen,
}

/// When frames were to be sent, and when they were there.
#[derive(Default)]
pub(super) struct Seen {
    came: Option<Time>,
    first: Option<u32>,
    pub(super) due: Vec<Time>,
    pub(super) outside_ns: Vec<u64>,
}

impl Source {
    pub(super) fn new(n: u32) -> std::io::Result<Self> {
        let mut packet = [0x5a; HEADER_BYTES + PAYLOAD_BYTES];
        packet[HEADER_BYTES] = 0x41;
        Ok(Self {
            socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?,
            packet,
            header: Header {
                marker: false,
                payload_type: 96,
                sequence: 0,
                timestamp: 0,
                ssrc: 0x100 + n,
            },
            frames: 0,
        })
    }

    /// Sends a frame, one packet after another. What the worker has no room for is lost.
    pub(super) fn send(&mut self, to: SocketAddr, packets: u8, is_key: bool) {
        self.header.timestamp = self.frames.wrapping_mul(TICKS);
        self.frames = self.frames.wrapping_add(1);
        for nth in 0..packets {
            self.header.marker = nth + 1 == packets;
            let _ = self.header.write(&[], &mut self.packet[..HEADER_BYTES]);
            self.header.sequence = self.header.sequence.wrapping_add(1);
            // H.264: parameter sets and a keyframe, or another frame.
            self.packet[HEADER_BYTES] = match (is_key, nth) {
                (true, 0) => 0x67,
                (true, _) => 0x65,
                _ => 0x41,
            };
            let _ = self.socket.send_to(&self.packet, to);
        }
    }
}

impl Witness {
    pub(super) fn new() -> Result<Self, io::Error> {
        let socket = Socket::bind((Ipv4Addr::LOCALHOST, 0).into(), &SocketConfig::default())?;
        let wake = Wake::new()?;
        Ok(Self {
            port: Mmsg::new(socket, wake.fd()?, &PortConfig::default())?,
            _wake: wake,
            seen: Seen::default(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.port.socket().local()
    }

    pub(super) fn look(&mut self) {
        self.port.recv(Time::ZERO, &mut self.seen);
    }
}

impl RxSink for Seen {
    fn came(&mut self, at: Option<Time>) {
        self.came = at;
    }

    fn datagram(&mut self, _: RxMeta, bytes: &mut [u8]) {
        let is_last = bytes.get(1) == Some(&(0x80 | PAYLOAD_TYPE));
        if !is_last || bytes.len() < HEADER_BYTES {
            return;
        }
        let timestamp = u32_at(bytes, 4);
        let first = *self.first.get_or_insert(timestamp);
        let frame = timestamp.wrapping_sub(first) / TICKS;
        let due = usize::try_from(frame).ok().and_then(|n| self.due.get(n));
        if let (Some(due), Some(came)) = (due, self.came) {
            self.outside_ns.push(came.since(*due).0);
        }
    }
}

pub(super) fn publisher(stream: StreamId, peer: SocketAddr, source: &Source) -> AddPublisher {
    let mut lanes = [TrackIn::default(); link::lanes::LANES_MAX];
    lanes[0] = TrackIn {
        ssrc: source.header.ssrc,
        clock_hz: 90_000,
        codec: Codec::H264,
        ..TrackIn::default()
    };
    AddPublisher {
        stream,
        viewer: None,
        peer: peer.into(),
        keys: SrtpKeys {
            profile: Profile::Plain,
            ..SrtpKeys::default()
        },
        audio: Origin::default(),
        lanes,
        rid_id: 0,
        repaired_rid_id: 0,
        transport_cc_id: 0,
        remb_bps: 0,
    }
}

pub(super) fn viewer(id: ViewerId, stream: StreamId, peer: SocketAddr) -> AddViewer {
    let n = id.index;
    let mut tracks = [TrackOut::default(); 2];
    tracks[0] = TrackOut {
        ssrc: 0x1000_0000 + n,
        clock_hz: 90_000,
        payload_type: PAYLOAD_TYPE,
        first_index: u64::from(n),
        ..TrackOut::default()
    };
    AddViewer {
        viewer: id,
        stream,
        peer: peer.into(),
        local: IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
        ice: IceCredentials {
            ufrag: ufrag(n, [7; 12]),
            pwd: [b'p'; 24],
        },
        keys: SrtpKeys {
            profile: Profile::AeadAes128Gcm,
            send: master(n),
            receive: master(!n),
        },
        tracks,
        rtcp_first_index: 0,
        encoding: None,
    }
}
