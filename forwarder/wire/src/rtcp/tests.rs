//! Compounds as browsers send them, every lie of length and count, random bytes.

use proptest::prelude::*;

use super::*;
use crate::ntp::Ntp;
use crate::rtcp_feedback::{Message, write_nack, write_pli};
use crate::rtcp_report::{
    Dlrr, ReportBlock, SenderInfo, XrBlock, write_bye, write_dlrr, write_receiver_reference_time,
    write_receiver_report, write_sender_report,
};

/// Takes everything out of every item, as a caller might, and counts what came.
fn exhaust(bytes: &[u8]) -> (usize, Option<Malformed>) {
    let mut items = compound(bytes);
    let mut seen = 0;
    for item in &mut items {
        seen += 1 + match item {
            Item::SenderReport(report) => report.blocks.count(),
            Item::ReceiverReport(report) => report.blocks.count(),
            Item::Sdes(sdes) => sdes.items().count(),
            Item::Bye(bye) => bye.ssrcs().count() + bye.reason().len(),
            Item::App { data, .. } => data.len(),
            Item::Unknown { body, .. } => body.len(),
            Item::Feedback(feedback) => match feedback.message {
                Message::Nack(nack) => nack.lost().count(),
                Message::Pli => 0,
                Message::Fir(fir) => fir.entries().count(),
                Message::Remb(remb) => remb.ssrcs().count(),
                Message::TransportCc(fci)
                | Message::Arrivals(fci)
                | Message::Unknown { fci, .. } => fci.len(),
            },
            Item::ExtendedReport(report) => report
                .blocks()
                .map(|block| match block {
                    XrBlock::Dlrr(items) => items.count(),
                    XrBlock::ReceiverReferenceTime(_) | XrBlock::Unknown(_) => 1,
                })
                .sum(),
        };
    }
    (seen, items.malformed())
}

fn kinds(bytes: &[u8]) -> Vec<&'static str> {
    compound(bytes)
        .map(|item| match item {
            Item::SenderReport(_) => "sr",
            Item::ReceiverReport(_) => "rr",
            Item::Sdes(_) => "sdes",
            Item::Bye(_) => "bye",
            Item::App { .. } => "app",
            Item::Feedback(_) => "fb",
            Item::ExtendedReport(_) => "xr",
            Item::Unknown { .. } => "unknown",
        })
        .collect()
}

/// One of everything, one after another.
fn everything() -> Vec<u8> {
    let mut out = [0; 400];
    let mut at = write_sender_report(&SenderInfo::default(), b"freshet", &mut out);
    at += write_receiver_report(1, &[ReportBlock::default(); 2], b"", &mut out[at..]);
    at += write_receiver_reference_time(1, Ntp(1), &mut out[at..]);
    at += write_dlrr(1, &[Dlrr::default(); 2], &mut out[at..]);
    at += write_nack(1, 2, &[3, 4, 40], &mut out[at..]);
    at += write_pli(1, 2, &mut out[at..]);
    at += write_bye(&[1, 2], &mut out[at..]);
    out[..at].to_vec()
}

#[test]
fn everything_is_told_apart() {
    let mut bytes = everything();
    bytes.extend([
        0x81, 204, 0, 3, 0, 0, 0, 9, b'N', b'A', b'M', b'E', 1, 2, 3, 4,
    ]);
    bytes.extend([0x82, 199, 0, 0]);
    assert_eq!(
        kinds(&bytes),
        [
            "sr", "sdes", "rr", "sdes", "xr", "xr", "fb", "fb", "bye", "app", "unknown"
        ]
    );
    assert_eq!(exhaust(&bytes).1, None);
    let Some(Item::App {
        subtype: 1,
        ssrc: 9,
        name,
        data: [1, 2, 3, 4],
    }) = compound(&bytes).nth(9)
    else {
        panic!("no APP");
    };
    assert_eq!(&name, b"NAME");
}

