//! Viewers whose offer cannot be answered, and who answer ours.

use super::world::{ALL, CHROMIUM, H264_AND_OPUS, STREAM, World, ice_of};
use crate::dtls::testing::{CertificateKind, PeerKind};
use crate::sdp::answer::Sending;
use crate::sdp::counter::write;
use crate::sdp::elements::Passed;
use crate::sdp::layers::Offered;
use crate::sdp::offer::Offer;
use crate::sdp::plan::plan;
use crate::sdp::text::Local;
use crate::{
    AudioCodec, Cause, CounterOffer, Created, PatchBody, Patched, Pin, SignalError,
    StreamDescription, VideoCodec,
};
use link::command::{AUDIO, Command, VIDEO};
use link::ids::StreamId;
use wire::rtp_ext::PlayoutDelay;
use wire::time::{Span, Time};

/// What a browser answers, with the transport of an offer that it might have made.
fn answer_to(offer: &str, own: &str) -> String {
    let value = |name: &str| {
        let line = own.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {own}"))
    };
    let (ufrag, pwd) = ice_of(own);
    let setup = match value("a=setup:") {
        "actpass" => "active",
        other => other,
    };
    let line = |line: &str| {
        let name = line.split([':', ' ']).next().unwrap_or_default();
        match name {
            "a=ssrc"
            | "a=ssrc-group"
            | "a=msid"
            | "a=candidate"
            | "a=end-of-candidates"
            | "a=ice-lite"
            | "a=rtcp-mux-only" => String::new(),
            "a=sendonly" => "a=recvonly\r\n".to_owned(),
            "a=setup" => format!("a=setup:{setup}\r\n"),
            "a=ice-ufrag" => format!("a=ice-ufrag:{ufrag}\r\n"),
            "a=ice-pwd" => format!("a=ice-pwd:{pwd}\r\n"),
            "a=fingerprint" => format!("a=fingerprint:{}\r\n", value("a=fingerprint:")),
            _ => format!("{line}\r\n"),
        }
    };
    offer.lines().map(line).collect()
}

/// The counter-offer as if it were an answer: the world reads our credentials from it.
fn as_created(counter: &CounterOffer) -> Created {
    Created {
        id: counter.id.clone(),
        viewer: counter.viewer,
        answer: counter.offer.clone(),
        etag: counter.etag.clone(),
    }
}

/// A viewer that has been made an offer and begins to check at once, and what it will answer.
fn countered(world: &mut World, kind: PeerKind) -> (usize, String) {
    let delay = world.playout_delay;
    let mut answer = String::new();
    let viewer = world.come(kind, &ALL, CHROMIUM, |sessions, now, own| {
        let counter = sessions.whep_counter(now, "live/demo", delay)?;
        answer = answer_to(&counter.offer, own);
        Ok(as_created(&counter))
    });
    (viewer.unwrap(), answer)
}

fn answers(world: &mut World, viewer: usize, answer: &str) -> Result<Patched, SignalError> {
    let (now, id) = (world.now, world.viewers[viewer].id());
    let body = PatchBody::Answer(answer);
    world.sessions.patch(now, &id, None, body)
}

