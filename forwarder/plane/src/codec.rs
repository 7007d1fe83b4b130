//! Owns how a keyframe is told from the RTP payload, and nothing else about codecs. Hot.

use link::command::Codec;

/// True if a frame with this packet is one that a viewer can start at: it has an IDR (or IRAP)
/// slice, or the parameter sets that come before one.
#[inline]
pub fn is_key(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Unknown => true,
        Codec::H264 => is_key_h264(payload),
        Codec::H265 => is_key_h265(payload),
    }
}

/// RFC 6184 section 5.2: single NAL units, STAP-A (24) and FU-A (28).
fn is_key_h264(payload: &[u8]) -> bool {
    let is_key_nal = |header: u8| matches!(header & 0x1f, 5 | 7);
    match payload {
        [header, rest @ ..] if header & 0x1f == 24 => {
            units(rest).any(|unit| unit.first().is_some_and(|&nal| is_key_nal(nal)))
        }
        [header, fu, ..] if header & 0x1f == 28 => is_key_nal(*fu),
        [header, ..] => is_key_nal(*header),
        [] => false,
    }
}

/// RFC 7798 section 4.4: single NAL units, aggregation (48) and fragmentation (49).
fn is_key_h265(payload: &[u8]) -> bool {
    let is_key_type = |kind: u8| matches!(kind, 16..=21 | 32..=34);
    let kind = |header: u8| (header >> 1) & 0x3f;
    match payload {
        [header, _, rest @ ..] if kind(*header) == 48 => {
            units(rest).any(|unit| unit.first().is_some_and(|&nal| is_key_type(kind(nal))))
        }
        [header, _, fu, ..] if kind(*header) == 49 => is_key_type(fu & 0x3f),
        [header, _, ..] => is_key_type(kind(*header)),
        _ => false,
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
        let h264 = |payload: &[u8]| is_key(Codec::H264, payload);
        assert!(h264(&[0x67, 0x42]) && h264(&[0x65, 0x88]));
        assert!(h264(&[0x78, 0, 1, 0x67, 0, 2, 0x68, 0xce]));
        assert!(h264(&[0x7c, 0x85, 0]) && h264(&[0x7c, 0x05, 0]));
        assert!(!h264(&[0x41, 0x9a]) && !h264(&[0x7c, 0x81, 0]) && !h264(&[0x06, 5]));
        assert!(!h264(&[]) && !h264(&[0x78]) && !h264(&[0x78, 0xff, 0xff, 0x67]));

        let h265 = |payload: &[u8]| is_key(Codec::H265, payload);
        assert!(h265(&[0x40, 1, 0]) && h265(&[0x26, 1, 0]));
        assert!(h265(&[0x60, 1, 0, 2, 0x42, 1]) && h265(&[0x62, 1, 0x93, 0]));
        assert!(!h265(&[0x02, 1, 0]) && !h265(&[0x62, 1, 0x81, 0]) && !h265(&[0x62]));
        assert!(is_key(Codec::Unknown, &[1]));
    }
}
