//! Owns the receiving side of one peer, and of SRTP (RFC 3711 section 3.3). Hot.

use crate::header::{rtp_clear_bytes, rtp_sequence, rtp_ssrc};
use crate::index::{RTP_INDEX_MAX, estimate};
use crate::refusal::Refusal;
use crate::rtcp::RtcpOpener;
use crate::sealer::RtpCipher;
use crate::secret::{KeyError, Secret};
use crate::sources::{RTP_SOURCES_MAX, Sources};

/// Words of the window: 1,024 packets. Firefox probes for bandwidth with packets it sent long
/// before, so that the usual 64 or 128 would refuse them as old.
const WINDOW_WORDS: usize = 16;

/// A verified and decrypted RTP packet.
#[derive(Debug, PartialEq, Eq)]
pub struct OpenedRtp<'a> {
    /// The roll-over counter times 2^16 plus the sequence number: 48 bits.
    pub index: u64,
    /// Header and plaintext, without the tag.
    pub packet: &'a [u8],
}

/// Verifies and decrypts what one peer sends: one direction, all SSRCs, RTP and RTCP.
///
/// For a viewer, who sends RTCP only, an [`RtcpOpener`] does and is much smaller.
pub struct Opener {
    rtp: RtpOpener,
    rtcp: RtcpOpener,
}

impl Opener {
    /// Derives the session keys.
    ///
    /// # Errors
    /// [`KeyError::Cipher`]: the cipher refused the key.
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        Ok(Self { rtp: RtpOpener::new(secret)?, rtcp: RtcpOpener::new(secret) })
    }

    /// See [`RtpOpener::rtp`].
    ///
    /// # Errors
    /// A [`Refusal`]; no state that decides about later packets has changed then.
    #[inline]
    pub fn rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<OpenedRtp<'a>, Refusal> {
        self.rtp.rtp(packet)
    }

    /// See [`RtcpOpener::rtcp`].
    ///
    /// # Errors
    /// A [`Refusal`]; no state has changed then.
    pub fn rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
        self.rtcp.rtcp(packet)
    }

    /// The half for RTP, to hand over and take up its state.
    pub fn rtp_half(&mut self) -> &mut RtpOpener {
        &mut self.rtp
    }

    /// The half for RTCP, to hand over and take up its state.
    pub fn rtcp_half(&mut self) -> &mut RtcpOpener {
        &mut self.rtcp
    }
}

/// Verifies and decrypts the RTP of one peer: one direction, all SSRCs.
pub struct RtpOpener {
    cipher: RtpCipher,
    sources: Sources<RTP_SOURCES_MAX, WINDOW_WORDS>,
}

impl RtpOpener {
    /// Derives the session keys.
    ///
    /// # Errors
    /// [`KeyError::Cipher`]: the cipher refused the key.
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        Ok(Self { cipher: RtpCipher::new(secret)?, sources: Sources::new() })
    }

    /// Opens `packet` in place. The first packet of an SSRC sets its roll-over counter to 0.
    ///
    /// # Errors
    /// A [`Refusal`]; no state has changed then, but the packet may be overwritten.
    pub fn rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<OpenedRtp<'a>, Refusal> {
        let clear = rtp_clear_bytes(packet)?;
        if packet.len() < clear + self.cipher.tag_bytes() {
            return Err(Refusal::Short);
        }
        let (ssrc, sequence) = (rtp_ssrc(packet), rtp_sequence(packet));
        let place = self.sources.find(ssrc);
        let index = match place {
            Some(place) => {
                let window = self.sources.window(place);
                let index = estimate(window.highest(), sequence).ok_or(Refusal::Old)?;
                window.check(index)?;
                index
            }
            None if self.sources.is_full() => return Err(Refusal::Unknown),
            None => u64::from(sequence),
        };
        let bytes = self.open(ssrc, index, clear, packet).ok_or(Refusal::Auth)?;
        self.sources.accept(place, ssrc, index);
        Ok(OpenedRtp { index, packet: &packet[..bytes] })
    }

    fn open(&self, ssrc: u32, index: u64, clear: usize, packet: &mut [u8]) -> Option<usize> {
        match &self.cipher {
            RtpCipher::Gcm(gcm) => gcm.open(ssrc, index, clear, packet),
            RtpCipher::Cm(cm) => cm.open(ssrc, index, clear, packet),
            RtpCipher::Plain => Some(packet.len()),
        }
    }

    /// The SSRCs seen and the highest index of each: what [`resume`](Self::resume) wants.
    pub fn sources(&self) -> impl Iterator<Item = (u32, u64)> {
        self.sources.iter()
    }

    /// Takes up an SSRC where another opener left it: `index` and all before count as seen.
    /// `false`: the table of SSRCs is full.
    pub fn resume(&mut self, ssrc: u32, index: u64) -> bool {
        self.sources.resume(ssrc, index & RTP_INDEX_MAX)
    }
}