#[test]
fn a_viewer_that_answers_our_offer_is_served() {
    for kind in [
        PeerKind::Client13,
        PeerKind::Client12(CertificateKind::P256),
        PeerKind::Server12(CertificateKind::P256),
    ] {
        let mut world = World::new(21);
        world.playout_delay = Some(PlayoutDelay::from_ms(0, 100));
        let (viewer, answer) = countered(&mut world, kind);
        // Its checks, and the handshake that it begins, come before its answer.
        world.run(Span::millis(40));
        assert!(world.viewers[viewer].checks_answered > 0);
        assert!(world.added(viewer).is_none());
        assert_eq!(answers(&mut world, viewer, &answer), Ok(Patched::Answered));
        world.run(Span::secs(4));
        let offer = world.viewers[viewer]
            .created
            .as_ref()
            .unwrap()
            .answer
            .clone();
        let (_, add) = world.added(viewer).unwrap_or_else(|| panic!("{kind:?}"));
        assert_eq!(add.stream, STREAM);
        let [video, audio] = [add.tracks[VIDEO], add.tracks[AUDIO]];
        assert_eq!((video.payload_type, video.rtx_payload_type), (96, 97));
        assert_eq!((audio.payload_type, audio.clock_hz), (111, 48_000));
        let group = format!("a=ssrc-group:FID {} {}\r\n", video.ssrc, video.rtx_ssrc);
        assert!(offer.contains(&group), "{offer}");
        assert_eq!(video.ext[..4], [0xbe, 0xde, 0, 1], "playout delay");
        let view = world.sessions.session_views().next().unwrap();
        assert_eq!(view.video_section, Some(0));
        assert!(view.video && view.audio);
        // From here on it is as any other session.
        let again = answers(&mut world, viewer, &answer).unwrap_err();
        assert_eq!((again.status, again.name), (415, "answer-not-awaited"));
        let id = world.viewers[viewer].id();
        let etag = world.viewers[viewer].created.as_ref().unwrap().etag.clone();
        let body = PatchBody::TrickleIce("a=end-of-candidates\r\n");
        let trickled = world.sessions.patch(world.now, &id, Some(&etag), body);
        assert_eq!(trickled, Ok(Patched::Trickled));
    }
}

#[test]
fn an_answer_may_take_the_sound_alone() {
    let mut world = World::new(22);
    let (viewer, answer) = countered(&mut world, PeerKind::Client13);
    let deaf_to_video = answer.replacen("m=video 8000", "m=video 0", 1);
    assert_ne!(answer, deaf_to_video);
    assert!(answers(&mut world, viewer, &deaf_to_video).is_ok());
    world.run(Span::secs(1));
    let (_, add) = world.added(viewer).unwrap();
    assert_eq!(add.tracks[VIDEO].clock_hz, 0);
    assert_eq!(add.tracks[AUDIO].clock_hz, 48_000);
}

#[test]
fn an_answer_that_will_not_do_leaves_the_offer_open() {
    let mut world = World::new(23);
    let (viewer, answer) = countered(&mut world, PeerKind::Client13);
    let nothing = answer.replace("m=video 8000", "m=video 0");
    let nothing = nothing.replace("m=audio 8000", "m=audio 0");
    for (text, status) in [
        ("no description", 400),
        ("", 400),
        (&nothing, 422),
        (&answer.replace("a=recvonly", "a=inactive"), 422),
        (
            &answer.replace("a=fingerprint:sha-256", "a=fingerprint:md5"),
            422,
        ),
        (&answer.replace("a=ice-pwd:", "a=x-pwd:"), 422),
    ] {
        let error = answers(&mut world, viewer, text).unwrap_err();
        assert_eq!(error.status, status, "{error} {text}");
    }
    let id = world.viewers[viewer].id();
    let body = PatchBody::TrickleIce("a=end-of-candidates\r\n");
    let early = world.sessions.patch(world.now, &id, Some("*"), body);
    assert_eq!(early.unwrap_err().status, 409);
    assert!(answers(&mut world, viewer, &answer).is_ok());
    world.run(Span::secs(1));
    assert!(world.added(viewer).is_some());
}

#[test]
fn an_offer_that_nobody_answers_holds_its_place_no_longer_than_it_said() {
    let mut world = World::new(24);
    let (viewer, _) = countered(&mut world, PeerKind::Client13);
    world.viewers[viewer].check_at = None;
    let viewers = |world: &World| world.sessions.stream_views().next().unwrap().viewers;
    assert_eq!((viewers(&world), world.sessions.handshake_count()), (1, 1));
    world.run(Span::secs(11));
    assert_eq!(world.closed(viewer), Some(Cause::Expired));
    assert_eq!((viewers(&world), world.sessions.handshake_count()), (0, 0));
    assert_eq!(world.sessions.table.census(), [0; 4]);
}

