//! Owns congestion-control feedback by source and sequence number: which packets of each source
//! came, and when (RFC 8888 section 3.1). Hot.

use crate::field::{Writer, u16_at, u32_at};
use crate::rtcp::{TRANSPORT_FEEDBACK, begin, end};

/// FMT of the message.
pub(super) const ARRIVALS: u8 = 11;

/// SSRC, first sequence number, and how many there are.
const BLOCK_BYTES: usize = 8;

/// The time of the report at the end.
const TIME_BYTES: usize = 4;

//= https://www.rfc-editor.org/rfc/rfc8888#section-3.1
//# Each report block MUST NOT include more than 16384 packet metric blocks
/// Most packets of one source in a message. More than a datagram holds of 20 sources.
pub const ARRIVALS_MAX: u16 = 16_384;

const RECEIVED: u16 = 1 << 15;
const OFFSET: u16 = 0x1fff;

/// From this offset on it says that there is none: it is longer, or came after the report.
const UNTIMED: u16 = 0x1ffe;

/// Whether a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It did not, so far.
    No,
    /// It did; when is not told.
    Untimed,
    /// It did, so many 1,024ths of a second before the report.
    Before(u16),
}

/// Arrival times of packets as a receiver tells them, by source.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals<'a> {
    /// When the report was made: the middle 32 bits of an NTP time, in 65,536ths of a second of
    /// the receiver's clock.
    pub reported: u32,
    /// How many packets it speaks of, of all sources.
    pub count: u32,
    blocks: &'a [u8],
}

/// The packets of one source.
#[derive(Clone, Copy, Debug)]
pub struct ArrivalBlock<'a> {
    /// Which source.
    pub ssrc: u32,
    /// The sequence number of its first packet.
    pub first: u16,
    /// How many packets follow each other, 0 to [`ARRIVALS_MAX`].
    pub count: u16,
    metrics: &'a [u8],
}

impl<'a> Arrivals<'a> {
    /// Reads the control information of [`super::Message::Arrivals`] and checks its lengths.
    /// `None`: it lies.
    #[must_use]
    pub fn parse(fci: &'a [u8]) -> Option<Self> {
        let (blocks, time) = fci.split_at_checked(fci.len().checked_sub(TIME_BYTES)?)?;
        let mut rest = blocks;
        let mut count = 0;
        while !rest.is_empty() {
            let (block, after) = ArrivalBlock::split(rest)?;
            count += u32::from(block.count);
            rest = after;
        }
        Some(Self {
            reported: u32_at(time, 0),
            count,
            blocks,
        })
    }

    /// The sources; one may come twice.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = ArrivalBlock<'a>> + use<'a> {
        let mut rest = self.blocks;
        core::iter::from_fn(move || {
            let (block, after) = ArrivalBlock::split(rest)?;
            rest = after;
            Some(block)
        })
    }
}

impl<'a> ArrivalBlock<'a> {
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(BLOCK_BYTES)?;
        let count = u16_at(head, 6);
        if count > ARRIVALS_MAX {
            return None;
        }
        let (metrics, rest) = rest.split_at_checked(metric_bytes(count))?;
        let block = Self {
            ssrc: u32_at(head, 0),
            first: u16_at(head, 4),
            count,
            metrics,
        };
        Some((block, rest))
    }

    /// The packets in the order of their sequence numbers.
    #[inline]
    pub fn packets(&self) -> impl Iterator<Item = (u16, Came)> + use<'a> {
        let first = self.first;
        let metrics = self.metrics.chunks_exact(2);
        (0..self.count).zip(metrics).map(move |(nth, metric)| {
            let metric = u16_at(metric, 0);
            let came = match metric & OFFSET {
                _ if metric & RECEIVED == 0 => Came::No,
                UNTIMED.. => Came::Untimed,
                offset => Came::Before(offset),
            };
            (first.wrapping_add(nth), came)
        })
    }
}

/// Bytes of so many packets, which end with a whole word.
fn metric_bytes(count: u16) -> usize {
    (2 * usize::from(count)).next_multiple_of(4)
}

/// Writes what came of each source, from a sequence number on. Returns bytes written; 0 if they do
/// not fit, or are more than [`ARRIVALS_MAX`] of one.
#[must_use]
pub fn write_arrivals(
    sender_ssrc: u32,
    sources: &[(u32, u16, &[Came])],
    reported: u32,
    out: &mut [u8],
) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, TRANSPORT_FEEDBACK, ARRIVALS);
    writer.u32(sender_ssrc);
    for (ssrc, first, came) in sources {
        let count = u16::try_from(came.len()).unwrap_or(u16::MAX);
        if count > ARRIVALS_MAX {
            writer.fail();
        }
        writer.u32(*ssrc);
        writer.u16(*first);
        writer.u16(count);
        for came in *came {
            writer.u16(match came {
                Came::No => 0,
                Came::Untimed => RECEIVED | OFFSET,
                Came::Before(offset) => RECEIVED | (*offset).min(UNTIMED),
            });
        }
        writer.align4();
    }
    writer.u32(reported);
    end(&mut writer, start);
    writer.finish()
}

#[cfg(test)]
mod tests;
