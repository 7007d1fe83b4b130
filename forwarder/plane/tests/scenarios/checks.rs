//! Connectivity checks: consent, moves, restarts, and those who only pretend.

use link::command::{Command, VIDEO};
use link::event::{Event, Gone};
use link::stats::Counter;
use wire::stun::{Class, Message, Role};

use crate::viewer::address;
use crate::world::{DELTA, KEY, World};

/// A world with one viewer that watches.
fn watching() -> (World, crate::world::Source) {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    world.join(source.id);
    world.run(10, 1);
    world.events();
    (world, source)
}

#[test]
fn a_valid_check_is_answered_from_where_it_was_asked() {
    let (mut world, _) = watching();
    let (ice, at) = (world.viewers[0].add.ice, world.viewers[0].at);
    let check = world.viewers[0].check(&ice, true);
    world.send(0, at, &check);
    world.turn(1);
    let answer = &world.viewers[0].stun[0];
    let answer = Message::parse(answer).unwrap();
    assert_eq!(answer.class(), Class::Success);
    assert!(answer.verify_integrity(&ice.pwd));
    assert_eq!(answer.mapped_address(), Some(at.peer));
    assert_eq!(
        answer.transaction(),
        Message::parse(&check).unwrap().transaction()
    );
    assert_eq!(world.count(Counter::StunAnswered), 1);
    assert!(world.events().is_empty());
}

#[test]
fn consent_runs_out_after_30_seconds_and_everything_is_freed() {
    let (mut world, mut source) = watching();
    let (ice, at, id) = {
        let viewer = &world.viewers[0];
        (viewer.add.ice, viewer.at, viewer.id())
    };
    for _ in 0..4 {
        world.run(20_000, 10);
        let check = world.viewers[0].check(&ice, false);
        world.send(0, at, &check);
    }
    assert!(world.events().is_empty());
    // RTCP is no consent.
    for _ in 0..29 {
        world.run(1000, 10);
        world.feedback(0, |out| wire::rtcp_feedback::write_pli(1, 2, out));
    }
    assert!(world.events().is_empty());
    world.run(1200, 10);
    assert_eq!(world.events(), [Event::ViewerGone(id, Gone::Consent)]);
    assert_eq!(world.count(Counter::ViewerExpired), 1);
    assert_eq!(world.count(Counter::ViewerActive), 0);
    assert_eq!(world.region.viewer(id).unwrap().owner(), None);
    let before = world.viewers[0].got[VIDEO].len();
    source.video(world.now, true, &KEY);
    world.run(20, 10);
    assert_eq!(world.viewers[0].got[VIDEO].len(), before);
    // Its flow is gone as well, and its index can be used again.
    world.feedback(0, |out| wire::rtcp_feedback::write_pli(1, 2, out));
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 1);
    let check = world.viewers[0].check(&ice, false);
    world.send(0, at, &check);
    assert_eq!(world.punted(), [check]);
}

