//! A browser's header, lies about lengths, round trips, random bytes.

use proptest::prelude::*;

use super::*;
use crate::rtp_ext::{Elements, find, transport_sequence};

const HEADER: Header = Header {
    marker: true,
    payload_type: 96,
    sequence: 0xfffe,
    timestamp: 0x0102_0304,
    ssrc: 0xdead_beef,
};

fn header() -> impl Strategy<Value = Header> {
    let fields = (
        any::<bool>(),
        0..128_u8,
        any::<u16>(),
        any::<u32>(),
        any::<u32>(),
    );
    fields.prop_map(|(marker, payload_type, sequence, timestamp, ssrc)| Header {
        marker,
        payload_type,
        sequence,
        timestamp,
        ssrc,
    })
}

#[test]
fn a_packet_with_everything_is_read() {
    let mut bytes = vec![0xb2, 0xe0, 0xff, 0xfe, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef];
    bytes.extend([0, 0, 0, 7, 0, 0, 0, 8]); // contributing sources
    bytes.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0]); // extension
    bytes.extend([5, 6, 7, 0, 0, 3]); // payload and padding
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.version(), 2);
    assert_eq!(packet.header(), HEADER);
    assert_eq!(packet.csrc().collect::<Vec<_>>(), [7, 8]);
    assert_eq!(
        packet.extension(),
        Some(Extension {
            profile: 0xbede,
            bytes: &[0x10, 0xaa, 0, 0],
        })
    );
    assert_eq!(packet.header_bytes(), 28);
    assert_eq!(packet.payload(), [5, 6, 7]);
    assert_eq!(packet.padding_bytes(), 3);
    let sealed = Packet::parse_sealed(&bytes).unwrap();
    assert_eq!(sealed.payload(), [5, 6, 7, 0, 0, 3]);
    assert_eq!(sealed.padding_bytes(), 0);
}

/// The header of a VP8 keyframe of a simulcast layer, sent by Chromium 156: two-byte elements,
/// because the layer allocation (id 9) and dependency descriptor (id 12) are too long for one.
#[test]
#[rustfmt::skip]
fn a_two_byte_header_of_chromium_is_read() {
    let bytes = [
        0x90, 0xe0, 0x25, 0x98, 0xb3, 0x92, 0xce, 0x25, 0x9c, 0x9d, 0xa8, 0xe0, 0x10, 0x00, 0x00,
        0x12, 0x02, 0x03, 0xd6, 0x95, 0x29, 0x03, 0x02, 0x00, 0x05, 0x04, 0x01, 0x31, 0x0a, 0x01,
        0x71, 0x0d, 0x01, 0x00, 0x07, 0x0d, 0x01, 0x00, 0x3b, 0x00, 0x3d, 0x00, 0x3e, 0x00, 0x40,
        0x00, 0x00, 0x00, 0x00, 0x0c, 0x17, 0xc0, 0x00, 0x01, 0x80, 0x02, 0x04, 0x4e, 0xaa, 0xaf,
        0x28, 0x60, 0x41, 0x4d, 0x34, 0x53, 0x8a, 0x09, 0x40, 0x40, 0x4f, 0xc0, 0x2c, 0xc0, 0x09,
        0x0a, 0x01, 0x80, 0x30, 0x48, 0x78, 0x01, 0x3f, 0x00, 0xb3, 0x3c, 0x00, 0x00, 0x90,
    ];
    let packet = Packet::parse_sealed(&bytes).unwrap();
    assert_eq!((packet.header_bytes(), packet.payload()), (88, &[0x90][..]));
    assert_eq!((packet.sequence(), packet.ssrc(), packet.marker()), (0x2598, 0x9c9d_a8e0, true));
    let extension = packet.extension().unwrap();
    let elements = Elements::new(extension).map(|element| (element.id, element.data.len()));
    assert_eq!(
        elements.collect::<Vec<_>>(),
        [(2, 3), (3, 2), (4, 1), (10, 1), (13, 1), (7, 13), (12, 23), (9, 10)]
    );
    assert_eq!(find(extension, 10), Some(&b"q"[..]));
    assert_eq!(find(extension, 3).and_then(transport_sequence), Some(5));
    assert_eq!(find(extension, 14), None);
}

#[test]
fn lies_are_named() {
    let error = |bytes: &[u8]| Packet::parse(bytes).err();
    let mut bytes = [0; 20];
    assert_eq!(HEADER.write(&[], &mut bytes), 12);
    assert_eq!(error(&bytes[..11]), Some(RtpError::Short));
    assert_eq!(error(&[]), Some(RtpError::Short));
    assert_eq!(error(&bytes[..12]), None);
    for first in [0x00, 0x40, 0xc0] {
        bytes[0] = first;
        assert_eq!(error(&bytes), Some(RtpError::Version));
    }
    bytes[0] = 0x83;
    assert_eq!(error(&bytes), Some(RtpError::Csrc));
    bytes[0] = 0x90;
    bytes[14..16].copy_from_slice(&[0, 2]);
    assert_eq!(error(&bytes), Some(RtpError::Extension));
    bytes[14..16].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(error(&bytes), Some(RtpError::Extension));
    assert_eq!(error(&bytes[..14]), Some(RtpError::Extension));
    bytes[14..16].copy_from_slice(&[0, 1]);
    assert_eq!(error(&bytes), None);
    bytes[0] = 0xa0;
    for (padding, expected) in [
        (0, Some(RtpError::Padding)),
        (8, None),
        (9, Some(RtpError::Padding)),
        (255, Some(RtpError::Padding)),
    ] {
        bytes[19] = padding;
        assert_eq!(error(&bytes), expected, "padding {padding}");
    }
    assert_eq!(error(&bytes[..12]), Some(RtpError::Padding));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            let whole = packet.header_bytes() + packet.payload().len() + packet.padding_bytes();
            prop_assert_eq!(whole, bytes.len());
            prop_assert!(packet.csrc().count() <= 15);
            let ext = packet.extension().map_or(0, |ext| 4 + ext.bytes.len());
            prop_assert_eq!(packet.header_bytes(), 12 + 4 * packet.csrc().count() + ext);
        }
    }

    #[test]
    fn what_is_written_is_read(
        header in header(),
        words in 0..5_u8,
        payload in proptest::collection::vec(any::<u8>(), 0..40),
        padding: u8,
    ) {
        let mut ext = vec![0xbe, 0xde, 0, words];
        ext.resize(4 + 4 * usize::from(words), 1);
        if words == 0 {
            ext.clear();
        }
        let mut out = [0xee; 400];
        let start = header.write(&ext, &mut out);
        prop_assert_eq!(start, 12 + ext.len());
        let end = start + payload.len();
        out[start..end].copy_from_slice(&payload);
        let whole = &mut out[..end + usize::from(padding)];
        set_padding(whole, padding);
        let packet = Packet::parse(whole).unwrap();
        prop_assert_eq!(packet.header(), header);
        prop_assert_eq!(packet.payload(), &payload[..]);
        prop_assert_eq!(packet.padding_bytes(), usize::from(padding));
        prop_assert_eq!(packet.extension().is_some(), words > 0);
        prop_assert_eq!(header.write(&ext, &mut out[..start - 1]), 0);
    }
}
