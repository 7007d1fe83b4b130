//! Layers within one encoding: a viewer that wants less of them gets whole frames, seamlessly.

use link::command::{Codec, Command, Pin, VIDEO};
use wire::payload::vp9::Vp9Descriptor;
use wire::rtcp_feedback::write_nack;
use wire::rtp::Header;

use crate::peer::{Peer, VIDEO_TYPE};
use crate::viewer::Got;
use crate::world::World;

/// Temporal layers of successive pictures.
const PATTERN: [u8; 4] = [0, 2, 1, 2];

/// Sends one picture of three spatial layers with two packets each.
fn picture(peer: &mut Peer, world: &mut World, number: u16, key: bool) {
    let temporal = PATTERN[usize::from(number) % PATTERN.len()];
    peer.timestamps[VIDEO] = peer.timestamps[VIDEO].wrapping_add(2970);
    for spatial in 0..3_u8 {
        for part in 0..2 {
            let (begins, ends) = (part == 0, part == 1);
            let mut payload = vec![0; 200];
            // I, P, L, F, B, E.
            payload[0] = 0xb0 | u8::from(!key) << 6 | u8::from(begins) << 3 | u8::from(ends) << 2;
            payload[1..3].copy_from_slice(&(0x8000 | number).to_be_bytes());
            // TID, U, SID, D.
            payload[3] = temporal << 5 | 0x10 | spatial << 1 | u8::from(key && spatial > 0);
            // One reference, the picture before.
            payload[4] = if key { 0x55 } else { 0x02 };
            let header = Header {
                marker: spatial == 2 && ends,
                payload_type: VIDEO_TYPE,
                timestamp: peer.timestamps[VIDEO],
                ..Header::default()
            };
            let datagram = peer.seal(VIDEO, &header, &payload, 0);
            peer.send(world, &[datagram]);
        }
    }
    for _ in 0..33 {
        world.turn(1);
    }
}

struct Stage {
    world: World,
    peer: Peer,
    viewer: usize,
    pictures: u16,
    seen: usize,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new();
        let stream = world.region.open_stream(0, "live/svc").unwrap();
        let mut peer = Peer::join_with(&mut world, stream, |add| {
            add.lanes[VIDEO].codec = Codec::Vp9;
        });
        picture(&mut peer, &mut world, 0, true);
        let viewer = world.join(stream);
        world.run(50, 1);
        let mut stage = Self {
            world,
            peer,
            viewer,
            pictures: 1,
            seen: 0,
        };
        stage.play(7);
        stage
    }

    /// Pictures one after another; gives what the viewer was sent of them.
    fn play(&mut self, pictures: u16) -> Vec<Got> {
        for _ in 0..pictures {
            picture(&mut self.peer, &mut self.world, self.pictures, false);
            self.pictures += 1;
        }
        self.news()
    }

    fn key(&mut self) -> Vec<Got> {
        picture(&mut self.peer, &mut self.world, self.pictures, true);
        self.pictures += 1;
        self.news()
    }

    fn news(&mut self) -> Vec<Got> {
        let got = &self.world.viewers[self.viewer].got[VIDEO];
        let news = got[self.seen..].to_vec();
        self.seen = got.len();
        news
    }

    fn want(&mut self, spatial_max: u8, temporal_max: u8) {
        let (now, id) = (self.world.now, self.world.viewers[self.viewer].id());
        let pin = Pin {
            lane: None,
            spatial_max,
            temporal_max,
        };
        self.world
            .plane()
            .apply(now, &Command::ChooseLayer(id, pin));
    }
}

fn layers(got: &[Got]) -> Vec<(u8, u8)> {
    let of = |got: &Got| {
        let read = Vp9Descriptor::parse(&got.payload).unwrap();
        (read.spatial, read.temporal)
    };
    let mut all: Vec<_> = got.iter().map(of).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn spatial_layers_are_left_out_at_once_and_come_back_at_a_keyframe() {
    let mut stage = Stage::new();
    assert_eq!(layers(&stage.play(4)).len(), 9);
    stage.want(0, u8::MAX);
    let got = stage.play(8);
    assert_eq!(layers(&got), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(got.len(), 16);
    // The frame ends with what is the last packet for this viewer.
    assert!(
        got.chunks(2)
            .all(|frame| !frame[0].header.marker && frame[1].header.marker)
    );
    stage.want(1, u8::MAX);
    assert!(
        layers(&stage.play(8))
            .iter()
            .all(|(spatial, _)| *spatial == 0)
    );
    let got = stage.key();
    assert_eq!(got.len(), 4);
    assert!(got[3].header.marker && !got[1].header.marker);
    stage.want(u8::MAX, u8::MAX);
    stage.play(3);
    assert_eq!(stage.key().len(), 6);
    stage.world.viewers[stage.viewer].assert_continuous();
}

#[test]
fn temporal_layers_are_left_out_and_come_back_where_they_may() {
    let mut stage = Stage::new();
    stage.want(u8::MAX, 0);
    let got = stage.play(8);
    assert_eq!(layers(&got), [(0, 0), (1, 0), (2, 0)]);
    assert_eq!(got.len(), 12, "two pictures of eight");
    let before = got;
    // Every frame says that those above may follow: the next picture of the base opens them all.
    stage.want(u8::MAX, 1);
    assert_eq!(stage.play(8).len(), 4 * 6);
    stage.want(u8::MAX, u8::MAX);
    assert_eq!(stage.play(8).len(), 8 * 6);
    stage.world.viewers[stage.viewer].assert_continuous();
    // What was lost while frames were left out is still known.
    let wanted: Vec<u16> = before[..3].iter().map(|got| got.header.sequence).collect();
    let ssrc = stage.world.viewers[stage.viewer].video_ssrc();
    stage
        .world
        .feedback(stage.viewer, |out| write_nack(1, ssrc, &wanted, out));
    stage.world.turn(1);
    let again = &stage.world.viewers[stage.viewer].rtx;
    assert_eq!(again.len(), 3);
    for (again, lost) in again.iter().zip(&before) {
        assert_eq!(again.payload[2..], lost.payload);
        assert_eq!(again.header.marker, lost.header.marker);
    }
}
