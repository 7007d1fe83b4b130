//! What a hostile peer may send on a path of its own, or on somebody else's: nothing of it is acted
//! upon, all of it is counted, nothing is allocated for it, and nobody else notices.

use link::command::{AUDIO, AddPublisher, Command, Hears, TrackOut, VIDEO, Wants};
use link::event::{Event, Gone};
use link::ids::{CoreId, StreamId};
use link::stats::{Counter, Intake};
use wire::ntp::Ntp;
use wire::rtcp::{Item, compound};
use wire::rtcp_feedback::{
    FirEntry, TransportRecorder, write_arrivals, write_fir, write_nack, write_pli, write_remb,
};
use wire::rtcp_report::write_receiver_report;
use wire::rtcp_report::{ReportBlock, XrBlock, write_bye, write_receiver_reference_time};
use wire::rtp::Header;
use wire::rtp_ext::Block;

use crate::av1::block;
use crate::counting;
use crate::layers::{NAMES, RID_ID, Simulcast};
use crate::peer::{AUDIO_TYPE, Peer, RTX_TYPE, TRANSPORT_ID, VIDEO_TYPE, ntp};
use crate::viewer::TestViewer;
use crate::whip::publishing;
use crate::world::{DELTA, Source, World};

/// Forgeries of each kind: far beyond any count of errors after which somebody might hang up.
const FLOOD: u32 = 20_000;

/// Numbers of a series.
struct Series(u64);

impl Series {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 16
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            let word = self.next().to_be_bytes();
            chunk.copy_from_slice(&word[4..][..chunk.len()]);
        }
    }
}

fn intake(world: &World, stream: StreamId) -> Intake {
    let line = world.region.stream_stats(stream, CoreId(0)).unwrap();
    line.intake()
}

/// One frame of a publisher, and a turn.
fn goes_on(world: &mut World, peer: &mut Peer, viewer: usize) {
    let before = world.viewers[viewer].got[VIDEO].len();
    let frame = peer.frame(false, 3);
    peer.send(world, &frame);
    world.turn(1);
    assert_eq!(world.viewers[viewer].got[VIDEO].len(), before + 3);
    world.viewers[viewer].assert_continuous();
}

/// Datagrams of a publisher and of a viewer that look right, but for their tags.
fn forgeries(peer: &Peer, viewer: &TestViewer) -> impl FnMut(u32) -> Vec<u8> + use<> {
    let (ssrcs, own) = (peer.ssrcs, viewer.video_ssrc());
    let mut series = Series(7);
    move |nth| {
        let mut datagram = vec![0; 120];
        series.fill(&mut datagram);
        if nth % 2 == 0 {
            // Any number, any time, and a transport-wide number of its own.
            datagram[..2].copy_from_slice(&[0x90, VIDEO_TYPE]);
            datagram[8..12].copy_from_slice(&ssrcs[nth as usize / 2 % 3].to_be_bytes());
            datagram[12..17].copy_from_slice(&[0xbe, 0xde, 0, 1, TRANSPORT_ID << 4 | 1]);
        } else {
            // A goodbye, a report, a call for a keyframe.
            let kind = [203, 201, 206][nth as usize / 2 % 3];
            datagram[..4].copy_from_slice(&[0x81, kind, 0, 7]);
            datagram[4..8].copy_from_slice(&own.to_be_bytes());
        }
        datagram
    }
}

