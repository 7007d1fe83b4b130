//! A WebRTC publisher as a peer: seals what it sends, keeps it for repairs, opens what comes back.

use link::command::{AUDIO, AddPublisher, Codec, Command, Origin, TRACKS_MAX, TrackIn, TrackOut};
use link::command::{VIDEO, Wants};
use link::ids::StreamId;
use seal::{Sealer, Secret};
use wire::ntp::Ntp;
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::{Message, TransportCc};
use wire::rtcp_report::{Dlrr, ReportBlock, SenderInfo, XrBlock, write_dlrr, write_sender_report};
use wire::rtp::{Header, set_padding};
use wire::rtp_ext::Block;
use wire::time::{Span, Time};

use crate::world::{UNIX_OFFSET, World};

/// Payload types as Chromium has them, and the id of the transport-wide number.
pub const VIDEO_TYPE: u8 = 102;
pub const RTX_TYPE: u8 = 103;
pub const AUDIO_TYPE: u8 = 111;
pub const TRANSPORT_ID: u8 = 4;

/// A plaintext packet that was sent.
#[derive(Clone)]
pub struct Kept {
    pub header: Header,
    pub payload: Vec<u8>,
}

pub struct Peer {
    /// The viewer by which it comes, by its place in the world.
    pub viewer: usize,
    pub add: AddPublisher,
    sealer: Sealer,
    /// The next SRTP index by source: video, audio, repairs.
    pub indexes: [u64; 3],
    pub ssrcs: [u32; 3],
    pub timestamps: [u32; TRACKS_MAX],
    /// What was sent of video, by index.
    pub kept: Vec<(u64, Kept)>,
    transport: u16,
    frames: u32,
    read: usize,
}

/// What came back, item by item.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub blocks: Vec<ReportBlock>,
    pub reports: usize,
    pub lost: Vec<u16>,
    pub nacks: usize,
    pub plis: usize,
    pub firs: Vec<u8>,
    /// SSRC that asks, and the clock that is to be echoed.
    pub clocks: Vec<(u32, Ntp)>,
    pub echoes: Vec<Dlrr>,
    pub estimates: Vec<(u64, Vec<u32>)>,
    /// Number and arrival in units of 250 us of the receiver's clock.
    pub transport: Vec<(u16, Option<i64>)>,
    pub transports: usize,
}

impl Peer {
    /// A publisher by a viewer of its own, both known to the first core; its tracks are H.264 and
    /// Opus with everything that can be negotiated.
    pub fn join(world: &mut World, stream: StreamId) -> Self {
        Self::join_with(world, stream, |_| {})
    }

    pub fn join_with(
        world: &mut World,
        stream: StreamId,
        change: impl FnOnce(&mut AddPublisher),
    ) -> Self {
        let peer = Self::new(world, stream, change);
        let now = world.now;
        world.plane().apply(now, &Command::AddPublisher(peer.add));
        peer
    }

    /// The viewer is there, the publisher is not known yet.
    pub fn new(
        world: &mut World,
        stream: StreamId,
        change: impl FnOnce(&mut AddPublisher),
    ) -> Self {
        let mut viewer = world.viewer(stream);
        viewer.add.tracks = [TrackOut::default(); TRACKS_MAX];
        let (keys, at, id) = (viewer.add.keys, viewer.at, viewer.id());
        let number = id.index;
        let track = |clock_hz, payload_type, codec, wants| TrackIn {
            clock_hz,
            payload_type,
            codec,
            wants,
            ..TrackIn::default()
        };
        let mut add = AddPublisher {
            stream,
            viewer: Some(id),
            peer: at.peer,
            keys,
            audio: Origin::default(),
            lanes: [
                TrackIn {
                    rtx_payload_type: RTX_TYPE,
                    ..track(90_000, VIDEO_TYPE, Codec::H264, Wants::ALL)
                },
                track(48_000, AUDIO_TYPE, Codec::Unknown, Wants::default()),
                TrackIn::default(),
                TrackIn::default(),
            ],
            rid_id: 0,
            repaired_rid_id: 0,
            transport_cc_id: TRANSPORT_ID,
            remb_bps: 0,
        };
        change(&mut add);
        let (key, salt) = (keys.profile.key_bytes(), keys.profile.salt_bytes());
        let master = &add.keys.receive;
        viewer.add.keys.receive = *master;
        let viewer = world.add(viewer);
        let secret = Secret::new(keys.profile, &master.key[..key], &master.salt[..salt]).unwrap();
        let base = 0x5000_0000 + 0x100 * number;
        Self {
            viewer,
            add,
            sealer: Sealer::new(&secret).unwrap(),
            indexes: [65_000, 7, 900],
            ssrcs: [base, base + 1, base + 2],
            timestamps: [1_000_000 * number, 77],
            kept: Vec::new(),
            transport: 65_500,
            frames: 0,
            read: 0,
        }
    }

