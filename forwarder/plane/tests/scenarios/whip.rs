//! WebRTC publishers: by a viewer of their own, in any order, repaired, replaced, gone.

use link::command::{AUDIO, Codec, Command, TRACKS_MAX, TrackOut, VIDEO, Wants};
use link::event::{Event, Gone};
use link::ids::{CoreId, StreamId};
use link::stats::{Counter, Intake};
use proptest::prelude::*;
use wire::rtcp_report::write_bye;
use wire::rtp::Header;
use wire::time::Span;

use crate::peer::{AUDIO_TYPE, Peer, RTX_TYPE, VIDEO_TYPE};
use crate::world::World;

/// A publisher that has sent a keyframe of 3 packets, and a viewer that watches it.
pub fn publishing() -> (World, StreamId, Peer) {
    publishing_with(|_| {})
}

fn publishing_with(
    change: impl FnOnce(&mut link::command::AddPublisher),
) -> (World, StreamId, Peer) {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/whip").unwrap();
    let mut peer = Peer::join_with(&mut world, stream, change);
    world.join(stream);
    let first = peer.frame(true, 3);
    peer.send(&mut world, &first);
    world.run(20, 1);
    world.events();
    peer.answers(&world);
    (world, stream, peer)
}

fn watcher(world: &World) -> &crate::viewer::TestViewer {
    world.viewers.last().unwrap()
}

fn intake(world: &World, stream: StreamId) -> Intake {
    world
        .region
        .stream_stats(stream, CoreId(0))
        .unwrap()
        .intake()
}

/// Frame and place in it of all video that the watcher got.
fn seen(world: &World) -> Vec<(u32, u8)> {
    let got = watcher(world).got[VIDEO].iter();
    got.map(|got| (crate::world::frame_of(&got.payload).0, got.payload[7]))
        .collect()
}

#[test]
fn a_publisher_comes_by_a_viewer_that_is_none() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/whip").unwrap();
    let mut peer = Peer::join(&mut world, stream);
    let id = world.viewers[peer.viewer].id();
    let added = Event::PublisherAdded(stream);
    assert_eq!(world.events(), [Event::ViewerAdded(id), added]);
    // Both may be asked for again.
    let now = world.now;
    let viewer = world.viewers[peer.viewer].add;
    world.plane().apply(now, &Command::AddViewer(viewer));
    world.plane().apply(now, &Command::AddPublisher(peer.add));
    assert_eq!(world.events(), [Event::ViewerAdded(id), added]);
    world.join(stream);
    for nth in 0..100 {
        let frame = peer.frame(nth % 50 == 0, 4);
        peer.send(&mut world, &frame);
        let sound = peer.sound();
        peer.send(&mut world, &[sound]);
        world.run(20, 1);
    }
    world.run(1000, 10);
    assert_eq!(watcher(&world).got[VIDEO].len(), 400);
    assert_eq!(watcher(&world).got[AUDIO].len(), 100);
    watcher(&world).assert_continuous();
    assert_eq!(world.count(Counter::PublisherActive), 1);
    assert_eq!(world.count(Counter::ViewerActive), 1);
    let line = world.region.stream_stats(stream, CoreId(0)).unwrap();
    assert_eq!(line.viewers(), 1);
    let intake = line.intake();
    assert_eq!(intake.packets, [400, 100, 0, 0]);
    assert_eq!(intake.bytes, [400 * 300, 100 * 80, 0, 0]);
    assert_eq!((intake.frames[VIDEO], intake.keyframes), (100, 2));
    assert_eq!((intake.lost, intake.recovered), (0, 0));
    assert!(world.now.since(intake.arrival) < Span::millis(1100));
    // It was sent nothing but reports.
    let own = &world.viewers[peer.viewer];
    assert!(own.got.iter().all(Vec::is_empty) && own.rtcp.len() > 20);
    // Feedback of a publisher means nothing.
    world.feedback(peer.viewer, |out| wire::rtcp_feedback::write_pli(1, 0, out));
    assert_eq!(world.count(Counter::PliReceived), 0);
}

