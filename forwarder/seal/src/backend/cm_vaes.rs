//! Owns AES-CM by VAES and HMAC-SHA1 by the instructions for SHA, up to four messages side by
//! side. Hot. [`wide`] does the same with AVX-512.
//!
//! Nothing here branches on or looks up by a secret: what is secret goes through registers only.
#![allow(unsafe_code)]

mod ctr;
mod sha1;
mod sha1_wide;
mod wide;

pub(crate) use wide::{Vaes512Cm, is_available as wide_is_available};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::gcm_vaes::aes::expand_128;
use super::gcm_vaes::block::load;
use super::{Across, CM_LANES, CmSeal, MacKey, Message, gcm_vaes};
use crate::secret::KeyError;
use sha1::{BLOCK, INITIAL, LANES, digest, digested};

/// True if this machine has the instructions.
pub(crate) fn is_available() -> bool {
    gcm_vaes::is_available()
        && is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("sse4.1")
}

/// The expanded keys of the cipher and of HMAC. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct VaesCm {
    round_keys: ctr::RoundKeys,
    mac: MacKey,
}

impl CmSeal for VaesCm {
    fn new(cipher: &[u8; 16], auth: &[u8; 20]) -> Result<Self, KeyError> {
        if !is_available() {
            return Err(KeyError::Cipher);
        }
        let mut cm = Self {
            round_keys: [[0; 16]; gcm_vaes::ROUND_KEYS_MAX],
            mac: MacKey {
                inner: INITIAL,
                outer: INITIAL,
            },
        };
        // SAFETY: the instructions are there.
        // JUSTIFICATION: only a function that is compiled for them may use them.
        unsafe { expand_128(load(cipher), &mut cm.round_keys) };
        for (state, pad) in [(&mut cm.mac.inner, 0x36), (&mut cm.mac.outer, 0x5c)] {
            let mut block = [pad; BLOCK];
            for (byte, key) in block.iter_mut().zip(auth) {
                *byte ^= key;
            }
            // SAFETY: the instructions are there.
            // JUSTIFICATION: as above.
            unsafe { digest(core::slice::from_mut(state), &[&block]) };
            block.zeroize();
        }
        Ok(cm)
    }

    #[inline]
    fn encrypt(&self, iv: &[u8; 16], parts: [&[u8]; 2], out: &mut [u8]) -> Option<()> {
        let (from, to) = parts_of(parts, out)?;
        // SAFETY: a value of this type exists only where the instructions do; the rest is what
        // `parts_of` promises.
        // JUSTIFICATION: only a function that is compiled for the instructions may use them.
        unsafe { ctr::apply(&self.round_keys, iv, from, to, out.len()) };
        Some(())
    }

