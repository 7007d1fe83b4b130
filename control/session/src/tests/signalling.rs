//! The verbs: what they answer, what they change, and what they must not.

use super::world::{ALL, CHROMIUM, H264_AND_OPUS, STREAM, World, config, ice_of};
use crate::dtls::testing::PeerKind;
use crate::{Cause, Config, PatchBody, Patched, StreamDescription, VideoCodec};
use link::command::Command;
use link::ids::{CoreId, StreamId};
use std::collections::{BTreeSet, HashSet};
use wire::time::Span;

const CANDIDATES: &str = "a=ice-ufrag:QiBL\r\na=ice-pwd:x\r\n";

/// The offer's own credentials: nothing new in them.
fn trickle() -> String {
    let (ufrag, pwd) = ice_of(CHROMIUM);
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 1 0b1a.local 5 typ host\r\na=end-of-candidates\r\n"
    )
}

fn restart(ufrag: &str) -> String {
    format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:KKXLCmbHwcNgj/FgsY4a/pUz\r\n")
}

#[test]
fn streams_are_watched_when_they_are_there() {
    let mut world = World::new(1);
    let now = world.now;
    let status = |world: &mut World, name: &str| {
        world
            .sessions
            .whep_post(now, name, CHROMIUM, None)
            .map_or_else(|e| e.status, |_| 201)
    };
    assert_eq!(status(&mut world, "other"), 404);
    let other = StreamId {
        index: 4,
        generation: 1,
    };
    world.sessions.stream_opened("other", other);
    let error = world
        .sessions
        .whep_post(now, "other", CHROMIUM, None)
        .unwrap_err();
    assert_eq!((error.status, error.retry_after_secs), (409, Some(1)));
    world.sessions.stream_described(now, other, H264_AND_OPUS);
    assert_eq!(status(&mut world, "other"), 201);
    let views: Vec<_> = world.sessions.stream_views().collect();
    assert_eq!(views.len(), 2);
    assert_eq!((views[1].name.as_str(), views[1].viewers), ("other", 1));
    world.sessions.stream_closed(now, other);
    assert_eq!(status(&mut world, "other"), 404);
    assert_eq!(world.sessions.session_count(), 0);
    // Every worker is told.
    world.drain();
    let closed = world.take_commands();
    let cores: Vec<_> = closed
        .iter()
        .filter(|(_, command)| matches!(command, Command::CloseStream(id) if *id == other))
        .map(|(core, _)| core.0)
        .collect();
    assert_eq!(cores, [0, 1, 2, 3]);
}

#[test]
fn ids_and_credentials_are_all_different() {
    let mut world = World::new(2);
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let created = world
            .sessions
            .whep_post(world.now, "live/demo", CHROMIUM, None)
            .unwrap();
        assert_eq!(created.id.as_str().len(), 32);
        assert!(
            created
                .id
                .as_str()
                .bytes()
                .all(|c| c.is_ascii_alphanumeric())
        );
        assert!(created.etag.len() > 10 && created.etag.starts_with('"'));
        let (ufrag, pwd) = ice_of(&created.answer);
        assert_eq!((ufrag.len(), pwd.len()), (16, 24));
        assert_eq!(
            link::ids::ufrag_index(ufrag.as_bytes()),
            Some(created.viewer.index)
        );
        for text in [created.id.as_str(), &created.etag, &ufrag, &pwd] {
            assert!(seen.insert(text.to_owned()));
        }
        assert!(!format!("{:?}", created.id).contains(created.id.as_str()));
    }
}

#[test]
fn newcomers_beyond_the_bounds_are_told_to_come_back() {
    for (viewers_max, handshakes_max) in [(3, 10), (10, 3)] {
        let mut world = World::with(
            Config {
                viewers_max,
                handshakes_max,
                ..config()
            },
            3,
        );
        let first = world.live_viewer();
        let made = if viewers_max == 3 { 2 } else { 3 };
        let mut ids = Vec::new();
        for _ in 0..made {
            ids.push(
                world
                    .sessions
                    .whep_post(world.now, "live/demo", CHROMIUM, None)
                    .unwrap()
                    .id,
            );
        }
        let error = world
            .sessions
            .whep_post(world.now, "live/demo", CHROMIUM, None)
            .unwrap_err();
        assert_eq!((error.status, error.name), (503, "full"));
        assert!(error.retry_after_secs.is_some());
        assert_eq!(world.sessions.counters().session_refused_full, 1);
        let waits: BTreeSet<u32> = (0..50)
            .map(|_| {
                let post = world
                    .sessions
                    .whep_post(world.now, "live/demo", CHROMIUM, None);
                post.unwrap_err().retry_after_secs.unwrap()
            })
            .collect();
        assert!(waits.len() > 3, "all come again together: {waits:?}");
        assert!(waits.iter().all(|secs| (2..=9).contains(secs)), "{waits:?}");
        if handshakes_max == 3 {
            let unread = world.sessions.whep_post(world.now, "live/demo", "?", None);
            assert_eq!(unread.unwrap_err().status, 503, "refusals are cheap");
        }
        // Who watches is not hurt, and when somebody goes there is room again.
        assert_eq!(world.closed(first), None);
        world.sessions.delete(world.now, ids[0].as_str()).unwrap();
        world.run(Span::secs(3));
        assert!(
            world
                .sessions
                .whep_post(world.now, "live/demo", CHROMIUM, None)
                .is_ok()
        );
    }
}

