//! Sessions that publish: from the POST to the log, and every way out of it.

use super::world::{
    ALL, CHROMIUM, CHROMIUM_WHIP, FFMPEG, H264_AND_OPUS, STREAM, World, config, ice_of,
};
use crate::dtls::testing::{CertificateKind, PeerKind};
use crate::{
    AudioCodec, Cause, Config, Holder, Kind, Output, PatchBody, Patched, SessionState,
    StreamDescription, VideoCodec,
};
use link::command::{AUDIO, Codec, Command, Rid, TrackIn, TrackOut, VIDEO, Wants};
use link::elements::KINDS;
use link::event::{Event, Gone};
use link::ids::{CoreId, StreamId, ViewerId};
use link::lanes::Lanes;
use wire::time::Span;

/// What has been asked of whom, by name, and what the driver was told.
fn names(world: &mut World) -> Vec<String> {
    std::mem::take(&mut world.outputs)
        .iter()
        .map(|output| match output {
            Output::Command { core, .. } => {
                format!("{output:?}").replace(&format!("{core:?}, "), "")
            }
            Output::PublisherReady { .. } => "PublisherReady".to_owned(),
            Output::Established { .. } => "Established".to_owned(),
            Output::ConsentMissed { .. } => "ConsentMissed".to_owned(),
            Output::Closed { kind, cause, .. } => {
                format!("Closed({}, {})", kind.name(), cause.name())
            }
            Output::KeyframeWanted(_) => "KeyframeWanted".to_owned(),
            Output::Transmit { .. } => "Transmit".to_owned(),
            Output::Keep { .. } => "Keep".to_owned(),
        })
        .collect()
}

fn state(world: &World, publisher: usize) -> SessionState {
    let id = world.viewers[publisher].id();
    world.sessions.session_view(&id).unwrap().state
}

fn viewer_id(world: &World, publisher: usize) -> ViewerId {
    world.viewers[publisher].created.as_ref().unwrap().viewer
}

#[test]
fn a_publisher_gets_a_way_back_and_then_its_log() {
    let mut world = World::new(1);
    let publisher = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
        .unwrap();
    world.run(Span::millis(200));
    let (core, viewer) = world.added(publisher).unwrap();
    let (same_core, add) = world.published(publisher).unwrap();
    assert_eq!((core, same_core), (world.core, world.core));
    // The viewer takes nothing: it is the way back.
    assert_eq!(viewer.tracks, [TrackOut::default(); 2]);
    assert_eq!((viewer.stream, add.stream), (STREAM, STREAM));
    assert_eq!(add.viewer, Some(viewer.viewer));
    assert_eq!(add.keys.receive.key, viewer.keys.receive.key);
    let theirs = world.viewers[publisher].dtls.keys.as_ref().unwrap();
    assert_eq!(add.keys.receive.key, theirs.send.key);
    assert_eq!(
        add.lanes[VIDEO],
        TrackIn {
            rid: Rid::default(),
            elements: [0; KINDS],
            red_payload_type: 0,
            ssrc: 950_761_573,
            rtx_ssrc: 58_465_319,
            clock_hz: 90_000,
            payload_type: 102,
            rtx_payload_type: 103,
            codec: Codec::H264,
            wants: Wants::ALL,
        }
    );
    assert_eq!(
        add.lanes[AUDIO],
        TrackIn {
            ssrc: 1_936_359_539,
            clock_hz: 48_000,
            payload_type: 111,
            elements: [0, 1, 0],
            ..TrackIn::default()
        }
    );
    assert_eq!((add.transport_cc_id, add.remb_bps), (3, 0));
    assert_eq!(state(&world, publisher), SessionState::Starting);
    assert_eq!(
        names(&mut world),
        [
            "PublisherReady",
            "Command(AddViewer)",
            "Command(AddPublisher)",
            "Established"
        ]
    );
    // Told again, it is not ready again.
    world.run(Span::millis(500));
    assert_eq!(
        names(&mut world)[..2],
        ["Command(AddViewer)", "Command(AddPublisher)"]
    );
}

#[test]
fn both_halves_have_to_be_there() {
    let mut world = World::new(2);
    let publisher = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
        .unwrap();
    world.run(Span::millis(100));
    let (id, now, core) = (viewer_id(&world, publisher), world.now, world.core);
    // A word without the viewer's is of another publisher, one of another core too.
    world
        .sessions
        .event(now, core, Event::PublisherAdded(STREAM));
    assert_eq!(state(&world, publisher), SessionState::Starting);
    world.sessions.event(now, core, Event::ViewerAdded(id));
    assert_eq!(state(&world, publisher), SessionState::Starting);
    world
        .sessions
        .event(now, CoreId(3), Event::PublisherAdded(STREAM));
    let other = StreamId {
        generation: 9,
        ..STREAM
    };
    world
        .sessions
        .event(now, core, Event::PublisherAdded(other));
    assert_eq!(state(&world, publisher), SessionState::Starting);
    assert!(world.sessions.deadline().is_some());
    world
        .sessions
        .event(now, core, Event::PublisherAdded(STREAM));
    assert_eq!(state(&world, publisher), SessionState::Live);
    assert_eq!(world.sessions.deadline(), None);
}

