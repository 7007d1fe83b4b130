//! Tests of the blocks of elements that viewers are sent.

use link::command::TrackOut;
use link::elements::{AUDIO_LEVEL, CAPTURE_TIME, DESCRIPTOR, KINDS, Sizes};
use link::limits::PAYLOAD_MAX;
use link::log::Flags;
use proptest::prelude::*;
use wire::rtp::Extension;
use wire::rtp_ext::{Block, Elements, PROFILE_ONE_BYTE, PROFILE_TWO_BYTE, find};

use super::{Passing, WIDE_HEADER_BYTES_MAX, cost_max, fit};
use crate::burst::Piece;

fn piece<'a>(elements: &'a [u8], sizes: [u8; KINDS], payload: &'a [u8]) -> Piece<'a> {
    Piece {
        payload,
        elements,
        seq: 0,
        timestamp: 0,
        frame: 0,
        lane: 0,
        spatial: 0,
        temporal: 0,
        flags: Flags::NONE,
        sizes: Sizes(sizes),
        primary_at: 0,
    }
}

/// A track with playout delay and transport-wide numbers in its fixed block, or without a block.
fn track(has_fixed: bool, elements: [u8; KINDS]) -> TrackOut {
    let mut out = TrackOut {
        elements,
        ..TrackOut::default()
    };
    if has_fixed {
        let mut block = Block::new();
        block.push(5, &[1, 2, 3]).unwrap();
        let at = block.push(6, &[0; 2]).unwrap();
        let bytes = block.as_bytes();
        out.ext[..bytes.len()].copy_from_slice(bytes);
        out.ext_bytes = u8::try_from(bytes.len()).unwrap();
        out.transport_cc_at = u8::try_from(at).unwrap();
    }
    out
}

fn written(out: &TrackOut, piece: &Piece<'_>) -> Option<Vec<u8>> {
    let passing = Passing::of(out, piece)?;
    let mut block = [0; WIDE_HEADER_BYTES_MAX];
    passing.write(out, piece, 3, 0x0102, &mut block);
    Some(block[..passing.block_bytes].to_vec())
}

fn read(block: &[u8]) -> Extension<'_> {
    assert_eq!(block.len(), 4 + 4 * usize::from(block[3]));
    Extension {
        profile: u16::from_be_bytes([block[0], block[1]]),
        bytes: &block[4..],
    }
}

#[test]
fn elements_come_behind_the_fixed_ones_under_the_ids_of_the_viewer() {
    let elements = [0x80, 0xff, 0xfe, 0x55, 1, 2, 3, 4, 5, 6, 7, 8];
    let piece = piece(&elements, [3, 1, 8], &[0; 100]);
    for has_fixed in [false, true] {
        let out = track(has_fixed, [9, 10, 11]);
        let block = written(&out, &piece).unwrap();
        let block = read(&block);
        assert_eq!(block.profile, PROFILE_ONE_BYTE);
        // The number of the frame is the viewer's.
        assert_eq!(find(block, 9), Some(&[0x80, 0, 1][..]));
        assert_eq!(find(block, 10), Some(&[0x55][..]));
        assert_eq!(find(block, 11), Some(&elements[4..]));
        let fixed = has_fixed.then_some(&[1, 2, 3][..]);
        assert_eq!(find(block, 5), fixed);
        assert_eq!(find(block, 6), has_fixed.then_some(&[1, 2][..]));
    }
    // What was not negotiated is not sent.
    let block = written(&track(true, [0, 10, 0]), &piece).unwrap();
    let ids: Vec<u8> = Elements::new(read(&block)).map(|found| found.id).collect();
    assert_eq!(ids, [5, 6, 10]);
    assert_eq!(written(&track(true, [0; KINDS]), &piece), None);
}

