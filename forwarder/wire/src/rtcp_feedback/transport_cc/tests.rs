//! Messages laid out by hand, round trips against a list of what came, lies.

use proptest::prelude::*;
use std::collections::BTreeMap;

use super::record::TICK_NS;
use super::*;
use crate::rtcp::{Item, compound};
use crate::rtcp_feedback::Message;
use crate::time::{Span, Time};

fn fci(bytes: &[u8]) -> &[u8] {
    let mut items = compound(bytes);
    let Some(Item::Feedback(feedback)) = items.next() else {
        panic!("no feedback");
    };
    assert!(items.next().is_none() && items.malformed().is_none());
    match feedback.message {
        Message::TransportCc(fci) => fci,
        other => panic!("{other:?}"),
    }
}

/// When what a message tells came, in ticks; packets that did not come are left out.
fn told(bytes: &[u8]) -> Vec<(u16, i64)> {
    let message = TransportCc::parse(fci(bytes)).unwrap();
    let reference = i64::from(message.reference) * 256;
    let came = message.packets().filter_map(|packet| {
        let arrival = packet.arrival?;
        Some((packet.sequence, reference + arrival))
    });
    came.collect()
}

fn at(ticks: u64) -> Time {
    Time(ticks * TICK_NS)
}

#[test]
fn a_message_has_its_layout() {
    let mut recorder = TransportRecorder::new();
    let mut out = [0; 64];
    assert_eq!(recorder.write(1, 2, &mut out), 0);
    // 5 and 6 are missing, 7 overtook 8, and 9 came a second later.
    for (sequence, ticks) in [(4, 1000), (8, 1003), (7, 1004), (9, 5004)] {
        recorder.record(sequence, at(ticks));
    }
    let used = recorder.write(1, 2, &mut out);
    #[rustfmt::skip]
    assert_eq!(out[..used], [
        0x8f, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2,
        0, 4, 0, 6, 0, 0, 3, 0,
        // Small, none, none, small, large, large: a vector.
        0b1101_0000, 0b0110_1000,
        232, 4, 0xff, 0xff, 0x0f, 0xa1,
    ]);
    assert_eq!(
        told(&out[..used]),
        [(4, 1000), (7, 1004), (8, 1003), (9, 5004)]
    );
    assert_eq!(recorder.write(1, 2, &mut out), 0);
}

#[test]
fn a_run_is_told_by_its_length() {
    let mut recorder = TransportRecorder::new();
    let mut out = [0; 64];
    for sequence in 0..10_u16 {
        recorder.record(0xfffc_u16.wrapping_add(sequence), at(512));
    }
    let used = recorder.write(7, 8, &mut out);
    #[rustfmt::skip]
    assert_eq!(out[..used], [
        0x8f, 205, 0, 7, 0, 0, 0, 7, 0, 0, 0, 8,
        0xff, 0xfc, 0, 10, 0, 0, 2, 0,
        0x20, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ]);
    // The next begins where this one ended, with what is missing.
    recorder.record(9, at(600));
    let used = recorder.write(7, 8, &mut out);
    let message = TransportCc::parse(fci(&out[..used])).unwrap();
    assert_eq!((message.base_sequence, message.count), (6, 4));
    assert_eq!((message.reference, message.feedback_count), (2, 1));
    assert_eq!(told(&out[..used]), [(9, 600)]);
}

#[test]
fn who_overtook_a_report_is_told_alone() {
    let mut recorder = TransportRecorder::new();
    let mut out = [0; 64];
    for sequence in [10, 11, 14] {
        recorder.record(sequence, at(100));
    }
    assert!(recorder.write(1, 2, &mut out) > 0);
    for sequence in [12, 11, 15] {
        recorder.record(sequence, at(140));
    }
    let used = recorder.write(1, 2, &mut out);
    let message = TransportCc::parse(fci(&out[..used])).unwrap();
    assert_eq!((message.base_sequence, message.count), (12, 1));
    let used = recorder.write(1, 2, &mut out);
    let message = TransportCc::parse(fci(&out[..used])).unwrap();
    assert_eq!((message.base_sequence, message.count), (15, 1));
    assert!(!recorder.has_news());
}

#[test]
fn what_does_not_fit_goes_into_another_message() {
    let mut recorder = TransportRecorder::new();
    // 8.2 s apart: more than 2^15 ticks.
    recorder.record(1, at(1000));
    recorder.record(2, at(1000 + 0x8000));
    let mut out = [0; 1500];
    let first = recorder.write(1, 2, &mut out);
    assert_eq!(told(&out[..first]), [(1, 1000)]);
    let second = recorder.write(1, 2, &mut out);
    assert_eq!(told(&out[..second]), [(2, 1000 + 0x8000)]);
    // Every other packet is missing, and each is a second after the last.
    for nth in 0..500_u16 {
        recorder.record(3 + 2 * nth, at(40_000 + 4000 * u64::from(nth)));
    }
    let mut all = Vec::new();
    let mut messages = 0;
    while recorder.has_news() {
        let used = recorder.write(1, 2, &mut out);
        assert!(used > 0 && used <= TRANSPORT_BYTES_MAX);
        all.extend(told(&out[..used]));
        messages += 1;
    }
    assert_eq!(all.len(), 500);
    assert!(messages == 2, "{messages}");
    // No room for anything: nothing is lost by it.
    recorder.record(1003, at(9_000_000));
    assert_eq!(recorder.write(1, 2, &mut out[..20]), 0);
    assert!(recorder.write(1, 2, &mut out) > 0);
}

