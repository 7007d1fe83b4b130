//! Owns RTCP feedback: NACK, PLI (RFC 4585), FIR (RFC 5104), REMB, transport-cc, and arrivals by
//! source (RFC 8888). Hot.

mod arrivals;
mod transport_cc;

use crate::field::{Writer, array_at, u8_at, u16_at, u24_at, u32_at};
use crate::rtcp::{PAYLOAD_FEEDBACK, TRANSPORT_FEEDBACK, begin, end};
use crate::seq::diff16;

pub use arrivals::{ARRIVALS_MAX, ArrivalBlock, Arrivals, Came, write_arrivals};
pub use transport_cc::{
    TRANSPORT_BYTES_MAX, TRANSPORT_WINDOW, TransportCc, TransportPacket, TransportRecorder,
};

const NACK: u8 = 1;
const TRANSPORT_CC: u8 = 15;
const PLI: u8 = 1;
const FIR: u8 = 4;
const APPLICATION: u8 = 15;
const REMB: [u8; 4] = *b"REMB";

/// Bytes of the two SSRCs before the feedback control information.
const SOURCES_BYTES: usize = 8;

/// A feedback packet.
#[derive(Clone, Copy, Debug)]
pub struct Feedback<'a> {
    /// Who sends the feedback.
    pub sender_ssrc: u32,
    /// The stream it is about; 0 where the entries name the streams (FIR, REMB).
    pub media_ssrc: u32,
    /// What it says.
    pub message: Message<'a>,
}

/// What feedback says.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Packets were lost.
    Nack(Nack<'a>),
    /// A picture was lost: a keyframe is needed.
    Pli,
    /// A keyframe is commanded.
    Fir(Fir<'a>),
    /// The receiver's estimate of the bit rate.
    Remb(Remb<'a>),
    /// Arrival times of transport-wide sequence numbers, as they came; [`TransportCc`] reads them.
    TransportCc(&'a [u8]),
    /// Arrival times by source and sequence number, as they came; [`Arrivals`] reads them. There
    /// is no one source that the feedback is about: what stands in its place is the first one's.
    Arrivals(&'a [u8]),
    /// A format not known here.
    Unknown {
        /// 205 or 206.
        packet_type: u8,
        /// FMT, 0 to 31.
        format: u8,
        /// The feedback control information.
        fci: &'a [u8],
    },
}

impl<'a> Feedback<'a> {
    pub(crate) fn parse(packet_type: u8, format: u8, body: &'a [u8]) -> Option<Self> {
        let fci = body.get(SOURCES_BYTES..)?;
        let message = match (packet_type, format) {
            (TRANSPORT_FEEDBACK, NACK) => Message::Nack(Nack::parse(fci)?),
            (TRANSPORT_FEEDBACK, TRANSPORT_CC) => Message::TransportCc(fci),
            // The sources begin where others name theirs.
            (TRANSPORT_FEEDBACK, arrivals::ARRIVALS) => Message::Arrivals(body.get(4..)?),
            (PAYLOAD_FEEDBACK, PLI) => Message::Pli,
            (PAYLOAD_FEEDBACK, FIR) => Message::Fir(Fir::parse(fci)?),
            (PAYLOAD_FEEDBACK, APPLICATION) if fci.starts_with(&REMB) => {
                Message::Remb(Remb::parse(fci)?)
            }
            _ => Message::Unknown {
                packet_type,
                format,
                fci,
            },
        };
        Some(Self {
            sender_ssrc: u32_at(body, 0),
            media_ssrc: u32_at(body, 4),
            message,
        })
    }
}

/// Lost packets (RFC 4585 section 6.2.1): words of a sequence number and a mask of the 16 after.
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    fci: &'a [u8],
}

impl<'a> Nack<'a> {
    fn parse(fci: &'a [u8]) -> Option<Self> {
        (!fci.is_empty() && fci.len().is_multiple_of(4)).then_some(Self { fci })
    }

    /// The sequence numbers in the order they stand, up to 17 for each of [`Nack::words`]; the
    /// same one may come twice, and a datagram holds 6,000: the caller has a budget.
    #[inline]
    #[must_use]
    pub fn lost(&self) -> Lost<'a> {
        Lost {
            rest: self.fci,
            next: 0,
            mask: 0,
        }
    }

    /// How many words of sequence number and mask there are.
    #[inline]
    #[must_use]
    pub fn words(&self) -> usize {
        self.fci.len() / 4
    }
}

/// Iterates the sequence numbers of a NACK.
#[derive(Clone, Debug)]
pub struct Lost<'a> {
    rest: &'a [u8],
    /// The sequence number that bit 0 of the mask stands for.
    next: u16,
    mask: u16,
}

impl Iterator for Lost<'_> {
    type Item = u16;

    #[inline]
    fn next(&mut self) -> Option<u16> {
        if self.mask != 0 {
            let skip = self.mask.trailing_zeros();
            let sequence = self
                .next
                .wrapping_add(self.mask.trailing_zeros().try_into().ok()?);
            self.next = sequence.wrapping_add(1);
            // Shifted in two steps: after bit 15 a single one would be by all 16 bits.
            self.mask = self.mask >> skip >> 1;
            return Some(sequence);
        }
        let (word, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        self.mask = u16_at(word, 2);
        let sequence = u16_at(word, 0);
        self.next = sequence.wrapping_add(1);
        Some(sequence)
    }
}

/// Commands for keyframes (RFC 5104 section 4.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    fci: &'a [u8],
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    /// The stream that is to bring a keyframe.
    pub ssrc: u32,
    /// Grows by one with every new command; the same number is a repetition.
    pub sequence: u8,
}

