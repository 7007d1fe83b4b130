//! Owns how a keyframe is told from the RTP payload, and nothing else about codecs. Hot.

use link::command::Codec;
use wire::payload::av1::AggregationHeader;
use wire::payload::nal::units;
use wire::payload::vp8::Vp8Descriptor;
use wire::payload::vp9::Vp9Descriptor;

/// What a packet says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Not that it is a keyframe.
    No,
    /// It is a keyframe: here is a piece of its picture.
    Picture,
    /// It is a keyframe, and starts here: the parameter sets come before the picture.
    Start,
}

/// What a packet says of its frame.
#[inline]
pub fn key(codec: Codec, payload: &[u8]) -> Key {
    match codec {
        Codec::Unknown => Key::Start,
        Codec::H264 => key_h264(payload),
        Codec::H265 => key_h265(payload),
        Codec::Vp8 => start_if(starts_vp8_key(payload)),
        Codec::Vp9 => start_if(starts_vp9_key(payload)),
        Codec::Av1 => start_if(starts_av1_sequence(payload)),
    }
}

/// Of these codecs only the first packet of a keyframe says that it is one.
const fn start_if(starts: bool) -> Key {
    if starts { Key::Start } else { Key::No }
}

/// RFC 6184 section 5.2: single NAL units, STAP-A (24) and FU-A (28). IDR is 5, SPS 7.
fn key_h264(payload: &[u8]) -> Key {
    let of_nal = |header: u8| match header & 0x1f {
        7 => Key::Start,
        5 => Key::Picture,
        _ => Key::No,
    };
    match payload {
        [header, rest @ ..] if header & 0x1f == 24 => {
            let keys = units(rest).filter_map(|unit| unit.first().map(|&nal| of_nal(nal)));
            keys.max().unwrap_or(Key::No)
        }
        [header, fu, ..] if header & 0x1f == 28 => of_nal(*fu),
        [header, ..] => of_nal(*header),
        [] => Key::No,
    }
}

/// RFC 7798 section 4.4: single NAL units, aggregation (48) and fragmentation (49). IRAP pictures
/// are 16 to 21, parameter sets 32 to 34.
fn key_h265(payload: &[u8]) -> Key {
    let kind = |header: u8| (header >> 1) & 0x3f;
    let of_kind = |kind: u8| match kind {
        32..=34 => Key::Start,
        16..=21 => Key::Picture,
        _ => Key::No,
    };
    match payload {
        [header, _, rest @ ..] if kind(*header) == 48 => {
            let keys = units(rest).filter_map(|unit| unit.first().map(|&nal| of_kind(kind(nal))));
            keys.max().unwrap_or(Key::No)
        }
        [header, _, fu, ..] if kind(*header) == 49 => of_kind(fu & 0x3f),
        [header, _, ..] => of_kind(kind(*header)),
        _ => Key::No,
    }
}

/// Only the first packet of the first partition has the frame's header.
fn starts_vp8_key(payload: &[u8]) -> bool {
    Vp8Descriptor::parse(payload).is_some_and(|read| read.is_key)
}

/// The beginning of a picture's base layer that is predicted from no other picture.
fn starts_vp9_key(payload: &[u8]) -> bool {
    Vp9Descriptor::parse(payload).is_some_and(|read| read.is_key())
}