#[test]
fn a_check_that_is_not_authentic_changes_nothing() {
    let (mut world, mut source) = watching();
    let mut wrong = world.viewers[0].add.ice;
    wrong.pwd[3] ^= 1;
    let elsewhere = address(99, 9);
    let check = world.viewers[0].check(&wrong, true);
    for _ in 0..100 {
        world.send(0, elsewhere, &check);
    }
    assert_eq!(world.count(Counter::StunUnverified), 100);
    // Whatever else comes from there moves nothing either.
    let rtcp = world.viewers[0].rtcp(|out| wire::rtcp_feedback::write_pli(1, 2, out));
    world.send(0, elsewhere, &rtcp);
    world.send(0, elsewhere, &[0x80, 102, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    source.video(world.now, false, &DELTA);
    let now = world.now;
    world.planes[0].fan_out(now, &mut world.sink);
    let at = world.viewers[0].at;
    assert!(world.sink.runs.iter().all(|(run, _)| run.peer == at.peer));
    assert_eq!(world.sink.runs.len(), 1);
    assert!(world.events().is_empty());
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 2);
}

#[test]
fn nomination_from_another_address_moves_the_viewer() {
    let (mut world, mut source) = watching();
    let (ice, id) = (world.viewers[0].add.ice, world.viewers[0].id());
    let new = address(77, 5000);
    let plain = world.viewers[0].check(&ice, false);
    world.send(0, new, &plain);
    assert!(world.events().is_empty(), "a check alone does not move it");
    let nominating = world.viewers[0].check(&ice, true);
    world.send(0, new, &nominating);
    assert_eq!(world.events(), [Event::ViewerMoved(id, new.peer)]);
    world.viewers[0].at = new;
    source.video(world.now, false, &DELTA);
    world.turn(1);
    assert_eq!(world.viewers[0].got[VIDEO].len(), 12);
    // The move counts once, however often the browser repeats its nomination.
    let again = world.viewers[0].check(&ice, true);
    world.send(0, new, &again);
    assert!(world.events().is_empty());
    world.viewers[0].assert_continuous();
}

#[test]
fn an_overheard_check_does_not_carry_the_stream_away() {
    let (mut world, mut source) = watching();
    let (ice, at) = (world.viewers[0].add.ice, world.viewers[0].at);
    let check = world.viewers[0].check(&ice, true);
    world.send(0, at, &check);
    world.send(0, address(66, 6), &check);
    assert!(world.events().is_empty());
    source.video(world.now, false, &DELTA);
    world.turn(1);
    assert_eq!(world.viewers[0].got[VIDEO].len(), 12);
}

#[test]
fn a_nat_that_changes_its_port_is_followed_without_nomination() {
    let (mut world, _) = watching();
    let (ice, id) = (world.viewers[0].add.ice, world.viewers[0].id());
    let new = address(10, 41_000);
    let check = world.viewers[0].check(&ice, false);
    world.send(0, new, &check);
    assert!(world.events().is_empty());
    world.run(9000, 10);
    let check = world.viewers[0].check(&ice, false);
    world.send(0, new, &check);
    assert_eq!(world.events(), [Event::ViewerMoved(id, new.peer)]);
}

#[test]
fn a_restart_is_valid_besides_the_old_credentials_until_it_is_used() {
    let (mut world, _) = watching();
    let (old, id, at) = {
        let viewer = &world.viewers[0];
        (viewer.add.ice, viewer.id(), viewer.at)
    };
    let mut new = old;
    new.ufrag = link::ids::ufrag(id.index, [200; 12]);
    new.pwd.fill(b'z');
    let restart = Command::RestartIce {
        viewer: id,
        ice: new,
    };
    let now = world.now;
    world.plane().apply(now, &restart);
    let check = world.viewers[0].check(&old, false);
    world.send(0, at, &check);
    assert_eq!(world.count(Counter::StunAnswered), 1);
    let elsewhere = address(10, 42_000);
    let check = world.viewers[0].check(&new, false);
    world.send(0, elsewhere, &check);
    assert_eq!(world.events(), [Event::ViewerMoved(id, elsewhere.peer)]);
    // The old ones are over: such a check is nobody's here.
    let check = world.viewers[0].check(&old, true);
    world.send(0, at, &check);
    assert_eq!(world.count(Counter::StunAnswered), 2);
    assert_eq!(world.punted().len(), 1);
    assert!(world.events().is_empty());
}

#[test]
fn a_viewer_may_come_from_many_addresses_and_stays_bounded() {
    let (mut world, mut source) = watching();
    let ice = world.viewers[0].add.ice;
    for port in 1..=200 {
        let check = world.viewers[0].check(&ice, port % 3 == 0);
        world.send(0, address(50, port), &check);
        // The ring of events holds 64.
        world.events();
    }
    assert_eq!(world.count(Counter::StunAnswered), 200);
    world.viewers[0].at = address(50, 198);
    source.video(world.now, false, &DELTA);
    world.turn(1);
    assert_eq!(world.viewers[0].got[VIDEO].len(), 12);
}

#[test]
fn the_answer_to_a_role_conflict_is_an_error_and_renews_nothing() {
    let (mut world, _) = watching();
    let (ice, at) = (world.viewers[0].add.ice, world.viewers[0].at);
    let request = wire::stun::Request {
        transaction: [7; 12],
        remote_ufrag: &ice.ufrag,
        local_ufrag: b"peer",
        key: &ice.pwd,
        priority: 1,
        role: Role::Controlled(1),
        use_candidate: false,
    };
    let mut out = [0; 200];
    let used = request.write(&mut out);
    world.send(0, at, &out[..used]);
    world.turn(1);
    let answer = Message::parse(&world.viewers[0].stun[0]).unwrap();
    assert_eq!(answer.error_code(), Some(487));
}

#[test]
fn what_is_for_control_is_punted_and_a_full_ring_does_no_harm() {
    let (mut world, mut source) = watching();
    let dtls = [22, 0xfe, 0xfd, 1, 2, 3];
    for _ in 0..10 {
        world.send(0, address(20, 20), &dtls);
    }
    assert!(world.plane().has_told() && !world.plane().has_told());
    assert_eq!(world.punted(), vec![dtls.to_vec(); 4]);
    assert_eq!(world.count(Counter::PuntSent), 4);
    assert_eq!(world.count(Counter::PuntDroppedFull), 6);
    // So does a full ring of events.
    let (ice, id) = (world.viewers[0].add.ice, world.viewers[0].id());
    for port in 1..=100 {
        let check = world.viewers[0].check(&ice, true);
        world.send(0, address(50, port), &check);
    }
    assert_eq!(world.count(Counter::EventLostFull), 36);
    assert_eq!(
        world.events()[0],
        Event::ViewerMoved(id, address(50, 1).peer)
    );
    world.viewers[0].at = address(50, 100);
    source.video(world.now, false, &DELTA);
    world.run(20, 10);
    assert_eq!(world.viewers[0].got[VIDEO].len(), 12);
}

#[test]
fn where_we_control_consent_comes_from_our_own_checks_alone() {
    let (mut world, _) = watching();
    let (ice, at, id) = {
        let viewer = &world.viewers[0];
        (viewer.add.ice, viewer.at, viewer.id())
    };
    let consent = Command::Consent(id);
    let now = world.now;
    world.plane().apply(now, &consent);
    // A full agent checks as well, as the controlled one, and from elsewhere it moves nothing.
    for (nth, from) in [at, address(9, 9)].into_iter().enumerate() {
        let check = world.viewers[0].check_as(&ice, Role::Controlled(3), false);
        world.send(0, from, &check);
        assert_eq!(world.count(Counter::StunAnswered), 1 + nth as u64);
    }
    world.turn(1);
    let answer = world.viewers[0].stun.last().unwrap();
    assert_eq!(Message::parse(answer).unwrap().class(), Class::Success);
    // Whoever thinks that it controls is told that it does not.
    let check = world.viewers[0].check(&ice, true);
    world.send(0, at, &check);
    world.turn(1);
    let answer = world.viewers[0].stun.last().unwrap();
    assert_eq!(Message::parse(answer).unwrap().error_code(), Some(487));
    // What answers our checks is for control.
    let mut answer = [0; 128];
    let used = wire::stun::write_success(&[7; 12], at.peer, b"remote", &mut answer);
    world.send(0, at, &answer[..used]);
    assert_eq!(world.punted(), [answer[..used].to_vec()]);
    world.run(25_000, 10);
    let now = world.now;
    world.plane().apply(now, &consent);
    world.run(25_000, 10);
    assert!(world.events().is_empty());
    let check = world.viewers[0].check_as(&ice, Role::Controlled(3), false);
    world.send(0, at, &check);
    world.run(6000, 10);
    assert_eq!(world.events(), [Event::ViewerGone(id, Gone::Consent)]);
    // Too late.
    let now = world.now;
    world.plane().apply(now, &consent);
    assert_eq!(world.count(Counter::CommandStale), 1);
}

#[test]
fn sessions_of_one_port_are_told_apart_by_their_keys() {
    let (mut world, source) = watching();
    let at = world.viewers[0].at;
    // Another node has one port for all that it relays.
    for _ in 0..3 {
        let mut viewer = world.viewer(source.id);
        viewer.at = at;
        (viewer.add.peer, viewer.add.local) = (at.peer, at.local);
        world.add(viewer);
    }
    let mut heard = world.count(Counter::ReportReceived);
    let mut all_are_heard = |world: &mut World, those: &[usize]| {
        for nth in those {
            world.feedback(*nth, |out| wire::rtcp_feedback::write_pli(1, 2, out));
            heard += 1;
            assert_eq!(world.count(Counter::ReportReceived), heard, "viewer {nth}");
        }
        assert_eq!(world.count(Counter::SrtcpRefusedAuth), 0);
    };
    all_are_heard(&mut world, &[0, 1, 2, 3]);
    // Whoever was the newest goes, and one in the midst.
    for gone in [3, 1] {
        let (id, now) = (world.viewers[gone].id(), world.now);
        world.plane().apply(now, &Command::RemoveViewer(id));
    }
    all_are_heard(&mut world, &[0, 2]);
    for gone in [0, 2] {
        let (id, now) = (world.viewers[gone].id(), world.now);
        world.plane().apply(now, &Command::RemoveViewer(id));
    }
    let before = world.count(Counter::DatagramUnknownDropped);
    world.feedback(0, |out| wire::rtcp_feedback::write_pli(1, 2, out));
    assert_eq!(world.count(Counter::DatagramUnknownDropped), before + 1);
}

#[test]
fn every_first_byte_and_every_length_is_survived() {
    let (mut world, _) = watching();
    let at = world.viewers[0].at;
    for first in 0..=255 {
        for length in [0, 1, 2, 3, 4, 11, 12, 13, 19, 20, 27, 28, 60, 1472] {
            let mut bytes = vec![first; length];
            if let Some(second) = bytes.get_mut(1) {
                *second = 200;
            }
            world.send(0, at, &bytes);
            world.send(0, address(123, 4), &bytes);
        }
        let is_for_control = |bytes: &Vec<u8>| matches!(bytes[..], [0..=3 | 20..=63, ..]);
        assert!(world.punted().iter().all(is_for_control), "{first}");
    }
    world.run(100, 10);
    assert!(world.events().is_empty());
    assert_eq!(world.count(Counter::StunAnswered), 0);
}
