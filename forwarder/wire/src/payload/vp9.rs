//! Owns the payload descriptor of VP9 (RFC 9628 section 4.2) with its scalability structure. Hot.

use super::{BaseIndex, Layer, PictureId, Size};
use crate::field::{u8_at, u16_at};

/// Most spatial layers: N_S has three bits.
pub const SPATIAL_MAX: usize = 8;

/// Most pictures that a picture of the flexible mode refers to (RFC 9628 section 4.2, P_DIFF).
pub const REFERENCES_MAX: usize = 3;

/// What a packet says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// Counts the pictures; all layers of a picture have the same.
    pub picture_id: Option<PictureId>,
    /// P: predicted from earlier pictures.
    pub is_predicted: bool,
    /// L: the packet tells its layers; without it there is one.
    pub has_layers: bool,
    /// F: the packet tells which pictures its own refers to.
    pub is_flexible: bool,
    /// B: the first packet of a frame.
    pub begins: bool,
    /// E: the last packet of a frame.
    pub ends: bool,
    /// Z: no upper spatial layer of this picture is predicted from this frame.
    pub is_top: bool,
    /// TID: temporal layer, 0 to 7.
    pub temporal: u8,
    /// SID: spatial layer, 0 to 7.
    pub spatial: u8,
    /// U: later pictures of the temporal layers above refer to none of them from before this one.
    pub opens_above: bool,
    /// D: predicted from the spatial layer below, in the same picture.
    pub refers_lower: bool,
    /// TL0PICIDX: counts the pictures of the temporal base layer. Not in the flexible mode.
    pub base_index: Option<BaseIndex>,
    /// P_DIFF: how many pictures before its own those are that it refers to, 1 to 127; 0 fills up.
    pub references: [u8; REFERENCES_MAX],
    /// What the whole stream is made of; with keyframes, mostly.
    pub structure: Option<Scalability>,
    /// Bytes of the descriptor; the frame's data come after it.
    pub len_bytes: usize,
}

/// The scalability structure of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalability {
    /// Spatial layers, 1 to 8.
    pub spatial_layers: u8,
    /// Pictures after which the pattern of temporal layers repeats, 0 if it is not told.
    pub pictures: u8,
    sizes: Option<[Size; SPATIAL_MAX]>,
}

impl Scalability {
    /// Pixels of a spatial layer. `None`: not told, or there is no such layer.
    #[inline]
    #[must_use]
    pub fn size(&self, spatial: u8) -> Option<Size> {
        let sizes = self.sizes.as_ref()?;
        let sizes = sizes.get(..usize::from(self.spatial_layers))?;
        sizes.get(usize::from(spatial)).copied()
    }
}

impl Vp9Descriptor {
    /// Reads the descriptor at the front of a payload. `None`: it is cut short, or refers to more
    /// pictures than there may be.
    #[inline]
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let is = |bit: u8| first & bit != 0;
        let mut this = Self {
            picture_id: None,
            is_predicted: is(0x40),
            has_layers: is(0x20),
            is_flexible: is(0x10),
            begins: is(0x08),
            ends: is(0x04),
            is_top: is(0x01),
            temporal: 0,
            spatial: 0,
            opens_above: false,
            refers_lower: false,
            base_index: None,
            references: [0; REFERENCES_MAX],
            structure: None,
            len_bytes: 1,
        };
        if is(0x80) {
            let id = PictureId::parse(payload, this.len_bytes)?;
            this.len_bytes += id.len_bytes();
            this.picture_id = Some(id);
        }
        if this.has_layers {
            this.read_layers(payload)?;
        }
        if this.is_predicted && this.is_flexible {
            this.read_references(payload)?;
        }
        if is(0x02) {
            let (structure, bytes) = read_structure(payload.get(this.len_bytes..)?)?;
            this.structure = Some(structure);
            this.len_bytes += bytes;
        }
        Some(this)
    }

    /// True for the first packet of a keyframe: the beginning of a picture's base layer that is
    /// predicted from no other picture.
    #[inline]
    #[must_use]
    pub fn is_key(&self) -> bool {
        self.begins && !self.is_predicted && self.spatial == 0 && !self.refers_lower
    }

    /// The frame's place among the layers. Which frames nobody refers to is not told.
    #[inline]
    #[must_use]
    pub fn layer(&self) -> Layer {
        let is_intra = !self.is_predicted;
        Layer {
            spatial: self.spatial,
            temporal: self.temporal,
            begins: self.begins,
            ends: self.ends,
            is_discardable: false,
            opens_own: is_intra,
            opens_above: is_intra || self.opens_above,
            refers_lower: self.refers_lower,
        }
    }

    /// TID, U, SID and D share a byte; TL0PICIDX comes after it unless the mode is flexible.
    fn read_layers(&mut self, payload: &[u8]) -> Option<()> {
        let layers = *payload.get(self.len_bytes)?;
        self.len_bytes += 1;
        self.temporal = layers >> 5;
        self.opens_above = layers & 0x10 != 0;
        self.spatial = layers >> 1 & 0x07;
        self.refers_lower = layers & 0x01 != 0;
        if !self.is_flexible {
            self.base_index = Some(BaseIndex::parse(payload, self.len_bytes)?);
            self.len_bytes += 1;
        }
        Some(())
    }

    /// P_DIFF and N, whether another one follows.
    fn read_references(&mut self, payload: &[u8]) -> Option<()> {
        for reference in &mut self.references {
            let byte = *payload.get(self.len_bytes)?;
            self.len_bytes += 1;
            *reference = byte >> 1;
            if byte & 0x01 == 0 {
                return Some(());
            }
        }
        None
    }
}

/// Reads a scalability structure and says how many bytes it takes. `None`: it is cut short.
fn read_structure(bytes: &[u8]) -> Option<(Scalability, usize)> {
    let flags = *bytes.first()?;
    let layers = (flags >> 5) + 1;
    let mut at = 1;
    let mut structure = Scalability {
        spatial_layers: layers,
        pictures: 0,
        sizes: None,
    };
    if flags & 0x10 != 0 {
        let mut sizes = [Size::default(); SPATIAL_MAX];
        for size in sizes.iter_mut().take(usize::from(layers)) {
            bytes.get(at..at + 4)?;
            *size = Size {
                width: u16_at(bytes, at),
                height: u16_at(bytes, at + 2),
            };
            at += 4;
        }
        structure.sizes = Some(sizes);
    }
    if flags & 0x08 != 0 {
        structure.pictures = *bytes.get(at)?;
        at += 1;
        for _ in 0..structure.pictures {
            // TID, U, R (how many references follow, a byte each), two bits reserved.
            bytes.get(at)?;
            at += 1 + usize::from(u8_at(bytes, at) >> 2 & 0x03);
        }
    }
    bytes.get(..at)?;
    Some((structure, at))
}

/// Rewrites the picture id in its place, as many lower bits as there is room for. Without a
/// picture id nothing changes.
#[inline]
pub fn write_picture_id(payload: &mut [u8], id: u16) {
    if let Some(place) = Vp9Descriptor::parse(payload).and_then(|read| read.picture_id) {
        place.write(payload, id);
    }
}

/// Rewrites TL0PICIDX in its place. Without it nothing changes.
#[inline]
pub fn write_base_index(payload: &mut [u8], index: u8) {
    if let Some(place) = Vp9Descriptor::parse(payload).and_then(|read| read.base_index) {
        place.write(payload, index);
    }
}
