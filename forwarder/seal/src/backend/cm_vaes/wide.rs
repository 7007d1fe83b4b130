//! Owns AES-CM and HMAC-SHA1 where there is AVX-512 besides: sixteen blocks of AES and up to
//! sixteen messages of SHA-1 at a time. Hot.

use core::arch::x86_64::*;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::sha1_wide::{LANES, States};
use super::{Blocks, VaesCm, ctr, parts_of};
use crate::backend::gcm_vaes::wide::{Counter, QUAD_BYTES, encrypt_quads, first_bytes, xor_group};
use crate::backend::gcm_vaes::wide_is_available;
use crate::backend::{Across, CM_LANES, CmSeal, MacKey, Message};
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
            if !is_worth_it(messages.len()) {
                self.0.macs(messages, macs);
            } else {
                // SAFETY: a value of this type exists only where the instructions do.
                // JUSTIFICATION: only a function that is compiled for them may use them.
                unsafe { macs_side_by_side(&[&self.0.mac; LANES], messages, macs) };
            }
        }
    }

    #[inline]
    fn across(&self) -> Option<(&MacKey, Across)> {
        Some((&self.0.mac, Across::Wide))
    }
}

/// True if so many messages take less time in lanes of AVX-512.
#[inline]
pub(super) const fn is_worth_it(messages: usize) -> bool {
    messages >= WIDE_FROM
}

/// The MACs of at most sixteen messages, each with the key of the same place.
///
/// # Safety
/// [`is_available`] has been true.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn macs_side_by_side(
    keys: &[&MacKey],
    messages: &[Message<'_>],
    macs: &mut [[u8; 20]],
) {
    let blocks = Blocks::<LANES>::of(messages);
    let mut states = States::of(keys, |key| &key.inner);
    states.digest(&blocks.whole);
    states.digest(&blocks.last());
    let mut outer = States::of(keys, |key| &key.outer);
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
