//! Owns the RTP header (RFC 3550 section 5.1): a view checked once, and the writer. Hot.

use crate::field::{set, set_u16, set_u32, u8_at, u16_at, u32_at};

/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 12;

/// Version 2 in the upper two bits of the first byte.
const VERSION_2: u8 = 0x80;
/// The bit of the first byte that says that the last bytes are padding (RFC 3550 section 5.1).
pub const PADDING: u8 = 0x20;
/// The bit of the first byte that says that an extension follows (RFC 3550 section 5.1).
pub const EXTENSION: u8 = 0x10;
const CSRC_COUNT: u8 = 0x0f;
const MARKER: u8 = 0x80;

/// Why bytes are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RtpError {
    /// Fewer bytes than the fixed header.
    Short,
    /// Not version 2.
    Version,
    /// The list of contributing sources does not fit.
    Csrc,
    /// The header extension does not fit.
    Extension,
    /// Padding of 0 bytes, or of more than the payload.
    Padding,
}

/// An RTP packet in borrowed bytes, all its lengths checked.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8],
    header_bytes: usize,
    payload_end: usize,
}

/// A header extension (RFC 3550 section 5.3.1); [`crate::rtp_ext`] reads what is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// "Defined by profile": 0xbede for one-byte elements, 0x1000 for two-byte ones.
    pub profile: u16,
    /// What follows the length, a multiple of four bytes.
    pub bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks a plaintext packet.
    ///
    /// # Errors
    /// A length that lies; see [`RtpError`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let mut packet = Self::parse_sealed(bytes)?;
        if u8_at(bytes, 0) & PADDING != 0 {
            let padding = usize::from(u8_at(bytes, bytes.len() - 1));
            if padding == 0 || padding > bytes.len() - packet.header_bytes {
                return Err(RtpError::Padding);
            }
            packet.payload_end -= padding;
        }
        Ok(packet)
    }

    /// Checks the header of an SRTP packet. The payload is ciphertext, padding and tag as they
    /// are: the padding count is encrypted with the rest.
    ///
    /// # Errors
    /// A length that lies; see [`RtpError`].
    #[inline]
    pub fn parse_sealed(bytes: &'a [u8]) -> Result<Self, RtpError> {
        if bytes.len() < HEADER_BYTES {
            return Err(RtpError::Short);
        }
        let first = u8_at(bytes, 0);
        if first & 0xc0 != VERSION_2 {
            return Err(RtpError::Version);
        }
        let mut header_bytes = csrc_end(first);
        if header_bytes > bytes.len() {
            return Err(RtpError::Csrc);
        }
        if first & EXTENSION != 0 {
            // A length beyond the end reads as zero and is caught because its header does not fit.
            header_bytes += 4 + 4 * usize::from(u16_at(bytes, header_bytes + 2));
            if header_bytes > bytes.len() {
                return Err(RtpError::Extension);
            }
        }
        Ok(Self {
            bytes,
            header_bytes,
            payload_end: bytes.len(),
        })
    }

    /// Always 2.
    #[inline]
    #[must_use]
    pub fn version(&self) -> u8 {
        u8_at(self.bytes, 0) >> 6
    }

    /// The marker bit: for video, the last packet of a frame.
    #[inline]
    #[must_use]
    pub fn marker(&self) -> bool {
        u8_at(self.bytes, 1) & MARKER != 0
    }

    /// The payload type, 0 to 127.
    #[inline]
    #[must_use]
    pub fn payload_type(&self) -> u8 {
        u8_at(self.bytes, 1) & !MARKER
    }

    /// The sequence number.
    #[inline]
    #[must_use]
    pub fn sequence(&self) -> u16 {
        u16_at(self.bytes, 2)
    }

    /// The RTP timestamp, in ticks of the payload's clock.
    #[inline]
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        u32_at(self.bytes, 4)
    }

    /// The synchronisation source.
    #[inline]
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        u32_at(self.bytes, 8)
    }

    /// The contributing sources, 15 at most.
    #[inline]
    pub fn csrc(&self) -> impl Iterator<Item = u32> + use<'a> {
        let list = self.bytes.get(HEADER_BYTES..csrc_end(u8_at(self.bytes, 0)));
        list.unwrap_or_default()
            .chunks_exact(4)
            .map(|csrc| u32_at(csrc, 0))
    }

    /// The header extension, if the packet has one.
    #[inline]
    #[must_use]
    pub fn extension(&self) -> Option<Extension<'a>> {
        let first = u8_at(self.bytes, 0);
        if first & EXTENSION == 0 {
            return None;
        }
        let at = csrc_end(first);
        Some(Extension {
            profile: u16_at(self.bytes, at),
            bytes: self.bytes.get(at + 4..self.header_bytes)?,
        })
    }

    /// Bytes before the payload: fixed header, contributing sources, extension. What SRTP
    /// authenticates and does not encrypt.
    #[inline]
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// The payload without padding.
    #[inline]
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes
            .get(self.header_bytes..self.payload_end)
            .unwrap_or_default()
    }

    /// Bytes of padding, its count included; 0 to 255. Always 0 for a sealed packet.
    #[inline]
    #[must_use]
    pub fn padding_bytes(&self) -> usize {
        self.bytes.len() - self.payload_end
    }

    /// The whole packet.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The fields of the fixed header that differ from packet to packet.
    #[inline]
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            marker: self.marker(),
            payload_type: self.payload_type(),
            sequence: self.sequence(),
            timestamp: self.timestamp(),
            ssrc: self.ssrc(),
        }
    }
}

/// What a writer decides about a packet's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0 to 127; the upper bit is ignored.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Writes the header and `ext`, which is a whole extension block with profile and length (a
    /// multiple of four bytes) or empty. Returns 12 + the bytes of `ext`, or 0 if `out` is too
    /// short.
    ///
    /// No padding and no contributing sources; a caller that pads sets the bit by [`set_padding`].
    #[inline]
    #[must_use]
    pub fn write(&self, ext: &[u8], out: &mut [u8]) -> usize {
        debug_assert!(ext.len().is_multiple_of(4), "an extension is whole words");
        let bytes = HEADER_BYTES + ext.len();
        let Some(ext_room) = out.get_mut(HEADER_BYTES..bytes) else {
            return 0;
        };
        ext_room.copy_from_slice(ext);
        let x = if ext.is_empty() { 0 } else { EXTENSION };
        let m = if self.marker { MARKER } else { 0 };
        set(out, 0, [VERSION_2 | x, m | (self.payload_type & !MARKER)]);
        set_u16(out, 2, self.sequence);
        set_u32(out, 4, self.timestamp);
        set_u32(out, 8, self.ssrc);
        bytes
    }
}

/// Sets the padding bit of a header in `out` and turns the last `padding` bytes of `out`, which is
/// the whole plaintext packet, into padding. `padding` is 1 to 255; 0 changes nothing.
#[inline]
pub fn set_padding(out: &mut [u8], padding: u8) {
    let Some(start) = out.len().checked_sub(usize::from(padding)) else {
        return;
    };
    if padding == 0 || start < HEADER_BYTES {
        return;
    }
    if let Some(first) = out.first_mut() {
        *first |= PADDING;
    }
    if let Some(tail) = out.get_mut(start..) {
        tail.fill(0);
    }
    if let Some(last) = out.last_mut() {
        *last = padding;
    }
}

/// Where the contributing sources end, told by the first byte.
#[inline]
fn csrc_end(first: u8) -> usize {
    HEADER_BYTES + 4 * usize::from(first & CSRC_COUNT)
}

#[cfg(test)]
mod tests;
