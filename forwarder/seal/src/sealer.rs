//! Owns the sending side of one peer. Hot.

use core::ops::Range;

use arrayvec::ArrayVec;
use wire::rtp::HEADER_BYTES;
use wire::srtp::Profile;

use crate::backend::{
    Across, CM_LANES, Cipher, CmSeal, GCM_TAG_BYTES, MacKey, RingGcm, RustCryptoSeal,
};
#[cfg(target_arch = "x86_64")]
use crate::backend::{
    Vaes512Cm, Vaes512Gcm, VaesCm, VaesGcm, is_cm_vaes_available, is_cm_vaes512_available,
};
use crate::cipher::{RTCP_CLEAR_BYTES, RTCP_INDEX_MAX, RTP_INDEX_MAX};
use crate::cipher::{rtcp_ssrc, u32_at};
use crate::cm::{CmRtcp, CmRtp, Untagged};
use crate::gcm::{GcmRtcp, GcmRtp};
use crate::secret::{KeyError, Secret};

/// Most bytes of payload: a datagram's. Far below the 2^20 of RFC 3711 section 4.1.1.
const PAYLOAD_BYTES_MAX: usize = 65_535;

/// Protects what we send to one peer: one direction, all SSRCs.
///
/// Holds keys and no counters: whoever calls gives each packet an index that its SSRC has never
/// used with this key. Keys are wiped on drop; a value that is moved may leave a copy behind, so
/// build it where it stays.
pub struct Sealer {
    suite: Suite,
}

/// One enum for both protocols: two would need 48 bytes more.
#[expect(
    clippy::large_enum_variant,
    reason = "GCM, the large one, is the usual one; a box would cost a cache miss a packet"
)]
enum Suite {
    Plain,
    Gcm(GcmRtp<RingGcm>, GcmRtcp),
    #[cfg(target_arch = "x86_64")]
    Vaes(GcmRtp<VaesGcm>, GcmRtcp),
    #[cfg(target_arch = "x86_64")]
    Vaes512(GcmRtp<Vaes512Gcm>, GcmRtcp),
    Cm(CmRtp<RustCryptoSeal>, CmRtcp),
    #[cfg(target_arch = "x86_64")]
    CmVaes(CmRtp<VaesCm>, CmRtcp),
    #[cfg(target_arch = "x86_64")]
    CmVaes512(CmRtp<Vaes512Cm>, CmRtcp),
}

/// What is sealed as one packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// As for [`Sealer::rtp`].
    pub index: u64,
    /// The RTP header with its extension.
    pub header: &'a [u8],
    /// The payload in two parts; see [`Sealer::rtp_parts`].
    pub parts: [&'a [u8]; 2],
}

/// What is still to be done for the packets of a run: see [`Sealer::rtp_of_run`].
#[derive(Default)]
#[must_use = "Sealer::finish_run writes the tags that are missing"]
pub struct Run {
    // Not an array: nothing is to be done for a run that needs none of it.
    pub(crate) packets: ArrayVec<Untagged, CM_LANES>,
}

impl Run {
    /// True if no tag is missing.
    #[inline]
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.packets.is_empty()
    }
}

impl Sealer {
    /// What sealing a packet touches, from the beginning: all of it where VAES seals, most of it
    /// elsewhere. For whoever asks the processor for memory ahead of its use.
    pub const HOT_BYTES: usize = 512;

