//! Losses: NACK, PLI, FIR, and their budgets.

use link::command::VIDEO;
use link::event::{Event, Gone};
use link::lanes::Lanes;
use link::stats::Counter;
use seal::Profile;
use wire::rtcp_feedback::{FirEntry, write_fir, write_nack, write_pli};
use wire::rtcp_report::{write_bye, write_receiver_report};

use crate::viewer::TestViewer;
use crate::world::{DELTA, KEY, Source, World, frame_of};

/// A world with one viewer that has seen a second of pictures.
fn watching(change: impl FnOnce(TestViewer) -> TestViewer) -> (World, Source) {
    let mut world = World::new();
    let mut source = world.source(0);
    let viewer = change(world.viewer(source.id));
    world.add(viewer);
    source.second(&mut world);
    world.events();
    (world, source)
}

fn low(index: u64) -> u16 {
    u16::try_from(index & 0xffff).unwrap()
}

fn nack(world: &mut World, lost: &[u16]) {
    let ssrc = world.viewers[0].video_ssrc();
    world.feedback(0, |out| write_nack(1, ssrc, lost, out));
}

fn pli(world: &mut World) {
    let ssrc = world.viewers[0].video_ssrc();
    world.feedback(0, |out| write_pli(1, ssrc, out));
}

#[test]
fn what_was_lost_comes_again_as_rtx() {
    let (mut world, _) = watching(TestViewer::with_extension);
    let lost: Vec<_> = world.viewers[0].got[VIDEO][20..40].to_vec();
    let sequences: Vec<u16> = lost.iter().map(|got| low(got.index)).collect();
    nack(&mut world, &sequences);
    world.turn(1);
    let rtx = &world.viewers[0].rtx;
    assert_eq!(rtx.len(), lost.len());
    for (nth, (again, was)) in rtx.iter().zip(&lost).enumerate() {
        assert_eq!(again.index, 77 + nth as u64);
        assert_eq!(again.payload[..2], low(was.index).to_be_bytes());
        assert_eq!(again.payload[2..], was.payload);
        assert_eq!(again.header.timestamp, was.header.timestamp);
        assert_eq!(again.header.marker, was.header.marker);
    }
    assert_eq!(world.count(Counter::RetransmissionSent), 20);
}

#[test]
fn a_run_that_was_lost_comes_again_as_one() {
    for change in [TestViewer::with_extension, TestViewer::without_rtx] {
        let (mut world, _) = watching(change);
        let frame = &world.viewers[0].got[VIDEO][9..18];
        let lost: Vec<u16> = frame.iter().map(|got| low(got.index)).collect();
        nack(&mut world, &lost);
        let now = world.now;
        let sent = world.planes[0].fan_out(now, &mut world.sink);
        // Three frames of 1000, 1000 and 999 bytes.
        assert_eq!((sent, world.sink.runs.len()), (9, 3));
        world.deliver();
        let viewer = &world.viewers[0];
        assert_eq!(viewer.rtx.len() + viewer.repeated.len(), 9);
    }
}

#[test]
fn what_is_new_goes_before_what_comes_again() {
    let (mut world, mut source) = watching(|viewer| viewer);
    let lost: Vec<u16> = world.viewers[0].got[VIDEO][20..29]
        .iter()
        .map(|got| low(got.index))
        .collect();
    nack(&mut world, &lost);
    source.video(world.now, false, &DELTA);
    let now = world.now;
    world.planes[0].fan_out(now, &mut world.sink);
    let ssrc = world.viewers[0].video_ssrc();
    let sources = world.sink.runs.iter();
    let sources: Vec<u32> = sources
        .map(|(_, bytes)| u32::from_be_bytes(bytes[8..12].try_into().unwrap()))
        .collect();
    assert_eq!(sources[0], ssrc);
    assert!(sources.len() > 1 && sources[1..].iter().all(|other| *other == ssrc + 1));
    world.deliver();
    assert_eq!(world.viewers[0].rtx.len(), 9);
}

