//! Owns AES-GCM by VAES and VPCLMULQDQ in their AVX2 forms: two blocks an instruction, from where
//! the plaintext is straight to where it goes. Hot. [`wide`] does the same with AVX-512.
//!
//! Nothing here branches on or looks up by a secret: what is secret goes through registers only.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

pub(super) mod aes;
pub(super) mod block;
mod field;
pub(super) mod wide;

pub(super) use aes::ROUND_KEYS_MAX;
pub(crate) use wide::{Vaes512Gcm, is_available as wide_is_available};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{GCM_TAG_BYTES, GcmSeal};
use crate::secret::KeyError;
use aes::{Schedule, encrypt, encrypt_group};
use block::{
    first_bytes, load, load_pair, load_some, reversed, reversed_pair, store, store_pair, store_some,
};
use field::{PairSum, Sum, folded, powers};

/// What a kernel with `is_available`, `expand` and `seal_with` is to its callers.
macro_rules! gcm_seal {
    ($kernel:ty) => {
        impl GcmSeal for $kernel {
            fn new(key: &[u8]) -> Result<Self, KeyError> {
                if !is_available() {
                    return Err(KeyError::Cipher);
                }
                // SAFETY: the instructions are there.
                // JUSTIFICATION: only a function that is compiled for them may use them.
                unsafe { Self::expand(key) }.ok_or(KeyError::Cipher)
            }

            #[inline]
            fn seal(
                &self,
                nonce: [u8; 12],
                aad: &[u8],
                parts: [&[u8]; 2],
                out: &mut [u8],
            ) -> Option<()> {
                let Place {
                    from,
                    to,
                    bytes,
                    tag,
                } = Place::of(parts, out)?;
                // SAFETY: a value of this type exists only where the instructions do; the
                // rest is what a `Place` promises.
                // JUSTIFICATION: only a function compiled for the instructions may use them.
                *tag = unsafe {
                    if self.schedule.long {
                        self.seal_with::<15>(nonce, aad, from, to, bytes)
                    } else {
                        self.seal_with::<11>(nonce, aad, from, to, bytes)
                    }
                };
                Some(())
            }
        }
    };
}
use gcm_seal;

/// Bytes of a block of AES.
pub(super) const BLOCK: usize = 16;

/// Blocks that are encrypted and digested together.
pub(super) const GROUP: usize = 8;

/// Longest message: the counter of 32 bits starts at 2. No datagram comes near.
const BYTES_MAX: usize = 65_535;

/// True if this machine has the instructions.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
}

/// An expanded key. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(16))]
pub(crate) struct VaesGcm {
    /// The powers of the hash key from the eighth down to the first.
    powers: [[u8; BLOCK]; GROUP],
    /// The sums of the halves of the powers, for Karatsuba's multiplication: of the eighth, sixth,
    /// seventh and fifth, then of the fourth, second, third and first, so that two pairs of powers
    /// share a register.
    folded: [[u8; 2 * BLOCK]; 2],
    schedule: Schedule,
}

