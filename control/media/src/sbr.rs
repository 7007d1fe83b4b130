//! Owns finding HE-AAC that is not signalled: spectral band replication hidden in fill elements.
//!
//! ADTS cannot say HE-AAC; a plain decoder plays the lower half of the spectrum and nobody knows
//! why it sounds dull. The extension is the last element of a frame, so it is looked for from the
//! end, without decoding what comes before.

use crate::aac::AacFrame;
use crate::bits::Bits;

/// Frames in a row that must show it. One frame of noise shows it by chance with a probability of
/// 2 %, so that eight do never.
const FRAMES: u8 = 8;

/// Longest extension that is looked for, in bytes.
const EXTENSION_BYTES_MAX: usize = 255 + 14;

/// Watches the frames of a stream.
#[derive(Debug, Default)]
pub(crate) struct SbrWatch {
    seen: u8,
}

impl SbrWatch {
    /// Takes a frame. True: the stream is HE-AAC.
    pub(crate) fn on_frame(&mut self, frame: &AacFrame) -> bool {
        if self.seen < FRAMES {
            self.seen = if ends_in_sbr(&frame.payload) {
                self.seen + 1
            } else {
                0
            };
        }
        self.seen >= FRAMES
    }
}

/// True if some fill element with an SBR extension ends exactly before the frame's end element.
fn ends_in_sbr(payload: &[u8]) -> bool {
    let Some(end) = end_element(payload) else {
        return false;
    };
    (1..=EXTENSION_BYTES_MAX).any(|bytes| {
        let head = if bytes < 15 { 7 } else { 15 };
        end.checked_sub(8 * bytes + head)
            .is_some_and(|at| is_sbr_fill(payload, at, bytes))
    })
}

/// Where the end element begins: three ones before the zeros that fill the last byte.
fn end_element(payload: &[u8]) -> Option<usize> {
    let (last, byte) = payload.iter().enumerate().rfind(|(_, byte)| **byte != 0)?;
    let end = (last + 1) * 8 - usize::try_from(byte.trailing_zeros()).ok()?;
    let begin = end.checked_sub(3)?;
    let mut bits = Bits::plain(payload);
    bits.skip(begin)?;
    (bits.uint(3)? == 7).then_some(begin)
}

/// A fill element of `bytes` at bit `at`: id 6, count, extension type SBR (13, 14).
fn is_sbr_fill(payload: &[u8], at: usize, bytes: usize) -> bool {
    let mut bits = Bits::plain(payload);
    let mut matches = || {
        bits.skip(at)?;
        let id = bits.uint(3)?;
        let mut count = usize::try_from(bits.uint(4)?).ok()?;
        if count == 15 {
            count += usize::try_from(bits.uint(8)?).ok()?.checked_sub(1)?;
        }
        let kind = bits.uint(4)?;
        Some(id == 6 && count == bytes && matches!(kind, 13 | 14))
    };
    matches().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aac::AacConfig;

    fn frame(extension: u8, count: u32) -> AacFrame {
        let mut bits: Vec<bool> = Vec::new();
        let mut put = |value: u32, count: u32| {
            (0..count)
                .rev()
                .for_each(|bit| bits.push(value >> bit & 1 == 1));
        };
        (0..77).for_each(|n| put(n * 37 % 64, 6));
        put(6, 3);
        if count < 15 {
            put(count, 4);
        } else {
            put(15, 4);
            put(count - 14, 8);
        }
        put(u32::from(extension), 4);
        (0..count * 2 - 1).for_each(|n| put(n % 16, 4));
        put(7, 3);
        let payload = bits
            .chunks(8)
            .map(|byte| {
                (0..8).fold(0, |sum, n| {
                    sum << 1 | u8::from(*byte.get(n).unwrap_or(&false))
                })
            })
            .collect();
        AacFrame {
            config: AacConfig {
                rate: 24_000,
                channels: 2,
                sbr: false,
            },
            payload,
        }
    }

    #[test]
    fn found_in_fill_elements_of_any_length_and_only_there() {
        for count in [3, 14, 15, 90, 268] {
            assert!(ends_in_sbr(&frame(13, count).payload), "{count}");
            assert!(ends_in_sbr(&frame(14, count).payload), "{count}");
            assert!(!ends_in_sbr(&frame(0, count).payload), "{count}");
        }
        let mut watch = SbrWatch::default();
        assert!((0..7).all(|_| !watch.on_frame(&frame(13, 20))));
        assert!(watch.on_frame(&frame(13, 20)));
    }
}
