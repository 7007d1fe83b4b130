//! Owns AES itself: round keys, and blocks encrypted one or eight at a time. Hot.

use core::arch::x86_64::*;

use zeroize::Zeroize;

use super::BLOCK;
use super::block::{load, store};

/// Round keys of AES-256; AES-128 has 11.
pub(in crate::backend) const ROUND_KEYS_MAX: usize = 15;

/// The round keys of a key of either size.
#[derive(Zeroize)]
pub(super) struct Schedule {
    pub(super) keys: [[u8; BLOCK]; ROUND_KEYS_MAX],
    /// AES-256.
    pub(super) long: bool,
}

impl Schedule {
    /// Expands a key. `None`: it has neither 16 nor 32 bytes.
    #[target_feature(enable = "aes")]
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        let mut schedule = Self {
            keys: [[0; BLOCK]; ROUND_KEYS_MAX],
            long: key.len() == 32,
        };
        let keys = &mut schedule.keys;
        match key.len() {
            16 => expand_128(load(key.first_chunk()?), keys),
            32 => expand_256([load(key.first_chunk()?), load(key.last_chunk()?)], keys),
            _ => return None,
        }
        Some(schedule)
    }

    /// What GHASH multiplies with: zero encrypted (NIST SP 800-38D section 7.1).
    #[target_feature(enable = "aes")]
    pub(super) fn hash_key(&self) -> __m128i {
        let zero = _mm_setzero_si128();
        if self.long {
            encrypt::<15>(&self.keys, zero)
        } else {
            encrypt::<11>(&self.keys, zero)
        }
    }
}

/// One block encrypted.
#[inline]
#[target_feature(enable = "aes")]
pub(super) fn encrypt<const KEYS: usize>(
    keys: &[[u8; BLOCK]; ROUND_KEYS_MAX],
    block: __m128i,
) -> __m128i {
    let mut block = _mm_xor_si128(block, load(&keys[0]));
    for key in &keys[1..KEYS - 1] {
        block = _mm_aesenc_si128(block, load(key));
    }
    _mm_aesenclast_si128(block, load(&keys[KEYS - 1]))
}

/// Eight blocks encrypted.
#[inline]
#[target_feature(enable = "avx2,vaes")]
pub(in crate::backend) fn encrypt_group<const KEYS: usize>(
    keys: &[[u8; BLOCK]; ROUND_KEYS_MAX],
    mut blocks: [__m256i; 4],
) -> [__m256i; 4] {
    let key = _mm256_broadcastsi128_si256(load(&keys[0]));
    for pair in &mut blocks {
        *pair = _mm256_xor_si256(*pair, key);
    }
    for key in &keys[1..KEYS - 1] {
        let key = _mm256_broadcastsi128_si256(load(key));
        for pair in &mut blocks {
            *pair = _mm256_aesenc_epi128(*pair, key);
        }
    }
    let key = _mm256_broadcastsi128_si256(load(&keys[KEYS - 1]));
    for pair in &mut blocks {
        *pair = _mm256_aesenclast_epi128(*pair, key);
    }
    blocks
}

/// The next round key of four words (FIPS 197 section 5.2).
#[inline]
#[target_feature(enable = "sse2")]
fn next_key(key: __m128i, assist: __m128i) -> __m128i {
    let key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let key = _mm_xor_si128(key, _mm_slli_si128::<8>(key));
    _mm_xor_si128(key, assist)
}

#[target_feature(enable = "aes")]
pub(in crate::backend) fn expand_128(key: __m128i, keys: &mut [[u8; BLOCK]; ROUND_KEYS_MAX]) {
    let mut key = key;
    store(key, &mut keys[0]);
    macro_rules! rounds {
        ($($at:literal: $constant:literal),*) => {$(
            let assist = _mm_aeskeygenassist_si128::<$constant>(key);
            key = next_key(key, _mm_shuffle_epi32::<0xff>(assist));
            store(key, &mut keys[$at]);
        )*};
    }
    rounds!(
        1: 0x01, 2: 0x02, 3: 0x04, 4: 0x08, 5: 0x10,
        6: 0x20, 7: 0x40, 8: 0x80, 9: 0x1b, 10: 0x36
    );
}

#[target_feature(enable = "aes")]
fn expand_256([even, odd]: [__m128i; 2], keys: &mut [[u8; BLOCK]; ROUND_KEYS_MAX]) {
    let (mut even, mut odd) = (even, odd);
    store(even, &mut keys[0]);
    store(odd, &mut keys[1]);
    macro_rules! rounds {
        ($($at:literal: $constant:literal),*) => {$(
            let assist = _mm_aeskeygenassist_si128::<$constant>(odd);
            even = next_key(even, _mm_shuffle_epi32::<0xff>(assist));
            store(even, &mut keys[$at]);
            if $at + 1 < ROUND_KEYS_MAX {
                let assist = _mm_aeskeygenassist_si128::<0>(even);
                odd = next_key(odd, _mm_shuffle_epi32::<0xaa>(assist));
                store(odd, &mut keys[($at + 1) % ROUND_KEYS_MAX]);
            }
        )*};
    }
    rounds!(2: 0x01, 4: 0x02, 6: 0x04, 8: 0x08, 10: 0x10, 12: 0x20, 14: 0x40);
}