#[test]
fn an_index_that_is_used_again_has_another_generation() {
    let mut world = World::with(
        Config {
            viewers_max: 1,
            ..config()
        },
        4,
    );
    world.sessions.adopt_generation(0, 41);
    world.sessions.adopt_generation(1, 41); // beyond the bounds: nothing
    let mut generations = Vec::new();
    for _ in 0..3 {
        let created = world
            .sessions
            .whep_post(world.now, "live/demo", CHROMIUM, None)
            .unwrap();
        generations.push((created.viewer.index, created.viewer.generation));
        world
            .sessions
            .delete(world.now, created.id.as_str())
            .unwrap();
        let error = world
            .sessions
            .whep_post(world.now, "live/demo", CHROMIUM, None)
            .unwrap_err();
        assert_eq!(error.status, 503, "the index has not rested");
        world.run(Span::secs(3));
    }
    assert_eq!(generations, [(0, 42), (0, 43), (0, 44)]);
}

#[test]
fn a_patch_says_which_ice_session_it_is_for() {
    let mut world = World::new(5);
    let created = world
        .sessions
        .whep_post(world.now, "live/demo", CHROMIUM, None)
        .unwrap();
    let now = world.now;
    let id = created.id.as_str();
    let mut patch = |if_match: Option<&str>, body: &str| {
        let body = PatchBody::TrickleIce(body);
        world
            .sessions
            .patch(now, id, if_match, body)
            .map_err(|error| error.status)
    };
    let weak = format!("W/{}", created.etag);
    let list = format!("\"x\", {}", created.etag);
    assert_eq!(patch(None, &trickle()), Err(428));
    assert_eq!(patch(Some("\"other\""), &trickle()), Err(412));
    assert_eq!(patch(Some(&weak), &trickle()), Err(412));
    assert_eq!(
        patch(Some(created.etag.trim_matches('"')), &trickle()),
        Err(412)
    );
    assert_eq!(
        patch(Some(&created.etag), &trickle()),
        Ok(Patched::Trickled)
    );
    assert_eq!(patch(Some(&list), ""), Ok(Patched::Trickled));
    assert_eq!(patch(Some("*"), &trickle()), Ok(Patched::Trickled));
    assert_eq!(patch(Some(&created.etag), CANDIDATES), Err(400));
    assert_eq!(patch(Some(&created.etag), "a=\u{7}"), Err(400));
    let body = PatchBody::TrickleIce("");
    assert_eq!(
        world
            .sessions
            .patch(now, "x", Some("*"), body)
            .unwrap_err()
            .status,
        404
    );
}

#[test]
fn a_restart_gives_new_credentials_and_keeps_the_old_until_they_work() {
    let mut world = World::new(6);
    let viewer = world.live_viewer();
    world.outputs.clear();
    let (id, now) = (world.viewers[viewer].id(), world.now);
    let old_ice = world.viewers[viewer].server_ice.clone();
    let old_etag = world.viewers[viewer].created.as_ref().unwrap().etag.clone();
    let text = restart("QiBL");
    let body = PatchBody::TrickleIce(&text);
    let Patched::Restarted { fragment, etag } =
        world.sessions.patch(now, &id, Some("\"*\""), body).unwrap()
    else {
        panic!("not a restart");
    };
    let new_ice = ice_of(&fragment);
    assert!(new_ice.0 != old_ice.0 && new_ice.1 != old_ice.1 && etag != old_etag);
    assert!(fragment.contains("a=candidate:") && fragment.contains("a=end-of-candidates"));
    // The owner is told; it answers checks from now on.
    world.drain();
    let commands = world.take_commands();
    let [(core, Command::RestartIce { viewer: told, ice })] = &commands[..] else {
        panic!("{} commands", commands.len());
    };
    assert_eq!((*core, &ice.ufrag[..]), (world.core, new_ice.0.as_bytes()));
    assert_eq!(
        Some(*told),
        world.viewers[viewer].created.as_ref().map(|c| c.viewer)
    );
    // What comes to us is answered with either.
    for server_ice in [&old_ice, &new_ice] {
        let before = world.sessions.counters().stun_answered;
        world.viewers[viewer].server_ice = server_ice.clone();
        world.viewers[viewer].check_at = Some(world.now);
        world.run(Span::millis(1));
        assert_eq!(world.sessions.counters().stun_answered, before + 1);
    }
    // The same body again is no restart, and the old entity-tag is over.
    assert_eq!(
        world.sessions.patch(now, &id, Some(&etag), body).unwrap(),
        Patched::Trickled
    );
    let error = world
        .sessions
        .patch(now, &id, Some(&old_etag), body)
        .unwrap_err();
    assert_eq!(error.status, 412);
    // A storm of them is braked, and does not end the session.
    let mut statuses = HashSet::new();
    for number in 0..100 {
        let text = restart(&format!("QiB{number}"));
        let body = PatchBody::TrickleIce(&text);
        let result = world.sessions.patch(now, &id, Some("*"), body);
        statuses.insert(result.map_or_else(|error| error.status, |_| 200));
    }
    assert_eq!(statuses, HashSet::from([429]));
    assert_eq!(world.closed(viewer), None);
}

