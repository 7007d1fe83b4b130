//! Owns AES-GCM by `ring`. Hot.
#![allow(unsafe_code)]

use core::mem::{MaybeUninit, needs_drop};

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::{GCM_TAG_BYTES, GcmOpen, GcmSeal};
use crate::secret::KeyError;

/// An expanded key. `ring` does not wipe its keys: this one does.
pub(crate) struct RingGcm {
    key: MaybeUninit<LessSafeKey>,
}

// Overwriting the key is all there is to dropping it.
const _: () = assert!(!needs_drop::<LessSafeKey>());

impl RingGcm {
    fn key(&self) -> &LessSafeKey {
        // SAFETY: `new` is the only constructor and initialises the key; only `drop` overwrites
        // it, after which nobody can call this.
        // JUSTIFICATION: `zeroize` wipes a `MaybeUninit` without unsafe code, but not a
        // `LessSafeKey`, which has no zero value; a second copy of the state to wipe instead
        // would not be the one that is used.
        unsafe { self.key.assume_init_ref() }
    }
}

impl GcmSeal for RingGcm {
    fn new(key: &[u8]) -> Result<Self, KeyError> {
        let algorithm = if key.len() == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| KeyError::Cipher)?;
        Ok(Self {
            key: MaybeUninit::new(LessSafeKey::new(key)),
        })
    }

    fn seal(&self, nonce: [u8; 12], aad: &[u8], parts: [&[u8]; 2], out: &mut [u8]) -> Option<()> {
        // `ring` seals in place only: copy, then seal there.
        let (first, rest) = out.split_at_mut_checked(parts[0].len())?;
        let (second, _) = rest.split_at_mut_checked(parts[1].len())?;
        first.copy_from_slice(parts[0]);
        second.copy_from_slice(parts[1]);
        let (body, tag_out) = out.split_last_chunk_mut::<GCM_TAG_BYTES>()?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key()
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .ok()?;
        tag_out.copy_from_slice(tag.as_ref());
        Some(())
    }
}

impl GcmOpen for RingGcm {
    fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &mut [u8]) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key()
            .open_in_place(nonce, Aad::from(aad), sealed)
            .ok()
            .map(|_| ())
    }
}

impl Drop for RingGcm {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::ManuallyDrop;

    #[test]
    fn the_expanded_key_is_wiped() {
        let mut gcm = ManuallyDrop::new(RingGcm::new(&[0xa5; 16]).unwrap());
        let bytes = size_of::<RingGcm>();
        // SAFETY: the value is dropped once, here, and only its bytes are looked at afterwards;
        // it owns nothing else. `zeroize` wrote every byte, padding as well.
        let left = unsafe {
            ManuallyDrop::drop(&mut gcm);
            core::slice::from_raw_parts((&raw const gcm).cast::<u8>(), bytes)
        };
        assert!(left.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn refuses_an_odd_key() {
        assert_eq!(RingGcm::new(&[1; 24]).err(), Some(KeyError::Cipher));
    }
}
