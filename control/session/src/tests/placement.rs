//! Workers: their events, their silence, their deaths.

use super::world::{ALL, World};
use crate::dtls::testing::PeerKind;
use crate::{Cause, Holder, PatchBody, SessionState};
use link::command::{AUDIO, Command, VIDEO};
use link::event::{Event, Gone};
use link::ids::CoreId;
use std::net::SocketAddr;
use wire::peer::Peer;
use wire::time::Span;

#[test]
fn a_viewer_is_live_when_its_worker_says_so() {
    let mut world = World::new(1);
    let viewer = world.live_viewer();
    let view = world
        .sessions
        .session_view(&world.viewers[viewer].id())
        .unwrap();
    assert_eq!(
        (view.state, view.core),
        (SessionState::Live, Some(world.core))
    );
    assert!(view.video && view.audio);
    // Nothing more is to be done for it.
    assert_eq!(world.sessions.deadline(), None);
}

#[test]
fn a_silent_worker_is_asked_again_and_ever_more_slowly() {
    let mut world = World::new(2);
    let viewer = world.join(PeerKind::Client13, &ALL);
    world.run(Span::secs(60));
    let adds = world.take_commands().len();
    assert!((8..14).contains(&adds), "{adds}");
    let id = world.viewers[viewer].created.as_ref().unwrap().viewer;
    // Another worker's word does not count.
    world
        .sessions
        .event(world.now, CoreId(2), Event::ViewerAdded(id));
    assert!(world.sessions.deadline().is_some());
    world
        .sessions
        .event(world.now, world.core, Event::ViewerAdded(id));
    assert_eq!(world.sessions.deadline(), None);
}

#[test]
fn whom_a_worker_lets_go_is_gone() {
    for (event, cause) in [
        (
            Event::ViewerGone as fn(_, _) -> _,
            (Gone::Consent, Cause::Consent),
        ),
        (Event::ViewerGone, (Gone::Bye, Cause::Bye)),
        (Event::ViewerGone, (Gone::KeyWornOut, Cause::KeyWornOut)),
    ]
    .map(|(event, (gone, cause))| (move |id| event(id, gone), cause))
    {
        let mut world = World::new(3);
        let viewer = world.live_viewer();
        let id = world.viewers[viewer].created.as_ref().unwrap().viewer;
        world.outputs.clear();
        let stale = link::ids::ViewerId {
            generation: id.generation + 1,
            ..id
        };
        world.sessions.event(world.now, world.core, event(stale));
        world.sessions.event(world.now, CoreId(0), event(id));
        world.drain();
        assert_eq!(world.closed(viewer), None);
        world.sessions.event(world.now, world.core, event(id));
        world.drain();
        assert_eq!(world.closed(viewer), Some(cause));
        // The worker has freed everything already.
        assert_eq!(world.take_commands().len(), 0);
        assert_eq!(world.sessions.table.census(), [0; 4]);
    }
    let mut world = World::new(3);
    let viewer = world.live_viewer();
    let id = world.viewers[viewer].created.as_ref().unwrap().viewer;
    world
        .sessions
        .event(world.now, world.core, Event::ViewerRefused(id));
    world.drain();
    assert_eq!(world.closed(viewer), Some(Cause::Refused));
}

