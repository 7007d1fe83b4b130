//! Streams of several encodings: whose packets are whose, who is sent which, and how that changes.

use link::command::{AUDIO, Command, Pin, Rid, VIDEO};
use link::ids::StreamId;
use link::lanes::LAYERS;
use link::stats::Counter;
use wire::rtcp_feedback::{write_nack, write_pli};
use wire::rtp::Header;
use wire::rtp_ext::Block;

use crate::peer::{Peer, RTX_TYPE, VIDEO_TYPE};
use crate::viewer::{Got, TestViewer};
use crate::world::World;

pub const RID_ID: u8 = 10;
const REPAIRED_RID_ID: u8 = 11;
pub const NAMES: [&[u8]; 3] = [b"q", b"h", b"f"];

/// Packets of a frame by encoding: 75, 250 and 1,000 kbit/s with 313 bytes each.
const PACKETS: [usize; 3] = [1, 3, 13];

/// A publisher of three encodings of the same picture.
pub struct Simulcast {
    pub peer: Peer,
    /// SSRC, SRTP index and first timestamp of each encoding.
    pub sources: [(u32, u64, u32); 3],
    /// Frames sent of each; the name goes out with the first ones only.
    pub sent: [u32; 3],
    /// Frames captured.
    frames: u32,
    pub is_on: [bool; 3],
    /// The next frames are to be keyframes.
    pub keys: [bool; 3],
    pub pleas: [usize; 3],
}

impl Simulcast {
    pub fn join(world: &mut World, stream: StreamId) -> Self {
        let peer = Peer::join_with(world, stream, |add| {
            (add.rid_id, add.repaired_rid_id) = (RID_ID, REPAIRED_RID_ID);
            for (lane, name) in LAYERS.into_iter().zip(NAMES) {
                add.lanes[lane] = add.lanes[VIDEO];
                add.lanes[lane].rid = Rid::new(name).unwrap();
            }
        });
        Self {
            peer,
            sources: [
                (11, 65_530, 7),
                (22, 9, 0xffff_f000),
                (33, 40_000, 0x8000_0000),
            ],
            sent: [0; 3],
            frames: 0,
            is_on: [true; 3],
            keys: [true; 3],
            pleas: [0; 3],
        }
    }

    /// One picture in all encodings that are on, the largest first, as browsers do it.
    pub fn capture(&mut self, world: &mut World) {
        self.frames += 1;
        for layer in (0..3).rev() {
            if self.is_on[layer] {
                let datagrams = self.frame(layer);
                self.peer.send(world, &datagrams);
            }
        }
    }

    fn frame(&mut self, layer: usize) -> Vec<Vec<u8>> {
        let key = std::mem::take(&mut self.keys[layer]);
        let (ssrc, index, base) = self.sources[layer];
        let timestamp = base.wrapping_add(2970 * self.frames);
        (self.peer.ssrcs[VIDEO], self.peer.indexes[VIDEO]) = (ssrc, index);
        let named = self.sent[layer] < 10;
        self.sent[layer] += 1;
        let packets = PACKETS[layer];
        let datagrams = (0..packets).map(|nth| {
            let mut payload = vec![u8::try_from(nth).unwrap(); 300];
            payload[0] = match (key, nth) {
                (true, 0) => 0x67,
                (true, _) => 0x65,
                _ => 0x41,
            };
            payload[1] = u8::try_from(layer).unwrap();
            payload[2..6].copy_from_slice(&self.frames.to_be_bytes());
            payload[6] = u8::from(key);
            let mut block = Block::new();
            if named {
                block.push(RID_ID, NAMES[layer]);
            }
            let header = Header {
                marker: nth + 1 == packets,
                payload_type: VIDEO_TYPE,
                timestamp,
                ..Header::default()
            };
            self.peer
                .seal_with(VIDEO, &header, block.as_bytes(), &payload, 0)
        });
        let datagrams = datagrams.collect();
        self.sources[layer].1 = self.peer.indexes[VIDEO];
        datagrams
    }

    /// Lets pictures be captured for `ms`, 30 a second; answers calls for keyframes.
    pub fn run(&mut self, world: &mut World, ms: u64) {
        for _ in 0..ms / 33 {
            self.capture(world);
            for _ in 0..33 {
                world.turn(1);
            }
            self.hear(world);
        }
    }