#[test]
fn a_turn_sends_so_many_repairs_and_the_next_one_goes_on() {
    let (mut world, mut source) = watching(|viewer| viewer);
    for _ in 0..29 {
        world.join(source.id);
    }
    source.second(&mut world);
    world.run(20, 1);
    for viewer in 0..30 {
        // The last 24 packets are 8 pictures of 1000, 1000 and 999 bytes.
        let got = world.viewers[viewer].got[VIDEO].iter().rev().take(24);
        let lost: Vec<u16> = got.map(|got| low(got.index)).collect();
        let lost: Vec<u16> = lost.into_iter().rev().collect();
        let ssrc = world.viewers[viewer].video_ssrc();
        world.feedback(viewer, |out| write_nack(1, ssrc, &lost, out));
    }
    let mut turns = Vec::new();
    while world.planes[0].ready() {
        let now = world.now;
        world.planes[0].fan_out(now, &mut world.sink);
        turns.push(world.sink.runs.len());
        world.deliver();
    }
    assert_eq!(turns, [64, 64, 64, 48]);
    assert!(world.viewers.iter().all(|viewer| viewer.rtx.len() == 24));
}

#[test]
fn without_rtx_the_very_same_datagram_comes_again() {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
        let (mut world, _) = watching(|viewer| {
            let (id, stream) = (viewer.add.viewer, viewer.add.stream);
            TestViewer::new(id, stream, profile).without_rtx()
        });
        let lost: Vec<_> = world.viewers[0].got[VIDEO][3..9].to_vec();
        let sequences: Vec<u16> = lost.iter().map(|got| low(got.index)).collect();
        nack(&mut world, &sequences);
        world.turn(1);
        assert_eq!(world.viewers[0].repeated, lost);
    }
}

#[test]
fn a_packet_is_not_sent_again_twice_within_a_round_trip() {
    let (mut world, _) = watching(|viewer| viewer);
    let sequence = low(world.viewers[0].got[VIDEO][30].index);
    for _ in 0..5 {
        nack(&mut world, &[sequence]);
        world.turn(1);
    }
    assert_eq!(world.viewers[0].rtx.len(), 1);
    assert_eq!(world.count(Counter::RetransmissionRepeated), 4);
    world.run(30, 1);
    nack(&mut world, &[sequence]);
    world.turn(1);
    assert_eq!(world.viewers[0].rtx.len(), 2);
}

#[test]
fn repairs_have_a_budget_and_other_viewers_do_not_pay() {
    let (mut world, mut source) = watching(|viewer| viewer);
    let other = world.join(source.id);
    world.run(50, 1);
    let got = &world.viewers[0].got[VIDEO];
    let all: Vec<u16> = got.iter().map(|got| low(got.index)).collect();
    let before = world.viewers[other].got[VIDEO].len();
    let mut sent_bytes = 0;
    for _ in 0..100 {
        for _ in 0..20 {
            nack(&mut world, &all);
        }
        source.video(world.now, false, &DELTA);
        world.run(30, 5);
    }
    for packet in &world.viewers[0].rtx {
        sent_bytes += packet.payload.len();
    }
    // 3 s of at most a quarter of 91 KB/s (or 32 KB/s), and the burst.
    assert!(sent_bytes < 3 * 36_000 + 100_000, "{sent_bytes}");
    assert!(sent_bytes > 100_000);
    assert!(world.count(Counter::RetransmissionOverBudget) > 0);
    assert_eq!(world.viewers[other].got[VIDEO].len() - before, 300);
}

#[test]
fn what_was_never_sent_or_is_too_old_is_ignored() {
    let (mut world, mut source) = watching(|viewer| viewer);
    let first = world.viewers[0].add.tracks[VIDEO].first_index;
    let next = first + world.viewers[0].got[VIDEO].len() as u64;
    nack(&mut world, &[low(next), low(next + 5), low(first - 1)]);
    world.turn(1);
    assert!(world.viewers[0].rtx.is_empty());
    // 1024 packets later the log has it no more.
    let old = low(world.viewers[0].got[VIDEO][0].index);
    for _ in 0..400 {
        source.video(world.now, false, &DELTA);
        world.turn(1);
    }
    nack(&mut world, &[old]);
    world.turn(1);
    assert!(world.viewers[0].rtx.is_empty());
    assert_eq!(world.count(Counter::RetransmissionTooOld), 1);
}