    fn macs(&self, messages: &[Message<'_>], macs: &mut [[u8; 20]]) {
        // SAFETY: a value of this type exists only where the instructions do.
        // JUSTIFICATION: only a function that is compiled for them may use them.
        unsafe { macs_by_sha(&[&self.mac; LANES], messages, macs) }
    }

    #[inline]
    fn across(&self) -> Option<(&MacKey, Across)> {
        Some((&self.mac, Across::Sha))
    }
}

/// The MAC of each message with the key of the same place.
pub(crate) fn macs_across(
    across: Across,
    keys: &[&MacKey],
    messages: &[Message<'_>],
    macs: &mut [[u8; 20]],
) {
    for ((keys, messages), macs) in keys
        .chunks(CM_LANES)
        .zip(messages.chunks(CM_LANES))
        .zip(macs.chunks_mut(CM_LANES))
    {
        // SAFETY: only a kernel says `across`, and it exists only where the instructions do.
        // JUSTIFICATION: only functions that are compiled for them may use them.
        unsafe {
            if across == Across::Wide && wide::is_worth_it(messages.len()) {
                wide::macs_side_by_side(keys, messages, macs);
                continue;
            }
            let keys = keys.chunks(LANES);
            let messages = messages.chunks(LANES);
            for ((keys, messages), macs) in keys.zip(messages).zip(macs.chunks_mut(LANES)) {
                macs_by_sha(keys, messages, macs);
            }
        }
    }
}

/// The MACs of messages, [`LANES`] at a time, each with the key of the same place among those.
///
/// # Safety
/// [`is_available`] has been true.
unsafe fn macs_by_sha(keys: &[&MacKey], messages: &[Message<'_>], macs: &mut [[u8; 20]]) {
    for (messages, macs) in messages.chunks(LANES).zip(macs.chunks_mut(LANES)) {
        let mut states = [INITIAL; LANES];
        for (state, key) in states.iter_mut().zip(keys) {
            *state = key.inner;
        }
        let blocks = Blocks::<LANES>::of(messages);
        let states = &mut states[..messages.len()];
        // SAFETY: by the contract.
        unsafe {
            digest(states, &blocks.whole[..messages.len()]);
            digest(states, &blocks.last()[..messages.len()]);
        }
        let mut outer = [[0; BLOCK]; LANES];
        for ((block, state), key) in outer.iter_mut().zip(&mut *states).zip(keys) {
            block[..20].copy_from_slice(&digested(state));
            close(block, 20, BLOCK + 20);
            *state = key.outer;
        }
        let blocks = outer.each_ref().map(<[u8; BLOCK]>::as_slice);
        // SAFETY: as above.
        unsafe { digest(states, &blocks[..messages.len()]) };
        for (mac, state) in macs.iter_mut().zip(states) {
            *mac = digested(state);
        }
    }
}

/// From where to where `out.len()` bytes are encrypted: from the first part, if it is the only one,
/// or from `out`, to which the parts have been copied, to `out`. Both may be touched for as many
/// bytes; they are the same or do not overlap. `None`: the parts do not have the length of `out`,
/// or it is more than a datagram's.
#[inline]
fn parts_of([first, second]: [&[u8]; 2], out: &mut [u8]) -> Option<(*const u8, *mut u8)> {
    if out.len() != first.len() + second.len() || out.len() > ctr::BYTES_MAX {
        return None;
    }
    if second.is_empty() {
        return Some((first.as_ptr(), out.as_mut_ptr()));
    }
    out[..first.len()].copy_from_slice(first);
    out[first.len()..].copy_from_slice(second);
    let to = out.as_mut_ptr();
    Some((to.cast_const(), to))
}

/// Messages that go side by side, at most `N`, cut into blocks: the whole ones where they are, and
/// what is left with the trailer and the padding.
struct Blocks<'a, const N: usize> {
    whole: [&'a [u8]; N],
    /// Up to 63 bytes, 4 of trailer, one of padding and eight of length: two blocks at most.
    tails: [[u8; 2 * BLOCK]; N],
    /// Bytes of each that are used.
    closed: [usize; N],
}

impl<'a, const N: usize> Blocks<'a, N> {
    #[inline]
    fn of(messages: &[Message<'a>]) -> Self {
        let mut blocks = Self {
            whole: [&[]; N],
            tails: [[0; 2 * BLOCK]; N],
            closed: [0; N],
        };
        for (nth, message) in messages.iter().enumerate().take(N) {
            let rest = message.bytes.len() % BLOCK;
            let (whole, rest) = message.bytes.split_at(message.bytes.len() - rest);
            blocks.whole[nth] = whole;
            let tail = &mut blocks.tails[nth];
            tail[..rest.len()].copy_from_slice(rest);
            tail[rest.len()..][..4].copy_from_slice(&message.roc);
            let total = BLOCK + message.bytes.len() + 4;
            blocks.closed[nth] = close(tail, rest.len() + 4, total);
        }
        blocks
    }

    /// The last blocks of each.
    #[inline]
    fn last(&self) -> [&[u8]; N] {
        core::array::from_fn(|nth| &self.tails[nth][..self.closed[nth]])
    }
}

/// Pads the `used` bytes at the end of a message of `total` bytes; gives the bytes of the blocks
/// filled (FIPS 180-4 section 5.1.1).
fn close(tail: &mut [u8], used: usize, total: usize) -> usize {
    let end = (used + 9).next_multiple_of(BLOCK);
    tail[used] = 0x80;
    tail[end - 8..end].copy_from_slice(&(8 * total as u64).to_be_bytes());
    end
}

#[cfg(test)]
mod tests;