    /// Seals a packet of a source; all have a transport-wide number.
    pub fn seal(&mut self, source: usize, header: &Header, payload: &[u8], pad: u8) -> Vec<u8> {
        let mut block = Block::new();
        block.push(TRANSPORT_ID, &self.transport.to_be_bytes());
        self.transport = self.transport.wrapping_add(1);
        self.seal_with(source, header, block.as_bytes(), payload, pad)
    }

    pub fn seal_with(
        &mut self,
        source: usize,
        header: &Header,
        ext: &[u8],
        payload: &[u8],
        pad: u8,
    ) -> Vec<u8> {
        let index = self.indexes[source];
        self.indexes[source] += 1;
        let header = Header {
            sequence: u16::try_from(index & 0xffff).unwrap(),
            ssrc: self.ssrcs[source],
            ..*header
        };
        let mut plain = vec![0; 64];
        let used = header.write(ext, &mut plain);
        plain.truncate(used);
        plain.extend(payload);
        plain.resize(plain.len() + usize::from(pad), 0);
        set_padding(&mut plain, pad);
        let (head, body) = plain.split_at(used);
        let mut out = vec![0; plain.len() + 32];
        let sealed = self.sealer.rtp(index, head, body, &mut out).unwrap();
        out.truncate(sealed);
        if source == VIDEO {
            let payload = payload.to_vec();
            self.kept.push((index, Kept { header, payload }));
        }
        out
    }

    /// Seals a packet whose header and body are what they are, but for number and source.
    pub fn seal_raw(&mut self, source: usize, header: &[u8], body: &[u8]) -> Vec<u8> {
        let index = self.indexes[source];
        self.indexes[source] += 1;
        let mut header = header.to_vec();
        header[2..4].copy_from_slice(&u16::try_from(index & 0xffff).unwrap().to_be_bytes());
        header[8..12].copy_from_slice(&self.ssrcs[source].to_be_bytes());
        let mut out = vec![0; header.len() + body.len() + 32];
        let sealed = self.sealer.rtp(index, &header, body, &mut out).unwrap();
        out.truncate(sealed);
        out
    }

    /// The datagrams of a frame of `packets`, 33 ms after the last one.
    pub fn frame(&mut self, key: bool, packets: usize) -> Vec<Vec<u8>> {
        self.timestamps[VIDEO] = self.timestamps[VIDEO].wrapping_add(2970);
        self.frames += 1;
        let number = self.frames;
        let frame = (0..packets).map(|nth| {
            let mut payload = vec![u8::try_from(nth % 256).unwrap(); 300];
            payload[0] = match (key, nth) {
                (true, 0) => 0x67,
                (true, _) => 0x65,
                _ => 0x41,
            };
            payload[2..6].copy_from_slice(&number.to_be_bytes());
            let header = self.header(VIDEO, nth + 1 == packets);
            self.seal(VIDEO, &header, &payload, 0)
        });
        frame.collect()
    }

    /// The number of the last frame.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// The datagram of 20 ms of sound.
    pub fn sound(&mut self) -> Vec<u8> {
        self.timestamps[AUDIO] = self.timestamps[AUDIO].wrapping_add(960);
        let header = self.header(AUDIO, false);
        self.seal(AUDIO, &header, &[9; 80], 0)
    }

    pub fn header(&self, lane: usize, marker: bool) -> Header {
        Header {
            marker,
            payload_type: [VIDEO_TYPE, AUDIO_TYPE][lane],
            timestamp: self.timestamps[lane],
            ..Header::default()
        }
    }

    /// The repair of the video packet with this sequence number.
    pub fn repair(&mut self, sequence: u16) -> Vec<u8> {
        let kept = self.kept.iter().rev();
        let mut kept = kept.filter(|(_, kept)| kept.header.sequence == sequence);
        let (_, kept) = kept.next().expect("sent before").clone();
        self.repair_with(&kept.header, sequence, &kept.payload, 0)
    }

