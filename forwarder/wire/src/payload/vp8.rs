//! Owns the payload descriptor of VP8 (RFC 7741 section 4.2) and the keyframe's header. Hot.

use super::{BaseIndex, Layer, PictureId, Size};
use crate::field::array_at;

const EXTENDED: u8 = 0x80;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_BASE_INDEX: u8 = 0x40;
const HAS_TEMPORAL: u8 = 0x20;
const HAS_KEY_INDEX: u8 = 0x10;

/// Bytes of the header that a keyframe's data begins with: tag, start code, width, height.
const KEY_HEADER_BYTES: usize = 10;

/// What a packet says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// S: the first packet of a partition.
    pub starts_partition: bool,
    /// PID: index of the partition, 0 to 7.
    pub partition: u8,
    /// N: no other frame refers to this one.
    pub is_non_reference: bool,
    /// Counts the frames.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: counts the frames of the temporal base layer.
    pub base_index: Option<BaseIndex>,
    /// TID: temporal layer, 0 to 3. `None`: there is but one.
    pub temporal: Option<u8>,
    /// Y: predicted from frames of the temporal base layer alone. False without TID.
    pub is_sync: bool,
    /// KEYIDX: index of a keyframe, modulo 32.
    pub key_index: Option<u8>,
    /// Bytes of the descriptor; the frame's data come after it.
    pub len_bytes: usize,
    /// The first packet of a keyframe.
    pub is_key: bool,
    /// Pixels of a keyframe, as they are coded, without scaling; from its first packet.
    pub size: Option<Size>,
}

impl Vp8Descriptor {
    /// Reads the descriptor at the front of a payload. `None`: it is cut short.
    #[inline]
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut this = Self {
            starts_partition: first & 0x10 != 0,
            partition: first & 0x07,
            is_non_reference: first & 0x20 != 0,
            picture_id: None,
            base_index: None,
            temporal: None,
            is_sync: false,
            key_index: None,
            len_bytes: 1,
            is_key: false,
            size: None,
        };
        if first & EXTENDED != 0 {
            this.extend(payload)?;
        }
        if this.begins_frame() {
            this.look_at_frame(payload.get(this.len_bytes..).unwrap_or_default());
        }
        Some(this)
    }

    /// True for the first packet of a frame.
    #[inline]
    #[must_use]
    pub fn begins_frame(&self) -> bool {
        self.starts_partition && self.partition == 0
    }

    /// The frame's place among the layers. The payload does not say where a frame ends: `marker`
    /// is the bit of the RTP header.
    #[inline]
    #[must_use]
    pub fn layer(&self, marker: bool) -> Layer {
        Layer {
            spatial: 0,
            temporal: self.temporal.unwrap_or(0),
            begins: self.begins_frame(),
            ends: marker,
            is_discardable: self.is_non_reference,
            opens_own: self.is_key || self.is_sync,
            opens_above: self.is_key,
            refers_lower: false,
        }
    }

    /// Reads what comes after the first byte.
    fn extend(&mut self, payload: &[u8]) -> Option<()> {
        let flags = *payload.get(1)?;
        let mut at = 2;
        if flags & HAS_PICTURE_ID != 0 {
            let id = PictureId::parse(payload, at)?;
            at += id.len_bytes();
            self.picture_id = Some(id);
        }
        if flags & HAS_BASE_INDEX != 0 {
            self.base_index = Some(BaseIndex::parse(payload, at)?);
            at += 1;
        }
        if flags & (HAS_TEMPORAL | HAS_KEY_INDEX) != 0 {
            let layer = *payload.get(at)?;
            at += 1;
            if flags & HAS_TEMPORAL != 0 {
                self.temporal = Some(layer >> 6);
                self.is_sync = layer & 0x20 != 0;
            }
            if flags & HAS_KEY_INDEX != 0 {
                self.key_index = Some(layer & 0x1f);
            }
        }
        self.len_bytes = at;
        Some(())
    }

    /// Looks at the front of the first partition.
    fn look_at_frame(&mut self, data: &[u8]) {
        //= https://www.rfc-editor.org/rfc/rfc7741#section-4.3
        //# P: Inverse key frame flag.  When set to 0, the current frame is a key frame.
        self.is_key = data.first().is_some_and(|tag| tag & 0x01 == 0);
        // RFC 6386 section 9.1: the start code, then 14 bits of size and two of scaling each.
        let is_whole = data.len() >= KEY_HEADER_BYTES && array_at(data, 3) == [0x9d, 0x01, 0x2a];
        if self.is_key && is_whole {
            self.size = Some(Size {
                width: u16::from_le_bytes(array_at(data, 6)) & 0x3fff,
                height: u16::from_le_bytes(array_at(data, 8)) & 0x3fff,
            });
        }
    }
}

/// Rewrites the picture id in its place, as many lower bits as there is room for. Without a
/// picture id nothing changes.
#[inline]
pub fn write_picture_id(payload: &mut [u8], id: u16) {
    if let Some(place) = Vp8Descriptor::parse(payload).and_then(|read| read.picture_id) {
        place.write(payload, id);
    }
}

/// Rewrites TL0PICIDX in its place. Without it nothing changes.
#[inline]
pub fn write_base_index(payload: &mut [u8], index: u8) {
    if let Some(place) = Vp8Descriptor::parse(payload).and_then(|read| read.base_index) {
        place.write(payload, index);
    }
}

/// Makes the descriptor one byte, as short as it can be, and says how many bytes at the front of
/// the payload are no longer part of it. Without an extension nothing changes, and it says 0.
///
/// Picture ids and layers are gone then: a receiver goes by sequence numbers alone, whatever layer
/// the frames come from, and there is nothing to keep continuous when layers are left out.
#[inline]
pub fn minimize(payload: &mut [u8]) -> usize {
    let Some(read) = Vp8Descriptor::parse(payload) else {
        return 0;
    };
    let skip = read.len_bytes - 1;
    let first = payload.first().copied().unwrap_or(0);
    if let Some(byte) = payload.get_mut(skip) {
        *byte = first & !EXTENDED;
    }
    skip
}
