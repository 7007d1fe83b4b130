//! What goes with the media: levels and times in header extensions, redundancy of sound.

use link::command::{AUDIO, VIDEO};
use link::elements::{AUDIO_LEVEL, CAPTURE_TIME, DESCRIPTOR, KINDS};
use link::stats::Counter;
use wire::rtp::Header;

use crate::av1::block;
use crate::peer::{AUDIO_TYPE, Peer, VIDEO_TYPE};
use crate::viewer::Got;
use crate::world::World;

const RED_TYPE: u8 = 63;

/// What a viewer calls Opus.
const OTHER_AUDIO_TYPE: u8 = 109;

/// Identifiers at the publisher.
const LEVEL: u8 = 1;
const TIME: u8 = 8;

/// A number of a series that a seed begins.
struct Series(u64);

impl Series {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn value(got: &Got, id: u8) -> Option<&[u8]> {
    let found = got.elements.iter().find(|(other, _)| *other == id);
    found.map(|(_, value)| &value[..])
}

/// A publisher of H.264 and Opus with redundancy, whose levels and times are kept.
fn publish(world: &mut World) -> Peer {
    let stream = world.region.open_stream(0, "live/beside").unwrap();
    Peer::join_with(world, stream, |add| {
        add.lanes[VIDEO].elements[CAPTURE_TIME] = TIME;
        add.lanes[AUDIO].elements[AUDIO_LEVEL] = LEVEL;
        add.lanes[AUDIO].elements[CAPTURE_TIME] = TIME;
        add.lanes[AUDIO].red_payload_type = RED_TYPE;
    })
}

/// A packet of sound whose level is the number of the packet; with redundancy if `blocks` are
/// given, which are bytes of earlier sound.
fn sound(peer: &mut Peer, number: u8, timed: bool, blocks: &[usize], bytes: usize) -> Vec<u8> {
    peer.timestamps[AUDIO] = peer.timestamps[AUDIO].wrapping_add(960);
    let mut payload = Vec::new();
    for block in blocks {
        let [high, low] = u16::try_from(*block).unwrap().to_be_bytes();
        payload.extend([0x80 | AUDIO_TYPE, 0x0f, high, low]);
    }
    let is_red = !blocks.is_empty();
    if is_red {
        payload.push(AUDIO_TYPE);
        payload.resize(payload.len() + blocks.iter().sum::<usize>(), 0xdd);
    }
    payload.resize(payload.len() + bytes, number);
    let mut elements = vec![(LEVEL, vec![0x80 | number])];
    if timed {
        elements.push((TIME, vec![number; 8]));
    }
    let header = Header {
        payload_type: if is_red { RED_TYPE } else { AUDIO_TYPE },
        timestamp: peer.timestamps[AUDIO],
        ..Header::default()
    };
    peer.seal_with(AUDIO, &header, &block(&elements), &payload, 0)
}

fn picture(peer: &mut Peer, key: bool, sizes: &[usize], timed: bool) -> Vec<Vec<u8>> {
    peer.timestamps[VIDEO] = peer.timestamps[VIDEO].wrapping_add(2970);
    let packets = sizes.iter().enumerate().map(|(nth, bytes)| {
        let mut payload = vec![0; *bytes];
        payload[0] = match (key, nth) {
            (true, 0) => 0x67,
            (true, _) => 0x65,
            _ => 0x41,
        };
        let ext = match timed && nth == 0 {
            true => block(&[(TIME, vec![7; 8])]),
            false => Vec::new(),
        };
        let header = Header {
            marker: nth + 1 == sizes.len(),
            payload_type: VIDEO_TYPE,
            timestamp: peer.timestamps[VIDEO],
            ..Header::default()
        };
        peer.seal_with(VIDEO, &header, &ext, &payload, 0)
    });
    packets.collect()
}

#[test]
fn levels_and_times_reach_those_who_take_them() {
    let mut world = World::new();
    let mut peer = publish(&mut world);
    let stream = peer.add.stream;
    let first = picture(&mut peer, true, &[300, 300], false);
    peer.send(&mut world, &first);
    world.turn(1);
    let with = |world: &World, video: [u8; KINDS], audio: [u8; KINDS]| {
        let mut viewer = world.viewer(stream);
        viewer.add.tracks[VIDEO].elements = video;
        viewer.add.tracks[AUDIO].elements = audio;
        viewer
    };
    let all = with(&world, [0, 0, 5], [0, 6, 5]);
    let all = world.add(all);
    let levels = with(&world, [0; KINDS], [0, 2, 0]);
    let levels = world.add(levels);
    let none = world.join(stream);
    for number in 0..20 {
        let timed = number % 4 == 0;
        let sound = sound(&mut peer, number, timed, &[], 80);
        let video = picture(&mut peer, false, &[300, 300, 200], timed);
        peer.send(&mut world, &[sound]);
        peer.send(&mut world, &video);
        world.turn(20);
    }
    let expected: Vec<(Vec<u8>, bool)> = (0..20).map(|n| (vec![0x80 | n], n % 4 == 0)).collect();
    let of = |viewer: usize, level: u8, time: u8| {
        let got = world.viewers[viewer].got[AUDIO].iter();
        let read = got.map(|got| (value(got, level).map(<[u8]>::to_vec), value(got, time)));
        read.map(|(level, time)| (level.unwrap_or_default(), time.is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(all, 6, 5), expected);
    let untimed: Vec<_> = expected.iter().map(|(n, _)| (n.clone(), false)).collect();
    assert_eq!(of(levels, 2, 5), untimed);
    let timed = world.viewers[all].got[VIDEO].iter();
    assert_eq!(timed.filter(|got| value(got, 5).is_some()).count(), 5);
    let viewer = &world.viewers[none];
    let plain = viewer.got.iter().flatten();
    assert!(plain.clone().count() >= 60 && plain.clone().all(|got| got.elements.is_empty()));
    assert_eq!(world.count(Counter::RtpElementDropped), 0);
}

#[test]
fn what_has_no_room_is_left_out_and_counted() {
    let mut world = World::new();
    let mut peer = publish(&mut world);
    let mut viewer = world.viewer(peer.add.stream);
    viewer.add.tracks[VIDEO].elements = [0, 0, 5];
    let viewer = world.add(viewer);
    let first = picture(&mut peer, true, &[1395, 1395], true);
    peer.send(&mut world, &first);
    let next = picture(&mut peer, false, &[1200, 1000], true);
    peer.send(&mut world, &next);
    world.run(2000, 10);
    let got = &world.viewers[viewer].got[VIDEO];
    let timed: Vec<bool> = got.iter().map(|got| value(got, 5).is_some()).collect();
    assert_eq!(timed, [false, false, true, false]);
    assert_eq!(world.count(Counter::RtpElementDropped), 1);
}

/// Whatever comes in whatever sizes: the runs are legal (the sink looks at each), numbers run on,
/// and everybody gets the sound in the form that it takes.
#[test]
fn redundancy_reaches_those_who_take_it_and_the_primary_the_others() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut series = Series(seed);
        let mut world = World::new();
        let mut peer = publish(&mut world);
        let stream = peer.add.stream;
        let mut whole = world.viewer(stream);
        whole.add.tracks[AUDIO].red_payload_type = 64;
        whole.add.tracks[AUDIO].payload_type = OTHER_AUDIO_TYPE;
        whole.add.tracks[AUDIO].elements = [0, 6, 5];
        whole.add.tracks[VIDEO].elements[DESCRIPTOR] = 7;
        let whole = world.add(whole);
        let mut levels = world.viewer(stream).with_extension();
        levels.add.tracks[AUDIO].elements = [0, 2, 0];
        levels.add.tracks[VIDEO].elements = [0, 0, 9];
        let levels = world.add(levels);
        let none = world.join(stream);
        let mut sent = Vec::new();
        for number in 0..60_u8 {
            let few = usize::try_from(series.below(4)).unwrap();
            for _ in 0..few {
                let blocks = match series.below(3) {
                    0 => vec![],
                    1 => vec![40],
                    _ => vec![40, 1 + usize::try_from(series.below(600)).unwrap()],
                };
                let bytes = 40 + usize::try_from(series.below(2) * series.below(90)).unwrap();
                let timed = series.below(3) == 0;
                sent.push((number, bytes, blocks.clone()));
                let datagram = sound(&mut peer, number, timed, &blocks, bytes);
                peer.send(&mut world, &[datagram]);
            }
            let bytes = 100 + usize::try_from(series.below(1100)).unwrap();
            let sizes = vec![bytes; 1 + usize::try_from(series.below(4)).unwrap()];
            let video = picture(&mut peer, number % 20 == 0, &sizes, series.below(2) == 0);
            peer.send(&mut world, &video);
            if series.below(2) == 0 {
                world.turn(20);
            }
        }
        world.run(100, 10);
        for viewer in [whole, levels, none] {
            world.viewers[viewer].assert_continuous();
            let got = &world.viewers[viewer].got[AUDIO];
            assert_eq!(got.len(), sent.len());
            for (got, (number, bytes, blocks)) in got.iter().zip(&sent) {
                let is_red = viewer == whole && !blocks.is_empty();
                let own = if viewer == whole {
                    OTHER_AUDIO_TYPE
                } else {
                    AUDIO_TYPE
                };
                assert_eq!(got.header.payload_type, if is_red { 64 } else { own });
                let heads = 4 * blocks.len() + 1 + blocks.iter().sum::<usize>();
                let before = if is_red { heads } else { 0 };
                assert_eq!(got.payload.len(), before + bytes);
                assert_eq!(got.payload[before..], vec![*number; *bytes]);
                // Blocks are named as the viewer knows them.
                let names = got.payload[..before].iter().step_by(4);
                let expected = [vec![0x80 | own; blocks.len()], vec![own]].concat();
                let names: Vec<u8> = names.copied().take(expected.len()).collect();
                assert!(!is_red || names == expected, "{names:?}");
                let level = [0x80 | *number];
                let id = if viewer == whole { 6 } else { 2 };
                let expected = (viewer != none).then_some(&level[..]);
                assert_eq!(value(got, id), expected);
            }
        }
    }
}

#[test]
fn redundancy_that_lies_is_dropped() {
    let mut world = World::new();
    let mut peer = publish(&mut world);
    let viewer = world.join(peer.add.stream);
    let header = Header {
        payload_type: RED_TYPE,
        timestamp: 1,
        ..Header::default()
    };
    for payload in [
        &[0x80 | 111, 0, 3, 255, 111, 1][..],
        &[110, 1],
        &[111],
        &[0xff; 3],
    ] {
        let datagram = peer.seal_with(AUDIO, &header, &[], payload, 0);
        peer.send(&mut world, &[datagram]);
    }
    let good = sound(&mut peer, 3, false, &[5], 10);
    peer.send(&mut world, &[good]);
    world.run(100, 10);
    let got = &world.viewers[viewer].got[AUDIO];
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].payload, [3; 10]);
    assert_eq!(world.count(Counter::RtpMalformed), 4);
}