#[test]
fn a_flood_of_forgeries_leaves_no_trace() {
    let (mut world, stream, mut peer) = publishing();
    let watcher = world.viewers.len() - 1;
    for _ in 0..30 {
        goes_on(&mut world, &mut peer, watcher);
        world.run(33, 1);
    }
    world.run(1100, 1);
    let before = peer.answers(&world);
    let jitter = before.blocks.last().map(|block| block.jitter);
    assert!(!before.transport.is_empty(), "{before:?}");
    let (heard, taken) = (world.count(Counter::ReportReceived), intake(&world, stream));
    let told = world.viewers.iter().map(TestViewer::id);
    let told: Vec<_> = told
        .map(|id| world.region.viewer(id).unwrap().counters())
        .collect();

    let mut forge = forgeries(&peer, &world.viewers[watcher]);
    let places = [peer.viewer, watcher].map(|viewer| world.viewers[viewer].at);
    for from in places {
        let mut forged: Vec<_> = (0..FLOOD).map(&mut forge).collect();
        let (now, plane) = (world.now, &mut world.planes[0]);
        counting::begin();
        plane.begin(now);
        for datagram in &mut forged {
            wire::datagram::RxSink::datagram(plane, from, datagram);
        }
        assert_eq!(counting::end(), 0, "nothing is allocated for a forgery");
    }
    // What a viewer sends as RTP is nobody's; all else was tried.
    let half = u64::from(FLOOD / 2);
    let (forged, old) = (Counter::SrtpRefusedAuth, Counter::SrtpRefusedReplay);
    assert_eq!(world.count(forged) + world.count(old), half);
    assert!(
        world.count(forged) > half / 2,
        "some numbers were used before"
    );
    assert_eq!(world.count(Counter::RtpUnknownSsrc), half);
    assert_eq!(world.count(Counter::SrtcpRefusedAuth), 2 * half);
    assert_eq!(world.count(Counter::ReportReceived), heard);
    assert!(world.events().is_empty());

    // Nothing is asked for, nothing is told of but what came, and nobody has moved or sent a byte.
    world.run(1500, 10);
    let after = peer.answers(&world);
    let asked = (after.lost.len(), after.plis, after.transport.len());
    assert_eq!(asked, (0, 0, 0), "{after:?}");
    let block = after
        .blocks
        .iter()
        .rfind(|block| block.ssrc == peer.ssrcs[VIDEO]);
    let block = block.unwrap();
    assert_eq!((Some(block.jitter), block.cumulative_lost), (jitter, 0));
    assert_eq!(intake(&world, stream).lost, taken.lost);
    for (viewer, told) in world.viewers.iter().zip(told) {
        let now = world.region.viewer(viewer.id()).unwrap().counters();
        let of = |all: &link::viewer::ViewerCounters| (all.bytes_received, all.plis, all.nacks);
        assert_eq!(of(&now), of(&told));
        assert_eq!(now.active, told.active);
    }
    assert!(world.strays.is_empty());
    goes_on(&mut world, &mut peer, watcher);
}

/// Media keeps a publisher that does not check any more; what is not its own does not.
#[test]
fn forgeries_are_no_sign_of_life() {
    let (mut world, _, peer) = publishing();
    let watcher = world.viewers.len() - 1;
    let (at, id) = (
        world.viewers[peer.viewer].at,
        world.viewers[peer.viewer].id(),
    );
    let mut forge = forgeries(&peer, &world.viewers[watcher]);
    for second in 0..31 {
        assert!(world.events().is_empty(), "after {second} s");
        for nth in 0..6 {
            world.send(0, at, &forge(nth));
        }
        let ice = world.viewers[watcher].add.ice;
        let (to, check) = (
            world.viewers[watcher].at,
            world.viewers[watcher].check(&ice, false),
        );
        world.send(0, to, &check);
        world.run(1000, 50);
    }
    assert_eq!(world.events(), [Event::ViewerGone(id, Gone::Consent)]);
}

