//! What goes back to publishers: reports, round trips, estimates, arrival times, calls.

use link::command::{AUDIO, Command, VIDEO, Wants};
use link::event::Event;
use link::ids::CoreId;
use link::lanes::Lanes;
use wire::rtcp_feedback::write_pli;
use wire::rtcp_report::write_receiver_reference_time;
use wire::time::Span;

use crate::peer::{Peer, ntp};
use crate::whip::publishing;
use crate::world::World;

#[test]
fn reports_tell_how_it_is_received() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/whip").unwrap();
    let mut peer = Peer::join_with(&mut world, stream, |add| {
        add.remb_bps = 4_000_000;
        add.lanes[VIDEO].wants = Wants::default();
    });
    world.run(3000, 10);
    // Nothing to report before the first packet.
    assert_eq!(peer.answers(&world).reports, 0);
    let began = world.now;
    let mut reported = Vec::new();
    for nth in 0..150_u64 {
        let mut frame = peer.frame(nth == 0, 4);
        if nth % 10 == 5 {
            frame.remove(1);
        }
        peer.send(&mut world, &frame);
        let sound = peer.sound();
        peer.send(&mut world, &[sound]);
        if nth == 60 {
            peer.report(&mut world, AUDIO, Span::ZERO);
        }
        for _ in 0..20 {
            world.turn(1);
            let answers = peer.answers(&world);
            if answers.reports > 0 {
                reported.push((world.now.since(began).as_millis(), answers));
            }
        }
    }
    let times: Vec<u64> = reported.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [100, 1100, 2100]);
    let [(_, first), (_, second), (_, third)] = &reported[..] else {
        panic!("three reports");
    };
    let [video, audio] = first.blocks[..] else {
        panic!("{first:?}");
    };
    assert_eq!(
        (video.ssrc, audio.ssrc),
        (peer.ssrcs[VIDEO], peer.ssrcs[AUDIO])
    );
    assert_eq!((video.fraction_lost, video.cumulative_lost), (0, 0));
    assert_eq!(audio.highest_sequence, 7 + 4);
    assert_eq!((audio.jitter, audio.last_sr), (0, 0));
    // From 100 ms to 1.1 s: 50 frames of 4, 5 packets of them lost, 6/256; 65,000 wrapped.
    let video = second.blocks[0];
    assert_eq!((video.fraction_lost, video.cumulative_lost), (6, 5));
    assert_eq!(video.highest_sequence, 65_000 + 55 * 4 - 1);
    // Timestamps run 33 ms in 20: jitter goes up to 13 ms.
    let jitter = third.blocks[0].jitter;
    assert!((200..1170).contains(&jitter), "{jitter}");
    // The report on sound came 900 ms before this one.
    let audio = third.blocks[1];
    assert_eq!(audio.delay_since_last_sr, 900 * 65_536 / 1000);
    assert!(audio.last_sr != 0 && second.blocks[1].last_sr == 0);
    for (_, answers) in &reported {
        let media = peer.ssrcs[..2].to_vec();
        assert_eq!(answers.estimates, [(4_000_000, media)]);
        assert_eq!(answers.clocks.len(), 1);
        assert!(answers.lost.is_empty() && answers.plis == 0);
    }
}

#[test]
fn repairs_are_reported_on_as_a_source_of_their_own() {
    let (mut world, _, mut peer) = publishing();
    let first = peer.kept[0].1.header.sequence;
    let probe = peer.repair(first);
    peer.send(&mut world, &[probe]);
    world.run(110, 1);
    let blocks = peer.answers(&world).blocks;
    let of: Vec<u32> = blocks.iter().map(|block| block.ssrc).collect();
    assert_eq!(of, [peer.ssrcs[VIDEO], peer.ssrcs[2]]);
    assert_eq!((blocks[1].highest_sequence, blocks[1].jitter), (900, 0));
}

#[test]
fn the_round_trip_is_known_by_the_echo_of_our_clock() {
    let (mut world, stream, mut peer) = publishing();
    world.run(1000, 1);
    let clock = peer.answers(&world).clocks[0];
    assert_ne!(clock.0, 0);
    let sent = clock.1.to_unix_ns();
    let elapsed = ntp(world.now).to_unix_ns() - sent;
    // The echo of someone else's clock, and one that cannot be.
    peer.echo(&mut world, (clock.0 ^ 2, clock.1), 0);
    peer.echo(&mut world, clock, u32::MAX / 4);
    world.run(1100, 1);
    let line = world.region.stream_stats(stream, CoreId(0)).unwrap();
    assert_eq!(line.intake().rtt_us, 0);
    let held = elapsed + 1_100_000_000 - 80_000_000;
    let delay = u32::try_from((u128::from(held) << 16) / 1_000_000_000).unwrap();
    peer.echo(&mut world, clock, delay);
    world.run(1100, 10);
    let rtt = line.intake().rtt_us;
    assert!((79_900..80_100).contains(&rtt), "{rtt}");
    // Waiting for repairs is as long as it takes: 2 x 80 + 40 ms.
    let mut frame = peer.frame(false, 3);
    frame.remove(1);
    peer.send(&mut world, &frame);
    world.run(199, 1);
    let next = peer.frame(false, 1);
    peer.send(&mut world, &next);
    assert_eq!(peer.answers(&world).plis, 0);
    world.run(2, 1);
    let answers = peer.answers(&world);
    assert_eq!((answers.plis, answers.lost.len()), (1, 0));
    // The peer's own clock is echoed with the next report.
    let theirs = ntp(world.now);
    world.feedback(peer.viewer, |out| {
        write_receiver_reference_time(77, theirs, out)
    });
    world.run(1000, 10);
    let echoes = peer.answers(&world).echoes;
    assert_eq!((echoes.len(), echoes[0].ssrc), (1, 77));
    assert_eq!(echoes[0].last_rr, theirs.middle());
}