    fn hear(&mut self, world: &World) {
        let called = self.peer.calls(world);
        for (layer, (ssrc, ..)) in self.sources.iter().enumerate() {
            let calls = called.iter().filter(|called| *called == ssrc).count();
            self.pleas[layer] += calls;
            self.keys[layer] |= calls > 0;
        }
    }
}

fn layer_of(got: &Got) -> u8 {
    got.payload[1]
}

/// The encodings that a viewer was sent, one after another, without repetition.
fn layers_of(viewer: &TestViewer, from: usize) -> Vec<u8> {
    let mut layers: Vec<u8> = viewer.got[VIDEO][from..].iter().map(layer_of).collect();
    layers.dedup();
    layers
}

/// Each change of encoding is at a keyframe, numbers go on, time does not run back.
fn assert_seamless(viewer: &TestViewer) {
    viewer.assert_continuous();
    let got = &viewer.got[VIDEO];
    assert!(got[0].payload[6] == 1, "begins with a keyframe");
    for pair in got.windows(2) {
        if layer_of(&pair[0]) != layer_of(&pair[1]) {
            assert_eq!((pair[1].payload[0], pair[1].payload[6]), (0x67, 1));
            let step = pair[1]
                .header
                .timestamp
                .wrapping_sub(pair[0].header.timestamp);
            assert!(step > 0 && step < 90_000, "{step} ticks");
        }
    }
}

pub fn pin(world: &mut World, viewer: usize, lane: Option<u8>) {
    let (now, id) = (world.now, world.viewers[viewer].id());
    let pin = Pin { lane, ..Pin::NONE };
    world.plane().apply(now, &Command::ChooseLayer(id, pin));
}

#[test]
fn encodings_are_told_apart_by_their_names() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/cam").unwrap();
    let mut camera = Simulcast::join(&mut world, stream);
    // The repairs of an encoding speak before it does, with nothing in them.
    let mut block = Block::new();
    block.push(REPAIRED_RID_ID, b"h");
    let header = Header {
        payload_type: RTX_TYPE,
        ..Header::default()
    };
    let probe = camera
        .peer
        .seal_with(2, &header, block.as_bytes(), &[], 200);
    camera.peer.send(&mut world, &[probe]);
    camera.run(&mut world, 3000);
    let intake = world
        .region
        .stream_stats(stream, link::ids::CoreId(0))
        .unwrap()
        .intake();
    for (layer, lane) in LAYERS.into_iter().enumerate() {
        let frames = u64::from(camera.sent[layer]);
        assert!(
            intake.packets[lane] + 35 * PACKETS[layer] as u64 >= frames * PACKETS[layer] as u64
        );
        assert!(intake.frames[lane] + 35 >= frames);
    }
    assert_eq!(intake.packets[AUDIO], 0);
    assert_eq!(world.count(Counter::RtpUnknownSsrc), 0);
    assert_eq!(world.count(Counter::RtpPadding), 1);
    // Nobody by that name.
    let before = world.count(Counter::RtpUnknownSsrc);
    (camera.peer.ssrcs[VIDEO], camera.peer.indexes[VIDEO]) = (44, 1);
    for name in [&b"x"[..], b"qq", b""] {
        let mut block = Block::new();
        block.push(RID_ID, name);
        let header = Header {
            payload_type: VIDEO_TYPE,
            ..Header::default()
        };
        let stray = camera
            .peer
            .seal_with(VIDEO, &header, block.as_bytes(), &[0x67; 40], 0);
        camera.peer.send(&mut world, &[stray]);
    }
    assert_eq!(world.count(Counter::RtpUnknownSsrc) - before, 3);
}