#[test]
fn every_kind_of_chunk_is_read() {
    #[rustfmt::skip]
    let fci = [
        0xff, 0xff, 0, 20, 0, 0, 1, 9,
        // One bit each: 1 0 1, then 11 times 0; a run of 4 large; two bits each: 2 0 (and rest).
        0b1010_1000, 0, 0x40, 4, 0b1110_0000, 0,
        5, 6, 0, 1, 0xff, 0xff, 0, 2, 0x7f, 0xff, 0x80, 0,
    ];
    let message = TransportCc::parse(&fci).unwrap();
    let came: Vec<_> = message.packets().collect();
    assert_eq!(came.len(), 20);
    let of = |sequence, arrival| TransportPacket { sequence, arrival };
    assert_eq!(
        came[..3],
        [of(0xffff, Some(5)), of(0, None), of(1, Some(11))]
    );
    assert_eq!(came[14..16], [of(13, Some(12)), of(14, Some(11))]);
    assert_eq!(
        came[17..],
        [of(16, Some(0x800c)), of(17, Some(12)), of(18, None)]
    );
    // A delta less than the statuses say.
    assert!(TransportCc::parse(&fci[..25]).is_none());
    // More statuses than chunks.
    let mut many = fci;
    many[2] = 0xff;
    assert!(TransportCc::parse(&many).is_none());
    assert!(TransportCc::parse(&fci[..7]).is_none());
    // 65,535 of which nothing is said but that 20 did not come.
    assert!(TransportCc::parse(&[0, 0, 0xff, 0xff, 0, 0, 1, 9, 0, 20]).is_none());
    assert!(TransportCc::parse(&[0, 0, 0, 20, 0, 0, 1, 9, 0, 20]).is_some());
}

proptest! {
    #[test]
    fn what_came_is_told_once(
        start: u16,
        steps in prop::collection::vec((-6..12_i32, 0..200_u64, 0..20_u8), 1..400),
    ) {
        let mut recorder = TransportRecorder::new();
        let mut came = BTreeMap::new();
        let mut heard = BTreeMap::new();
        let mut out = [0; 1200];
        let mut number = i64::from(start) + (1 << 20);
        let mut now = Time(Span::secs(77).0);
        let mut collect = |recorder: &mut TransportRecorder| {
            let mut reports = 0;
            while recorder.has_news() {
                let used = recorder.write(1, 2, &mut out);
                assert!(used > 0, "nothing told of what is new");
                reports += 1;
                for (sequence, tick) in told(&out[..used]) {
                    assert_eq!(heard.insert((sequence, tick), reports), None, "told twice");
                }
            }
        };
        for &(step, ticks, fate) in &steps {
            number += i64::from(step);
            now = now + Span(ticks * TICK_NS);
            let sequence = u16::try_from(number & 0xffff).unwrap();
            recorder.record(sequence, now);
            came.entry(number).or_insert(now.0 / TICK_NS);
            if fate == 0 {
                collect(&mut recorder);
            }
        }
        collect(&mut recorder);
        let expected: Vec<_> = came
            .iter()
            .map(|(number, ticks)| {
                let sequence = u16::try_from(number & 0xffff).unwrap();
                (sequence, i64::try_from(*ticks).unwrap())
            })
            .collect();
        for packet in &expected {
            prop_assert!(heard.contains_key(packet), "{packet:?} of {} missing", expected.len());
        }
        prop_assert_eq!(heard.len(), expected.len());
    }

    #[test]
    fn any_bytes_end(fci in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(message) = TransportCc::parse(&fci) {
            prop_assert_eq!(message.packets().count(), usize::from(message.count));
        }
    }

    #[test]
    fn any_numbers_are_bounded(
        numbers in prop::collection::vec((any::<u16>(), any::<u64>()), 1..99),
    ) {
        let mut recorder = TransportRecorder::new();
        let mut out = [0; 1200];
        for &(sequence, time) in &numbers {
            recorder.record(sequence, Time(time));
            let mut messages = 0;
            while recorder.has_news() {
                prop_assert!(recorder.write(1, 2, &mut out) > 0);
                messages += 1;
                prop_assert!(messages < 3);
            }
        }
    }
}
