//! Publishers that send plain RTP, or SRTP with keys that they have told, from two ports, to
//! whichever core the kernel picks.

use link::command::{AUDIO, AddPublisher, Codec, Command, Origin, PassPublisher, TrackIn, VIDEO};
use link::event::Event;
use link::ids::{CoreId, StreamId};
use link::keys::{MasterKey, SrtpKeys};
use link::limits::Limits;
use link::stats::Counter;
use seal::{Profile, Sealer, Secret};
use wire::datagram::RxMeta;
use wire::rtp::Header;
use wire::time::Span;

use crate::cores::carry;
use crate::viewer::address;
use crate::world::{LIMITS, World};

/// Encoders often have one payload type for everything.
const PAYLOAD_TYPE: u8 = 96;

/// One sender of a push.
struct Sender {
    at: RxMeta,
    sealer: Option<Sealer>,
    index: u64,
    ssrc: u32,
    timestamp: u32,
    is_video: bool,
}

impl Sender {
    fn new(port: u16, key: Option<u8>, is_video: bool) -> Self {
        let sealer = key.map(|key| {
            let secret = Secret::new(PROFILE, &[key; 16], &[key; 14]).unwrap();
            Sealer::new(&secret).unwrap()
        });
        Self {
            at: address(200, port),
            sealer,
            index: 1000,
            // Both count from one: they know nothing of each other.
            ssrc: 77,
            timestamp: 5000,
            is_video,
        }
    }

    fn frame(&mut self, key: bool, packets: u8) -> Vec<Vec<u8>> {
        self.timestamp += 3000;
        let frame = (0..packets).map(|nth| {
            let header = Header {
                marker: nth + 1 == packets,
                payload_type: PAYLOAD_TYPE,
                sequence: u16::try_from(self.index).unwrap(),
                timestamp: self.timestamp,
                ssrc: self.ssrc,
            };
            let mut payload = vec![nth; 200];
            payload[0] = match (self.is_video, key, nth) {
                (true, true, 0) => 0x67,
                (true, true, _) => 0x65,
                (true, false, _) => 0x41,
                (false, ..) => 0xfc,
            };
            let mut plain = [0; 12];
            let used = header.write(&[], &mut plain);
            let mut out = vec![0; 300];
            let length = match &self.sealer {
                Some(sealer) => sealer
                    .rtp(self.index, &plain[..used], &payload, &mut out)
                    .unwrap(),
                None => {
                    out[..used].copy_from_slice(&plain[..used]);
                    out[used..used + payload.len()].copy_from_slice(&payload);
                    used + payload.len()
                }
            };
            out.truncate(length);
            self.index += 1;
            out
        });
        frame.collect()
    }

    fn send(&self, world: &mut World, core: usize, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            world.send(core, self.at, datagram);
        }
    }
}

const PROFILE: Profile = Profile::Aes128CmSha1_80;

fn origin(port: u16, key: Option<u8>) -> Origin {
    let mut master = MasterKey::default();
    if let Some(key) = key {
        master.key[..16].fill(key);
        master.salt.fill(key);
    }
    Origin {
        peer: address(200, port).peer,
        profile: key.map_or(Profile::Plain, |_| PROFILE),
        key: master,
    }
}

fn command(stream: StreamId, video: Origin, audio: Origin) -> AddPublisher {
    let track = |clock_hz, codec| TrackIn {
        clock_hz,
        codec,
        payload_type: PAYLOAD_TYPE,
        ..TrackIn::default()
    };
    AddPublisher {
        stream,
        viewer: None,
        peer: video.peer,
        keys: SrtpKeys {
            profile: video.profile,
            send: MasterKey::default(),
            receive: video.key,
        },
        audio,
        lanes: [
            track(90_000, Codec::H264),
            track(48_000, Codec::Unknown),
            TrackIn::default(),
            TrackIn::default(),
        ],
        rid_id: 0,
        repaired_rid_id: 0,
        transport_cc_id: 0,
        remb_bps: 0,
    }
}

/// A push on the first of two cores, watched on each.
fn pushed(keys: [Option<u8>; 2]) -> (World, StreamId, Sender, Sender) {
    let mut world = World::with(&Limits { cores: 2, ..LIMITS });
    let stream = world.region.open_stream(0, "live/push").unwrap();
    let add = command(stream, origin(7000, keys[0]), origin(7002, keys[1]));
    let pass = PassPublisher {
        stream,
        core: CoreId(0),
        peers: [add.peer, add.audio.peer],
    };
    let now = world.now;
    world.planes[0].apply(now, &Command::AddPublisher(add));
    world.planes[1].apply(now, &Command::PassPublisher(pass));
    assert_eq!(world.events(), [Event::PublisherAdded(stream)]);
    world.join(stream);
    let there = world.viewer(stream);
    world.add_at(1, there);
    let video = Sender::new(7000, keys[0], true);
    let audio = Sender::new(7002, keys[1], false);
    (world, stream, video, audio)
}

