//! Owns AES in counter mode: eight blocks at a time, from where the plaintext is to where it goes.
//! Hot.

use core::arch::x86_64::*;

use super::gcm_vaes::aes::encrypt_group;
use super::gcm_vaes::block::{load, load_some, store_pair, store_some};
use super::gcm_vaes::{BLOCK, GROUP, ROUND_KEYS_MAX};

/// Round keys of AES-128 are the first 11.
pub(super) type RoundKeys = [[u8; BLOCK]; ROUND_KEYS_MAX];

const ROUND_KEYS: usize = 11;

/// Longest message: a datagram's. The counter has room for sixteen times as much (RFC 3711
/// section 4.1.1).
pub(super) const BYTES_MAX: usize = 65_535;

/// Adds the key stream that begins at the block `iv` to `bytes` from `from`, and writes them to
/// `to`, which may be the same place.
///
/// # Safety
/// The instructions are there; `from` may be read and `to` be written for `bytes`, at most
/// [`BYTES_MAX`]; they are the same or do not overlap.
#[target_feature(enable = "aes,avx2,vaes")]
pub(super) unsafe fn apply(
    keys: &RoundKeys,
    iv: &[u8; BLOCK],
    from: *const u8,
    to: *mut u8,
    bytes: usize,
) {
    let mut counter = Counter::new(iv);
    let mut at = 0;
    while bytes - at >= GROUP * BLOCK {
        let stream = encrypt_group::<ROUND_KEYS>(keys, counter.next());
        for (nth, pair) in stream.into_iter().enumerate() {
            let at = at + nth * 2 * BLOCK;
            // SAFETY: by the contract and the condition of the loop the four pairs are there;
            // neither place needs alignment.
            unsafe {
                let plain = _mm256_loadu_si256(from.add(at).cast());
                _mm256_storeu_si256(to.add(at).cast(), _mm256_xor_si256(pair, plain));
            }
        }
        at += GROUP * BLOCK;
    }
    if at == bytes {
        return;
    }
    let mut pairs = [[0; 2 * BLOCK]; GROUP / 2];
    let stream = encrypt_group::<ROUND_KEYS>(keys, counter.next());
    for (pair, bytes) in stream.into_iter().zip(&mut pairs) {
        store_pair(pair, bytes);
    }
    let stream = pairs.as_flattened().as_chunks::<BLOCK>().0;
    for stream in stream {
        let length = BLOCK.min(bytes - at);
        // SAFETY: by the contract there are `length` bytes at `at`.
        unsafe {
            let sealed = _mm_xor_si128(load_some(from.add(at), length), load(stream));
            store_some(sealed, to.add(at), length);
        }
        at += length;
        if at == bytes {
            return;
        }
    }
}

/// The counter blocks of a message.
struct Counter {
    /// The next two, with their last words, in which the counter is, in the order of this machine.
    pair: __m256i,
}

impl Counter {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(iv: &[u8; BLOCK]) -> Self {
        let both = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load(iv)), turn());
        Self {
            pair: _mm256_add_epi32(both, _mm256_set_epi32(1, 0, 0, 0, 0, 0, 0, 0)),
        }
    }

    /// The next eight. The counter is the last 16 bits: the others of its word never change.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn next(&mut self) -> [__m256i; GROUP / 2] {
        let two = _mm256_set_epi32(2, 0, 0, 0, 2, 0, 0, 0);
        [(); GROUP / 2].map(|()| {
            let blocks = _mm256_shuffle_epi8(self.pair, turn());
            self.pair = _mm256_add_epi32(self.pair, two);
            blocks
        })
    }
}

/// The last word of each block turned round, the others as they are.
#[inline]
#[target_feature(enable = "avx2")]
fn turn() -> __m256i {
    _mm256_broadcastsi128_si256(_mm_set_epi8(
        12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
    ))
}
