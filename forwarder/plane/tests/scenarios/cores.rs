//! Two cores: a viewer whose datagrams arrive at the core that does not serve it.

use link::command::{Command, VIDEO};
use link::event::Event;
use link::ids::CoreId;
use link::limits::Limits;
use link::stats::Counter;
use wire::rtcp_feedback::write_pli;

use crate::peer::Peer;
use crate::viewer::address;
use crate::world::{DELTA, KEY, LIMITS, World};

/// Carries parcels between the cores until there are none.
pub fn carry(world: &mut World) -> usize {
    let mut carried = 0;
    loop {
        let mut moved = Vec::new();
        for plane in &mut world.planes {
            moved.extend(std::iter::from_fn(|| plane.handoff().copied()));
        }
        if moved.is_empty() {
            return carried;
        }
        carried += moved.len();
        for mut parcel in moved {
            world.planes[usize::from(parcel.to.0)].parcel(&mut parcel);
        }
    }
}

fn two_cores() -> World {
    World::with(&Limits { cores: 2, ..LIMITS })
}

#[test]
fn viewers_on_both_cores_read_one_log() {
    let mut world = two_cores();
    let mut source = world.source(0);
    let here = world.join(source.id);
    let there = world.viewer(source.id);
    let there = world.add_at(1, there);
    source.second(&mut world);
    for viewer in [here, there] {
        assert_eq!(world.viewers[viewer].got[VIDEO].len(), 9 + 29 * 3);
        world.viewers[viewer].assert_continuous();
    }
}

#[test]
fn a_viewer_that_arrives_at_the_wrong_core_is_handed_to_the_right_one() {
    let mut world = two_cores();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    world.join(source.id);
    world.run(10, 1);
    let (ice, id) = (world.viewers[0].add.ice, world.viewers[0].id());
    assert_eq!(world.region.viewer(id).unwrap().owner(), Some(CoreId(0)));
    let new = address(88, 8);
    // Feedback alone means nothing to the other core.
    let ssrc = world.viewers[0].video_ssrc();
    let early = world.viewers[0].rtcp(|out| write_pli(1, ssrc, out));
    world.send(1, new, &early);
    assert_eq!(carry(&mut world), 0);
    // Forged checks get there, and teach nobody anything.
    let mut wrong = ice;
    wrong.pwd[0] ^= 1;
    let forged = world.viewers[0].check(&wrong, true);
    world.send(1, new, &forged);
    assert_eq!(carry(&mut world), 1);
    assert_eq!(world.count(Counter::StunUnverified), 1);
    // A valid one moves the viewer and teaches the way.
    let check = world.viewers[0].check(&ice, true);
    world.send(1, new, &check);
    assert_eq!(carry(&mut world), 2);
    world.viewers[0].at = new;
    let moved = Event::ViewerMoved(id, new.peer);
    assert!(world.events().contains(&moved));
    source.video(world.now, false, &DELTA);
    world.run(100, 10);
    assert_eq!(world.viewers[0].got[VIDEO].len(), 12);
    assert_eq!(world.viewers[0].stun.len(), 1);
    let plea = world.viewers[0].rtcp(|out| write_pli(1, ssrc, out));
    world.send(1, new, &plea);
    assert_eq!(carry(&mut world), 1);
    assert_eq!(world.count(Counter::PliReceived), 1);
    world.turn(1);
    assert_eq!(world.viewers[0].got[VIDEO].len(), 24);
    world.viewers[0].assert_continuous();
    // Who takes the place of the core at which it arrives knows the way as well.
    world.hand_over(1);
    let plea = world.viewers[0].rtcp(|out| write_pli(1, ssrc, out));
    world.send(1, new, &plea);
    assert_eq!(carry(&mut world), 1);
    // Gone is gone: nothing goes round in circles.
    let now = world.now;
    world.plane().apply(now, &Command::RemoveViewer(id));
    let plea = world.viewers[0].rtcp(|out| write_pli(1, ssrc, out));
    world.send(1, new, &plea);
    assert_eq!(carry(&mut world), 1);
    assert_eq!(world.count(Counter::DatagramUnknownDropped), 1);
}

#[test]
fn a_flood_for_another_core_is_bounded() {
    let mut world = two_cores();
    let source = world.source(0);
    world.join(source.id);
    let ice = world.viewers[0].add.ice;
    let check = world.viewers[0].check(&ice, true);
    for port in 0..1000 {
        world.send(1, address(30, port), &check);
    }
    let stats = world.region.stats(CoreId(1)).unwrap();
    assert_eq!(stats.read(Counter::HandoffSent), 256);
    assert_eq!(stats.read(Counter::HandoffDroppedFull), 744);
}

#[test]
fn a_publisher_that_arrives_at_the_wrong_core_is_handed_to_the_right_one() {
    let mut world = two_cores();
    let stream = world.region.open_stream(0, "live/whip").unwrap();
    let mut peer = Peer::join(&mut world, stream);
    let there = world.viewer(stream);
    let there = world.add_at(1, there);
    let frame = peer.frame(true, 3);
    peer.send(&mut world, &frame);
    world.run(10, 1);
    assert_eq!(world.viewers[there].got[VIDEO].len(), 3);
    // It moves, and its new address belongs to the other core.
    let new = address(88, 8);
    let ice = world.viewers[peer.viewer].add.ice;
    let check = world.viewers[peer.viewer].check(&ice, true);
    world.send(1, new, &check);
    assert_eq!(carry(&mut world), 2);
    world.viewers[peer.viewer].at = new;
    let frame = peer.frame(true, 200);
    for packet in &frame {
        world.send(1, new, packet);
    }
    assert_eq!(carry(&mut world), 200);
    world.run(150, 1);
    assert_eq!(world.viewers[there].got[VIDEO].len(), 203);
    world.viewers[there].assert_continuous();
    // What goes back finds it.
    let answers = peer.answers(&world);
    assert!(answers.reports > 0 && answers.transports > 0);
}
