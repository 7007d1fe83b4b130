//! Vectors laid out by hand, round trips, round-trip times.

use proptest::prelude::*;

use super::*;
use crate::rtcp::{Item, compound};

#[test]
fn a_sender_report_has_its_layout() {
    let info = SenderInfo {
        ssrc: 0x0102_0304,
        ntp: Ntp(0x83aa_7e80_8000_0000),
        rtp_timestamp: 90_000,
        packets: 7,
        octets: 7_000,
    };
    let mut out = [0xee; 64];
    let bytes = write_sender_report(&info, b"ab", &mut out);
    #[rustfmt::skip]
    assert_eq!(out[..bytes], [
        0x80, 200, 0, 6, 1, 2, 3, 4, 0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0,
        0, 1, 0x5f, 0x90, 0, 0, 0, 7, 0, 0, 0x1b, 0x58,
        0x81, 202, 0, 3, 1, 2, 3, 4, 1, 2, b'a', b'b', 0, 0, 0, 0,
    ]);
    for short in 0..bytes {
        assert_eq!(write_sender_report(&info, b"ab", &mut out[..short]), 0);
    }
    assert_eq!(write_sender_report(&info, &[b'a'; 256], &mut [0; 400]), 0);
}

#[test]
fn losses_are_signed_24_bits() {
    for (lost, expected) in [
        (-1, -1),
        (0x7f_ffff, 0x7f_ffff),
        (-0x80_0000, -0x80_0000),
        (i32::MAX, 0x7f_ffff),
        (i32::MIN, -0x80_0000),
    ] {
        let block = ReportBlock {
            cumulative_lost: lost,
            ..ReportBlock::default()
        };
        let mut out = [0; 64];
        let bytes = write_receiver_report(1, &[block], b"", &mut out);
        let Some(Item::ReceiverReport(report)) = compound(&out[..bytes]).next() else {
            panic!("no receiver report");
        };
        assert_eq!(report.blocks.last().unwrap().cumulative_lost, expected);
    }
}

#[test]
fn too_many_to_count_are_refused() {
    let mut out = [0; 2000];
    assert!(write_receiver_report(1, &[ReportBlock::default(); 31], b"", &mut out) > 0);
    assert_eq!(
        write_receiver_report(1, &[ReportBlock::default(); 32], b"", &mut out),
        0
    );
    assert_eq!(write_bye(&[0; 31], &mut out), 128);
    assert_eq!(write_bye(&[0; 32], &mut out), 0);
}

/// The example of RFC 3550 section 6.4.1, figure 2.
#[test]
fn the_round_trip_of_rfc_3550_is_6_125_s() {
    let now = Ntp(0xb710_8000 << 16);
    let block = ReportBlock {
        last_sr: 0xb705_2000,
        delay_since_last_sr: 0x0005_4000,
        ..ReportBlock::default()
    };
    assert_eq!(block.rtt(now), Some(Span::millis(6_125)));
}

#[test]
fn round_trips_that_cannot_be_are_none() {
    let now = Ntp(0x0001_0000_0000);
    assert_eq!(rtt(now, 0, 0), None);
    assert_eq!(rtt(now, 0x1_0000, 0), Some(Span::ZERO));
    assert_eq!(rtt(now, 0x1_0000, 65), Some(Span::ZERO)); // rounding of two clocks
    assert_eq!(rtt(now, 0x1_0000, 66), None); // a delay that is longer than the round trip
    assert_eq!(rtt(now, 0xffff_0000, 0x1_0000), Some(Span::secs(1))); // across the wrap
}

#[test]
fn descriptions_of_several_sources_are_read() {
    #[rustfmt::skip]
    let bytes = [
        0x82, 202, 0, 7,
        0, 0, 0, 1, 2, 1, b'x', 1, 1, b'a', 0, 0, // NAME then CNAME
        0, 0, 0, 2, 1, 6, b'b', b'b', b'b', b'b', b'b', b'b', 0, 0, 0, 0,
    ];
    let Some(Item::Sdes(sdes)) = compound(&bytes).next() else {
        panic!("no description");
    };
    let items: Vec<_> = sdes
        .items()
        .map(|item| (item.ssrc, item.kind, item.text))
        .collect();
    assert_eq!(
        items,
        [(1, 2, &b"x"[..]), (1, 1, &b"a"[..]), (2, 1, &b"bbbbbb"[..])]
    );
    assert_eq!(sdes.cname(2), Some(&b"bbbbbb"[..]));
    assert_eq!(sdes.cname(3), None);
    // A text that runs past the end, a chunk without its end, one chunk too many.
    for (at, lie) in [(12, 200), (21, 10), (0, 0x83)] {
        let mut bytes = bytes;
        bytes[at] = lie;
        let mut items = compound(&bytes);
        assert!(
            items.next().is_none() && items.malformed().is_some(),
            "byte {at}"
        );
    }
}

/// A text that reaches beyond its packet, and a chunk that nothing ends.
#[test]
fn descriptions_with_lies_are_refused() {
    let parse = |body: &[u8]| Sdes::parse(1, body).is_some();
    assert!(parse(&[0, 0, 0, 5, 1, 1, b'a', 0]));
    assert!(!parse(&[0, 0, 0, 5, 1, 3, b'a', 0]));
    assert!(!parse(&[0, 0, 0, 5, 1, 2, b'a', b'b']));
    assert!(!parse(&[0, 0, 0, 5, 1, 255, b'a', b'b', b'c', b'd', 0, 0]));
    assert!(!parse(&[0, 0, 0]));
}

