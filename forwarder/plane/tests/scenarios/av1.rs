//! AV1 with dependency descriptors: layers left out, encodings changed, numbers of frames that run
//! on.

use link::command::{Codec, Command, Pin, Rid, VIDEO};
use link::elements::{DESCRIPTOR, KINDS};
use link::ids::StreamId;
use link::lanes::LAYERS;
use wire::payload::av1::Structure;
use wire::rtcp_feedback::write_nack;
use wire::rtp::Header;

use crate::peer::{Peer, VIDEO_TYPE};
use crate::viewer::{Got, TestViewer};
use crate::world::World;

/// Identifiers at the publisher and at a viewer.
pub const SENT_ID: u8 = 13;
const SEEN_ID: u8 = 4;

const RID_ID: u8 = 10;

/// Bits, the highest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn put(&mut self, count: u32, value: u32) {
        for nth in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = u8::from(value >> nth & 1 == 1);
            *self.bytes.last_mut().unwrap() |= bit << (7 - self.used % 8);
            self.used += 1;
        }
    }
}

/// The structure of one spatial by two temporal layers, 640 x 360, as encoders make it: the base
/// can be joined by whoever wants either, the layer above is discardable. With zeros after it,
/// which are allowed, so that it is longer than a one-byte element.
fn structure() -> Vec<u8> {
    let mut bits = Bits::default();
    // A structure and nothing else; the first template is 0, two decode targets.
    bits.put(5, 0b10000);
    bits.put(6, 0);
    bits.put(5, 1);
    // Templates: base of a keyframe, base, layer above.
    for step in [0, 1, 3] {
        bits.put(2, step);
    }
    for dti in [2, 2, 2, 2, 0, 1] {
        bits.put(2, dti);
    }
    bits.put(1, 0);
    for back in [2, 1] {
        bits.put(1, 1);
        bits.put(4, back - 1);
        bits.put(1, 0);
    }
    // No chains; sizes.
    bits.put(1, 0);
    bits.put(1, 1);
    bits.put(16, 639);
    bits.put(16, 359);
    let mut bytes = bits.bytes;
    bytes.resize(20, 0);
    bytes
}

/// A dependency descriptor of a packet of a frame.
pub fn descriptor(number: u16, (first, last): (bool, bool), key: bool) -> Vec<u8> {
    let template = match (key, number % 2) {
        (true, _) => 0,
        (_, 0) => 1,
        _ => 2,
    };
    let [high, low] = number.to_be_bytes();
    let head = u8::from(first) << 7 | u8::from(last) << 6 | template;
    let mut bytes = vec![head, high, low];
    if key && first {
        bytes.extend(structure());
    }
    bytes
}

/// A block of two-byte elements.
pub fn block(elements: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (id, value) in elements {
        body.extend([*id, u8::try_from(value.len()).unwrap()]);
        body.extend(value);
    }
    body.resize(body.len().next_multiple_of(4), 0);
    let words = u8::try_from(body.len() / 4).unwrap();
    [&[0x10, 0, 0, words][..], &body].concat()
}

/// Packets of a frame.
const PACKETS: usize = 3;

struct Stage {
    world: World,
    peer: Peer,
    stream: StreamId,
    /// SSRC, next index, and first number of frames by encoding.
    sources: [(u32, u64, u16); 2],
    frames: u16,
    encodings: usize,
}

impl Stage {
    fn new(encodings: usize) -> Self {
        let mut world = World::new();
        let stream = world.region.open_stream(0, "live/av1").unwrap();
        let peer = Peer::join_with(&mut world, stream, |add| {
            add.lanes[VIDEO].codec = Codec::Av1;
            add.lanes[VIDEO].elements[DESCRIPTOR] = SENT_ID;
            if encodings > 1 {
                add.rid_id = RID_ID;
                for (lane, name) in LAYERS.into_iter().zip([b"q", b"h"]) {
                    add.lanes[lane] = add.lanes[VIDEO];
                    add.lanes[lane].rid = Rid::new(name).unwrap();
                }
            }
        });
        Self {
            world,
            peer,
            stream,
            // Their numbers have nothing to do with each other; even ones begin.
            sources: [(11, 100, 65_500), (22, 200, 30_000)],
            frames: 0,
            encodings,
        }
    }

