//! Owns what an RTP payload says of its place among the layers of a stream, codec by codec. Hot.
//!
//! Each codec's module reads its own payload descriptor; [`Layer`] is what all of them have in
//! common. Nothing is kept between packets, but for AV1's [`av1::Structure`].

pub mod av1;
mod bits;
pub mod nal;
pub mod red;
pub mod vp8;
pub mod vp9;

use serde::{Deserialize, Serialize};

use crate::field::{set_u16, u8_at, u16_at};

/// Where a frame stands among the layers, and who can do without it. A frame here is what one
/// spatial layer shows of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Spatial layer, 0 to 7; 0 is the base.
    pub spatial: u8,
    /// Temporal layer, 0 to 7; 0 is the base.
    pub temporal: u8,
    /// The packet is the first of its frame.
    pub begins: bool,
    /// The packet is the last of its frame.
    pub ends: bool,
    /// No later frame is predicted from this one: who does not get it misses nothing else.
    pub is_discardable: bool,
    /// Who had every temporal layer below this one may be given this one too, beginning here.
    pub opens_own: bool,
    /// Who had this temporal layer and those below may be given all above it too, after this
    /// frame.
    pub opens_above: bool,
    /// It is predicted from a lower spatial layer of its own picture.
    pub refers_lower: bool,
}

impl Layer {
    /// True if a temporal switch upwards is allowed here, in one way or the other.
    #[inline]
    #[must_use]
    pub fn switches_up(&self) -> bool {
        self.opens_own || self.opens_above
    }

    /// The highest temporal layer to be given from this frame on, itself included, to a viewer who
    /// had all up to `have` and should get all up to `want`. Going down is allowed anywhere.
    #[inline]
    #[must_use]
    pub fn temporal_max(&self, have: u8, want: u8) -> u8 {
        if want <= have {
            return want;
        }
        let has_own = self.temporal <= have || (self.temporal == have + 1 && self.opens_own);
        match (has_own, self.opens_above) {
            (true, true) => want,
            (true, false) => have.max(self.temporal),
            (false, _) => have,
        }
    }
}

/// The picture id of a payload descriptor, in VP8 and VP9 alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PictureId {
    /// 0 to 127, or 0 to 32,767 if it is wide.
    pub value: u16,
    /// True: 15 bits; false: 7.
    pub is_wide: bool,
    /// Where it begins in the payload, in bytes.
    pub at: usize,
}

impl PictureId {
    /// Reads the id at `at`, whose upper bit says whether it has 7 bits or 15. `None`: it is cut
    /// short.
    #[inline]
    fn parse(payload: &[u8], at: usize) -> Option<Self> {
        let is_wide = *payload.get(at)? & 0x80 != 0;
        let value = if is_wide {
            payload.get(at + 1)?;
            u16_at(payload, at) & 0x7fff
        } else {
            u16::from(u8_at(payload, at))
        };
        Some(Self { value, is_wide, at })
    }

    /// Bytes of it in the payload.
    #[inline]
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        if self.is_wide { 2 } else { 1 }
    }

    /// Puts as many lower bits of `id` in its place as there were before. `payload` is the one
    /// that this was read from.
    #[inline]
    pub fn write(&self, payload: &mut [u8], id: u16) {
        if self.is_wide {
            set_u16(payload, self.at, 0x8000 | id);
        } else if let Some(byte) = payload.get_mut(self.at) {
            let [_, low] = id.to_be_bytes();
            *byte = low & 0x7f;
        }
    }
}

/// The index of a picture of the temporal base layer, in VP8 and VP9 alike: frames of the layers
/// above repeat the one that they belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BaseIndex {
    /// Counts modulo 256.
    pub value: u8,
    /// Where it is in the payload, in bytes.
    pub at: usize,
}

impl BaseIndex {
    /// Reads the index at `at`. `None`: it is cut short.
    #[inline]
    fn parse(payload: &[u8], at: usize) -> Option<Self> {
        let value = *payload.get(at)?;
        Some(Self { value, at })
    }

    /// Puts `index` in its place. `payload` is the one that this was read from.
    #[inline]
    pub fn write(&self, payload: &mut [u8], index: u8) {
        if let Some(byte) = payload.get_mut(self.at) {
            *byte = index;
        }
    }
}

/// Pixels of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// 0 to 65,535.
    pub width: u16,
    /// 0 to 65,535.
    pub height: u16,
}

#[cfg(test)]
mod tests;
