//! Owns the AES-CM and HMAC-SHA1 profiles: counter blocks and tags (RFC 3711 section 4). Hot.

use arrayvec::ArrayVec;
use subtle::ConstantTimeEq;
use wire::srtp::Profile;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::backend::{
    Across, CM_LANES, Cm, CmSeal, Hmac, MacKey, Message, RustCryptoCm, RustCryptoHmac,
    RustCryptoSeal,
};
use crate::cipher::{ENCRYPTED, INDEX_BYTES, RTCP_CLEAR_BYTES, u32_at};
use crate::kdf::{Protocol, SessionKeys};
use crate::sealer::Packet;
use crate::secret::{KeyError, SALT_BYTES_MAX, Secret};

/// Bytes of an RTCP tag: 80 bits, in the profile with a 32-bit RTP tag as well (RFC 5764 section
/// 4.1.2, RFC 4568 section 6.2.2).
const RTCP_TAG_BYTES: usize = 10;

/// The RTP session keys, expanded.
pub(crate) struct CmRtp<S> {
    keys: S,
    salt: Salt,
    /// 10 or 4. A byte, or a viewer's state grows by 16.
    tag_bytes: u8,
}

/// A packet that is encrypted and has no tag yet.
#[derive(Clone, Copy)]
pub(crate) struct Untagged {
    /// Where it begins in the memory that it is in.
    from: usize,
    /// Where its tag is to be.
    to: usize,
    /// Its roll-over counter, as it is authenticated.
    roc: [u8; 4],
}

impl<S: CmSeal> CmRtp<S> {
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        let tag_bytes = if secret.profile() == Profile::Aes128CmSha1_32 {
            4
        } else {
            10
        };
        let keys = SessionKeys::derive(secret, Protocol::Rtp);
        Ok(Self {
            keys: S::new(cipher_key(&keys), &keys.auth)?,
            salt: Salt(keys.salt),
            tag_bytes,
        })
    }

    #[inline]
    pub fn tag_bytes(&self) -> usize {
        usize::from(self.tag_bytes)
    }

    /// Encrypts the payload to its place behind the header of the packet at `from` in `memory`,
    /// which stands there already. The tag is for [`Self::tag`] to write.
    #[inline]
    pub fn encrypt(&self, packet: &Packet<'_>, memory: &mut [u8], from: usize) -> Option<Untagged> {
        let Packet {
            index,
            header,
            parts,
        } = *packet;
        let body = from + header.len();
        let to = body + parts[0].len() + parts[1].len();
        let iv = self.salt.block(u32_at(header, 8), index);
        self.keys.encrypt(&iv, parts, memory.get_mut(body..to)?)?;
        let roc = roc(index);
        Some(Untagged { from, to, roc })
    }

    /// The key of its tags, and what computes them beside those of other keys.
    #[inline]
    pub fn across(&self) -> Option<(&MacKey, Across)> {
        self.keys.across()
    }

    /// Writes the tags of packets in `memory`, at most [`CM_LANES`].
    #[inline]
    pub fn tag(&self, memory: &mut [u8], packets: &[Untagged]) {
        debug_assert!(packets.len() <= CM_LANES, "as many as go side by side");
        let packets = packets.iter().take(CM_LANES);
        let messages = packets.clone().map(|packet| packet.message(memory));
        let messages: ArrayVec<_, CM_LANES> = messages.collect();
        let mut macs = [[0; 20]; CM_LANES];
        self.keys.macs(&messages, &mut macs[..messages.len()]);
        drop(messages);
        for (mac, packet) in macs.iter().zip(packets) {
            packet.put_tag(memory, &mac[..self.tag_bytes()]);
        }
    }
}

impl Untagged {
    /// What its tag is of; `memory` is what it was encrypted to.
    #[inline]
    pub fn message<'a>(&self, memory: &'a [u8]) -> Message<'a> {
        Message {
            bytes: memory.get(self.from..self.to).unwrap_or_default(),
            roc: self.roc,
        }
    }

    /// Puts its tag behind it.
    #[inline]
    pub fn put_tag(&self, memory: &mut [u8], tag: &[u8]) {
        if let Some(place) = memory.get_mut(self.to..self.to + tag.len()) {
            place.copy_from_slice(tag);
        }
    }
}

impl CmRtp<RustCryptoSeal> {
    /// Opens `packet` in place; gives its length without the tag. The bytes stay when it fails.
    pub fn open(&self, ssrc: u32, index: u64, clear: usize, packet: &mut [u8]) -> Option<usize> {
        let bytes = packet.len().checked_sub(self.tag_bytes())?;
        let (message, tag) = packet.split_at_mut(bytes);
        let body = message.len().checked_sub(clear)?;
        let mac = self.keys.mac(&Message {
            bytes: message,
            roc: roc(index),
        });
        if !bool::from(mac[..self.tag_bytes()].ct_eq(tag)) {
            return None;
        }
        self.keys.apply(
            &self.salt.block(ssrc, index),
            &mut packet[clear..clear + body],
        );
        Some(bytes)
    }
}