#[test]
fn a_repair_comes_in_time_and_nobody_notices() {
    let (mut world, stream, mut peer) = publishing();
    let mut frame = peer.frame(false, 6);
    let (lost, _) = peer.kept[peer.kept.len() - 4].clone();
    let lost = u16::try_from(lost & 0xffff).unwrap();
    frame.remove(2);
    peer.send(&mut world, &frame);
    world.turn(1);
    // At once, since nothing has overtaken anything here.
    assert_eq!(peer.answers(&world).lost, [lost]);
    world.run(20, 1);
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 2);
    // Asked for again after the round trip that is assumed.
    assert!(peer.answers(&world).lost.is_empty());
    world.run(90, 1);
    assert_eq!(peer.answers(&world).lost, [lost]);
    let repair = peer.repair(lost);
    peer.send(&mut world, &[repair]);
    let next = peer.frame(false, 2);
    peer.send(&mut world, &next);
    world.turn(1);
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 6 + 2);
    assert!(seen(&world).is_sorted());
    watcher(&world).assert_continuous();
    world.run(2000, 10);
    assert!(peer.answers(&world).lost.is_empty());
    let intake = intake(&world, stream);
    assert_eq!((intake.lost, intake.recovered), (0, 1));
    assert_eq!(world.count(Counter::RtpRecovered), 1);
    assert_eq!(world.count(Counter::NackSent), 2);
    assert_eq!(world.count(Counter::RtpUnusable), 0);
}

#[test]
fn what_overtakes_is_waited_for_before_it_is_asked_for() {
    let (mut world, _, mut peer) = publishing();
    for expected in [1, 0, 0] {
        let mut frame = peer.frame(false, 4);
        frame.swap(1, 2);
        let late = frame.split_off(2);
        peer.send(&mut world, &frame);
        world.turn(2);
        peer.send(&mut world, &late);
        world.turn(20);
        assert_eq!(peer.answers(&world).lost.len(), expected);
    }
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 3 * 4);
    watcher(&world).assert_continuous();
}

#[test]
fn a_repair_that_never_comes_ends_in_a_call_for_a_keyframe() {
    let (mut world, stream, mut peer) = publishing();
    let mut frame = peer.frame(false, 4);
    frame.remove(1);
    peer.send(&mut world, &frame);
    let (mut pleas, mut asks) = (Vec::new(), 0);
    for ms in 0..16_000_u64 {
        if ms % 33 == 0 {
            let frame = peer.frame(false, 2);
            peer.send(&mut world, &frame);
        }
        world.turn(1);
        let answers = peer.answers(&world);
        asks += answers.lost.len();
        pleas.extend(vec![ms; answers.plis]);
    }
    // The round trip is not known: waiting ends after 240 ms.
    assert!((2..=10).contains(&asks), "{asks}");
    assert!((235..250).contains(&pleas[0]), "{pleas:?}");
    let steps: Vec<u64> = pleas.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let expected = [500, 1000, 2000, 4000, 4000];
    assert_eq!(steps[..expected.len()], expected);
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 1);
    assert_eq!(world.count(Counter::RtpLost), 1);
    // Nobody is told what the worker does itself.
    assert!(world.events().is_empty());
    let key = peer.frame(true, 2);
    peer.send(&mut world, &key);
    world.run(5000, 10);
    assert_eq!(peer.answers(&world).plis, 0);
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 1 + 2);
    watcher(&world).assert_continuous();
    assert_eq!(intake(&world, stream).lost, 1);
    assert_eq!(intake(&world, stream).keyframes, 2);
}

#[test]
fn a_keyframe_that_is_awaited_waits_for_nothing_before_it() {
    let (mut world, _, mut peer) = publishing();
    let mut frame = peer.frame(false, 2);
    frame.remove(0);
    peer.send(&mut world, &frame);
    world.run(300, 1);
    let (_, frame) = (peer.frame(false, 2), peer.frame(false, 2));
    peer.send(&mut world, &frame);
    // Its second packet is missing: that is of use.
    let mut key = peer.frame(true, 3);
    let missing = key.remove(1);
    peer.send(&mut world, &key);
    world.turn(1);
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 1);
    peer.send(&mut world, &[missing]);
    world.turn(1);
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 3);
    watcher(&world).assert_continuous();
}