#[test]
fn extended_reports_with_lies_are_refused() {
    #[rustfmt::skip]
    let bytes = [
        0x80, 207, 0, 5, 0, 0, 0, 1, 9, 0, 0, 0, 4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8,
    ];
    let Some(Item::ExtendedReport(report)) = compound(&bytes).next() else {
        panic!("no extended report");
    };
    let blocks: Vec<_> = report.blocks().collect();
    assert!(matches!(
        blocks[..],
        [
            XrBlock::Unknown(9),
            XrBlock::ReceiverReferenceTime(Ntp(0x0102_0304_0506_0708))
        ]
    ));
    for (at, lie) in [(15, 1), (15, 3), (11, 9), (14, 0xff)] {
        let mut bytes = bytes;
        bytes[at] = lie;
        assert!(compound(&bytes).next().is_none(), "byte {at}");
    }
}

fn block() -> impl Strategy<Value = ReportBlock> {
    let lost = -0x80_0000..0x80_0000_i32;
    let fields = (any::<[u32; 3]>(), any::<u8>(), lost, any::<[u32; 2]>());
    fields.prop_map(
        |([ssrc, highest, jitter], fraction, lost, [last, delay])| ReportBlock {
            ssrc,
            fraction_lost: fraction,
            cumulative_lost: lost,
            highest_sequence: highest,
            jitter,
            last_sr: last,
            delay_since_last_sr: delay,
        },
    )
}

proptest! {
    #[test]
    fn sender_reports_survive_the_round_trip(
        ntp: u64,
        [ssrc, rtp_timestamp, packets, octets]: [u32; 4],
        cname in proptest::collection::vec(any::<u8>(), 0..=255),
    ) {
        let info = SenderInfo { ssrc, ntp: Ntp(ntp), rtp_timestamp, packets, octets };
        let mut out = [0xee; 320];
        let bytes = write_sender_report(&info, &cname, &mut out);
        let mut items = compound(&out[..bytes]);
        let Some(Item::SenderReport(report)) = items.next() else { panic!("no report") };
        prop_assert_eq!(report.info, info);
        prop_assert_eq!(report.blocks.count(), 0);
        let Some(Item::Sdes(sdes)) = items.next() else { panic!("no description") };
        prop_assert_eq!(sdes.cname(ssrc), Some(&cname[..]));
        prop_assert!(items.next().is_none() && items.malformed().is_none());
    }

    #[test]
    fn receiver_reports_survive_the_round_trip(
        ssrc: u32,
        blocks in proptest::collection::vec(block(), 0..=31),
    ) {
        let mut out = [0xee; 800];
        let bytes = write_receiver_report(ssrc, &blocks, b"me", &mut out);
        let Some(Item::ReceiverReport(report)) = compound(&out[..bytes]).next() else {
            panic!("no report")
        };
        prop_assert_eq!(report.ssrc, ssrc);
        prop_assert_eq!(report.blocks.collect::<Vec<_>>(), blocks);
    }

    #[test]
    fn byes_and_extended_reports_survive_the_round_trip(
        ssrcs in proptest::collection::vec(any::<u32>(), 0..=31),
        ntp: u64,
    ) {
        let mut out = [0xee; 1000];
        let mut at = write_bye(&ssrcs, &mut out);
        let echoes: Vec<_> = ssrcs
            .iter()
            .map(|ssrc| Dlrr { ssrc: *ssrc, last_rr: !ssrc, delay_since_last_rr: ssrc / 3 })
            .collect();
        at += write_dlrr(5, &echoes, &mut out[at..]);
        at += write_receiver_reference_time(6, Ntp(ntp), &mut out[at..]);
        let mut items = compound(&out[..at]);
        let Some(Item::Bye(bye)) = items.next() else { panic!("no goodbye") };
        prop_assert_eq!(bye.ssrcs().collect::<Vec<_>>(), ssrcs);
        prop_assert_eq!(bye.reason(), b"");
        let Some(Item::ExtendedReport(report)) = items.next() else { panic!("no DLRR") };
        let Some(XrBlock::Dlrr(read)) = report.blocks().next() else { panic!("no DLRR") };
        prop_assert_eq!((report.ssrc, read.collect::<Vec<_>>()), (5, echoes));
        let Some(Item::ExtendedReport(report)) = items.next() else { panic!("no RRTR") };
        let block = report.blocks().next();
        let Some(XrBlock::ReceiverReferenceTime(read)) = block else { panic!("no RRTR") };
        prop_assert_eq!(read, Ntp(ntp));
    }

    #[test]
    fn round_trips_are_found_again(start: u64, held in 0..1_u32 << 20, way in 1..1_u32 << 20) {
        let sent = Ntp(start);
        prop_assume!(sent.middle() != 0);
        let now = Ntp(start.wrapping_add(u64::from(held + way) << 16));
        prop_assert_eq!(rtt(now, sent.middle(), held), Some(span_from_short(way)));
    }
}