#[test]
fn views_and_counters_tell_publishers_from_viewers() {
    let mut world = World::new(3);
    let publisher = world.live_publisher();
    let viewer = world.live_viewer();
    let view = |world: &World, who: usize| {
        let id = world.viewers[who].id();
        world.sessions.session_view(&id).unwrap()
    };
    let (of_publisher, of_viewer) = (view(&world, publisher), view(&world, viewer));
    assert_eq!(
        (of_publisher.kind, of_viewer.kind),
        (Kind::Publisher, Kind::Viewer)
    );
    assert!(of_publisher.video && of_publisher.audio && of_viewer.video && of_viewer.audio);
    let expected = StreamDescription {
        video: Some(VideoCodec::H264 {
            profile_level_id: [0x42, 0, 0x1f],
        }),
        audio: Some(AudioCodec::Opus { channels: 2 }),
    };
    assert_eq!(of_publisher.description, expected);
    assert_eq!(of_viewer.description, H264_AND_OPUS);
    let stream = world.sessions.stream_views().next().unwrap();
    assert_eq!(
        (stream.viewers, stream.publisher),
        (1, Some(of_publisher.id))
    );
    let counters = world.sessions.counters();
    assert_eq!(
        (counters.session_created, counters.publisher_created),
        (2, 1)
    );
    assert_eq!(
        (counters.session_established, counters.publisher_established),
        (2, 1)
    );
    let id = world.viewers[publisher].id();
    world.sessions.delete(world.now, &id).unwrap();
    world.drain();
    let counters = world.sessions.counters();
    assert_eq!((counters.session_closed, counters.publisher_closed), (1, 1));
    let stream = world.sessions.stream_views().next().unwrap();
    assert_eq!((stream.viewers, stream.publisher), (1, None));
    // The stream stays, and so do its viewers.
    assert_eq!(world.closed(viewer), None);
    assert_eq!(world.closed(publisher), Some(Cause::Deleted));
    let removed = viewer_id(&world, publisher);
    assert!(world.take_commands().iter().any(
        |(_, command)| matches!(command, Command::RemoveViewer(viewer) if *viewer == removed)
    ));
}

#[test]
fn an_encoder_that_is_the_dtls_server_gets_a_client() {
    for certificate in [CertificateKind::P224, CertificateKind::P256] {
        let mut world = World::new(4);
        let kind = PeerKind::Server12(certificate);
        let publisher = world.publish(kind, FFMPEG, false).unwrap();
        let answer = &world.viewers[publisher].created.as_ref().unwrap().answer;
        assert!(answer.contains("a=setup:active\r\n"));
        world.run(Span::millis(200));
        let (_, add) = world.published(publisher).unwrap();
        let theirs = world.viewers[publisher].dtls.keys.as_ref().unwrap();
        assert_eq!(add.keys.receive.key, theirs.send.key);
        assert_eq!(add.lanes[VIDEO].wants, Wants::NACK);
        assert_eq!(add.transport_cc_id, 0);
    }
}

#[test]
fn every_kind_of_peer_publishes() {
    for (seed, kind) in (10..).zip([
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Dimpl12,
        PeerKind::Client13,
        PeerKind::ClientEither,
        PeerKind::Server12(CertificateKind::P256),
    ]) {
        let mut world = World::new(seed);
        let publisher = world.publish(kind, CHROMIUM_WHIP, false).unwrap();
        world.run(Span::millis(300));
        world.acknowledge(publisher);
        assert_eq!(state(&world, publisher), SessionState::Live, "{kind:?}");
    }
}