#[test]
fn probes_and_copies_change_nothing() {
    let (mut world, _, mut peer) = publishing();
    let header = peer.header(VIDEO, false);
    // Chromium probes with repairs of what came, and with nothing but padding.
    let first = peer.kept[0].1.header.sequence;
    let probes = [
        peer.repair(first),
        peer.repair_with(&header, first, &[], 200),
        peer.seal(
            2,
            &Header {
                payload_type: RTX_TYPE,
                ..header
            },
            &[],
            224,
        ),
    ];
    peer.send(&mut world, &probes);
    assert_eq!(world.count(Counter::RtpDuplicate), 1);
    assert_eq!(world.count(Counter::RtpPadding), 2);
    // Padding alone on the media's own numbers, and after a payload.
    let mut frame = vec![peer.seal(VIDEO, &header, &[], 255)];
    let header = Header {
        timestamp: header.timestamp + 3000,
        ..header
    };
    frame.push(peer.seal(VIDEO, &header, &[0x41, 1, 2, 3], 9));
    frame.push(peer.seal(VIDEO, &header, &[], 1));
    frame.push(peer.seal(VIDEO, &header, &[0x41, 4, 5, 6], 0));
    peer.send(&mut world, &frame);
    world.turn(1);
    let got = &watcher(&world).got[VIDEO][3..];
    let payloads: Vec<_> = got.iter().map(|got| &got.payload[..]).collect();
    assert_eq!(payloads, [[0x41, 1, 2, 3], [0x41, 4, 5, 6]]);
    watcher(&world).assert_continuous();
    // What lies so far ahead was never sent, and what lies so far behind is past.
    let behind = first.wrapping_sub(20_000);
    let ahead = first.wrapping_add(20_000);
    let lies = [behind, ahead].map(|lie| peer.repair_with(&header, lie, &[0x41; 9], 0));
    peer.send(&mut world, &lies);
    let frame = peer.frame(false, 2);
    peer.send(&mut world, &frame);
    world.turn(1);
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 2 + 2);
    assert_eq!(world.count(Counter::RtpLate), 1);
    assert_eq!(world.count(Counter::RtpDuplicate), 2);
    assert!(peer.answers(&world).lost.is_empty());
}

#[test]
fn sources_are_known_by_their_payload_type() {
    let (mut world, _, mut peer) = publishing();
    // Nobody negotiated these.
    for payload_type in [96, 0, 127] {
        let header = Header {
            payload_type,
            ..peer.header(VIDEO, true)
        };
        let stray = peer.seal(2, &header, &[0x67; 20], 0);
        peer.send(&mut world, &[stray]);
    }
    assert_eq!(world.count(Counter::RtpUnknownSsrc), 3);
    // Video from the source of the sound.
    let sound = peer.sound();
    let header = peer.header(VIDEO, true);
    let stray = peer.seal(AUDIO, &header, &[0x67; 20], 0);
    peer.send(&mut world, &[sound, stray]);
    assert_eq!(world.count(Counter::RtpUnknownSsrc), 4);
    // Another layer of simulcast.
    let other = |world: &mut World, peer: &mut Peer, ssrc: u32, index: u64| {
        let own = (peer.ssrcs[VIDEO], peer.indexes[VIDEO]);
        (peer.ssrcs[VIDEO], peer.indexes[VIDEO]) = (ssrc, index);
        let frame = peer.frame(true, 2);
        (peer.ssrcs[VIDEO], peer.indexes[VIDEO]) = own;
        peer.send(world, &frame);
        world.turn(1);
    };
    for nth in 0..5 {
        other(&mut world, &mut peer, 4711, 100 + 2 * nth);
        world.run(990, 10);
        let own = peer.frame(false, 1);
        peer.send(&mut world, &own);
    }
    assert_eq!(world.count(Counter::RtpUnknownSsrc), 4 + 10);
    // The own one falls silent.
    world.run(2100, 10);
    let before = watcher(&world).got[VIDEO].len();
    let timestamp = watcher(&world).got[VIDEO][before - 1].header.timestamp;
    other(&mut world, &mut peer, 4712, 30_000);
    let after = &watcher(&world).got[VIDEO][before..];
    assert_eq!(after.len(), 2);
    let passed = after[0].header.timestamp.wrapping_sub(timestamp);
    // 7.08 s have passed since the start, of which the last frame's timestamp says 0.33.
    assert!((590_000..620_000).contains(&passed), "{passed}");
    watcher(&world).assert_continuous();
    // And says goodbye: another one may come at once.
    world.feedback(peer.viewer, |out| write_bye(&[4712], out));
    other(&mut world, &mut peer, 4713, 5);
    assert_eq!(watcher(&world).got[VIDEO].len(), before + 4);
}

