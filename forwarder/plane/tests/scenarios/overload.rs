//! A core that is loaded: what it gives up, in which order, of whom, and how that ends.

use link::command::{Command, VIDEO};
use link::ids::CoreId;
use link::stats::Counter;
use wire::rtcp_feedback::{write_nack, write_remb};
use wire::time::Span;

use crate::layers::{Simulcast, pin};
use crate::world::{DELTA, KEY, Source, World};

/// Up to which load newcomers are let in.
const LIMIT: f64 = 0.8;

/// Loads at which nothing is given up, old repairs are, and upper layers are as well.
const CALM: f64 = 0.5 * LIMIT;
const PRESSED: f64 = 0.93 * LIMIT;
const LOADED: f64 = 0.98 * LIMIT;

/// The worker of the world counts that it was at work for this part of so many milliseconds.
fn spend(world: &World, load: f64, ms: u32) {
    let stats = world.region.stats(CoreId(0)).unwrap();
    let passed = Span::millis(ms.into()).0;
    stats.add(Counter::TimePassed, passed);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds of some milliseconds"
    )]
    let busy = (load * f64::from(ms) * 1e6) as u64;
    stats.add(Counter::TimeBusy, busy);
}

fn world() -> World {
    let mut world = World::new();
    world.plane().limit_load(LIMIT);
    world
}

/// Pictures for so many seconds under this load.
fn watch(world: &mut World, source: &mut Source, load: f64, seconds: u32) {
    for nth in 0..30 * seconds {
        let is_key = nth % 30 == 0;
        source.video(world.now, is_key, if is_key { &KEY } else { &DELTA });
        spend(world, load, 33);
        world.run(33, 1);
    }
}

/// Packets with media that a viewer is sent again when it asks for those that came so long ago.
fn repaired(world: &mut World, frames_ago: usize) -> usize {
    let got = &world.viewers[0].got[VIDEO];
    let lost: Vec<u16> = got[got.len() - 3 * frames_ago..][..3]
        .iter()
        .map(|got| got.header.sequence)
        .collect();
    let ssrc = world.viewers[0].video_ssrc();
    let before = world.viewers[0].rtx.len();
    world.feedback(0, |out| write_nack(1, ssrc, &lost, out));
    world.turn(1);
    world.viewers[0].rtx.len() - before
}

#[test]
fn old_repairs_are_given_up_first() {
    let mut world = world();
    let mut source = world.source(0);
    world.join(source.id);
    watch(&mut world, &mut source, CALM, 2);
    assert_eq!(repaired(&mut world, 20), 3, "two thirds of a second old");
    assert_eq!(world.count(Counter::OverloadStage), 0);

    watch(&mut world, &mut source, PRESSED, 3);
    assert_eq!(world.count(Counter::OverloadStage), 1);
    assert_eq!(repaired(&mut world, 20), 0);
    assert_eq!(world.count(Counter::RetransmissionGivenUp), 3);
    assert_eq!(repaired(&mut world, 1), 3, "asked for at once");

    // It ends later than it began, but it ends.
    watch(&mut world, &mut source, 0.85 * LIMIT, 3);
    assert_eq!(world.count(Counter::OverloadStage), 1);
    watch(&mut world, &mut source, CALM, 6);
    assert_eq!(world.count(Counter::OverloadStage), 0);
    assert_eq!(repaired(&mut world, 20), 3);
    assert_eq!(world.count(Counter::RetransmissionGivenUp), 3);
    world.viewers[0].assert_continuous();
}

#[test]
fn a_moment_of_load_gives_nothing_up() {
    let mut world = world();
    let mut source = world.source(0);
    world.join(source.id);
    watch(&mut world, &mut source, CALM, 2);
    // A core that was held up for as long as that.
    spend(&world, 1.0, 150);
    world.run(100, 10);
    assert_eq!(world.count(Counter::OverloadStage), 0);
    assert_eq!(repaired(&mut world, 20), 3);
}

