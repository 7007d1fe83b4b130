//! Whatever happens, in any order: every invariant of the sink and of the viewers holds.

use link::command::{Command, VIDEO};
use link::event::Event;
use link::limits::Limits;
use proptest::prelude::*;
use wire::rtcp_feedback::{write_nack, write_pli};

use crate::viewer::address;
use crate::world::{LIMITS, Source, World};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Video {
        key: bool,
        packets: usize,
        bytes: usize,
    },
    Audio(usize),
    Turn {
        ms: u64,
        room: Option<usize>,
    },
    Segments(u8),
    HandOver,
    TellAhead(usize),
    Join,
    Leave(usize),
    Again(usize),
    Pli(usize),
    Nack(usize, Vec<u16>),
    Check {
        viewer: usize,
        port: u16,
        nominates: bool,
    },
    Garbage(Vec<u8>),
    Rtcp(usize, Vec<u8>),
}

/// Authentic nonsense: headers of known types before anything.
fn rtcp() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let packet = (
        200..208_u8,
        0..32_u8,
        prop::collection::vec(any::<u8>(), 4..60),
    );
    let packets = prop::collection::vec(packet, 1..4).prop_map(|packets| {
        let mut bytes = Vec::new();
        for (kind, count, mut body) in packets {
            body.truncate(body.len() / 4 * 4);
            let words = u8::try_from(body.len() / 4).unwrap();
            bytes.extend([0x80 | count, kind, 0, words]);
            bytes.extend(body);
        }
        bytes
    });
    (0..8_usize, packets)
}

fn step() -> impl Strategy<Value = Step> {
    let video = (prop::bool::weighted(0.05), 1..12_usize, 8..1300_usize);
    let turn = (0..40_u64, prop::option::weighted(0.3, 0..6_usize));
    let check = (0..8_usize, 1..6_u16, any::<bool>());
    prop_oneof![
        8 => video.prop_map(|(key, packets, bytes)| Step::Video { key, packets, bytes }),
        6 => (8..400_usize).prop_map(Step::Audio),
        12 => turn.prop_map(|(ms, room)| Step::Turn { ms, room }),
        1 => (1..=64_u8).prop_map(Step::Segments),
        1 => Just(Step::HandOver),
        2 => (1..6_usize).prop_map(Step::TellAhead),
        2 => Just(Step::Join),
        1 => (0..8_usize).prop_map(Step::Leave),
        1 => (0..8_usize).prop_map(Step::Again),
        2 => (0..8_usize).prop_map(Step::Pli),
        3 => (0..8_usize, prop::collection::vec(0..200_u16, 1..30))
            .prop_map(|(viewer, lost)| Step::Nack(viewer, lost)),
        2 => check.prop_map(|(viewer, port, nominates)| Step::Check { viewer, port, nominates }),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Step::Garbage),
        2 => rtcp().prop_map(|(viewer, bytes)| Step::Rtcp(viewer, bytes)),
    ]
}

/// Does a step; `lost` of a NACK count back from the newest packet.
fn act(world: &mut World, source: &mut Source, step: Step) {
    let now = world.now;
    let there = world.viewers.len();
    match step {
        Step::Video {
            key,
            packets,
            bytes,
        } => {
            source.frame(now, key, packets, bytes);
        }
        Step::Audio(bytes) => source.audio(now, bytes),
        Step::Turn { ms, room } => {
            world.sink.room = room.unwrap_or(usize::MAX);
            world.turn(ms);
        }
        Step::HandOver => drop(world.hand_over(0)),
        Step::TellAhead(most) => drop(world.tell_ahead(most)),
        Step::Segments(max) => world.sink.segments_max = max,
        Step::Join if there < 8 => {
            let viewer = world.viewer(source.id);
            world.add(match there % 3 {
                0 => viewer,
                1 => viewer.without_rtx(),
                _ => viewer.with_extension(),
            });
        }
        Step::Garbage(bytes) => world.send(0, address(10, 40_000), &bytes),
        Step::Leave(viewer) if there > 0 => {
            let id = world.viewers[viewer % there].id();
            world.planes[0].apply(now, &Command::RemoveViewer(id));
        }
        Step::Again(viewer) if there > 0 => again(world, viewer % there),
        Step::Pli(viewer) if there > 0 => {
            let ssrc = world.viewers[viewer % there].video_ssrc();
            world.feedback(viewer % there, |out| write_pli(1, ssrc, out));
        }
        Step::Nack(viewer, lost) if there > 0 => nack(world, viewer % there, &lost),
        Step::Check {
            viewer,
            port,
            nominates,
        } if there > 0 => check(world, viewer % there, port, nominates),
        Step::Rtcp(viewer, bytes) if there > 0 => {
            world.feedback(viewer % there, |out| {
                out[..bytes.len()].copy_from_slice(&bytes);
                bytes.len()
            });
        }
        _ => {}
    }
    world.events();
}

/// The command of a viewer that is served comes once more.
fn again(world: &mut World, viewer: usize) {
    let mut add = world.viewers[viewer].add;
    if serves(world, viewer) {
        add.peer = world.viewers[viewer].at.peer;
        let now = world.now;
        world.planes[0].apply(now, &Command::AddViewer(add));
    }
}

fn nack(world: &mut World, viewer: usize, lost: &[u16]) {
    let ssrc = world.viewers[viewer].video_ssrc();
    let newest = world.viewers[viewer].got[VIDEO].last();
    let newest = newest.map_or(0, |got| got.header.sequence);
    let lost: Vec<u16> = lost.iter().map(|back| newest.wrapping_sub(*back)).collect();
    world.feedback(viewer, |out| write_nack(1, ssrc, &lost, out));
}

fn check(world: &mut World, viewer: usize, port: u16, nominates: bool) {
    let (ice, id) = (world.viewers[viewer].add.ice, world.viewers[viewer].id());
    let at = address(u8::try_from(id.index).unwrap() + 10, port);
    let check = world.viewers[viewer].check(&ice, nominates);
    let served = serves(world, viewer);
    world.send(0, at, &check);
    let moved = |event| matches!(event, Event::ViewerMoved(moved, _) if moved == id);
    if world.events().into_iter().any(moved) {
        assert!(served);
        world.viewers[viewer].at = at;
    }
}

fn serves(world: &World, viewer: usize) -> bool {
    let id = world.viewers[viewer].id();
    world.region.viewer(id).unwrap().owner().is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_invariant_holds(steps in prop::collection::vec(step(), 1..300)) {
        let mut world = World::with(&Limits { log_packets: 256, ..LIMITS });
        let mut source = world.source(0);
        source.video(world.now, true, &[500; 3]);
        for step in steps {
            act(&mut world, &mut source, step);
        }
        world.sink.room = usize::MAX;
        world.run(300, 1);
        for viewer in &world.viewers {
            viewer.assert_continuous();
        }
        // What the last tick queued goes out; then nothing is left to be done, and a new
        // picture reaches all that are there.
        let now = world.now;
        world.planes[0].fan_out(now, &mut world.sink);
        prop_assert!(!world.planes[0].ready());
        world.run(1000, 10);
        let before: Vec<usize> = world.viewers.iter().map(|v| v.got[VIDEO].len()).collect();
        source.video(world.now, true, &[700; 2]);
        world.run(100, 1);
        for (viewer, before) in before.into_iter().enumerate() {
            let expected = if serves(&world, viewer) { 2 } else { 0 };
            prop_assert_eq!(world.viewers[viewer].got[VIDEO].len() - before, expected);
        }
    }
}
