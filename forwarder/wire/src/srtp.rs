//! Owns the names of the SRTP protection profiles, as the handshake puts them on the wire.

/// SRTP protection profiles (RFC 5764 section 4.1.2, RFC 7714 section 14.2). The number is the
/// identifier in the `use_srtp` extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Profile {
    /// No protection at all. For trusted links and tests; never negotiated with a browser.
    #[default]
    Plain = 0,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, 0x0001.
    Aes128CmSha1_80 = 1,
    /// `SRTP_AES128_CM_HMAC_SHA1_32`, 0x0002.
    Aes128CmSha1_32 = 2,
    /// `SRTP_AEAD_AES_128_GCM`, 0x0007.
    AeadAes128Gcm = 7,
    /// `SRTP_AEAD_AES_256_GCM`, 0x0008.
    AeadAes256Gcm = 8,
}

impl Profile {
    /// The profile with this `use_srtp` identifier.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            1 => Some(Self::Aes128CmSha1_80),
            2 => Some(Self::Aes128CmSha1_32),
            7 => Some(Self::AeadAes128Gcm),
            8 => Some(Self::AeadAes256Gcm),
            _ => None,
        }
    }

    /// Bytes of the master key.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    /// Bytes of the master salt.
    #[must_use]
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }
}
