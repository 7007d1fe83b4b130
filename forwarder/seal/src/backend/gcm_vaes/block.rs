//! Owns blocks in memory: whole, in pairs, and the parts that a message ends with. Hot.

use core::arch::x86_64::*;

use super::BLOCK;

/// The first `length` bytes at `from`, at most sixteen, and zeroes behind them. In registers: what
/// was stored a byte at a time can't be loaded as a whole before it has reached the cache.
///
/// # Safety
/// `from` may be read for `length` bytes.
#[inline]
#[target_feature(enable = "sse2")]
pub(in crate::backend) unsafe fn load_some(from: *const u8, length: usize) -> __m128i {
    // SAFETY: each branch reads within the first `length` bytes; none needs alignment.
    let (low, high) = unsafe {
        let word = |at| u64::from_le_bytes(from.add(at).cast::<[u8; 8]>().read());
        let half = |at| u64::from(u32::from_le_bytes(from.add(at).cast::<[u8; 4]>().read()));
        match length {
            16.. => return _mm_loadu_si128(from.cast()),
            8 => (word(0), 0),
            // The upper half comes with bytes of the lower one: they are shifted out.
            9..16 => (word(0), word(length - 8) >> (8 * (BLOCK - length))),
            4..8 => (half(0) | half(length - 4) << (8 * (length - 4)), 0),
            _ => {
                let bytes = (0..length).rev().map(|at| u64::from(from.add(at).read()));
                (bytes.fold(0, |low, byte| low << 8 | byte), 0)
            }
        }
    };
    _mm_set_epi64x(high.cast_signed(), low.cast_signed())
}

/// Writes the first `length` bytes of a block, at most sixteen.
///
/// # Safety
/// `to` may be written for `length` bytes.
#[inline]
#[target_feature(enable = "sse4.1")]
pub(in crate::backend) unsafe fn store_some(block: __m128i, to: *mut u8, length: usize) {
    let low = _mm_cvtsi128_si64(block).cast_unsigned();
    let high = _mm_extract_epi64::<1>(block).cast_unsigned();
    // SAFETY: each branch writes within the first `length` bytes; none needs alignment.
    unsafe {
        match length {
            16.. => _mm_storeu_si128(to.cast(), block),
            8..16 => {
                let both = u128::from(high) << 64 | u128::from(low);
                let last = (both >> (8 * (length - 8))).to_le_bytes();
                to.cast::<[u8; 8]>().write(low.to_le_bytes());
                to.add(length - 8)
                    .copy_from_nonoverlapping(last.as_ptr(), 8);
            }
            4..8 => {
                let last = (low >> (8 * (length - 4))).to_le_bytes();
                to.copy_from_nonoverlapping(low.to_le_bytes().as_ptr(), 4);
                to.add(length - 4)
                    .copy_from_nonoverlapping(last.as_ptr(), 4);
            }
            _ => {
                for (nth, byte) in low.to_le_bytes().into_iter().take(length).enumerate() {
                    to.add(nth).write(byte);
                }
            }
        }
    }
}

/// The first `length` bytes of a block, and zeroes behind them.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn first_bytes(block: __m128i, length: usize) -> __m128i {
    const WINDOW: [u8; 2 * BLOCK] = {
        let mut window = [0; 2 * BLOCK];
        let mut at = 0;
        while at < BLOCK {
            window[at] = 0xff;
            at += 1;
        }
        window
    };
    let window = WINDOW[BLOCK.saturating_sub(length)..].first_chunk();
    window.map_or(block, |window| _mm_and_si128(block, load(window)))
}

#[inline]
#[target_feature(enable = "sse2")]
pub(in crate::backend) fn load(bytes: &[u8; BLOCK]) -> __m128i {
    // SAFETY: sixteen bytes may be read, at any alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn store(block: __m128i, bytes: &mut [u8; BLOCK]) {
    // SAFETY: sixteen bytes may be written, at any alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), block) }
}

#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load_pair(bytes: &[u8; 2 * BLOCK]) -> __m256i {
    // SAFETY: thirty-two bytes may be read, at any alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx")]
pub(in crate::backend) fn store_pair(pair: __m256i, bytes: &mut [u8; 2 * BLOCK]) {
    // SAFETY: thirty-two bytes may be written, at any alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), pair) }
}

/// The bytes of a block in reverse: GHASH counts bits from the other end.
#[inline]
#[target_feature(enable = "ssse3")]
pub(super) fn reversed(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(
        block,
        _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn reversed_pair(pair: __m256i) -> __m256i {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm256_shuffle_epi8(pair, _mm256_broadcastsi128_si256(order))
}
