//! Owns what the NAL units of H.264 (RFC 6184) and H.265 (RFC 7798) say of their layers. Hot.
//!
//! Packets of parameter sets, SEI and the like say nothing. What no unit says is where a picture
//! ends, which is the marker of the RTP header.

use super::Layer;

/// The layer of the picture that a packet carries a slice of. H.264 has one layer, whose pictures
/// may be discardable. `None`: there is no slice in it, or it is cut short.
///
/// A first slice's first packet begins its picture, though parameter sets may come before it.
#[inline]
#[must_use]
pub fn h264_layer(payload: &[u8], marker: bool) -> Option<Layer> {
    let (&header, rest) = payload.split_first()?;
    match header & 0x1f {
        // STAP-A: each unit with its own header.
        24 => units(rest).find_map(|unit| {
            let (&header, data) = unit.split_first()?;
            h264_slice(header & 0x1f, header, Some(data), marker)
        }),
        // FU-A: a second byte with the kind, and whether it is the first piece.
        28 => {
            let (&fu, data) = rest.split_first()?;
            let data = (fu & 0x80 != 0).then_some(data);
            h264_slice(fu & 0x1f, header, data, marker)
        }
        kind => h264_slice(kind, header, Some(rest), marker),
    }
}

/// The layer of the picture that a packet carries a slice of. `None`: there is no slice in it, or
/// it is cut short.
///
/// That a picture is discardable holds for those of its own temporal layer: of those above it
/// nothing is told, and they have to be left out as well.
#[inline]
#[must_use]
pub fn h265_layer(payload: &[u8], marker: bool) -> Option<Layer> {
    let (&header, rest) = payload.split_first_chunk::<2>()?;
    match header[0] >> 1 & 0x3f {
        48 => units(rest).find_map(|unit| {
            let (&header, data) = unit.split_first_chunk::<2>()?;
            h265_slice(header[0] >> 1 & 0x3f, header[1], Some(data), marker)
        }),
        49 => {
            let (&fu, data) = rest.split_first()?;
            let data = (fu & 0x80 != 0).then_some(data);
            h265_slice(fu & 0x3f, header[1], data, marker)
        }
        kind => h265_slice(kind, header[1], Some(rest), marker),
    }
}

/// The units of an aggregation packet: 16 bits of size, then as many bytes; ends at a size that
/// lies.
#[inline]
pub fn units(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (size, tail) = rest.split_first_chunk::<2>()?;
        let (unit, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        rest = tail;
        Some(unit)
    })
}

/// `data` of the slice are there unless they began in an earlier packet.
fn h264_slice(kind: u8, header: u8, data: Option<&[u8]>, marker: bool) -> Option<Layer> {
    // A slice, its partitions A, B and C, a slice of an IDR picture.
    if !(1..=5).contains(&kind) {
        return None;
    }
    // B and C begin with something else.
    let has_address = !(3..=4).contains(&kind);
    let is_key = kind == 5;
    Some(Layer {
        begins: has_address && begins_with_one(data),
        ends: marker,
        is_discardable: header & 0x60 == 0,
        opens_own: is_key,
        opens_above: is_key,
        ..Layer::default()
    })
}

/// `low` is the second byte of the unit's header.
fn h265_slice(kind: u8, low: u8, data: Option<&[u8]>, marker: bool) -> Option<Layer> {
    if kind >= 32 {
        return None;
    }
    let temporal = (low & 0x07).checked_sub(1)?;
    // IRAP, then TSA, which opens the layers above as well, and STSA, which does not (H.265 section
    // 7.4.2.2, table 7-1).
    let (is_key, is_tsa, is_stsa) = (
        (16..=23).contains(&kind),
        (2..=3).contains(&kind),
        (4..=5).contains(&kind),
    );
    Some(Layer {
        temporal,
        begins: begins_with_one(data),
        ends: marker,
        is_discardable: kind < 16 && kind.is_multiple_of(2),
        opens_own: is_key || is_tsa || is_stsa,
        opens_above: is_key || is_tsa,
        ..Layer::default()
    })
}

/// The first bit of a slice is 1 if the slice is the first of its picture: an Exp-Golomb address
/// of 0 in H.264, a flag in H.265.
fn begins_with_one(data: Option<&[u8]>) -> bool {
    data.and_then(|data| data.first())
        .is_some_and(|byte| byte & 0x80 != 0)
}