#[test]
fn sources_may_be_told() {
    let mut told = 0;
    let (mut world, _, mut peer) = publishing_with(|add| {
        add.lanes[VIDEO].ssrc = 0x5000_0000;
        add.lanes[VIDEO].rtx_ssrc = 0x5000_0002;
        told = add.lanes[VIDEO].ssrc;
    });
    assert_eq!(peer.ssrcs[VIDEO], told);
    assert_eq!(watcher(&world).got[VIDEO].len(), 3);
    let mut frame = peer.frame(false, 3);
    let lost = peer.kept[4].1.header.sequence;
    frame.remove(1);
    peer.send(&mut world, &frame);
    let repair = peer.repair(lost);
    peer.send(&mut world, &[repair]);
    world.turn(1);
    assert_eq!(watcher(&world).got[VIDEO].len(), 6);
}

#[test]
fn whoever_sends_stays_and_whoever_falls_silent_goes() {
    let (mut world, stream, mut peer) = publishing();
    assert!(world.region.log_writer(stream).is_err());
    // No check for a minute, but media.
    for _ in 0..60 {
        let frame = peer.frame(false, 1);
        peer.send(&mut world, &frame);
        let ice = watcher(&world).add.ice;
        let (last, at) = (world.viewers.len() - 1, watcher(&world).at);
        let check = world.viewers[last].check(&ice, false);
        world.send(0, at, &check);
        world.run(1000, 50);
    }
    assert!(world.events().is_empty());
    let id = world.viewers[peer.viewer].id();
    world.run(31_000, 100);
    assert!(
        world
            .events()
            .contains(&Event::ViewerGone(id, Gone::Consent))
    );
    assert_eq!(world.region.viewer(id).unwrap().owner(), None);
    // Control may open the log, and another publisher after that.
    drop(world.region.log_writer(stream).unwrap());
    world.run(20, 10);
    assert_eq!(world.count(Counter::PublisherActive), 0);
    let frame = peer.frame(true, 1);
    peer.send(&mut world, &frame);
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 1);
}

#[test]
fn with_the_viewer_the_publisher_goes() {
    for way in 0..4 {
        let (mut world, stream, mut peer) = publishing();
        let sound = peer.sound();
        peer.send(&mut world, &[sound]);
        let (id, now) = (world.viewers[peer.viewer].id(), world.now);
        let mut expected = Vec::new();
        match way {
            0 => world.plane().apply(now, &Command::RemoveViewer(id)),
            1 => world.plane().apply(now, &Command::CloseStream(stream)),
            2 => world.plane().apply(now, &Command::RemovePublisher(stream)),
            _ => {
                peer.report(&mut world, VIDEO, Span::ZERO);
                peer.report(&mut world, AUDIO, Span::ZERO);
                let ssrcs = peer.ssrcs;
                world.feedback(peer.viewer, |out| write_bye(&ssrcs[..2], out));
                // It may only have changed what it sends.
                world.run(500, 10);
                assert!(world.region.log_writer(stream).is_err());
                let sound = peer.sound();
                peer.send(&mut world, &[sound]);
                world.run(2000, 10);
                assert!(world.events().is_empty());
                peer.report(&mut world, VIDEO, Span::ZERO);
                world.feedback(peer.viewer, |out| write_bye(&ssrcs[..2], out));
                world.run(1200, 10);
                expected.push(Event::ViewerGone(id, Gone::Bye));
            }
        }
        assert_eq!(world.events(), expected);
        assert!(world.region.log_writer(stream).is_ok(), "way {way}");
        assert_eq!(intake(&world, stream).packets[VIDEO], 3);
        let is_served = world.region.viewer(id).unwrap().owner().is_some();
        assert_eq!(is_served, way == 2);
        world.run(100, 10);
        assert_eq!(world.count(Counter::PublisherActive), 0);
        if way == 1 {
            // The next generation of the stream counts from zero.
            world.region.close_stream(stream).unwrap();
            let next = world.region.open_stream(stream.index, "live/next").unwrap();
            assert_eq!(intake(&world, next), Intake::default());
        }
    }
}