#[test]
fn a_viewer_goes_from_layer_to_layer_at_keyframes() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/cam").unwrap();
    let mut camera = Simulcast::join(&mut world, stream);
    camera.run(&mut world, 500);
    let crowd: Vec<usize> = (0..8).map(|_| world.join(stream)).collect();
    camera.run(&mut world, 500);
    for lane in [3_u8, 0, 2, 3, 0] {
        let before: Vec<usize> = crowd
            .iter()
            .map(|&v| world.viewers[v].got[VIDEO].len())
            .collect();
        let pleas = camera.pleas;
        for &viewer in &crowd {
            pin(&mut world, viewer, Some(lane));
        }
        camera.run(&mut world, 1000);
        let layer = LAYERS
            .iter()
            .position(|one| *one == usize::from(lane))
            .unwrap();
        for (&viewer, before) in crowd.iter().zip(before) {
            let layers = layers_of(&world.viewers[viewer], before);
            assert_eq!(
                layers.last(),
                Some(&u8::try_from(layer).unwrap()),
                "{layers:?}"
            );
            assert!(layers.len() <= 2, "{layers:?}");
        }
        let asked = camera.pleas[layer] - pleas[layer];
        assert!(asked <= 1, "{asked} calls for one keyframe");
    }
    for &viewer in &crowd {
        assert_seamless(&world.viewers[viewer]);
    }
}

#[test]
fn what_was_lost_before_a_change_is_sent_again_after_it() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/cam").unwrap();
    let mut camera = Simulcast::join(&mut world, stream);
    camera.run(&mut world, 300);
    let viewer = world.join(stream);
    pin(&mut world, viewer, Some(0));
    camera.run(&mut world, 1500);
    let lost: Vec<Got> = world.viewers[viewer].got[VIDEO]
        .iter()
        .rev()
        .take(5)
        .cloned()
        .collect();
    assert!(lost.iter().all(|got| layer_of(got) == 0));
    pin(&mut world, viewer, Some(3));
    camera.run(&mut world, 600);
    let newest = world.viewers[viewer].got[VIDEO].last().unwrap().clone();
    assert_eq!(layer_of(&newest), 2);
    let wanted: Vec<u16> = lost.iter().map(|got| got.header.sequence).collect();
    let ssrc = world.viewers[viewer].video_ssrc();
    world.feedback(viewer, |out| write_nack(1, ssrc, &wanted, out));
    world.turn(1);
    let again = &world.viewers[viewer].rtx;
    assert_eq!(again.len(), 5);
    for got in lost {
        let sequence = got.header.sequence.to_be_bytes();
        let found = again
            .iter()
            .find(|rtx| rtx.payload[..2] == sequence)
            .unwrap();
        assert_eq!(found.payload[2..], got.payload);
        assert_eq!(found.header.timestamp, got.header.timestamp);
    }
}

#[test]
fn a_layer_that_is_switched_off_is_left() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/cam").unwrap();
    let mut camera = Simulcast::join(&mut world, stream);
    camera.run(&mut world, 300);
    let viewer = world.join(stream);
    pin(&mut world, viewer, Some(3));
    camera.run(&mut world, 1000);
    assert_eq!(
        layer_of(world.viewers[viewer].got[VIDEO].last().unwrap()),
        2
    );
    camera.is_on[2] = false;
    camera.run(&mut world, 1500);
    let newest = world.viewers[viewer].got[VIDEO].last().unwrap();
    assert!(layer_of(newest) < 2);
    // Back, and the pin holds again.
    camera.is_on[2] = true;
    camera.keys[2] = true;
    camera.run(&mut world, 1500);
    assert_eq!(
        layer_of(world.viewers[viewer].got[VIDEO].last().unwrap()),
        2
    );
    assert_seamless(&world.viewers[viewer]);
}

#[test]
fn a_storm_of_calls_is_one_call_upstream() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/cam").unwrap();
    let mut camera = Simulcast::join(&mut world, stream);
    camera.run(&mut world, 300);
    let crowd: Vec<usize> = (0..20).map(|_| world.join(stream)).collect();
    camera.run(&mut world, 2000);
    let before = camera.pleas;
    for _ in 0..30 {
        for &viewer in &crowd {
            let ssrc = world.viewers[viewer].video_ssrc();
            world.feedback(viewer, |out| write_pli(1, ssrc, out));
        }
        camera.run(&mut world, 33);
    }
    let asked: usize = (0..3)
        .map(|layer| camera.pleas[layer] - before[layer])
        .sum();
    assert!(asked <= 3, "{asked} calls in a second");
}