    /// One picture in all encodings.
    fn picture(&mut self, key: bool) {
        self.frames += 1;
        for encoding in 0..self.encodings {
            let (ssrc, index, base) = self.sources[encoding];
            (self.peer.ssrcs[VIDEO], self.peer.indexes[VIDEO]) = (ssrc, index);
            let number = base.wrapping_add(self.frames - 1);
            let mut datagrams = Vec::new();
            for nth in 0..PACKETS {
                let ends = (nth == 0, nth + 1 == PACKETS);
                let mut payload = vec![u8::try_from(encoding).unwrap(); 300];
                // N with the first packet of a keyframe; Z with all but the first of a frame.
                payload[0] = u8::from(key && nth == 0) << 3 | u8::from(nth > 0) << 7 | 0x10;
                payload[1..3].copy_from_slice(&self.frames.to_be_bytes());
                let mut elements = vec![(SENT_ID, descriptor(number, ends, key))];
                if self.encodings > 1 {
                    elements.push((RID_ID, [b"q", b"h"][encoding].to_vec()));
                }
                let header = Header {
                    marker: ends.1,
                    payload_type: VIDEO_TYPE,
                    timestamp: 2970 * u32::from(self.frames),
                    ..Header::default()
                };
                let ext = block(&elements);
                datagrams.push(self.peer.seal_with(VIDEO, &header, &ext, &payload, 0));
            }
            self.sources[encoding].1 = self.peer.indexes[VIDEO];
            // One that is overtaken waits with its descriptor.
            datagrams.swap(1, 2);
            self.peer.send(&mut self.world, &datagrams);
        }
        for _ in 0..33 {
            self.world.turn(1);
        }
    }

    fn play(&mut self, pictures: usize) {
        for _ in 0..pictures {
            self.picture(false);
        }
    }

    fn viewer(&self, id: u8) -> TestViewer {
        let mut viewer = self.world.viewer(self.stream).with_extension();
        viewer.add.tracks[VIDEO].elements = [id, 0, 0];
        viewer
    }

    fn pin(&mut self, viewer: usize, pin: Pin) {
        let (now, id) = (self.world.now, self.world.viewers[viewer].id());
        let plane = self.world.plane();
        plane.apply(now, &Command::ChooseLayer(id, pin));
    }

    fn got(&self, viewer: usize) -> &[Got] {
        &self.world.viewers[viewer].got[VIDEO]
    }
}

fn temporal(max: u8) -> Pin {
    Pin {
        temporal_max: max,
        ..Pin::NONE
    }
}

fn descriptor_of(got: &Got) -> &[u8] {
    let mut found = got.elements.iter().filter(|(id, _)| *id == SEEN_ID);
    let (_, value) = found.next().expect("every packet has one");
    assert_eq!(found.next(), None);
    value
}

/// What a receiver makes of the packets: frames in order, numbers that only grow, and nothing that
/// refers to a frame that has not come.
fn numbers(got: &[Got]) -> Vec<u16> {
    let mut structure = Structure::new();
    let mut numbers: Vec<u16> = Vec::new();
    for got in got {
        let read = structure.read(descriptor_of(got));
        let read = read.expect("the structure came with the keyframe");
        if !read.begins {
            assert_eq!(numbers.last(), Some(&read.frame_number));
            continue;
        }
        if let Some(last) = numbers.last() {
            let step = read.frame_number.wrapping_sub(*last);
            assert!(
                (1..1 << 15).contains(&step),
                "{last} to {}",
                read.frame_number
            );
        }
        for reference in read.references() {
            let needed = read.frame_number.wrapping_sub(reference);
            assert!(numbers.contains(&needed), "{needed} was left out");
        }
        numbers.push(read.frame_number);
    }
    numbers
}

fn pictures(got: &[Got]) -> Vec<u16> {
    let of = |got: &Got| u16::from_be_bytes([got.payload[1], got.payload[2]]);
    let mut all: Vec<u16> = got.iter().map(of).collect();
    all.dedup();
    all
}

