//! Vectors laid out by hand, round trips, lies.

use proptest::prelude::*;

use super::*;
use crate::rtcp::{Item, compound};

fn feedback(bytes: &[u8]) -> Option<Feedback<'_>> {
    match compound(bytes).next() {
        Some(Item::Feedback(feedback)) => Some(feedback),
        _ => None,
    }
}

fn lost(bytes: &[u8]) -> Vec<u16> {
    match feedback(bytes).unwrap().message {
        Message::Nack(nack) => nack.lost().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bare_nack_is_read_and_written() {
    let bytes = [
        0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe, 0x80, 0x05,
    ];
    assert_eq!(lost(&bytes), [0xfffe, 0xffff, 1, 14]);
    let mut out = [0; 16];
    assert_eq!(write_nack(1, 2, &[0xfffe, 0xffff, 1, 14], &mut out), 16);
    assert_eq!(out, bytes);
    assert_eq!(write_nack(1, 2, &[0xfffe], &mut out[..15]), 0);
    assert_eq!(write_nack(1, 2, &[], &mut out), 0);
}

#[test]
fn all_bits_of_a_mask_are_told() {
    let bytes = [
        0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xf8, 0xff, 0xff, 0, 100, 0, 0,
    ];
    let expected: Vec<_> = (0..17)
        .map(|ahead: u16| 0xfff8_u16.wrapping_add(ahead))
        .chain([100])
        .collect();
    assert_eq!(lost(&bytes), expected);
    let mut out = [0; 20];
    assert_eq!(write_nack(1, 2, &expected, &mut out), 20);
    assert_eq!(out, bytes);
}

#[test]
fn a_pli_has_its_layout() {
    let mut out = [0; 12];
    assert_eq!(write_pli(0x0102_0304, 5, &mut out), 12);
    assert_eq!(out, [0x81, 206, 0, 2, 1, 2, 3, 4, 0, 0, 0, 5]);
    let read = feedback(&out).unwrap();
    assert_eq!((read.sender_ssrc, read.media_ssrc), (0x0102_0304, 5));
    assert!(matches!(read.message, Message::Pli));
    assert_eq!(write_pli(1, 2, &mut out[..11]), 0);
}

#[test]
fn an_estimate_has_its_layout() {
    // 2,000,000 is 0x1e848 times 2^4, or 0x3d090 times 2^3 in 18 bits.
    let mut out = [0; 24];
    assert_eq!(write_remb(1, 2_000_000, &[7], &mut out), 24);
    #[rustfmt::skip]
    assert_eq!(out, [
        0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x0f, 0xd0, 0x90,
        0, 0, 0, 7,
    ]);
    out[17] = 0xff; // 2^63 times the mantissa
    let Message::Remb(remb) = feedback(&out).unwrap().message else {
        panic!("no REMB");
    };
    assert_eq!(remb.bitrate_bps, u64::MAX);
    out[16] = 2; // more streams than there are
    assert!(feedback(&out).is_none());
}

#[test]
fn what_is_not_known_is_handed_on() {
    let mut bytes = [0x8f, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4];
    let message = feedback(&bytes).unwrap().message;
    assert!(matches!(message, Message::TransportCc([1, 2, 3, 4])));
    bytes[1] = 206; // an application's feedback that is no REMB
    let message = feedback(&bytes).unwrap().message;
    assert!(matches!(
        message,
        Message::Unknown {
            packet_type: 206,
            format: 15,
            fci: [1, 2, 3, 4]
        }
    ));
    bytes[0] = 0x84; // a FIR of half an entry
    assert!(feedback(&bytes).is_none());
}

proptest! {
    #[test]
    fn nacks_survive_the_round_trip(
        first: u16,
        steps in proptest::collection::vec(1..40_u16, 1..60),
    ) {
        let mut sequences = vec![first];
        for step in steps {
            sequences.push(sequences[sequences.len() - 1].wrapping_add(step));
        }
        let mut out = [0xee; 400];
        let bytes = write_nack(1, 2, &sequences, &mut out);
        prop_assert_eq!(lost(&out[..bytes]), sequences);
    }

    #[test]
    fn unsorted_nacks_lose_nothing(sequences in proptest::collection::vec(0..200_u16, 1..60)) {
        let mut out = [0xee; 400];
        let bytes = write_nack(1, 2, &sequences, &mut out);
        let mut read = lost(&out[..bytes]);
        let mut sequences = sequences;
        sequences.sort_unstable();
        sequences.dedup();
        read.sort_unstable();
        read.dedup();
        prop_assert_eq!(read, sequences);
    }

    #[test]
    fn commands_survive_the_round_trip(
        entries in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..20),
    ) {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(ssrc, sequence)| FirEntry { ssrc, sequence })
            .collect();
        let mut out = [0xee; 400];
        let bytes = write_fir(9, &entries, &mut out);
        let read = feedback(&out[..bytes]).unwrap();
        let Message::Fir(fir) = read.message else { panic!("no FIR") };
        prop_assert_eq!((read.sender_ssrc, fir.entries().collect::<Vec<_>>()), (9, entries));
    }

    #[test]
    fn estimates_survive_the_round_trip(
        bitrate: u64,
        shift in 0..64_u32,
        ssrcs in proptest::collection::vec(any::<u32>(), 0..20),
    ) {
        let bitrate = bitrate >> shift;
        let mut out = [0xee; 400];
        let bytes = write_remb(9, bitrate, &ssrcs, &mut out);
        let Message::Remb(remb) = feedback(&out[..bytes]).unwrap().message else {
            panic!("no REMB")
        };
        prop_assert_eq!(remb.ssrcs().collect::<Vec<_>>(), ssrcs);
        prop_assert!(remb.bitrate_bps <= bitrate);
        prop_assert!(bitrate - remb.bitrate_bps <= bitrate >> 17);
        if bitrate < 1 << 18 {
            prop_assert_eq!(remb.bitrate_bps, bitrate);
        }
    }
}