impl VaesGcm {
    /// # Safety
    /// [`is_available`] has been true.
    #[target_feature(enable = "aes,avx2,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn expand(key: &[u8]) -> Option<Self> {
        let schedule = Schedule::new(key)?;
        let mut gcm = Self {
            powers: powers(schedule.hash_key()),
            folded: [[0; 2 * BLOCK]; 2],
            schedule,
        };
        let pairs = gcm.powers.as_flattened().as_chunks::<{ 2 * BLOCK }>().0;
        for (both, pairs) in gcm.folded.iter_mut().zip(pairs.as_chunks::<2>().0) {
            let [one, other] = pairs.map(|pair| folded(load_pair(&pair)));
            store_pair(_mm256_unpacklo_epi64(one, other), both);
        }
        Some(gcm)
    }

    /// Seals `bytes` from `from` to `to`, which may be the same place; gives the tag.
    ///
    /// # Safety
    /// [`is_available`] has been true; `from` may be read and `to` be written for `bytes`; they
    /// are the same or do not overlap.
    #[target_feature(enable = "aes,avx2,pclmulqdq,vaes,vpclmulqdq")]
    unsafe fn seal_with<const KEYS: usize>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        from: *const u8,
        to: *mut u8,
        bytes: usize,
    ) -> [u8; GCM_TAG_BYTES] {
        let keys = &self.schedule.keys;
        let mut counter = Counter::new(nonce);
        let mask = encrypt::<KEYS>(keys, counter.first);
        let mut digest = self.absorb(_mm_setzero_si128(), aad);
        let mut at = 0;
        while bytes - at >= GROUP * BLOCK {
            let stream = encrypt_group::<KEYS>(keys, counter.next());
            // SAFETY: by the contract and the condition of the loop there are 128 bytes at `at`.
            let sealed = unsafe { xor_group(stream, from.add(at), to.add(at)) };
            digest = self.absorb_group(digest, sealed);
            at += GROUP * BLOCK;
        }
        let rest = bytes - at;
        let blocks = rest.div_ceil(BLOCK);
        let mut sum = Sum::new();
        if rest > 0 {
            let stream = encrypt_group::<KEYS>(keys, counter.next());
            let mut pairs = [[0; 2 * BLOCK]; GROUP / 2];
            for (pair, bytes) in stream.into_iter().zip(&mut pairs) {
                store_pair(pair, bytes);
            }
            // The block of the lengths is the last: it takes the first power.
            let powers = &self.powers[GROUP.saturating_sub(blocks + 1)..];
            let stream = pairs.as_flattened().as_chunks::<BLOCK>().0;
            for (nth, (stream, power)) in stream.iter().zip(powers).take(blocks).enumerate() {
                let length = BLOCK.min(rest - nth * BLOCK);
                let at = at + nth * BLOCK;
                // SAFETY: by the contract; `blocks` of 16 bytes, the last with what is left.
                let sealed = unsafe {
                    let sealed = _mm_xor_si128(load_some(from.add(at), length), load(stream));
                    store_some(sealed, to.add(at), length);
                    sealed
                };
                let sealed = reversed(first_bytes(sealed, length));
                sum.add(_mm_xor_si128(sealed, digest), load(power));
                digest = _mm_setzero_si128();
            }
            if blocks == GROUP {
                digest = sum.reduced();
                sum = Sum::new();
            }
        }
        let lengths = _mm_set_epi64x(bits(aad.len()), bits(bytes));
        sum.add(
            _mm_xor_si128(lengths, digest),
            load(&self.powers[GROUP - 1]),
        );
        let mut tag = [0; GCM_TAG_BYTES];
        store(_mm_xor_si128(reversed(sum.reduced()), mask), &mut tag);
        tag
    }

    /// The digest after all of `message` and zeroes up to a whole block.
    #[inline]
    #[target_feature(enable = "aes,avx2,pclmulqdq,vaes,vpclmulqdq")]
    fn absorb(&self, mut digest: __m128i, message: &[u8]) -> __m128i {
        for group in message.chunks(GROUP * BLOCK) {
            let powers = &self.powers[GROUP.saturating_sub(group.len().div_ceil(BLOCK))..];
            let mut sum = Sum::new();
            for (block, power) in group.chunks(BLOCK).zip(powers) {
                // SAFETY: the bytes of a slice.
                let block = reversed(unsafe { load_some(block.as_ptr(), block.len()) });
                sum.add(_mm_xor_si128(block, digest), load(power));
                digest = _mm_setzero_si128();
            }
            digest = sum.reduced();
        }
        digest
    }

    /// The digest after eight blocks.
    #[inline]
    #[target_feature(enable = "aes,avx2,pclmulqdq,vaes,vpclmulqdq")]
    fn absorb_group(&self, digest: __m128i, blocks: [__m256i; 4]) -> __m128i {
        let powers = self.powers.as_flattened().as_chunks::<{ 2 * BLOCK }>().0;
        let [a, b, c, d] = blocks.map(|pair| reversed_pair(pair));
        let a = _mm256_xor_si256(a, _mm256_zextsi128_si256(digest));
        let mut sum = PairSum::new();
        let both = load_pair(&self.folded[0]);
        sum.add::<0x00>(a, load_pair(&powers[0]), both);
        sum.add::<0x10>(b, load_pair(&powers[1]), both);
        let both = load_pair(&self.folded[1]);
        sum.add::<0x00>(c, load_pair(&powers[2]), both);
        sum.add::<0x10>(d, load_pair(&powers[3]), both);
        sum.reduced()
    }
}