#[test]
fn a_call_for_a_keyframe_is_answered_from_the_log() {
    let (mut world, mut source) = watching(|viewer| viewer);
    let before = world.viewers[0].got[VIDEO].len();
    pli(&mut world);
    source.video(world.now, false, &DELTA);
    world.run(20, 1);
    let viewer = &world.viewers[0];
    viewer.assert_continuous();
    let replayed = &viewer.got[VIDEO][before..];
    assert_eq!(replayed.len(), 9 + 30 * 3);
    assert_eq!(frame_of(&replayed[0].payload), (0, true));
    // Repeated frames are a tick apart; the new one is at its true time.
    let newest = viewer.got[VIDEO][before - 1].header.timestamp;
    assert_eq!(replayed[0].header.timestamp, newest.wrapping_add(1));
    assert_eq!(replayed[9].header.timestamp, newest.wrapping_add(2));
    let last = replayed.last().unwrap();
    assert_eq!(last.header.timestamp, newest.wrapping_add(3000));
    assert_eq!(world.count(Counter::KeyframeReplayed), 1);

    // A lost packet of the replay, and one from before it, come with the timestamps they had.
    let lost = [
        world.viewers[0].got[VIDEO][before + 12].clone(),
        world.viewers[0].got[VIDEO][before - 2].clone(),
    ];
    nack(&mut world, &[low(lost[0].index), low(lost[1].index)]);
    world.turn(1);
    for (again, was) in world.viewers[0].rtx.iter().zip(&lost) {
        assert_eq!(again.payload[2..], was.payload);
        assert_eq!(again.header.timestamp, was.header.timestamp);
    }
    assert_eq!(world.viewers[0].rtx.len(), 2);
}

#[test]
fn calls_for_keyframes_are_answered_ever_more_rarely() {
    let (mut world, mut source) = watching(|viewer| viewer);
    for _ in 0..100 {
        pli(&mut world);
        source.video(world.now, false, &DELTA);
        world.run(200, 5);
    }
    // 0, 0.5, 1.5, 3.5, 7.5, 15.5 s; then every 8 s.
    let replayed = world.count(Counter::KeyframeReplayed);
    assert!((5..=6).contains(&replayed), "{replayed}");
    assert_eq!(world.count(Counter::PliReceived), 100);
    world.viewers[0].assert_continuous();
}

#[test]
fn a_call_to_a_silent_stream_does_not_show_the_past_again() {
    let (mut world, mut source) = watching(|viewer| viewer);
    let before = world.viewers[0].got[VIDEO].len();
    world.run(3000, 5);
    pli(&mut world);
    world.run(20, 1);
    assert_eq!(world.viewers[0].got[VIDEO].len(), before);
    assert_eq!(world.count(Counter::KeyframeReplayed), 0);
    source.video(world.now, true, &KEY);
    world.run(20, 1);
    assert_eq!(world.viewers[0].got[VIDEO].len(), before + 9);
    world.viewers[0].assert_continuous();
}

#[test]
fn a_call_that_crosses_a_keyframe_on_its_way_is_ignored() {
    let (mut world, mut source) = watching(|viewer| viewer);
    source.video(world.now, true, &KEY);
    world.turn(1);
    pli(&mut world);
    world.turn(1);
    assert_eq!(world.count(Counter::KeyframeReplayed), 0);
}

#[test]
fn a_command_for_a_keyframe_is_a_call_as_well() {
    let (mut world, _) = watching(|viewer| viewer);
    let ssrc = world.viewers[0].video_ssrc();
    let entry = FirEntry { ssrc, sequence: 1 };
    world.feedback(0, |out| write_fir(1, &[entry], out));
    world.turn(1);
    assert_eq!(world.count(Counter::KeyframeReplayed), 1);
}

#[test]
fn the_publisher_is_asked_once_for_all() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, false, &DELTA);
    for _ in 0..20 {
        world.join(source.id);
    }
    for _ in 0..10 {
        for viewer in 0..20 {
            let ssrc = world.viewers[viewer].video_ssrc();
            world.feedback(viewer, |out| write_pli(1, ssrc, out));
        }
        world.run(90, 10);
    }
    let wanted = Event::KeyframeWanted(source.id, Lanes::only(VIDEO));
    let events = world.events();
    let asked = events.iter().filter(|event| **event == wanted).count();
    assert_eq!(asked, 1);
    world.run(300, 10);
    assert_eq!(world.events(), [wanted]);
}