/// Seals nothing under an index that is not there: the viewer is let go, and with another session
/// it gets other keys.
#[test]
fn a_key_that_is_used_up_seals_nothing_more() {
    const RTP_END: u64 = 1 << 48;
    const RTCP_END: u64 = 1 << 31;
    for (nth, [video, repairs, report]) in [
        [RTP_END - 4, 77, 3],
        [1000, RTP_END - 2, 3],
        [1000, 77, RTCP_END - 2],
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = World::new();
        let mut source = world.source(0);
        let worn = world.viewer(source.id).beginning_at(video, repairs, report);
        let worn = world.add(worn);
        let other = world.join(source.id);
        world.events();
        let id = world.viewers[worn].id();
        let mut gone = Vec::new();
        for frame in 0..100_u16 {
            source.video(world.now, frame == 0, &DELTA);
            world.run(33, 3);
            if nth == 1 && gone.is_empty() {
                let ssrc = world.viewers[worn].video_ssrc();
                let lost: Vec<u16> = (0..3).map(|back| 1000 + 3 * frame + back).collect();
                world.feedback(worn, |out| write_nack(1, ssrc, &lost, out));
            }
            let is_end = |event: &Event| matches!(event, Event::ViewerGone(..));
            gone.extend(world.events().into_iter().filter(is_end));
        }
        assert_eq!(
            gone,
            [Event::ViewerGone(id, Gone::KeyWornOut)],
            "case {nth}"
        );
        assert_eq!(world.count(Counter::KeyWornOut), 1);
        let viewer = &world.viewers[worn];
        // The last index may be used, none after it.
        let used = [viewer.got[VIDEO].last(), viewer.rtx.last()];
        assert!(used.into_iter().flatten().all(|got| got.index < RTP_END));
        assert!(viewer.got[VIDEO].len() < 290 && viewer.rtx.len() <= 2);
        assert!(viewer.rtcp.len() <= if nth == 2 { 2 } else { 4 });
        assert_eq!(world.viewers[other].got[VIDEO].len(), 300);
        world.viewers[other].assert_continuous();
    }
}

#[test]
fn media_before_there_are_keys_is_nobodys() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/early").unwrap();
    // All that is known of them is in the peer's hands.
    let mut elsewhere = World::new();
    elsewhere.region.open_stream(0, "live/early").unwrap();
    let mut peer = Peer::new(&mut elsewhere, stream, |_| {});
    let mut early = elsewhere.viewers.remove(peer.viewer);
    let cell = world.region.open_viewer(0).unwrap();
    assert_eq!(cell.id(), early.id());
    let (ice, at) = (early.add.ice, early.at);
    // Its address is a checked one: checks go to control as long as nobody serves it.
    let check = early.check(&ice, true);
    world.send(0, at, &check);
    assert_eq!(world.punted().len(), 1);
    let frame = peer.frame(true, 3);
    let report = early.rtcp(|out| write_receiver_report(5, &[], b"p", out));
    for datagram in frame.iter().chain([&report]) {
        world.send(0, at, datagram);
    }
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 4);
    assert!(world.punted().is_empty() && world.events().is_empty());
    // With the keys the same packets are new.
    world.add(early);
    world.join(stream);
    let now = world.now;
    world.plane().apply(now, &Command::AddPublisher(peer.add));
    peer.send(&mut world, &frame);
    world.send(0, at, &report);
    world.turn(1);
    assert_eq!(world.viewers[1].got[VIDEO].len(), 3);
    assert_eq!(world.count(Counter::ReportReceived), 1);
    assert_eq!(world.count(Counter::SrtpRefusedReplay), 0);
}

/// Well sealed, and lengths that lie inside.
#[test]
fn authentic_packets_that_lie_are_counted_and_nothing_else() {
    let (mut world, stream, mut peer) = publishing();
    let watcher = world.viewers.len() - 1;
    let fixed = |first: u8| [&[first, VIDEO_TYPE][..], &[0; 10]].concat();
    let counted = |world: &World| world.count(Counter::RtpMalformed);
    let (sent, before) = (world.viewers[watcher].got[VIDEO].len(), counted(&world));
    // Longer than any datagram of ours could be.
    let mut lies = vec![peer.seal_raw(VIDEO, &fixed(0x80), &[0x41; 1470])];
    for count in [0, 10, 255] {
        // Padding of nothing, of more than there is, and of which no byte is there.
        let mut body = vec![0x41; 9];
        body[8] = count;
        lies.push(peer.seal_raw(VIDEO, &fixed(0xa0), &body));
    }
    lies.push(peer.seal_raw(VIDEO, &fixed(0xa0), &[]));
    // A list of sources and an extension that reach beyond the packet: to behind the tag.
    lies.push(peer.seal_raw(VIDEO, &fixed(0x8f), &[0x41; 20]));
    lies.push(peer.seal_raw(VIDEO, &fixed(0x90), &[0xff; 20]));
    let count = lies.len() as u64;
    peer.send(&mut world, &lies);
    world.turn(1);
    assert_eq!(counted(&world) - before, count);
    // As long as a datagram can be, and too short for anything; of a source that is new, too.
    let at = world.viewers[peer.viewer].at;
    let mut longest = vec![0x41; 65_535];
    longest[..4].copy_from_slice(&[0x80, VIDEO_TYPE, 0, 1]);
    world.send(0, at, &longest);
    assert_eq!(world.count(Counter::SrtpRefusedAuth), 1);
    for bytes in 0..12 {
        world.send(0, at, &longest[..bytes]);
    }
    let short = world.count(Counter::DatagramMalformed) + counted(&world) - before - count;
    assert_eq!(short, 12);
    assert_eq!(world.viewers[watcher].got[VIDEO].len(), sent);
    assert!(world.events().is_empty());
    // What was sealed with a lie inside is lost as any other packet is.
    world.run(300, 10);
    let key = peer.frame(true, 3);
    peer.send(&mut world, &key);
    world.run(300, 10);
    assert_eq!(world.viewers[watcher].got[VIDEO].len(), sent + 3);
    assert!(intake(&world, stream).lost <= count);
    goes_on(&mut world, &mut peer, watcher);
}

