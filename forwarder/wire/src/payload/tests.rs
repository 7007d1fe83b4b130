//! Vectors laid out by hand and such as Chromium 156 sent; properties of reading and rewriting.

use proptest::collection::vec;
use proptest::prelude::*;

use super::nal::{h264_layer, h265_layer, units};
use super::vp8::{self, Vp8Descriptor};
use super::vp9::{self, Vp9Descriptor};
use super::*;

fn vp8(payload: &[u8]) -> Vp8Descriptor {
    Vp8Descriptor::parse(payload).unwrap()
}

fn vp9(payload: &[u8]) -> Vp9Descriptor {
    Vp9Descriptor::parse(payload).unwrap()
}

#[test]
fn vp8_descriptors_of_every_length_are_read() {
    // S, and a keyframe of 1280 by 720 behind it.
    let key = [0x10, 0x50, 0x79, 0x01, 0x9d, 0x01, 0x2a, 0, 5, 0xd0, 2, 9];
    let read = vp8(&key);
    assert!(read.begins_frame() && read.is_key && !read.is_non_reference);
    assert_eq!(
        (read.len_bytes, read.picture_id, read.temporal),
        (1, None, None)
    );
    let (width, height) = (1280, 720);
    assert_eq!(read.size, Some(Size { width, height }));

    // All there is: I, L, T and K; a picture id of 15 bits, TL0PICIDX 7, TID 2 with Y, KEYIDX 5.
    let read = vp8(&[0xb0, 0xf0, 0x92, 0x34, 7, 0xa5, 0x51]);
    let (value, is_wide, at) = (0x1234, true, 2);
    assert_eq!(read.picture_id, Some(PictureId { value, is_wide, at }));
    assert_eq!(read.base_index, Some(BaseIndex { value: 7, at: 4 }));
    assert_eq!(
        (read.temporal, read.is_sync, read.key_index),
        (Some(2), true, Some(5))
    );
    assert!(read.is_non_reference && !read.is_key);
    assert_eq!((read.len_bytes, read.size), (6, None));

    // Seven bits; K without T, so that there is a byte but no layer in it.
    let read = vp8(&[0x90, 0x90, 0x11, 0xa5, 0x50]);
    let (value, is_wide, at) = (0x11, false, 2);
    assert_eq!(read.picture_id, Some(PictureId { value, is_wide, at }));
    assert_eq!(
        (read.temporal, read.is_sync, read.key_index),
        (None, false, Some(5))
    );
    // The tag says a keyframe, and its header is not all here.
    assert!(read.is_key && read.size.is_none());

    // Not the beginning of the frame: what comes next is no tag.
    let (later, other) = (vp8(&[0x00, 0x50]), vp8(&[0x11, 0x50]));
    assert!(!later.is_key && !other.is_key && !later.begins_frame() && !other.begins_frame());
    assert_eq!(other.partition, 1);
    assert!(!vp8(&[0x10]).is_key);
}

#[test]
fn what_is_cut_short_is_no_descriptor() {
    let vp8 = [0x90, 0xf0, 0x92, 0x34, 7, 0x20];
    assert!(Vp8Descriptor::parse(&vp8).is_some());
    for bytes in 0..vp8.len() {
        assert_eq!(Vp8Descriptor::parse(&vp8[..bytes]), None, "{bytes}");
    }
    // I, P, L, F, B, V; three references; two sizes; a group of two pictures, one of which refers
    // to two others.
    let vp9 = [
        0xfa, 0xdb, 0x24, 0x50, 0x03, 0x05, 0x06, 0x38, 1, 0x40, 0, 0xb4, 2, 0x80, 1, 0x68, 2,
        0x10, 0x28, 1, 2,
    ];
    let read = self::vp9(&vp9);
    assert_eq!((read.references, read.len_bytes), ([1, 2, 3], vp9.len()));
    let structure = read.structure.unwrap();
    assert_eq!((structure.spatial_layers, structure.pictures), (2, 2));
    for bytes in 0..vp9.len() {
        assert_eq!(Vp9Descriptor::parse(&vp9[..bytes]), None, "{bytes}");
    }
    // A fourth reference.
    assert_eq!(Vp9Descriptor::parse(&[0x50, 3, 3, 3, 2]), None);
}

