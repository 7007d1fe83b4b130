//! Whatever happens, in any order: every invariant of the sink and of the viewers holds.

use link::command::{Command, VIDEO};
use link::limits::Limits;
use proptest::prelude::*;
use wire::rtcp_feedback::{write_nack, write_pli};

use crate::viewer::address;
use crate::world::{LIMITS, World};

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
        2 => Just(Step::Join),
        1 => (0..8_usize).prop_map(Step::Leave),
        1 => (0..8_usize).prop_map(Step::Again),
        2 => (0..8_usize).prop_map(Step::Pli),
        3 => (0..8_usize, prop::collection::vec(0..200_u16, 1..30))
            .prop_map(|(viewer, lost)| Step::Nack(viewer, lost)),
        2 => check.prop_map(|(viewer, port, nominates)| Step::Check { viewer, port, nominates }),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Step::Garbage),
    ]
}

/// Does a step; `lost` of a NACK count back from the newest packet.
fn act(world: &mut World, source: &mut crate::world::Source, step: Step) {
    let now = world.now;
    let place = |viewer: usize, world: &World| {
        let viewers = world.viewers.len();
        (viewers > 0).then(|| viewer % viewers)
    };
    match step {
        Step::Video {
            key,
            packets,
            bytes,
        } => {
            let mut sizes = vec![bytes; packets];
            sizes[packets - 1] = bytes / 2 + 4;
            source.video(now, key, &sizes);
        }
        Step::Audio(bytes) => source.audio(now, bytes),
        Step::Turn { ms, room } => {
            world.sink.room = room.unwrap_or(usize::MAX);
            world.turn(ms);
        }
        Step::Segments(max) => world.sink.segments_max = max,
        Step::Join if world.viewers.len() < 8 => {
            let viewer = world.viewer(source.id);
            let viewer = match world.viewers.len() % 3 {
                0 => viewer,
                1 => viewer.without_rtx(),
                _ => viewer.with_extension(),
            };
            world.add(viewer);
        }
        Step::Join => {}
        Step::Leave(viewer) => {
            if let Some(viewer) = place(viewer, world) {
                let id = world.viewers[viewer].id();
                world.planes[0].apply(now, &Command::RemoveViewer(id));
            }
        }
        Step::Again(viewer) => {
            if let Some(viewer) = place(viewer, world) {
                // As after a crash: what was leased is never used again.
                let mut add = world.viewers[viewer].add;
                let cell = world.region.viewer(add.viewer).unwrap();
                if cell.owner().is_some() {
                    add.peer = world.viewers[viewer].at.peer;
                    world.planes[0].apply(now, &Command::AddViewer(add));
                }
            }
        }
        Step::Pli(viewer) => {
            if let Some(viewer) = place(viewer, world) {
                let ssrc = world.viewers[viewer].video_ssrc();
                world.feedback(viewer, |out| write_pli(1, ssrc, out));
            }
        }
        Step::Nack(viewer, lost) => {
            if let Some(viewer) = place(viewer, world) {
                let ssrc = world.viewers[viewer].video_ssrc();
                let newest = world.viewers[viewer].got[VIDEO]
                    .last()
                    .map_or(0, |got| got.header.sequence);
                let lost: Vec<u16> = lost.iter().map(|back| newest.wrapping_sub(*back)).collect();
                world.feedback(viewer, |out| write_nack(1, ssrc, &lost, out));
            }
        }
        Step::Check {
            viewer,
            port,
            nominates,
        } => {
            if let Some(viewer) = place(viewer, world) {
                let ice = world.viewers[viewer].add.ice;
                let n = u8::try_from(world.viewers[viewer].id().index).unwrap() + 10;
                let at = address(n, port);
                let check = world.viewers[viewer].check(&ice, nominates);
                let id = world.viewers[viewer].id();
                let serves = world.region.viewer(id).unwrap().owner().is_some();
                world.deliver();
                world.send(0, at, &check);
                let moved = world.events().into_iter().any(|event| {
                    matches!(event, link::event::Event::ViewerMoved(moved, _) if moved == id)
                });
                assert!(serves || !moved);
                if moved {
                    world.viewers[viewer].at = at;
                }
            }
        }
        Step::Garbage(bytes) => world.send(0, address(10, 40_000), &bytes),
    }
    world.events();
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
        // Nothing is left to be done, and a new picture reaches all that are there.
        prop_assert!(!world.plane().ready());
        world.run(1000, 10);
        let before: Vec<usize> = world.viewers.iter().map(|v| v.got[VIDEO].len()).collect();
        source.video(world.now, true, &[700; 2]);
        world.run(100, 1);
        for (viewer, before) in world.viewers.iter().zip(before) {
            let serves = world.region.viewer(viewer.id()).unwrap().owner().is_some();
            prop_assert_eq!(viewer.got[VIDEO].len() - before, if serves { 2 } else { 0 });
        }
    }
}