/// Elements of an identifier that was not negotiated, and the second one of another, go no further.
#[test]
fn elements_that_nobody_asked_for_go_no_further() {
    const TIME: u8 = 8;
    const STRANGE: u8 = 12;
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/ext").unwrap();
    let mut peer = Peer::join_with(&mut world, stream, |add| {
        add.lanes[AUDIO].elements[link::elements::CAPTURE_TIME] = TIME;
    });
    let mut viewer = world.viewer(stream);
    viewer.add.tracks[AUDIO].elements[link::elements::CAPTURE_TIME] = 5;
    let viewer = world.add(viewer);
    let element = |id: u8, value: u8| (id, vec![value; 8]);
    let mut elements = vec![element(STRANGE, 1), element(TIME, 2), element(TIME, 3)];
    elements.extend(vec![element(STRANGE, 4); 90]);
    let blocks = [
        block(&elements),
        // One that ends in the midst of an element, and one whose first element has no identifier.
        [&[0x10, 0, 0, 3, TIME, 200][..], &[9; 10]].concat(),
        [&[0xbe, 0xde, 0, 3, 0x07][..], &[9; 11]].concat(),
        [&[0xbe, 0xde, 0, 3, 0xf7][..], &[9; 11]].concat(),
    ];
    for ext in blocks {
        let header = peer.header(AUDIO, false);
        peer.timestamps[AUDIO] += 960;
        let mut plain = vec![0; 12 + ext.len()];
        let used = header.write(&ext, &mut plain);
        let datagram = peer.seal_raw(AUDIO, &plain[..used], &[7; 80]);
        peer.send(&mut world, &[datagram]);
        world.turn(20);
    }
    let got = world.viewers[viewer].got[AUDIO].iter();
    let got: Vec<_> = got.map(|got| got.elements.clone()).collect();
    assert_eq!(got, [vec![(5, vec![2; 8])], vec![], vec![], vec![]]);
}

#[test]
fn thousands_of_sources_and_names_are_one_publisher_s_own_loss() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/many").unwrap();
    let mut camera = Simulcast::join(&mut world, stream);
    let own = world.join(stream);
    let mut other = world.source(1);
    let stranger = world.join(other.id);
    camera.run(&mut world, 500);
    world.events();
    let (before, got) = (
        world.count(Counter::PacketIngested),
        world.viewers[own].got[VIDEO].len(),
    );
    let peer = &mut camera.peer;
    let mut flood = Vec::new();
    for nth in 0..5000_u32 {
        peer.ssrcs[AUDIO] = 0x7000_0000 + nth;
        let mut names = Block::new();
        names.push(RID_ID, &nth.to_be_bytes());
        names.push(9, b"mid");
        let payload_type = [VIDEO_TYPE, AUDIO_TYPE, RTX_TYPE, 0, 35][nth as usize % 5];
        let header = Header {
            payload_type,
            ..peer.header(VIDEO, true)
        };
        peer.indexes[AUDIO] = 5;
        // The sound's own place is to be had once.
        if payload_type != AUDIO_TYPE {
            flood.push(peer.seal_with(AUDIO, &header, names.as_bytes(), &[0x67; 60], 0));
        }
    }
    let (at, now) = (world.viewers[peer.viewer].at, world.now);
    let plane = &mut world.planes[0];
    counting::begin();
    plane.begin(now);
    for datagram in &mut flood {
        wire::datagram::RxSink::datagram(plane, at, datagram);
    }
    assert_eq!(counting::end(), 0, "nothing is allocated for a source");
    assert_eq!(world.count(Counter::RtpUnknownSsrc), flood.len() as u64);
    assert_eq!(world.count(Counter::PacketIngested), before);
    other.video(world.now, true, &DELTA);
    camera.run(&mut world, 500);
    assert!(world.viewers[own].got[VIDEO].len() > got + 14);
    assert_eq!(world.viewers[stranger].got[VIDEO].len(), DELTA.len());
    assert!(world.events().is_empty());
    assert_eq!(camera.sources.len(), NAMES.len());
}

