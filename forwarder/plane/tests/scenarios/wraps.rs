//! Every number that wraps does so within a second: sequence numbers and timestamps of pictures,
//! sound and repairs, those of the publisher and those of the viewer, each at a moment of its own.
//! Packets are lost and asked for on either side of each, and planes and publishers change there.

use link::command::{AUDIO, AddViewer, Command, VIDEO};
use link::event::{Event, Gone};
use link::ids::StreamId;
use link::stats::Counter;
use wire::demux::{Class, classify};
use wire::rtcp_feedback::write_nack;

use crate::peer::Peer;
use crate::viewer::TestViewer;
use crate::world::{World, frame_of};

const FRAMES: usize = 40;
const PACKETS: usize = 7;

/// Of a frame of pictures, and of a packet of sound.
const VIDEO_STEP: u32 = 2970;
const AUDIO_STEP: u32 = 960;

/// A publisher whose numbers wrap after so many frames: those of pictures first, then the
/// timestamps, then those of repairs.
fn publisher(world: &mut World, stream: StreamId) -> Peer {
    let mut peer = Peer::join(world, stream);
    peer.indexes = [0xffff - 10 * 7, 0xffff - 14, 0xffff - 18];
    peer.timestamps = [u32::MAX - 16 * VIDEO_STEP, u32::MAX - 12 * AUDIO_STEP];
    peer
}

/// Somebody whose own numbers wrap elsewhere.
fn watcher(world: &mut World, stream: StreamId) -> usize {
    let mut viewer = world.viewer(stream);
    let tracks = &mut viewer.add.tracks;
    tracks[VIDEO].first_index = 0xffff - 22 * 7;
    tracks[VIDEO].rtx_first_index = 0xffff - 6;
    tracks[VIDEO].timestamp_offset = 6 * VIDEO_STEP;
    tracks[AUDIO].first_index = 0xffff - 26;
    world.add(viewer)
}

fn low(index: u64) -> u16 {
    u16::try_from(index & 0xffff).unwrap()
}

/// A frame, the first of them a keyframe; of each other one packet comes as a repair only; and
/// sound. Every third time the viewer asks for a packet of two frames ago. Gives what it asked for.
fn frame(world: &mut World, peer: &mut Peer, viewer: usize, nth: usize) -> Option<u64> {
    let mut packets = peer.frame(nth == 0, PACKETS);
    if nth > 0 {
        packets.remove(nth % (PACKETS - 1));
    }
    let sound = peer.sound();
    peer.send(world, &packets);
    peer.send(world, &[sound]);
    world.run(20, 2);
    for sequence in peer.answers(world).lost {
        let repair = peer.repair(sequence);
        peer.send(world, &[repair]);
    }
    world.run(13, 1);
    let got = &world.viewers[viewer].got[VIDEO];
    let asked = got.len().checked_sub(15).filter(|_| nth % 3 == 1)?;
    let asked = got[asked].index;
    let ssrc = world.viewers[viewer].video_ssrc();
    world.feedback(viewer, |out| write_nack(1, ssrc, &[low(asked)], out));
    Some(asked)
}

/// What was asked for came, and was what it was.
fn repaired(viewer: &TestViewer, asked: &[u64]) {
    assert_eq!(viewer.rtx.len(), asked.len());
    for (repair, asked) in viewer.rtx.iter().zip(asked) {
        let (number, payload) = repair.payload.split_at(2);
        assert_eq!(number, low(*asked).to_be_bytes());
        let mut got = viewer.got[VIDEO].iter();
        let original = got.find(|got| got.index == *asked).unwrap();
        assert_eq!(payload, original.payload);
        assert_eq!(repair.header.timestamp, original.header.timestamp);
    }
    assert!(viewer.rtx.is_sorted_by_key(|repair| repair.index));
}

