//! Owns the way of plaintext through a data plane: a publisher, a viewer, and a stranger.

use ::link::Region;
use ::link::channel::{EventConsumer, PuntConsumer};
use ::link::command::{AUDIO, AddPublisher, AddViewer, Codec, Command, IceCredentials, Origin};
use ::link::command::{TRACKS_MAX, TrackIn, TrackOut, VIDEO, Wants};
use ::link::ids::{CoreId, StreamId, ViewerId, ufrag};
use ::link::keys::SrtpKeys;
use ::link::lanes::LANES_MAX;
use ::link::limits::Limits;
use ::plane::{Outlets, Plane};
use ::wire::datagram::{DATAGRAM_MAX, Egress, RUN_BYTES_MAX, RunMeta, RxMeta, RxSink, Slot};
use ::wire::demux::{Class, classify};
use ::wire::peer::{Ip, Peer};
use ::wire::rtcp::compound;
use ::wire::rtp::{Header, Packet};
use ::wire::srtp::Profile;
use ::wire::stun::{Request, Role};
use ::wire::time::{Span, Time};

use super::pieces;

const LIMITS: Limits = Limits {
    cores: 1,
    streams_max: 2,
    viewers_max: 4,
    log_packets: 256,
    commands_max: 16,
    events_max: 64,
    punts_max: 4,
};

const PASSWORD: [u8; 24] = [b'p'; 24];
const VIDEO_TYPE: u8 = 102;
const RTX_TYPE: u8 = 103;
const RED_TYPE: u8 = 63;
const AUDIO_TYPE: u8 = 111;
const TRANSPORT_ID: u8 = 4;
const VIDEO_SSRC: u32 = 0x5000_0000;
const UNIX_OFFSET: u64 = 1_700_000_000_000_000_000;

const CODECS: [Codec; 6] = [
    Codec::H264,
    Codec::H265,
    Codec::Vp8,
    Codec::Vp9,
    Codec::Av1,
    Codec::Unknown,
];

/// The first byte chooses the codec. Then pieces, each with what is done first: see
/// [`World::step`]. Nothing is sealed: what arrives is what a peer with good keys could send.
pub fn plane(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let mut world = World::new(CODECS[usize::from(*first) % CODECS.len()]);
    for piece in pieces(data) {
        if let Some((what, rest)) = piece.split_first() {
            world.step(*what, rest);
        }
    }
    for _ in 0..40 {
        world.turn(Span::millis(50));
    }
}

struct World {
    plane: Plane,
    sink: Sink,
    now: Time,
    ticked_at: Time,
    viewer: ViewerId,
    /// Where the publisher, the viewer and nobody are.
    at: [RxMeta; 3],
    /// Of the publisher's next packet.
    sequence: u16,
    timestamp: u32,
    events: EventConsumer,
    punts: PuntConsumer,
    _region: Region,
}

impl World {
    fn new(codec: Codec) -> Self {
        let region = Region::create(&LIMITS).expect("memory for a small world");
        let outlets = Outlets::take(&region, CoreId(0)).expect("nobody else has them");
        let stream = region
            .open_stream(0, "live/fuzz")
            .expect("the first stream");
        let ids = [0, 1].map(|index| region.open_viewer(index).expect("a free place").id());
        let mut world = Self {
            plane: Plane::new(CoreId(0), &LIMITS, outlets, 42),
            sink: Sink::default(),
            now: Time(1_000_000_000_000),
            ticked_at: Time::ZERO,
            viewer: ids[1],
            at: [10, 11, 12].map(address),
            sequence: 65_000,
            timestamp: 77,
            events: region
                .events_consumer(CoreId(0))
                .expect("nobody else has it"),
            punts: region
                .punts_in_consumer(CoreId(0))
                .expect("nobody else has it"),
            _region: region,
        };
        let publisher = world.viewer_of(0, ids[0], stream, false);
        let viewer = world.viewer_of(1, ids[1], stream, true);
        let commands = [
            Command::AddViewer(publisher),
            Command::AddViewer(viewer),
            Command::AddPublisher(publisher_of(&publisher, codec)),
        ];
        for command in commands {
            world.plane.apply(world.now, &command);
        }
        world.turn(Span::millis(10));
        world
    }

    fn viewer_of(
        &self,
        nth: usize,
        viewer: ViewerId,
        stream: StreamId,
        watches: bool,
    ) -> AddViewer {
        let mut tracks = [TrackOut::default(); TRACKS_MAX];
        if watches {
            let track = |ssrc, clock_hz, payload_type| TrackOut {
                ssrc,
                clock_hz,
                payload_type,
                first_index: 0x7ff0,
                elements: [9, 10, 11],
                ..TrackOut::default()
            };
            tracks[VIDEO] = TrackOut {
                rtx_ssrc: 2,
                rtx_payload_type: RTX_TYPE,
                ..track(1, 90_000, VIDEO_TYPE)
            };
            tracks[AUDIO] = track(3, 48_000, AUDIO_TYPE);
        }
        AddViewer {
            viewer,
            stream,
            peer: self.at[nth].peer,
            local: self.at[nth].local,
            ice: IceCredentials {
                ufrag: ufrag(viewer.index, [7; 12]),
                pwd: PASSWORD,
            },
            keys: plain(),
            tracks,
            rtcp_first_index: 3,
            encoding: None,
        }
    }

