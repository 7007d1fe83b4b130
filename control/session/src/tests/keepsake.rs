//! Control dies, and the next one goes on with the sessions of the one before.

use super::world::{
    ALL, CHROMIUM, CHROMIUM_WHIP, H264_AND_OPUS, STREAM, World, config, ice_of, local, offer,
    sessions,
};
use crate::dtls::testing::{CertificateKind, PeerKind};
use crate::{Holder, NotAdopted, PatchBody, Patched, Pin, SessionState, SessionView};
use link::command::{AUDIO, Command, VIDEO};
use link::event::{Event, Gone};
use link::ids::{CoreId, ViewerId};
use proptest::prelude::*;
use wire::stun::Role;
use wire::time::Span;

const PIN: Pin = Pin {
    lane: Some(2),
    spatial_max: 1,
    temporal_max: 0,
};

/// What is seen of every session; here streams are described by the test, not by publishers.
fn views(world: &World) -> Vec<String> {
    let text = |view: SessionView| {
        let description = H264_AND_OPUS;
        format!(
            "{:?}",
            SessionView {
                description,
                ..view
            }
        )
    };
    world.sessions.session_views().map(text).collect()
}

fn names(commands: &[(CoreId, Command)]) -> Vec<&'static str> {
    let name = |(_, command): &(CoreId, Command)| match command {
        Command::AddViewer(_) => "add",
        Command::RestartIce { .. } => "restart",
        Command::AddPublisher(_) => "publish",
        Command::ChooseLayer(..) => "choose",
        Command::RemoveViewer(_) => "remove",
        _ => "other",
    };
    commands.iter().map(name).collect()
}

#[test]
fn all_sessions_go_on_as_they_were() {
    let mut world = World::new(1);
    let publisher = world.live_publisher();
    for kind in [
        PeerKind::Client13,
        PeerKind::Client12(CertificateKind::P256),
    ] {
        let viewer = world.join(kind, &ALL);
        world.run(Span::millis(200));
        let id = world.added(viewer).unwrap().1.viewer;
        let core = world.core;
        world
            .sessions
            .event(world.now, core, Event::ViewerAdded(id));
    }
    // One more that has no keys yet: it begins again by itself.
    world.join(PeerKind::Client13, &ALL);
    let before = views(&world);
    let stream = world.sessions.stream_views().next().unwrap();
    world.restart(Holder::Core(world.core), [0; 5]);
    // Viewers are not touched; of the publisher the worker is told again, as half of it may have
    // been lost.
    assert_eq!(names(&world.take_commands()), ["add", "publish"]);
    assert_eq!(world.sessions.session_count(), 3);
    let publishing = world.viewers[publisher].id();
    let view = world.sessions.session_view(&publishing).unwrap();
    assert_eq!(view.state, SessionState::Starting);
    world
        .sessions
        .event(world.now, world.core, Event::PublisherAdded(STREAM));
    assert_eq!(views(&world), before[..3]);
    let mut after = world.sessions.stream_views().next().unwrap();
    assert_eq!(after.viewers, 2);
    after.viewers = stream.viewers;
    assert_eq!(after, stream);
    assert_eq!(world.sessions.deadline(), None);
    assert_eq!(world.sessions.counters().session_adopted, 3);
    // And once more, from what the first heir has left.
    world.restart(Holder::Core(world.core), [0; 5]);
    assert_eq!(world.sessions.session_count(), 3);
}

#[test]
fn an_old_session_is_patched_and_deleted() {
    let mut world = World::new(2);
    let viewer = world.live_viewer();
    let (id, peer) = (world.viewers[viewer].id(), world.viewers[viewer].peer);
    let etag = world.viewers[viewer].created.as_ref().unwrap().etag.clone();
    world.restart(Holder::Core(world.core), [0; 5]);
    let fragment = "a=ice-ufrag:Wxyz\r\na=ice-pwd:0123456789012345678901\r\n";
    let body = PatchBody::TrickleIce(fragment);
    world.now = world.now + Span::secs(1);
    let patched = world
        .sessions
        .patch(world.now, &id, Some(&etag), body)
        .unwrap();
    let Patched::Restarted { fragment, .. } = patched else {
        panic!("{patched:?}")
    };
    world.drain();
    assert_eq!(names(&world.take_commands()), ["restart"]);
    // The next control knows the new credentials as well as the old ones.
    world.restart(Holder::Core(world.core), [0; 5]);
    assert_eq!(names(&world.take_commands()), ["add", "restart"]);
    for ice in [ice_of(&fragment), world.viewers[viewer].server_ice.clone()] {
        world.viewers[viewer].server_ice = ice;
        let check = world.viewers[viewer].request(true, 1, Role::Controlling(77));
        let answered = world.sessions.counters().stun_answered;
        world
            .sessions
            .punt(world.now, world.core, peer, local(), &check);
        assert_eq!(world.sessions.counters().stun_answered, answered + 1);
        while world.sessions.poll().is_some() {}
    }
    world.sessions.delete(world.now, &id).unwrap();
    world.drain();
    assert!(names(&world.take_commands()).contains(&"remove"));
    assert_eq!(world.sessions.table.census(), [0; 4]);
    assert!(world.kept.is_empty());
    // Its place is used again, in another generation.
    let next = world.live_viewer();
    let [old, new] = [viewer, next].map(|one| world.viewers[one].created.clone().unwrap().viewer);
    assert!(new.index != old.index || new.generation > old.generation);
}

