//! Pushes: from the description to the commands, and every way out.

use super::world::{CHROMIUM, CHROMIUM_WHIP, STREAM, World};
use crate::dtls::testing::PeerKind;
use crate::{Cause, Given, Holder, Kind, Origins, Output, PushRequest, Pushed, SignalError};
use link::command::{AUDIO, AddPublisher, Codec, Command, PassPublisher, TrackIn, VIDEO};
use link::event::Event;
use link::ids::{CoreId, StreamId};
use link::keys::Profile;
use std::net::SocketAddr;
use wire::time::{Span, Time};

const FFMPEG: &str = include_str!("../../../../tests/corpus/sdp/ffmpeg5_push.sdp");
const FFMPEG_SRTP: &str = include_str!("../../../../tests/corpus/sdp/ffmpeg5_push_srtp.sdp");

const TIMEOUT: Span = Span::secs(10);

const OTHER: StreamId = StreamId {
    index: 5,
    generation: 2,
};

fn post(
    world: &mut World,
    stream: StreamId,
    offer: &str,
    ports: [u16; 2],
    takeover: bool,
) -> Result<Pushed, SignalError> {
    let ip = Some("198.51.100.4".parse().unwrap());
    let request = PushRequest {
        offer,
        origins: Origins {
            asker: None,
            given: ports.map(|port| Some(Given { ip, port })),
        },
        timeout: TIMEOUT,
    };
    let now = world.now;
    world.sessions.push_check(&request)?;
    world.sessions.push_post(now, stream, &request, takeover)
}

fn push(world: &mut World, ports: [u16; 2]) -> Result<Pushed, SignalError> {
    post(world, STREAM, FFMPEG, ports, false)
}

/// What is to be done now.
fn outputs(world: &mut World) -> Vec<Output> {
    std::iter::from_fn(|| world.sessions.poll()).collect()
}

fn names(outputs: &[Output]) -> Vec<String> {
    let name = |output: &Output| match output {
        Output::Closed {
            kind: Kind::Push,
            viewer: Some(_),
            cause,
            ..
        } => format!("Closed({})", cause.name()),
        Output::PublisherReady { viewer: None, .. } => "Ready".to_owned(),
        Output::Keep { .. } => "Keep".to_owned(),
        other => format!("{other:?}"),
    };
    outputs.iter().map(name).collect()
}

fn added(outputs: &[Output]) -> (CoreId, &AddPublisher) {
    let mut all = outputs.iter().filter_map(|output| match output {
        Output::Command { core, command } => match &**command {
            Command::AddPublisher(add) => Some((*core, add)),
            _ => None,
        },
        _ => None,
    });
    let found = all.next().expect("a publisher is added");
    assert!(all.next().is_none());
    found
}

fn passed(outputs: &[Output]) -> Vec<(CoreId, PassPublisher)> {
    let pass = |output: &Output| match output {
        Output::Command { core, command } => match &**command {
            Command::PassPublisher(pass) => Some((*core, *pass)),
            _ => None,
        },
        _ => None,
    };
    outputs.iter().filter_map(pass).collect()
}

/// Lets the time go by.
fn later(world: &mut World, span: Span) -> Vec<Output> {
    world.now = world.now + span;
    let now = world.now;
    world.sessions.handle_timeout(now);
    outputs(world)
}

