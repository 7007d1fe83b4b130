//! Owns AES-GCM by VAES and VPCLMULQDQ in their AVX-512 forms: four blocks an instruction, and the
//! end of a message under masks. Hot.
//!
//! The same discipline as next door: masks are made of lengths, which the wire shows.

mod stream;
mod sum;

pub(in crate::backend) use stream::{Counter, encrypt_quads};

use core::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::aes::{Schedule, encrypt};
use super::block::{load, reversed, store};
use super::field::{Sum, powers};
use super::{BLOCK, GcmSeal, KeyError, Place, bits, gcm_seal};
use crate::backend::GCM_TAG_BYTES;
use stream::{last_round, round, whiten};
use sum::{QuadSum, stay_here};

/// Blocks that are encrypted and digested together.
const GROUP: usize = 16;

/// Blocks of a register.
const QUAD: usize = 4;

/// Bytes of a register.
pub(in crate::backend) const QUAD_BYTES: usize = QUAD * BLOCK;

/// True if this machine has the instructions, and its kernel keeps the registers.
pub(crate) fn is_available() -> bool {
    super::is_available()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
}

/// An expanded key. Wiped on drop. Not aligned: registers of 64 bytes would straddle cache lines
/// all the same, and so key and salt stay within [`Sealer::HOT_BYTES`](crate::Sealer::HOT_BYTES).
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C)]
pub(crate) struct Vaes512Gcm {
    /// The powers of the hash key from the sixteenth down to the first.
    powers: [[u8; BLOCK]; GROUP],
    schedule: Schedule,
}

impl Vaes512Gcm {
    /// # Safety
    /// [`is_available`] has been true.
    #[target_feature(enable = "aes,pclmulqdq")]
    unsafe fn expand(key: &[u8]) -> Option<Self> {
        let schedule = Schedule::new(key)?;
        Some(Self {
            powers: powers(schedule.hash_key()),
            schedule,
        })
    }

