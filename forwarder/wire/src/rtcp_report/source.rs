//! Owns who a source is and that it left: SDES and BYE (RFC 3550 sections 6.5 and 6.6).

use super::{COUNT_MAX, count};
use crate::field::{Writer, u32_at};
use crate::rtcp::{BYE, SDES, begin, end};

const CNAME: u8 = 1;

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

/// Appends a source description of one canonical name.
pub(super) fn append_cname(writer: &mut Writer<'_>, ssrc: u32, cname: &[u8]) {
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
