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
        Codec::Unknown => Key::Start,
        Codec::H264 => key_h264(payload),
        Codec::H265 => key_h265(payload),
        Codec::Vp8 => start_if(starts_vp8_key(payload) == Some(true)),
        Codec::Vp9 => start_if(starts_vp9_key(payload) == Some(true)),
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

/// RFC 7741 sections 4.2 and 4.3: the payload descriptor, then the frame header's first byte, which
/// only the first packet of the first partition has. `None`: it is cut short.
fn starts_vp8_key(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    let is_start = first & 0x10 != 0 && first & 0x07 == 0;
    if !is_start {
        return Some(false);
    }
    if first & 0x80 != 0 {
        let (&extensions, tail) = rest.split_first()?;
        rest = tail;
        if extensions & 0x80 != 0 {
            let picture_bytes = picture_id_bytes(rest)?;
            rest = rest.get(picture_bytes..)?;
        }
        // TL0PICIDX; TID and KEYIDX share a byte.
        let level_bytes = usize::from(extensions & 0x40 != 0);
        let layer_bytes = usize::from(extensions & 0x30 != 0);
        rest = rest.get(level_bytes + layer_bytes..)?;
    }
    let header = rest.first()?;
    //= https://www.rfc-editor.org/rfc/rfc7741#section-4.3
    //# P: Inverse key frame flag.  When set to 0, the current frame is a key frame.
    Some(header & 0x01 == 0)
}

/// RFC 9628 section 4.2: the beginning of a picture's base layer that is predicted from no other
/// picture. `None`: the descriptor is cut short.
fn starts_vp9_key(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    let (has_picture_id, is_predicted) = (first & 0x80 != 0, first & 0x40 != 0);
    let (has_layers, begins_frame) = (first & 0x20 != 0, first & 0x08 != 0);
    if is_predicted || !begins_frame {
        return Some(false);
    }
    if has_picture_id {
        rest = rest.get(picture_id_bytes(rest)?..)?;
    }
    // TID, U, SID, D: without them there is one layer.
    let layers = if has_layers { *rest.first()? } else { 0 };
    let (spatial, is_from_lower) = (layers >> 1 & 0x07, layers & 0x01 != 0);
    Some(spatial == 0 && !is_from_lower)
}

/// The RTP payload format for AV1, section 4.4: Z (the packet goes on with an OBU), Y, W, and N,
/// which is set on the first packet of a coded video sequence.
fn starts_av1_sequence(payload: &[u8]) -> bool {
    matches!(payload, [header, _, ..] if header & 0x08 != 0 && header & 0x80 == 0)
}

/// Bytes of a picture id, whose upper bit says whether it has 7 bits or 15.
fn picture_id_bytes(rest: &[u8]) -> Option<usize> {
    Some(if rest.first()? & 0x80 != 0 { 2 } else { 1 })
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