#[test]
fn a_stream_has_one_publisher() {
    let mut world = World::new(5);
    let first = world.live_publisher();
    names(&mut world);
    let refused = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
        .unwrap_err();
    assert_eq!((refused.status, refused.name), (409, "stream-taken"));
    // An offer that is no good takes nothing over.
    assert!(world.publish(PeerKind::Client13, CHROMIUM, true).is_err());
    world.drain();
    assert_eq!(world.closed(first), None);
    let second = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, true)
        .unwrap();
    world.drain();
    assert_eq!(world.closed(first), Some(Cause::TakenOver));
    assert_eq!(
        names(&mut world),
        ["Command(RemoveViewer)", "Closed(publisher, taken-over)"]
    );
    world.viewers[first].check_at = None;
    world.run(Span::millis(200));
    assert_eq!(world.closed(second), None);
    assert_eq!(
        names(&mut world)[..3],
        [
            "PublisherReady",
            "Command(AddViewer)",
            "Command(AddPublisher)"
        ]
    );
    let publisher = world.sessions.stream_views().next().unwrap().publisher;
    assert_eq!(publisher.unwrap().as_str(), world.viewers[second].id());
    // The end of the first does not make the stream free again.
    let stale = Event::ViewerGone(viewer_id(&world, first), Gone::Bye);
    world.sessions.event(world.now, world.core, stale);
    let refused = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
        .unwrap_err();
    assert_eq!(refused.status, 409);
    let census = world.sessions.table.census();
    assert_eq!(census[0], 1);
}

#[test]
fn a_takeover_in_the_middle_of_a_handshake_leaves_nothing_behind() {
    for ms in 0..6 {
        let mut world = World::new(6);
        world.network.delay_ms_max = 3;
        let first = world
            .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
            .unwrap();
        world.run(Span::millis(4 * ms));
        let second = world
            .publish(PeerKind::Client13, CHROMIUM_WHIP, true)
            .unwrap();
        world.viewers[first].check_at = None;
        world.run(Span::millis(500));
        assert_eq!(world.closed(first), Some(Cause::TakenOver));
        world.acknowledge(second);
        assert_eq!(state(&world, second), SessionState::Live);
        assert_eq!(world.sessions.handshake_count(), 0);
        assert_eq!(world.sessions.session_count(), 1);
    }
}

#[test]
fn a_refused_publisher_is_given_again_until_the_log_is_free() {
    let mut world = World::new(7);
    let publisher = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
        .unwrap();
    world.run(Span::millis(100));
    let (core, id) = (world.core, viewer_id(&world, publisher));
    world
        .sessions
        .event(world.now, core, Event::ViewerAdded(id));
    names(&mut world);
    for _ in 0..3 {
        world
            .sessions
            .event(world.now, core, Event::PublisherRefused(STREAM));
        let before = world.sessions.counters().viewer_resent;
        while world.sessions.counters().viewer_resent == before {
            world.run(Span::millis(50));
        }
    }
    let asked = names(&mut world);
    assert_eq!(
        asked
            .iter()
            .filter(|name| *name == "Command(AddPublisher)")
            .count(),
        3
    );
    assert!(
        !asked.iter().any(|name| name == "PublisherReady"),
        "{asked:?}"
    );
    assert_eq!(world.sessions.counters().publisher_refused, 3);
    world
        .sessions
        .event(world.now, core, Event::PublisherAdded(STREAM));
    assert_eq!(state(&world, publisher), SessionState::Live);
    assert_eq!(world.sessions.deadline(), None);
    // Late words change nothing.
    world
        .sessions
        .event(world.now, core, Event::PublisherRefused(STREAM));
    world.run(Span::secs(20));
    assert_eq!(state(&world, publisher), SessionState::Live);
}

#[test]
fn a_publisher_that_is_refused_for_ever_is_let_go() {
    let mut world = World::new(8);
    let publisher = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
        .unwrap();
    world.run(Span::millis(100));
    let core = world.core;
    world
        .sessions
        .event(world.now, core, Event::PublisherRefused(STREAM));
    world.run(Span::millis(4900));
    assert_eq!(world.closed(publisher), None);
    world.run(Span::millis(200));
    assert_eq!(world.closed(publisher), Some(Cause::Refused));
    let id = viewer_id(&world, publisher);
    let commands = world.take_commands();
    let (_, last) = commands.last().unwrap();
    assert!(matches!(last, Command::RemoveViewer(viewer) if *viewer == id));
    assert_eq!(world.sessions.table.census()[0], 0);
    // The stream is free for the next.
    world.live_publisher();
    // A worker that has no place for its viewer has none for the publisher.
    let mut world = World::new(9);
    let publisher = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
        .unwrap();
    world.run(Span::millis(100));
    let refused = Event::ViewerRefused(viewer_id(&world, publisher));
    world.sessions.event(world.now, world.core, refused);
    world.drain();
    assert_eq!(world.closed(publisher), Some(Cause::Refused));
    assert_eq!(
        world.sessions.stream_views().next().unwrap().publisher,
        None
    );
}

