//! Owns the way of plaintext through a data plane: publishers, a viewer, a stranger, and planes
//! that take over.

use ::link::Region;
use ::link::channel::{EventConsumer, PuntConsumer};
use ::link::command::{
    AUDIO, AddPublisher, AddViewer, COMMAND_BYTES, Codec, Command, IceCredentials, Origin,
};
use ::link::command::{Pin, Rid, TRACKS_MAX, TrackIn, TrackOut, VIDEO, Wants};
use ::link::ids::{CoreId, StreamId, ViewerId, ufrag};
use ::link::keys::SrtpKeys;
use ::link::lanes::{LANES_MAX, LAYERS, Lanes};
use ::link::limits::Limits;
use ::plane::{Blank, Cipher, HandoverError, Outlets, Plane};
use ::wire::datagram::{DATAGRAM_MAX, Egress, RUN_BYTES_MAX, RunMeta, RxMeta, RxSink, Slot};
use ::wire::demux::{Class, classify};
use ::wire::peer::{Ip, Peer};
use ::wire::rtcp::compound;
use ::wire::rtp::{Header, Packet};
use ::wire::rtp_ext::Block;
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
const RID_ID: u8 = 10;
const REPAIRED_RID_ID: u8 = 11;

/// Encodings of a simulcast, by layer.
const RIDS: [&[u8]; 3] = [b"q", b"h", b"f"];

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

/// The first byte chooses the codec, and whether there are several encodings. Then pieces, each
/// with what is done first: see [`World::step`]. Nothing is sealed: what arrives is what a peer
/// with good keys could send.
pub fn plane(data: &[u8]) {
    let Some((first, data)) = data.split_first() else {
        return;
    };
    let mut world = World::new(*first);
    for piece in pieces(data) {
        if let Some((what, rest)) = piece.split_first() {
            world.step(*what, rest);
        }
    }
    world.end();
}

/// A data plane with everybody who is there.
pub(super) struct World {
    /// Missing between two that take over.
    plane: Option<Plane>,
    sink: Sink,
    now: Time,
    ticked_at: Time,
    viewer: ViewerId,
    /// Where the publisher, the viewer, nobody and the other publisher are.
    at: [RxMeta; 4],
    /// The one that is there at first, and the other one.
    publishers: [AddPublisher; 2],
    /// Of the publisher's next packet, of each encoding.
    sequences: [u16; 3],
    timestamp: u32,
    events: EventConsumer,
    punts: PuntConsumer,
    region: Region,
}