impl<'a> Fir<'a> {
    fn parse(fci: &'a [u8]) -> Option<Self> {
        (!fci.is_empty() && fci.len().is_multiple_of(8)).then_some(Self { fci })
    }

    /// The commands.
    #[inline]
    pub fn entries(&self) -> impl Iterator<Item = FirEntry> + use<'a> {
        self.fci.chunks_exact(8).map(|entry| FirEntry {
            ssrc: u32_at(entry, 0),
            sequence: u8_at(entry, 4),
        })
    }
}

/// A receiver's estimate (draft-alvestrand-rmcat-remb).
#[derive(Clone, Copy, Debug)]
pub struct Remb<'a> {
    /// Bits per second of all the streams together; a peer may say anything from 0 to 2^64 - 1.
    pub bitrate_bps: u64,
    ssrcs: &'a [u8],
}

impl<'a> Remb<'a> {
    fn parse(fci: &'a [u8]) -> Option<Self> {
        let [count, high, ..] = array_at::<4>(fci, 4);
        let mantissa = u64::from(u24_at(fci, 5) & 0x3_ffff);
        let exponent = u32::from(high >> 2);
        let fits = mantissa.leading_zeros() >= exponent;
        Some(Self {
            bitrate_bps: if fits { mantissa << exponent } else { u64::MAX },
            ssrcs: fci.get(8..)?.get(..4 * usize::from(count))?,
        })
    }

    /// The streams it covers, 255 at most.
    #[inline]
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.ssrcs.chunks_exact(4).map(|ssrc| u32_at(ssrc, 0))
    }
}

/// Writes a NACK of `lost`, which packs best when ascending. Returns bytes written; 0 if they do
/// not fit or nothing is lost.
#[must_use]
pub fn write_nack(sender_ssrc: u32, media_ssrc: u32, lost: &[u16], out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, TRANSPORT_FEEDBACK, NACK);
    writer.u32(sender_ssrc);
    writer.u32(media_ssrc);
    if lost.is_empty() {
        writer.fail();
    }
    let mut rest = lost;
    while let [first, tail @ ..] = rest {
        let mut mask = 0_u16;
        rest = tail;
        while let [next, tail @ ..] = rest {
            match diff16(*next, *first) {
                0 => {}
                ahead @ 1..=16 => mask |= 1 << (ahead - 1),
                _ => break,
            }
            rest = tail;
        }
        writer.u16(*first);
        writer.u16(mask);
    }
    end(&mut writer, start);
    writer.finish()
}

/// Writes a picture loss indication. Returns bytes written, 0 if they do not fit.
#[must_use]
pub fn write_pli(sender_ssrc: u32, media_ssrc: u32, out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, PAYLOAD_FEEDBACK, PLI);
    writer.u32(sender_ssrc);
    writer.u32(media_ssrc);
    end(&mut writer, start);
    writer.finish()
}

/// Writes a full intra request. Returns bytes written, 0 if they do not fit.
#[must_use]
pub fn write_fir(sender_ssrc: u32, entries: &[FirEntry], out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, PAYLOAD_FEEDBACK, FIR);
    writer.u32(sender_ssrc);
    writer.u32(0);
    if entries.is_empty() {
        writer.fail();
    }
    for entry in entries {
        writer.u32(entry.ssrc);
        writer.bytes(&[entry.sequence, 0, 0, 0]);
    }
    end(&mut writer, start);
    writer.finish()
}

/// Writes an estimate for at most 255 streams, rounded down to 18 significant bits. Returns bytes
/// written, 0 if they do not fit.
#[must_use]
pub fn write_remb(sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32], out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, PAYLOAD_FEEDBACK, APPLICATION);
    writer.u32(sender_ssrc);
    writer.u32(0);
    writer.bytes(&REMB);
    match u8::try_from(ssrcs.len()) {
        Ok(count) => writer.u8(count),
        Err(_) => writer.fail(),
    }
    let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(18);
    let mantissa = bitrate_bps >> exponent;
    let [.., a, b, c] = (u64::from(exponent) << 18 | mantissa).to_be_bytes();
    writer.bytes(&[a, b, c]);
    for ssrc in ssrcs {
        writer.u32(*ssrc);
    }
    end(&mut writer, start);
    writer.finish()
}

#[cfg(test)]
mod tests;
