//! Owns the receiving side of SRTCP (RFC 3711 section 3.4).

use crate::cipher::{ENCRYPTED, INDEX_BYTES, RTCP_CLEAR_BYTES, RtcpCipher, rtcp_ssrc, u32_at};
use crate::refusal::Refusal;
use crate::secret::Secret;
use crate::sources::{RTCP_SOURCES_MAX, Replay, Sources};

/// Words of the window: 64 packets, the least that RFC 3711 section 3.3.2 allows. RTCP is sparse,
/// and what is late is outdated.
const WINDOW_WORDS: usize = 1;

/// Verifies and decrypts the RTCP of one peer: one direction, all SSRCs.
///
/// All that is needed for a viewer, who sends no RTP. Small: see the test of sizes.
pub struct RtcpOpener {
    cipher: RtcpCipher,
    sources: Sources<RTCP_SOURCES_MAX, WINDOW_WORDS>,
}

impl RtcpOpener {
    /// Derives the session keys.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self {
            cipher: RtcpCipher::new(secret),
            sources: Sources::new(),
        }
    }

    /// Opens `packet` in place; gives the plaintext compound.
    ///
    /// A packet that is authenticated and not encrypted (E flag 0) is taken as well. With
    /// [`Profile::Plain`](crate::Profile::Plain) there is no index, hence no replay protection.
    ///
    /// # Errors
    /// A [`Refusal`]; no state has changed then, but the packet may be overwritten.
    pub fn rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Result<&'a [u8], Refusal> {
        let overhead = self.cipher.overhead();
        if packet.len() < RTCP_CLEAR_BYTES + overhead {
            return Err(Refusal::Short);
        }
        if packet[0] >> 6 != 2 {
            return Err(Refusal::Malformed);
        }
        let at = match &self.cipher {
            RtcpCipher::Plain => return Ok(packet),
            // Behind the tag; or before it.
            RtcpCipher::Gcm(_) => packet.len() - INDEX_BYTES,
            RtcpCipher::Cm(_) => packet.len() - overhead,
        };
        let word = u32_at(packet, at);
        let index = u64::from(word & !ENCRYPTED);
        let ssrc = rtcp_ssrc(packet);
        let place = self.sources.find(ssrc);
        match place {
            Some(place) => self.sources.window(place).check(index)?,
            None if self.sources.is_full() => return Err(Refusal::Unknown),
            None => {}
        }
        let opened = match &self.cipher {
            RtcpCipher::Plain => Some(packet.len()),
            RtcpCipher::Gcm(gcm) => gcm.open(ssrc, word, packet),
            RtcpCipher::Cm(cm) => cm.open(ssrc, word, packet),
        };
        let bytes = opened.ok_or(Refusal::Auth)?;
        self.sources.accept(place, ssrc, index);
        Ok(&packet[..bytes])
    }

    /// The SSRCs seen and the highest index of each: what [`resume`](Self::resume) wants.
    pub fn sources(&self) -> impl Iterator<Item = (u32, u32)> {
        let known = self.sources.iter();
        known.map(|(ssrc, index)| (ssrc, u32::try_from(index).unwrap_or(u32::MAX)))
    }

    /// The SSRCs seen with their replay windows: what [`go_on`](Self::go_on) wants.
    #[must_use]
    pub fn replays(&self) -> Vec<Replay> {
        self.sources.replays()
    }

    /// The words of the replay windows of the first sources, to be read or put down by one that
    /// knows the same sources: of so many, whether there are as many or not.
    pub fn each_word(&mut self, sources: usize, word: impl FnMut(&mut u64)) {
        self.sources.each_word(sources, word);
    }

    /// Goes on where another opener of the same key was, to the last packet.
    pub fn go_on(&mut self, replays: &[Replay]) {
        self.sources.go_on(replays);
    }

    /// Takes up an SSRC where another opener left it: `index` and all before count as seen.
    /// `false`: the table of SSRCs is full.
    pub fn resume(&mut self, ssrc: u32, index: u32) -> bool {
        self.sources.resume(ssrc, u64::from(index & !ENCRYPTED))
    }
}