#[test]
fn a_long_descriptor_makes_the_block_one_of_two_byte_elements() {
    let mut elements = vec![0x80, 0, 0];
    elements.extend([7; 27]);
    let piece = piece(&elements, [30, 0, 0], &[0; 100]);
    let block = written(&track(true, [9, 0, 0]), &piece).unwrap();
    let block = read(&block);
    assert_eq!(block.profile, PROFILE_TWO_BYTE);
    assert_eq!(find(block, 5), Some(&[1, 2, 3][..]));
    assert_eq!(find(block, 6), Some(&[1, 2][..]));
    assert_eq!(find(block, 9).unwrap()[..4], [0x80, 0, 3, 7]);
    assert_eq!(find(block, 9).unwrap().len(), 30);
}

#[test]
fn so_does_an_identifier_that_does_not_fit_four_bits() {
    let piece = piece(&[0x55], [0, 1, 0], &[0; 100]);
    let block = written(&track(true, [0, 200, 0]), &piece).unwrap();
    let block = read(&block);
    assert_eq!(block.profile, PROFILE_TWO_BYTE);
    assert_eq!(find(block, 200), Some(&[0x55][..]));
    assert_eq!(find(block, 6), Some(&[1, 2][..]));
}

#[test]
fn what_can_be_done_without_goes_first() {
    let (level, time) = ([0x55], [1; 8]);
    let all = |descriptor| {
        let mut elements = [&[][..]; KINDS];
        elements[DESCRIPTOR] = descriptor;
        elements[AUDIO_LEVEL] = &level;
        elements[CAPTURE_TIME] = &time;
        elements
    };
    let short = all(&[0; 3]);
    assert_eq!(fit(1200, short), Some((short, 0)));
    let room = PAYLOAD_MAX - cost_max(Sizes([3, 0, 0]));
    let (kept, dropped) = fit(room, short).unwrap();
    assert_eq!((kept[DESCRIPTOR].len(), dropped), (3, 2));
    assert!(kept[AUDIO_LEVEL].is_empty() && kept[CAPTURE_TIME].is_empty());
    assert_eq!(fit(room + 1, short), None);
    // A level of two bytes is none.
    let mut odd = [&[][..]; KINDS];
    odd[AUDIO_LEVEL] = &[1, 2];
    assert_eq!(fit(100, odd), Some(([&[][..]; KINDS], 1)));
    assert_eq!(fit(100, all(&[0; 129])), None);
}

proptest! {
    #[test]
    fn blocks_are_well_formed_and_no_longer_than_was_said(
        descriptor in prop_oneof![Just(0_usize), 3..128_usize],
        level in 0..2_usize,
        time in prop_oneof![Just(0_usize), Just(8), Just(16)],
        ids in proptest::array::uniform3(prop_oneof![Just(0_u8), Just(1)]),
        has_fixed: bool,
        fill: u8,
    ) {
        let sizes = [descriptor, level, time].map(|size| u8::try_from(size).unwrap());
        let elements = vec![fill; descriptor + level + time];
        let piece = piece(&elements, sizes, &[0; 1000]);
        let ids = [9 * ids[0], 10 * ids[1], 11 * ids[2]];
        let out = track(has_fixed, ids);
        let passed = |kind: usize| ids[kind] != 0 && sizes[kind] != 0;
        let Some(block) = written(&out, &piece) else {
            prop_assert!((0..KINDS).all(|kind| !passed(kind)));
            return Ok(());
        };
        let added = block.len() - usize::from(out.ext_bytes);
        prop_assert!(added <= cost_max(Sizes(sizes)));
        let block = read(&block);
        for kind in 0..KINDS {
            let found = find(block, [9, 10, 11][kind]);
            prop_assert_eq!(found.map(<[u8]>::len).unwrap_or(0),
                if passed(kind) { usize::from(sizes[kind]) } else { 0 });
        }
        let fixed = has_fixed.then_some(&[1, 2, 3][..]);
        prop_assert_eq!(find(block, 5), fixed);
    }
}