/// Frames of video and packets of audio, each to a core of its own.
fn plays(world: &mut World, cores: [usize; 2], video: &mut Sender, audio: &mut Sender) {
    let before: Vec<[usize; 2]> = counts(world);
    for nth in 0..10 {
        let frame = video.frame(nth == 0, 3);
        video.send(world, cores[0], &frame);
        let frame = audio.frame(false, 1);
        audio.send(world, cores[1], &frame);
        carry(world);
        world.run(20, 5);
    }
    for (before, now) in before.into_iter().zip(counts(world)) {
        assert_eq!(
            [now[VIDEO] - before[VIDEO], now[AUDIO] - before[AUDIO]],
            [30, 10]
        );
    }
    for viewer in &world.viewers {
        viewer.assert_continuous();
    }
}

fn counts(world: &World) -> Vec<[usize; 2]> {
    let of = |viewer: &crate::viewer::TestViewer| [VIDEO, AUDIO].map(|at| viewer.got[at].len());
    world.viewers.iter().map(of).collect()
}

#[test]
fn whichever_cores_it_comes_to_one_opens_it() {
    for cores in [[0, 0], [0, 1], [1, 0], [1, 1]] {
        for keys in [[None, None], [Some(3), Some(4)], [Some(3), None]] {
            let (mut world, _, mut video, mut audio) = pushed(keys);
            plays(&mut world, cores, &mut video, &mut audio);
        }
    }
}

#[test]
fn a_pause_of_an_hour_does_not_lose_the_way() {
    let (mut world, _, mut video, mut audio) = pushed([None, None]);
    plays(&mut world, [1, 1], &mut video, &mut audio);
    world.now = world.now + Span::secs(3600);
    // Every slot of the table of flows is looked at.
    for _ in 0..400 {
        let now = world.now;
        for plane in &mut world.planes {
            plane.tick(now, 0);
        }
        world.now = world.now + Span::millis(10);
    }
    let frame = audio.frame(false, 1);
    audio.send(&mut world, 1, &frame);
    assert_eq!(carry(&mut world), 1);
}

#[test]
fn a_wrong_key_is_counted_and_nothing_else() {
    let (mut world, _, mut video, _) = pushed([Some(3), Some(4)]);
    let mut forger = Sender::new(7000, Some(5), true);
    let forged = forger.frame(true, 3);
    forger.send(&mut world, 0, &forged);
    // In the clear, or with the key of the other track, is no better.
    let mut clear = Sender::new(7000, None, true);
    let frame = clear.frame(true, 2);
    clear.send(&mut world, 0, &frame);
    let mut other = Sender::new(7002, Some(3), false);
    let frame = other.frame(false, 1);
    other.send(&mut world, 0, &frame);
    world.turn(1);
    assert_eq!(world.count(Counter::SrtpRefusedAuth), 6);
    assert_eq!(counts(&world), [[0, 0], [0, 0]]);
    let frame = video.frame(true, 3);
    video.send(&mut world, 0, &frame);
    world.turn(1);
    assert_eq!(counts(&world), [[3, 0], [3, 0]]);
}

#[test]
fn each_way_brings_its_own_track_alone() {
    let (mut world, _, _, _) = pushed([None, None]);
    // Video's payload type and SSRC from where audio comes: it is audio.
    let mut stray = Sender::new(7002, None, true);
    let frame = stray.frame(true, 3);
    stray.send(&mut world, 0, &frame);
    world.turn(1);
    assert_eq!(counts(&world), [[0, 3], [0, 3]]);
    // From elsewhere it is nothing.
    let mut stranger = Sender::new(7004, None, true);
    let frame = stranger.frame(true, 3);
    stranger.send(&mut world, 0, &frame);
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 3);
}

#[test]
fn gone_is_gone_on_every_core() {
    for close in [false, true] {
        let (mut world, stream, mut video, mut audio) = pushed([None, None]);
        plays(&mut world, [0, 1], &mut video, &mut audio);
        let now = world.now;
        let command = match close {
            true => Command::CloseStream(stream),
            false => Command::RemovePublisher(stream),
        };
        for plane in &mut world.planes {
            plane.apply(now, &command);
        }
        let frame = video.frame(true, 3);
        for core in [0, 1] {
            video.send(&mut world, core, &frame);
        }
        assert_eq!(carry(&mut world), 0);
        assert_eq!(world.count(Counter::DatagramUnknownDropped), 3);
        // The log is free for somebody else.
        assert!(close || world.region.log_writer(stream).is_ok());
    }
}

#[test]
fn it_moves_to_another_core() {
    let (mut world, stream, mut video, mut audio) = pushed([None, None]);
    plays(&mut world, [0, 1], &mut video, &mut audio);
    let now = world.now;
    for plane in &mut world.planes {
        plane.apply(now, &Command::RemovePublisher(stream));
    }
    let add = command(stream, origin(7000, None), origin(7002, None));
    let pass = PassPublisher {
        stream,
        core: CoreId(1),
        peers: [add.peer, add.audio.peer],
    };
    world.planes[0].apply(now, &Command::PassPublisher(pass));
    world.planes[1].apply(now, &Command::AddPublisher(add));
    plays(&mut world, [0, 1], &mut video, &mut audio);
    // Told the other way round without a word between, the last word counts.
    let now = world.now;
    world.planes[1].apply(
        now,
        &Command::PassPublisher(PassPublisher {
            core: CoreId(0),
            ..pass
        }),
    );
    world.planes[0].apply(now, &Command::AddPublisher(add));
    plays(&mut world, [0, 1], &mut video, &mut audio);
}
