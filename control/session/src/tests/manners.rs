//! What a call does beyond its offer and the answer: counter-offers, restarts of ICE, answers that
//! lead nowhere.

use super::calls::{CLIENT, CORE, INTO, SERVER, World};
use crate::tests::world::{H264_AND_OPUS, ice_of};
use crate::{Cause, PatchBody, Patched, SessionState};
use link::command::Command;
use wire::time::Span;

/// The client's pull is answered by an offer of the server; gives its session.
fn countered() -> (World, String) {
    let mut world = World::new(21);
    world.open(SERVER, H264_AND_OPUS);
    let client = &mut world.nodes[CLIENT].sessions;
    let call = client.pull_offer(world.now).unwrap();
    client.stream_opened("edge/demo", INTO);
    let server = &mut world.nodes[SERVER].sessions;
    let counter = server.whep_counter(world.now, "live/demo", None).unwrap();
    let offer = counter.offer;
    let client = &mut world.nodes[CLIENT].sessions;
    let found = client.counter_check(&offer).unwrap();
    let id = call.id.as_str().to_owned();
    let taken = client
        .pull_countered(world.now, &id, INTO, &offer, false)
        .unwrap();
    assert_eq!(taken.pulled.description, found);
    let there = counter.id.as_str().to_owned();
    let body = PatchBody::Answer(&taken.answer);
    let server = &mut world.nodes[SERVER].sessions;
    let patched = server.patch(world.now, &there, None, body).unwrap();
    assert_eq!(patched, Patched::Answered);
    (world, id)
}

#[test]
fn a_counter_offer_is_answered() {
    let (mut world, id) = countered();
    world.run_heard(3);
    let (out, into) = (world.added(SERVER).unwrap(), world.added(CLIENT).unwrap());
    assert_eq!(out.keys.send.key, into.keys.receive.key);
    let publisher = world.published(CLIENT).unwrap();
    for (track, lane) in out.tracks.iter().zip(&publisher.lanes) {
        assert!(track.ssrc != 0 && track.ssrc == lane.ssrc);
        assert_eq!(track.payload_type, lane.payload_type);
    }
    let view = world.nodes[CLIENT].sessions.session_view(&id).unwrap();
    assert_eq!(view.state, SessionState::Live);
    world.run_heard(60);
    assert!(world.nodes[CLIENT].closed.is_empty());
    assert!(world.consents(CLIENT) > 5);
}

#[test]
fn a_counter_offer_that_sends_nothing_ends_the_call() {
    let mut world = World::new(22);
    world.open(SERVER, H264_AND_OPUS);
    let now = world.now;
    let call = world.nodes[CLIENT].sessions.pull_offer(now).unwrap();
    let server = &mut world.nodes[SERVER].sessions;
    let offer = server.whep_counter(now, "live/demo", None).unwrap().offer;
    let client = &mut world.nodes[CLIENT].sessions;
    client.stream_opened("edge/demo", INTO);
    let silent = offer.replace("a=sendonly", "a=inactive");
    assert_eq!(client.counter_check(&silent).unwrap_err().status, 422);
    let id = call.id.as_str();
    let refused = client.pull_countered(now, id, INTO, &silent, false);
    assert_eq!(refused.unwrap_err().status, 422);
    assert_eq!(client.session_count(), 0);
    let late = client.pull_countered(now, id, INTO, &offer, false);
    assert_eq!(late.unwrap_err().status, 404);
}

