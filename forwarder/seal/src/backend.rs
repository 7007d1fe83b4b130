//! Owns the seam to the ciphers: what a kernel must do, and which one is in use.
//!
//! A faster kernel is one more file here that implements a trait, and one more arm where
//! [`gcm`](crate::gcm) or [`cm`](crate::cm) chooses.

mod cm_rustcrypto;
mod gcm_ring;

pub(crate) use cm_rustcrypto::{RustCryptoCm, RustCryptoHmac};
pub(crate) use gcm_ring::RingGcm;

use crate::secret::KeyError;

/// Bytes of a GCM tag (RFC 7714 section 13.2).
pub(crate) const GCM_TAG_BYTES: usize = 16;

/// AES-GCM with one key, 128 or 256 bits.
pub(crate) trait Gcm: Sized {
    /// Expands a key of 16 or 32 bytes.
    fn new(key: &[u8]) -> Result<Self, KeyError>;

    /// Writes the encrypted parts and the tag to `out`, which has exactly their length.
    /// `None`: the message is too long for the cipher.
    fn seal(&self, nonce: [u8; 12], aad: &[u8], parts: [&[u8]; 2], out: &mut [u8]) -> Option<()>;

    /// Verifies and decrypts `sealed`, ciphertext and tag, in place. `None`: the tag is wrong,
    /// and the bytes are lost.
    fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &mut [u8]) -> Option<()>;
}

/// AES-CM, the counter mode of RFC 3711 section 4.1.1, with one key of 128 bits.
pub(crate) trait Cm: Sized {
    /// Expands a key.
    fn new(key: &[u8; 16]) -> Self;

    /// Adds the key stream that begins at the block `iv`, whose last 16 bits are zero. At most
    /// 2^16 blocks.
    fn apply(&self, iv: &[u8; 16], bytes: &mut [u8]);
}

/// HMAC-SHA1 with one key of 160 bits.
pub(crate) trait Hmac: Sized {
    /// Digests the key once.
    fn new(key: &[u8; 20]) -> Self;

    /// The MAC of `message` and the four bytes or none behind it.
    fn mac(&self, message: &[u8], trailer: &[u8]) -> [u8; 20];
}
