//! What strangers send: nothing of it is answered, remembered, or felt by others.

use super::world::{ALL, CHROMIUM, World, local};
use crate::dtls::testing::{CertificateKind, PeerKind};
use crate::{Output, SessionState};
use link::ids::CoreId;
use proptest::prelude::*;
use std::net::SocketAddr;
use wire::peer::Peer;
use wire::stun::{Class, Message, Role};
use wire::time::{Span, Time};

fn stranger() -> Peer {
    "203.0.113.66:6666".parse::<SocketAddr>().unwrap().into()
}

/// Bytes of what was sent to anybody since the last look.
fn answered(world: &mut World) -> Vec<(Peer, Vec<u8>)> {
    std::iter::from_fn(|| world.sessions.poll())
        .filter_map(|output| match output {
            Output::Transmit { peer, bytes, .. } => Some((peer, bytes)),
            _ => None,
        })
        .collect()
}

/// A check is answered once, with no more bytes than it has.
fn must_be_answered(world: &mut World, peer: Peer, request: &[u8]) {
    world
        .sessions
        .punt(world.now, CoreId(0), peer, local(), request);
    let answers = answered(world);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].1.len() <= request.len());
}

#[test]
fn checks_that_are_not_authentic_are_not_answered() {
    let mut world = World::new(1);
    let viewer = world.join(PeerKind::Client13, &ALL);
    let right = world.viewers[viewer].server_ice.clone();
    let census = world.sessions.table.census();
    let wrong_pwd = (right.0.clone(), "x".repeat(24));
    let wrong_ufrag = (format!("{}x", &right.0[..15]), right.1.clone());
    let other_index = (format!("AAAB{}", &right.0[4..]), right.1.clone());
    let short = ("UhTH".to_owned(), right.1.clone());
    for ice in [wrong_pwd, wrong_ufrag, other_index, short] {
        world.viewers[viewer].server_ice = ice;
        let request = world.viewers[viewer].request(true, u32::MAX, Role::Controlling(1));
        world
            .sessions
            .punt(world.now, CoreId(0), stranger(), local(), &request);
        assert_eq!(answered(&mut world), []);
    }
    assert_eq!(world.sessions.counters().stun_unverified, 4);
    assert_eq!(world.sessions.table.census(), census);
    // Then the real one.
    world.viewers[viewer].server_ice = right;
    let request = world.viewers[viewer].request(true, 1, Role::Controlling(1));
    let peer = world.viewers[viewer].peer;
    must_be_answered(&mut world, peer, &request);
}

#[test]
fn faults_of_authentic_checks_are_told() {
    let mut world = World::new(2);
    let viewer = world.join(PeerKind::Client13, &ALL);
    let peer = world.viewers[viewer].peer;
    let request = world.viewers[viewer].request(true, 1, Role::Controlled(1));
    world
        .sessions
        .punt(world.now, CoreId(0), peer, local(), &request);
    let answers = answered(&mut world);
    let message = Message::parse(&answers[0].1).unwrap();
    assert_eq!(
        (message.class(), message.error_code()),
        (Class::Error, Some(487))
    );
    assert!(message.verify_integrity(world.viewers[viewer].server_ice.1.as_bytes()));
    let view = world.sessions.session_views().next().unwrap();
    assert_eq!(
        view.state,
        SessionState::New,
        "a check with a fault proves no pair"
    );
    assert_eq!(world.sessions.counters().stun_rejected, 1);
}

#[test]
fn role_conflicts_do_not_wind_up() {
    let mut world = World::new(10);
    let viewer = world.join(PeerKind::Client13, &ALL);
    let peer = world.viewers[viewer].peer;
    let census = world.sessions.table.census();
    for _ in 0..1000 {
        let request = world.viewers[viewer].request(true, 1, Role::Controlled(1));
        must_be_answered(&mut world, peer, &request);
    }
    assert_eq!(world.sessions.counters().stun_rejected, 1000);
    assert_eq!(world.sessions.table.census(), census, "no pair, no timer");
}

