//! A stream with very many viewers beside one with few: its bursts go out in portions, and nobody
//! misses anything for that.

use link::command::{Command, VIDEO};
use link::limits::Limits;
use link::stats::Counter;

use crate::world::{DELTA, KEY, LIMITS, Source, World};

/// Viewers of the large stream: a burst takes five turns.
const CROWD: usize = 600;

/// Viewers of a stream that are served in a turn.
const PORTION: usize = 128;

/// Turns until everybody has a burst.
const TURNS: usize = CROWD.div_ceil(PORTION);

/// A world with a crowd and two who watch something else, all of them up to date.
fn crowded() -> (World, Source, Source, [usize; 2]) {
    let mut world = World::with(&Limits {
        viewers_max: 700,
        ..LIMITS
    });
    let (mut large, mut small) = (world.source(0), world.source(1));
    large.video(world.now, true, &KEY);
    small.video(world.now, true, &KEY);
    for _ in 0..CROWD {
        world.join(large.id);
    }
    let few = [(); 2].map(|()| world.join(small.id));
    world.run(40, 1);
    large.video(world.now, false, &DELTA);
    for _ in 0..TURNS {
        world.turn(0);
    }
    assert!(!world.planes[0].ready());
    (world, large, small, few)
}

fn got(world: &World, viewer: usize) -> usize {
    world.viewers[viewer].got[VIDEO].len()
}

/// Those of the crowd who have got so many packets more than before.
fn served(world: &World, before: &[usize], packets: usize) -> usize {
    let viewers = before.iter().enumerate();
    viewers
        .filter(|&(viewer, before)| got(world, viewer) == before + packets)
        .count()
}

#[test]
fn few_viewers_wait_for_a_portion_of_a_crowd_and_not_for_all_of_it() {
    let (mut world, mut large, mut small, few) = crowded();
    let before: Vec<_> = (0..CROWD).map(|viewer| got(&world, viewer)).collect();
    large.video(world.now, false, &DELTA);
    world.turn(0);
    assert_eq!(served(&world, &before, DELTA.len()), PORTION);
    assert!(world.planes[0].ready());
    let of_few = few.map(|viewer| got(&world, viewer));
    small.video(world.now, false, &DELTA);
    world.turn(0);
    for (viewer, before) in few.into_iter().zip(of_few) {
        assert_eq!(got(&world, viewer), before + DELTA.len());
    }
    assert_eq!(served(&world, &before, DELTA.len()), 2 * PORTION);
    // A second picture waits until everybody has the first.
    large.video(world.now, false, &DELTA);
    for turn in 3..=TURNS {
        world.turn(0);
        let reached = served(&world, &before, DELTA.len());
        assert!(
            reached >= (turn * PORTION).min(CROWD) - PORTION,
            "{reached}"
        );
    }
    for _ in 0..TURNS {
        world.turn(0);
    }
    assert!(!world.planes[0].ready());
    assert_eq!(served(&world, &before, 2 * DELTA.len()), CROWD);
    world.viewers.iter().for_each(|it| it.assert_continuous());
    assert_eq!(world.count(Counter::ViewerSkipped), 0);
}

#[test]
fn whoever_comes_and_goes_while_a_burst_is_under_way_disturbs_nobody() {
    // With every number of those who leave, the ring is closed at another place.
    for leaving in [1, PORTION - 1, PORTION, PORTION + 1, 3 * PORTION] {
        let (mut world, mut large, _, _) = crowded();
        let before: Vec<_> = (0..CROWD).map(|viewer| got(&world, viewer)).collect();
        large.video(world.now, false, &DELTA);
        world.turn(0);
        // Those who were served, those whose turn it is, and the first of all.
        let now = world.now;
        let gone: Vec<_> = (0..CROWD)
            .cycle()
            .skip(1)
            .step_by(CROWD / leaving)
            .take(leaving)
            .collect();
        for &viewer in &gone {
            let id = world.viewers[viewer].id();
            world.plane().apply(now, &Command::RemoveViewer(id));
        }
        let late = world.join(large.id);
        for _ in 0..TURNS {
            world.turn(1);
        }
        world.run(20, 1);
        assert!(!world.planes[0].ready());
        for (viewer, before) in before.iter().enumerate() {
            let news = got(&world, viewer) - before;
            assert!(
                news == DELTA.len() || gone.contains(&viewer),
                "{viewer}: {news}"
            );
        }
        assert_eq!(got(&world, late), KEY.len() + 2 * DELTA.len());
        large.video(world.now, false, &DELTA);
        for _ in 0..TURNS {
            world.turn(1);
        }
        for viewer in (0..CROWD).filter(|viewer| !gone.contains(viewer)) {
            assert_eq!(got(&world, viewer) - before[viewer], 2 * DELTA.len());
            world.viewers[viewer].assert_continuous();
        }
        assert_eq!(got(&world, late), KEY.len() + 3 * DELTA.len());
    }
}

#[test]
fn all_may_leave_while_a_burst_is_under_way() {
    let (mut world, mut large, _, _) = crowded();
    large.video(world.now, false, &DELTA);
    world.turn(0);
    let now = world.now;
    for viewer in 0..CROWD {
        let id = world.viewers[viewer].id();
        world.plane().apply(now, &Command::RemoveViewer(id));
    }
    world.turn(1);
    assert!(!world.planes[0].ready());
    large.video(world.now, true, &KEY);
    let next = world.join(large.id);
    world.run(20, 1);
    assert_eq!(got(&world, next), KEY.len());
}

#[test]
fn a_crowd_that_the_writer_has_overtaken_goes_on_at_a_keyframe() {
    let (mut world, mut large, _, _) = crowded();
    large.video(world.now, false, &DELTA);
    world.turn(0);
    // All of the log is written over before the next turn.
    let packets = LIMITS.log_packets as usize + 64;
    for _ in 0..packets / DELTA.len() {
        large.video(world.now, false, &DELTA);
    }
    large.video(world.now, true, &KEY);
    let last = large.frames[VIDEO] - 1;
    world.run(2_000, 1);
    assert!(!world.planes[0].ready());
    for viewer in 0..CROWD {
        let newest = world.viewers[viewer].got[VIDEO].last().unwrap();
        assert_eq!(crate::world::frame_of(&newest.payload), (last, true));
    }
}