    /// Seals `bytes` from `from` to `to`, which may be the same place; gives the tag.
    ///
    /// # Safety
    /// [`is_available`] has been true; `from` may be read and `to` be written for `bytes`; they
    /// are the same or do not overlap.
    #[target_feature(enable = "aes,avx512f,avx512bw,avx512vl,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn seal_with<const KEYS: usize>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        from: *const u8,
        to: *mut u8,
        bytes: usize,
    ) -> [u8; GCM_TAG_BYTES] {
        let keys = &self.schedule.keys;
        // NIST SP 800-38D section 7.1: the first block is for the tag, the others for the message.
        let mut block = [0; BLOCK];
        block[..12].copy_from_slice(&nonce);
        block[BLOCK - 1] = 1;
        let mask = encrypt::<KEYS>(keys, load(&block));
        block[BLOCK - 1] = 2;
        let mut counter = Counter::new(&block);
        let mut digest = self.absorb(_mm_setzero_si128(), aad);
        let mut at = 0;
        // The key stream of the next group, or of all that is left, whatever that needs of it.
        let mut streams = encrypt_quads::<KEYS, 4>(keys, [(); 4].map(|()| counter.next()));
        while bytes - at >= GROUP * BLOCK {
            // SAFETY: by the contract and the condition of the loop there are 256 bytes at `at`.
            let sealed = unsafe { xor_group(streams, from.add(at), to.add(at)) };
            at += GROUP * BLOCK;
            let blocks = [(); 4].map(|()| counter.next());
            streams = self.encrypt_and_absorb::<KEYS>(blocks, &mut digest, sealed);
        }
        let rest = bytes - at;
        let blocks = rest.div_ceil(BLOCK);
        // The block of the lengths is the last. Behind sixteen it has no place beside them.
        let lengths = _mm_set_epi64x(bits(aad.len()), bits(bytes));
        let all = GROUP.min(blocks + 1);
        let mut sum = QuadSum::new();
        for (nth, stream) in streams.into_iter().enumerate() {
            if nth * QUAD >= all {
                break;
            }
            let some = first_bytes(rest.saturating_sub(nth * QUAD_BYTES));
            // Without a byte of the message in this register its address is behind the message.
            let from = from.wrapping_add(at + nth * QUAD_BYTES);
            let to = to.wrapping_add(at + nth * QUAD_BYTES);
            // SAFETY: by the contract; the mask has the bytes that are left.
            let sealed = unsafe {
                let plain = _mm512_maskz_loadu_epi8(some, from.cast());
                let sealed = _mm512_maskz_mov_epi8(some, _mm512_xor_si512(plain, stream));
                _mm512_mask_storeu_epi8(to.cast(), some, sealed);
                sealed
            };
            let here = one_block(blocks.wrapping_sub(nth * QUAD));
            let sealed = _mm512_xor_si512(
                reversed_quad(sealed),
                _mm512_maskz_broadcast_i32x4(here, lengths),
            );
            let sealed = _mm512_xor_si512(sealed, _mm512_zextsi128_si512(digest));
            digest = _mm_setzero_si128();
            sum.add(sealed, self.last_powers(all, nth));
        }
        digest = sum.reduced();
        if blocks == GROUP {
            let mut sum = Sum::new();
            sum.add(
                _mm_xor_si128(lengths, digest),
                load(&self.powers[GROUP - 1]),
            );
            digest = sum.reduced();
        }
        let mut tag = [0; GCM_TAG_BYTES];
        store(_mm_xor_si128(reversed(digest), mask), &mut tag);
        tag
    }

    /// The digest after all of `message` and zeroes up to a whole block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,pclmulqdq,vpclmulqdq")]
    fn absorb(&self, mut digest: __m128i, message: &[u8]) -> __m128i {
        for group in message.chunks(GROUP * BLOCK) {
            let mut sum = QuadSum::new();
            for (nth, quad) in group.chunks(QUAD_BYTES).enumerate() {
                // SAFETY: the bytes of a slice.
                let blocks = unsafe {
                    _mm512_maskz_loadu_epi8(first_bytes(quad.len()), quad.as_ptr().cast())
                };
                let blocks = reversed_quad(blocks);
                let blocks = _mm512_xor_si512(blocks, _mm512_zextsi128_si512(digest));
                digest = _mm_setzero_si128();
                sum.add(blocks, self.last_powers(group.len().div_ceil(BLOCK), nth));
            }
            digest = sum.reduced();
        }
        digest
    }

    /// Encrypts sixteen blocks and takes sixteen others, sealed before, into the digest. The rounds
    /// of the one wait for each other, and so does the end of the other: one after another they
    /// are too far apart for a processor to see that they have nothing to do with each other.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,pclmulqdq,vaes,vpclmulqdq")]
    fn encrypt_and_absorb<const KEYS: usize>(
        &self,
        mut blocks: [__m512i; 4],
        digest: &mut __m128i,
        sealed: [__m512i; 4],
    ) -> [__m512i; 4] {
        let keys = &self.schedule.keys;
        whiten(&mut blocks, &keys[0]);
        let mut sum = QuadSum::new();
        // The first one waits for the digest of the group before: it is the last.
        round(&mut blocks, &keys[1]);
        sum.add(reversed_quad(sealed[1]), self.last_powers(GROUP, 1));
        stay_here(&mut blocks, &mut sum);
        round(&mut blocks, &keys[2]);
        sum.add(reversed_quad(sealed[2]), self.last_powers(GROUP, 2));
        stay_here(&mut blocks, &mut sum);
        round(&mut blocks, &keys[3]);
        sum.add(reversed_quad(sealed[3]), self.last_powers(GROUP, 3));
        stay_here(&mut blocks, &mut sum);
        round(&mut blocks, &keys[4]);
        let first = _mm512_xor_si512(reversed_quad(sealed[0]), _mm512_zextsi128_si512(*digest));
        sum.add(first, self.last_powers(GROUP, 0));
        stay_here(&mut blocks, &mut sum);
        round(&mut blocks, &keys[5]);
        *digest = sum.reduced();
        for key in &keys[6..KEYS - 1] {
            round(&mut blocks, key);
        }
        last_round(&mut blocks, &keys[KEYS - 1]);
        blocks
    }

    /// Of the last `all` powers, one to sixteen, those of register `nth`, and zeroes behind them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn last_powers(&self, all: usize, nth: usize) -> __m512i {
        let powers = self.powers.get(GROUP - all + nth * QUAD..);
        let powers = powers.unwrap_or_default().as_flattened();
        let words = powers.len().min(QUAD_BYTES) / 8;
        // SAFETY: the bytes of a slice.
        unsafe { _mm512_maskz_loadu_epi64(first_words(words), powers.as_ptr().cast()) }
    }
}

gcm_seal!(Vaes512Gcm);

/// Adds 256 bytes at `from` to `stream`, writes them to `to` and gives them.
///
/// # Safety
/// `from` may be read and `to` be written for 256 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(in crate::backend) unsafe fn xor_group(
    mut stream: [__m512i; 4],
    from: *const u8,
    to: *mut u8,
) -> [__m512i; 4] {
    for (nth, quad) in stream.iter_mut().enumerate() {
        // SAFETY: the four registers are the 256 bytes of the contract; neither needs alignment.
        unsafe {
            let plain = _mm512_loadu_si512(from.add(nth * QUAD_BYTES).cast());
            *quad = _mm512_xor_si512(*quad, plain);
            _mm512_storeu_si512(to.add(nth * QUAD_BYTES).cast(), *quad);
        }
    }
    stream
}

/// The bytes of each block in reverse.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn reversed_quad(quad: __m512i) -> __m512i {
    let order = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_shuffle_epi8(quad, _mm512_broadcast_i32x4(order))
}

/// The mask of the first `count` bytes of a register; all from 64 on.
#[inline]
pub(in crate::backend) fn first_bytes(count: usize) -> __mmask64 {
    match count {
        0..QUAD_BYTES => (1 << count) - 1,
        _ => __mmask64::MAX,
    }
}

/// The mask of the first `count` words of 64 bits of a register, at most eight.
#[inline]
fn first_words(count: usize) -> __mmask8 {
    match count {
        0..8 => (1 << count) - 1,
        _ => __mmask8::MAX,
    }
}

/// The mask of one block of a register, in words of 32 bits; of none if `nth` is not one of four.
#[inline]
fn one_block(nth: usize) -> __mmask16 {
    match nth {
        0..QUAD => 0xf << (4 * nth),
        _ => 0,
    }
}