#[test]
fn one_core_takes_it_and_the_others_hand_it_over() {
    let mut world = World::new(1);
    let pushed = push(&mut world, [5004, 5006]).unwrap();
    let sources: Vec<SocketAddr> = vec![
        "198.51.100.4:5004".parse().unwrap(),
        "198.51.100.4:5006".parse().unwrap(),
    ];
    assert_eq!(pushed.sources, sources);
    assert_eq!(pushed.id.as_str().len(), 32);
    let outputs = outputs(&mut world);
    assert_eq!(names(&outputs)[0], "Ready");
    let (core, add) = added(&outputs);
    assert_eq!(core, CoreId(0));
    assert_eq!((add.stream, add.viewer), (STREAM, None));
    assert_eq!(
        (add.peer, add.audio.peer),
        (sources[0].into(), sources[1].into())
    );
    assert_eq!(add.keys.profile, Profile::Plain);
    // Nothing goes back: nothing is wanted.
    let video = TrackIn {
        clock_hz: 90_000,
        payload_type: 96,
        codec: Codec::H264,
        ..TrackIn::default()
    };
    let audio = TrackIn {
        clock_hz: 48_000,
        payload_type: 97,
        ..TrackIn::default()
    };
    let none = TrackIn::default();
    assert_eq!(add.lanes, [video, audio, none, none]);
    let pass = PassPublisher {
        stream: STREAM,
        core,
        peers: [add.peer, add.audio.peer],
    };
    let all = passed(&outputs);
    assert_eq!(all, [1, 2, 3].map(|core| (CoreId(core), pass)));
    // The next one goes to another core.
    world.sessions.stream_opened("live/other", OTHER);
    let second = post(&mut world, OTHER, FFMPEG_SRTP, [7000, 1], false).unwrap();
    let outputs = self::outputs(&mut world);
    let (core, add) = added(&outputs);
    assert_eq!(core, CoreId(1));
    assert_eq!(add.keys.profile, Profile::Aes128CmSha1_80);
    assert_ne!(add.keys.receive.key, [0; 32]);
    assert_eq!((add.lanes[AUDIO], add.audio.peer.port), (none, 0));
    assert_ne!(add.lanes[VIDEO], none);
    let views: Vec<_> = world.sessions.push_views().collect();
    assert_eq!(views.len(), 2);
    assert_eq!(views[1].stream_name, "live/other");
    let view = world.sessions.push_view(second.id.as_str()).unwrap();
    assert_eq!((view.core, view.is_heard), (CoreId(1), false));
}

#[test]
fn viewers_of_a_push_with_layers_tell_what_their_path_carries() {
    let mut world = World::new(2);
    push(&mut world, [5004, 5006]).unwrap();
    outputs(&mut world);
    let mut answer = |has_layers| {
        world.sessions.stream_has_layers(STREAM, has_layers);
        let now = world.now;
        let created = world.sessions.whep_post(now, "live/demo", CHROMIUM, None);
        created.unwrap().answer
    };
    assert!(!answer(false).contains("transport-cc"));
    assert!(answer(true).contains(" transport-cc\r\n"));
}

#[test]
fn it_is_told_again_until_its_core_has_it() {
    let mut world = World::new(2);
    push(&mut world, [5004, 5006]).unwrap();
    outputs(&mut world);
    assert!(later(&mut world, Span::millis(200)).is_empty());
    added(&later(&mut world, Span::millis(60)));
    let now = world.now;
    // What another core says is about another publisher.
    world
        .sessions
        .event(now, CoreId(2), Event::PublisherAdded(STREAM));
    added(&later(&mut world, Span::millis(600)));
    world
        .sessions
        .event(now, CoreId(0), Event::PublisherAdded(STREAM));
    assert!(later(&mut world, Span::secs(5)).is_empty());
    // A forwarder that has lost everything is told everything.
    let now = world.now;
    for core in 0..4 {
        world
            .sessions
            .worker_restarted(now, CoreId(core), |_| [0; 5]);
    }
    let outputs = outputs(&mut world);
    added(&outputs);
    assert_eq!(passed(&outputs).len(), 3);
    added(&later(&mut world, Span::millis(300)));
}

#[test]
fn a_core_that_goes_on_refusing_ends_it() {
    let mut world = World::new(3);
    push(&mut world, [5004, 5006]).unwrap();
    outputs(&mut world);
    let begun = world.now;
    let mut told = Vec::new();
    while world.now.since(begun) < Span::secs(6) {
        let now = world.now;
        world
            .sessions
            .event(now, CoreId(0), Event::PublisherRefused(STREAM));
        told.extend(names(&later(&mut world, Span::millis(50))));
    }
    let removed = "Command(CoreId(0), RemovePublisher)".to_owned();
    assert!(told.contains(&removed), "{told:?}");
    assert_eq!(told.last().unwrap(), "Closed(refused)");
    assert_eq!(world.sessions.deadline(), None);
}

