//! Once a stream plays, nothing is allocated: not for media, repairs, replays, checks or reports.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod counting;

use freshet_plane::{Outlets, Plane};
use link::Region;
use link::command::{
    AUDIO, AddPublisher, AddViewer, Codec, Command, IceCredentials, Origin, TRACKS_MAX, TrackIn,
    TrackOut, VIDEO, Wants,
};
use link::elements::KINDS;
use link::ids::{CoreId, ufrag};
use link::keys::{MasterKey, SrtpKeys};
use link::limits::Limits;
use link::log::{Flags, LogWriter, Record};
use link::stats::Counter;
use seal::{Profile, Sealer, Secret};
use wire::datagram::{self, Egress, RUN_BYTES_MAX, RunMeta, RxMeta, RxSink};
use wire::peer::{Ip, Peer};
use wire::rtcp_feedback::{write_nack, write_pli};
use wire::rtp::Header;
use wire::rtp_ext::Block;
use wire::stun::{Request, Role};
use wire::time::{Span, Time};

/// An egress of one run, overwritten by the next.
struct Slot {
    memory: Box<[u8]>,
    datagrams: u64,
    claims: u64,
    /// Runs whose first packet has header-extension elements.
    extended: u64,
    /// Runs that begin with sound with redundancy.
    redundant: u64,
}

impl Egress for Slot {
    fn segments_max(&self) -> u8 {
        64
    }
    fn claim(&mut self, run: RunMeta) -> Option<datagram::Slot<'_>> {
        self.claims += 1;
        // Full now and then, so that viewers fall behind.
        if self.claims.is_multiple_of(7) {
            return None;
        }
        self.datagrams += u64::from(run.segments);
        self.memory.get_mut(..run.bytes).map(datagram::Slot::joined)
    }
    fn commit(&mut self, _: usize) {
        self.extended += u64::from(self.memory[0] & 0x10 != 0);
        self.redundant += u64::from(self.memory[1] & 0x7f == RED_TYPE);
    }
}

const VIEWERS: u8 = 20;

/// Each of so many takes what goes with the media: elements, sound with redundancy.
const TAKER: u8 = 3;

const RED_TYPE: u8 = 63;

struct Peers {
    at: Vec<RxMeta>,
    ice: Vec<IceCredentials>,
    sealers: Vec<Sealer>,
}

fn add_viewers(
    region: &Region,
    plane: &mut Plane,
    now: Time,
    stream: link::ids::StreamId,
) -> Peers {
    let mut peers = Peers {
        at: Vec::new(),
        ice: Vec::new(),
        sealers: Vec::new(),
    };
    for n in 0..VIEWERS {
        let viewer = region.open_viewer(u32::from(n)).unwrap().id();
        let mut master = MasterKey::default();
        master.key[..16].fill(n);
        let out = |ssrc: u32, clock_hz| TrackOut {
            ssrc,
            rtx_ssrc: ssrc + 1,
            clock_hz,
            ..TrackOut::default()
        };
        let at = RxMeta {
            peer: Peer {
                ip: Ip([n; 16]),
                port: 9,
            },
            local: Ip([200; 16]),
        };
        let ice = IceCredentials {
            ufrag: ufrag(u32::from(n), [n; 12]),
            pwd: [b'p'; 24],
        };
        let mut tracks = [out(10, 90_000), out(20, 48_000)];
        if n.is_multiple_of(TAKER) {
            tracks[VIDEO].elements = [5, 0, 6];
            tracks[AUDIO].elements = [0, 7, 6];
            tracks[AUDIO].red_payload_type = RED_TYPE;
        }
        let add = AddViewer {
            viewer,
            stream,
            peer: at.peer,
            local: at.local,
            ice,
            keys: SrtpKeys {
                profile: Profile::AeadAes128Gcm,
                send: master,
                receive: master,
            },
            tracks,
            rtcp_first_index: 0,
            encoding: None,
        };
        plane.apply(now, &Command::AddViewer(add));
        let secret = Secret::new(
            Profile::AeadAes128Gcm,
            &master.key[..16],
            &master.salt[..12],
        )
        .unwrap();
        peers.at.push(at);
        peers.ice.push(ice);
        peers.sealers.push(Sealer::new(&secret).unwrap());
    }
    peers
}

