//! Owns AES-CM and HMAC-SHA1 where there is AVX-512 besides: sixteen blocks of AES and up to
//! sixteen messages of SHA-1 at a time. Hot.

use core::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::sha1::{BLOCK, State};
use super::sha1_wide::{LANES, States};
use super::{VaesCm, ctr, parts_of, tail_of};
use crate::backend::gcm_vaes::wide::{QUAD_BYTES, encrypt_quads, first_bytes, xor_group};
use crate::backend::gcm_vaes::{block::load, wide_is_available};
use crate::backend::{CM_LANES, CmSeal, Message};
use crate::secret::KeyError;

/// Messages from which on lanes of AVX-512 take less time than the instructions for SHA-1, four at
/// a time. Measured on Zen 4, each packet of 1,200 bytes, encryption included: eight take 487 ns
/// each in lanes and 391 by the instructions, nine 441 and 450, twelve 353 and 405, sixteen 289 and
/// 403.
const WIDE_FROM: usize = 9;

const _: () = assert!(CM_LANES == LANES);

/// Blocks of AES that go together.
const GROUP_BYTES: usize = 4 * QUAD_BYTES;

/// Round keys of AES-128.
const KEYS: usize = 11;

/// True if this machine has the instructions, and its kernel keeps the registers.
pub(crate) fn is_available() -> bool {
    super::is_available() && wide_is_available()
}

/// The same keys, for wider instructions. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Vaes512Cm(VaesCm);

impl CmSeal for Vaes512Cm {
    fn new(cipher: &[u8; 16], auth: &[u8; 20]) -> Result<Self, KeyError> {
        if !is_available() {
            return Err(KeyError::Cipher);
        }
        VaesCm::new(cipher, auth).map(Self)
    }

    #[inline]
    fn encrypt(&self, iv: &[u8; 16], parts: [&[u8]; 2], out: &mut [u8]) -> Option<()> {
        let (from, to) = parts_of(parts, out)?;
        // SAFETY: a value of this type exists only where the instructions do; the rest is what
        // `parts_of` promises.
        // JUSTIFICATION: only a function that is compiled for the instructions may use them.
        unsafe { apply(&self.0.round_keys, iv, from, to, out.len()) };
        Some(())
    }

    fn macs(&self, messages: &[Message<'_>], macs: &mut [[u8; 20]]) {
        for (messages, macs) in messages.chunks(LANES).zip(macs.chunks_mut(LANES)) {
            if messages.len() < WIDE_FROM {
                self.0.macs(messages, macs);
            } else {
                // SAFETY: a value of this type exists only where the instructions do.
                // JUSTIFICATION: only a function that is compiled for them may use them.
                unsafe { macs_side_by_side(&self.0.inner, &self.0.outer, messages, macs) };
            }
        }
    }
}

/// The MACs of at most sixteen messages.
///
/// # Safety
/// [`is_available`] has been true.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn macs_side_by_side(
    inner: &State,
    outer: &State,
    messages: &[Message<'_>],
    macs: &mut [[u8; 20]],
) {
    let mut whole: [&[u8]; LANES] = [&[]; LANES];
    let mut tails = [[0; 2 * BLOCK]; LANES];
    let mut closed = [0; LANES];
    for (nth, message) in messages.iter().enumerate().take(LANES) {
        (whole[nth], closed[nth]) = tail_of(message, &mut tails[nth]);
    }
    let mut last: [&[u8]; LANES] = [&[]; LANES];
    for ((last, tail), bytes) in last.iter_mut().zip(&tails).zip(closed) {
        *last = &tail[..bytes];
    }
    let mut states = States::all(inner);
    states.digest(&whole);
    states.digest(&last);
    let mut outer = States::all(outer);
    outer.digest_digests(&states);
    let words = outer.words();
    for (lane, mac) in macs.iter_mut().enumerate().take(LANES) {
        for (bytes, word) in mac.as_chunks_mut::<4>().0.iter_mut().zip(&words) {
            *bytes = word[lane].to_be_bytes();
        }
    }
}

/// As [`ctr::apply`](super::ctr::apply).
///
/// # Safety
/// As there, and [`is_available`] has been true.
#[target_feature(enable = "aes,avx512f,avx512bw,avx512vl,vaes")]
unsafe fn apply(keys: &ctr::RoundKeys, iv: &[u8; 16], from: *const u8, to: *mut u8, bytes: usize) {
    let mut counter = Counter::new(iv);
    let mut at = 0;
    while bytes - at >= GROUP_BYTES {
        let stream = encrypt_quads::<KEYS, 4>(keys, [(); 4].map(|()| counter.next()));
        // SAFETY: by the contract and the condition of the loop there are 256 bytes at `at`.
        unsafe { xor_group(stream, from.add(at), to.add(at)) };
        at += GROUP_BYTES;
    }
    while at < bytes {
        let some = first_bytes(bytes - at);
        let [stream] = encrypt_quads::<KEYS, 1>(keys, [counter.next()]);
        // SAFETY: by the contract; the mask has no more than the bytes that are left.
        unsafe {
            let plain = _mm512_maskz_loadu_epi8(some, from.add(at).cast());
            let sealed = _mm512_xor_si512(plain, stream);
            _mm512_mask_storeu_epi8(to.add(at).cast(), some, sealed);
        }
        at += QUAD_BYTES;
    }
}

/// The counter blocks of a message.
struct Counter {
    /// The next four, with their last words, in which the counter is, in the order of this machine.
    quad: __m512i,
}

impl Counter {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(iv: &[u8; 16]) -> Self {
        let all = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(load(iv)), turn());
        let counts = _mm512_set_epi32(3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0);
        Self {
            quad: _mm512_add_epi32(all, counts),
        }
    }

    /// The next four. The counter is the last 16 bits: the others of its word never change.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn next(&mut self) -> __m512i {
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
