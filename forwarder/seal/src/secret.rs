//! Owns a master key and its salt: checked once, unprintable, wiped on drop.

use core::fmt;

use wire::srtp::Profile;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Most bytes of a master key: AES-256.
pub(crate) const KEY_BYTES_MAX: usize = 32;

/// Bytes of the longest master salt (RFC 3711 section 8.2).
pub(crate) const SALT_BYTES_MAX: usize = 14;

/// The master key and salt of one direction of one peer. Wiped on drop; prints nothing of itself.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret {
    #[zeroize(skip)]
    profile: Profile,
    key: [u8; KEY_BYTES_MAX],
    salt: [u8; SALT_BYTES_MAX],
}

impl Secret {
    /// Takes a copy of the master `key` and `salt`, whose lengths are those of the profile
    /// ([`Profile::key_bytes`], [`Profile::salt_bytes`]).
    ///
    /// # Errors
    /// [`KeyError::Key`] and [`KeyError::Salt`] for other lengths.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        if key.len() != profile.key_bytes() {
            return Err(KeyError::Key {
                needed: profile.key_bytes(),
                given: key.len(),
            });
        }
        if salt.len() != profile.salt_bytes() {
            return Err(KeyError::Salt {
                needed: profile.salt_bytes(),
                given: salt.len(),
            });
        }
        let mut secret = Self {
            profile,
            key: [0; KEY_BYTES_MAX],
            salt: [0; SALT_BYTES_MAX],
        };
        secret.key[..key.len()].copy_from_slice(key);
        secret.salt[..salt.len()].copy_from_slice(salt);
        Ok(secret)
    }

    /// The profile that the key is for.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key[..self.profile.key_bytes()]
    }

    /// The salt, padded with zeros to 14 bytes.
    ///
    /// The KDF of RFC 3711 wants 112 bits; the 96 of RFC 7714 section 11 stand in front.
    pub(crate) fn salt_padded(&self) -> &[u8; SALT_BYTES_MAX] {
        &self.salt
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

/// Why key material cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The master key has a length that is not the profile's. Lengths in bytes.
    Key {
        /// What the profile asks for.
        needed: usize,
        /// What came.
        given: usize,
    },
    /// The master salt has a length that is not the profile's. Lengths in bytes.
    Salt {
        /// What the profile asks for.
        needed: usize,
        /// What came.
        given: usize,
    },
    /// The cipher's own set-up refused the derived key.
    Cipher,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { needed, given } => write!(
                f,
                "the SRTP master key has {given} bytes, its profile needs {needed}: \
                 cut the exported keying material by the profile that was negotiated"
            ),
            Self::Salt { needed, given } => write!(
                f,
                "the SRTP master salt has {given} bytes, its profile needs {needed}: \
                 cut the exported keying material by the profile that was negotiated"
            ),
            Self::Cipher => f.write_str(
                "the cipher refused the derived SRTP key: negotiate another SRTP profile",
            ),
        }
    }
}

impl core::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_profile_s() {
        let key = [1; 32];
        assert!(Secret::new(Profile::AeadAes256Gcm, &key, &[2; 12]).is_ok());
        assert_eq!(
            Secret::new(Profile::AeadAes128Gcm, &key, &[2; 12]).err(),
            Some(KeyError::Key {
                needed: 16,
                given: 32
            })
        );
        assert_eq!(
            Secret::new(Profile::Aes128CmSha1_80, &key[..16], &[2; 12]).err(),
            Some(KeyError::Salt {
                needed: 14,
                given: 12
            })
        );
        assert!(Secret::new(Profile::Plain, &[], &[]).is_ok());
    }

    #[test]
    fn prints_nothing_of_the_key() {
        let secret = Secret::new(Profile::AeadAes128Gcm, &[0xa5; 16], &[0xa5; 12]).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret { .. }");
    }

    #[test]
    fn wiping_leaves_nothing() {
        let mut secret = Secret::new(Profile::AeadAes128Gcm, &[0xa5; 16], &[0xa5; 12]).unwrap();
        secret.zeroize();
        assert_eq!(secret.key, [0; 32]);
        assert_eq!(secret.salt, [0; 14]);
    }
}
