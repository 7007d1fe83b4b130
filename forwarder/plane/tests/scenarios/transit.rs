//! How long packets were inside: from the kernel's stamp until the last viewer has been served.

use link::ids::CoreId;
use link::log::{Entry, Flags, Record};
use link::stats::Counter;
use link::transit::Distribution;
use wire::datagram::RxSink;
use wire::rtcp_feedback::write_nack;
use wire::time::{Span, Time};

use crate::publish::{Encoder, opened};
use crate::viewer::address;
use crate::world::World;

/// What has been counted since `before`, and the shortest and longest of it in microseconds. A
/// sixteenth is what buckets are wide.
fn since(world: &World, entry: Entry, before: &Distribution) -> (u64, u64, u64) {
    let news = read(world, entry).since(before);
    let us = |share| news.quantile(share).unwrap_or_default().as_micros();
    (news.count(), us(0.0), us(1.0))
}

fn read(world: &World, entry: Entry) -> Distribution {
    world.region.stats(CoreId(0)).unwrap().transit(entry)
}

/// Datagrams that the kernel received at `came`, in the world's turn of now.
fn receive(world: &mut World, came: Option<Time>, datagrams: &[Vec<u8>]) {
    let now = world.now;
    let plane = world.plane();
    plane.begin(now);
    for datagram in datagrams {
        plane.came(came);
        plane.datagram(address(200, 7000), &mut datagram.clone());
    }
}

/// The rest of the turn, which ends `us` after it began with all of it sent or not.
fn finish(world: &mut World, us: u64, is_all: bool) {
    let now = world.now;
    world.planes[0].fan_out(now, &mut world.sink);
    world.planes[0].flushed(now + Span::micros(us), is_all);
    world.deliver();
}

/// A world with two viewers whose first packets have been counted.
fn watched() -> (World, Encoder) {
    let (mut world, stream, mut encoder) = opened();
    world.join(stream);
    finish(&mut world, 0, true);
    world.run(40, 1);
    let key = encoder.frame(true, 2);
    receive(&mut world, None, &key);
    finish(&mut world, 0, true);
    assert_eq!(read(&world, Entry::Network).count(), 0);
    (world, encoder)
}

#[test]
fn each_packet_counts_once_from_its_stamp_to_the_end_of_the_flush() {
    let (mut world, mut encoder) = watched();
    let none = Distribution::default();
    let frame = encoder.frame(false, 3);
    let now = world.now;
    receive(&mut world, Some(now - Span::micros(800)), &frame[..1]);
    receive(&mut world, Some(now - Span::micros(300)), &frame[1..]);
    let got = [0, 1].map(|viewer: usize| world.viewers[viewer].got[0].len());
    finish(&mut world, 200, true);
    for (viewer, got) in world.viewers.iter().zip(got) {
        assert_eq!(viewer.got[0].len(), got + 3);
    }
    let (count, least, most) = since(&world, Entry::Network, &none);
    assert_eq!(count, 3, "not once for each viewer");
    assert!((500..=532).contains(&least), "{least}");
    assert!((1000..=1063).contains(&most), "{most}");
    let sum = read(&world, Entry::Network).sum_ns();
    assert_eq!(sum, Span::micros(1000 + 500 + 500).0);
}

#[test]
fn what_found_no_room_counts_when_it_has_left() {
    let (mut world, mut encoder) = watched();
    let frame = encoder.frame(false, 3);
    let now = world.now;
    receive(&mut world, Some(now), &frame);
    // One viewer is served, the other has to wait.
    world.sink.room = 1;
    finish(&mut world, 10, true);
    assert_eq!(world.count(Counter::EgressFull), 1);
    assert_eq!(read(&world, Entry::Network).count(), 0);
    world.now = world.now + Span::millis(3);
    world.sink.room = usize::MAX;
    // It is in the port, and the kernel does not take it.
    finish(&mut world, 10, false);
    assert_eq!(read(&world, Entry::Network).count(), 0);
    world.now = world.now + Span::millis(3);
    finish(&mut world, 40, true);
    let (count, least, most) = since(&world, Entry::Network, &Distribution::default());
    assert_eq!(count, 3);
    assert!(least >= 6_040 && most <= 6_420, "{least} {most}");
}