/// A second of a clock that runs 65,536 times too fast, over and over; nothing is missing, and
/// nothing is taken for missing.
#[test]
fn numbers_that_wrap_each_second_lose_nothing() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/fast").unwrap();
    let mut peer = Peer::join(&mut world, stream);
    let mut random = Series(3);
    for nth in 0..120_u32 {
        let mut frame = peer.frame(nth % 30 == 0, 1640);
        // Times wrap once a second, stand still, and run back.
        let step = [1 << 27, 0, 3000, 1 << 28][nth as usize % 4];
        peer.timestamps[VIDEO] = match nth % 13 {
            0 => peer.timestamps[VIDEO].wrapping_sub(90_000),
            _ => peer.timestamps[VIDEO].wrapping_add(step),
        };
        // Neighbours overtake each other.
        for at in (1..frame.len()).step_by(97) {
            if random.next().is_multiple_of(2) {
                frame.swap(at - 1, at);
            }
        }
        // A turn for what the log holds at the most.
        for part in frame.chunks(500) {
            peer.send(&mut world, part);
            world.turn(2);
        }
        peer.kept.clear();
    }
    world.run(1000, 10);
    let (taken, answers) = (intake(&world, stream), peer.answers(&world));
    assert_eq!(taken.lost, 0, "{taken:?}");
    assert_eq!(taken.packets[VIDEO], 120 * 1640);
    assert_eq!(
        (
            world.count(Counter::RtpLate),
            world.count(Counter::RtpDuplicate)
        ),
        (0, 0)
    );
    let newest = answers
        .blocks
        .iter()
        .rfind(|block| block.ssrc == peer.ssrcs[VIDEO]);
    let newest = newest.unwrap();
    assert_eq!((newest.cumulative_lost, newest.fraction_lost), (0, 0));
    let last = u32::try_from(peer.indexes[VIDEO] - 1).unwrap();
    assert!(last >> 16 >= 3);
    assert_eq!(newest.highest_sequence, last);
    // A jump is a loss of what it left out, whatever it wraps.
    peer.indexes[VIDEO] += 30_000;
    let frame = peer.frame(true, 2);
    peer.send(&mut world, &frame);
    world.run(1000, 10);
    assert_eq!(intake(&world, stream).lost, 30_000);
}

