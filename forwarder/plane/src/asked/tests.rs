//! The queue against a plain model of it, and what it promises those who ask for little.

use std::collections::VecDeque;

use super::*;
use crate::random::Random;

const STREAMS: u32 = 3;

fn viewer(index: u32) -> ViewerId {
    ViewerId {
        index,
        generation: 1,
    }
}

fn repair(index: u64) -> Repair {
    Repair { track: 0, index }
}

/// Viewer `v` is of stream `v % STREAMS`.
struct Rig {
    queue: Repairs,
    places: Vec<u32>,
}

impl Rig {
    fn new(viewers: u32) -> Self {
        Self {
            queue: Repairs::new(STREAMS),
            places: vec![NONE; viewers as usize],
        }
    }

    fn push(&mut self, v: u32, index: u64) -> bool {
        let place = &mut self.places[v as usize];
        self.queue
            .push(v % STREAMS, viewer(v), place, repair(index))
    }
}

#[test]
fn one_who_asks_for_little_is_served_second() {
    let mut rig = Rig::new(3 * 500);
    // A storm of 500 viewers of one stream, until nothing more is taken.
    for index in 0..64 {
        for v in (0..1500).step_by(3) {
            rig.push(v, index);
        }
    }
    assert!(!rig.push(0, 99), "a storm may not have it all");
    assert!(rig.push(1, 7), "another stream's viewer is taken");
    assert!(rig.push(4, 8));
    let mut served = Vec::new();
    for _ in 0..6 {
        served.push(rig.queue.due().unwrap().viewer.index);
        rig.queue.pass(1);
    }
    let others: Vec<_> = served.iter().filter(|v| *v % 3 == 1).collect();
    assert_eq!(others, [&1, &4]);
    assert!(served[..2].contains(&1), "{served:?}");
    // And a newcomer of the storming stream as well, once there is any room.
    let mut rig = Rig::new(30);
    while rig.push(0, 1) {}
    assert!(rig.push(3, 5));
    rig.queue.pass(16);
    assert_eq!(rig.queue.due().unwrap().viewer, viewer(3));
}

#[test]
fn everyone_has_a_part_and_nobody_all() {
    let mut rig = Rig::new(30_000);
    let mut had = vec![0_u32; 30_000];
    for _ in 0..300 {
        for v in (0..30_000).step_by(3) {
            had[v as usize] += u32::from(rig.push(v, 1));
        }
    }
    let all: u32 = had.iter().sum();
    assert!(all <= 2048, "{all}");
    assert!(had.iter().all(|one| *one <= OF_VIEWER_MAX));
}

/// A viewer, and what it has asked for.
type ModelLine = (u32, VecDeque<u64>);

/// What `Repairs` is to do, with vectors.
#[derive(Default)]
struct Model {
    streams: VecDeque<(u32, VecDeque<ModelLine>)>,
}

impl Model {
    fn push(&mut self, v: u32, index: u64) {
        let of = v % STREAMS;
        if !self.streams.iter().any(|(stream, _)| *stream == of) {
            self.streams.push_back((of, VecDeque::new()));
        }
        let lines = self.streams.iter_mut().find(|(stream, _)| *stream == of);
        let lines = &mut lines.unwrap().1;
        match lines.iter_mut().find(|(viewer, _)| *viewer == v) {
            Some((_, line)) => line.push_back(index),
            None => lines.push_back((v, [index].into())),
        }
    }

    fn serve(&mut self, looked: usize) -> Option<(u32, Vec<u64>)> {
        let (stream, mut lines) = self.streams.pop_front()?;
        let (v, mut line) = lines.pop_front()?;
        let done = line.drain(..looked.min(line.len())).collect();
        if !line.is_empty() {
            lines.push_back((v, line));
        }
        if !lines.is_empty() {
            self.streams.push_back((stream, lines));
        }
        Some((v, done))
    }
}

#[test]
fn it_does_what_the_model_does() {
    for seed in 0..20 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut rig = Rig::new(40);
        let mut model = Model::default();
        let mut waiting = 0;
        for index in 0..20_000 {
            if random.below(100) < 60 {
                let v = random.below(40);
                if rig.push(v, index) {
                    model.push(v, index);
                    waiting += 1;
                }
            } else {
                let looked = 1 + random.below(9);
                let due = rig.queue.due();
                let read = due.map(|due| {
                    let of = rig.queue.of(&due);
                    let all = (0..looked as usize).map_while(&of);
                    (due.viewer.index, all.map(|r| r.index).collect::<Vec<_>>())
                });
                rig.queue.pass(looked);
                let expected = model.serve(looked as usize);
                waiting -= expected.as_ref().map_or(0, |(_, done)| done.len());
                assert_eq!(read, expected);
            }
            assert_eq!(rig.queue.waiting as usize, waiting);
            assert_eq!(rig.queue.is_empty(), rig.queue.due().is_none());
        }
        while let Some(expected) = model.serve(3) {
            assert_eq!(rig.queue.due().unwrap().viewer.index, expected.0);
            rig.queue.pass(3);
        }
        assert!(rig.queue.is_empty() && rig.queue.due().is_none());
    }
}
