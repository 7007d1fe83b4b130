//! A plane leaves everything to another one, while both are well: nobody notices.

use freshet_plane::{Blank, Cipher, Outlets, Plane};
use link::command::{AUDIO, Command, Pin, VIDEO};
use link::event::Event;
use link::ids::CoreId;
use link::stats::Counter;
use link::viewer::Lease;
use wire::rtcp_feedback::write_nack;

use crate::viewer::Got;
use crate::whip::publishing;
use crate::world::{LIMITS, World, frame_of};

fn low(index: u64) -> u16 {
    u16::try_from(index & 0xffff).unwrap()
}

/// Every tenth packet of a publisher comes as a repair only, and every seventh of the viewer's is
/// asked for again 70 ms later: about as often from before a handover as from after it.
#[test]
fn neither_the_publisher_nor_its_viewers_notice() {
    let (mut world, _, mut peer) = publishing();
    let asking = world.viewers.len() - 1;
    let (mut sent, mut asked) = (Vec::new(), 0);
    for nth in 0..120_u64 {
        if nth % 3 == 0 {
            world.hand_over(0);
        }
        if nth % 6 == 0 {
            world.tell_ahead(usize::MAX);
        }
        let mut frame = peer.frame(nth % 60 == 59, 7);
        let lost = frame.remove(usize::try_from(nth % 7).unwrap());
        let sound = peer.sound();
        peer.send(&mut world, &frame);
        peer.send(&mut world, &[sound]);
        sent.push(lost);
        world.run(10, 2);
        if nth % 3 == 1 {
            // The gap is known to the plane before, and its repair comes to this one.
            world.hand_over(0);
        }
        world.run(10, 2);
        for sequence in peer.answers(&world).lost {
            let repair = peer.repair(sequence);
            peer.send(&mut world, &[repair]);
        }
        world.run(13, 1);
        let got = &world.viewers[asking].got[VIDEO];
        if let Some(packet) = got.len().checked_sub(15).map(|at| low(got[at].index)) {
            let ssrc = world.viewers[asking].video_ssrc();
            world.feedback(asking, |out| write_nack(1, ssrc, &[packet], out));
            asked += 1;
        }
    }
    world.run(100, 1);
    let viewer = &world.viewers[asking];
    viewer.assert_continuous();
    assert_eq!(viewer.got[VIDEO].len(), 3 + 120 * 7);
    assert_eq!(viewer.got[AUDIO].len(), 120);
    let frames = viewer.got[VIDEO].iter().map(|got| frame_of(&got.payload).0);
    assert!(frames.is_sorted());
    assert_eq!(viewer.rtx.len(), asked);
    // A death after many handovers skips no more than one after none.
    let last = viewer.got[VIDEO].last().unwrap().index;
    let leased = world
        .region
        .viewer(viewer.id())
        .unwrap()
        .lease(Lease::Video);
    assert!(leased > last && leased <= last + 4097, "{last} {leased}");
    assert_eq!(world.count(Counter::RtpUnusable), 0);
    assert_eq!(world.count(Counter::RtpLost), 0);
    // What was lost comes late, and what has come comes once more: neither plane takes it again.
    let before = world.viewers[asking].got[VIDEO].len();
    let again = peer.frame(false, 1);
    peer.send(&mut world, &again);
    world.hand_over(0);
    peer.send(&mut world, &again);
    peer.send(&mut world, &sent);
    world.run(50, 1);
    assert_eq!(world.viewers[asking].got[VIDEO].len(), before + 1);
    assert_eq!(world.count(Counter::SrtpRefusedReplay), 1);
}

/// What two viewers get who join two seconds of pictures, with a handover in every millisecond of
/// their catching up, or without.
fn joined(hands_over: bool) -> Vec<Vec<Got>> {
    let mut world = World::new();
    let mut source = world.source(0);
    source.second(&mut world);
    source.second(&mut world);
    let first = world.join(source.id);
    let second = world.viewer(source.id).without_rtx();
    let viewers = [first, world.add(second)];
    for _ in 0..40 {
        if hands_over {
            world.tell_ahead(1);
        }
        world.turn(1);
        if hands_over {
            world.hand_over(0);
        }
    }
    source.second(&mut world);
    let viewers = viewers.map(|viewer| &world.viewers[viewer]);
    viewers.iter().for_each(|viewer| viewer.assert_continuous());
    viewers.map(|viewer| viewer.got[VIDEO].clone()).into()
}

#[test]
fn whoever_catches_up_goes_on_catching_up() {
    let got = joined(true);
    assert!(got[0].len() > 60, "{}", got[0].len());
    assert_eq!(got, joined(false));
}