#[test]
fn what_is_not_there_is_not_offered() {
    let mut world = World::new(25);
    let status = |world: &mut World, name: &str| {
        let countered = world.sessions.whep_counter(Time(1), name, None);
        countered.map_or_else(|e| e.status, |_| 406)
    };
    assert_eq!(status(&mut world, "other"), 404);
    let id = StreamId {
        index: 1,
        generation: 1,
    };
    world.sessions.stream_opened("other", id);
    assert_eq!(status(&mut world, "other"), 409);
    assert_eq!(status(&mut world, "live/demo"), 406);
    assert_eq!(world.sessions.counters().counter_offered, 1);
}

#[test]
fn our_own_offer_could_be_answered_by_ourselves() {
    let candidates = ["192.0.2.7:8000".parse().unwrap()];
    let local = Local {
        ufrag: "AAAAbbbb",
        pwd: "AAAAbbbbccccddddeeeeffff",
        fingerprint: "AA:BB",
        candidates: &candidates,
        session_number: 7,
        is_full: false,
    };
    let sending = Sending {
        cname: "freshet",
        ssrcs: [[1, 2], [3, 4]],
        playout_delay: true,
        layered: false,
        passed: Passed::default(),
        offered: &Offered::NONE,
    };
    for (video, name) in [
        (H264_AND_OPUS.video.unwrap(), "H264"),
        (
            VideoCodec::H265 {
                profile: 2,
                high_tier: true,
                level: 120,
            },
            "H265",
        ),
        (VideoCodec::Vp8, "VP8"),
        (VideoCodec::Vp9 { profile: 2 }, "VP9"),
        (VideoCodec::Av1 { profile: 0 }, "AV1"),
    ] {
        let description = StreamDescription {
            video: Some(video),
            audio: Some(AudioCodec::Opus { channels: 1 }),
        };
        let text = write(&description, &local, &sending);
        let own = super::world::offer(CHROMIUM, &[1, 2, 3], PeerKind::Client13);
        let answer = Offer::parse(&answer_to(&text, &own)).unwrap();
        let plan = plan(&answer, &description).unwrap_or_else(|e| panic!("{e} {text}"));
        let video = plan.tracks[VIDEO].unwrap();
        assert_eq!((&video.codec.name[..], video.rtx), (name, Some(97)));
        assert_eq!(video.playout_delay, Some((1, false)));
        assert_eq!(plan.tracks[AUDIO].unwrap().codec.payload_type, 111);
        for line in [
            "a=group:BUNDLE 0 1",
            "a=ice-lite",
            "a=setup:actpass",
            "a=rtcp-mux-only",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
        }
    }
    let sound = StreamDescription {
        video: None,
        ..H264_AND_OPUS
    };
    let text = write(&sound, &local, &sending);
    assert!(
        text.contains("a=group:BUNDLE 0\r\n") && !text.contains("m=video"),
        "{text}"
    );
}

#[test]
fn a_viewer_may_choose_layers_and_a_publisher_may_not() {
    let mut world = World::new(26);
    let viewer = world.live_viewer();
    let id = world.viewers[viewer].id();
    let pin = Pin {
        lane: Some(2),
        ..Pin::NONE
    };
    world.drain();
    world.take_commands();
    world.sessions.choose_layer(&id, pin).unwrap();
    assert_eq!(world.sessions.session_view(&id).unwrap().pin, pin);
    world.drain();
    let told = world.take_commands();
    let [(_, Command::ChooseLayer(_, chosen))] = &told[..] else {
        panic!("{} commands", told.len());
    };
    assert_eq!(*chosen, pin);
    let publisher = world.live_publisher();
    let id = world.viewers[publisher].id();
    assert_eq!(
        world.sessions.choose_layer(&id, pin).unwrap_err().status,
        404
    );
    assert_eq!(
        world
            .sessions
            .choose_layer("nobody", pin)
            .unwrap_err()
            .status,
        404
    );
}
