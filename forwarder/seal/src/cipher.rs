//! Owns the choice of the cipher by profile, and what is common to them all. Hot.

use wire::srtp::Profile;

use crate::backend::{GCM_TAG_BYTES, RingGcm, RustCryptoSeal};
use crate::cm::{CmRtcp, CmRtp};
use crate::gcm::{GcmRtcp, GcmRtp};
use crate::secret::{KeyError, Secret};

/// The highest index of RTP: 48 bits (RFC 3711 section 3.3.1).
pub(crate) const RTP_INDEX_MAX: u64 = (1 << 48) - 1;

/// The highest index of RTCP: 31 bits (RFC 3711 section 3.4).
pub(crate) const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;

/// Bytes of an RTCP header and the SSRC behind it: never encrypted (RFC 3711 section 3.4).
pub(crate) const RTCP_CLEAR_BYTES: usize = 8;

/// Bytes of the word that holds the E flag and the index of RTCP.
pub(crate) const INDEX_BYTES: usize = 4;

/// The E flag: the packet is encrypted, not only authenticated.
pub(crate) const ENCRYPTED: u32 = 1 << 31;

/// The RTP session keys of one direction.
#[expect(
    clippy::large_enum_variant,
    reason = "GCM, the large one, is the usual one; a box would cost a cache miss a packet"
)]
pub(crate) enum RtpCipher {
    Plain,
    Gcm(GcmRtp<RingGcm>),
    Cm(CmRtp<RustCryptoSeal>),
}

impl RtpCipher {
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        Ok(match secret.profile() {
            Profile::Plain => Self::Plain,
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => Self::Cm(CmRtp::new(secret)?),
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm(GcmRtp::new(secret)?),
        })
    }

    pub fn tag_bytes(&self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Gcm(_) => GCM_TAG_BYTES,
            Self::Cm(cm) => cm.tag_bytes(),
        }
    }

    /// Opens `packet`, `clear` bytes of header and at least a tag, in place; gives its length
    /// without the tag. `None`: the tag is wrong, and the bytes are lost.
    pub fn open(&self, ssrc: u32, index: u64, clear: usize, packet: &mut [u8]) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.open(ssrc, index, clear, packet),
            Self::Cm(cm) => cm.open(ssrc, index, clear, packet),
            Self::Plain => Some(packet.len()),
        }
    }
}

/// The RTCP session keys of one direction.
pub(crate) enum RtcpCipher {
    Plain,
    Gcm(GcmRtcp),
    Cm(CmRtcp),
}

impl RtcpCipher {
    pub fn new(secret: &Secret) -> Self {
        match secret.profile() {
            Profile::Plain => Self::Plain,
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => Self::Cm(CmRtcp::new(secret)),
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm(GcmRtcp::new(secret)),
        }
    }

    pub fn overhead(&self) -> usize {
        match self {
            Self::Plain => 0,
            Self::Gcm(_) => GcmRtcp::OVERHEAD,
            Self::Cm(_) => CmRtcp::OVERHEAD,
        }
    }
}

/// The SSRC of an RTCP compound's first packet, which has at least [`RTCP_CLEAR_BYTES`].
pub(crate) fn rtcp_ssrc(packet: &[u8]) -> u32 {
    u32_at(packet, 4)
}

/// Four bytes in network order; 0 beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |&word| u32::from_be_bytes(word))
}