    pub fn repair_with(
        &mut self,
        header: &Header,
        sequence: u16,
        payload: &[u8],
        pad: u8,
    ) -> Vec<u8> {
        let header = Header {
            payload_type: RTX_TYPE,
            ..*header
        };
        let payload = [&sequence.to_be_bytes()[..], payload].concat();
        self.seal(2, &header, &payload, pad)
    }

    /// From where it is.
    pub fn send(&self, world: &mut World, datagrams: &[Vec<u8>]) {
        let at = world.viewers[self.viewer].at;
        for datagram in datagrams {
            world.send(0, at, datagram);
        }
    }

    /// A report on a track: what was captured `ago` is the newest.
    pub fn report(&self, world: &mut World, lane: usize, ago: Span) {
        let info = SenderInfo {
            ssrc: self.ssrcs[lane],
            ntp: Ntp::from_unix_ns((world.now - ago).0 + 5_000_000_000),
            rtp_timestamp: self.timestamps[lane],
            packets: 1,
            octets: 1,
        };
        world.feedback(self.viewer, |out| write_sender_report(&info, b"peer", out));
    }

    /// The echo of a clock, held for `delay` units of 1/65,536 s.
    pub fn echo(&self, world: &mut World, (ssrc, ntp): (u32, Ntp), delay: u32) {
        let item = Dlrr {
            ssrc,
            last_rr: ntp.middle(),
            delay_since_last_rr: delay,
        };
        let from = self.ssrcs[VIDEO];
        world.feedback(self.viewer, |out| write_dlrr(from, &[item], out));
    }

    /// The SSRCs of which keyframes were asked for since the last time.
    pub fn calls(&mut self, world: &World) -> Vec<u32> {
        let came = &world.viewers[self.viewer].rtcp;
        let mut called = Vec::new();
        for plain in &came[self.read..] {
            for item in compound(plain) {
                if let Item::Feedback(feedback) = &item
                    && matches!(feedback.message, Message::Pli)
                {
                    called.push(feedback.media_ssrc);
                }
            }
        }
        self.read = came.len();
        called
    }

    /// What came back since the last time.
    pub fn answers(&mut self, world: &World) -> Answers {
        let mut answers = Answers::default();
        let came = &world.viewers[self.viewer].rtcp;
        for plain in &came[self.read..] {
            let mut items = compound(plain);
            for item in items.by_ref() {
                answers.add(&item);
            }
            assert_eq!(items.malformed(), None);
        }
        self.read = came.len();
        answers
    }
}

impl Answers {
    fn add(&mut self, item: &Item<'_>) {
        match item {
            Item::ReceiverReport(report) => {
                self.reports += 1;
                self.blocks.extend(report.blocks);
            }
            Item::Sdes(sdes) => {
                let names: Vec<_> = sdes.items().map(|item| item.text).collect();
                assert_eq!(names, [freshet_plane::CNAME]);
            }
            Item::ExtendedReport(report) => {
                for block in report.blocks() {
                    match block {
                        XrBlock::ReceiverReferenceTime(ntp) => {
                            self.clocks.push((report.ssrc, ntp));
                        }
                        XrBlock::Dlrr(items) => self.echoes.extend(items),
                        XrBlock::Unknown(kind) => panic!("block {kind}"),
                    }
                }
            }
            Item::Feedback(feedback) => match &feedback.message {
                Message::Nack(nack) => {
                    self.nacks += 1;
                    self.lost.extend(nack.lost());
                }
                Message::Pli => self.plis += 1,
                Message::Fir(fir) => self.firs.extend(fir.entries().map(|entry| entry.sequence)),
                Message::Remb(remb) => {
                    let ssrcs = remb.ssrcs().collect();
                    self.estimates.push((remb.bitrate_bps, ssrcs));
                }
                Message::TransportCc(fci) => {
                    self.transports += 1;
                    let message = TransportCc::parse(fci).expect("ours");
                    let reference = i64::from(message.reference) * 256;
                    let packets = message
                        .packets()
                        .map(|packet| (packet.sequence, packet.arrival.map(|at| reference + at)));
                    self.transport.extend(packets);
                }
                Message::Arrivals(_) | Message::Unknown { .. } => panic!("{feedback:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// The wall clock of the world.
pub fn ntp(now: Time) -> Ntp {
    Ntp::from_unix_ns(now.0 + UNIX_OFFSET)
}
