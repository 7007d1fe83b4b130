//! Joining: at a keyframe, at once, without a gap, and without holding anybody up.

use link::command::{AUDIO, Command, VIDEO};
use link::event::Event;
use link::lanes::Lanes;
use link::limits::Limits;
use link::stats::Counter;
use wire::time::Span;

use crate::world::{DELTA, KEY, LIMITS, World, frame_of};

#[test]
fn a_viewer_starts_at_the_keyframe_and_misses_nothing_after_it() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, false, &DELTA);
    source.second(&mut world);
    for _ in 0..10 {
        source.video(world.now, false, &DELTA);
    }
    let early = world.join(source.id);
    world.turn(1);
    let late = world.join(source.id);
    assert_eq!(
        world.events(),
        [
            Event::ViewerAdded(world.viewers[early].id()),
            Event::ViewerAdded(world.viewers[late].id())
        ]
    );
    world.run(50, 1);
    source.second(&mut world);
    for viewer in [early, late] {
        let viewer = &world.viewers[viewer];
        viewer.assert_continuous();
        let video = &viewer.got[VIDEO];
        assert_eq!(frame_of(&video[0].payload), (1, true));
        assert_eq!(video.len(), 9 + 29 * 3 + 10 * 3 + 9 + 29 * 3);
        let mut last = 1;
        for packet in video {
            let (frame, _) = frame_of(&packet.payload);
            assert!(frame == last || frame == last + 1);
            // True timestamps, whatever the speed at which they came.
            let ticks = packet
                .header
                .timestamp
                .wrapping_sub(video[0].header.timestamp);
            assert_eq!(ticks, (frame - 1) * 3000);
            last = frame;
        }
        assert!(video[8].header.marker && !video[7].header.marker);
    }
}

#[test]
fn the_first_frame_leaves_in_the_turn_of_the_command_in_one_run() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    world.join(source.id);
    let now = world.now;
    let mut refusals = 0;
    world.plane().fan_out(now, &mut NoSink(&mut refusals));
    assert_eq!(refusals, 1);
    let sent = world.planes[0].fan_out(now, &mut world.sink);
    assert_eq!((sent, world.sink.runs.len()), (9, 1));
}

/// An egress that is always full.
struct NoSink<'a>(&'a mut usize);

impl wire::datagram::Egress for NoSink<'_> {
    fn segments_max(&self) -> u8 {
        64
    }
    fn claim(&mut self, _: wire::datagram::RunMeta) -> Option<wire::datagram::Slot<'_>> {
        *self.0 += 1;
        None
    }
    fn commit(&mut self, _: usize) {
        panic!("nothing was claimed");
    }
}

#[test]
fn ten_seconds_of_pictures_arrive_within_700_ms_but_not_at_once() {
    let mut world = World::with(&Limits {
        log_packets: 8192,
        ..LIMITS
    });
    let mut source = world.source(0);
    // 2.5 Mbit/s: 300 frames of 9 packets of 1,157 bytes.
    for nth in 0..300 {
        source.video(world.now, nth == 0, &[1157; 9]);
        world.now = world.now + Span::millis(33);
    }
    let viewer = world.join(source.id);
    let mut most = 0;
    let mut in_10_ms = 0;
    let mut done_ms = 0;
    for ms in 1..=700 {
        let before = world.viewers[viewer].got[VIDEO].len();
        world.turn(1);
        let after = world.viewers[viewer].got[VIDEO].len();
        in_10_ms = if ms % 10 == 0 { 0 } else { in_10_ms } + after - before;
        most = most.max(in_10_ms);
        if after == 2700 && done_ms == 0 {
            done_ms = ms;
        }
    }
    assert!((300..700).contains(&done_ms), "{done_ms} ms");
    assert!(most * 1200 < 210_000, "{most} packets within 10 ms");
    world.viewers[viewer].assert_continuous();
}

