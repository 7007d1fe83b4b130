//! Owns what is told from the RTP payload: keyframes, and where a frame stands among layers. Hot.

use link::command::Codec;
use link::elements::DESCRIPTOR;
use link::lanes::SPATIAL_MAX;
use link::log::Flags;
use serde::{Deserialize, Serialize};
use wire::payload::av1::{AggregationHeader, Structure};
use wire::payload::nal::units;
use wire::payload::vp8::Vp8Descriptor;
use wire::payload::vp9::Vp9Descriptor;
use wire::payload::{Layer, Size};

use crate::coming::Coming;

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

/// What a packet says of its place among the layers of its lane, and how it goes into the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// What the log says of it besides.
    pub flags: Flags,
    /// Its spatial layer.
    pub spatial: u8,
    /// Its temporal layer.
    pub temporal: u8,
    /// Width and height, if it says so.
    pub size: Option<Size>,
    /// Width and height of each spatial layer, if it says so; 0: not.
    pub layer_sizes: [Size; SPATIAL_MAX],
    /// Another byte in the place of what is left out at the front.
    pub front: Option<[u8; 1]>,
    /// The payload without it.
    pub rest: &'a [u8],
}

impl Place<'_> {
    /// Bytes of the payload in the log.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.rest.len() + usize::from(self.front.is_some())
    }
}

/// What is remembered of a lane from packet to packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// Against what dependency descriptors are read.
    pub structure: Structure,
    /// VP9 with spatial layers inside the encoding, as its last keyframe told.
    has_spatial: bool,
}

impl Memory {
    /// Of a lane of which nothing has come.
    pub const fn new() -> Self {
        Self {
            structure: Structure::new(),
            has_spatial: false,
        }
    }
}

/// What a packet says of its place. Of a publisher that sends several encodings (`is_one_of_many`)
/// VP8, and VP9 without spatial layers, lose their picture ids and layer numbers here: each
/// encoding counts its own, and a viewer that goes from one to the other, or is sent every second
/// frame, has to go by sequence numbers.
#[inline]
pub fn place<'a>(
    memory: &mut Memory,
    codec: Codec,
    packet: &Coming<'a>,
    is_one_of_many: bool,
) -> Place<'a> {
    let (payload, marker) = (packet.payload, packet.header.marker);
    let whole = Place {
        rest: payload,
        ..Place::default()
    };
    match codec {
        Codec::Vp8 if is_one_of_many => place_vp8(payload, marker).unwrap_or(whole),
        Codec::Vp8 => Place {
            size: Vp8Descriptor::parse(payload).and_then(|read| read.size),
            ..whole
        },
        Codec::Vp9 => place_vp9(memory, payload, is_one_of_many).unwrap_or(whole),
        Codec::Av1 => Place {
            rest: payload,
            ..place_av1(&mut memory.structure, packet.elements[DESCRIPTOR])
        },
        Codec::Unknown | Codec::H264 | Codec::H265 => whole,
    }
}

fn place_vp8(payload: &[u8], marker: bool) -> Option<Place<'_>> {
    let read = Vp8Descriptor::parse(payload)?;
    let (&first, rest) = (payload.first()?, payload.get(read.len_bytes..)?);
    let layer = read.layer(marker);
    Some(Place {
        flags: flags_of(&layer),
        spatial: 0,
        temporal: layer.temporal,
        size: read.size,
        layer_sizes: Default::default(),
        front: Some([first & !VP8_EXTENDED]),
        rest,
    })
}

fn place_vp9<'a>(
    memory: &mut Memory,
    payload: &'a [u8],
    is_one_of_many: bool,
) -> Option<Place<'a>> {
    let read = Vp9Descriptor::parse(payload)?;
    let layer = read.layer();
    let top = read.structure.as_ref().and_then(|structure| {
        let highest = structure.spatial_layers.checked_sub(1)?;
        structure.size(highest)
    });
    if read.is_key() {
        let told = read.structure.as_ref();
        memory.has_spatial = told.is_some_and(|structure| structure.spatial_layers > 1);
    }
    memory.has_spatial |= read.spatial > 0;
    let is_cut = is_one_of_many && !memory.has_spatial;
    let (front, rest) = if is_cut {
        let (&first, rest) = (payload.first()?, payload.get(read.len_bytes..)?);
        (Some([first & VP9_KEPT]), rest)
    } else {
        (None, payload)
    };
    Some(Place {
        flags: flags_of(&layer),
        spatial: layer.spatial,
        temporal: layer.temporal,
        size: top,
        layer_sizes: read
            .structure
            .as_ref()
            .map_or_else(Default::default, |structure| {
                core::array::from_fn(|spatial| {
                    let spatial = u8::try_from(spatial).unwrap_or(u8::MAX);
                    structure.size(spatial).unwrap_or_default()
                })
            }),
        front,
        rest,
    })
}

