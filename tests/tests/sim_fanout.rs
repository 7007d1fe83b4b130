//! Two cores, two streams and a dozen viewers on a simulated network that loses, delays, reorders
//! and repeats. Seeds are printed; FRESHET_SEED repeats one.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::net::SocketAddr;

use freshet_tests::wait::quick;
use freshet_tests::world::{Client, Network, World};
use io::port::PortConfig;
use io::sim::{Link, SimNet, SimPeer, SimPort};
use link::stats::Counter;
use wire::time::{Span, Time};

const SERVER: &str = "192.0.2.1:8000";

/// A simulated network and its clock.
struct Simulated {
    net: SimNet,
    now: Time,
    step: Span,
}

struct SimClient {
    peer: SimPeer,
    moves: u16,
}

impl Network for Simulated {
    type Port = SimPort;
    type Client = SimClient;

    fn ports(&mut self, cores: u16, config: &PortConfig) -> Vec<SimPort> {
        (0..cores)
            .map(|_| self.net.port(self.server(), config))
            .collect()
    }

    fn server(&self) -> SocketAddr {
        SERVER.parse().unwrap()
    }

    fn client(&mut self, number: u32) -> SimClient {
        let host = u8::try_from(number + 1).unwrap();
        let peer = self
            .net
            .peer(SocketAddr::from(([198, 51, 100, host], 40_000)));
        SimClient { peer, moves: 0 }
    }

    fn now(&self) -> Time {
        self.now
    }

    fn pass(&mut self) {
        self.now = self.now + self.step;
    }
}

impl Client for SimClient {
    fn address(&self) -> SocketAddr {
        self.peer.addr()
    }

    fn send(&mut self, now: Time, to: SocketAddr, bytes: &[u8]) {
        self.peer.send(now, to, bytes);
    }

    fn recv(&mut self, now: Time) -> Option<Vec<u8>> {
        self.peer.recv(now).map(|(from, bytes)| {
            assert_eq!(from, SERVER.parse().unwrap(), "from where was asked");
            bytes
        })
    }

    fn rebind(&mut self) {
        self.moves += 1;
        let mut next = self.peer.addr();
        next.set_port(next.port() + self.moves);
        self.peer.rebind(next);
    }
}

fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("FRESHET_SEED") {
        return vec![seed.parse().unwrap()];
    }
    (1..=if quick() { 2 } else { 6 }).collect()
}

fn world(seed: u64, link: Link) -> World<Simulated> {
    println!("seed {seed}: {link:?}");
    let net = SimNet::new(seed, link);
    let now = Time(Span::secs(100).0);
    let step = Span::micros(500);
    World::new(Simulated { net, now, step }, seed)
}

/// Viewers come one after another; half a second before the end nothing is lost any more.
fn scenario(seed: u64, link: Link) -> World<Simulated> {
    let mut world = world(seed, link);
    let mut sources = vec![world.source(0), world.source(1)];
    world.play(&mut sources, 60);
    for number in 0..12 {
        world.join(&sources[number % 2]);
        world.play(&mut sources, 7);
    }
    world.play(&mut sources, 90);
    let calm = Link {
        latency: link.latency,
        mtu: link.mtu,
        ..Link::default()
    };
    world.network.net.set_link(calm);
    world.play(&mut sources, 45);
    world.run(Span::millis(500));
    world
}

#[test]
fn everybody_gets_everything_over_a_good_network() {
    for seed in seeds() {
        let world = scenario(
            seed,
            Link {
                latency: Span::millis(5),
                ..Link::default()
            },
        );
        for viewer in &world.viewers {
            viewer.must_have_everything();
            assert_eq!(viewer.repaired, 0, "nothing was lost");
        }
        assert_eq!(world.count(Counter::RetransmissionSent), 0);
    }
}

#[test]
fn everybody_gets_everything_over_a_bad_network() {
    for seed in seeds() {
        let link = Link {
            latency: Span::millis(20),
            jitter: Span::millis(8),
            loss_ppm: 20_000,
            duplicate_ppm: 10_000,
            ..Link::default()
        };
        let world = scenario(seed, link);
        let counts = world.network.net.counts();
        assert!(counts.lost > 100 && counts.duplicated > 50, "{counts:?}");
        let mut repaired = 0;
        for viewer in &world.viewers {
            assert_eq!(viewer.missing(), 0, "{:?}", viewer.command().viewer);
            viewer.must_have_everything();
            repaired += viewer.repaired;
        }
        assert!(repaired > 100, "{repaired} packets repaired");
        println!("{repaired} repaired, {counts:?}");
    }
}

#[test]
fn a_viewer_that_moves_is_found_by_its_check_alone() {
    for seed in seeds() {
        let mut world = world(
            seed,
            Link {
                latency: Span::millis(5),
                ..Link::default()
            },
        );
        let mut sources = vec![world.source(0)];
        world.play(&mut sources, 10);
        for _ in 0..6 {
            world.join(&sources[0]);
        }
        world.play(&mut sources, 30);
        for round in 0..4 {
            let now = world.network.now();
            for viewer in &mut world.viewers {
                viewer.client.rebind();
                viewer.check(now);
            }
            world.play(&mut sources, 20);
            let answers = world.viewers.iter().map(|viewer| viewer.answers).min();
            assert!(
                answers.unwrap() > round,
                "{answers:?} checks answered after move {round}"
            );
        }
        world.play(&mut sources, 30);
        world.run(Span::millis(500));
        for viewer in &world.viewers {
            assert_eq!(viewer.missing(), 0);
            viewer.must_have_everything();
        }
    }
}

#[test]
fn sequence_numbers_wrap_and_nobody_notices() {
    let link = Link {
        latency: Span::millis(5),
        loss_ppm: 5_000,
        ..Link::default()
    };
    let mut world = world(7, link);
    world.network.step = Span::millis(4);
    let mut sources = vec![world.source(0)];
    world.play(&mut sources, 10);
    for _ in 0..3 {
        world.join(&sources[0]);
    }
    // Some 8 packets a frame from 0x7f00 on: beyond 0xffff, with losses on either side.
    world.play(&mut sources, 4_300);
    world.network.net.set_link(Link::default());
    world.play(&mut sources, 45);
    world.run(Span::millis(500));
    for viewer in &world.viewers {
        let newest = viewer.got[0].keys().next_back().copied();
        assert!(newest.unwrap() > 0x1_0000, "{newest:?} is before the wrap");
        assert_eq!(viewer.missing(), 0);
        viewer.must_have_everything();
    }
}

#[test]
fn strangers_cannot_take_a_viewer_away() {
    let mut world = world(
        9,
        Link {
            latency: Span::millis(2),
            ..Link::default()
        },
    );
    let mut sources = vec![world.source(0)];
    world.play(&mut sources, 10);
    for _ in 0..4 {
        world.join(&sources[0]);
    }
    let stranger = world.network.net.peer("203.0.113.9:9".parse().unwrap());
    let mut random = freshet_tests::random::Random::new(9);
    for _ in 0..60 {
        world.play(&mut sources, 1);
        let now = world.network.now();
        for _ in 0..20 {
            let length = random.below(1400);
            let mut bytes = random.bytes(length);
            if let Some(first) = bytes.first_mut() {
                *first &= 0xbf;
            }
            stranger.send(now, SERVER.parse().unwrap(), &bytes);
        }
    }
    assert_eq!(
        stranger.recv(world.network.now()),
        None,
        "a stranger got an answer"
    );
    for viewer in &world.viewers {
        viewer.must_have_everything();
    }
}