#[test]
fn a_goodbye_of_all_that_reported_frees_the_viewer() {
    let (mut world, _) = watching(|viewer| viewer);
    let id = world.viewers[0].id();
    world.feedback(0, |out| {
        let used = write_receiver_report(5, &[], b"p", out);
        used + write_receiver_report(6, &[], b"p", &mut out[used..])
    });
    world.feedback(0, |out| write_bye(&[5, 99], out));
    assert!(world.events().is_empty(), "another source still reports");
    world.feedback(0, |out| write_bye(&[6], out));
    assert_eq!(world.events(), [Event::ViewerGone(id, Gone::Bye)]);
}

#[test]
fn feedback_of_another_key_or_come_again_is_refused() {
    let (mut world, _) = watching(|viewer| viewer);
    let ssrc = world.viewers[0].video_ssrc();
    let at = world.viewers[0].at;
    let bytes = world.viewers[0].rtcp(|out| write_pli(1, ssrc, out));
    let mut forged = bytes.clone();
    forged[10] ^= 1;
    world.send(0, at, &forged);
    assert_eq!(world.count(Counter::SrtcpRefusedAuth), 1);
    world.send(0, at, &bytes);
    world.send(0, at, &bytes);
    assert_eq!(world.count(Counter::SrtcpRefusedReplay), 1);
    assert_eq!(world.count(Counter::PliReceived), 1);
}

#[test]
fn new_headers_end_what_can_be_sent_again() {
    let (mut world, mut source) = watching(TestViewer::without_rtx);
    let old = low(world.viewers[0].got[VIDEO][50].index);
    let mut add = world.viewers[0].add;
    add.tracks[VIDEO].payload_type = 99;
    let now = world.now;
    world
        .plane()
        .apply(now, &link::command::Command::AddViewer(add));
    nack(&mut world, &[old]);
    world.turn(1);
    // Another header under a used index would be a nonce used twice.
    assert!(world.viewers[0].repeated.is_empty());
    world.viewers[0].add = add;
    source.video(world.now, false, &DELTA);
    world.turn(1);
    world.viewers[0].assert_continuous();
}

#[test]
fn a_storm_holds_nobody_else_back() {
    let mut world = World::new();
    let (mut source, mut other) = (world.source(0), world.source(1));
    let crowd: Vec<usize> = (0..28).map(|_| world.join(source.id)).collect();
    let modest = world.join(source.id);
    let stranger = world.join(other.id);
    for nth in 0..30 {
        let now = world.now;
        source.video(now, nth == 0, if nth == 0 { &KEY } else { &DELTA });
        other.video(now, nth == 0, if nth == 0 { &KEY } else { &DELTA });
        world.run(33, 1);
    }
    let asks = |world: &mut World, viewer: usize, newest: usize| {
        let got = world.viewers[viewer].got[VIDEO].iter().rev().take(newest);
        let mut lost: Vec<u16> = got.map(|got| low(got.index)).collect();
        lost.reverse();
        let ssrc = world.viewers[viewer].video_ssrc();
        world.feedback(viewer, |out| write_nack(1, ssrc, &lost, out));
    };
    for &viewer in &crowd {
        asks(&mut world, viewer, 63);
    }
    // Those who have lost one packet ask after all the others: 21 runs for each of 28 viewers are
    // waiting, nine turns of the core.
    asks(&mut world, modest, 1);
    asks(&mut world, stranger, 1);
    let now = world.now;
    let sent = world.planes[0].fan_out(now, &mut world.sink);
    assert!(sent > 64, "{sent}");
    let at = world.viewers[stranger].at.peer;
    let place = world.sink.runs.iter().position(|(run, _)| run.peer == at);
    assert!(
        place.unwrap() < 2,
        "another stream's turn is the second at the latest"
    );
    world.deliver();
    for viewer in [modest, stranger] {
        assert_eq!(world.viewers[viewer].rtx.len(), 1);
    }
    for _ in 0..12 {
        world.turn(0);
    }
    let (unsent, refused) = (
        world.count(Counter::RetransmissionTooOld),
        world.count(Counter::RetransmissionOverBudget),
    );
    let again: usize = crowd
        .iter()
        .map(|&viewer| world.viewers[viewer].rtx.len())
        .sum();
    println!("{again} sent again, {unsent} too old, {refused} refused");
    assert_eq!(again as u64 + refused, 28 * 63);
    assert!(!world.planes[0].ready());
}
