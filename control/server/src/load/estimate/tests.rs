//! The estimate against a model of a node: cores, viewers and what they cost.

use super::super::{Gate, Newcomer};
use super::*;
use crate::load::host;
use proptest::prelude::*;

/// A node whose cores do what the model says.
struct Node {
    now: Time,
    cores: Vec<CoreReading>,
    estimate: Estimate,
    /// Part of a core that a viewer costs.
    viewer_load: f64,
    /// Part of each core that is used without any viewer.
    base: f64,
    /// A core that has stopped turning.
    stuck: Option<usize>,
}

impl Node {
    fn new(cores: usize, viewer_load: f64, base: f64) -> Self {
        let mut node = Self {
            now: Time::ZERO + Span::secs(100),
            cores: vec![CoreReading::default(); cores],
            estimate: Estimate::default(),
            viewer_load,
            base,
            stuck: None,
        };
        node.sample();
        node.sample();
        node
    }

    /// Half a second goes by.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small and not negative"
    )]
    fn sample(&mut self) {
        self.now = self.now + SAMPLE_INTERVAL;
        let ns = SAMPLE_INTERVAL.0 as f64;
        for (n, core) in self.cores.iter_mut().enumerate() {
            if self.stuck == Some(n) {
                continue;
            }
            let share = (self.base + core.viewers as f64 * self.viewer_load).min(1.0);
            core.passed = core.passed + SAMPLE_INTERVAL;
            core.busy = core.busy + Span((share * ns) as u64);
            core.packets_sent += core.viewers * 130;
            core.bytes_sent += core.viewers * 130 * 1200;
            core.received += (self.base / self.viewer_load * 130.0 / RECEIVED_WEIGHT) as u64;
        }
        let viewers = self.cores.iter().map(|core| core.viewers).sum();
        let host = HostReading::default();
        self.estimate.sample(self.now, &self.cores, &host, viewers);
    }

    fn settle(&mut self) {
        for _ in 0..40 {
            self.sample();
        }
    }

    fn spread(&mut self, viewers: u64) {
        let cores = self.cores.len() as u64;
        for (n, core) in (0..cores).zip(&mut self.cores) {
            core.viewers = viewers / cores + u64::from(n < viewers % cores);
        }
    }

    /// True if the measured load of the first core is `load`.
    fn is_settled(&self, load: f64) -> bool {
        let measured = self.estimate.cores().next().flatten();
        measured.is_some_and(|measured| near(measured, load, 0.02))
    }

    fn load(&self) -> f64 {
        self.estimate.projected(0).0
    }
}

fn near(one: f64, other: f64, part: f64) -> bool {
    (one - other).abs() <= part * other.abs().max(1e-9)
}

#[test]
fn what_is_measured_is_what_is_there() {
    let mut node = Node::new(2, 0.002, 0.05);
    node.spread(200);
    node.settle();
    assert!(near(node.load(), 0.25, 0.02), "{}", node.load());
    assert_eq!(node.estimate.projected(0).1, Bound::Core(0));
    assert!(near(node.estimate.viewer_load(), 0.002, 0.15));
    // 0.6 of each of two cores are left, and a viewer takes 0.002 of one.
    let room = node.estimate.headroom(0.85).0 as f64;
    assert!(near(room, 600.0, 0.15), "{room}");
}

#[test]
fn up_is_believed_sooner_than_down() {
    let mut node = Node::new(1, 0.001, 0.0);
    node.spread(500);
    node.settle();
    node.spread(0);
    node.sample();
    node.sample();
    assert!(node.load() > 0.3, "a second later: {}", node.load());
    node.settle();
    assert!(node.load() < 0.01, "{}", node.load());
    node.spread(500);
    for _ in 0..3 {
        node.sample();
    }
    assert!(node.load() > 0.42, "{}", node.load());
}

#[test]
fn who_is_admitted_counts_before_he_is_measured() {
    let mut node = Node::new(1, 0.002, 0.0);
    node.spread(100);
    node.settle();
    let before = node.load();
    for _ in 0..200 {
        node.estimate.admitted();
    }
    let expected = before + 200.0 * node.estimate.viewer_load();
    assert!(near(node.load(), expected, 1e-9), "{}", node.load());
    // They arrive: measured little by little, never counted twice, never forgotten.
    node.spread(300);
    for _ in 0..20 {
        node.sample();
        let most = if node.is_settled(0.6) { 0.63 } else { 0.95 };
        assert!((0.58..=most).contains(&node.load()), "{}", node.load());
    }
}