#[test]
fn a_lite_server_has_to_say_where_it_is() {
    let without = |text: &str, what: &str| {
        let kept = text.lines().filter(|line| !line.starts_with(what));
        kept.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    for (seed, is_lite) in [(31, true), (32, false)] {
        let mut world = World::new(seed);
        world.open(SERVER, H264_AND_OPUS);
        let now = world.now;
        let call = world.nodes[CLIENT].sessions.pull_offer(now).unwrap();
        let server = &mut world.nodes[SERVER].sessions;
        let created = server.whep_post(now, "live/demo", &call.offer, None);
        let mut answer = without(&created.unwrap().answer, "a=candidate");
        if !is_lite {
            answer = without(&answer, "a=ice-lite");
        }
        let client = &mut world.nodes[CLIENT].sessions;
        client.stream_opened("edge/demo", INTO);
        let taken = client.pull_answered(now, call.id.as_str(), INTO, &answer, false);
        match is_lite {
            true => {
                let error = taken.unwrap_err();
                assert_eq!(error.name, "candidates-missing");
                assert!(error.detail.contains("ICE lite"), "{}", error.detail);
            }
            // It may come to us by itself.
            false => assert_eq!(taken.unwrap().id, call.id),
        }
    }
}

/// A pull whose server has not been heard since some seconds, and both sessions.
fn silent(seed: u64) -> (World, String, String) {
    let (mut world, id, there) = {
        let mut world = World::new(seed);
        world.open(SERVER, H264_AND_OPUS);
        let id = world.pull();
        let server = &world.nodes[SERVER].sessions;
        let there = server.session_views().next().unwrap().id;
        (world, id, there.as_str().to_owned())
    };
    world.run_heard(20);
    world.nodes[SERVER].is_dead = true;
    let mut waited = 0;
    while world.missed == 0 {
        world.run(Span::secs(1));
        waited += 1;
        assert!(waited <= 18, "consent is missed sooner");
    }
    assert!(world.nodes[CLIENT].closed.is_empty());
    (world, id, there)
}

/// The client asks for a restart; gives what the server says to that.
fn ask_restart(world: &mut World, id: &str, there: &str) -> String {
    let client = &mut world.nodes[CLIENT].sessions;
    let ours = client.restart_offer(world.now, id).unwrap();
    let server = &mut world.nodes[SERVER].sessions;
    let body = PatchBody::TrickleIce(&ours);
    let patched = server.patch(world.now, there, Some("*"), body).unwrap();
    let Patched::Restarted { fragment, .. } = patched else {
        panic!("{patched:?}");
    };
    fragment
}

/// Both sides exchange their fragments.
fn restart(world: &mut World, id: &str, there: &str) -> String {
    let fragment = ask_restart(world, id, there);
    let client = &mut world.nodes[CLIENT].sessions;
    client.restart_answered(world.now, id, &fragment).unwrap();
    fragment
}

#[test]
fn ice_is_restarted_when_the_server_falls_silent() {
    for seed in 40..50 {
        let (mut world, id, there) = silent(seed);
        let before = *world.added(CLIENT).unwrap();
        world.nodes[SERVER].is_dead = false;
        // Its worker knows nothing of the old credentials any more: only the new ones count.
        let fragment = restart(&mut world, &id, &there);
        let (ufrag, _) = ice_of(&fragment);
        world.nodes[CLIENT].commands.clear();
        world.run_heard(3);
        assert!(!ufrag.is_empty() && world.nodes[CLIENT].closed.is_empty());
        assert!(world.consents(CLIENT) > 0, "seed {seed}");
        world.run_heard(60);
        assert!(world.nodes[CLIENT].closed.is_empty(), "seed {seed}");
        // The keys are those that were there: nobody has shaken hands.
        let adds = world.nodes[CLIENT].commands.iter();
        let added = adds.filter(|c| matches!(c, Command::AddViewer(_))).count();
        assert_eq!(added, 0);
        let view = world.nodes[CLIENT].sessions.session_view(&id).unwrap();
        assert_eq!(
            (view.viewer, view.state),
            (before.viewer, SessionState::Live)
        );
        // Well again: nothing to restart, and it is noticed anew when it falls silent again.
        let now = world.now;
        let client = &mut world.nodes[CLIENT].sessions;
        assert_eq!(client.restart_offer(now, &id).unwrap_err().status, 404);
        world.nodes[SERVER].is_dead = true;
        world.run(Span::secs(19));
        assert_eq!(world.missed, 2);
    }
}

#[test]
fn consent_that_comes_back_by_itself_needs_no_restart() {
    let (mut world, id, _) = silent(61);
    world.nodes[SERVER].is_dead = false;
    world.run_heard(10);
    assert!(world.nodes[CLIENT].closed.is_empty());
    let now = world.now;
    let client = &mut world.nodes[CLIENT].sessions;
    assert_eq!(client.restart_offer(now, &id).unwrap_err().status, 404);
    world.run_heard(60);
    assert!(world.nodes[CLIENT].closed.is_empty());
}

#[test]
fn a_restart_that_leads_nowhere_ends_the_session() {
    let (mut world, id, there) = silent(62);
    let now = world.now;
    let fragment = ask_restart(&mut world, &id, &there);
    let client = &mut world.nodes[CLIENT].sessions;
    for bad in ["", "nonsense", "a=ice-ufrag:abcd\r\n"] {
        assert!(client.restart_answered(now, &id, bad).is_err(), "{bad}");
    }
    client.restart_answered(now, &id, &fragment).unwrap();
    // What it says again is no restart.
    assert!(client.restart_answered(now, &id, &fragment).is_err());
    world.run(crate::RESTART_TIMEOUT);
    let [(_, cause)] = world.nodes[CLIENT].closed[..] else {
        panic!("still there");
    };
    assert_eq!(cause, Cause::Consent);
    assert_eq!(world.nodes[CLIENT].sessions.session_count(), 0);
}

#[test]
fn a_server_may_be_elsewhere_after_a_restart() {
    let (mut world, id, there) = silent(63);
    // It has moved: the old address is nobody's.
    let at = "192.0.2.77:9000".parse().unwrap();
    let old = std::mem::replace(&mut world.nodes[SERVER].at, at);
    world.nodes[SERVER].is_dead = false;
    let now = world.now;
    let fragment = ask_restart(&mut world, &id, &there);
    let said = |at: std::net::SocketAddr| format!("{} {}", at.ip(), at.port());
    let fragment = fragment.replace(&said(old), &said(at));
    let client = &mut world.nodes[CLIENT].sessions;
    client.restart_answered(now, &id, &fragment).unwrap();
    world.run_heard(5);
    let into = world.added(CLIENT).unwrap();
    assert_eq!(std::net::SocketAddr::from(into.peer), at);
    let view = world.nodes[CLIENT].sessions.session_view(&id).unwrap();
    assert_eq!((view.state, view.core), (SessionState::Live, Some(CORE)));
}
