//! Owns the ADTS header (ISO/IEC 14496-3 section 1.A.3.2).

use super::config::{AacConfig, RATES, Unsupported};
use super::{AacFrame, Found};

/// Bytes of the header without a checksum.
const HEADER_BYTES: usize = 7;

/// Finds the frame at the start of these bytes.
pub(super) fn find(bytes: &[u8]) -> Found {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return if is_sync(bytes) {
            Found::More
        } else {
            Found::Skip(1)
        };
    };
    if !is_sync(bytes) {
        return Found::Skip(1);
    }
    let used =
        usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
    let header = if head[1] & 1 == 0 {
        HEADER_BYTES + 2
    } else {
        HEADER_BYTES
    };
    let rate = RATES.get(usize::from(head[2] >> 2 & 0x0f));
    let (Some(&rate), true) = (rate, used > header) else {
        return Found::Skip(1);
    };
    let Some(payload) = bytes.get(header..used) else {
        return Found::More;
    };
    // A sync word inside a frame that we joined in the middle is found out here.
    if bytes.len() > used + 1 && !is_sync(&bytes[used..]) {
        return Found::Skip(1);
    }
    let channels = (head[2] & 1) << 2 | head[3] >> 6;
    let config = AacConfig::new(head[2] >> 6 & 3, rate, channels);
    let several = head[6] & 3 != 0;
    let frame = match config {
        Ok(_) if several => Err(Unsupported::Form("several AAC frames in one ADTS frame")),
        Ok(config) => Ok(AacFrame {
            config,
            payload: payload.to_vec(),
        }),
        Err(unsupported) => Err(unsupported),
    };
    Found::Frame { used, frame }
}

/// Twelve ones, then layer 0.
fn is_sync(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0xff) && bytes.get(1).is_none_or(|byte| byte & 0xf6 == 0xf0)
}
