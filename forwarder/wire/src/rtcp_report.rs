//! Owns RTCP reports: SR, RR, SDES, BYE (RFC 3550 section 6) and XR (RFC 3611). Hot.

use crate::field::{Writer, array_at, u8_at, u16_at, u24_at, u32_at, u64_at};
use crate::ntp::{Ntp, span_from_short};
use crate::rtcp::{BYE, EXTENDED_REPORT, RECEIVER_REPORT, SDES, SENDER_REPORT, begin, end};
use crate::time::Span;

/// Bytes of one report block.
pub const REPORT_BLOCK_BYTES: usize = 24;

/// Bytes of sender's SSRC, NTP and RTP time, packet and octet count.
const SENDER_INFO_BYTES: usize = 24;
/// Most blocks or sources that the five-bit count can express.
const COUNT_MAX: usize = 31;
const CNAME: u8 = 1;
const XR_RECEIVER_REFERENCE_TIME: u8 = 4;
const XR_DLRR: u8 = 5;
const DLRR_BYTES: usize = 12;

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
    //# If no SR packet has been received yet from SSRC_n, the LSR field is set to zero.
    if last == 0 {
        return None;
    }
    let short = now.middle().wrapping_sub(last).wrapping_sub(delay);
    if short.wrapping_neg() <= RTT_SLACK_SHORT {
        return Some(Span::ZERO);
    }
    (short < 0x8000_0000).then(|| span_from_short(short))
}

/// Source descriptions, whose lengths were all checked.
#[derive(Clone, Copy, Debug)]
pub struct Sdes<'a> {
    body: &'a [u8],
}

/// One source description item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesItem<'a> {
    /// The source it describes.
    pub ssrc: u32,
    /// The kind; 1 is CNAME.
    pub kind: u8,
    /// UTF-8, it is said; 255 bytes at most.
    pub text: &'a [u8],
}

impl<'a> Sdes<'a> {
    pub(crate) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut rest = body;
        for _ in 0..count {
            rest = rest.get(4..)?;
            while let (Some(_), tail) = split_sdes_item(rest)? {
                rest = tail;
            }
            // An empty item ends the chunk, which is filled up to whole words.
            let end = (body.len() - rest.len() + 1).next_multiple_of(4);
            rest = body.get(end..)?;
        }
        let end = body.len() - rest.len();
        Some(Self {
            body: body.get(..end)?,
        })
    }

    /// The items of all chunks.
    pub fn items(&self) -> impl Iterator<Item = SdesItem<'a>> + use<'a> {
        let body = self.body;
        let mut at = 0;
        let mut ssrc = None;
        core::iter::from_fn(move || {
            loop {
                let rest = body.get(at..)?;
                let Some(source) = ssrc else {
                    ssrc = Some(u32::from_be_bytes(*rest.first_chunk()?));
                    at += 4;
                    continue;
                };
                if let (Some((kind, text)), _) = split_sdes_item(rest)? {
                    at += 2 + text.len();
                    return Some(SdesItem {
                        ssrc: source,
                        kind,
                        text,
                    });
                }
                at = (at + 1).next_multiple_of(4);
                ssrc = None;
            }
        })
    }

    /// The canonical name of `ssrc`.
    #[must_use]
    pub fn cname(&self, ssrc: u32) -> Option<&'a [u8]> {
        self.items()
            .find(|item| item.kind == CNAME && item.ssrc == ssrc)
            .map(|item| item.text)
    }
}

/// One item of a chunk, or none at the chunk's end. `None`: it does not fit.
#[expect(
    clippy::type_complexity,
    reason = "a name would say less than the shape"
)]
fn split_sdes_item(rest: &[u8]) -> Option<(Option<(u8, &[u8])>, &[u8])> {
    match rest {
        [0, ..] => Some((None, rest)),
        [kind, length, tail @ ..] => {
            let (text, tail) = tail.split_at_checked(usize::from(*length))?;
            Some((Some((*kind, text)), tail))
        }
        _ => None,
    }
}

/// Sources that left.
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    sources: &'a [u8],
    reason: &'a [u8],
}

impl<'a> Bye<'a> {
    pub(crate) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let (sources, rest) = body.split_at_checked(usize::from(count) * 4)?;
        let reason = match rest {
            [] => &[],
            [length, text @ ..] => text.get(..usize::from(*length))?,
        };
        Some(Self { sources, reason })
    }

    /// Who left, 31 at most, perhaps none.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.sources.chunks_exact(4).map(|ssrc| u32_at(ssrc, 0))
    }

    /// Why, in the peer's words; mostly empty.
    #[must_use]
    pub fn reason(&self) -> &'a [u8] {
        self.reason
    }
}

/// An extended report.
#[derive(Clone, Copy, Debug)]
pub struct ExtendedReport<'a> {
    /// Who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