#[test]
fn without_a_keyframe_audio_flows_and_video_waits() {
    let mut world = World::new();
    let mut source = world.source(0);
    for _ in 0..20 {
        source.audio(world.now, 120);
        world.now = world.now + Span::millis(20);
    }
    source.video(world.now, false, &DELTA);
    let viewer = world.join(source.id);
    let wanted = Event::KeyframeWanted(source.id, Lanes::only(VIDEO));
    assert!(world.events().contains(&wanted));
    world.turn(1);
    // Five packets of the last 100 ms, no more.
    assert_eq!(world.viewers[viewer].got[AUDIO].len(), 5);
    source.video(world.now, false, &DELTA);
    source.audio(world.now, 130);
    world.turn(1);
    let got = &world.viewers[viewer].got;
    assert_eq!((got[AUDIO].len(), got[VIDEO].len()), (6, 0));
    source.video(world.now, true, &KEY);
    source.video(world.now, false, &DELTA);
    world.turn(1);
    assert_eq!(world.viewers[viewer].got[VIDEO].len(), 12);
    world.viewers[viewer].assert_continuous();
}

#[test]
fn an_audio_only_viewer_gets_audio_only() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    let mut viewer = world.viewer(source.id);
    viewer.add.tracks[VIDEO].clock_hz = 0;
    let viewer = world.add(viewer);
    for _ in 0..50 {
        source.video(world.now, false, &DELTA);
        source.audio(world.now, 100);
        world.turn(20);
    }
    let got = &world.viewers[viewer].got;
    assert_eq!((got[AUDIO].len(), got[VIDEO].len()), (50, 0));
    assert!(!world.plane().ready());
}

#[test]
fn a_frame_with_audio_is_one_run_for_each_viewer() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &[1100; 4]);
    for _ in 0..3 {
        world.join(source.id);
    }
    world.run(20, 1);
    source.audio(world.now, 120);
    source.video(world.now, false, &[1000; 7]);
    let before = world.count(Counter::RunSent);
    let now = world.now;
    let sent = world.planes[0].fan_out(now, &mut world.sink);
    assert_eq!(sent, 3 * 8);
    assert_eq!(world.count(Counter::RunSent) - before, 3);
    assert!(world.sink.runs.iter().all(|(run, _)| run.segments == 8));
}

#[test]
fn a_kernel_that_does_not_segment_gets_single_datagrams() {
    let mut world = World::new();
    let mut source = world.source(0);
    world.sink.segments_max = 1;
    let viewer = world.join(source.id);
    source.second(&mut world);
    assert_eq!(world.viewers[viewer].got[VIDEO].len(), 9 + 29 * 3);
    world.viewers[viewer].assert_continuous();
}

#[test]
fn commands_may_come_twice() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    let viewer = world.join(source.id);
    world.run(5, 1);
    let add = world.viewers[viewer].add;
    let now = world.now;
    for _ in 0..3 {
        world.plane().apply(now, &Command::AddViewer(add));
        source.video(world.now, false, &DELTA);
        world.turn(1);
    }
    world.viewers[viewer].assert_continuous();
    assert_eq!(world.viewers[viewer].got[VIDEO].len(), 18);
    assert_eq!(world.count(Counter::ViewerAdded), 1);
    for _ in 0..2 {
        world.plane().apply(now, &Command::RemoveViewer(add.viewer));
        world.plane().apply(now, &Command::CloseStream(source.id));
    }
    source.video(world.now, false, &DELTA);
    world.turn(10);
    assert_eq!(world.viewers[viewer].got[VIDEO].len(), 18);
    assert_eq!(world.count(Counter::ViewerActive), 0);
}

#[test]
fn after_a_crash_a_viewer_goes_on_and_no_index_is_used_again() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    let viewer = world.join(source.id);
    source.second(&mut world);
    let sent = world.viewers[viewer].got[VIDEO].len();
    let mut last = world.viewers[viewer].got[VIDEO][sent - 1].index;
    for _ in 0..3 {
        world.restart();
        // As control adds it again.
        let mut add = world.viewers[viewer].add;
        let leases = world.region.viewer(add.viewer).unwrap().leases();
        for (lane, track) in add.tracks.iter_mut().enumerate() {
            track.first_index = leases[2 * lane];
            track.rtx_first_index = leases[2 * lane + 1];
        }
        add.rtcp_first_index = leases[4];
        let now = world.now;
        world.plane().apply(now, &Command::AddViewer(add));
        source.second(&mut world);
        // The viewer fails if anything is sealed twice.
        let got = &world.viewers[viewer].got[VIDEO];
        let first = got.iter().find(|got| got.index > last).unwrap();
        assert_eq!(first.index, add.tracks[VIDEO].first_index);
        assert!(first.index - last <= 4097, "{} {last}", first.index);
        assert!(frame_of(&first.payload).1);
        last = got[got.len() - 1].index;
    }
    assert!(world.viewers[viewer].rtcp.len() >= 3);
}

