//! Owns extended reports: a receiver's time and its echo (RFC 3611 sections 4.4 and 4.5). Hot.

use crate::field::{Writer, u8_at, u16_at, u32_at};
use crate::ntp::Ntp;
use crate::rtcp::{EXTENDED_REPORT, begin, end};

const XR_RECEIVER_REFERENCE_TIME: u8 = 4;
const XR_DLRR: u8 = 5;
const DLRR_BYTES: usize = 12;

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
    let (body, tail) = rest
        .get(4..)?
        .split_at_checked(4 * usize::from(u16_at(rest, 2)))?;
    let block = match u8_at(rest, 0) {
        XR_RECEIVER_REFERENCE_TIME => {
            XrBlock::ReceiverReferenceTime(Ntp(u64::from_be_bytes(*body.first_chunk()?)))
        }
        XR_DLRR => XrBlock::Dlrr(DlrrItems { rest: body }),
        other => XrBlock::Unknown(other),
    };
    Some((block, tail))
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