/// By the dependency descriptor alone. Without it there is one layer.
fn place_av1(structure: &mut Structure, descriptor: &[u8]) -> Place<'static> {
    let read = if descriptor.is_empty() {
        None
    } else {
        structure.read(descriptor)
    };
    let Some(read) = read else {
        return Place::default();
    };
    let layer = read.layer();
    let top = structure.spatial_layers().checked_sub(1);
    Place {
        flags: flags_of(&layer),
        spatial: layer.spatial,
        temporal: layer.temporal,
        size: top.and_then(|top| structure.size(top)),
        ..Place::default()
    }
}

fn flags_of(layer: &Layer) -> Flags {
    let all = [
        (layer.ends, Flags::ENDS_LAYER),
        (layer.opens_own, Flags::OPENS_OWN),
        (layer.opens_above, Flags::OPENS_ABOVE),
        (layer.is_discardable, Flags::DISCARDABLE),
    ];
    let said = all.into_iter().filter(|(is_said, _)| *is_said);
    said.fold(Flags::NONE, |flags, (_, flag)| flags | flag)
}

/// X: the descriptor has more than one byte (RFC 7741 section 4.2).
const VP8_EXTENDED: u8 = 0x80;

/// P, B, E and Z: what is left of a descriptor of one byte (RFC 9628 section 4.2).
const VP9_KEPT: u8 = 0x4d;

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

    fn vp9<'a>(memory: &mut Memory, payload: &'a [u8]) -> Place<'a> {
        let packet = Coming {
            header: wire::rtp::Header::default(),
            payload,
            elements: [&[]; link::elements::KINDS],
        };
        place(memory, Codec::Vp9, &packet, true)
    }

    #[test]
    fn one_of_several_encodings_of_vp9_goes_by_sequence_numbers() {
        let mut memory = Memory::new();
        // I, L, B and V; wide picture id, layers, TL0PICIDX; one layer of 320 x 180, no pattern.
        let key = [0xaa, 0x92, 0x34, 0x00, 7, 0x10, 1, 64, 0, 180, 0x82, 0x49];
        let cut = vp9(&mut memory, &key);
        assert_eq!((cut.front, cut.rest), (Some([0x08]), &key[10..]));
        assert_eq!(
            cut.size.map(|size| (size.width, size.height)),
            Some((320, 180))
        );
        // P, E, a temporal layer above.
        let next = [0xe4, 0x92, 0x35, 0x40, 7, 9];
        let cut = vp9(&mut memory, &next);
        assert_eq!((cut.front, cut.rest), (Some([0x44]), &next[5..]));
        assert_eq!((cut.temporal, cut.bytes()), (2, 2));
        // What is left is still a descriptor, of the same frame.
        let read = Vp9Descriptor::parse(&[0x44, 9]).unwrap();
        assert!(read.is_predicted && read.ends && !read.begins && read.picture_id.is_none());
    }

    #[test]
    fn spatial_layers_inside_an_encoding_of_vp9_keep_their_descriptors() {
        let mut memory = Memory::new();
        // Two spatial layers without sizes.
        let key = [0xaa, 0x92, 0x34, 0x00, 7, 0x20, 0x82, 0x49];
        let base = vp9(&mut memory, &key);
        assert_eq!((base.front, base.rest), (None, &key[..]));
        let upper = [0x88 | 0x20, 0x92, 0x34, 0x03, 7, 9];
        assert_eq!(vp9(&mut memory, &upper).front, None);
        let next = [0xe8, 0x92, 0x35, 0x00, 8, 9];
        assert_eq!(vp9(&mut memory, &next).front, None);
        // The next keyframe has one layer.
        let alone = [0xaa, 0x92, 0x36, 0x00, 9, 0x00, 0x82, 0x49];
        assert_eq!(vp9(&mut memory, &alone).front, Some([0x08]));
    }
}