/// Two publishers of one core: one leaves a gap in every lane and fills the room behind it.
#[test]
fn who_lets_much_wait_leaves_room_for_others() {
    let mut world = World::new();
    let (greedy, modest) = (
        world.region.open_stream(0, "live/greedy").unwrap(),
        world.region.open_stream(1, "live/modest").unwrap(),
    );
    let mut camera = Simulcast::join(&mut world, greedy);
    let mut peer = Peer::join(&mut world, modest);
    camera.run(&mut world, 200);
    let first = peer.frame(true, 3);
    peer.send(&mut world, &first);
    let sound = camera.peer.sound();
    camera.peer.send(&mut world, &[sound]);
    world.turn(1);
    // In all four lanes one is missing, and all come behind it that can.
    for layer in 0..3 {
        camera.sources[layer].1 += 1;
    }
    camera.peer.indexes[AUDIO] += 1;
    for _ in 0..500 {
        for layer in 0..3 {
            let (ssrc, index, timestamp) = camera.sources[layer];
            (camera.peer.ssrcs[VIDEO], camera.peer.indexes[VIDEO]) = (ssrc, index);
            let header = Header {
                timestamp,
                ..camera.peer.header(VIDEO, false)
            };
            let packet = camera.peer.seal(VIDEO, &header, &[0x41; 60], 0);
            camera.sources[layer].1 += 1;
            camera.peer.send(&mut world, &[packet]);
        }
        let sound = camera.peer.sound();
        camera.peer.send(&mut world, &[sound]);
    }
    // One packet of the other is late by a round trip, with a large picture behind it.
    let mut frame = peer.frame(false, 200);
    let late = frame.remove(20);
    peer.send(&mut world, &frame);
    world.run(40, 1);
    peer.send(&mut world, &[late]);
    world.run(1000, 10);
    assert_eq!(intake(&world, modest).lost, 0);
    assert_eq!(intake(&world, modest).packets[VIDEO], 3 + 200);
    assert!(intake(&world, greedy).lost >= 4);
}

/// A world with a viewer of one layer that has seen a second of pictures.
fn watching(change: impl FnOnce(&mut [TrackOut; 2])) -> (World, Source) {
    let mut world = World::new();
    let mut source = world.source(0);
    let mut viewer = world.viewer(source.id);
    change(&mut viewer.add.tracks);
    world.add(viewer);
    source.second(&mut world);
    world.events();
    (world, source)
}

#[test]
fn requests_that_were_not_negotiated_are_counted_and_ignored() {
    // Its own kind is heard; with that left out it is refused, and nothing happens.
    let kinds = [Hears::NACK, Hears::PLI, Hears::FIR];
    for (nth, kind) in kinds.into_iter().enumerate() {
        for is_heard in [true, false] {
            let others = kinds.into_iter().filter(|other| *other != kind);
            let hears = others.fold(Hears::NONE, |all, other| all.with(other, true));
            let hears = hears.with(kind, is_heard);
            let (mut world, _) = watching(|tracks| tracks[VIDEO].hears = hears);
            let ssrc = world.viewers[0].video_ssrc();
            let newest = world.viewers[0].got[VIDEO].last().unwrap().header.sequence;
            world.feedback(0, |out| match nth {
                0 => write_nack(1, ssrc, &[newest], out),
                1 => write_pli(1, ssrc, out),
                _ => write_fir(1, &[FirEntry { ssrc, sequence: 1 }], out),
            });
            world.run(20, 1);
            let done = world.viewers[0].rtx.len() as u64 + world.count(Counter::KeyframeReplayed);
            let counted = world.count(Counter::NackReceived) + world.count(Counter::PliReceived);
            assert_eq!((done, counted), (u64::from(is_heard), u64::from(is_heard)));
            let refused = world.count(Counter::FeedbackRefused);
            assert_eq!(refused, u64::from(!is_heard), "{kind:?}");
        }
    }
}

#[test]
fn estimates_that_were_not_negotiated_are_counted_and_ignored() {
    for (nth, kind) in [Hears::REMB, Hears::TRANSPORT_CC, Hears::BY_SOURCE]
        .into_iter()
        .enumerate()
    {
        for is_heard in [true, false] {
            let mut world = World::new();
            let stream = world.region.open_stream(0, "live/layers").unwrap();
            let mut camera = Simulcast::join(&mut world, stream);
            let mut viewer = world.viewer(stream);
            viewer.add.tracks[VIDEO].hears = Hears::NONE.with(kind, is_heard);
            let viewer = world.add(viewer);
            let cell = world.region.viewer(world.viewers[viewer].id()).unwrap();
            let ssrc = world.viewers[viewer].video_ssrc();
            for _ in 0..60 {
                camera.run(&mut world, 66);
                let now = world.now;
                let newest = world.viewers[viewer].got[VIDEO].last();
                let newest = newest.map_or(0, |got| got.header.sequence);
                world.feedback(viewer, |out| match nth {
                    0 => write_remb(1, 50_000, &[ssrc], out),
                    1 => {
                        let mut recorder = TransportRecorder::new();
                        recorder.record(newest, now);
                        recorder.write(1, ssrc, out)
                    }
                    _ => write_arrivals(1, &[], 0, out),
                });
            }
            let counted = [
                Counter::TransportFeedbackReceived,
                Counter::SourceFeedbackReceived,
            ];
            let counted: u64 = counted.map(|counter| world.count(counter)).iter().sum();
            let refused = world.count(Counter::FeedbackRefused);
            let expected = if is_heard {
                (60 * u64::from(nth > 0), 0)
            } else {
                (0, 60)
            };
            assert_eq!((counted, refused), expected, "{kind:?}");
            if nth == 0 {
                let is_low = cell.counters().estimate_bps <= 60_000;
                assert_eq!(is_low, is_heard, "{}", cell.counters().estimate_bps);
            }
        }
    }
}