#[test]
fn silence_ends_it_and_packets_keep_it() {
    let mut world = World::new(4);
    let pushed = push(&mut world, [5004, 5006]).unwrap();
    let now = world.now;
    world
        .sessions
        .event(now, CoreId(0), Event::PublisherAdded(STREAM));
    outputs(&mut world);
    // What came before it is not its.
    let before = now - Span::secs(1);
    world.sessions.pushes_heard(|_| before);
    for _ in 0..5 {
        assert!(later(&mut world, Span::secs(9)).is_empty());
        let now = world.now;
        world.sessions.pushes_heard(|stream| match stream {
            STREAM => now,
            _ => Time::ZERO,
        });
    }
    let view = world.sessions.push_view(pushed.id.as_str()).unwrap();
    assert!(view.is_heard);
    assert!(later(&mut world, Span(TIMEOUT.0 - 1_000_000)).is_empty());
    let told = names(&later(&mut world, Span::millis(1)));
    let removed = (0..4).map(|core| format!("Command(CoreId({core}), RemovePublisher)"));
    let expected: Vec<String> = removed.chain(["Closed(silent)".to_owned()]).collect();
    assert_eq!(told, expected);
    assert!(world.sessions.push_view(pushed.id.as_str()).is_none());
    // Its address is free.
    push(&mut world, [5004, 5006]).unwrap();
}

#[test]
fn delete_ends_it_and_patch_is_not_for_it() {
    let mut world = World::new(5);
    let pushed = push(&mut world, [5004, 5006]).unwrap();
    outputs(&mut world);
    let (now, id) = (world.now, pushed.id.as_str());
    let body = crate::PatchBody::TrickleIce("a=ice-ufrag:abcd\r\n");
    let error = world.sessions.patch(now, id, Some("*"), body).unwrap_err();
    assert_eq!((error.status, error.name), (422, "push-unpatchable"));
    world.sessions.delete(now, id).unwrap();
    assert_eq!(names(&outputs(&mut world))[4], "Closed(deleted)");
    let again = world.sessions.delete(now, id).unwrap_err();
    assert_eq!(again.status, 404);
    let counters = world.sessions.counters();
    assert_eq!(
        (counters.publisher_created, counters.publisher_closed),
        (1, 1)
    );
}

#[test]
fn an_address_sends_to_one_stream() {
    let mut world = World::new(6);
    push(&mut world, [5004, 5006]).unwrap();
    world.sessions.stream_opened("live/other", OTHER);
    for ports in [[5004, 7000], [7000, 5004], [5006, 5006]] {
        let error = post(&mut world, OTHER, FFMPEG, ports, true).unwrap_err();
        assert_eq!(
            (error.status, error.name),
            (409, "source-taken"),
            "{ports:?}"
        );
    }
    post(&mut world, OTHER, FFMPEG, [7000, 7002], true).unwrap();
    // That of a session is its own, too.
    let viewer = world.join(PeerKind::Client13, &super::world::ALL);
    world.run(Span::millis(200));
    let at = SocketAddr::from(world.viewers[viewer].peer);
    let given = Some(Given {
        ip: Some(at.ip()),
        port: at.port(),
    });
    let request = PushRequest {
        offer: FFMPEG,
        origins: Origins {
            asker: None,
            given: [given; 2],
        },
        timeout: TIMEOUT,
    };
    let now = world.now;
    let error = world.sessions.push_post(now, STREAM, &request, true);
    assert_eq!(error.unwrap_err().name, "source-taken");
}

#[test]
fn takeovers_go_both_ways_if_they_are_wanted() {
    let mut world = World::new(7);
    push(&mut world, [5004, 5006]).unwrap();
    outputs(&mut world);
    // Refused, by either kind.
    let error = push(&mut world, [7000, 7002]).unwrap_err();
    assert_eq!((error.status, error.name), (409, "stream-taken"));
    let error = world.publish(PeerKind::Client13, CHROMIUM_WHIP, false);
    assert_eq!(error.unwrap_err().name, "stream-taken");
    assert!(outputs(&mut world).is_empty());
    // A push by another, from the same address.
    post(&mut world, STREAM, FFMPEG, [5004, 5006], true).unwrap();
    let told = outputs(&mut world);
    let kinds = names(&told);
    assert_eq!(kinds[4..6], ["Closed(taken-over)", "Ready"]);
    added(&told);
    // A push by a session.
    let publisher = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, true)
        .unwrap();
    world.run(Span::millis(200));
    assert!(names(&world.outputs).contains(&"Closed(taken-over)".to_owned()));
    assert!(world.published(publisher).is_some());
    // A session by a push.
    outputs(&mut world);
    post(&mut world, STREAM, FFMPEG, [5004, 5006], true).unwrap();
    let told = outputs(&mut world);
    let by_push = |output: &Output| {
        matches!(
            output,
            Output::Closed {
                kind: Kind::Publisher,
                cause: Cause::TakenOver,
                ..
            }
        )
    };
    assert!(told.iter().any(by_push));
    added(&told);
}

