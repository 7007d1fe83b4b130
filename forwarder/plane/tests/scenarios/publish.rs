//! Publishers: packets opened into the log, out of order, lost, forged, and from another one.

use link::command::{AddPublisher, Codec, Command, Origin, TrackIn, VIDEO};
use link::event::Event;
use link::ids::StreamId;
use link::keys::{MasterKey, SrtpKeys};
use link::lanes::Lanes;
use link::stats::Counter;
use proptest::prelude::*;
use seal::{Profile, Sealer, Secret};
use wire::rtp::Header;

use crate::viewer::address;
use crate::world::World;

/// A publisher with a key; H.264.
pub struct Encoder {
    sealer: Sealer,
    index: u64,
    ssrc: u32,
    timestamp: u32,
}

impl Encoder {
    fn new(world: &mut World, stream: StreamId, key: u8, ssrc: u32) -> Self {
        let mut master = MasterKey::default();
        master.key[..16].fill(key);
        master.salt[..12].fill(key);
        let track = |ssrc, clock_hz, codec| TrackIn {
            ssrc,
            clock_hz,
            codec,
            ..TrackIn::default()
        };
        let add = AddPublisher {
            stream,
            viewer: None,
            peer: address(200, 7000).peer,
            keys: SrtpKeys {
                profile: Profile::AeadAes128Gcm,
                receive: master,
                ..SrtpKeys::default()
            },
            audio: Origin::default(),
            lanes: [
                track(ssrc, 90_000, Codec::H264),
                track(ssrc + 1, 48_000, Codec::Unknown),
                TrackIn::default(),
                TrackIn::default(),
            ],
            rid_id: 0,
            repaired_rid_id: 0,
            transport_cc_id: 0,
            remb_bps: 0,
        };
        let now = world.now;
        world.plane().apply(now, &Command::AddPublisher(add));
        let secret = Secret::new(
            Profile::AeadAes128Gcm,
            &master.key[..16],
            &master.salt[..12],
        )
        .unwrap();
        Self {
            sealer: Sealer::new(&secret).unwrap(),
            index: 65_530,
            ssrc,
            timestamp: 1_000_000 * u32::from(key),
        }
    }

    /// The datagrams of a frame of `packets`.
    pub fn frame(&mut self, key: bool, packets: u8) -> Vec<Vec<u8>> {
        self.timestamp = self.timestamp.wrapping_add(3000);
        let frame = (0..packets).map(|nth| {
            let mut payload = vec![nth; 300];
            *payload.last_chunk_mut().unwrap() = self.index.to_be_bytes();
            let header = Header {
                marker: nth + 1 == packets,
                payload_type: 96,
                sequence: u16::try_from(self.index & 0xffff).unwrap(),
                timestamp: self.timestamp,
                ssrc: self.ssrc,
            };
            payload[0] = match (key, nth) {
                (true, 0) => 0x67,
                (true, _) => 0x65,
                _ => 0x41,
            };
            let mut plain = [0; 12];
            let used = header.write(&[], &mut plain);
            let mut out = vec![0; 400];
            let sealed = self
                .sealer
                .rtp(self.index, &plain[..used], &payload, &mut out);
            out.truncate(sealed.unwrap());
            self.index += 1;
            out
        });
        frame.collect()
    }
}

fn send(world: &mut World, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        world.send(0, address(200, 7000), datagram);
    }
}

pub fn opened() -> (World, StreamId, Encoder) {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/in").unwrap();
    let mut encoder = Encoder::new(&mut world, stream, 3, 1000);
    world.join(stream);
    // The first packet tells the roll-over counter, which starts at 0.
    let first = encoder.frame(true, 3);
    send(&mut world, &first);
    world.turn(1);
    world.events();
    (world, stream, encoder)
}

fn first_bytes(world: &World) -> Vec<u8> {
    let got = &world.viewers[0].got[VIDEO];
    got.iter().map(|got| got.payload[0]).collect()
}

#[test]
fn packets_in_any_order_come_out_in_theirs() {
    let (mut world, _, mut encoder) = opened();
    let mut frames: Vec<_> = (0..4).flat_map(|_| encoder.frame(false, 4)).collect();
    frames.swap(1, 3);
    frames.swap(6, 11);
    frames.push(frames[5].clone());
    send(&mut world, &frames);
    world.turn(1);
    let got = &world.viewers[0].got[VIDEO];
    assert_eq!(got.len(), 3 + 16);
    let nth: Vec<u8> = got[3..].iter().map(|got| got.payload[1]).collect();
    assert_eq!(nth, [0, 1, 2, 3].repeat(4));
    assert!(got[6].header.marker && !got[5].header.marker);
    assert_eq!(world.count(Counter::SrtpRefusedReplay), 1);
    world.viewers[0].assert_continuous();
}

