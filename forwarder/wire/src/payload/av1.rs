//! Owns AV1's aggregation header, and the dependency descriptor that tells of layers (RTP payload
//! format for AV1, section 4.4 and appendix A). Hot.
//!
//! The descriptor is a header extension and says nothing that only AV1 has: VP8 and VP9 come with
//! it too.

mod descriptor;
mod structure;

pub use descriptor::{Descriptor, Dti};
pub use structure::Structure;

/// The header extension of the dependency descriptor, as `a=extmap` names it.
pub const DEPENDENCY_DESCRIPTOR_URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Most templates: their index has six bits.
pub const TEMPLATES_MAX: usize = 64;

/// Most decode targets: their number has five bits, less one.
pub const TARGETS_MAX: usize = 32;

/// Chains that are kept; the format has 32. Encoders have one for each spatial layer.
pub const CHAINS_MAX: usize = 4;

/// Most spatial layers: an OBU's spatial id has two bits.
pub const SPATIAL_MAX: usize = 4;

/// Most temporal layers: an OBU's temporal id has three bits.
pub const TEMPORAL_MAX: usize = 8;

/// References of a frame that are kept: AV1 has seven (REFS_PER_FRAME).
pub const REFERENCES_MAX: usize = 8;

/// The first byte of an AV1 payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AggregationHeader {
    /// Z: the first OBU began in the packet before.
    pub continues: bool,
    /// Y: the last OBU goes on in the next packet.
    pub is_continued: bool,
    /// W: OBU elements, 1 to 3, of which the last has no length. `None`: any number, and all have.
    pub elements: Option<u8>,
    /// N: the first packet of a coded video sequence, which a keyframe begins.
    pub begins_sequence: bool,
}

impl AggregationHeader {
    /// Reads the header. `None`: the payload is empty.
    #[inline]
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        Some(Self {
            continues: first & 0x80 != 0,
            is_continued: first & 0x40 != 0,
            elements: Some(first >> 4 & 0x03).filter(|elements| *elements != 0),
            begins_sequence: first & 0x08 != 0,
        })
    }
}

#[cfg(test)]
mod tests;
