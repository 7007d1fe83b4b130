//! Owns SHA-1 in the lanes of AVX-512: up to sixteen messages side by side, a word of each in a
//! register (FIPS 180-4 section 6.1). Hot.
//!
//! A block of sixteen messages takes about as long as one of ten by the instructions for SHA-1. A
//! lane that has ended goes along and is not heard: which lanes those are is made of lengths, which
//! the wire shows.

use core::arch::x86_64::*;

use super::sha1::{BLOCK, State};
use crate::backend::MacKey;

/// Messages of a register.
pub(super) const LANES: usize = 16;

/// Bits of HMAC's outer message: a block of key, and a digest.
const OUTER_BITS: i32 = 8 * (64 + 20);

/// Sixteen states, a register for each of their words.
#[derive(Clone, Copy)]
pub(super) struct States([__m512i; 5]);

/// What lanes without a message read.
static NOTHING: [u8; BLOCK] = [0; BLOCK];

impl States {
    /// Those of the keys of all lanes; lanes without a key have zeros.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn of(keys: &[&MacKey], state: impl Fn(&MacKey) -> &State) -> Self {
        let mut words = [[0_u32; LANES]; 5];
        for (lane, key) in keys.iter().enumerate().take(LANES) {
            for (words, word) in words.iter_mut().zip(state(key)) {
                words[lane] = *word;
            }
        }
        // SAFETY: sixteen words are the 64 bytes that are read, at any alignment.
        Self(words.map(|lanes| unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }))
    }

    /// Word by word, the states of all lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn words(&self) -> [[u32; LANES]; 5] {
        self.0.map(|word| {
            let mut lanes = [0; LANES];
            // SAFETY: sixteen words are the 64 bytes that are written, at any alignment.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), word) };
            lanes
        })
    }

    /// Takes the whole blocks of a message into the state of each lane; lanes without one stay.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn digest(&mut self, messages: &[&[u8]]) {
        let mut from = [NOTHING.as_ptr(); LANES];
        let mut blocks = [0; LANES];
        for ((from, blocks), message) in from.iter_mut().zip(&mut blocks).zip(messages) {
            *blocks = message.len() / BLOCK;
            if *blocks > 0 {
                *from = message.as_ptr();
            }
        }
        for nth in 0..blocks.into_iter().max().unwrap_or_default() {
            let mut active: __mmask16 = 0;
            let mut at = [NOTHING.as_ptr(); LANES];
            for (lane, &blocks) in blocks.iter().enumerate() {
                let is_active = nth < blocks;
                active |= __mmask16::from(is_active) << lane;
                if is_active {
                    at[lane] = from[lane].wrapping_add(nth * BLOCK);
                }
            }
            // SAFETY: a lane points to block `nth` of a message that has it, or to `NOTHING`.
            let words = unsafe { load(&at) };
            self.compress(words, active);
        }
    }

    /// Takes the digests of sixteen messages, as their states have them, into these states, which
    /// are those of HMAC's outer key: the only block behind it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn digest_digests(&mut self, inner: &Self) {
        let mut words = [_mm512_setzero_si512(); 16];
        words[..5].copy_from_slice(&inner.0);
        words[5] = _mm512_set1_epi32(i32::MIN);
        words[15] = _mm512_set1_epi32(OUTER_BITS);
        self.compress(words, __mmask16::MAX);
    }

    /// Takes a block of each active lane into its state.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn compress(&mut self, mut words: [__m512i; 16], active: __mmask16) {
        let mut now = *self;
        macro_rules! rounds {
            ($kind:literal: $($nth:literal)*) => {$(
                now.round::<$nth, $kind>(&mut words);
            )*};
        }
        // Choose, parity, majority and parity again.
        rounds!(0xca: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19);
        rounds!(0x96: 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39);
        rounds!(0xe8: 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59);
        rounds!(0x96: 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79);
        for (state, word) in self.0.iter_mut().zip(now.0) {
            *state = _mm512_mask_add_epi32(*state, active, *state, word);
        }
    }

    /// Round `NTH`; `KIND` is its function of three bits as a table.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn round<const NTH: usize, const KIND: i32>(&mut self, words: &mut [__m512i; 16]) {
        let constant = match NTH / 20 {
            0 => 0x5a82_7999_u32,
            1 => 0x6ed9_eba1,
            2 => 0x8f1b_bcdc,
            _ => 0xca62_c1d6,
        };
        if NTH >= 16 {
            let [a, b, c] = [13, 8, 2].map(|before| words[(NTH + before) % 16]);
            let word = _mm512_ternarylogic_epi32::<0x96>(a, b, c);
            let word = _mm512_xor_si512(word, words[NTH % 16]);
            words[NTH % 16] = _mm512_rol_epi32::<1>(word);
        }
        let [a, b, c, d, e] = self.0;
        let constant = _mm512_set1_epi32(constant.cast_signed());
        let sum = _mm512_add_epi32(_mm512_add_epi32(e, words[NTH % 16]), constant);
        let sum = _mm512_add_epi32(sum, _mm512_ternarylogic_epi32::<KIND>(b, c, d));
        let sum = _mm512_add_epi32(sum, _mm512_rol_epi32::<5>(a));
        self.0 = [sum, a, _mm512_rol_epi32::<30>(b), c, d];
    }
}

/// The sixteen words of a block of each lane, in the order of this machine: a register for the
/// first words, one for the second ones, and so on.
///
/// # Safety
/// Each of `at` may be read for 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn load(at: &[*const u8; LANES]) -> [__m512i; 16] {
    let turn = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    let turn = _mm512_broadcast_i32x4(turn);
    // Four lanes at a time: in each quarter of a register one word of all four.
    let mut fours = [[_mm512_setzero_si512(); 4]; 4];
    for (four, at) in fours.iter_mut().zip(at.as_chunks::<4>().0) {
        let [a, b, c, d] = at.map(|at| {
            // SAFETY: 64 bytes by the contract, at any alignment.
            let block = unsafe { _mm512_loadu_si512(at.cast()) };
            _mm512_shuffle_epi8(block, turn)
        });
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        four[0] = _mm512_unpacklo_epi64(ab, cd);
        four[1] = _mm512_unpackhi_epi64(ab, cd);
        let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        four[2] = _mm512_unpacklo_epi64(ab, cd);
        four[3] = _mm512_unpackhi_epi64(ab, cd);
    }
    let mut words = [_mm512_setzero_si512(); 16];
    for nth in 0..4 {
        let [a, b, c, d] = [fours[0][nth], fours[1][nth], fours[2][nth], fours[3][nth]];
        let ab = _mm512_shuffle_i32x4::<0x44>(a, b);
        let cd = _mm512_shuffle_i32x4::<0x44>(c, d);
        words[nth] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        words[4 + nth] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        let ab = _mm512_shuffle_i32x4::<0xee>(a, b);
        let cd = _mm512_shuffle_i32x4::<0xee>(c, d);
        words[8 + nth] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        words[12 + nth] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
    }
    words
}
