//! Owns compound RTCP packets (RFC 3550 section 6.1): one datagram into items. Hot.

use crate::field::{Writer, u8_at, u16_at, u32_at};
use crate::rtcp_feedback::Feedback;
use crate::rtcp_report::{Bye, ExtendedReport, ReceiverReport, Sdes, SenderReport};

pub(crate) const SENDER_REPORT: u8 = 200;
pub(crate) const RECEIVER_REPORT: u8 = 201;
pub(crate) const SDES: u8 = 202;
pub(crate) const BYE: u8 = 203;
const APP: u8 = 204;
pub(crate) const TRANSPORT_FEEDBACK: u8 = 205;
pub(crate) const PAYLOAD_FEEDBACK: u8 = 206;
pub(crate) const EXTENDED_REPORT: u8 = 207;

/// Bytes of the common header.
pub(crate) const HEADER_BYTES: usize = 4;

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// What a sender sent and when.
    SenderReport(SenderReport<'a>),
    /// How a receiver received.
    ReceiverReport(ReceiverReport<'a>),
    /// Who a source is.
    Sdes(Sdes<'a>),
    /// Sources that left.
    Bye(Bye<'a>),
    /// Of an application; not used here.
    App {
        /// The five bits of the header.
        subtype: u8,
        /// Who sent it.
        ssrc: u32,
        /// Four ASCII characters.
        name: [u8; 4],
        /// What follows.
        data: &'a [u8],
    },
    /// A request or report about a media stream (RFC 4585).
    Feedback(Feedback<'a>),
    /// Round-trip times and more (RFC 3611).
    ExtendedReport(ExtendedReport<'a>),
    /// A type not known here.
    Unknown {
        /// The type, outside 200 to 207.
        packet_type: u8,
        /// The five bits of the header.
        count: u8,
        /// What follows the header, without padding.
        body: &'a [u8],
    },
}

/// Why a packet of a compound cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// Fewer bytes than a header, or than the header says.
    Length,
    /// Not version 2.
    Version,
    /// Padding of 0 bytes, or of more than there is.
    Padding,
    /// Fewer bytes than the type or its count needs.
    Body,
}

/// Walks a compound and ends at the first packet that lies.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
    malformed: Option<Malformed>,
}

/// The packets of `bytes`, decrypted RTCP without the SRTCP index and tag. Reduced-size packets
/// (RFC 5506), which do not begin with a report, are welcome.
#[inline]
#[must_use]
pub fn compound(bytes: &[u8]) -> Compound<'_> {
    Compound {
        rest: bytes,
        malformed: bytes.is_empty().then_some(Malformed::Length),
    }
}

impl<'a> Compound<'a> {
    /// Why the walk ended early, once it ended. `None`: every byte was understood.
    #[inline]
    #[must_use]
    pub fn malformed(&self) -> Option<Malformed> {
        self.malformed
    }

    /// Splits off one packet.
    #[inline]
    fn split(&mut self) -> Result<Item<'a>, Malformed> {
        let first = u8_at(self.rest, 0);
        if self.rest.len() < HEADER_BYTES {
            return Err(Malformed::Length);
        }
        if first & 0xc0 != 0x80 {
            return Err(Malformed::Version);
        }
        let bytes = HEADER_BYTES + 4 * usize::from(u16_at(self.rest, 2));
        let (packet, rest) = self.rest.split_at_checked(bytes).ok_or(Malformed::Length)?;
        let mut body = packet.get(HEADER_BYTES..).unwrap_or_default();
        if first & 0x20 != 0 {
            // RFC 3550 section 6.4.1 wants whole words; Chromium's transport-cc feedback, a list of
            // odd length, is padded by 1 to 3 bytes.
            let padding = usize::from(body.last().copied().unwrap_or(0));
            if padding == 0 {
                return Err(Malformed::Padding);
            }
            let end = body.len().checked_sub(padding);
            body = body
                .get(..end.ok_or(Malformed::Padding)?)
                .unwrap_or_default();
        }
        self.rest = rest;
        item(u8_at(packet, 1), first & 0x1f, body).ok_or(Malformed::Body)
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        match self.split() {
            Ok(item) => Some(item),
            Err(malformed) => {
                self.rest = &[];
                self.malformed = Some(malformed);
                None
            }
        }
    }
}

/// Reads one packet; `None` if its body is too short for what it claims.
#[inline]
fn item(packet_type: u8, count: u8, body: &[u8]) -> Option<Item<'_>> {
    Some(match packet_type {
        SENDER_REPORT => Item::SenderReport(SenderReport::parse(count, body)?),
        RECEIVER_REPORT => Item::ReceiverReport(ReceiverReport::parse(count, body)?),
        SDES => Item::Sdes(Sdes::parse(count, body)?),
        BYE => Item::Bye(Bye::parse(count, body)?),
        APP => Item::App {
            subtype: count,
            ssrc: u32_at(body, 0),
            name: *body.get(4..)?.first_chunk()?,
            data: body.get(8..)?,
        },
        TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK => {
            Item::Feedback(Feedback::parse(packet_type, count, body)?)
        }
        EXTENDED_REPORT => Item::ExtendedReport(ExtendedReport::parse(body)?),
        _ => Item::Unknown {
            packet_type,
            count,
            body,
        },
    })
}

/// Begins a packet; `count` is the five bits of the header. Returns where, for [`end`].
#[inline]
pub(crate) fn begin(writer: &mut Writer<'_>, packet_type: u8, count: u8) -> usize {
    let start = writer.len();
    writer.bytes(&[0x80 | (count & 0x1f), packet_type, 0, 0]);
    start
}

/// Ends a packet of whole words by writing its length.
#[inline]
pub(crate) fn end(writer: &mut Writer<'_>, start: usize) {
    let bytes = writer.len().saturating_sub(start + HEADER_BYTES);
    match u16::try_from(bytes / 4) {
        Ok(words) if bytes.is_multiple_of(4) => writer.patch_u16(start + 2, words),
        _ => writer.fail(),
    }
}

#[cfg(test)]
mod tests;