fn frame(writer: &mut LogWriter, now: Time, nth: u32) {
    let key = nth.is_multiple_of(100);
    let packets = if key { 20 } else { 4 };
    for packet in 0..packets {
        let mut flags = if key { Flags::KEY } else { Flags::NONE };
        if packet == 0 {
            flags |= Flags::FIRST;
        }
        let record = Record {
            flags,
            timestamp: nth * 3000,
            capture: now,
            arrival: now,
            ..Record::default()
        };
        let number = u16::try_from(nth & 0xffff).unwrap().to_be_bytes();
        let descriptor = [0xc0, number[0], number[1]];
        let elements = [&descriptor[..], &[], &[1; 8]];
        let elements = if packet == 0 {
            elements
        } else {
            [&[][..]; KINDS]
        };
        writer
            .append_with(&record, &[&[5; 1000]], elements)
            .unwrap();
    }
    let audio = Record {
        lane: 1,
        timestamp: nth * 960,
        primary_at: 45,
        capture: now,
        arrival: now,
        ..Record::default()
    };
    let blocks = [0x80 | 111, 0, 0, 40, 111];
    let elements = [&[][..], &[0x85], &[]];
    writer
        .append_with(&audio, &[&blocks, &[6; 100]], elements)
        .unwrap();
    writer.publish();
}

/// Feedback of a viewer into a buffer on the stack.
fn feedback(plane: &mut Plane, peers: &Peers, n: usize, index: &mut u32, nth: u32) {
    let mut plain = [0; 128];
    let lost = u16::try_from(nth * 3 % 60_000).unwrap();
    let used = if nth.is_multiple_of(50) {
        write_pli(1, 10, &mut plain)
    } else {
        write_nack(1, 10, &[lost, lost + 1], &mut plain)
    };
    let mut bytes = [0; 256];
    let sealed = peers.sealers[n].rtcp(*index, &plain[..used], &mut bytes);
    *index += 1;
    plane.datagram(peers.at[n], &mut bytes[..sealed.unwrap()]);
    let mut transaction = [0; 12];
    transaction[..4].copy_from_slice(&(nth << 8 | u32::try_from(n).unwrap()).to_be_bytes());
    let request = Request {
        transaction,
        remote_ufrag: &peers.ice[n].ufrag,
        local_ufrag: b"peer",
        key: &peers.ice[n].pwd,
        priority: 1,
        role: Role::Controlling(1),
        use_candidate: nth.is_multiple_of(3),
    };
    let used = request.write(&mut bytes);
    let mut from = peers.at[n];
    from.peer.port += u16::try_from(nth % 9).unwrap();
    plane.datagram(from, &mut bytes[..used]);
    plane.datagram(from, &mut [22, 0xfe, 0xfd]);
}

/// A publisher by the viewer with this index, which takes nothing.
const PUBLISHER: u8 = 31;

fn add_publisher(region: &Region, plane: &mut Plane, now: Time) -> (RxMeta, Sealer) {
    let stream = region.open_stream(1, "p").unwrap();
    let viewer = region.open_viewer(u32::from(PUBLISHER)).unwrap().id();
    let at = RxMeta {
        peer: Peer {
            ip: Ip([PUBLISHER; 16]),
            port: 9,
        },
        local: Ip([200; 16]),
    };
    let mut master = MasterKey::default();
    master.key[..16].fill(PUBLISHER);
    let keys = SrtpKeys {
        profile: Profile::AeadAes128Gcm,
        send: master,
        receive: master,
    };
    plane.apply(
        now,
        &Command::AddViewer(AddViewer {
            viewer,
            stream,
            peer: at.peer,
            local: at.local,
            ice: IceCredentials::default(),
            keys,
            tracks: [TrackOut::default(); TRACKS_MAX],
            rtcp_first_index: 0,
            encoding: None,
        }),
    );
    let video = TrackIn {
        clock_hz: 90_000,
        payload_type: 102,
        rtx_payload_type: 103,
        codec: Codec::H264,
        wants: Wants::ALL,
        ..TrackIn::default()
    };
    let none = TrackIn::default();
    plane.apply(
        now,
        &Command::AddPublisher(AddPublisher {
            stream,
            viewer: Some(viewer),
            peer: at.peer,
            keys,
            audio: Origin::default(),
            lanes: [video, none, none, none],
            rid_id: 0,
            repaired_rid_id: 0,
            transport_cc_id: 3,
            remb_bps: 1_000_000,
        }),
    );
    let secret = Secret::new(
        Profile::AeadAes128Gcm,
        &master.key[..16],
        &master.salt[..12],
    )
    .unwrap();
    (at, Sealer::new(&secret).unwrap())
}