/// Frames, places in them, and timestamps from `first` on are as they were sent.
fn in_order(viewer: &TestViewer, first: usize, frames: usize) {
    let got = &viewer.got[VIDEO][first..];
    assert_eq!(got.len(), frames * PACKETS);
    let begin = frame_of(&got[0].payload).0;
    for (nth, one) in got.iter().enumerate() {
        let frame = u32::try_from(nth / PACKETS).unwrap();
        assert_eq!(frame_of(&one.payload).0, begin + frame);
        assert_eq!(usize::from(one.payload[7]), nth % PACKETS);
        let since = one.header.timestamp.wrapping_sub(got[0].header.timestamp);
        assert_eq!(since, frame * VIDEO_STEP);
    }
}

fn nothing_lost(world: &World) {
    for counter in [
        Counter::RtpLost,
        Counter::RtpUnusable,
        Counter::SrtpRefusedAuth,
        Counter::SrtpRefusedReplay,
        Counter::KeyWornOut,
    ] {
        assert_eq!(world.count(counter), 0, "{counter:?}");
    }
}

/// With a plane that takes over in every second frame, or with one plane.
fn all_wrap(hands_over: bool) {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/wraps").unwrap();
    let mut peer = publisher(&mut world, stream);
    let viewer = watcher(&mut world, stream);
    let mut asked = Vec::new();
    for nth in 0..FRAMES {
        asked.extend(frame(&mut world, &mut peer, viewer, nth));
        if hands_over && nth % 2 == 0 {
            world.hand_over(0);
        }
    }
    world.run(200, 2);
    let seen = &world.viewers[viewer];
    seen.assert_continuous();
    in_order(seen, 0, FRAMES);
    repaired(seen, &asked);
    nothing_lost(&world);
    assert_eq!(seen.got[AUDIO].len(), FRAMES);
    let steps = seen.got[AUDIO].windows(2);
    let mut steps = steps.map(|two| {
        let [from, to] = [0, 1].map(|at| two[at].header.timestamp);
        to.wrapping_sub(from)
    });
    assert!(steps.all(|step| step == AUDIO_STEP));
    // All of them have.
    assert!(peer.indexes.iter().all(|index| *index > 0xffff));
    assert!(peer.timestamps.iter().all(|at| *at < 1 << 31));
    let last = [&seen.got[VIDEO], &seen.got[AUDIO], &seen.rtx].map(|all| all.last().unwrap().index);
    assert!(last.iter().all(|index| *index > 0xffff), "{last:?}");
    let stamps = seen
        .got
        .each_ref()
        .map(|got| got.last().unwrap().header.timestamp);
    assert!(stamps[VIDEO] < 1 << 31, "{stamps:?}");
}

#[test]
fn all_numbers_wrap_and_nobody_notices() {
    all_wrap(false);
}

#[test]
fn all_numbers_wrap_while_planes_take_over() {
    all_wrap(true);
}

/// The plane dies without a word after each number of frames: before, at and after every wrap.
#[test]
fn a_plane_that_dies_at_a_wrap_is_gone_on_with() {
    for dies_after in 1..30 {
        let mut world = World::new();
        let stream = world.region.open_stream(0, "live/wraps").unwrap();
        let mut peer = publisher(&mut world, stream);
        let viewer = watcher(&mut world, stream);
        for nth in 0..dies_after {
            frame(&mut world, &mut peer, viewer, nth);
        }
        // Those before it are told to the region now and then.
        world.run(1100, 10);
        world.restart();
        let now = world.now;
        for viewer in [peer.viewer, viewer] {
            let mut add = world.viewers[viewer].add;
            let leases = world.region.viewer(add.viewer).unwrap().leases();
            add.tracks[VIDEO].first_index = add.tracks[VIDEO].first_index.max(leases[0]);
            add.tracks[VIDEO].rtx_first_index = add.tracks[VIDEO].rtx_first_index.max(leases[1]);
            add.tracks[AUDIO].first_index = add.tracks[AUDIO].first_index.max(leases[2]);
            add.rtcp_first_index = leases[4];
            world.plane().apply(now, &Command::AddViewer(add));
        }
        let add = peer.add;
        world.plane().apply(now, &Command::AddPublisher(add));
        world.run(1100, 10);
        peer.answers(&world);
        let before = world.viewers[viewer].got.each_ref().map(Vec::len);
        let newest = world.viewers[viewer].got[VIDEO].last().unwrap().clone();
        let frames = peer.frames();
        for nth in 0..FRAMES - dies_after {
            frame(&mut world, &mut peer, viewer, nth);
        }
        world.run(200, 2);
        let seen = &world.viewers[viewer];
        in_order(seen, before[VIDEO], FRAMES - dies_after);
        assert_eq!(seen.got[AUDIO].len(), FRAMES, "{dies_after}");
        let first = &seen.got[VIDEO][before[VIDEO]];
        assert_eq!(frame_of(&first.payload).0, frames + 1);
        let step = first.header.timestamp.wrapping_sub(newest.header.timestamp);
        // By the clock, which went on for 2.2 s without a frame.
        assert!((2190..2260).contains(&(step / 90)), "{dies_after}: {step}");
        assert!(first.index > newest.index);
        nothing_lost(&world);
    }
}

