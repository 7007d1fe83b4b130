//! Owns the header-extension elements that go through the log with a packet: which there are, and
//! how many bytes each has.
//!
//! They lie in the packet's slot right behind the payload, in the order of their kinds, without
//! identifiers: each viewer has negotiated its own. A packet without elements costs nothing.

use core::ops::Range;

/// Kinds of elements.
pub const KINDS: usize = 3;

/// The dependency descriptor of AV1 (RTP payload format for AV1, appendix A). Whoever has
/// negotiated it cannot decode packets without it.
pub const DESCRIPTOR: usize = 0;

/// The level of the sound (RFC 6464).
pub const AUDIO_LEVEL: usize = 1;

/// The absolute capture time
/// (`http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`): NTP time of the capture, and
/// the offset of the capture's clock to the sender's if that is another one.
pub const CAPTURE_TIME: usize = 2;

/// Most bytes of each kind. Descriptors with a structure have 20 to 90 bytes as encoders make them
/// (three spatial by three temporal layers with three chains: 84); one byte tells a level; a time
/// has 8 bytes and its offset as many.
pub const BYTES_MAX: [usize; KINDS] = [128, 1, 16];

/// Bytes of each element; 0: it is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes(pub [u8; KINDS]);

impl Sizes {
    /// No elements.
    pub const NONE: Self = Self([0; KINDS]);

    /// Of these elements. `None`: one is longer than its kind may be.
    #[inline]
    #[must_use]
    pub fn of(elements: &[&[u8]; KINDS]) -> Option<Self> {
        let mut sizes = Self::NONE;
        for (kind, element) in elements.iter().enumerate() {
            sizes.0[kind] = u8::try_from(element.len()).ok()?;
        }
        sizes.is_legal().then_some(sizes)
    }

    /// True if there are none.
    #[inline]
    #[must_use]
    pub const fn is_none(&self) -> bool {
        let [a, b, c] = self.0;
        a | b | c == 0
    }

    /// Bytes of all together.
    #[inline]
    #[must_use]
    pub const fn total(&self) -> usize {
        let [a, b, c] = self.0;
        a as usize + b as usize + c as usize
    }

    /// Where the element of a kind lies among them; empty: it is not there.
    #[inline]
    #[must_use]
    pub fn place(&self, kind: usize) -> Range<usize> {
        let before = self.0.iter().take(kind).map(|size| usize::from(*size));
        let start = before.sum();
        start..start + self.0.get(kind).map_or(0, |size| usize::from(*size))
    }

    /// True if none is longer than its kind may be.
    #[inline]
    #[must_use]
    pub fn is_legal(&self) -> bool {
        let mut both = self.0.iter().zip(BYTES_MAX);
        both.all(|(size, most)| usize::from(*size) <= most)
    }
}
