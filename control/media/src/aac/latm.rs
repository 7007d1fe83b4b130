//! Owns LATM in LOAS (ISO/IEC 14496-3 section 1.7): one program, one layer, one frame an element.

use super::config::{AacConfig, Unsupported};
use super::{AacFrame, Found};
use crate::bits::Bits;

/// Bytes of the LOAS header: an 11-bit sync word and a 13-bit length.
const HEADER_BYTES: usize = 3;

/// The configuration that elements refer back to.
#[derive(Debug, Default)]
pub(super) struct Latm {
    config: Option<Result<Mux, Unsupported>>,
}

/// What a StreamMuxConfig says that is needed to read payloads.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mux {
    aac: AacConfig,
}

impl Latm {
    /// Finds the element at the start of these bytes.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Found {
        let is_sync = |bytes: &[u8]| {
            bytes.first() == Some(&0x56) && bytes.get(1).is_none_or(|byte| byte & 0xe0 == 0xe0)
        };
        if !is_sync(bytes) {
            return Found::Skip(1);
        }
        let Some(&[_, high, low]) = bytes.first_chunk() else {
            return Found::More;
        };
        let used = HEADER_BYTES + (usize::from(high & 0x1f) << 8 | usize::from(low));
        let Some(element) = bytes.get(HEADER_BYTES..used) else {
            return Found::More;
        };
        if bytes.len() > used + 1 && !is_sync(&bytes[used..]) {
            return Found::Skip(1);
        }
        match self.read_element(element) {
            Some(frame) => Found::Frame { used, frame },
            None => Found::Skip(used),
        }
    }

    /// AudioMuxElement with the configuration in band (table 1.41). `None`: broken, or it refers
    /// to a configuration that has not come yet.
    fn read_element(&mut self, element: &[u8]) -> Option<Result<AacFrame, Unsupported>> {
        let mut bits = Bits::plain(element);
        let same_as_before = bits.flag()?;
        if !same_as_before {
            self.config = Some(read_mux(&mut bits)?);
        }
        let mux = match self.config? {
            Ok(mux) => mux,
            Err(unsupported) => return Some(Err(unsupported)),
        };
        let mut bytes = 0;
        loop {
            let more = bits.uint(8)?;
            bytes += usize::try_from(more).ok()?;
            if more != 255 {
                break;
            }
        }
        if bits.position() + bytes * 8 > element.len() * 8 {
            return None;
        }
        let payload = (0..bytes).map(|_| bits.uint(8).and_then(|byte| u8::try_from(byte).ok()));
        let payload = payload.collect::<Option<Vec<_>>>()?;
        Some(Ok(AacFrame {
            config: mux.aac,
            payload,
        }))
    }
}

/// StreamMuxConfig (table 1.42).
fn read_mux(bits: &mut Bits<'_>) -> Option<Result<Mux, Unsupported>> {
    const FORM: Unsupported = Unsupported::Form("LATM with several programs, layers or versions");
    let version = bits.flag()?;
    if version {
        let version_a = bits.flag()?;
        if version_a {
            return Some(Err(FORM));
        }
        read_value(bits)?; // taraBufferFullness
    }
    let same_timing = bits.flag()?;
    let sub_frames = bits.uint(6)?;
    let programs = bits.uint(4)?;
    let layers = bits.uint(3)?;
    if !same_timing || sub_frames > 0 || programs > 0 || layers > 0 {
        return Some(Err(FORM));
    }
    let aac = if version {
        let length = usize::try_from(read_value(bits)?).ok()?;
        let begin = bits.position();
        let aac = AacConfig::read(bits)?;
        bits.skip((begin + length).checked_sub(bits.position())?)?;
        aac
    } else {
        AacConfig::read(bits)?
    };
    let aac = match aac {
        Ok(aac) => aac,
        Err(unsupported) => return Some(Err(unsupported)),
    };
    if bits.uint(3)? != 0 {
        return Some(Err(FORM)); // frames of fixed length
    }
    bits.skip(8)?; // latmBufferFullness
    if bits.flag()? {
        // Length of other data, which lies behind the payload.
        if version {
            read_value(bits)?;
        } else {
            while bits.flag()? {
                bits.skip(8)?;
            }
            bits.skip(8)?;
        }
    }
    if bits.flag()? {
        bits.skip(8)?; // checksum
    }
    Some(Ok(Mux { aac }))
}

/// LatmGetValue (table 1.43).
fn read_value(bits: &mut Bits<'_>) -> Option<u32> {
    let bytes = bits.uint(2)?;
    bits.uint(8 * (bytes + 1))
}
