//! Owns what describes an AAC stream: object type, rate, channels, spectral band replication.

use crate::bits::Bits;

/// Sampling frequencies by index (ISO/IEC 14496-3 table 1.18).
pub(super) const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Audio object types (table 1.17).
const OBJECT_LC: u32 = 2;
const OBJECT_SBR: u32 = 5;
const OBJECT_PS: u32 = 29;

/// A stream that can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AacConfig {
    /// Samples a second of the AAC-LC part.
    pub(crate) rate: u32,
    /// 1 or 2.
    pub(crate) channels: u8,
    /// Spectral band replication is signalled: HE-AAC.
    pub(crate) sbr: bool,
}

/// Why a stream cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsupported {
    Form(&'static str),
    Channels(u8),
}

impl AacConfig {
    /// From an ADTS header: `profile` is the object type minus 1.
    pub(super) fn new(profile: u8, rate: u32, channels: u8) -> Result<Self, Unsupported> {
        check(u32::from(profile) + 1, channels)?;
        Ok(Self {
            rate,
            channels,
            sbr: false,
        })
    }

    /// Reads an AudioSpecificConfig (section 1.6.2.1). `None`: the bytes have run out.
    pub(super) fn read(bits: &mut Bits<'_>) -> Option<Result<Self, Unsupported>> {
        let mut object = read_object(bits)?;
        let rate = read_rate(bits)?;
        let channels = u8::try_from(bits.uint(4)?).ok()?;
        let sbr = object == OBJECT_SBR || object == OBJECT_PS;
        if sbr {
            read_rate(bits)?;
            object = read_object(bits)?;
        }
        if let Err(unsupported) = check(object, channels) {
            return Some(Err(unsupported));
        }
        let short_frames = bits.flag()?;
        if bits.flag()? {
            bits.skip(14)?; // delay of the core coder
        }
        bits.flag()?; // extension flag: nothing follows for AAC-LC
        if short_frames {
            return Some(Err(Unsupported::Form("AAC frames of 960 samples")));
        }
        let Some(rate) = rate else {
            return Some(Err(Unsupported::Form("reserved AAC sampling frequency")));
        };
        Some(Ok(Self {
            rate,
            channels,
            sbr,
        }))
    }
}

fn check(object: u32, channels: u8) -> Result<(), Unsupported> {
    match (object, channels) {
        (OBJECT_LC, 1 | 2) => Ok(()),
        (OBJECT_LC, 0) => Err(Unsupported::Form(
            "AAC with a program configuration element",
        )),
        (OBJECT_LC, 7) => Err(Unsupported::Channels(8)),
        (OBJECT_LC, channels) => Err(Unsupported::Channels(channels)),
        (1, _) => Err(Unsupported::Form("AAC Main")),
        (3, _) => Err(Unsupported::Form("AAC SSR")),
        (4, _) => Err(Unsupported::Form("AAC LTP")),
        (23 | 39, _) => Err(Unsupported::Form("AAC-LD or AAC-ELD")),
        (42, _) => Err(Unsupported::Form("xHE-AAC")),
        _ => Err(Unsupported::Form("an AAC object type other than LC")),
    }
}

fn read_object(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.uint(5)? {
        31 => Some(32 + bits.uint(6)?),
        object => Some(object),
    }
}

/// Outer `None`: the bytes have run out; inner: the index is reserved or the rate not believable.
fn read_rate(bits: &mut Bits<'_>) -> Option<Option<u32>> {
    let index = bits.uint(4)?;
    if index == 15 {
        let rate = bits.uint(24)?;
        return Some(RATES.contains(&rate).then_some(rate));
    }
    Some(RATES.get(usize::try_from(index).ok()?).copied())
}
