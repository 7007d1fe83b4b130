//! Owns the GCM profiles: nonces and associated data (RFC 7714). Hot.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::backend::{GCM_TAG_BYTES, GcmOpen, GcmSeal, RingGcm};
use crate::cipher::{ENCRYPTED, INDEX_BYTES, RTCP_CLEAR_BYTES};
use crate::kdf::{Protocol, SessionKeys};
use crate::secret::{KEY_BYTES_MAX, KeyError, Secret};

/// Bytes that GCM adds to an RTCP packet: the tag, then the index word.
const RTCP_TAIL_BYTES: usize = GCM_TAG_BYTES + INDEX_BYTES;

/// The RTP session key, expanded.
pub(crate) struct GcmRtp<G> {
    key: G,
    salt: Salt,
}

impl<G: GcmSeal> GcmRtp<G> {
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        Self::from_session(
            &SessionKeys::derive(secret, Protocol::Rtp),
            secret.key().len(),
        )
    }

    fn from_session(keys: &SessionKeys, key_bytes: usize) -> Result<Self, KeyError> {
        Ok(Self {
            key: G::new(&keys.cipher[..key_bytes])?,
            salt: Salt::new(keys),
        })
    }

    /// Writes ciphertext and tag of the parts to `out`, which has exactly their length.
    pub fn seal(
        &self,
        ssrc: u32,
        index: u64,
        header: &[u8],
        parts: [&[u8]; 2],
        out: &mut [u8],
    ) -> Option<()> {
        self.key.seal(self.nonce(ssrc, index), header, parts, out)
    }

    //= https://www.rfc-editor.org/rfc/rfc7714#section-8.1
    //# The 12-octet IV used by AES-GCM SRTP is formed by first concatenating 2 octets of zeroes,
    //# the 4-octet SSRC, the 4-octet rollover counter (ROC), and the 2-octet sequence number
    //# (SEQ).  The resulting 12-octet value is then XORed to the 12-octet salt to form the
    //# 12-octet IV.
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        self.salt.mixed(ssrc, index)
    }
}

impl<G: GcmOpen> GcmRtp<G> {
    /// Opens `packet`, `clear` bytes of header and at least a tag, in place; gives its length
    /// without the tag.
    pub fn open(&self, ssrc: u32, index: u64, clear: usize, packet: &mut [u8]) -> Option<usize> {
        let bytes = packet.len().checked_sub(GCM_TAG_BYTES)?;
        let (header, sealed) = packet.split_at_mut_checked(clear)?;
        self.key.open(self.nonce(ssrc, index), header, sealed)?;
        Some(bytes)
    }
}

/// The RTCP session key, not expanded.
///
/// A viewer's RTCP is about one packet a second each way, and the expanded key has half a
/// kilobyte: expanding it for each packet costs less than keeping it, in memory and in cache.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct GcmRtcp {
    key: [u8; KEY_BYTES_MAX],
    /// AES-256, whose key has all the bytes; or AES-128, whose key has half of them.
    long: bool,
    salt: Salt,
}

impl GcmRtcp {
    pub const OVERHEAD: usize = RTCP_TAIL_BYTES;

    pub fn new(secret: &Secret) -> Self {
        Self::from_session(
            &SessionKeys::derive(secret, Protocol::Rtcp),
            secret.key().len(),
        )
    }

    fn from_session(keys: &SessionKeys, key_bytes: usize) -> Self {
        Self {
            key: keys.cipher,
            long: key_bytes == KEY_BYTES_MAX,
            salt: Salt::new(keys),
        }
    }

    /// Writes the sealed `packet` to `out`, which has exactly the length. The associated data are
    /// the first 8 bytes and the index word (RFC 7714 section 9.2).
    pub fn seal(&self, ssrc: u32, index: u32, packet: &[u8], out: &mut [u8]) -> Option<()> {
        let (clear, body) = packet.split_at_checked(RTCP_CLEAR_BYTES)?;
        let word = (ENCRYPTED | index).to_be_bytes();
        let mut aad = [0; RTCP_CLEAR_BYTES + INDEX_BYTES];
        aad[..RTCP_CLEAR_BYTES].copy_from_slice(clear);
        aad[RTCP_CLEAR_BYTES..].copy_from_slice(&word);
        let (clear_out, rest) = out.split_at_mut_checked(RTCP_CLEAR_BYTES)?;
        let (sealed, word_out) = rest.split_last_chunk_mut::<INDEX_BYTES>()?;
        self.expanded()?
            .seal(self.nonce(ssrc, index), &aad, [body, &[]], sealed)?;
        clear_out.copy_from_slice(clear);
        *word_out = word;
        Some(())
    }

    /// Opens `packet` in place; gives its length without tag and index. `word` is the index word
    /// at its end.
    pub fn open(&self, ssrc: u32, word: u32, packet: &mut [u8]) -> Option<usize> {
        let bytes = packet.len().checked_sub(RTCP_TAIL_BYTES)?;
        let nonce = self.nonce(ssrc, word & !ENCRYPTED);
        let key = self.expanded()?;
        if word & ENCRYPTED != 0 {
            let mut aad = [0; RTCP_CLEAR_BYTES + INDEX_BYTES];
            aad[..RTCP_CLEAR_BYTES].copy_from_slice(packet.get(..RTCP_CLEAR_BYTES)?);
            aad[RTCP_CLEAR_BYTES..].copy_from_slice(&word.to_be_bytes());
            let sealed = packet.get_mut(RTCP_CLEAR_BYTES..bytes + GCM_TAG_BYTES)?;
            key.open(nonce, &aad, sealed)?;
        } else {
            // The associated data are the whole packet and the index word (RFC 7714 section 9.3).
            // The tag stands between the two: bring them together, the tag behind.
            let tail = packet.last_chunk_mut::<RTCP_TAIL_BYTES>()?;
            tail.rotate_left(GCM_TAG_BYTES);
            let (aad, tag) = packet.split_at_mut_checked(bytes + INDEX_BYTES)?;
            key.open(nonce, aad, tag)?;
        }
        Some(bytes)
    }

    fn expanded(&self) -> Option<RingGcm> {
        let bytes = if self.long { KEY_BYTES_MAX } else { 16 };
        RingGcm::new(&self.key[..bytes]).ok()
    }

    //= https://www.rfc-editor.org/rfc/rfc7714#section-9.1
    //# The 12-octet IV used by AES-GCM SRTCP is formed by first concatenating 2 octets of zeroes,
    //# the 4-octet SSRC identifier, 2 octets of zeroes, a single "0" bit, and the 31-bit SRTCP
    //# index.  The resulting 12-octet value is then XORed to the 12-octet salt to form the
    //# 12-octet IV.
    fn nonce(&self, ssrc: u32, index: u32) -> [u8; 12] {
        self.salt.mixed(ssrc, u64::from(index))
    }
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Salt([u8; 12]);

impl Salt {
    fn new(keys: &SessionKeys) -> Self {
        let mut salt = [0; 12];
        salt.copy_from_slice(&keys.salt[..12]);
        Self(salt)
    }

    /// Zero (16 bits), SSRC (32), index (48), plus the salt.
    fn mixed(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = self.0;
        let [_, _, index @ ..] = index.to_be_bytes();
        for (byte, mixed) in nonce[2..]
            .iter_mut()
            .zip(ssrc.to_be_bytes().into_iter().chain(index))
        {
            *byte ^= mixed;
        }
        nonce
    }
}

#[cfg(test)]
mod tests;