/// A source of 0 is none: not that of the video which a listener does not take.
#[test]
fn who_only_listens_cannot_call_for_pictures() {
    let (mut world, mut source) = watching(|tracks| tracks[VIDEO] = TrackOut::default());
    let entry = FirEntry {
        ssrc: 0,
        sequence: 9,
    };
    world.feedback(0, |out| write_pli(1, 0, out));
    world.feedback(0, |out| write_fir(1, &[entry], out));
    source.video(world.now, false, &DELTA);
    world.run(50, 1);
    assert_eq!(world.count(Counter::PliReceived), 0);
    assert_eq!(world.count(Counter::KeyframeReplayed), 0);
    assert!(world.viewers[0].got[VIDEO].is_empty());
}

/// Reports that cannot be true, estimates at both ends, formats of nobody, clocks without number.
#[test]
fn reports_that_cannot_be_true_cost_nothing() {
    let (mut world, mut source) = watching(|_| {});
    let ssrc = world.viewers[0].video_ssrc();
    // On a source of somebody else.
    let other = ReportBlock {
        ssrc: ssrc + 77,
        fraction_lost: 200,
        cumulative_lost: 99,
        jitter: 9,
        // A round trip of half a second.
        last_sr: ntp(world.now).middle().wrapping_sub(0x8000),
        ..ReportBlock::default()
    };
    world.feedback(0, |out| write_receiver_report(1, &[other], b"p", out));
    world.run(1100, 10);
    let cell = world.region.viewer(world.viewers[0].id()).unwrap();
    let told = cell.counters();
    assert_eq!((told.fraction_lost, told.lost, told.jitter), (0, 0, 0));
    assert_eq!(told.rtt_us, 0);
    let sent = world.viewers[0].rtcp.len();
    for nth in 0..1000_u32 {
        let block = ReportBlock {
            ssrc,
            fraction_lost: 255,
            cumulative_lost: [0x7f_ffff, -0x80_0000][nth as usize % 2],
            highest_sequence: nth.wrapping_mul(0x9e37_79b9),
            jitter: u32::MAX,
            last_sr: nth.wrapping_mul(0x1234_5678) | 1,
            delay_since_last_sr: [0, u32::MAX][nth as usize % 2],
        };
        world.feedback(0, |out| write_receiver_report(1, &[block], b"p", out));
        let bps = [0, 1 << 63, u64::MAX][nth as usize % 3];
        world.feedback(0, |out| write_remb(1, bps, &[ssrc], out));
        // TMMBR and TMMBN (RFC 5104): not ours.
        for format in [0x83, 0x84] {
            world.feedback(0, |out| {
                let message = [
                    [format, 205, 0, 4],
                    [0; 4],
                    [0; 4],
                    ssrc.to_be_bytes(),
                    [0xff; 4],
                ];
                out[..20].copy_from_slice(&message.concat());
                20
            });
        }
        let clock = Ntp(u64::from(nth) << 32 | 1);
        world.feedback(0, |out| write_receiver_reference_time(1, clock, out));
    }
    let now = world.now;
    source.video(now, false, &DELTA);
    world.run(3000, 10);
    // Asked for by nobody: a report each second, and one echo of the newest clock in all.
    let reports = &world.viewers[0].rtcp[sent..];
    assert!((2..=4).contains(&reports.len()), "{}", reports.len());
    let items = reports.iter().flat_map(|plain| compound(plain));
    let echoes = items.filter_map(|item| match item {
        Item::ExtendedReport(report) => Some(
            report
                .blocks()
                .map(|block| match block {
                    XrBlock::Dlrr(items) => items.map(|item| item.last_rr).collect(),
                    other => panic!("{other:?}"),
                })
                .collect::<Vec<Vec<u32>>>()
                .concat(),
        ),
        _ => None,
    });
    assert_eq!(echoes.collect::<Vec<_>>().concat(), [999 << 16]);
    assert_eq!(world.count(Counter::RtcpMalformed), 0);
    assert!(world.events().is_empty());
    world.viewers[0].assert_continuous();
}