/// Another publisher takes over after each number of frames, and begins shortly before its wraps.
#[test]
fn a_publisher_that_takes_over_at_a_wrap_is_gone_on_with() {
    for leaves_after in 1..30 {
        let mut world = World::new();
        let stream = world.region.open_stream(0, "live/wraps").unwrap();
        let mut first = publisher(&mut world, stream);
        let viewer = watcher(&mut world, stream);
        for nth in 0..leaves_after {
            frame(&mut world, &mut first, viewer, nth);
        }
        let mut second = publisher(&mut world, stream);
        let (id, now) = (world.viewers[first.viewer].id(), world.now);
        world.plane().apply(now, &Command::RemoveViewer(id));
        for nth in 0..FRAMES {
            frame(&mut world, &mut second, viewer, nth);
        }
        world.run(200, 2);
        let seen = &world.viewers[viewer];
        seen.assert_continuous();
        in_order(seen, leaves_after * PACKETS, FRAMES);
        let at = leaves_after * PACKETS;
        let [from, to] = [at - 1, at].map(|at| seen.got[VIDEO][at].header.timestamp);
        let step = to.wrapping_sub(from);
        // By the clock, which the first one's frames keep to within milliseconds.
        assert!((20..50).contains(&(step / 90)), "{leaves_after}: {step}");
        nothing_lost(&world);
    }
}

/// What a viewer of two seconds of media is told by, and how many of its datagrams came of which
/// this is true; the world does not open them, as no receiver could begin at such numbers.
fn of_a_worn_key(change: impl FnOnce(&mut AddViewer), is: fn(&[u8]) -> bool) -> (Event, usize) {
    let mut world = World::new();
    let mut source = world.source(0);
    let mut viewer = world.viewer(source.id);
    change(&mut viewer.add);
    let id = viewer.id();
    viewer.at = crate::viewer::address(250, 1);
    world.add(viewer);
    for _ in 0..6 {
        source.second(&mut world);
    }
    let gone = world.events().into_iter().rfind(|event| match event {
        Event::ViewerGone(viewer, _) => *viewer == id,
        _ => false,
    });
    let strays = world.strays.iter();
    let datagrams = strays.flat_map(|(run, bytes)| bytes.chunks(usize::from(run.segment_bytes)));
    let count = datagrams.filter(|datagram| is(datagram)).count();
    (gone.expect("it is let go"), count)
}

/// The numbers of a key do not wrap (RFC 3711 section 9.2): who has used them up is let go, and
/// comes again with another key.
#[test]
fn a_key_whose_numbers_are_used_up_seals_nothing_more() {
    let is_rtcp = |datagram: &[u8]| classify(datagram) == Class::Rtcp;
    let is_video = |datagram: &[u8]| datagram[1] & 0x7f == 102;
    let rtcp = of_a_worn_key(|add| add.rtcp_first_index = (1 << 31) - 3, is_rtcp);
    let video = of_a_worn_key(
        |add| add.tracks[VIDEO].first_index = (1 << 48) - 100,
        is_video,
    );
    for ((event, sealed), left) in [(rtcp, 3), (video, 100)] {
        assert!(
            matches!(event, Event::ViewerGone(_, Gone::KeyWornOut)),
            "{event:?}"
        );
        assert!((1..=left).contains(&sealed), "{sealed} of {left}");
    }
}