/// A packet of the publisher's, sealed into a buffer on the stack; with `osn` it is a repair.
fn publish(
    plane: &mut Plane,
    (at, sealer): &(RxMeta, Sealer),
    index: u64,
    osn: Option<u16>,
    nth: u32,
) {
    let (mut head, mut bytes) = ([0; 64], [0; 1300]);
    let mut block = Block::new();
    let number = u16::try_from(nth & 0xffff).unwrap();
    block.push(3, &number.to_be_bytes());
    let header = Header {
        marker: true,
        payload_type: if osn.is_some() { 103 } else { 102 },
        sequence: u16::try_from(index & 0xffff).unwrap(),
        timestamp: u32::try_from(index * 300).unwrap(),
        ssrc: if osn.is_some() { 7001 } else { 7000 },
    };
    let used = header.write(block.as_bytes(), &mut head);
    let mut payload = [0x41; 1000];
    if nth.is_multiple_of(500) {
        payload[0] = 0x67;
    }
    let osn = osn.map(u16::to_be_bytes);
    let parts = [osn.as_ref().map_or(&[][..], |osn| osn), &payload[..]];
    let sealed = sealer.rtp_parts(index, &head[..used], parts, &mut bytes);
    plane.datagram(*at, &mut bytes[..sealed.unwrap()]);
}

/// Ten packets a turn, the third of every fifth turn missing; every second of those is repaired.
fn publish_turn(plane: &mut Plane, publisher: &(RxMeta, Sealer), nth: u32) {
    for packet in 0..10 {
        let number = 10 * nth + packet;
        if packet == 2 && nth.is_multiple_of(5) {
            continue;
        }
        publish(plane, publisher, u64::from(number), None, number);
    }
    if nth % 10 == 2 {
        let lost = u16::try_from((10 * (nth - 2) + 2) & 0xffff).unwrap();
        publish(plane, publisher, u64::from(nth), Some(lost), 10 * nth + 2);
    }
}

#[test]
fn nothing_is_allocated_while_a_stream_plays() {
    let limits = Limits {
        cores: 1,
        streams_max: 2,
        viewers_max: 32,
        log_packets: 1024,
        commands_max: 4,
        events_max: 4,
        punts_max: 4,
    };
    let region = Region::create(&limits).unwrap();
    let stream = region.open_stream(0, "s").unwrap();
    let mut writer = region.log_writer(stream).unwrap();
    let outlets = Outlets::take(&region, CoreId(0)).unwrap();
    let mut plane = Plane::new(CoreId(0), &limits, outlets, 1);
    let mut now = Time(Span::secs(9).0);
    let peers = add_viewers(&region, &mut plane, now, stream);
    let mut egress = Slot {
        memory: vec![0; RUN_BYTES_MAX].into_boxed_slice(),
        datagrams: 0,
        claims: 0,
        extended: 0,
        redundant: 0,
    };
    let publisher = add_publisher(&region, &mut plane, now);
    let mut indexes = [0; VIEWERS as usize];
    for nth in 0..2000_u32 {
        if nth == 200 {
            counting::begin();
        }
        now = now + Span::millis(10);
        plane.begin(now);
        if nth.is_multiple_of(3) {
            frame(&mut writer, now, nth / 3);
        }
        publish_turn(&mut plane, &publisher, nth);
        for (n, index) in indexes.iter_mut().enumerate() {
            if (nth as usize + n).is_multiple_of(10) {
                feedback(&mut plane, &peers, n, index, nth);
            }
        }
        plane.fan_out(now, &mut egress);
        plane.tick(now, now.0);
        let _ = plane.next_deadline();
        let _ = plane.ready();
    }
    assert_eq!(counting::end(), 0);
    let stats = region.stats(CoreId(0)).unwrap();
    for did in [
        Counter::RetransmissionSent,
        Counter::KeyframeReplayed,
        Counter::StunAnswered,
        Counter::ViewerMoved,
        Counter::ReportSent,
        Counter::EgressFull,
        Counter::EventLostFull,
        Counter::PuntDroppedFull,
        Counter::RtpRecovered,
        Counter::RtpLost,
        Counter::NackSent,
        Counter::PliSent,
        Counter::ReceiverReportSent,
        Counter::TransportFeedbackSent,
    ] {
        assert!(stats.read(did) > 0, "{did:?} never happened");
    }
    assert!(egress.datagrams > 40_000, "{}", egress.datagrams);
    let goes_with = (egress.extended, egress.redundant);
    assert!(goes_with.0 > 1_000 && goes_with.1 > 1_000, "{goes_with:?}");
}
