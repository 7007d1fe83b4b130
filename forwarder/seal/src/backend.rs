//! Owns the seam to the ciphers: what a kernel must do, and which one is in use.
//!
//! A faster kernel is one more file here that implements a trait, and one more arm where
//! [`Sealer`](crate::Sealer) chooses.

mod cm_rustcrypto;
#[cfg(target_arch = "x86_64")]
mod cm_vaes;
mod gcm_ring;
#[cfg(target_arch = "x86_64")]
mod gcm_vaes;

pub(crate) use cm_rustcrypto::{RustCryptoCm, RustCryptoHmac, RustCryptoSeal};
#[cfg(target_arch = "x86_64")]
pub(crate) use cm_vaes::{
    Vaes512Cm, VaesCm, is_available as is_cm_vaes_available, macs_across,
    wide_is_available as is_cm_vaes512_available,
};
pub(crate) use gcm_ring::RingGcm;
#[cfg(target_arch = "x86_64")]
pub(crate) use gcm_vaes::{Vaes512Gcm, VaesGcm};

use core::fmt;
use core::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secret::KeyError;

/// What seals for viewers: with AES-GCM, and with AES-CM and HMAC-SHA1. What is received is opened
/// by `ring` and RustCrypto always: once a packet, not once a packet and viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `ring`, and RustCrypto for AES-CM, on every machine. They seal in place, so that each packet
    /// is copied first.
    Ring,
    /// Ours, on x86-64 with VAES, VPCLMULQDQ and AVX2: Zen 3, Ice Lake and later. AES-CM wants the
    /// instructions for SHA-1 as well, which all of these have, and is RustCrypto's without.
    Vaes,
    /// The same twice as wide, where there is AVX-512 besides: Zen 4, Ice Lake and later.
    Vaes512,
}

impl Cipher {
    /// All there are, the fastest first.
    pub const ALL: [Self; 3] = [Self::Vaes512, Self::Vaes, Self::Ring];

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
                "cipher {named}: this processor lacks {}; leave the choice to 'auto', or take '{}'",
                named.wants(),
                Self::best()
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
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512 => gcm_vaes::wide_is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Vaes | Self::Vaes512 => false,
        }
    }

    /// What of a processor it wants, in words.
    const fn wants(self) -> &'static str {
        match self {
            Self::Ring => "nothing",
            Self::Vaes => "VAES, VPCLMULQDQ or AVX2",
            Self::Vaes512 => "VAES, VPCLMULQDQ or AVX-512 (F, BW and VL)",
        }
    }

    /// The name of what seals AES-CM and HMAC-SHA1 where this one is chosen.
    #[must_use]
    pub fn name_for_cm(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vaes512 if is_cm_vaes512_available() => "vaes512",
            #[cfg(target_arch = "x86_64")]
            Self::Vaes | Self::Vaes512 if is_cm_vaes_available() => "vaes",
            _ => "rustcrypto",
        }
    }

    /// The name, as [`FromStr`] takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Vaes => "vaes",
            Self::Vaes512 => "vaes512",
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
        found
            .ok_or_else(|| format!("'{name}' seals nothing here; there are vaes512, vaes and ring"))
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

/// Packets of a run whose tags are computed together: as many messages of SHA-1 as go side by side
/// at most, in the lanes of AVX-512. Elsewhere they go four at a time, or one.
pub(crate) const CM_LANES: usize = 16;

/// What HMAC-SHA1 is to authenticate: a packet without its tag, and the roll-over counter.
#[derive(Clone, Copy, Default)]
pub(crate) struct Message<'a> {
    pub bytes: &'a [u8],
    pub roc: [u8; 4],
}

/// A key of HMAC-SHA1: the states of SHA-1 behind its inner and its outer block. Wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct MacKey {
    pub inner: [u32; 5],
    pub outer: [u32; 5],
}

/// What computes MACs of messages with several keys side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Across {
    /// The instructions for SHA-1, four messages at a time.
    Sha,
    /// Those, and the lanes of AVX-512 from so many messages on as are worth it.
    Wide,
}

/// AES-CM and HMAC-SHA1 with the keys of one direction, for the RTP that is sent.
pub(crate) trait CmSeal: Sized {
    /// Expands the keys.
    fn new(cipher: &[u8; 16], auth: &[u8; 20]) -> Result<Self, KeyError>;

    /// Writes the encrypted parts to `out`, which has exactly their length. The key stream begins
    /// at the block `iv`, whose last 16 bits are zero. `None`: more than a datagram's bytes.
    fn encrypt(&self, iv: &[u8; 16], parts: [&[u8]; 2], out: &mut [u8]) -> Option<()>;

    /// Writes the MAC of each message to the same place of `macs`.
    fn macs(&self, messages: &[Message<'_>], macs: &mut [[u8; 20]]);

    /// The key of the MACs, and what computes them together with those of other keys. `None`:
    /// nothing does so in less time.
    fn across(&self) -> Option<(&MacKey, Across)> {
        None
    }
}

/// Without [`Across`] there is nothing to compute.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn macs_across(_: Across, _: &[&MacKey], _: &[Message<'_>], _: &mut [[u8; 20]]) {}

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