#[test]
fn it_ends_with_its_stream() {
    let mut world = World::new(8);
    push(&mut world, [5004, 5006]).unwrap();
    outputs(&mut world);
    let now = world.now;
    world.sessions.stream_closed(now, STREAM);
    let told = names(&outputs(&mut world));
    assert!(
        told.contains(&"Closed(stream-closed)".to_owned()),
        "{told:?}"
    );
    assert_eq!(world.sessions.push_views().count(), 0);
    let gone = push(&mut world, [5004, 5006]).unwrap_err();
    assert_eq!((gone.status, gone.name), (404, "stream-unknown"));
}

#[test]
fn nobody_asks_it_for_a_keyframe() {
    let mut world = World::new(9);
    push(&mut world, [5004, 5006]).unwrap();
    outputs(&mut world);
    let now = world.now;
    let wanted = Event::KeyframeWanted(STREAM, link::lanes::Lanes::VIDEO);
    world.sessions.event(now, CoreId(0), wanted);
    let told = names(&outputs(&mut world));
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("KeyframeWanted"), "{told:?}");
}

/// The next life of control, with what this one has kept.
fn restart(world: &mut World) -> Vec<Output> {
    world.drain();
    world.restart(Holder::Nobody, [0; 5]);
    std::mem::take(&mut world.outputs)
}

#[test]
fn the_next_life_of_control_goes_on_with_it() {
    let mut world = World::new(3);
    let pushed = push(&mut world, [5004, 5006]).unwrap();
    let before = world.sessions.push_view(pushed.id.as_str()).unwrap();
    let told = restart(&mut world);
    let (core, add) = added(&told);
    assert_eq!((core, add.stream), (before.core, STREAM));
    assert_eq!(add.peer, pushed.sources[0].into());
    assert_eq!(passed(&told).len(), 3, "the other cores hand it over");
    let after = world.sessions.push_view(pushed.id.as_str()).unwrap();
    assert_eq!(
        (after.sources, after.created),
        (before.sources, before.created)
    );
    // Its place is taken, and so are its addresses.
    let error = post(&mut world, OTHER, FFMPEG, [5004, 5006], false).unwrap_err();
    assert!(matches!(error.status, 404 | 409), "{error:?}");

    // What it was sent is not forgotten when the worker dies later.
    world
        .sessions
        .event(world.now, core, Event::PublisherAdded(STREAM));
    let now = world.now;
    world.sessions.worker_restarted(now, core, |_| [0; 5]);
    assert_eq!(added(&outputs(&mut world)).1.peer, pushed.sources[0].into());

    let closed = world
        .sessions
        .close_session(now, pushed.id.as_str(), Cause::Deleted);
    assert_eq!(closed, Ok(()));
    world.drain();
    let told = std::mem::take(&mut world.outputs);
    assert_eq!(names(&told).last().unwrap(), "Closed(deleted)");
    // And nothing of it is left for the life after that.
    assert!(restart(&mut world).is_empty());
    assert!(world.sessions.push_view(pushed.id.as_str()).is_none());
}

#[test]
fn one_that_fell_silent_meanwhile_ends_in_the_next_life() {
    let mut world = World::new(3);
    push(&mut world, [5004, 5006]).unwrap();
    let (core, _) = added(&restart(&mut world));
    world
        .sessions
        .event(world.now, core, Event::PublisherAdded(STREAM));
    assert!(names(&later(&mut world, Span::millis(9_999))).is_empty());
    let names = names(&later(&mut world, Span::millis(1)));
    assert_eq!(names.last().unwrap(), "Closed(silent)");
}