#[test]
fn temporal_layers_are_left_out_by_what_descriptors_say() {
    let mut stage = Stage::new(1);
    stage.picture(true);
    let passed = stage.viewer(SEEN_ID);
    let passed = stage.world.add(passed);
    let plain = stage.viewer(0);
    let plain = stage.world.add(plain);
    stage.play(9);
    for viewer in [passed, plain] {
        assert_eq!(pictures(stage.got(viewer)), (1..=10).collect::<Vec<_>>());
        stage.pin(viewer, temporal(0));
    }
    stage.play(20);
    for viewer in [passed, plain] {
        let all = pictures(stage.got(viewer));
        // The odd pictures are of the base.
        let base: Vec<u16> = (11..=30).filter(|picture| picture % 2 == 1).collect();
        assert_eq!(all[10..], base);
        stage.pin(viewer, Pin::NONE);
    }
    stage.play(4);
    assert_eq!(numbers(stage.got(passed)).len(), 10 + 10 + 4);
    let read = &stage.got(plain)[0].elements;
    assert_eq!(read.len(), 1, "the fixed element alone: {read:?}");
    // What was lost comes again with its descriptor.
    let lost = stage.got(passed)[40].clone();
    let ssrc = stage.world.viewers[passed].video_ssrc();
    let sequence = lost.header.sequence;
    stage
        .world
        .feedback(passed, |out| write_nack(1, ssrc, &[sequence], out));
    stage.world.turn(1);
    let again = stage.world.viewers[passed].rtx.last().unwrap();
    assert_eq!(again.elements, lost.elements);
    assert_eq!(again.payload[2..], lost.payload);
    for viewer in [passed, plain] {
        stage.world.viewers[viewer].assert_continuous();
    }
}

#[test]
fn numbers_of_frames_run_on_when_the_encoding_changes() {
    let mut stage = Stage::new(2);
    stage.picture(true);
    let viewer = stage.viewer(SEEN_ID);
    let viewer = stage.world.add(viewer);
    let lane = |nth: usize| Pin {
        lane: Some(u8::try_from(LAYERS[nth]).unwrap()),
        ..Pin::NONE
    };
    // Until rates are known.
    stage.play(90);
    let mut lost = Vec::new();
    for change in 0..6 {
        stage.pin(viewer, lane(change % 2));
        // The old keyframe is too old to go back to.
        stage.play(11 + change);
        stage.picture(true);
        stage.play(5);
        let newest = stage.got(viewer).last().unwrap();
        assert_eq!(usize::from(newest.payload[5]), change % 2);
        lost.push(newest.clone());
    }
    let numbers = numbers(stage.got(viewer));
    assert!(numbers.len() > 60, "{numbers:?}");
    stage.world.viewers[viewer].assert_continuous();
    let wanted: Vec<u16> = lost.iter().map(|got| got.header.sequence).collect();
    let ssrc = stage.world.viewers[viewer].video_ssrc();
    stage
        .world
        .feedback(viewer, |out| write_nack(1, ssrc, &wanted, out));
    stage.world.run(20, 1);
    let again = &stage.world.viewers[viewer].rtx;
    for lost in &lost {
        let same = |again: &&Got| again.payload[..2] == lost.header.sequence.to_be_bytes();
        let again = again.iter().rfind(same).expect("repaired");
        assert_eq!(again.elements, lost.elements);
    }
}

#[test]
fn another_publisher_goes_on_with_the_numbers() {
    let mut stage = Stage::new(1);
    stage.picture(true);
    let viewer = stage.viewer(SEEN_ID);
    let viewer = stage.world.add(viewer);
    stage.play(5);
    // Counts from elsewhere, behind.
    for base in [40_000, 39_000, 7] {
        stage.world.run(2100, 10);
        stage.sources[0] = (stage.sources[0].0 + 1, 5, base);
        stage.frames += stage.frames % 2;
        stage.sources[0].2 = stage.sources[0].2.wrapping_sub(stage.frames) & !1;
        stage.picture(true);
        stage.play(5);
    }
    let got = stage.got(viewer);
    assert_eq!(numbers(got).len(), 4 * 6);
    stage.world.viewers[viewer].assert_continuous();
    assert_eq!([SEEN_ID, 0, 0].len(), KINDS);
}