#[test]
fn pins_credentials_and_addresses_are_kept() {
    let mut world = World::new();
    let mut source = world.source(0);
    let viewer = world.join(source.id);
    source.second(&mut world);
    let id = world.viewers[viewer].id();
    let now = world.now;
    let pin = Pin {
        temporal_max: 1,
        ..Pin::NONE
    };
    world.plane().apply(now, &Command::ChooseLayer(id, pin));
    let mut ice = world.viewers[viewer].add.ice;
    ice.ufrag = link::ids::ufrag(id.index, [200; 12]);
    ice.pwd.fill(b'z');
    let restart = Command::RestartIce { viewer: id, ice };
    world.plane().apply(now, &restart);
    world.hand_over(0);
    // The check that moves it comes to the next plane.
    let check = world.viewers[viewer].check(&ice, true);
    let at = crate::viewer::address(77, 7);
    world.send(0, at, &check);
    assert_eq!(world.count(Counter::ViewerMoved), 1);
    world.viewers[viewer].at = at;
    world.hand_over(0);
    let before = world.viewers[viewer].got[VIDEO].len();
    source.second(&mut world);
    let got = world.viewers[viewer].got[VIDEO].len() - before;
    assert!(got > 20, "{got}");
    world.viewers[viewer].assert_continuous();
    // A check that was overheard before is answered, and moves nobody.
    world.send(0, crate::viewer::address(78, 8), &check);
    world.run(50, 1);
    assert_eq!(world.count(Counter::ViewerMoved), 1);
}

/// Everybody is told of ahead; then one goes, one comes, one moves, one pins a layer and one does
/// nothing, and the media goes on.
#[test]
fn what_changes_after_it_was_told_is_told_again() {
    let mut world = World::new();
    let mut source = world.source(0);
    let viewers = [(); 4].map(|()| world.join(source.id));
    source.second(&mut world);
    assert!(!world.tell_ahead(3));
    source.second(&mut world);
    assert!(world.tell_ahead(3));
    let [goes, moves, pins, stays] = viewers;
    let id = |viewer: usize| world.viewers[viewer].id();
    let gone = Command::RemoveViewer(id(goes));
    let pin = Pin {
        temporal_max: 1,
        ..Pin::NONE
    };
    let pinned = Command::ChooseLayer(id(pins), pin);
    let now = world.now;
    world.plane().apply(now, &gone);
    world.plane().apply(now, &pinned);
    let ice = world.viewers[moves].add.ice;
    let check = world.viewers[moves].check(&ice, true);
    let at = crate::viewer::address(77, 7);
    world.send(0, at, &check);
    assert_eq!(world.count(Counter::ViewerMoved), 1);
    world.viewers[moves].at = at;
    let comes = world.join(source.id);
    source.second(&mut world);
    let left = world.hand_over(0);
    // Whole of those who came or changed; a row of those who did not.
    let kinds = kinds(&left);
    let of = |kind: u32| kinds.iter().filter(move |(one, _)| *one == kind);
    assert_eq!(of(2).count(), 3, "comes, moves, pins");
    assert_eq!(of(6).count(), 1, "stays");
    let got = |world: &World, viewer: usize| world.viewers[viewer].got[VIDEO].len();
    let before = viewers.map(|viewer| got(&world, viewer));
    source.second(&mut world);
    assert_eq!(got(&world, goes), before[0]);
    for (viewer, before) in [moves, pins, stays].into_iter().zip(&before[1..]) {
        assert!(got(&world, viewer) > before + 20);
        world.viewers[viewer].assert_continuous();
    }
    world.viewers[comes].assert_continuous();
    assert_eq!(world.count(Counter::ViewerRefused), 0);
}

/// What is told ahead of one viewer is not put down as another's, and who was not told of ahead is
/// not served by what is left.
#[test]
fn rows_without_what_was_told_are_refused() {
    let mut world = World::new();
    let mut source = world.source(0);
    let viewer = world.join(source.id);
    source.second(&mut world);
    assert!(world.tell_ahead(8));
    let plane = world.plane();
    let mut left = Vec::new();
    plane.hand_over(true, &mut left).unwrap();
    assert!(kinds(&left).iter().any(|(kind, _)| *kind == 6));
    drop(world.planes.remove(0));
    let outlets = Outlets::take(&world.region, CoreId(0)).unwrap();
    let mut next = Plane::new(CoreId(0), &LIMITS, outlets, 1);
    next.go_on(world.now, &left).unwrap();
    world.planes.insert(0, next);
    assert_eq!(world.count(Counter::ViewerRefused), 1);
    let refused = Event::ViewerRefused(world.viewers[viewer].id());
    assert!(world.events().contains(&refused));
}

/// The kinds of the parts of a handover, and their lengths.
fn kinds(mut left: &[u8]) -> Vec<(u32, usize)> {
    let mut kinds = Vec::new();
    while let Some((kind, rest)) = left.split_first_chunk()
        && let Some((length, rest)) = rest.split_first_chunk()
    {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
        kinds.push((u32::from_le_bytes(*kind), length));
        left = &rest[length..];
    }
    kinds
}