    /// Derives the session keys, for the fastest cipher that this machine can run.
    ///
    /// # Errors
    /// [`KeyError::Cipher`]: the cipher refused the key.
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        Self::with(secret, Cipher::best())
    }

    /// [`new`](Self::new) with this cipher.
    ///
    /// # Errors
    /// [`KeyError::Cipher`]: the cipher refused the key, or this machine can't run it.
    pub fn with(secret: &Secret, cipher: Cipher) -> Result<Self, KeyError> {
        let suite = match secret.profile() {
            Profile::Plain => Suite::Plain,
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => match cipher {
                #[cfg(target_arch = "x86_64")]
                Cipher::Vaes512 if is_cm_vaes512_available() => {
                    Suite::CmVaes512(CmRtp::new(secret)?, CmRtcp::new(secret))
                }
                #[cfg(target_arch = "x86_64")]
                Cipher::Vaes | Cipher::Vaes512 if is_cm_vaes_available() => {
                    Suite::CmVaes(CmRtp::new(secret)?, CmRtcp::new(secret))
                }
                _ => Suite::Cm(CmRtp::new(secret)?, CmRtcp::new(secret)),
            },
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => match cipher {
                Cipher::Ring => Suite::Gcm(GcmRtp::new(secret)?, GcmRtcp::new(secret)),
                #[cfg(target_arch = "x86_64")]
                Cipher::Vaes => Suite::Vaes(GcmRtp::new(secret)?, GcmRtcp::new(secret)),
                #[cfg(target_arch = "x86_64")]
                Cipher::Vaes512 => Suite::Vaes512(GcmRtp::new(secret)?, GcmRtcp::new(secret)),
                #[cfg(not(target_arch = "x86_64"))]
                Cipher::Vaes | Cipher::Vaes512 => return Err(KeyError::Cipher),
            },
        };
        Ok(Self { suite })
    }

    /// Bytes that [`rtp`](Self::rtp) adds: the tag. 0 for [`Profile::Plain`].
    #[must_use]
    pub fn rtp_overhead(&self) -> usize {
        match &self.suite {
            Suite::Plain => 0,
            Suite::Gcm(..) => GCM_TAG_BYTES,
            #[cfg(target_arch = "x86_64")]
            Suite::Vaes(..) | Suite::Vaes512(..) => GCM_TAG_BYTES,
            Suite::Cm(cm, _) => cm.tag_bytes(),
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes(cm, _) => cm.tag_bytes(),
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes512(cm, _) => cm.tag_bytes(),
        }
    }

    /// Bytes that [`rtcp`](Self::rtcp) adds: tag and index. 0 for [`Profile::Plain`].
    #[must_use]
    pub fn rtcp_overhead(&self) -> usize {
        match &self.suite {
            Suite::Plain => 0,
            Suite::Gcm(..) => GcmRtcp::OVERHEAD,
            #[cfg(target_arch = "x86_64")]
            Suite::Vaes(..) | Suite::Vaes512(..) => GcmRtcp::OVERHEAD,
            Suite::Cm(..) => CmRtcp::OVERHEAD,
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes(..) => CmRtcp::OVERHEAD,
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes512(..) => CmRtcp::OVERHEAD,
        }
    }

    /// Writes header, encrypted payload and tag to `out`; gives their length in bytes.
    ///
    /// `header` is the RTP header with CSRCs and extension, which stays in the clear. `index` is
    /// the roll-over counter times 2^16 plus the header's sequence number.
    ///
    /// The same key, SSRC and index must never seal a second packet: not across a wrap, a
    /// retransmission, a move to another core or a restart.
    ///
    /// `None`: `out` is too small, the index has more than 48 bits (the key is used up) or is not
    /// the header's, the header has less than 12 bytes or the payload more than a datagram's.
    #[inline]
    pub fn rtp(&self, index: u64, header: &[u8], payload: &[u8], out: &mut [u8]) -> Option<usize> {
        self.rtp_parts(index, header, [payload, &[]], out)
    }

    /// [`rtp`](Self::rtp) with the payload in two parts, such as the original sequence number of
    /// RFC 4588 section 4 and the original payload.
    #[inline]
    pub fn rtp_parts(
        &self,
        index: u64,
        header: &[u8],
        parts: [&[u8]; 2],
        out: &mut [u8],
    ) -> Option<usize> {
        let packet = Packet {
            index,
            header,
            parts,
        };
        self.seal(&packet, out)
    }

    /// [`rtp_parts`](Self::rtp_parts) for one of several packets that leave together: it is
    /// written to the front of `room` in `memory`. Its tag may be missing until
    /// [`finish_run`](Self::finish_run): tags of several packets cost less than as many of one.
    ///
    /// All packets of a run are of the same sealer and `memory`.
    ///
    /// `None`: as for [`rtp`](Self::rtp).
    #[inline]
    pub fn rtp_of_run(
        &self,
        run: &mut Run,
        packet: &Packet<'_>,
        memory: &mut [u8],
        room: Range<usize>,
    ) -> Option<usize> {
        match &self.suite {
            Suite::Cm(cm, _) => self.encrypt_of_run(cm, run, packet, memory, room),
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes(cm, _) => self.encrypt_of_run(cm, run, packet, memory, room),
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes512(cm, _) => self.encrypt_of_run(cm, run, packet, memory, room),
            _ => self.seal(packet, memory.get_mut(room)?),
        }
    }

    /// Writes the tags that the packets of a run in `memory` still lack; another run may follow.
    #[inline]
    pub fn finish_run(&self, run: &mut Run, memory: &mut [u8]) {
        if !run.packets.is_empty() {
            self.tag_run(run, memory);
        }
    }

    /// True if tags of its runs cost less in a [`Group`](crate::Group) with those of others.
    #[inline]
    #[must_use]
    pub fn shares_tags(&self) -> bool {
        self.across().is_some()
    }

    #[inline]
    pub(crate) fn across(&self) -> Option<(&MacKey, Across)> {
        match &self.suite {
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes(cm, _) => cm.across(),
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes512(cm, _) => cm.across(),
            _ => None,
        }
    }

    #[inline]
    fn seal(&self, packet: &Packet<'_>, out: &mut [u8]) -> Option<usize> {
        let bytes = self.sealed_bytes(packet)?;
        let Packet {
            index,
            header,
            parts,
        } = *packet;
        let out = out.get_mut(..bytes)?;
        let (clear, body) = out.split_at_mut(header.len());
        clear.copy_from_slice(header);
        let ssrc = u32_at(header, 8);
        match &self.suite {
            Suite::Gcm(gcm, _) => gcm.seal(ssrc, index, header, parts, body)?,
            #[cfg(target_arch = "x86_64")]
            Suite::Vaes(gcm, _) => gcm.seal(ssrc, index, header, parts, body)?,
            #[cfg(target_arch = "x86_64")]
            Suite::Vaes512(gcm, _) => gcm.seal(ssrc, index, header, parts, body)?,
            Suite::Cm(cm, _) => {
                let untagged = cm.encrypt(packet, out, 0)?;
                cm.tag(out, &[untagged]);
            }
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes(cm, _) => {
                let untagged = cm.encrypt(packet, out, 0)?;
                cm.tag(out, &[untagged]);
            }
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes512(cm, _) => {
                let untagged = cm.encrypt(packet, out, 0)?;
                cm.tag(out, &[untagged]);
            }
            Suite::Plain => copy_parts(parts, body),
        }
        Some(bytes)
    }

    /// Not inlined: in line three times it crowds out what the other suites do.
    #[inline(never)]
    fn encrypt_of_run<S: CmSeal>(
        &self,
        cm: &CmRtp<S>,
        run: &mut Run,
        packet: &Packet<'_>,
        memory: &mut [u8],
        room: Range<usize>,
    ) -> Option<usize> {
        let bytes = self.sealed_bytes(packet)?;
        let from = room.start;
        let out = memory.get_mut(room)?.get_mut(..bytes)?;
        out[..packet.header.len()].copy_from_slice(packet.header);
        let untagged = cm.encrypt(packet, memory, from)?;
        // There is room for one: who is full is emptied.
        run.packets.try_push(untagged).ok()?;
        if run.packets.is_full() {
            cm.tag(memory, &run.packets);
            run.packets.clear();
        }
        Some(bytes)
    }

    #[inline(never)]
    fn tag_run(&self, run: &mut Run, memory: &mut [u8]) {
        let packets = &run.packets;
        match &self.suite {
            Suite::Cm(cm, _) => cm.tag(memory, packets),
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes(cm, _) => cm.tag(memory, packets),
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes512(cm, _) => cm.tag(memory, packets),
            _ => debug_assert!(false, "these have their tags at once"),
        }
        run.packets.clear();
    }

    /// Bytes of a packet when it is sealed. `None`: it can't be.
    #[inline]
    fn sealed_bytes(&self, packet: &Packet<'_>) -> Option<usize> {
        let (header, index) = (packet.header, packet.index);
        let sequence = u64::from(u32_at(header, 0) & 0xffff);
        if header.len() < HEADER_BYTES || index > RTP_INDEX_MAX || index & 0xffff != sequence {
            return None;
        }
        let payload_bytes = packet.parts[0].len() + packet.parts[1].len();
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return None;
        }
        Some(header.len() + payload_bytes + self.rtp_overhead())
    }

    /// Writes the protected compound `packet` to `out`; gives its length in bytes. `index` has 31
    /// bits and counts the packets sent with this key and SSRC.
    ///
    /// The same key, SSRC and index must never seal a second packet.
    ///
    /// `None`: `out` is too small, the index has more than 31 bits (the key is used up), or the
    /// packet has less than 8 bytes.
    pub fn rtcp(&self, index: u32, packet: &[u8], out: &mut [u8]) -> Option<usize> {
        if packet.len() < RTCP_CLEAR_BYTES
            || packet.len() > PAYLOAD_BYTES_MAX
            || index > RTCP_INDEX_MAX
        {
            return None;
        }
        let ssrc = rtcp_ssrc(packet);
        let bytes = packet.len() + self.rtcp_overhead();
        let out = out.get_mut(..bytes)?;
        match &self.suite {
            Suite::Gcm(_, gcm) => gcm.seal(ssrc, index, packet, out)?,
            #[cfg(target_arch = "x86_64")]
            Suite::Vaes(_, gcm) => gcm.seal(ssrc, index, packet, out)?,
            #[cfg(target_arch = "x86_64")]
            Suite::Vaes512(_, gcm) => gcm.seal(ssrc, index, packet, out)?,
            Suite::Cm(_, cm) => cm.seal(ssrc, index, packet, out)?,
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes(_, cm) => cm.seal(ssrc, index, packet, out)?,
            #[cfg(target_arch = "x86_64")]
            Suite::CmVaes512(_, cm) => cm.seal(ssrc, index, packet, out)?,
            Suite::Plain => out.copy_from_slice(packet),
        }
        Some(bytes)
    }
}

/// Copies the parts to the front of `out`, which has room for both.
#[inline]
fn copy_parts([first, second]: [&[u8]; 2], out: &mut [u8]) {
    out[..first.len()].copy_from_slice(first);
    out[first.len()..][..second.len()].copy_from_slice(second);
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