#[test]
fn a_storm_stops_at_the_limit() {
    let mut node = Node::new(1, 0.002, 0.02);
    node.spread(50);
    node.settle();
    let mut gate = Gate::default();
    let mut admitted = 50;
    // Everybody comes between two samples, and more after each of them.
    for _ in 0..10 {
        for _ in 0..1000 {
            if gate.ask(Newcomer::Viewer, 0.85, &node.estimate).is_ok() {
                node.estimate.admitted();
                admitted += 1;
            }
        }
        node.spread(admitted);
        node.sample();
    }
    node.settle();
    let (load, _) = node.estimate.projected(0);
    assert!((0.80..=0.89).contains(&load), "{load} with {admitted}");
    let refused: u64 = gate.refused()[0].iter().sum();
    assert_eq!(refused, 10_050 - admitted);
    assert_eq!(
        refused,
        gate.refused()[0][0],
        "all of them because of the core"
    );
}

#[test]
fn a_gate_that_is_shut_stays_so_until_there_is_room_again() {
    let mut node = Node::new(1, 0.002, 0.0);
    node.spread(430);
    node.settle();
    let mut gate = Gate::default();
    let ask = |node: &Node, gate: &mut Gate| gate.ask(Newcomer::Viewer, 0.85, &node.estimate);
    let overload = ask(&node, &mut gate).unwrap_err();
    assert_eq!(overload.bound, Bound::Core(0));
    assert!(
        overload.to_string().contains("core 0 is loaded to 0.8"),
        "{overload}"
    );
    // One leaves: not yet.
    node.spread(420);
    node.settle();
    assert!(ask(&node, &mut gate).is_err());
    node.spread(400);
    node.settle();
    assert!(ask(&node, &mut gate).is_ok());
    // Open again, the limit itself holds.
    node.spread(420);
    node.settle();
    assert!(ask(&node, &mut gate).is_ok());
}

#[test]
fn publishers_have_the_half_that_is_left_and_zero_is_off() {
    let mut node = Node::new(1, 0.002, 0.0);
    node.spread(450);
    node.settle();
    let mut gate = Gate::default();
    assert!(gate.ask(Newcomer::Viewer, 0.85, &node.estimate).is_err());
    assert!(gate.ask(Newcomer::Publisher, 0.85, &node.estimate).is_ok());
    node.spread(480);
    node.settle();
    assert!(gate.ask(Newcomer::Publisher, 0.85, &node.estimate).is_err());
    assert!(gate.ask(Newcomer::Viewer, 0.0, &node.estimate).is_ok());
}

#[test]
fn a_core_that_does_not_turn_is_full_and_one_that_does_not_measure_is_not() {
    let mut node = Node::new(2, 0.001, 0.0);
    node.spread(10);
    node.settle();
    node.stuck = Some(1);
    for _ in 0..3 {
        node.sample();
    }
    let (load, bound) = node.estimate.projected(0);
    assert!(load > 0.85 && bound == Bound::Stuck(1), "{load} {bound:?}");
    let mut estimate = Estimate::default();
    let silent = [CoreReading::default()];
    for n in 1..10 {
        let host = HostReading::default();
        estimate.sample(Time(n * SAMPLE_INTERVAL.0), &silent, &host, 1000);
    }
    assert_eq!(estimate.projected(1), (0.0, Bound::Unknown));
    assert_eq!(estimate.cores().collect::<Vec<_>>(), [None]);
}

#[test]
fn a_core_that_falls_behind_or_is_held_up_says_so() {
    let mut node = Node::new(1, 0.001, 0.0);
    node.settle();
    node.cores[0].skipped += 3;
    node.sample();
    let (load, bound) = node.estimate.projected(0);
    assert!(load > 0.6 && bound == Bound::Behind(0), "{load} {bound:?}");
    node.settle();
    for _ in 0..6 {
        node.cores[0].congested = node.cores[0].congested + Span::millis(400);
        node.sample();
    }
    let (load, bound) = node.estimate.projected(0);
    assert!(
        near(load, 0.8, 0.05) && bound == Bound::Sending(0),
        "{load} {bound:?}"
    );
    assert_eq!(node.estimate.by_cause()[bound.cause()], load);
}