#[test]
fn a_publisher_that_cannot_be_is_refused() {
    let mut world = World::new();
    let source = world.source(0);
    let stream = source.id;
    let peer = Peer::join(&mut world, stream);
    let refused = Event::PublisherRefused(stream);
    // Control writes the log itself.
    assert_eq!(world.events().last(), Some(&refused));
    drop(source);
    let now = world.now;
    let apply = |world: &mut World, add| {
        world.plane().apply(now, &Command::AddPublisher(add));
        world.events()
    };
    let watcher = world.join(stream);
    world.events();
    let mut add = peer.add;
    add.viewer = Some(world.viewers[watcher].id());
    assert_eq!(apply(&mut world, add), [refused]);
    add.viewer = Some(link::ids::ViewerId {
        index: 9,
        generation: 1,
    });
    assert_eq!(apply(&mut world, add), [refused]);
    let other = world.region.open_stream(1, "other").unwrap();
    add = peer.add;
    add.stream = other;
    let elsewhere = Event::PublisherRefused(other);
    assert_eq!(apply(&mut world, add), [elsewhere]);
    assert_eq!(world.count(Counter::PublisherRefused), 4);
    let added = Event::PublisherAdded(stream);
    assert_eq!(apply(&mut world, peer.add), [added]);
}

#[test]
fn another_publisher_takes_over_and_time_goes_on() {
    let (mut world, stream, mut first) = publishing();
    for _ in 0..10 {
        let sound = first.sound();
        first.send(&mut world, &[sound]);
        let frame = first.frame(false, 1);
        first.send(&mut world, &frame);
        world.run(20, 1);
    }
    // Half a second without anybody.
    world.run(500, 10);
    let watcher_at = world.viewers.len() - 1;
    let mut second = Peer::join(&mut world, stream);
    assert_eq!(world.events().last(), Some(&Event::PublisherAdded(stream)));
    let late = first.frame(false, 1);
    first.send(&mut world, &late);
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 1);
    // The first one's viewer goes without it.
    let (id, now) = (world.viewers[first.viewer].id(), world.now);
    world.plane().apply(now, &Command::RemoveViewer(id));
    for nth in 0..10 {
        let sound = second.sound();
        second.send(&mut world, &[sound]);
        let frame = second.frame(nth == 0, 1);
        second.send(&mut world, &frame);
        // The report comes late, and knows better.
        if nth == 5 {
            second.report(&mut world, VIDEO, Span::millis(120));
        }
        world.run(20, 1);
    }
    let watcher = &world.viewers[watcher_at];
    watcher.assert_continuous();
    assert_eq!(watcher.got[VIDEO].len(), 3 + 10 + 10);
    assert_eq!(watcher.got[AUDIO].len(), 20);
    let step = |lane: usize, at: usize| {
        let got = &watcher.got[lane];
        got[at]
            .header
            .timestamp
            .wrapping_sub(got[at - 1].header.timestamp)
    };
    // 520 ms from one to the other; the clock of the first one's video ran ahead (33 ms each 20).
    let video = step(VIDEO, 13);
    assert!((30_000..47_500).contains(&video), "{video}");
    assert_eq!(step(AUDIO, 10), 48 * 520);
    for at in 14..23 {
        assert_eq!(step(VIDEO, at), 2970);
    }
    // A stream's counts go over all of its publishers.
    world.run(1000, 10);
    assert_eq!(intake(&world, stream).packets, [23, 20, 0, 0]);
}