#[test]
fn arrival_times_are_told_every_50_ms() {
    let (mut world, _, mut peer) = publishing();
    world.run(200, 1);
    let mut came = Vec::new();
    let mut told = peer.answers(&world).transport;
    told.clear();
    let (mut number, mut messages) = (65_503_u16, 0);
    for nth in 0..100_u64 {
        for packet in peer.frame(false, 3) {
            // Every seventh is lost.
            if number % 7 != 0 {
                peer.send(&mut world, &[packet]);
                came.push((number, i64::try_from(world.now.0 / 250_000).unwrap()));
            }
            number = number.wrapping_add(1);
        }
        world.run(10 + nth % 3, 1);
        let answers = peer.answers(&world);
        told.extend(answers.transport);
        messages += answers.transports;
    }
    world.run(60, 1);
    let answers = peer.answers(&world);
    told.extend(answers.transport);
    messages += answers.transports;
    assert!((15..=25).contains(&messages), "{messages}");
    let numbers: Vec<u16> = told.iter().map(|(number, _)| *number).collect();
    let all: Vec<u16> = (0..)
        .map(|nth| 65_503_u16.wrapping_add(nth))
        .take(told.len())
        .collect();
    assert_eq!(numbers, all, "every number once, in order");
    let got: Vec<(u16, i64)> = told
        .iter()
        .filter_map(|(number, at)| Some((*number, (*at)?)))
        .collect();
    // The reference time has 24 bits.
    let wrap = i64::from(1 << 24) * 256;
    let expected: Vec<(u16, i64)> = came.iter().map(|(n, at)| (*n, at % wrap)).collect();
    assert_eq!(got, expected);
}

#[test]
fn without_the_extension_nothing_is_told_of_arrivals() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/whip").unwrap();
    let mut peer = Peer::join_with(&mut world, stream, |add| add.transport_cc_id = 0);
    let frame = peer.frame(true, 3);
    peer.send(&mut world, &frame);
    world.run(500, 1);
    let answers = peer.answers(&world);
    assert_eq!((answers.transports, answers.reports), (0, 1));
    // With it, but of a wrong length.
    let mut peer = Peer::join(&mut world, stream);
    let header = peer.header(VIDEO, true);
    let ext = [0xbe, 0xde, 0, 1, 0x42, 1, 2, 3];
    let packet = peer.seal_with(VIDEO, &header, &ext, &[0x67; 50], 0);
    peer.send(&mut world, &[packet]);
    world.run(500, 1);
    let answers = peer.answers(&world);
    assert_eq!((answers.transports, answers.reports), (0, 1));
}

#[test]
fn whoever_wants_a_keyframe_has_it_asked_for_here() {
    let (mut world, stream, mut peer) = publishing();
    let now = world.now;
    // Viewers of another core.
    world
        .plane()
        .apply(now, &Command::AskKeyframe(stream, Lanes::VIDEO));
    world.turn(1);
    assert_eq!(peer.answers(&world).plis, 1);
    let key = peer.frame(true, 2);
    peer.send(&mut world, &key);
    world.run(3000, 10);
    assert_eq!(peer.answers(&world).plis, 0);
    // One of this core that finds none: the log holds more than it keeps.
    for _ in 0..1100 {
        let frame = peer.frame(false, 1);
        peer.send(&mut world, &frame);
        world.turn(5);
    }
    world.events();
    let late = world.join(stream);
    world.turn(1);
    assert_eq!(peer.answers(&world).plis, 1);
    assert_eq!(
        world.events(),
        [Event::ViewerAdded(world.viewers[late].id())]
    );
    // And one that calls, again and again.
    let ssrc = world.viewers[late].video_ssrc();
    for _ in 0..10 {
        world.feedback(late, |out| write_pli(1, ssrc, out));
        world.turn(10);
    }
    assert_eq!(peer.answers(&world).plis, 0);
    let key = peer.frame(true, 2);
    peer.send(&mut world, &key);
    world.run(100, 1);
    assert_eq!(world.viewers[late].got[VIDEO].len(), 2);
    let now = world.now;
    let stale = link::ids::StreamId {
        index: stream.index,
        generation: stream.generation + 1,
    };
    world
        .plane()
        .apply(now, &Command::AskKeyframe(stale, Lanes::VIDEO));
    assert_eq!(world.count(link::stats::Counter::CommandStale), 1);
}