#[test]
fn a_command_from_before_a_crash_makes_no_index_used_again() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    let viewer = world.join(source.id);
    for _ in 0..3 {
        source.second(&mut world);
        let id = world.viewers[viewer].id();
        let leased = world.region.viewer(id).unwrap().leases()[0];
        world.restart();
        // It waited for room, or was sent again while nobody was there to say that it had come.
        let (now, stale) = (world.now, world.viewers[viewer].add);
        world.plane().apply(now, &Command::AddViewer(stale));
        source.second(&mut world);
        // The viewer fails if anything is sealed twice.
        let got = &world.viewers[viewer].got[VIDEO];
        assert!(got[got.len() - 1].index >= leased, "{leased}");
    }
    assert!(world.viewers[viewer].rtcp.len() >= 3);
}

#[test]
fn memory_is_known_beforehand() {
    let bytes = freshet_plane::Plane::memory_bytes(&Limits::default());
    assert!((10 << 20..200 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn what_cannot_be_served_is_refused() {
    let mut world = World::new();
    let source = world.source(0);
    let same_ssrc = {
        let mut viewer = world.viewer(source.id);
        viewer.add.tracks[AUDIO].ssrc = viewer.add.tracks[VIDEO].ssrc;
        viewer
    };
    let id = same_ssrc.id();
    world.add(same_ssrc);
    let mut no_stream = world.viewer(source.id);
    no_stream.add.stream.generation += 1;
    let other = no_stream.id();
    world.add(no_stream);
    assert_eq!(
        world.events(),
        [Event::ViewerRefused(id), Event::ViewerRefused(other)]
    );
    assert_eq!(world.count(Counter::ViewerRefused), 2);
}

#[test]
fn a_viewer_without_room_goes_on_where_it_stopped_or_at_a_keyframe() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    let viewer = world.join(source.id);
    world.run(10, 1);
    // No room for 100 ms: everything comes later.
    world.sink.room = 0;
    for _ in 0..3 {
        source.video(world.now, false, &DELTA);
        world.turn(33);
    }
    assert!(world.plane().ready());
    world.sink.room = usize::MAX;
    world.turn(1);
    assert_eq!(world.viewers[viewer].got[VIDEO].len(), 9 + 9);
    // No room for a second: frames are left out, up to a keyframe.
    world.sink.room = 0;
    for nth in 0..30 {
        source.video(world.now, nth == 20, &DELTA);
        world.turn(33);
    }
    world.sink.room = usize::MAX;
    world.run(20, 1);
    source.video(world.now, false, &DELTA);
    world.turn(1);
    let got = &world.viewers[viewer].got[VIDEO];
    assert_eq!(frame_of(&got[18].payload), (24, true));
    assert_eq!(got.len(), 18 + 11 * 3);
    assert!(world.count(Counter::ViewerSkipped) >= 1);
    world.viewers[viewer].assert_continuous();
}

#[test]
fn a_core_that_was_away_too_long_goes_on_at_a_keyframe() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    let viewer = world.join(source.id);
    world.run(10, 1);
    for nth in 0..500 {
        source.video(world.now, nth % 100 == 99, &DELTA);
    }
    world.run(300, 1);
    source.video(world.now, false, &DELTA);
    world.run(100, 1);
    let got = &world.viewers[viewer].got[VIDEO];
    let (frame, key) = frame_of(&got[9].payload);
    assert!(key && frame == 500, "{frame}");
    assert_eq!(got.len(), 9 + 2 * 3);
    assert!(world.count(Counter::LogReaderSkipped) > 0);
    world.viewers[viewer].assert_continuous();
}
