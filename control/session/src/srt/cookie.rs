//! Owns the keyed hash behind cookies and socket ids.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use std::hash::{BuildHasher, Hasher};

/// A key from the outside's random source; makes hashers that outsiders cannot foresee.
#[derive(Clone)]
pub struct CookieKey(Hmac<Sha1>);

impl CookieKey {
    /// A key made of 32 random bytes.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(seed).expect("HMAC takes a key of any length"))
    }
}

impl BuildHasher for CookieKey {
    type Hasher = CookieHasher;

    fn build_hasher(&self) -> CookieHasher {
        CookieHasher(self.0.clone())
    }
}

/// HMAC-SHA1 as a [`Hasher`]: its result is the first eight bytes.
pub struct CookieHasher(Hmac<Sha1>);

impl Hasher for CookieHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mac = self.0.clone().finalize().into_bytes();
        let mut first = [0; 8];
        first.copy_from_slice(&mac[..8]);
        u64::from_be_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_hmac_sha1() {
        // RFC 2202, case 2 has a shorter key; case 1 padded with zeros is the same key to HMAC.
        let mut seed = [0; 32];
        seed[..20].fill(0x0b);
        let mut hasher = CookieKey::new(&seed).build_hasher();
        hasher.write(b"Hi There");
        assert_eq!(hasher.finish(), 0xb617_3186_5505_7264);
    }
}