    /// 0 to 2: a datagram of the publisher, the viewer, a stranger. 3: time passes. 4: the next
    /// packet of the publisher's video. 5: a check of the viewer from somewhere else.
    fn step(&mut self, what: u8, rest: &[u8]) {
        match what % 6 {
            from @ 0..=2 => self.send(self.at[usize::from(from)], rest),
            3 => {
                let ms = rest.first().copied().unwrap_or(1);
                self.turn(Span::millis(u64::from(ms)));
            }
            4 => self.video(rest),
            _ => self.check(rest.first().copied().unwrap_or(0)),
        }
        self.turn(Span::micros(100));
    }

    /// The payload comes after a byte with the marker, how many numbers are left out, and whether
    /// a frame begins.
    fn video(&mut self, rest: &[u8]) {
        let Some((first, payload)) = rest.split_first() else {
            return;
        };
        self.sequence = self.sequence.wrapping_add(1 + u16::from(first & 0x0f));
        if first & 0x40 != 0 {
            self.timestamp = self.timestamp.wrapping_add(3000);
        }
        let header = Header {
            marker: first & 0x80 != 0,
            payload_type: VIDEO_TYPE,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: VIDEO_SSRC,
        };
        let mut out = vec![0; 12 + payload.len()];
        let used = header.write(&[], &mut out);
        out[used..].copy_from_slice(payload);
        self.send(self.at[0], &out);
    }

    fn check(&mut self, last: u8) {
        let ufrag = ufrag(self.viewer.index, [7; 12]);
        let request = Request {
            transaction: [last; 12],
            remote_ufrag: &ufrag,
            local_ufrag: b"peer",
            key: &PASSWORD,
            priority: u32::from(last),
            role: Role::Controlling(7),
            use_candidate: last & 1 == 1,
        };
        let mut out = [0; 256];
        let used = request.write(&mut out);
        self.send(address(last), &out[..used]);
    }

    fn send(&mut self, from: RxMeta, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        bytes.truncate(DATAGRAM_MAX);
        self.plane.begin(self.now);
        self.plane.datagram(from, &mut bytes);
    }

    fn turn(&mut self, span: Span) {
        self.now = self.now + span;
        self.plane.begin(self.now);
        self.plane.fan_out(self.now, &mut self.sink);
        if self.now.since(self.ticked_at) >= Span::millis(10) {
            self.ticked_at = self.now;
            self.plane.tick(self.now, self.now.0 + UNIX_OFFSET);
        }
        while self.events.pop().is_some() {}
        while self.punts.pop(|punt| punt.bytes.len()).is_some() {}
    }
}

fn publisher_of(viewer: &AddViewer, codec: Codec) -> AddPublisher {
    let mut lanes = [TrackIn::default(); LANES_MAX];
    lanes[VIDEO] = TrackIn {
        clock_hz: 90_000,
        payload_type: VIDEO_TYPE,
        rtx_payload_type: RTX_TYPE,
        codec,
        wants: Wants::ALL,
        elements: [13, 0, 8],
        ..TrackIn::default()
    };
    lanes[AUDIO] = TrackIn {
        clock_hz: 48_000,
        payload_type: AUDIO_TYPE,
        elements: [0, 1, 8],
        red_payload_type: RED_TYPE,
        ..TrackIn::default()
    };
    AddPublisher {
        stream: viewer.stream,
        viewer: Some(viewer.viewer),
        peer: viewer.peer,
        keys: plain(),
        audio: Origin::default(),
        lanes,
        rid_id: 0,
        repaired_rid_id: 0,
        transport_cc_id: TRANSPORT_ID,
        remb_bps: 1_000_000,
    }
}

fn plain() -> SrtpKeys {
    SrtpKeys {
        profile: Profile::Plain,
        ..SrtpKeys::default()
    }
}

/// 10.0.0.n, our end 10.0.0.1.
fn address(n: u8) -> RxMeta {
    let ip = |last| Ip([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last]);
    RxMeta {
        peer: Peer {
            ip: ip(n),
            port: 40_000,
        },
        local: ip(1),
    }
}

/// Takes runs, and reads what is in them.
#[derive(Default)]
struct Sink {
    claimed: Option<(RunMeta, Vec<u8>)>,
}

impl Egress for Sink {
    fn segments_max(&self) -> u8 {
        64
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        assert!(run.segments >= 1 && run.segments <= 64);
        assert!(run.bytes > 0 && run.bytes <= RUN_BYTES_MAX);
        let full = usize::from(run.segment_bytes) * usize::from(run.segments);
        assert!(run.bytes <= full && run.bytes > full - usize::from(run.segment_bytes));
        let claimed = self.claimed.insert((run, vec![0xee; run.bytes]));
        Some(Slot::joined(&mut claimed.1))
    }

    fn commit(&mut self, bytes: usize) {
        let (run, memory) = self.claimed.take().expect("claimed before");
        assert_eq!(bytes, run.bytes, "what is claimed is filled");
        for datagram in memory.chunks(usize::from(run.segment_bytes)) {
            match classify(datagram) {
                Class::Rtp => {
                    let packet = Packet::parse(datagram).expect("what we send can be read");
                    assert!(packet.ssrc() <= 3, "a source of the viewer");
                }
                Class::Rtcp => {
                    let mut items = compound(datagram);
                    while items.next().is_some() {}
                    assert_eq!(items.malformed(), None);
                }
                Class::Stun => {}
                other => panic!("{other:?} was sent: {datagram:02x?}"),
            }
        }
    }
}