gcm_seal!(VaesGcm);

/// Where a message is read and written: `from` may be read and `to` be written for `bytes`; they
/// are the same or do not overlap. One kernel serves both ways, so these are pointers.
struct Place<'a> {
    from: *const u8,
    to: *mut u8,
    bytes: usize,
    tag: &'a mut [u8; GCM_TAG_BYTES],
}

impl<'a> Place<'a> {
    /// Reads a message of one part where it is, and brings one of two together in `out`. `None`:
    /// `out` has not its length and the tag's, or the message is too long.
    #[inline]
    fn of([first, second]: [&'a [u8]; 2], out: &'a mut [u8]) -> Option<Self> {
        let (body, tag) = out.split_last_chunk_mut::<GCM_TAG_BYTES>()?;
        if body.len() != first.len() + second.len() || body.len() > BYTES_MAX {
            return None;
        }
        // What is read is either `first`, which has the length of `body` and cannot overlap what
        // is borrowed mutably, or `body` itself.
        let to = body.as_mut_ptr();
        let from = if second.is_empty() {
            first.as_ptr()
        } else {
            let (front, back) = body.split_at_mut(first.len());
            front.copy_from_slice(first);
            back.copy_from_slice(second);
            to.cast_const()
        };
        Some(Self {
            from,
            to,
            bytes: first.len() + second.len(),
            tag,
        })
    }
}

/// The counter blocks of a message, from the second on (NIST SP 800-38D section 7.1).
struct Counter {
    /// The first one, for the tag.
    first: __m128i,
    /// The next two, with their counters in the order of this machine.
    pair: __m256i,
}

impl Counter {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(nonce: [u8; 12]) -> Self {
        let mut block = [0; BLOCK];
        block[..12].copy_from_slice(&nonce);
        let both = _mm256_broadcastsi128_si256(load(&block));
        block[BLOCK - 1] = 1;
        Self {
            first: load(&block),
            pair: _mm256_add_epi32(both, _mm256_set_epi32(3, 0, 0, 0, 2, 0, 0, 0)),
        }
    }

    /// The next eight.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn next(&mut self) -> [__m256i; 4] {
        // The last word of each block turned round, the others as they are.
        let turn = _mm256_broadcastsi128_si256(_mm_set_epi8(
            12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0,
        ));
        let two = _mm256_set_epi32(2, 0, 0, 0, 2, 0, 0, 0);
        [(); 4].map(|()| {
            let blocks = _mm256_shuffle_epi8(self.pair, turn);
            self.pair = _mm256_add_epi32(self.pair, two);
            blocks
        })
    }
}

/// Adds 128 bytes at `from` to `stream`, writes them to `to` and gives them.
///
/// # Safety
/// `from` may be read and `to` be written for 128 bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn xor_group(mut stream: [__m256i; 4], from: *const u8, to: *mut u8) -> [__m256i; 4] {
    for (nth, pair) in stream.iter_mut().enumerate() {
        // SAFETY: the four pairs are the 128 bytes of the contract; neither needs alignment.
        unsafe {
            let plain = _mm256_loadu_si256(from.add(nth * 2 * BLOCK).cast());
            *pair = _mm256_xor_si256(*pair, plain);
            _mm256_storeu_si256(to.add(nth * 2 * BLOCK).cast(), *pair);
        }
    }
    stream
}

/// A length in bits, as the last block has it (NIST SP 800-38D section 7.1).
fn bits(bytes: usize) -> i64 {
    i64::try_from(8 * bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