/// A stream of three spatial layers that are predicted from each other in keyframes alone.
#[test]
fn vp9_of_chromium_is_read() {
    // The keyframe's base layer, and the structure: three layers with sizes.
    let key = [
        0xba, 0xde, 0xef, 0x10, 0x50, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x05, 0x00,
        0x02, 0xd0, 0x83, 0x49, 0x83,
    ];
    let read = vp9(&key);
    assert!(read.is_key() && read.is_flexible && read.begins && !read.ends);
    assert_eq!(read.picture_id.unwrap().value, 0x5eef);
    assert_eq!(read.len_bytes, 17);
    let structure = read.structure.unwrap();
    let size = |layer| structure.size(layer).map(|size| (size.width, size.height));
    assert_eq!(size(0), Some((320, 180)));
    assert_eq!(size(2), Some((1280, 720)));
    assert_eq!(size(3), None);

    // The layer above, predicted from it: no keyframe of its own.
    let read = vp9(&[0xb8, 0xde, 0xef, 0x13, 0x87, 0x02]);
    assert!(!read.is_key() && read.begins);
    let layer = read.layer();
    assert_eq!((layer.spatial, layer.temporal), (1, 0));
    assert!(layer.refers_lower && layer.switches_up() && layer.begins && !layer.ends);

    // Frames of the temporal layers 2 and 1, the first packets and a last one.
    let read = vp9(&[0xf9, 0xde, 0xec, 0x50, 0x02, 0x87]);
    assert!(!read.is_key() && read.is_top && read.begins);
    assert_eq!((read.temporal, read.references), (2, [1, 0, 0]));
    let read = vp9(&[0xf5, 0xde, 0xed, 0x30, 0x04, 0x27]);
    assert!(read.ends && !read.begins);
    assert_eq!((read.temporal, read.references), (1, [2, 0, 0]));

    // A structure with a frame that is predicted: a layer is added.
    let read = vp9(&[
        0xfa, 0xdb, 0x24, 0x10, 0x08, 0x30, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x87,
    ]);
    assert!(!read.is_key());
    assert_eq!(read.structure.unwrap().spatial_layers, 2);
}

#[test]
fn vp9_without_flexible_mode_has_a_base_index() {
    // I, L, B: seven bits of picture id, TID 3, U, SID 5, TL0PICIDX 9.
    let read = vp9(&[0xa8, 0x21, 0x7a, 9, 1]);
    assert_eq!(
        (read.temporal, read.spatial, read.opens_above),
        (3, 5, true)
    );
    assert_eq!(read.base_index, Some(BaseIndex { value: 9, at: 3 }));
    assert_eq!(read.len_bytes, 4);
    // Without layers, without anything.
    let read = vp9(&[0x0c]);
    assert!(read.is_key() && read.begins && read.ends && !read.has_layers);
    assert_eq!((read.len_bytes, read.structure), (1, None));
    // A structure that tells nothing but how many layers there are.
    let read = vp9(&[0x0a, 0xe0, 1]);
    let structure = read.structure.unwrap();
    assert_eq!((structure.spatial_layers, structure.pictures), (8, 0));
    assert_eq!((structure.size(0), read.len_bytes), (None, 2));
}