/// Texts as long as can be, applications' own, goodbyes of others: passed over.
#[test]
fn texts_and_goodbyes_of_others_change_nothing() {
    let (mut world, mut source) = watching(|_| {});
    world.feedback(0, |out| write_receiver_report(5, &[], b"p", out));
    let heard = world.count(Counter::ReportReceived);
    for nth in 0..100_u8 {
        world.feedback(0, |out| write_bye(&[6, 99, u32::from(nth) + 1000], out));
        world.feedback(0, |out| {
            // Three texts of 255 bytes in one chunk, and its end.
            let mut chunk = vec![0x81, 202, 0, 0, 0, 0, 0, 5];
            for kind in 1..4 {
                chunk.extend([kind, 255]);
                chunk.extend([nth; 255]);
            }
            chunk.resize((chunk.len() + 1).next_multiple_of(4), 0);
            chunk[3] = u8::try_from(chunk.len() / 4 - 1).unwrap();
            out[..chunk.len()].copy_from_slice(&chunk);
            chunk.len()
        });
        world.feedback(0, |out| {
            out[..1000].fill(nth);
            out[..8].copy_from_slice(&[0x9f, 204, 0, 249, 0, 0, 0, 5]);
            1000
        });
    }
    assert_eq!(world.count(Counter::ReportReceived), heard + 300);
    assert!(world.events().is_empty());
    // Lies are counted, and what stands behind them in the compound is not acted upon.
    let ssrc = world.viewers[0].video_ssrc();
    for lie in [
        [0x81, 202, 0, 2],
        [0x80, 204, 0, 1],
        [0x83, 203, 0, 2],
        [0x9f, 201, 0, 2],
    ] {
        world.feedback(0, |out| {
            out[..12].fill(0xff);
            out[..4].copy_from_slice(&lie);
            let used = 4 + 4 * usize::from(lie[3]);
            used + write_pli(1, ssrc, &mut out[used..])
        });
    }
    assert_eq!(world.count(Counter::RtcpMalformed), 4);
    assert_eq!(world.count(Counter::PliReceived), 0);
    source.video(world.now, false, &DELTA);
    world.run(20, 1);
    world.viewers[0].assert_continuous();
}

/// What was not negotiated with a publisher is not sent to it.
#[test]
fn a_publisher_is_sent_nothing_that_it_did_not_negotiate() {
    let mut world = World::new();
    let stream = world.region.open_stream(0, "live/mute").unwrap();
    let mut peer = Peer::join_with(&mut world, stream, |add: &mut AddPublisher| {
        add.lanes[VIDEO].wants = Wants::default();
        add.transport_cc_id = 0;
        add.remb_bps = 0;
    });
    let viewer = world.join(stream);
    let first = peer.frame(true, 3);
    peer.send(&mut world, &first);
    for _ in 0..100 {
        let mut frame = peer.frame(false, 4);
        frame.remove(1);
        peer.send(&mut world, &frame);
        let ssrc = world.viewers[viewer].video_ssrc();
        world.feedback(viewer, |out| write_pli(1, ssrc, out));
        world.run(33, 1);
    }
    world.run(1100, 10);
    assert!(intake(&world, stream).lost >= 99);
    let answers = peer.answers(&world);
    assert!(answers.reports >= 3, "{answers:?}");
    let sent = (answers.nacks, answers.plis, answers.firs.len());
    assert_eq!(sent, (0, 0, 0));
    assert_eq!((answers.transports, answers.estimates.len()), (0, 0));
}
