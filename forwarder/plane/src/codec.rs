//! Owns how a keyframe is told from the RTP payload, and nothing else about codecs. Hot.

use link::command::Codec;

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
        Codec::Unknown | Codec::Vp8 | Codec::Vp9 | Codec::Av1 => Key::Start,
        Codec::H264 => key_h264(payload),
        Codec::H265 => key_h265(payload),
    }
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

/// The units of an aggregation packet: 16 bits of size, then as many bytes; ends at a size that
/// lies.
fn units(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (size, tail) = rest.split_first_chunk::<2>()?;
        let (unit, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        rest = tail;
        Some(unit)
    })
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
}