#[test]
fn a_flood_of_made_up_checks_leaves_nothing() {
    let mut world = World::new(11);
    let viewer = world.join(PeerKind::Client13, &ALL);
    let census = world.sessions.table.census();
    let right = world.viewers[viewer].server_ice.clone();
    for n in 0..10_000_u32 {
        // Every other one is for the place of a session that there is.
        let index = if n % 2 == 0 { 0 } else { n };
        let ufrag = link::ids::ufrag(index, [n.to_be_bytes()[3] & 0x1f; 12]);
        let ufrag = String::from_utf8(ufrag.to_vec()).unwrap();
        world.viewers[viewer].server_ice = (ufrag, "x".repeat(24));
        let request = world.viewers[viewer].request(true, u32::MAX, Role::Controlling(1));
        let [a, b, c, d] = n.to_be_bytes();
        let from = SocketAddr::from(([198, a | b, c, d], 1000)).into();
        world
            .sessions
            .punt(world.now, CoreId(0), from, local(), &request);
    }
    assert_eq!(answered(&mut world), []);
    assert_eq!(world.sessions.counters().stun_unverified, 10_000);
    assert_eq!(world.sessions.table.census(), census);
    world.viewers[viewer].server_ice = right;
    world.run(Span::millis(200));
    assert!(world.added(viewer).is_some(), "a newcomer was starved");
}

#[test]
fn an_overheard_check_makes_no_pair() {
    let mut world = World::new(12);
    let viewer = world.join(PeerKind::Client13, &ALL);
    let (now, peer) = (world.now, world.viewers[viewer].peer);
    let request = world.viewers[viewer].request(true, 1, Role::Controlling(1));
    let mut punt = |from| {
        world.sessions.punt(now, CoreId(0), from, local(), &request);
        let view = world.sessions.session_views().next().unwrap();
        view.peer
    };
    assert_eq!(punt(peer), Some(peer));
    // The same bytes from elsewhere, before there are keys: media must not begin to go there.
    assert_eq!(punt(stranger()), Some(peer));
    assert_eq!(world.sessions.counters().stun_repeated, 1);
    let answers = answered(&mut world);
    assert_eq!(answers.len(), 2, "an answer may have been lost");
    assert_eq!(answers[1].1.len(), answers[0].1.len());
    let [_, _, peers, _] = world.sessions.table.census();
    assert_eq!(peers, 1);
    world.run(Span::millis(200));
    assert_eq!(world.added(viewer).unwrap().1.peer, peer);
}

#[test]
fn a_race_of_hellos_from_elsewhere_is_lost() {
    // What tears sessions down elsewhere: a hello that comes first, with a cipher nobody has.
    let mut hello =
        include_bytes!("../../../../tests/corpus/dtls/ffmpeg81_gnutls_client_hello.bin").to_vec();
    // Record and message headers, version, random, session id, cookie; then the ciphers.
    let ciphers = 13 + 12 + 2 + 32 + 1 + 1;
    let bytes = usize::from(u16::from_be_bytes([hello[ciphers], hello[ciphers + 1]]));
    hello[ciphers + 2..][..bytes].fill(0);
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let mut world = World::new(13);
        let viewer = world.join(kind, &ALL);
        world.network.delay_ms_max = 10;
        let peer = world.viewers[viewer].peer;
        let mut thrown = 0;
        // Before the check, between check and hello, in the midst of the handshake, and after it.
        for _ in 0..100 {
            for port in 1..=50 {
                for from in [Peer { port, ..peer }, Peer { port, ..stranger() }] {
                    world
                        .sessions
                        .punt(world.now, CoreId(0), from, local(), &hello);
                    thrown += 1;
                }
            }
            world.run(Span::millis(2));
        }
        assert_eq!(world.sessions.counters().dtls_unverified, thrown);
        assert_eq!(world.sessions.counters().dtls_failed, 0);
        assert!(world.added(viewer).is_some(), "{kind:?}");
        assert_eq!(world.closed(viewer), None, "{kind:?}");
    }
}

#[test]
fn dtls_without_a_valid_check_is_not_answered() {
    for kind in [
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Client13,
    ] {
        let mut world = World::new(3);
        let viewer = world.join(kind, &ALL);
        let now = world.now;
        for hello in world.viewers[viewer].dtls.handle_timeout(now) {
            let peer = world.viewers[viewer].peer;
            for from in [stranger(), peer] {
                world.sessions.punt(now, CoreId(0), from, local(), &hello);
                assert_eq!(answered(&mut world), []);
            }
        }
        assert!(world.sessions.counters().dtls_unverified >= 2);
        assert_eq!(world.sessions.counters().dtls_received, 0);
    }
}

#[test]
fn a_stranger_cannot_disturb_a_handshake() {
    let mut world = World::new(4);
    let viewer = world.join(PeerKind::Client13, &ALL);
    world.network.delay_ms_max = 5;
    for _ in 0..20 {
        let now = world.now;
        for garbage in [vec![22; 60], vec![0x2f; 60], vec![0; 20], vec![21; 15]] {
            world
                .sessions
                .punt(now, CoreId(0), stranger(), local(), &garbage);
            // Even with the viewer's own address.
            let peer = world.viewers[viewer].peer;
            world.sessions.punt(now, CoreId(0), peer, local(), &garbage);
        }
        world.run(Span::millis(10));
    }
    world.run(Span::secs(5));
    assert!(world.added(viewer).is_some());
    assert_eq!(world.closed(viewer), None);
}

