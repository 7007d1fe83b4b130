//! Owns RTCP reports: SR and RR here, SDES, BYE and XR below (RFC 3550 section 6, RFC 3611). Hot.

mod extended;
mod source;

use crate::field::{Writer, u8_at, u24_at, u32_at, u64_at};
use crate::ntp::{Ntp, span_from_short};
use crate::rtcp::{RECEIVER_REPORT, SENDER_REPORT, begin, end};
use crate::time::Span;

pub use extended::{
    Dlrr, DlrrItems, ExtendedReport, XrBlock, write_dlrr, write_receiver_reference_time,
};
pub use source::{Bye, Sdes, SdesItem, write_bye};

/// Bytes of one report block.
pub const REPORT_BLOCK_BYTES: usize = 24;

/// Bytes of sender's SSRC, NTP and RTP time, packet and octet count.
const SENDER_INFO_BYTES: usize = 24;
/// Most blocks or sources that the five-bit count can express.
const COUNT_MAX: usize = 31;

/// How far clocks read in different units may make a round trip seem negative: 1 ms in units of
/// 1/65,536 s. What is further below zero is a lie.
const RTT_SLACK_SHORT: u32 = 65;

/// A sender report.
#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
    /// When, on both clocks, and how much was sent.
    pub info: SenderInfo,
    /// What the sender says of what it receives.
    pub blocks: ReportBlocks<'a>,
}

/// The fixed part of a sender report (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// Who reports.
    pub ssrc: u32,
    /// Wall-clock time of the report.
    pub ntp: Ntp,
    /// The same instant in ticks of the media clock.
    pub rtp_timestamp: u32,
    /// Packets sent so far, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent so far, modulo 2^32.
    pub octets: u32,
}

/// A receiver report.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub ssrc: u32,
    /// One for each source it receives.
    pub blocks: ReportBlocks<'a>,
}

/// How one source is received (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, -2^23 to 2^23 - 1; duplicates make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number received, extended by the count of wraps.
    pub highest_sequence: u32,
    /// Interarrival jitter in ticks of the media clock.
    pub jitter: u32,
    /// Middle bits of the NTP time of the last sender report; 0 if none came yet.
    pub last_sr: u32,
    /// Time since that report, in 1/65,536 s; 0 if none came yet.
    pub delay_since_last_sr: u32,
}

/// Iterates the report blocks, 31 at most.
#[derive(Clone, Copy, Debug)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> SenderReport<'a> {
    pub(crate) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            info: SenderInfo {
                ssrc: u32_at(body, 0),
                ntp: Ntp(u64_at(body, 4)),
                rtp_timestamp: u32_at(body, 12),
                packets: u32_at(body, 16),
                octets: u32_at(body, 20),
            },
            blocks: ReportBlocks::parse(count, body.get(SENDER_INFO_BYTES..)?)?,
        })
    }
}

impl<'a> ReceiverReport<'a> {
    pub(crate) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            ssrc: u32_at(body, 0),
            blocks: ReportBlocks::parse(count, body.get(4..)?)?,
        })
    }
}

impl<'a> ReportBlocks<'a> {
    /// Takes the counted blocks; what follows them is a profile's extension and ignored.
    fn parse(count: u8, bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.get(..usize::from(count) * REPORT_BLOCK_BYTES)?;
        Some(Self { rest })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    #[inline]
    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.rest.split_at_checked(REPORT_BLOCK_BYTES)?;
        self.rest = rest;
        Some(ReportBlock {
            ssrc: u32_at(block, 0),
            fraction_lost: u8_at(block, 4),
            cumulative_lost: signed_24(u24_at(block, 5)),
            highest_sequence: u32_at(block, 8),
            jitter: u32_at(block, 12),
            last_sr: u32_at(block, 16),
            delay_since_last_sr: u32_at(block, 20),
        })
    }
}

impl ReportBlock {
    /// The block's bytes; a loss beyond 24 bits is held at the nearest that fits.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; REPORT_BLOCK_BYTES] {
        let mut bytes = [0; REPORT_BLOCK_BYTES];
        let mut writer = Writer::new(&mut bytes);
        let [_, lost @ ..] = self
            .cumulative_lost
            .clamp(-0x80_0000, 0x7f_ffff)
            .to_be_bytes();
        writer.u32(self.ssrc);
        writer.u8(self.fraction_lost);
        writer.bytes(&lost);
        writer.u32(self.highest_sequence);
        writer.u32(self.jitter);
        writer.u32(self.last_sr);
        writer.u32(self.delay_since_last_sr);
        bytes
    }

    /// The round-trip time this block shows, seen at `now`; see [`rtt`].
    #[must_use]
    pub fn rtt(&self, now: Ntp) -> Option<Span> {
        rtt(now, self.last_sr, self.delay_since_last_sr)
    }
}

/// The round-trip time between a report of ours, whose NTP time's middle bits come back as `last`,
/// and its echo at `now` which the peer held for `delay` (1/65,536 s). `None`: the peer had no
/// report yet, or the numbers cannot be true.
#[must_use]
pub fn rtt(now: Ntp, last: u32, delay: u32) -> Option<Span> {
    //= https://www.rfc-editor.org/rfc/rfc3550#section-6.4.1
    //# If no SR has been received yet, the field is set to zero.
    if last == 0 {
        return None;
    }
    let short = now.middle().wrapping_sub(last).wrapping_sub(delay);
    if short.wrapping_neg() <= RTT_SLACK_SHORT {
        return Some(Span::ZERO);
    }
    (short < 0x8000_0000).then(|| span_from_short(short))
}

/// Writes a sender report without blocks and the source's canonical name (255 bytes at most), the
/// smallest compound of RFC 3550 section 6.1. Returns bytes written, 0 if they do not fit.
#[must_use]
pub fn write_sender_report(info: &SenderInfo, cname: &[u8], out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, SENDER_REPORT, 0);
    writer.u32(info.ssrc);
    writer.u64(info.ntp.0);
    writer.u32(info.rtp_timestamp);
    writer.u32(info.packets);
    writer.u32(info.octets);
    end(&mut writer, start);
    source::append_cname(&mut writer, info.ssrc, cname);
    writer.finish()
}

/// Writes a receiver report of at most 31 blocks and the canonical name of the reporting `ssrc`.
/// Returns bytes written, 0 if they do not fit.
#[must_use]
pub fn write_receiver_report(
    ssrc: u32,
    blocks: &[ReportBlock],
    cname: &[u8],
    out: &mut [u8],
) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, RECEIVER_REPORT, count(blocks.len()));
    if blocks.len() > COUNT_MAX {
        writer.fail();
    }
    writer.u32(ssrc);
    for block in blocks {
        writer.bytes(&block.to_bytes());
    }
    end(&mut writer, start);
    source::append_cname(&mut writer, ssrc, cname);
    writer.finish()
}

/// The five-bit count of a header; what is too many is refused elsewhere.
fn count(items: usize) -> u8 {
    u8::try_from(items.min(COUNT_MAX)).unwrap_or(0)
}

/// Reads 24 bits as a signed number.
fn signed_24(bits: u32) -> i32 {
    (bits << 8).cast_signed() >> 8
}

#[cfg(test)]
mod tests;