#[test]
fn a_thousand_that_are_missing_at_once_cost_nothing() {
    let (mut world, stream, mut peer) = publishing();
    for nth in 0..5 {
        let _ = peer.frame(false, 200 * (nth + 1));
        let frame = peer.frame(true, 3);
        peer.send(&mut world, &frame);
        world.run(10, 1);
    }
    let answers = peer.answers(&world);
    // 200 and 400 are asked for, the others are too many.
    assert!(
        (600..=700).contains(&answers.lost.len()),
        "{}",
        answers.lost.len()
    );
    world.run(2000, 10);
    assert_eq!(intake(&world, stream).lost, 200 * (1 + 2 + 3 + 4 + 5));
    assert_eq!(watcher(&world).got[VIDEO].len(), 3 + 5 * 3);
    watcher(&world).assert_continuous();
    // Every other packet is missing for a while: more wait than a window holds.
    for _ in 0..10 {
        let frame = peer.frame(false, 200);
        let half: Vec<_> = frame.into_iter().step_by(2).collect();
        peer.send(&mut world, &half);
        world.turn(1);
    }
    let key = peer.frame(true, 2);
    peer.send(&mut world, &key);
    world.run(400, 1);
    let last = seen(&world);
    assert_eq!(last[last.len() - 1].1, 1);
    watcher(&world).assert_continuous();
}

#[test]
fn vp8_starts_at_its_keyframes() {
    let (mut world, _, mut peer) = publishing_with(|add| {
        add.lanes[VIDEO].codec = Codec::Vp8;
        add.lanes[VIDEO].wants = Wants::NACK.with(Wants::FIR);
    });
    // H.264 is not VP8.
    assert_eq!(watcher(&world).got[VIDEO].len(), 0);
    world.run(600, 10);
    let timestamp = peer.timestamps[VIDEO];
    let mut packets = Vec::new();
    for (nth, first) in [(0, [0x10, 0x50]), (1, [0x00, 0x50]), (2, [0x10, 0x51])] {
        let header = Header {
            timestamp: timestamp + 3000 * (1 + nth / 2),
            ..peer.header(VIDEO, nth > 0)
        };
        packets.push(peer.seal(VIDEO, &header, &first, 0));
    }
    peer.send(&mut world, &packets);
    world.turn(1);
    let got = &watcher(&world).got[VIDEO];
    assert_eq!(got.len(), 3);
    let answers = peer.answers(&world);
    assert_eq!((answers.plis, answers.firs), (0, vec![1]));
}

/// One thing that a publisher with the right keys does.
#[derive(Clone, Debug)]
enum Whim {
    Packet {
        source: usize,
        payload_type: u8,
        ticks: u32,
        jump: u64,
        ext: Vec<u8>,
        payload: Vec<u8>,
        pad: u8,
    },
    Rtcp(Vec<u8>),
    Turn(u64),
}