#[test]
fn after_a_loss_the_picture_waits_for_the_next_keyframe() {
    let (mut world, stream, mut encoder) = opened();
    let mut lossy = encoder.frame(false, 4);
    lossy.remove(2);
    send(&mut world, &lossy);
    world.run(50, 1);
    for _ in 0..5 {
        let frame = encoder.frame(false, 2);
        send(&mut world, &frame);
        world.run(10, 5);
    }
    assert_eq!(world.viewers[0].got[VIDEO].len(), 3 + 2);
    // The last keyframe was asked for less than a second ago.
    assert!(world.events().is_empty());
    world.run(1000, 10);
    assert_eq!(
        world.events(),
        [Event::KeyframeWanted(stream, Lanes::only(VIDEO))]
    );
    let key = encoder.frame(true, 2);
    send(&mut world, &key);
    world.turn(1);
    assert_eq!(first_bytes(&world)[5..], [0x67, 0x65]);
    assert!(world.count(Counter::RtpUnusable) >= 10);
    // What was missing comes too late.
    lossy = encoder.frame(false, 2);
    lossy.swap(0, 1);
    send(&mut world, &lossy[..1]);
    world.run(50, 1);
    send(&mut world, &lossy[1..]);
    assert_eq!(world.count(Counter::RtpLate), 1);
    world.viewers[0].assert_continuous();
}

#[test]
fn another_publisher_goes_on_where_the_last_one_stopped() {
    let (mut world, stream, mut encoder) = opened();
    let frame = encoder.frame(false, 2);
    send(&mut world, &frame);
    world.turn(1);
    let now = world.now;
    world.plane().apply(now, &Command::RemovePublisher(stream));
    let late = encoder.frame(false, 2);
    send(&mut world, &late);
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 2);
    let mut second = Encoder::new(&mut world, stream, 9, 5000);
    let frames = [second.frame(true, 2), second.frame(false, 1)].concat();
    send(&mut world, &frames);
    world.turn(1);
    let viewer = &world.viewers[0];
    assert_eq!(viewer.got[VIDEO].len(), 5 + 3);
    let first = viewer.add.tracks[VIDEO].first_index;
    for (nth, got) in (0..).zip(&viewer.got[VIDEO]) {
        assert_eq!(got.index, first + nth);
    }
}

#[test]
fn forged_and_foreign_packets_change_nothing() {
    let (mut world, _, mut encoder) = opened();
    let frame = encoder.frame(false, 1);
    let mut forged = frame[0].clone();
    forged[40] ^= 1;
    send(&mut world, &[forged]);
    assert_eq!(world.count(Counter::SrtpRefusedAuth), 1);
    world.send(0, address(201, 7000), &frame[0]);
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 1);
    // From a viewer's own flow as well.
    let at = world.viewers[0].at;
    world.send(0, at, &frame[0]);
    assert_eq!(world.count(Counter::RtpUnknownSsrc), 1);
    send(&mut world, &frame);
    world.turn(1);
    assert_eq!(world.viewers[0].got[VIDEO].len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_shown_that_lacks_what_it_depends_on(
        frames in prop::collection::vec((prop::bool::weighted(0.1), 1..6_u8), 20..120),
        fates in prop::collection::vec((0..100_u8, 0..12_usize), 600),
    ) {
        let (mut world, _, mut encoder) = opened();
        let mut sent = Vec::new();
        for &(key, packets) in &frames {
            sent.extend(encoder.frame(key, packets));
        }
        // Some are lost, some come twice, some come up to 12 places late.
        let mut arriving: Vec<(usize, &Vec<u8>)> = Vec::new();
        for ((at, datagram), &(fate, delay)) in sent.iter().enumerate().zip(&fates) {
            match fate {
                0..2 => {}
                2..12 => arriving.push((at + delay, datagram)),
                12..15 => arriving.extend([(at, datagram), (at + delay, datagram)]),
                _ => arriving.push((at, datagram)),
            }
        }
        arriving.sort_by_key(|(at, _)| *at);
        for (nth, (_, datagram)) in arriving.iter().enumerate() {
            send(&mut world, core::slice::from_ref(*datagram));
            if nth % 3 == 0 {
                world.turn(2);
            }
        }
        world.run(50, 1);
        let viewer = &world.viewers[0];
        for pair in viewer.got[VIDEO].windows(2) {
            let [before, after] = [number(&pair[0].payload), number(&pair[1].payload)];
            prop_assert!(after > before, "{before} then {after}");
            prop_assert!(after == before + 1 || pair[1].payload[0] == 0x67);
        }
        let first = viewer.add.tracks[VIDEO].first_index;
        for (index, got) in (first..).zip(&viewer.got[VIDEO]) {
            prop_assert_eq!(got.index, index);
        }
    }
}

/// The number that the encoder gave a packet.
fn number(payload: &[u8]) -> u64 {
    u64::from_be_bytes(*payload.last_chunk().unwrap())
}