#[test]
fn a_socket_belongs_to_the_session_that_checked_last() {
    let mut world = World::new(5);
    let first = world.join(PeerKind::Client13, &ALL);
    world.run(Span::millis(10));
    world.viewers[first].check_at = None;
    // The page was loaded again; its new connection has the same address and port.
    let second = world.join(PeerKind::Client13, &ALL);
    world.viewers[second].peer = world.viewers[first].peer;
    world.viewers[first].peer = stranger();
    world.run(Span::millis(100));
    assert!(world.added(second).is_some());
    let second_id = world.viewers[second].id();
    world.sessions.delete(world.now, &second_id).unwrap();
    let first_id = world.viewers[first].id();
    world.sessions.delete(world.now, &first_id).unwrap();
    assert_eq!(world.sessions.table.census(), [0; 4]);
}

#[test]
fn pairs_do_not_pile_up() {
    let mut world = World::new(6);
    let viewer = world.join(PeerKind::Client13, &ALL);
    for port in 1..5000 {
        let request = world.viewers[viewer].request(false, 1, Role::Controlling(1));
        let peer = Peer { port, ..stranger() };
        world
            .sessions
            .punt(world.now, CoreId(0), peer, local(), &request);
    }
    let [_, _, peers, _] = world.sessions.table.census();
    assert!(peers <= 8, "{peers}");
}

#[test]
fn aggressive_nomination_ends_at_the_best_pair() {
    let mut world = World::new(7);
    let viewer = world.join(PeerKind::Client13, &ALL);
    let peer = world.viewers[viewer].peer;
    let mut nominate = |port: u16, priority: u32| {
        let request = world.viewers[viewer].request(true, priority, Role::Controlling(1));
        let from = Peer { port, ..peer };
        world
            .sessions
            .punt(world.now, CoreId(0), from, local(), &request);
        let view = world.sessions.session_views().next().unwrap();
        view.peer.unwrap().port
    };
    assert_eq!(nominate(1, 100), 1);
    assert_eq!(nominate(2, 300), 2);
    assert_eq!(nominate(3, 200), 2);
    assert_eq!(nominate(1, 100), 2);
}

#[test]
fn other_kinds_of_datagrams_are_counted_and_dropped() {
    let mut world = World::new(8);
    for first in 0..=255_u8 {
        for bytes in [&[][..], &[first], &[first; 2], &[first; 60], &[first; 1472]] {
            world
                .sessions
                .punt(world.now, CoreId(0), stranger(), local(), bytes);
        }
    }
    assert_eq!(answered(&mut world), []);
    // Those without a first byte, and four of each that is neither STUN's nor DTLS's.
    let others = 256 - 4 - 44;
    assert_eq!(world.sessions.counters().punt_unknown, 256 + 4 * others);
    assert_eq!(world.sessions.table.census(), [0; 4]);
}

proptest! {
    #[test]
    fn any_datagrams_to_any_state_are_survived(
        datagrams in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..80), 0..64_u8), 0..40),
        run_ms in 0..60_u64,
        seed in 0..1000_u64,
    ) {
        let mut world = World::new(seed);
        let viewer = world.join(PeerKind::Client13, &ALL);
        world.network.delay_ms_max = 20;
        world.run(Span::millis(run_ms));
        let peer = world.viewers[viewer].peer;
        for (mut bytes, first) in datagrams {
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            world.sessions.punt(world.now, CoreId(0), peer, local(), &bytes);
            world.sessions.punt(world.now, CoreId(0), stranger(), local(), &bytes);
        }
        prop_assert_eq!(world.closed(viewer), None);
        world.run(Span::secs(20));
        prop_assert!(world.added(viewer).is_some());
    }

    #[test]
    fn any_bodies_are_survived(offer in ".{0,200}", fragment in ".{0,200}", tag in ".{0,20}") {
        let mut world = World::new(9);
        let _refused = world.sessions.whep_post(Time(1), "live/demo", &offer, None);
        let created = world.sessions.whep_post(Time(1), "live/demo", CHROMIUM, None).unwrap();
        let body = crate::PatchBody::TrickleIce(&fragment);
        let _patched = world.sessions.patch(Time(1), created.id.as_str(), Some(&tag), body);
        let _unknown = world.sessions.patch(Time(1), &tag, Some("*"), body);
        prop_assert!(world.sessions.delete(Time(1), created.id.as_str()).is_ok());
    }
}