//= https://www.rfc-editor.org/rfc/rfc3711#section-4.2
//# In the case of SRTP, M SHALL consist of the Authenticated Portion of the packet (as
//# specified in Figure 1) concatenated with the ROC, M = Authenticated Portion || ROC
fn roc(index: u64) -> [u8; 4] {
    let [_, _, a, b, c, d, _, _] = index.to_be_bytes();
    [a, b, c, d]
}

/// The RTCP session keys; the cipher's is expanded for each packet, as for
/// [`GcmRtcp`](crate::gcm::GcmRtcp).
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct CmRtcp {
    key: [u8; 16],
    hmac: RustCryptoHmac,
    salt: Salt,
}

impl CmRtcp {
    pub const OVERHEAD: usize = INDEX_BYTES + RTCP_TAG_BYTES;

    pub fn new(secret: &Secret) -> Self {
        let keys = SessionKeys::derive(secret, Protocol::Rtcp);
        Self {
            key: *cipher_key(&keys),
            hmac: RustCryptoHmac::new(&keys.auth),
            salt: Salt(keys.salt),
        }
    }

    /// Writes the sealed `packet` to `out`, which has exactly the length.
    pub fn seal(&self, ssrc: u32, index: u32, packet: &[u8], out: &mut [u8]) -> Option<()> {
        let (message, tag) = out.split_last_chunk_mut::<RTCP_TAG_BYTES>()?;
        let (rtcp, word) = message.split_last_chunk_mut::<INDEX_BYTES>()?;
        if rtcp.len() != packet.len() {
            return None;
        }
        rtcp.copy_from_slice(packet);
        *word = (ENCRYPTED | index).to_be_bytes();
        self.apply(ssrc, index, rtcp.get_mut(RTCP_CLEAR_BYTES..)?);
        tag.copy_from_slice(&self.hmac.mac(message, &[])[..RTCP_TAG_BYTES]);
        Some(())
    }

    /// Opens `packet` in place; gives its length without index and tag. `word` is the index word
    /// before its tag.
    pub fn open(&self, ssrc: u32, word: u32, packet: &mut [u8]) -> Option<usize> {
        let (message, tag) = packet.split_last_chunk_mut::<RTCP_TAG_BYTES>()?;
        if !bool::from(self.hmac.mac(message, &[])[..RTCP_TAG_BYTES].ct_eq(tag)) {
            return None;
        }
        let bytes = message.len().checked_sub(INDEX_BYTES)?;
        if word & ENCRYPTED != 0 {
            self.apply(
                ssrc,
                word & !ENCRYPTED,
                message.get_mut(RTCP_CLEAR_BYTES..bytes)?,
            );
        }
        Some(bytes)
    }

    fn apply(&self, ssrc: u32, index: u32, body: &mut [u8]) {
        let block = self.salt.block(ssrc, u64::from(index));
        RustCryptoCm::new(&self.key).apply(&block, body);
    }
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Salt([u8; SALT_BYTES_MAX]);

impl Salt {
    //= https://www.rfc-editor.org/rfc/rfc3711#section-4.1.1
    //# IV = (k_s * 2^16) XOR (SSRC * 2^64) XOR (i * 2^16)
    fn block(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let salt = self
            .0
            .iter()
            .fold(0_u128, |sum, &byte| sum << 8 | u128::from(byte));
        (salt << 16 ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16).to_be_bytes()
    }
}

/// The AES-128 key: the first half of the room for AES-256.
fn cipher_key(keys: &SessionKeys) -> &[u8; 16] {
    keys.cipher
        .first_chunk()
        .expect("there is room for 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 section 3.4: without the E flag a packet is authenticated and in the clear.
    #[test]
    fn authenticated_only() {
        let secret = Secret::new(Profile::Aes128CmSha1_80, &[1; 16], &[2; 14]).unwrap();
        let cm = CmRtcp::new(&secret);
        let mut packet = b"\x80\xc9\x00\x02ssrc and".to_vec();
        let clear = packet.clone();
        packet.extend(7_u32.to_be_bytes());
        let mac = cm.hmac.mac(&packet, &[]);
        packet.extend(&mac[..RTCP_TAG_BYTES]);
        let mut forged = packet.clone();
        assert_eq!(cm.open(1, 7, &mut packet), Some(clear.len()));
        assert_eq!(packet[..clear.len()], clear);
        forged[9] ^= 1;
        assert_eq!(cm.open(1, 7, &mut forged), None);
    }
}