#[test]
fn a_port_that_is_never_empty_does_not_hide_its_delay() {
    let (mut world, mut encoder) = watched();
    let mut told = 0;
    for nth in 0..1000 {
        let frame = encoder.frame(false, 4);
        let now = world.now;
        receive(&mut world, Some(now), &frame);
        finish(&mut world, 0, false);
        world.now = world.now + Span::millis(1);
        if told == 0 && read(&world, Entry::Network).count() > 0 {
            told = nth;
        }
    }
    let all = read(&world, Entry::Network);
    assert!(told > 0 && all.count() >= 2000, "{all:?}");
    assert!(
        all.quantile(0.5).unwrap() > Span::millis(200),
        "the first waited for {told} ms: {all:?}"
    );
}

#[test]
fn what_waited_for_another_counts_from_when_that_came() {
    let (mut world, mut encoder) = watched();
    let frame = encoder.frame(false, 3);
    let early = world.now;
    receive(&mut world, Some(early), &frame[1..]);
    finish(&mut world, 0, true);
    world.now = world.now + Span::millis(9);
    let late = world.now - Span::micros(100);
    receive(&mut world, Some(late), &frame[..1]);
    finish(&mut world, 50, true);
    let (count, least, most) = since(&world, Entry::Network, &Distribution::default());
    assert_eq!(count, 3);
    assert!(least >= 150 && most <= 160, "{least} {most}");
}

#[test]
fn repairs_and_newcomers_do_not_count() {
    let (mut world, mut encoder) = watched();
    let frame = encoder.frame(false, 3);
    let now = world.now;
    receive(&mut world, Some(now), &frame);
    finish(&mut world, 20, true);
    let before = read(&world, Entry::Network);
    assert_eq!(before.count(), 3);
    world.now = world.now + Span::millis(30);
    let lost: Vec<u16> = world.viewers[0].got[0]
        .iter()
        .map(|got| u16::try_from(got.index & 0xffff).unwrap())
        .collect();
    let ssrc = world.viewers[0].video_ssrc();
    world.feedback(0, |out| write_nack(1, ssrc, &lost, out));
    let stream = world.viewers[0].add.stream;
    world.join(stream);
    for _ in 0..20 {
        world.now = world.now + Span::millis(1);
        finish(&mut world, 5, true);
    }
    assert!(world.count(Counter::RetransmissionSent) > 0);
    assert!(world.viewers[2].got[0].len() >= 5, "it has caught up");
    assert_eq!(read(&world, Entry::Network), before);
}

#[test]
fn what_has_no_stamp_is_named_and_not_guessed() {
    let (mut world, mut encoder) = watched();
    let unknown = world.count(Counter::TransitUnknown);
    let frame = encoder.frame(false, 3);
    receive(&mut world, None, &frame);
    finish(&mut world, 20, true);
    assert_eq!(read(&world, Entry::Network).count(), 0);
    assert_eq!(world.count(Counter::TransitUnknown), unknown + 3);
}

#[test]
fn packets_of_the_sidecar_count_apart_from_their_release() {
    let mut world = World::new();
    let mut source = world.source(0);
    world.join(source.id);
    let now = world.now;
    for flags in [Flags::FIRST | Flags::KEY, Flags::LAST] {
        let record = Record {
            flags,
            capture: now,
            arrival: now,
            entry: Entry::Sidecar,
            came: now - Span::micros(70),
            ..Record::default()
        };
        source.writer.append(&record, &[&[0x65; 100]]).unwrap();
    }
    source.writer.publish();
    finish(&mut world, 30, true);
    let (count, least, most) = since(&world, Entry::Sidecar, &Distribution::default());
    assert_eq!(count, 2);
    assert!(least >= 100 && most <= 107, "{least} {most}");
    assert_eq!(read(&world, Entry::Network).count(), 0);
    // A stream that nobody watches here counts for nothing.
    let mut other = world.source(1);
    other.video(now, true, &[100]);
    finish(&mut world, 30, true);
    assert_eq!(world.count(Counter::TransitUnknown), 0);
}