/// Three encodings, and viewers whose paths carry so much.
struct Hall {
    world: World,
    camera: Simulcast,
    /// Viewers, and what their paths carry.
    crowd: Vec<(usize, u64)>,
}

impl Hall {
    fn new(paths: &[u64]) -> Self {
        let mut world = world();
        let stream = world.region.open_stream(0, "live/cam").unwrap();
        let mut camera = Simulcast::join(&mut world, stream);
        camera.run(&mut world, 500);
        let crowd = paths.iter().map(|bps| (world.join(stream), *bps));
        Self {
            crowd: crowd.collect(),
            world,
            camera,
        }
    }

    fn run(&mut self, load: f64, ms: u32) {
        for _ in 0..ms / 100 {
            for &(viewer, bps) in &self.crowd {
                let (id, ssrc) = {
                    let viewer = &self.world.viewers[viewer];
                    (viewer.id(), viewer.video_ssrc())
                };
                let now = self.world.now;
                self.world.plane().apply(now, &Command::Consent(id));
                self.world
                    .feedback(viewer, |out| write_remb(1, bps, &[ssrc], out));
            }
            spend(&self.world, load, 100);
            self.camera.run(&mut self.world, 100);
        }
    }

    /// The encoding that each viewer is sent.
    fn layers(&self) -> Vec<u8> {
        let newest = |(viewer, _): &(usize, u64)| {
            let got = &self.world.viewers[*viewer].got[VIDEO];
            got.last().unwrap().payload[1]
        };
        self.crowd.iter().map(newest).collect()
    }
}

#[test]
fn then_the_upper_layers_of_those_whose_paths_carry_the_least() {
    // The highest takes 1 Mbit/s.
    let paths = [
        9_000_000, 1_200_000, 1_300_000, 8_000_000, 400_000, 7_000_000,
    ];
    let mut hall = Hall::new(&paths);
    hall.run(CALM, 12_000);
    assert_eq!(hall.layers(), [2; 6]);

    // With old repairs alone nobody is sent less.
    hall.run(PRESSED, 4_000);
    assert_eq!(hall.layers(), [2; 6]);
    assert_eq!(hall.world.count(Counter::LayerGivenUp), 0);

    // Step by step, and never more than half of them.
    hall.run(LOADED, 1_900);
    assert_eq!(hall.world.count(Counter::OverloadStage), 2);
    let layers = hall.layers();
    assert_eq!((layers[4], layers[2]), (1, 2), "the worst first");
    hall.run(LOADED, 10_000);
    assert_eq!(hall.layers(), [2, 1, 1, 2, 1, 2]);
    assert_eq!(hall.world.count(Counter::LayerGivenUp), 3);

    hall.run(CALM, 20_000);
    assert_eq!(hall.world.count(Counter::OverloadStage), 0);
    assert_eq!(hall.layers(), [2; 6]);
    for (viewer, _) in hall.crowd {
        hall.world.viewers[viewer].assert_continuous();
    }
}

#[test]
fn alike_paths_share_it_and_who_has_chosen_keeps_what_it_chose() {
    let mut hall = Hall::new(&[5_000_000; 16]);
    for (viewer, _) in &hall.crowd[..2] {
        pin(&mut hall.world, *viewer, Some(3));
    }
    hall.run(CALM, 8_000);
    assert_eq!(hall.layers(), [2; 16]);
    hall.run(LOADED, 12_000);
    let layers = hall.layers();
    let lowered = layers.iter().filter(|layer| **layer == 1).count();
    assert!((3..=8).contains(&lowered), "{layers:?}");
    assert_eq!(layers[..2], [2, 2]);
    // The same ones all the time: every change is a keyframe.
    let given_up = hall.world.count(Counter::LayerGivenUp);
    assert_eq!(given_up, lowered as u64);
    hall.run(LOADED, 5_000);
    assert_eq!(hall.layers(), layers);
}
