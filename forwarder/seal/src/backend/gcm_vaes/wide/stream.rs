//! Owns the key stream: counter blocks, and rounds of AES for four blocks a register. Hot.

use core::arch::x86_64::*;

use crate::backend::gcm_vaes::BLOCK;
use crate::backend::gcm_vaes::aes::ROUND_KEYS_MAX;
use crate::backend::gcm_vaes::block::load;

/// The counter blocks of a message.
pub(in crate::backend) struct Counter {
    /// The next four, with their last words, in which the counter is, in the order of this machine.
    quad: __m512i,
}

impl Counter {
    /// From this block on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(in crate::backend) fn new(first: &[u8; BLOCK]) -> Self {
        let all = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load(first)), turn());
        let counts = _mm512_set_epi32(3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0);
        Self {
            quad: _mm512_add_epi32(all, counts),
        }
    }

    /// The next four. No message is so long that a counter leaves its 16 or 32 bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(in crate::backend) fn next(&mut self) -> __m512i {
        let four = _mm512_broadcast_i32x4(_mm_set_epi32(4, 0, 0, 0));
        let blocks = _mm512_shuffle_epi8(self.quad, turn());
        self.quad = _mm512_add_epi32(self.quad, four);
        blocks
    }
}

/// The last word of each block turned round, the others as they are.
#[inline]
#[target_feature(enable = "avx512f")]
fn turn() -> __m512i {
    let turn = _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    _mm512_broadcast_i32x4(turn)
}

/// A round of AES.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
pub(super) fn round<const N: usize>(blocks: &mut [__m512i; N], key: &[u8; BLOCK]) {
    let key = _mm512_broadcast_i32x4(load(key));
    for quad in blocks {
        *quad = _mm512_aesenc_epi128(*quad, key);
    }
}

/// What comes before the first round.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn whiten<const N: usize>(blocks: &mut [__m512i; N], key: &[u8; BLOCK]) {
    let key = _mm512_broadcast_i32x4(load(key));
    for quad in blocks {
        *quad = _mm512_xor_si512(*quad, key);
    }
}

/// The last round.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
pub(super) fn last_round<const N: usize>(blocks: &mut [__m512i; N], key: &[u8; BLOCK]) {
    let key = _mm512_broadcast_i32x4(load(key));
    for quad in blocks {
        *quad = _mm512_aesenclast_epi128(*quad, key);
    }
}

/// Four blocks of each of `N` registers encrypted.
#[inline]
#[target_feature(enable = "avx512f,vaes")]
pub(in crate::backend) fn encrypt_quads<const KEYS: usize, const N: usize>(
    keys: &[[u8; BLOCK]; ROUND_KEYS_MAX],
    mut blocks: [__m512i; N],
) -> [__m512i; N] {
    whiten(&mut blocks, &keys[0]);
    for key in &keys[1..KEYS - 1] {
        round(&mut blocks, key);
    }
    last_round(&mut blocks, &keys[KEYS - 1]);
    blocks
}