#[test]
fn devices_and_memory_bind_too() {
    let mut node = Node::new(1, 0.000_1, 0.0);
    node.spread(100);
    node.settle();
    let gigabit = 1_000_000_000;
    let mut sent_bytes = 0;
    for _ in 0..20 {
        node.sample();
        // 100 viewers send 0.25 Gbit/s; somebody else 0.55.
        sent_bytes += gigabit / 8 * 4 / 10;
        let host = HostReading {
            at: node.now,
            devices: vec![host::Device {
                name: "eth0".into(),
                bits_per_second: gigabit,
                sent_bytes,
            }],
            memory: Some(Memory {
                available_bytes: 1 << 30,
                total_bytes: 1 << 34,
            }),
        };
        node.estimate.sample_host(&host);
    }
    let (load, bound) = node.estimate.projected(0);
    assert_eq!(bound, Bound::Device("eth0".into()));
    assert!(near(load, 0.8, 0.02), "{load}");
    assert!(near(
        node.estimate.by_cause()[Bound::Memory.cause()],
        0.25,
        0.01
    ));
    // 2.5 Mbit/s each, and 50 Mbit/s are left.
    let (room, bound) = node.estimate.headroom(0.85);
    assert!(near(room as f64, 20.0, 0.2), "{room}");
    assert_eq!(bound, Bound::Device("eth0".into()));
    // With a faster cable memory is next: 650 MiB are left, and 555 are kept.
    node.estimate.devices.clear();
    let scarce = Memory {
        available_bytes: 650 << 20,
        total_bytes: 1 << 34,
    };
    node.estimate.memory = Some(scarce);
    let (room, bound) = node.estimate.headroom(0.85);
    assert_eq!((room, bound), (757, Bound::Memory));
    let starved = memory_load(Memory {
        available_bytes: 1 << 20,
        total_bytes: 1 << 34,
    });
    assert!(near(starved, 1.0, 0.0));
}

proptest! {
    /// However many come and whenever, the load that follows from the admitted stays below the
    /// limit by less than one viewer's worth of error in what is known of them.
    #[test]
    fn nobody_is_admitted_beyond_the_limit(
        cores in 1_usize..5,
        viewer_load in 0.000_5_f64..0.005,
        base in 0.0_f64..0.3,
        waves in proptest::collection::vec(0_u32..2000, 1..40),
        limit in 0.4_f64..0.95,
    ) {
        let mut node = Node::new(cores, viewer_load, base);
        // Enough to be measured: what is not known cannot be charged.
        let mut admitted = 40 * cores as u64;
        node.spread(admitted);
        node.settle();
        prop_assume!(node.load() < limit);
        let mut gate = Gate::default();
        for wave in waves {
            for _ in 0..wave {
                if gate.ask(Newcomer::Viewer, limit, &node.estimate).is_ok() {
                    node.estimate.admitted();
                    admitted += 1;
                }
            }
            node.spread(admitted);
            node.sample();
        }
        let most = base + viewer_load * (admitted as f64 / cores as f64).ceil();
        prop_assert!(most <= limit * 1.15, "{most} of {limit}");
    }

    #[test]
    fn no_reading_whatever_breaks_it(
        readings in proptest::collection::vec(proptest::array::uniform8(any::<u64>()), 1..20),
        viewers in any::<u32>(),
    ) {
        let mut estimate = Estimate::default();
        for (n, [a, b, c, d, e, f, g, h]) in (1_u64..).zip(readings) {
            let core = CoreReading {
                passed: Span(a),
                busy: Span(b),
                congested: Span(c),
                viewers: d,
                packets_sent: e,
                bytes_sent: f,
                received: g,
                skipped: h,
            };
            let host = HostReading::default();
            estimate.sample(Time(n * 1000), &[core], &host, viewers.into());
            let (load, _) = estimate.projected(1);
            prop_assert!(load.is_finite() && load >= 0.0, "{load}");
            prop_assert!(estimate.cores().flatten().all(|load| (0.0..=1.0).contains(&load)));
            let _ = estimate.headroom(0.85);
        }
    }
}