impl World {
    pub(super) fn new(first: u8) -> Self {
        let codec = CODECS[usize::from(first) % CODECS.len()];
        let is_simulcast = usize::from(first) / CODECS.len() % 2 == 1;
        let region = Region::create(&LIMITS).expect("memory for a small world");
        let outlets = Outlets::take(&region, CoreId(0)).expect("nobody else has them");
        let stream = region
            .open_stream(0, "live/fuzz")
            .expect("the first stream");
        let ids = [0, 1, 2].map(|index| region.open_viewer(index).expect("a free place").id());
        let mut world = Self {
            plane: Some(Plane::new(CoreId(0), &LIMITS, outlets, 42)),
            sink: Sink::default(),
            now: Time(1_000_000_000_000),
            ticked_at: Time::ZERO,
            viewer: ids[1],
            at: [10, 11, 12, 13].map(address),
            publishers: [0, 2].map(|at| publisher_of(ids[at], stream, codec, is_simulcast)),
            sequences: [65_000, 65_500, 7],
            timestamp: 77,
            events: region
                .events_consumer(CoreId(0))
                .expect("nobody else has it"),
            punts: region
                .punts_in_consumer(CoreId(0))
                .expect("nobody else has it"),
            region,
        };
        let publisher = world.viewer_of(0, ids[0], stream, false);
        let viewer = world.viewer_of(1, ids[1], stream, true);
        let other = world.viewer_of(3, ids[2], stream, false);
        let commands = [
            Command::AddViewer(publisher),
            Command::AddViewer(viewer),
            Command::AddViewer(other),
            Command::AddPublisher(world.publishers[0]),
        ];
        for command in commands {
            world.apply(&command);
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
    /// packet of the publisher's video. 5: a check of the viewer from somewhere else. 6: another
    /// plane takes over. 7: a datagram of the other publisher. 8: one publisher makes room for the
    /// other. 9: the next packet of an encoding. 10: what control may ask for.
    pub(super) fn step(&mut self, what: u8, rest: &[u8]) {
        match what % 11 {
            from @ 0..=2 => self.send(self.at[usize::from(from)], rest),
            3 => {
                let ms = rest.first().copied().unwrap_or(1);
                self.turn(Span::millis(u64::from(ms)));
            }
            4 => self.video(None, rest),
            5 => self.check(rest.first().copied().unwrap_or(0)),
            6 => self.take_over(),
            7 => self.send(self.at[3], rest),
            8 => {
                let which = usize::from(rest.first().copied().unwrap_or(0) & 1);
                self.apply(&Command::AddPublisher(self.publishers[which]));
            }
            9 => {
                if let Some((layer, rest)) = rest.split_first() {
                    self.video(Some(usize::from(*layer) % RIDS.len()), rest);
                }
            }
            _ => self.ask(rest),
        }
        self.turn(Span::micros(100));
    }

    /// Time for everything to come to an end.
    pub(super) fn end(&mut self) {
        for _ in 0..40 {
            self.turn(Span::millis(50));
        }
    }

    fn apply(&mut self, command: &Command) {
        let now = self.now;
        self.plane().apply(now, command);
    }

    fn plane(&mut self) -> &mut Plane {
        self.plane.as_mut().expect("there is one")
    }

    /// What one plane leaves is what the next one would leave at once.
    fn take_over(&mut self) {
        self.plane().settle();
        self.turn(Span::ZERO);
        let left = self.leave();
        self.goes_on(&left);
    }

    /// What a plane leaves is taken up whole by the next one, and left again by that.
    pub(super) fn goes_on(&mut self, left: &[u8]) {
        self.go_on(&[], left)
            .expect("what a plane leaves can be read");
        let again = self.leave();
        assert!(
            without_commands(left) == without_commands(&again),
            "something was forgotten"
        );
        self.go_on(&[], &again).expect("and read again");
        let third = self.leave();
        assert!(again == third, "something was forgotten");
        self.go_on(&[], &third).expect("and once more");
        let (told, left) = self.leave_knowing();
        self.go_on(&told, &left).expect("what was told ahead, too");
        let last = self.leave();
        assert!(sorted(&third) == sorted(&last), "something was not told");
        self.go_on(&[], &last).expect("to the end");
    }

    /// The plane is gone, and leaves this.
    pub(super) fn leave(&mut self) -> Vec<u8> {
        let mut left = Vec::new();
        let mut plane = self.plane.take().expect("there is one");
        plane
            .hand_over(false, &mut left)
            .expect("there is memory for it");
        left
    }

    /// The same, and what it has told ahead.
    fn leave_knowing(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (mut told, mut left) = (Vec::new(), Vec::new());
        let mut plane = self.plane.take().expect("there is one");
        plane.begin_ahead();
        let telling = plane.tell_ahead(usize::MAX, &mut told);
        assert!(telling.expect("there is memory for it"), "all");
        let leaving = plane.hand_over(true, &mut left);
        leaving.expect("there is memory for it");
        (told, left)
    }

    /// Another plane goes on with what was told ahead and what is left, whether it can read all of
    /// it or not.
    pub(super) fn go_on(&mut self, mut told: &[u8], left: &[u8]) -> Result<(), HandoverError> {
        self.plane = None;
        let mut blank = Blank::new(CoreId(0), &LIMITS, 42);
        let (now, region, cipher) = (self.now, &self.region, Cipher::best());
        let learnt = blank.learn(now, region, cipher, &mut told, usize::MAX);
        let outlets = Outlets::take(region, CoreId(0)).expect("nobody else has them");
        let plane = self.plane.insert(blank.with(outlets));
        learnt.and(plane.go_on(now, left))
    }

    /// A pin of the viewer, a keyframe, an end of the publisher.
    fn ask(&mut self, rest: &[u8]) {
        let &[what, a, b, c] = rest.first_chunk().unwrap_or(&[0; 4]);
        let stream = self.publishers[0].stream;
        let pin = Pin {
            lane: (a < 4).then_some(a),
            spatial_max: b % 8,
            temporal_max: c % 8,
        };
        self.apply(&match what % 4 {
            0 | 1 => Command::ChooseLayer(self.viewer, pin),
            2 => Command::AskKeyframe(stream, Lanes(a).and(Lanes::VIDEO)),
            _ => Command::RemovePublisher(stream),
        });
    }

    /// The payload comes after a byte with the marker, how many numbers are left out, and whether
    /// a frame begins. An encoding of several has its name in the packet.
    fn video(&mut self, layer: Option<usize>, rest: &[u8]) {
        let Some((first, payload)) = rest.split_first() else {
            return;
        };
        let at = layer.unwrap_or(0);
        let sequence = self.sequences[at].wrapping_add(1 + u16::from(first & 0x0f));
        self.sequences[at] = sequence;
        if first & 0x40 != 0 {
            self.timestamp = self.timestamp.wrapping_add(3000);
        }
        let ssrc = VIDEO_SSRC + u32::try_from(at).expect("0 to 2");
        let header = Header {
            marker: first & 0x80 != 0,
            payload_type: VIDEO_TYPE,
            sequence,
            timestamp: self.timestamp,
            ssrc,
        };
        let mut block = Block::new();
        if let Some(layer) = layer {
            block.push(RID_ID, RIDS[layer]);
        }
        let mut out = vec![0; 32 + payload.len()];
        let used = header.write(block.as_bytes(), &mut out);
        out.truncate(used + payload.len());
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
        let now = self.now;
        self.plane().begin(now);
        self.plane().datagram(from, &mut bytes);
    }

    fn turn(&mut self, span: Span) {
        self.now = self.now + span;
        let plane = self.plane.as_mut().expect("there is one");
        plane.begin(self.now);
        plane.fan_out(self.now, &mut self.sink);
        if self.now.since(self.ticked_at) >= Span::millis(10) {
            self.ticked_at = self.now;
            plane.tick(self.now, self.now.0 + UNIX_OFFSET);
        }
        while self.events.pop().is_some() {}
        while self.punts.pop(|punt| punt.bytes.len()).is_some() {}
    }
}

fn publisher_of(
    viewer: ViewerId,
    stream: StreamId,
    codec: Codec,
    is_simulcast: bool,
) -> AddPublisher {
    let video = TrackIn {
        clock_hz: 90_000,
        payload_type: VIDEO_TYPE,
        rtx_payload_type: RTX_TYPE,
        codec,
        wants: Wants::ALL,
        elements: [13, 0, 8],
        ..TrackIn::default()
    };
    let mut lanes = [TrackIn::default(); LANES_MAX];
    lanes[VIDEO] = video;
    lanes[AUDIO] = TrackIn {
        clock_hz: 48_000,
        payload_type: AUDIO_TYPE,
        elements: [0, 1, 8],
        red_payload_type: RED_TYPE,
        ..TrackIn::default()
    };
    if is_simulcast {
        for (lane, rid) in LAYERS.into_iter().zip(RIDS) {
            let rid = Rid::new(rid).expect("a short name");
            lanes[lane] = TrackIn { rid, ..video };
        }
    }
    AddPublisher {
        stream,
        viewer: Some(viewer),
        // The viewers' places are those of the addresses, but for the one who watches.
        peer: address(if viewer.index == 0 { 10 } else { 13 }).peer,
        keys: plain(),
        audio: Origin::default(),
        lanes,
        rid_id: if is_simulcast { RID_ID } else { 0 },
        repaired_rid_id: if is_simulcast { REPAIRED_RID_ID } else { 0 },
        transport_cc_id: TRANSPORT_ID,
        remb_bps: 1_000_000,
    }
}

/// What a plane leaves, but for the commands by which it would be told of its viewers: the first
/// numbers in them are raised to what was leased, while those that are used stand elsewhere.
fn without_commands(left: &[u8]) -> Vec<u8> {
    /// `add` and the length of a command, in CBOR.
    const FIELD: [u8; 7] = [0x63, b'a', b'd', b'd', 0x59, 0x01, 0x80];
    let mut out = left.to_vec();
    let mut at = 0;
    while let Some(found) = out[at..].windows(FIELD.len()).position(|it| it == FIELD) {
        at += found + FIELD.len();
        let end = (at + COMMAND_BYTES).min(out.len());
        out[at..end].fill(0);
    }
    out
}

/// The parts of a handover in the order of their bytes, without those commands.
fn sorted(left: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &without_commands(left)[..];
    let mut parts = Vec::new();
    while let Some(length) = rest.get(4..8).and_then(<[u8]>::first_chunk) {
        let (part, more) = rest.split_at(8 + u32::from_le_bytes(*length) as usize);
        parts.push(part.to_vec());
        rest = more;
    }
    parts.sort();
    parts
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