/// One block of an extended report.
#[derive(Clone, Copy, Debug)]
pub enum XrBlock<'a> {
    /// A receiver that sends no media tells its time, to be echoed by DLRR (RFC 3611 section 4.4).
    ReceiverReferenceTime(Ntp),
    /// Echoes of such times (RFC 3611 section 4.5).
    Dlrr(DlrrItems<'a>),
    /// A type not known here.
    Unknown(u8),
}

/// The echo of one receiver's reference time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dlrr {
    /// The receiver that told its time.
    pub ssrc: u32,
    /// Middle bits of that time; 0 if none came yet.
    pub last_rr: u32,
    /// Time since then, in 1/65,536 s.
    pub delay_since_last_rr: u32,
}

/// Iterates the echoes of one DLRR block.
#[derive(Clone, Copy, Debug)]
pub struct DlrrItems<'a> {
    rest: &'a [u8],
}

impl<'a> ExtendedReport<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Option<Self> {
        let (ssrc, blocks) = body.split_first_chunk()?;
        let mut rest = blocks;
        while !rest.is_empty() {
            rest = split_xr_block(rest)?.1;
        }
        Some(Self {
            ssrc: u32::from_be_bytes(*ssrc),
            blocks,
        })
    }

    /// The blocks, whose lengths were all checked.
    pub fn blocks(&self) -> impl Iterator<Item = XrBlock<'a>> + use<'a> {
        let mut rest = self.blocks;
        core::iter::from_fn(move || {
            let (block, tail) = split_xr_block(rest)?;
            rest = tail;
            Some(block)
        })
    }
}

impl Iterator for DlrrItems<'_> {
    type Item = Dlrr;

    #[inline]
    fn next(&mut self) -> Option<Dlrr> {
        let (item, rest) = self.rest.split_at_checked(DLRR_BYTES)?;
        self.rest = rest;
        Some(Dlrr {
            ssrc: u32_at(item, 0),
            last_rr: u32_at(item, 4),
            delay_since_last_rr: u32_at(item, 8),
        })
    }
}

/// Splits off one block; `None` at the end or if it does not fit.
fn split_xr_block(rest: &[u8]) -> Option<(XrBlock<'_>, &[u8])> {
    let [kind, _, _, _] = array_at::<4>(rest, 0);
    let (body, tail) = rest
        .get(4..)?
        .split_at_checked(4 * usize::from(u16_at(rest, 2)))?;
    let block = match kind {
        XR_RECEIVER_REFERENCE_TIME => {
            XrBlock::ReceiverReferenceTime(Ntp(u64::from_be_bytes(*body.first_chunk()?)))
        }
        XR_DLRR => XrBlock::Dlrr(DlrrItems { rest: body }),
        other => XrBlock::Unknown(other),
    };
    Some((block, tail))
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
    sdes_cname(&mut writer, info.ssrc, cname);
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
    sdes_cname(&mut writer, ssrc, cname);
    writer.finish()
}

/// Writes a goodbye of at most 31 sources. Returns bytes written, 0 if they do not fit.
#[must_use]
pub fn write_bye(ssrcs: &[u32], out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, BYE, count(ssrcs.len()));
    if ssrcs.len() > COUNT_MAX {
        writer.fail();
    }
    for ssrc in ssrcs {
        writer.u32(*ssrc);
    }
    end(&mut writer, start);
    writer.finish()
}

/// Writes an extended report that tells our time, as a receiver does. Returns bytes written, 0 if
/// they do not fit.
#[must_use]
pub fn write_receiver_reference_time(ssrc: u32, ntp: Ntp, out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, EXTENDED_REPORT, 0);
    writer.u32(ssrc);
    writer.bytes(&[XR_RECEIVER_REFERENCE_TIME, 0, 0, 2]);
    writer.u64(ntp.0);
    end(&mut writer, start);
    writer.finish()
}

/// Writes an extended report that echoes receivers' times. Returns bytes written, 0 if they do not
/// fit.
#[must_use]
pub fn write_dlrr(ssrc: u32, items: &[Dlrr], out: &mut [u8]) -> usize {
    let mut writer = Writer::new(out);
    let start = begin(&mut writer, EXTENDED_REPORT, 0);
    writer.u32(ssrc);
    writer.bytes(&[XR_DLRR, 0]);
    match u16::try_from(items.len() * DLRR_BYTES / 4) {
        Ok(words) => writer.u16(words),
        Err(_) => writer.fail(),
    }
    for item in items {
        writer.u32(item.ssrc);
        writer.u32(item.last_rr);
        writer.u32(item.delay_since_last_rr);
    }
    end(&mut writer, start);
    writer.finish()
}

/// Appends a source description of one canonical name.
fn sdes_cname(writer: &mut Writer<'_>, ssrc: u32, cname: &[u8]) {
    let start = begin(writer, SDES, 1);
    writer.u32(ssrc);
    writer.u8(CNAME);
    match u8::try_from(cname.len()) {
        Ok(bytes) => writer.u8(bytes),
        Err(_) => writer.fail(),
    }
    writer.bytes(cname);
    writer.u8(0);
    writer.align4();
    end(writer, start);
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
