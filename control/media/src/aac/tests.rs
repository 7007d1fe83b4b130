//! Tests of AAC framing.

use super::*;
use proptest::prelude::*;

/// An ADTS frame: AAC-LC, 48 kHz, stereo.
fn adts(payload: &[u8]) -> Vec<u8> {
    let bytes = crate::num::len16(payload.len() + 7).to_be_bytes();
    let mut frame = vec![0xff, 0xf1, 0x4c, 0x80 | bytes[0] >> 3];
    frame.extend([bytes[0] << 5 | bytes[1] >> 3, bytes[1] << 5 | 0x1f, 0xfc]);
    frame.extend(payload);
    frame
}

/// A LOAS element with its configuration: AAC-LC, 48 kHz, stereo.
fn loas(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 255);
    let mut bits: Vec<bool> = Vec::new();
    let mut put = |value: u32, count: u32| {
        (0..count)
            .rev()
            .for_each(|bit| bits.push(value >> bit & 1 == 1));
    };
    put(0, 2); // new configuration, version 0
    put(1, 1); // same timing
    put(0, 13); // one sub-frame, program, layer
    put(2, 5);
    put(3, 4);
    put(2, 4);
    put(0, 3); // no short frames, no core coder, no extension
    put(0, 3);
    put(0xff, 8);
    put(0, 2); // no other data, no checksum
    put(u32::try_from(payload.len()).unwrap(), 8);
    payload.iter().for_each(|&byte| put(u32::from(byte), 8));
    let element: Vec<u8> = bits
        .chunks(8)
        .map(|byte| {
            (0..8).fold(0, |sum, n| {
                sum << 1 | u8::from(*byte.get(n).unwrap_or(&false))
            })
        })
        .collect();
    let bytes = crate::num::len16(element.len()).to_be_bytes();
    [&[0x56, 0xe0 | bytes[0], bytes[1]], element.as_slice()].concat()
}

const CONFIG: AacConfig = AacConfig {
    rate: 48_000,
    channels: 2,
    sbr: false,
};

#[test]
fn frames_over_packet_ends_are_whole_and_timed_rightly() {
    for (kind, pack) in [
        (Kind::AacAdts, adts as fn(&[u8]) -> Vec<u8>),
        (Kind::AacLatm, loas),
    ] {
        let bytes: Vec<u8> = (1..6).flat_map(|n| pack(&[n; 50])).collect();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let (mut framing, mut seen) = (AacFraming::new(kind), Vec::new());
        for part in [first, second] {
            framing.push(part, |timed, frame| {
                let frame = frame.unwrap();
                assert_eq!(frame.config, CONFIG);
                assert!(frame.payload.iter().all(|&byte| byte == frame.payload[0]));
                assert_eq!(frame.payload.len(), 50);
                seen.push((frame.payload[0], timed));
            });
        }
        // The third frame begins in the first packet and ends in the second.
        let expected = [(1, true), (2, false), (3, false), (4, true), (5, false)];
        assert_eq!(seen, expected, "{kind:?}");
    }
}

#[test]
fn other_forms_are_named() {
    let mut frame = adts(&[0; 20]);
    frame[2] = 0x0c; // Main
    AacFraming::new(Kind::AacAdts).push(&frame, |_, frame| {
        assert_eq!(frame, Err(Unsupported::Form("AAC Main")));
    });
    let mut frame = adts(&[0; 20]);
    frame[2] |= 1;
    frame[3] = frame[3] & 0x3f | 0x80; // six channels
    AacFraming::new(Kind::AacAdts).push(&frame, |_, frame| {
        assert_eq!(frame, Err(Unsupported::Channels(6)));
    });
}

proptest! {
    #[test]
    fn noise_is_bounded(
        parts in proptest::collection::vec(
            proptest::collection::vec(
                prop_oneof![Just(0xffu8), Just(0xf1), Just(0x56), Just(0xe0), any::<u8>()],
                0..3000),
            1..6),
    ) {
        for kind in [Kind::AacAdts, Kind::AacLatm] {
            let mut framing = AacFraming::new(kind);
            for part in &parts {
                framing.push(part, |_, _| {});
                prop_assert!(framing.held.len() <= HELD_BYTES_MAX);
            }
        }
    }
}