/// The first packet of a coded video sequence, with an OBU that begins here.
fn starts_av1_sequence(payload: &[u8]) -> bool {
    let header = AggregationHeader::parse(payload).filter(|_| payload.len() > 1);
    header.is_some_and(|header| header.begins_sequence && !header.continues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_told_in_every_packing() {
        let h264 = |payload: &[u8]| key(Codec::H264, payload);
        assert_eq!(h264(&[0x67, 0x42]), Key::Start);
        assert_eq!(h264(&[0x65, 0x88]), Key::Picture);
        assert_eq!(h264(&[0x78, 0, 1, 0x67, 0, 2, 0x68, 0xce]), Key::Start);
        assert_eq!(h264(&[0x78, 0, 1, 0x06, 0, 2, 0x65, 0xce]), Key::Picture);
        assert_eq!(h264(&[0x7c, 0x85, 0]), Key::Picture);
        assert_eq!(h264(&[0x7c, 0x05, 0]), Key::Picture);
        for other in [
            &[0x41, 0x9a][..],
            &[0x7c, 0x81, 0],
            &[6, 5],
            &[],
            &[0x78],
            &[0x7c],
        ] {
            assert_eq!(h264(other), Key::No);
        }
        // A size that lies.
        assert_eq!(h264(&[0x78, 0xff, 0xff, 0x67]), Key::No);

        let h265 = |payload: &[u8]| key(Codec::H265, payload);
        assert_eq!(h265(&[0x40, 1, 0]), Key::Start);
        assert_eq!(h265(&[0x26, 1, 0]), Key::Picture);
        assert_eq!(h265(&[0x60, 1, 0, 2, 0x42, 1]), Key::Start);
        assert_eq!(h265(&[0x62, 1, 0x93, 0]), Key::Picture);
        for other in [&[2, 1, 0][..], &[0x62, 1, 0x81, 0], &[0x62], &[]] {
            assert_eq!(h265(other), Key::No);
        }
        assert_eq!(key(Codec::Unknown, &[1]), Key::Start);
    }

    #[test]
    fn vp8_tells_by_its_frame_header() {
        let vp8 = |payload: &[u8]| key(Codec::Vp8, payload);
        // No extension; a picture id of 7 and of 15 bits; all that there is.
        assert_eq!(vp8(&[0x10, 0x50, 0x9d]), Key::Start);
        assert_eq!(vp8(&[0x90, 0x80, 0x11, 0x50]), Key::Start);
        assert_eq!(vp8(&[0x90, 0x80, 0x92, 0x34, 0x50]), Key::Start);
        assert_eq!(vp8(&[0x90, 0xf0, 0x92, 0x34, 7, 0x20, 0x50]), Key::Start);
        for other in [
            &[0x10, 0x51][..],
            &[0x90, 0xf0, 0x92, 0x34, 7, 0x20, 0x51],
            // Not the start of a partition, and the start of another one.
            &[0x00, 0x50],
            &[0x11, 0x50],
            &[0x10],
            &[0x90, 0xf0, 0x92, 0x34, 7, 0x20],
            &[0x90],
            &[],
        ] {
            assert_eq!(vp8(other), Key::No);
        }
    }

    #[test]
    fn vp9_tells_by_its_descriptor() {
        let vp9 = |payload: &[u8]| key(Codec::Vp9, payload);
        // One layer; flexible with a picture id and layers; not flexible.
        assert_eq!(vp9(&[0x08, 1]), Key::Start);
        assert_eq!(vp9(&[0xb8, 0x81, 0x02, 0x00, 1]), Key::Start);
        assert_eq!(vp9(&[0xa8, 0x01, 0x00, 0x05, 1]), Key::Start);
        for other in [
            // Predicted; not the beginning; a layer above, of the same picture.
            &[0x48, 1][..],
            &[0x04, 1],
            &[0xa8, 0x01, 0x02, 0x05, 1],
            &[0xa8, 0x01, 0x01, 0x05, 1],
            &[0xa8, 0x01],
            &[0x88],
            &[],
        ] {
            assert_eq!(vp9(other), Key::No);
        }
    }

    #[test]
    fn av1_tells_by_its_aggregation_header() {
        let av1 = |payload: &[u8]| key(Codec::Av1, payload);
        assert_eq!(av1(&[0x18, 0x0a, 0x0b]), Key::Start);
        assert_eq!(av1(&[0x68, 0x0a]), Key::Start);
        for other in [&[0x10, 0x32][..], &[0x98, 0x0a], &[0x18], &[]] {
            assert_eq!(av1(other), Key::No);
        }
    }
}
