//! Owns the readers of what payloads say of their layers.

use ::wire::payload::Layer;
use ::wire::payload::av1::{AggregationHeader, Structure};
use ::wire::payload::nal::{h264_layer, h265_layer, units};
use ::wire::payload::red;
use ::wire::payload::vp8::{self, Vp8Descriptor};
use ::wire::payload::vp9::{self, Vp9Descriptor};

use super::pieces;

/// The same bytes as a payload of every codec.
pub fn payload(data: &[u8]) {
    if let Some(read) = Vp8Descriptor::parse(data) {
        layer(&read.layer(false));
        rewrite(
            data,
            vp8::write_picture_id,
            vp8::write_base_index,
            |bytes| Vp8Descriptor::parse(bytes).map(|read| read.len_bytes),
        );
        let mut short = data.to_vec();
        let skip = vp8::minimize(&mut short);
        let again = Vp8Descriptor::parse(&short[skip..]).expect("a byte is left");
        assert_eq!(
            (again.len_bytes, again.is_key, again.size),
            (1, read.is_key, read.size)
        );
    }
    if let Some(read) = Vp9Descriptor::parse(data) {
        layer(&read.layer());
        rewrite(
            data,
            vp9::write_picture_id,
            vp9::write_base_index,
            |bytes| Vp9Descriptor::parse(bytes).map(|read| read.len_bytes),
        );
        if let Some(structure) = read.structure {
            assert!((0..16).filter_map(|layer| structure.size(layer)).count() <= 8);
        }
    }
    for read in [h264_layer(data, true), h265_layer(data, true)] {
        read.iter().for_each(layer);
    }
    assert!(units(data).map(|unit| unit.len() + 2).sum::<usize>() <= data.len());
    let _ = AggregationHeader::parse(data);
    if let Some(at) = red::primary_at(data, 111) {
        assert!((1..data.len()).contains(&at));
    }
}

/// Rewriting leaves the bytes after the descriptor, and its length, alone.
fn rewrite(
    data: &[u8],
    write_id: fn(&mut [u8], u16),
    write_index: fn(&mut [u8], u8),
    length: fn(&[u8]) -> Option<usize>,
) {
    let mut written = data.to_vec();
    write_id(&mut written, 0x5a5a);
    write_index(&mut written, 0xa5);
    let bytes = length(data).expect("read before");
    assert_eq!(length(&written), Some(bytes));
    assert_eq!(written[bytes..], data[bytes..]);
}

fn layer(layer: &Layer) {
    assert!(layer.spatial < 8 && layer.temporal < 8);
    for have in 0..8 {
        for want in 0..8 {
            let given = layer.temporal_max(have, want);
            assert!(given <= want && given >= have.min(want));
        }
    }
}

/// One descriptor after another.
pub fn dependency(data: &[u8]) {
    let mut structure = Structure::new();
    for bytes in pieces(data) {
        let Some(read) = structure.read(bytes) else {
            continue;
        };
        assert!(structure.is_known() && structure.targets() <= 32);
        assert!(read.spatial < structure.spatial_layers() && read.temporal < 8);
        assert!(
            read.references()
                .all(|reference| (1..=4096).contains(&reference))
        );
        layer(&read.layer());
        for target in 0..=structure.targets() {
            let known = structure.target_layers(target);
            assert_eq!(known.is_some(), target < structure.targets());
            if let Some((spatial, temporal)) = known {
                assert!(structure.target(spatial, temporal).is_some());
                assert!(
                    structure
                        .protected_by(target)
                        .is_none_or(|chain| chain < 32)
                );
            }
            let _ = (read.dti(target), read.chain(target));
        }
    }
}