fn whim() -> impl Strategy<Value = Whim> {
    let types = prop::sample::select(vec![VIDEO_TYPE, RTX_TYPE, AUDIO_TYPE, 0, 96]);
    let jump = prop_oneof![8 => Just(0_u64), 3 => 0..30_u64, 1 => 0..3000_u64, 1 => 0..70_000_u64];
    let ticks = prop_oneof![6 => 0..4000_u32, 1 => any::<u32>()];
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let ext = bytes(24).prop_map(|mut ext| {
        ext.truncate(ext.len() / 4 * 4);
        if let Ok(words) = u8::try_from(ext.len() / 4)
            && words > 0
        {
            ext[..4].copy_from_slice(&[0xbe, 0xde, 0, words - 1]);
        }
        ext
    });
    let packet = (0..3_usize, types, ticks, jump, ext, bytes(60), any::<u8>());
    let rtcp = (200..208_u8, 0..32_u8, bytes(80)).prop_map(|(kind, count, mut body)| {
        body.truncate(body.len() / 4 * 4);
        body.extend([0; 4]);
        let words = u8::try_from(body.len() / 4).unwrap();
        [vec![0x80 | count, kind, 0, words], body].concat()
    });
    prop_oneof![
        10 => packet.prop_map(|(source, payload_type, ticks, jump, ext, payload, pad)| {
            Whim::Packet { source, payload_type, ticks, jump, ext, payload, pad }
        }),
        1 => rtcp.prop_map(Whim::Rtcp),
        4 => (0..300_u64).prop_map(Whim::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_publisher_may_do_what_it_likes(whims in prop::collection::vec(whim(), 1..200)) {
        let (mut world, _, mut peer) = publishing_with(|add| {
            add.lanes[AUDIO].wants = Wants::NACK;
            add.remb_bps = 1_000_000;
        });
        for whim in whims {
            match whim {
                Whim::Packet { source, payload_type, ticks, jump, ext, payload, pad } => {
                    let lane = source % TRACKS_MAX;
                    peer.timestamps[lane] = peer.timestamps[lane].wrapping_add(ticks);
                    peer.indexes[source] += jump;
                    let header = Header { payload_type, ..peer.header(lane, pad & 1 == 1) };
                    let packet = peer.seal_with(source, &header, &ext, &payload, pad);
                    peer.send(&mut world, &[packet]);
                }
                Whim::Rtcp(bytes) => world.feedback(peer.viewer, |out| {
                    out[..bytes.len()].copy_from_slice(&bytes);
                    bytes.len()
                }),
                Whim::Turn(ms) => world.turn(ms),
            }
        }
        world.run(1000, 5);
        // Sequence numbers of those who watch have no gap, whatever came.
        let watcher = world.viewers.last().unwrap();
        for lane in [VIDEO, AUDIO] {
            let first = watcher.add.tracks[lane].first_index;
            for (index, got) in (first..).zip(&watcher.got[lane]) {
                prop_assert_eq!(got.index, index);
            }
        }
        let answers = peer.answers(&world);
        prop_assert!(answers.transport.len() <= 1024 * answers.transports);
    }

    #[test]
    fn repairs_make_up_for_losses(
        sizes in prop::collection::vec(1..9_usize, 10..80),
        fates in prop::collection::vec(0..100_u8, 2000),
    ) {
        let (mut world, stream, mut peer) = publishing();
        let mut fate = fates.iter().copied();
        let mut asked: Vec<(u64, u16)> = Vec::new();
        let mut packets = 3;
        for (nth, &size) in sizes.iter().enumerate() {
            packets += size;
            // The last one gets through: what is lost at the very end is not noticed.
            let frame = peer.frame(false, size);
            let last = nth + 1 == sizes.len();
            for (at, packet) in frame.iter().enumerate() {
                if fate.next().unwrap_or(99) >= 15 || last && at + 1 == size {
                    peer.send(&mut world, core::slice::from_ref(packet));
                }
            }
            // The peer is 30 ms away, and every tenth repair is lost as well.
            for _ in 0..if last { 300 } else { 33 } {
                world.turn(1);
                let now = world.now.0;
                let lost = peer.answers(&world).lost;
                asked.extend(lost.into_iter().map(|lost| (now + 30_000_000, lost)));
                while let Some(&(at, lost)) = asked.first()
                    && at <= now
                {
                    asked.remove(0);
                    let repair = peer.repair(lost);
                    if fate.next().unwrap_or(99) >= 10 {
                        peer.send(&mut world, &[repair]);
                    }
                }
            }
        }
        let got = watcher(&world).got[VIDEO].len();
        world.run(1000, 10);
        let intake = intake(&world, stream);
        watcher(&world).assert_continuous();
        prop_assert!(seen(&world).is_sorted());
        if intake.lost == 0 {
            prop_assert_eq!(got, packets);
            prop_assert_eq!(intake.packets[VIDEO], packets as u64);
        }
        // Two of ten twice in a row.
        prop_assert!(intake.lost <= 1 + packets as u64 / 30, "{} of {packets}", intake.lost);
    }
}

/// A viewer that takes nothing has nothing to be sent.
#[test]
fn a_viewer_without_tracks_is_not_served() {
    let mut world = World::new();
    let mut source = world.source(0);
    let mut nobody = world.viewer(source.id);
    nobody.add.tracks = [TrackOut::default(); TRACKS_MAX];
    let nobody = world.add(nobody);
    assert_eq!(
        world.events(),
        [Event::ViewerAdded(world.viewers[nobody].id())]
    );
    source.second(&mut world);
    assert!(world.viewers[nobody].got.iter().all(Vec::is_empty));
    assert!(world.viewers[nobody].rtcp.is_empty());
    // It answers checks and moves as any other.
    let ice = world.viewers[nobody].add.ice;
    let check = world.viewers[nobody].check(&ice, true);
    let new = crate::viewer::address(77, 7);
    world.send(0, new, &check);
    let id = world.viewers[nobody].id();
    assert_eq!(world.events(), [Event::ViewerMoved(id, new.peer)]);
    let now = world.now;
    world.plane().apply(now, &Command::CloseStream(source.id));
    assert_eq!(world.region.viewer(id).unwrap().owner(), None);
}

#[test]
fn a_new_plane_knows_how_often_the_numbers_of_a_publisher_have_wrapped() {
    let (mut world, stream, mut peer) = publishing();
    for _ in 0..10 {
        // A packet that comes after a long loss is told from one of the past up to 2^15.
        peer.indexes[VIDEO] += 30_000;
        let frame = peer.frame(true, 2);
        peer.send(&mut world, &frame);
        world.run(150, 10);
    }
    let repair = peer.kept.last().unwrap().1.header.sequence;
    let repair = peer.repair(repair);
    peer.send(&mut world, &[repair]);
    world.run(1100, 10);
    assert!(peer.indexes[VIDEO] >> 16 >= 5, "{:?}", peer.indexes);
    let captured = peer.frame(true, 1);
    world.restart();
    let now = world.now;
    let adds = [peer.viewer, 1].map(|viewer| {
        let mut add = world.viewers[viewer].add;
        let leases = world.region.viewer(add.viewer).unwrap().leases();
        add.tracks[VIDEO].first_index = add.tracks[VIDEO].first_index.max(leases[0]);
        add.tracks[VIDEO].rtx_first_index = add.tracks[VIDEO].rtx_first_index.max(leases[1]);
        add.rtcp_first_index = leases[4];
        Command::AddViewer(add)
    });
    for command in [adds[0], adds[1], Command::AddPublisher(peer.add)] {
        world.plane().apply(now, &command);
    }
    // The watcher is not shown again what it has seen: another keyframe is asked for.
    let before = seen(&world).len();
    peer.answers(&world);
    world.run(1100, 10);
    assert_eq!(seen(&world).len(), before);
    assert!(peer.answers(&world).plis > 0);
    let frames = [captured, peer.frame(true, 3)].concat();
    peer.send(&mut world, &frames);
    world.run(20, 1);
    assert!(seen(&world)[before].0 >= peer.frames() - 1);
    let newest = seen(&world).last().copied();
    assert_eq!(newest.map(|(frame, _)| frame), Some(peer.frames()));
    assert_eq!(world.count(Counter::SrtpRefusedAuth), 0);
    // What the old plane has opened is a replay for the new one.
    peer.send(&mut world, &frames[..1]);
    assert_eq!(world.count(Counter::SrtpRefusedReplay), 1);
    // Another publisher of the same stream, with the same source, begins at 0.
    let id = world.viewers[peer.viewer].id();
    world.plane().apply(now, &Command::RemoveViewer(id));
    let mut next = Peer::join(&mut world, stream);
    next.ssrcs = peer.ssrcs;
    let frame = next.frame(true, 2);
    next.send(&mut world, &frame);
    assert_eq!(world.count(Counter::SrtpRefusedAuth), 0);
}