#[test]
fn what_a_worker_has_lost_meanwhile_it_is_given_from_the_leases_on() {
    let mut world = World::new(3);
    let viewer = world.live_viewer();
    let id = world.viewers[viewer].id();
    world.sessions.choose_layer(&id, PIN).unwrap();
    world.drain();
    let before = *world.added(viewer).unwrap().1;
    let leases = [1 << 40, 2 << 40, 3 << 40, 4 << 40, 900];
    world.restart(Holder::Unknown, leases);
    let commands = world.take_commands();
    assert_eq!(names(&commands), ["add", "choose"]);
    let (_, Command::AddViewer(add)) = commands[0] else {
        panic!("not a viewer")
    };
    assert_eq!((add.viewer, add.stream), (before.viewer, before.stream));
    assert_eq!((add.peer, add.local), (before.peer, before.local));
    assert!(add.keys.send.key == before.keys.send.key && add.ice == before.ice);
    let [video, audio] = [VIDEO, AUDIO].map(|track| add.tracks[track]);
    assert_eq!(
        [
            video.first_index,
            video.rtx_first_index,
            audio.first_index,
            audio.rtx_first_index,
            add.rtcp_first_index
        ],
        leases
    );
    let (_, Command::ChooseLayer(_, pin)) = commands[1] else {
        panic!("not a choice")
    };
    assert_eq!(pin, PIN);
    // It has not come: it is asked again.
    assert!(world.sessions.deadline().is_some());
}

#[test]
fn where_a_viewer_has_moved_is_kept() {
    let mut world = World::new(4);
    let viewer = world.live_viewer();
    let id = world.viewers[viewer].created.as_ref().unwrap().viewer;
    let elsewhere = std::net::SocketAddr::from(([10, 9, 9, 9], 999)).into();
    world
        .sessions
        .event(world.now, world.core, Event::ViewerMoved(id, elsewhere));
    world.drain();
    world.restart(Holder::Core(world.core), [0; 5]);
    let view = world.sessions.session_views().next().unwrap();
    assert_eq!(view.peer, Some(elsewhere));
    // What came of it while nobody listened is heard now.
    let gone = Event::ViewerGone(id, Gone::Bye);
    world.sessions.event(world.now, world.core, gone);
    world.drain();
    assert_eq!(world.sessions.session_count(), 0);
    assert!(world.kept.is_empty());
}

#[test]
fn what_cannot_go_on_is_refused_and_changes_nothing() {
    let mut world = World::new(5);
    let viewer = world.live_viewer();
    world.live_viewer();
    let id = world.viewers[viewer].created.as_ref().unwrap().viewer;
    let kept = world.kept[&id.index].1.clone();
    let holder = Holder::Core(world.core);
    let mut next = sessions(config(), [9; 32]);
    let other = ViewerId {
        generation: id.generation + 1,
        ..id
    };
    let mut adopt = |viewer, kept: &[u8]| next.adopt(world.now, viewer, kept, holder, [0; 5]);
    assert_eq!(adopt(other, &kept), Err(NotAdopted::Unreadable));
    assert_eq!(adopt(id, &[]), Err(NotAdopted::Unreadable));
    let mut newer = kept.clone();
    newer[0] += 1;
    assert_eq!(adopt(id, &newer), Err(NotAdopted::Unreadable));
    assert_eq!(adopt(id, &kept), Ok(()));
    assert_eq!(adopt(id, &kept), Err(NotAdopted::NoPlace));
    assert_eq!(next.session_count(), 1);
    let mut empty = crate::Sessions::new(config(), [9; 32]).unwrap();
    let refused = empty.adopt(world.now, id, &kept, holder, [0; 5]);
    assert_eq!(refused, Err(NotAdopted::NoStream));
    assert_eq!(empty.table.census(), [0; 4]);
}

#[test]
fn the_longest_keepsake_fits() {
    let mut world = World::new(6);
    let (ufrag, pwd) = ("u".repeat(256), "p".repeat(256));
    let long = |base: &str| -> String {
        let lines = base.lines().map(|line| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{ufrag}\r\n"),
            Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{pwd}\r\n"),
            _ => format!("{line}\r\n"),
        });
        lines.collect()
    };
    for base in [CHROMIUM, CHROMIUM_WHIP] {
        let base = long(base);
        let peer = match base.contains("a=sendonly") {
            true => world.publish(PeerKind::Client13, &base, false).unwrap(),
            false => {
                let post = |sessions: &mut crate::Sessions, now, offer: &str| {
                    sessions.whep_post(now, "live/demo", offer, None)
                };
                world.come(PeerKind::Client13, &ALL, &base, post).unwrap()
            }
        };
        world.run(Span::millis(200));
        let id = world.viewers[peer].id();
        let body = offer(&base, &[], PeerKind::Client13).replace("uuuu", "vvvv");
        let fragment: String = body
            .lines()
            .filter(|line| line.starts_with("a=ice-"))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let body = PatchBody::TrickleIce(&fragment);
        let patched = world.sessions.patch(world.now, &id, Some("*"), body);
        assert!(
            matches!(patched, Ok(Patched::Restarted { .. })),
            "{patched:?}"
        );
        world.drain();
    }
    assert_eq!(world.kept.len(), 2);
    world.restart(Holder::Core(world.core), [0; 5]);
    assert_eq!(world.sessions.session_count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_keepsake_is_refused_or_harmless(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut world = World::new(7);
        world.live_publisher();
        let (viewer, kept) = world.kept.values().next().unwrap().clone();
        let mut damaged = kept.clone();
        for (place, byte) in damage {
            let place = place.index(damaged.len());
            damaged[place] = byte;
        }
        for kept in [&damaged[..], &kept[..length.index(kept.len())]] {
            let mut next = sessions(config(), [9; 32]);
            let holder = Holder::Core(CoreId(1));
            let adopted = next.adopt(world.now, viewer, kept, holder, [0; 5]);
            prop_assert_eq!(next.session_count(), u32::from(adopted.is_ok()));
            next.handle_timeout(world.now + Span::secs(60));
        }
    }
}
