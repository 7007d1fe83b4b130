//! Owns the seam to the ciphers: what a kernel must do, and which one is in use.
//!
//! A faster kernel is one more file here that implements a trait, and one more arm where
//! [`Sealer`](crate::Sealer) chooses.

mod cm_rustcrypto;
mod gcm_ring;
#[cfg(target_arch = "x86_64")]
mod gcm_vaes;

pub(crate) use cm_rustcrypto::{RustCryptoCm, RustCryptoHmac};
pub(crate) use gcm_ring::RingGcm;
#[cfg(target_arch = "x86_64")]
pub(crate) use gcm_vaes::VaesGcm;

use core::fmt;
use core::str::FromStr;

use crate::secret::KeyError;

/// What seals with AES-GCM. What is received is opened by `ring` always: once a packet, not once
/// a packet and viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `ring`, on every machine. It seals in place, so that each packet is copied first.
    Ring,
    /// Ours, on x86-64 with VAES, VPCLMULQDQ and AVX2: Zen 3, Ice Lake and later.
    Vaes,
}

impl Cipher {
    /// All there are, the fastest first.
    pub const ALL: [Self; 2] = [Self::Vaes, Self::Ring];

    /// The fastest that this machine can run.
    #[must_use]
    pub fn best() -> Self {
        let best = Self::ALL.into_iter().find(|cipher| cipher.is_available());
        best.unwrap_or(Self::Ring)
    }

    /// The one of this name, or the fastest.
    ///
    /// # Errors
    /// There is none of the name, or this machine can't run it.
    pub fn choose(name: Option<&str>) -> Result<Self, String> {
        let Some(name) = name else {
            return Ok(Self::best());
        };
        let named: Self = name.parse()?;
        if !named.is_available() {
            return Err(format!(
                "cipher {named}: this processor lacks VAES, VPCLMULQDQ or AVX2; leave the choice \
                 to 'auto', or take 'ring'"
            ));
        }
        Ok(named)
    }

    /// True if this machine can run it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Ring => true,
            #[cfg(target_arch = "x86_64")]
            Self::Vaes => gcm_vaes::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Vaes => false,
        }
    }

    /// The name, as [`FromStr`] takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Vaes => "vaes",
        }
    }
}

impl fmt::Display for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Cipher {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|cipher| cipher.name() == name);
        found.ok_or_else(|| format!("'{name}' seals nothing here; there are vaes and ring"))
    }
}

/// Bytes of a GCM tag (RFC 7714 section 13.2).
pub(crate) const GCM_TAG_BYTES: usize = 16;

/// AES-GCM with one key, 128 or 256 bits, for what is sent.
pub(crate) trait GcmSeal: Sized {
    /// Expands a key of 16 or 32 bytes.
    fn new(key: &[u8]) -> Result<Self, KeyError>;

    /// Writes the encrypted parts and the tag to `out`, which has exactly their length.
    /// `None`: the message is too long for the cipher.
    fn seal(&self, nonce: [u8; 12], aad: &[u8], parts: [&[u8]; 2], out: &mut [u8]) -> Option<()>;
}

/// The same for what is received.
pub(crate) trait GcmOpen: GcmSeal {
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