#[test]
fn what_another_release_has_is_passed_over_and_damage_is_told() {
    let (mut world, _, mut peer) = publishing();
    let mut left = Vec::new();
    world.plane().hand_over(false, &mut left).unwrap();
    let newer = of_tomorrow(&left);
    assert!(newer.len() > left.len());
    drop(world.planes.remove(0));
    let next = |world: &World| {
        let outlets = Outlets::take(&world.region, CoreId(0)).unwrap();
        Plane::new(CoreId(0), &LIMITS, outlets, 1)
    };
    for cut in [1, 7, left.len() / 2, left.len() - 1] {
        let error = next(&world).go_on(world.now, &left[..cut]).unwrap_err();
        assert!(error.to_string().contains("is damaged"), "{error}");
    }
    let mut odd = left.clone();
    odd[8] = 0xff;
    let error = next(&world).go_on(world.now, &odd).unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    let mut next = next(&world);
    next.go_on(world.now, &newer).unwrap();
    world.planes.insert(0, next);
    let frame = peer.frame(false, 3);
    peer.send(&mut world, &frame);
    world.run(10, 1);
    assert_eq!(world.viewers.last().unwrap().got[VIDEO].len(), 6);
}

/// The same with a part of another kind before each, and something new in every map.
fn of_tomorrow(mut left: &[u8]) -> Vec<u8> {
    let mut newer = Vec::new();
    while let Some((kind, rest)) = left.split_first_chunk::<4>()
        && let Some((length, rest)) = rest.split_first_chunk()
    {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
        let (part, rest) = rest.split_at(length);
        let mut tree: ciborium::Value = ciborium::from_reader(part).unwrap();
        add_unknown(&mut tree);
        let mut changed = Vec::new();
        ciborium::into_writer(&tree, &mut changed).unwrap();
        newer.extend([99, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3]);
        newer.extend(kind);
        newer.extend(u32::try_from(changed.len()).unwrap().to_le_bytes());
        newer.extend(changed);
        left = rest;
    }
    newer
}

/// Gives every map one more entry.
fn add_unknown(tree: &mut ciborium::Value) {
    match tree {
        ciborium::Value::Array(all) => all.iter_mut().for_each(add_unknown),
        ciborium::Value::Map(all) => {
            all.iter_mut().for_each(|(_, value)| add_unknown(value));
            all.push(("of_tomorrow".into(), vec![ciborium::Value::from(1)].into()));
        }
        _ => {}
    }
}

/// What a worker of the first release that could leave anything has left, and the first that could
/// tell ahead has told and left: every later one has to read it. `FRESHET_BLESS=1` writes down what
/// this one leaves; what was there must stay readable.
#[test]
fn what_the_first_release_left_is_understood() {
    for names in [["", "left-1.cbor"], ["told-1.bin", "rest-1.bin"]] {
        let (mut world, stream, _) = publishing();
        let path = |name| format!("{}/tests/scenarios/{name}", env!("CARGO_MANIFEST_DIR"));
        let [told, left] = names.map(path);
        let is_told = !names[0].is_empty();
        if std::env::var_os("FRESHET_BLESS").is_some() {
            let (mut ahead, mut rest) = (Vec::new(), Vec::new());
            let plane = world.plane();
            plane.begin_ahead();
            if is_told {
                assert!(plane.tell_ahead(usize::MAX, &mut ahead).unwrap());
                std::fs::write(&told, ahead).unwrap();
            }
            plane.hand_over(is_told, &mut rest).unwrap();
            std::fs::write(&left, rest).unwrap();
        }
        let read = |path| std::fs::read(path).unwrap();
        let told = if is_told { read(told) } else { Vec::new() };
        let left = read(left);
        assert_eq!(is_told, kinds(&left).iter().any(|(kind, _)| *kind == 6));
        drop(world.planes.remove(0));
        let mut blank = Blank::new(CoreId(0), &LIMITS, 1);
        let (now, region) = (world.now, &world.region);
        let learnt = blank.learn(now, region, Cipher::best(), &mut &told[..], 9);
        learnt.unwrap();
        let mut next = blank.with(Outlets::take(region, CoreId(0)).unwrap());
        next.go_on(now, &left).unwrap();
        next.tick(now, 0);
        world.planes.insert(0, next);
        let stats = world.region.stream_stats(stream, CoreId(0)).unwrap();
        assert_eq!(stats.viewers(), 1);
        assert_eq!(world.count(Counter::PublisherActive), 1);
        let refused = [Counter::ViewerRefused, Counter::PublisherRefused];
        assert_eq!(refused.map(|counter| world.count(counter)), [0, 0]);
    }
}