#[test]
fn nal_units_tell_their_layer() {
    let h264 = |payload: &[u8]| h264_layer(payload, false);
    // A slice of an IDR picture, of one that others refer to, and of one that none does.
    let idr = h264(&[0x65, 0x88]).unwrap();
    assert!(idr.begins && idr.switches_up() && !idr.is_discardable);
    assert!(!h264(&[0x41, 0x9a]).unwrap().is_discardable);
    assert!(h264(&[0x01, 0x9e]).unwrap().is_discardable);
    assert!(!h264(&[0x01, 0x1e]).unwrap().begins, "not its first slice");
    // Fragments: the first one with the slice's head, another one, one of a discardable picture.
    assert!(h264(&[0x7c, 0x85, 0x88]).unwrap().begins);
    assert!(!h264(&[0x7c, 0x05, 0x88]).unwrap().begins);
    assert!(h264(&[0x1c, 0x81, 0x9e]).unwrap().is_discardable);
    // Together with SEI in one packet.
    let both = h264(&[0x78, 0, 2, 6, 5, 0, 2, 0x41, 0x9a]).unwrap();
    assert!(both.begins && !both.is_discardable);
    assert!(h264_layer(&[0x41, 0x9a], true).unwrap().ends);
    for silent in [
        &[0x67, 0x42][..],
        &[6, 5],
        &[0x78, 0, 9, 0x41],
        &[0x7c],
        &[],
    ] {
        assert_eq!(h264(silent), None);
    }

    let h265 = |payload: &[u8]| h265_layer(payload, false);
    let idr = h265(&[0x26, 1, 0xaf]).unwrap();
    assert!(idr.begins && idr.opens_own && idr.opens_above && idr.temporal == 0);
    // TRAIL_R of layer 0, TSA_N of layer 2, STSA_R of layer 1 as a fragment, TRAIL_N by itself.
    assert!(!h265(&[0x02, 1, 0x80]).unwrap().switches_up());
    let tsa = h265(&[0x04, 3, 0x80]).unwrap();
    assert!(tsa.opens_own && tsa.opens_above && tsa.is_discardable && tsa.temporal == 2);
    let stsa = h265(&[0x62, 2, 0x85, 0x80]).unwrap();
    assert!(stsa.opens_own && !stsa.opens_above && stsa.begins && stsa.temporal == 1);
    let both = h265(&[0x60, 1, 0, 3, 0x4e, 1, 5, 0, 3, 0x00, 1, 0x80]).unwrap();
    assert!(both.is_discardable && both.begins);
    for silent in [
        &[0x40, 1, 0][..],
        &[0x02, 0, 0x80],
        &[0x62, 1],
        &[0x26],
        &[],
    ] {
        assert_eq!(h265(silent), None);
    }
}

/// Aggregates of nothing, of more than there is, and pieces whose beginning never came.
#[test]
fn aggregates_and_pieces_that_lie_say_nothing() {
    let empty = [&[24][..], &[0; 60_000]].concat();
    assert_eq!(h264_layer(&empty, false), None);
    assert_eq!(units(&empty[1..]).count(), 30_000);
    let empty = [&[96, 1][..], &[0; 60_000]].concat();
    assert_eq!(h265_layer(&empty, false), None);
    // A slice of an IDR picture behind a size that reaches beyond the end.
    assert_eq!(
        h264_layer(&[24, 0, 1, 0x67, 0xff, 0xff, 0x65, 0x80], true),
        None
    );
    let honest = h264_layer(&[24, 0, 1, 0x67, 0, 2, 0x65, 0x80], true);
    assert!(honest.is_some_and(|layer| layer.begins));
    // The middle of a slice begins nothing.
    let piece = |fu| h264_layer(&[0x7c, fu, 0x88, 0x84], true).unwrap();
    assert!(piece(0x85).begins && !piece(0x05).begins && !piece(0x45).begins);
}

#[test]
fn going_up_is_allowed_where_nothing_is_missing() {
    let at = |temporal, opens_own, opens_above| Layer {
        temporal,
        opens_own,
        opens_above,
        ..Layer::default()
    };
    // Down, or nothing to do: always.
    assert_eq!(at(2, false, false).temporal_max(2, 0), 0);
    assert_eq!(at(0, false, false).temporal_max(1, 1), 1);
    // A keyframe opens everything, a plain frame nothing.
    assert_eq!(at(0, true, true).temporal_max(0, 2), 2);
    assert_eq!(at(0, false, false).temporal_max(0, 2), 0);
    assert_eq!(at(1, false, false).temporal_max(0, 2), 0);
    // The layer's own frame opens it, not those above it, nor if one between is missing.
    assert_eq!(at(1, true, false).temporal_max(0, 2), 1);
    assert_eq!(at(2, true, false).temporal_max(0, 2), 0);
    assert_eq!(at(2, true, false).temporal_max(1, 2), 2);
    // A frame one has already opens those above; one that is not had does not.
    assert_eq!(at(1, false, true).temporal_max(1, 2), 2);
    assert_eq!(at(1, false, true).temporal_max(0, 2), 0);
    assert_eq!(at(1, true, true).temporal_max(0, 2), 2);
}

#[test]
fn a_vp8_descriptor_shrinks_to_a_byte() {
    let mut payload = [0xb0, 0xf0, 0x92, 0x34, 7, 0xa5, 0x50, 1, 2];
    let skip = vp8::minimize(&mut payload);
    assert_eq!(skip, 5);
    assert_eq!(payload[skip..], [0x30, 0x50, 1, 2]);
    // Short already, cut short, empty.
    let mut short = [0x10, 0x50];
    assert_eq!((vp8::minimize(&mut short), short), (0, [0x10, 0x50]));
    assert_eq!(vp8::minimize(&mut [0x90, 0x80]), 0);
    assert_eq!(vp8::minimize(&mut []), 0);
}