#[test]
fn two_restarts_leave_the_newest_two_credentials() {
    let mut world = World::new(7);
    let viewer = world.live_viewer();
    let id = world.viewers[viewer].id();
    let mut ices = vec![world.viewers[viewer].server_ice.clone()];
    for ufrag in ["aaaa", "bbbb"] {
        world.run(Span::secs(1));
        let text = restart(ufrag);
        let body = PatchBody::TrickleIce(&text);
        match world
            .sessions
            .patch(world.now, &id, Some("*"), body)
            .unwrap()
        {
            Patched::Restarted { fragment, .. } => ices.push(ice_of(&fragment)),
            other => panic!("no restart: {other:?}"),
        }
    }
    world.viewers[viewer].check_at = None;
    let answered = ices.iter().map(|ice| {
        world.viewers[viewer].server_ice = ice.clone();
        world.viewers[viewer].check_at = Some(world.now);
        let before = world.sessions.counters().stun_answered;
        world.run(Span::millis(1));
        world.sessions.counters().stun_answered > before
    });
    assert_eq!(answered.collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn a_deleted_session_is_gone_everywhere() {
    let mut world = World::new(8);
    let viewer = world.live_viewer();
    let id = world.viewers[viewer].id();
    let closed_before = world.viewers[viewer].dtls.closed;
    world.sessions.delete(world.now, &id).unwrap();
    world.viewers[viewer].check_at = None;
    world.run(Span::millis(10));
    assert_eq!(world.closed(viewer), Some(Cause::Deleted));
    assert!(
        !closed_before && world.viewers[viewer].dtls.closed,
        "no close_notify"
    );
    let removed = world
        .take_commands()
        .into_iter()
        .any(|(core, command)| core == CoreId(1) && matches!(command, Command::RemoveViewer(_)));
    assert!(removed);
    assert_eq!(
        world.sessions.delete(world.now, &id).unwrap_err().status,
        404
    );
    let body = PatchBody::TrickleIce("");
    let error = world
        .sessions
        .patch(world.now, &id, Some("*"), body)
        .unwrap_err();
    assert_eq!(error.status, 404);
    assert_eq!(world.sessions.table.census(), [0; 4]);
    // RFC 7675: consent is over, checks are not answered.
    let answered = world.sessions.counters().stun_answered;
    world.viewers[viewer].check_at = Some(world.now);
    world.run(Span::millis(10));
    assert_eq!(world.sessions.counters().stun_answered, answered);
}

#[test]
fn viewers_go_with_the_stream_or_with_its_codec() {
    let mut world = World::new(9);
    let viewer = world.live_viewer();
    let higher = StreamDescription {
        video: Some(VideoCodec::H264 {
            profile_level_id: [0x64, 0, 0x28],
        }),
        ..H264_AND_OPUS
    };
    world.sessions.stream_described(world.now, STREAM, higher);
    world.drain();
    assert_eq!(world.closed(viewer), None, "a profile is no other codec");
    let h265 = StreamDescription {
        video: Some(VideoCodec::H265 {
            profile: 1,
            high_tier: false,
            level: 93,
        }),
        ..H264_AND_OPUS
    };
    world.sessions.stream_described(world.now, STREAM, h265);
    world.drain();
    assert_eq!(world.closed(viewer), Some(Cause::FormatChanged));
    world
        .sessions
        .stream_described(world.now, STREAM, H264_AND_OPUS);
    let viewer = world.join(PeerKind::Client13, &ALL);
    // Another generation of the stream is another stream.
    world.sessions.stream_closed(
        world.now,
        StreamId {
            generation: 2,
            ..STREAM
        },
    );
    world.drain();
    assert_eq!(world.closed(viewer), None);
    world.sessions.stream_closed(world.now, STREAM);
    world.drain();
    assert_eq!(world.closed(viewer), Some(Cause::StreamClosed));
}