#[test]
fn a_restarted_worker_gets_its_viewers_back_beyond_their_leases() {
    let mut world = World::new(4);
    let viewers = [world.live_viewer(), world.live_viewer()];
    world.core = CoreId(2);
    let elsewhere = world.live_viewer();
    let id = world.viewers[viewers[1]].id();
    let text = "a=ice-ufrag:QiBL\r\na=ice-pwd:KKXLCmbHwcNgj/FgsY4a/pUz\r\n";
    let body = PatchBody::TrickleIce(text);
    world
        .sessions
        .patch(world.now, &id, Some("*"), body)
        .unwrap();
    world.drain();
    let before = viewers.map(|viewer| *world.added(viewer).unwrap().1);
    world.outputs.clear();
    let leases = |index: u32| {
        if index == before[0].viewer.index {
            [70_000, 65_536, 40_000, 0, 99]
        } else {
            [0; 5]
        }
    };
    world
        .sessions
        .worker_restarted(world.now, CoreId(1), leases);
    world.drain();
    let after = viewers.map(|viewer| *world.added(viewer).unwrap().1);
    assert_eq!(after[0].tracks[VIDEO].first_index, 70_000);
    assert_eq!(after[0].tracks[VIDEO].rtx_first_index, 65_536);
    assert_eq!(after[0].tracks[AUDIO].first_index, 40_000);
    assert_eq!(after[0].rtcp_first_index, 99);
    assert_eq!(after[0].tracks[VIDEO].ssrc, before[0].tracks[VIDEO].ssrc);
    assert_eq!(after[0].keys.send.key, before[0].keys.send.key);
    // A viewer that never got a lease has not sent anything.
    assert_eq!(
        after[1].tracks[VIDEO].first_index,
        before[1].tracks[VIDEO].first_index
    );
    assert!(world.added(elsewhere).is_none());
    let restarts = world
        .take_commands()
        .iter()
        .filter(|(_, command)| matches!(command, Command::RestartIce { .. }))
        .count();
    assert_eq!(restarts, 1);
    // Not acknowledged: asked again.
    world.run(Span::secs(1));
    assert!(world.added(viewers[0]).is_some());
}

#[test]
fn a_look_at_the_cells_makes_up_for_lost_events() {
    let mut world = World::new(5);
    let [kept, lost] = [world.live_viewer(), world.live_viewer()];
    let unacknowledged = world.join(PeerKind::Client13, &ALL);
    world.run(Span::secs(1));
    let id = |viewer: usize| world.viewers[viewer].created.as_ref().unwrap().viewer;
    let (kept_id, new_id) = (id(kept), id(unacknowledged));
    let core = world.core;
    let holder = move |id| match id == kept_id || id == new_id {
        true => Holder::Core(core),
        false => Holder::Nobody,
    };
    world.sessions.audit(world.now, holder);
    world.drain();
    assert_eq!(world.closed(lost), Some(Cause::Lost));
    assert_eq!(world.closed(kept), None);
    let view = world
        .sessions
        .session_view(&world.viewers[unacknowledged].id())
        .unwrap();
    assert_eq!(view.state, SessionState::Live);
    assert_eq!(world.sessions.deadline(), None);
}

#[test]
fn nobody_is_missed_while_the_workers_are_dead() {
    let mut world = World::new(20);
    let viewer = world.live_viewer();
    world.sessions.audit(world.now, |_| Holder::Unknown);
    world.drain();
    assert_eq!(world.closed(viewer), None);
    let leases = |_| [100; 5];
    world
        .sessions
        .worker_restarted(world.now, world.core, leases);
    world.sessions.audit(world.now, |_| Holder::Nobody);
    world.drain();
    assert_eq!(world.closed(viewer), None, "it is not acknowledged yet");
}

#[test]
fn a_moved_viewer_is_talked_to_where_it_is() {
    let mut world = World::new(6);
    let viewer = world.live_viewer();
    let created = world.viewers[viewer].created.clone().unwrap();
    let new: Peer = "198.51.100.9:5555".parse::<SocketAddr>().unwrap().into();
    let old = world.viewers[viewer].peer;
    world.sessions.event(
        world.now,
        world.core,
        Event::ViewerMoved(created.viewer, new),
    );
    let view = world.sessions.session_view(created.id.as_str()).unwrap();
    assert_eq!(view.peer, Some(new));
    // A close_notify is understood from there, and what we say goes there.
    world.viewers[viewer].peer = new;
    world.viewers[viewer].check_at = None;
    let now = world.now;
    for datagram in world.viewers[viewer].dtls.close(now) {
        world.send(true, new, datagram);
    }
    world.run(Span::secs(1));
    assert_eq!(world.closed(viewer), Some(Cause::PeerClosed));
    assert_ne!(old, new);
    assert_eq!(world.sessions.table.census(), [0; 4]);
}

#[test]
fn the_worker_that_hears_the_nominated_pair_serves_the_viewer() {
    let mut world = World::new(7);
    world.core = CoreId(3);
    let viewer = world.live_viewer();
    assert_eq!(world.added(viewer).unwrap().0, CoreId(3));
}