/// A VP8 payload as its descriptor is to be read, all fields at random.
fn vp8_payload() -> impl Strategy<Value = (Vec<u8>, Option<u16>, Option<u8>)> {
    let id = proptest::option::of((any::<bool>(), 0..0x8000_u16));
    let fields = (any::<u8>(), id, any::<Option<u8>>(), any::<Option<u8>>());
    (fields, vec(any::<u8>(), 0..12)).prop_map(|((first, id, base, layer), data)| {
        let mut payload = vec![first | 0x80, 0];
        let id = id.map(|(is_wide, id)| {
            payload[1] |= 0x80;
            let id = if is_wide { id } else { id & 0x7f };
            let [high, low] = id.to_be_bytes();
            if is_wide {
                payload.push(0x80 | high);
            }
            payload.push(low);
            id
        });
        if let Some(base) = base {
            payload[1] |= 0x40;
            payload.push(base);
        }
        if let Some(layer) = layer {
            payload[1] |= 0x20;
            payload.push(layer);
        }
        payload.extend(data);
        (payload, id, base)
    })
}

proptest! {
    #[test]
    fn any_bytes_are_taken(payload in vec(any::<u8>(), 0..64), marker: bool) {
        if let Some(read) = Vp8Descriptor::parse(&payload) {
            prop_assert!((1..=6).contains(&read.len_bytes) && read.len_bytes <= payload.len());
            prop_assert_eq!(read.layer(marker).ends, marker);
        }
        if let Some(read) = Vp9Descriptor::parse(&payload) {
            prop_assert!(read.len_bytes <= payload.len());
            prop_assert!(read.layer().spatial < 8 && read.layer().temporal < 8);
        }
        let _ = (h264_layer(&payload, marker), h265_layer(&payload, marker));
        let _ = av1::AggregationHeader::parse(&payload);
    }

    #[test]
    fn vp8_fields_are_read_and_rewritten_alone(
        (payload, id, base) in vp8_payload(), new_id: u16, new_base: u8,
    ) {
        let read = vp8(&payload);
        prop_assert_eq!(read.picture_id.map(|id| id.value), id);
        prop_assert_eq!(read.base_index.map(|base| base.value), base);

        let mut written = payload.clone();
        vp8::write_picture_id(&mut written, new_id);
        vp8::write_base_index(&mut written, new_base);
        let mut expected = read;
        if let Some(id) = &mut expected.picture_id {
            id.value = new_id & if id.is_wide { 0x7fff } else { 0x7f };
        }
        if let Some(base) = &mut expected.base_index {
            base.value = new_base;
        }
        prop_assert_eq!(vp8(&written), expected);
        // And back: nothing else has changed.
        vp8::write_picture_id(&mut written, id.unwrap_or(0));
        vp8::write_base_index(&mut written, base.unwrap_or(0));
        prop_assert_eq!(&written, &payload);

        let skip = vp8::minimize(&mut written);
        let short = vp8(&written[skip..]);
        prop_assert_eq!(short.len_bytes, 1);
        prop_assert_eq!((short.is_key, short.size), (read.is_key, read.size));
        prop_assert_eq!(&written[skip + 1..], &payload[read.len_bytes..]);
    }

    #[test]
    fn vp9_ids_are_rewritten_alone(mut payload in vec(any::<u8>(), 1..32), id: u16, base: u8) {
        let Some(before) = Vp9Descriptor::parse(&payload) else { return Ok(()) };
        let original = payload.clone();
        vp9::write_picture_id(&mut payload, id);
        vp9::write_base_index(&mut payload, base);
        let after = vp9(&payload);
        prop_assert_eq!(after.len_bytes, before.len_bytes);
        if let Some(read) = after.picture_id {
            prop_assert_eq!(read.value, id & if read.is_wide { 0x7fff } else { 0x7f });
        }
        prop_assert_eq!(after.base_index.map(|read| read.value), before.base_index.map(|_| base));
        vp9::write_picture_id(&mut payload, before.picture_id.map_or(0, |id| id.value));
        vp9::write_base_index(&mut payload, before.base_index.map_or(0, |base| base.value));
        prop_assert_eq!(payload, original);
    }
}