#[test]
fn a_restarted_worker_gets_its_publisher_back() {
    let mut world = World::new(10);
    let publisher = world.live_publisher();
    let before = *world.published(publisher).unwrap().1;
    names(&mut world);
    let leases = |_| [70_000, 65_536, 40_000, 5, 99];
    world
        .sessions
        .worker_restarted(world.now, world.core, leases);
    world.drain();
    let (_, viewer) = world.added(publisher).unwrap();
    assert_eq!(viewer.tracks, [TrackOut::default(); 2]);
    assert_eq!(viewer.rtcp_first_index, 99);
    let (_, add) = world.published(publisher).unwrap();
    assert_eq!(add.lanes, before.lanes);
    assert_eq!(add.keys.receive.key, before.keys.receive.key);
    assert_eq!(
        names(&mut world),
        ["Command(AddViewer)", "Command(AddPublisher)"]
    );
    assert_eq!(state(&world, publisher), SessionState::Starting);
    // Not acknowledged: both are asked for again.
    world.run(Span::secs(1));
    world.acknowledge(publisher);
    assert_eq!(state(&world, publisher), SessionState::Live);
    // Another worker's restart is not its own.
    names(&mut world);
    world
        .sessions
        .worker_restarted(world.now, CoreId(0), leases);
    world.drain();
    assert!(names(&mut world).is_empty());
}

#[test]
fn publishers_patch_and_delete_like_viewers() {
    let mut world = World::new(11);
    let publisher = world.live_publisher();
    let (id, now) = (world.viewers[publisher].id(), world.now);
    let etag = world.viewers[publisher]
        .created
        .as_ref()
        .unwrap()
        .etag
        .clone();
    let (ufrag, pwd) = ice_of(CHROMIUM_WHIP);
    let trickle = format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 1 0b1a.local 5 typ host\r\n"
    );
    let body = PatchBody::TrickleIce(&trickle);
    assert_eq!(
        world.sessions.patch(now, &id, Some(&etag), body).unwrap(),
        Patched::Trickled
    );
    assert_eq!(
        world
            .sessions
            .patch(now, &id, None, body)
            .unwrap_err()
            .status,
        428
    );
    let restart = "a=ice-ufrag:QiBL\r\na=ice-pwd:KKXLCmbHwcNgj/FgsY4a/pUz\r\n";
    let body = PatchBody::TrickleIce(restart);
    names(&mut world);
    let patched = world.sessions.patch(now, &id, Some("*"), body).unwrap();
    let Patched::Restarted { fragment, .. } = patched else {
        panic!("not a restart");
    };
    assert!(fragment.contains("m=audio 9 ") && fragment.contains("a=mid:0\r\n"));
    world.drain();
    assert_eq!(names(&mut world), ["Command(RestartIce)"]);
    // After that the worker is given both credentials before the publisher.
    world
        .sessions
        .worker_restarted(world.now, world.core, |_| [0; 5]);
    world.drain();
    assert_eq!(
        names(&mut world),
        [
            "Command(AddViewer)",
            "Command(RestartIce)",
            "Command(AddPublisher)"
        ]
    );
    world.sessions.delete(now, &id).unwrap();
    assert_eq!(world.sessions.delete(now, &id).unwrap_err().status, 404);
    world.viewers[publisher].check_at = None;
    world.run(Span::millis(10));
    assert!(world.viewers[publisher].dtls.closed, "no close_notify");
    assert_eq!(world.sessions.table.census(), [0; 4]);
}

#[test]
fn whoever_publishes_by_a_session_is_asked_for_keyframes() {
    let mut world = World::new(12);
    let wanted = Event::KeyframeWanted(STREAM, Lanes::VIDEO);
    world.sessions.event(world.now, CoreId(0), wanted);
    world.drain();
    assert_eq!(names(&mut world), ["KeyframeWanted"]);
    let publisher = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, false)
        .unwrap();
    world.sessions.event(world.now, CoreId(0), wanted);
    world.drain();
    assert_eq!(names(&mut world), ["KeyframeWanted"], "no keys yet");
    world.run(Span::millis(200));
    world.acknowledge(publisher);
    world.outputs.clear();
    world.sessions.event(world.now, CoreId(0), wanted);
    world.drain();
    let asked = world.take_commands();
    let [(core, Command::AskKeyframe(stream, lanes))] = &asked[..] else {
        panic!("{} commands", asked.len());
    };
    assert_eq!((*core, *stream), (world.core, STREAM));
    assert_eq!(*lanes, Lanes::VIDEO);
}