#[test]
fn lies_are_named_and_end_the_walk() {
    let malformed = |bytes: &[u8]| exhaust(bytes).1;
    assert_eq!(malformed(&[]), Some(Malformed::Length));
    assert_eq!(malformed(&[0x80, 201, 0]), Some(Malformed::Length));
    assert_eq!(
        malformed(&[0x40, 201, 0, 1, 0, 0, 0, 1]),
        Some(Malformed::Version)
    );
    assert_eq!(
        malformed(&[0x80, 201, 0, 2, 0, 0, 0, 1]),
        Some(Malformed::Length)
    );
    assert_eq!(
        malformed(&[0x80, 201, 0xff, 0xff, 0, 0, 0, 1]),
        Some(Malformed::Length)
    );
    assert_eq!(malformed(&[0x80, 201, 0, 0]), Some(Malformed::Body));
    assert_eq!(
        malformed(&[0x81, 201, 0, 1, 0, 0, 0, 1]),
        Some(Malformed::Body)
    ); // count
    assert_eq!(
        malformed(&[0x80, 200, 0, 1, 0, 0, 0, 1]),
        Some(Malformed::Body)
    );
    assert_eq!(
        malformed(&[0x82, 203, 0, 1, 0, 0, 0, 1]),
        Some(Malformed::Body)
    );
    assert_eq!(
        malformed(&[0x80, 203, 0, 1, 4, b'b', b'y', b'e']),
        Some(Malformed::Body)
    );
    assert_eq!(
        malformed(&[0x81, 206, 0, 1, 0, 0, 0, 1]),
        Some(Malformed::Body)
    );
    assert_eq!(
        malformed(&[0x81, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]),
        Some(Malformed::Body)
    );
    assert_eq!(
        malformed(&[0x80, 204, 0, 1, 0, 0, 0, 1]),
        Some(Malformed::Body)
    );
    // What came before the lie is still told.
    let mut bytes = everything();
    let whole = kinds(&bytes).len();
    bytes.extend([0x80, 201, 0, 9]);
    assert_eq!(kinds(&bytes).len(), whole);
    assert_eq!(malformed(&bytes), Some(Malformed::Length));
}

#[test]
fn padding_is_removed_or_refused() {
    let with_padding = |count: u8| {
        let mut bytes = vec![0xa0, 201, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        bytes.push(count);
        exhaust(&bytes)
    };
    assert_eq!(with_padding(4), (1, None));
    assert_eq!(with_padding(8), (1, None));
    assert_eq!(with_padding(12).1, Some(Malformed::Body)); // takes the SSRC too
    for lie in [0, 13, 16, 255] {
        assert_eq!(with_padding(lie).1, Some(Malformed::Padding), "{lie}");
    }
    assert_eq!(exhaust(&[0xa0, 201, 0, 0]).1, Some(Malformed::Padding));
}

#[test]
fn padding_of_a_browser_that_is_no_whole_word_is_taken() {
    // Transport-cc feedback as Chromium 156 sends it: two bytes of padding.
    let feedback = [
        0xaf, 0xcd, 0, 6, 0, 0, 0, 1, 0x86, 0x93, 0x32, 0xff, 0, 1, 0, 2, 1, 0x1d, 0xa1, 0, 0x20,
        2, 0x28, 0x10, 0, 0, 0, 2,
    ];
    // The packet, and the 14 bytes of its control information.
    assert_eq!(exhaust(&feedback), (15, None));
}

#[test]
fn every_prefix_and_every_flipped_byte_is_survived() {
    let bytes = everything();
    for end in 0..bytes.len() {
        let _ = exhaust(&bytes[..end]);
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut lie = bytes.clone();
            lie[at] ^= 1 << bit;
            let (seen, _) = exhaust(&lie);
            assert!(seen <= 17 * lie.len(), "bit {bit} of byte {at}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = exhaust(&bytes);
    }

    /// Headers that pass, so that the bodies are reached.
    #[test]
    fn any_bodies_are_survived(
        packets in proptest::collection::vec(
            (199..209_u8, 0..64_u8, proptest::collection::vec(any::<[u8; 4]>(), 0..12)), 1..5),
    ) {
        let mut bytes = Vec::new();
        for (packet_type, low, body) in packets {
            let words = u8::try_from(body.len()).unwrap();
            bytes.extend([0x80 | low, packet_type, 0, words]);
            bytes.extend(body.concat());
        }
        let (seen, _) = exhaust(&bytes);
        prop_assert!(seen <= 17 * bytes.len());
    }
}