#[test]
fn a_closed_stream_ends_its_publisher() {
    let mut world = World::new(13);
    let publisher = world.live_publisher();
    world.sessions.stream_closed(world.now, STREAM);
    world.drain();
    assert_eq!(world.closed(publisher), Some(Cause::StreamClosed));
    let error = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, true)
        .unwrap_err();
    assert_eq!((error.status, error.name), (404, "stream-unknown"));
}

#[test]
fn another_codec_ends_the_viewers_and_not_their_publisher() {
    let mut world = World::new(14);
    let (viewer, publisher) = (world.live_viewer(), world.live_publisher());
    let vp8 = StreamDescription {
        video: Some(VideoCodec::Vp8),
        ..H264_AND_OPUS
    };
    world.sessions.stream_described(world.now, STREAM, vp8);
    world.drain();
    assert_eq!(world.closed(viewer), Some(Cause::FormatChanged));
    assert_eq!(world.closed(publisher), None);
    // Viewers of VP8 are not for VP9, nor those of one profile for another.
    for (old, new, same) in [
        (VideoCodec::Vp8, VideoCodec::Vp8, true),
        (VideoCodec::Vp8, VideoCodec::Vp9 { profile: 0 }, false),
        (
            VideoCodec::Vp9 { profile: 0 },
            VideoCodec::Vp9 { profile: 0 },
            true,
        ),
        (
            VideoCodec::Vp9 { profile: 0 },
            VideoCodec::Vp9 { profile: 2 },
            false,
        ),
        (
            VideoCodec::Av1 { profile: 0 },
            VideoCodec::Vp9 { profile: 0 },
            false,
        ),
    ] {
        assert_eq!(old.same_format(&new), same, "{old} {new}");
    }
}

#[test]
fn viewers_are_sent_what_was_published() {
    for (video, payload_type, rtx) in [
        (VideoCodec::Vp8, 96, 97),
        (VideoCodec::Vp9 { profile: 0 }, 98, 99),
        (VideoCodec::Vp9 { profile: 2 }, 100, 101),
        (VideoCodec::Av1 { profile: 0 }, 45, 46),
    ] {
        let mut world = World::new(15);
        let description = StreamDescription {
            video: Some(video),
            ..H264_AND_OPUS
        };
        world
            .sessions
            .stream_described(world.now, STREAM, description);
        let viewer = world.join(PeerKind::Client13, &ALL);
        world.run(Span::millis(200));
        let track = world.added(viewer).unwrap().1.tracks[VIDEO];
        assert_eq!(
            (track.payload_type, track.rtx_payload_type),
            (payload_type, rtx),
            "{video}"
        );
    }
}

#[test]
fn who_listens_to_remb_is_told_the_bound() {
    let offer: String = CHROMIUM_WHIP
        .lines()
        .filter(|line| !line.contains("transport-wide-cc") && !line.contains("transport-cc"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let bound = Config {
        publisher_bitrate_max_bps: 7_000_000,
        ..config()
    };
    let mut world = World::with(bound, 16);
    let publisher = world.publish(PeerKind::Client13, &offer, false).unwrap();
    world.run(Span::millis(200));
    let (_, add) = world.published(publisher).unwrap();
    assert_eq!((add.transport_cc_id, add.remb_bps), (0, 7_000_000));
}

#[test]
fn an_offer_can_be_tried_before_its_stream_is_opened() {
    let mut world = World::new(17);
    let description = world.sessions.whip_check(FFMPEG).unwrap();
    assert!(description.video.is_some() && description.audio.is_some());
    assert_eq!(world.sessions.whip_check(CHROMIUM).unwrap_err().status, 422);
    assert_eq!(world.sessions.counters().offer_refused, 1);
    assert_eq!(world.sessions.table.census(), [0; 4]);
}

#[test]
fn a_look_at_the_cells_misses_a_publisher_that_is_gone() {
    let mut world = World::new(18);
    let publisher = world.live_publisher();
    let (id, core) = (viewer_id(&world, publisher), world.core);
    world
        .sessions
        .audit(world.now, |viewer| match viewer == id {
            true => Holder::Core(core),
            false => Holder::Nobody,
        });
    assert_eq!(world.closed(publisher), None);
    world.sessions.audit(world.now, |_| Holder::Nobody);
    world.drain();
    assert_eq!(world.closed(publisher), Some(Cause::Lost));
}

#[test]
fn a_full_node_takes_nobody_over() {
    let full = Config {
        viewers_max: 1,
        ..config()
    };
    let mut world = World::with(full, 19);
    let publisher = world.live_publisher();
    let error = world
        .publish(PeerKind::Client13, CHROMIUM_WHIP, true)
        .unwrap_err();
    assert_eq!(error.status, 503);
    world.drain();
    assert_eq!(world.closed(publisher), None);
}
