//! Owns the receiving side of one peer, and of SRTP (RFC 3711 section 3.3). Hot.

use wire::rtp::{Packet, RtpError};
use wire::seq;

use crate::cipher::{RTP_INDEX_MAX, RtpCipher};
use crate::refusal::Refusal;
use crate::rtcp::RtcpOpener;
use crate::secret::{KeyError, Secret};
use crate::sources::{RTP_SOURCES_MAX, Replay, Sources};

/// Words of the window: 1,024 packets. Firefox probes for bandwidth with packets it sent long
/// before, so that the usual 64 or 128 would refuse them as old.
const WINDOW_WORDS: usize = 16;

/// Refusals in a row from which on the roll-over counter of an SSRC is doubted. Fewer are
/// corruption, replays or forgeries.
const DOUBT_FAILURES: u16 = 64;

/// Of the packets that fail in doubt, one in this many is tried with another roll-over counter:
/// whoever floods with forgeries shall not make them cost twice as much.
const DOUBT_STRIDE: u16 = 16;

/// Roll-over counters ahead that are tried in doubt. 8 are 524,288 packets: at 1,000 packets/s an
/// outage of 8 minutes, longer than any peer is kept.
const DOUBT_TURNS: u16 = 8;

/// Most bytes of a packet that is tried twice: more than an Ethernet frame.
const DOUBT_BYTES_MAX: usize = 2048;

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
        Ok(Self {
            rtp: RtpOpener::new(secret)?,
            rtcp: RtcpOpener::new(secret),
        })
    }

    /// See [`RtpOpener::rtp`].
    ///
    /// # Errors
    /// A [`Refusal`]; the packet may be overwritten then.
    #[inline]
    pub fn rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<OpenedRtp<'a>, Refusal> {
        self.rtp.rtp(packet)
    }

    /// See [`RtcpOpener::rtcp`].
    ///
    /// # Errors
    /// A [`Refusal`]; the packet may be overwritten then.
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
    /// Refusals in a row, for each place in `sources`. The only thing that an unverified packet
    /// changes; it decides what is tried, never what is accepted.
    failures: [u16; RTP_SOURCES_MAX],
}

impl RtpOpener {
    /// Derives the session keys.
    ///
    /// # Errors
    /// [`KeyError::Cipher`]: the cipher refused the key.
    pub fn new(secret: &Secret) -> Result<Self, KeyError> {
        Ok(Self {
            cipher: RtpCipher::new(secret)?,
            sources: Sources::new(),
            failures: [0; RTP_SOURCES_MAX],
        })
    }

    /// Opens `packet` in place.
    ///
    /// The roll-over counter of an SSRC is 0 at its first packet, or 1 if it wrapped before we saw
    /// one. It follows the sequence numbers; when an outage of more than 2^15 packets left it
    /// behind, it catches up within 200 packets.
    ///
    /// # Errors
    /// A [`Refusal`]; no window and no roll-over counter has changed then, but the packet may be
    /// overwritten.
    pub fn rtp<'a>(&mut self, packet: &'a mut [u8]) -> Result<OpenedRtp<'a>, Refusal> {
        let view = Packet::parse_sealed(packet).map_err(|error| match error {
            RtpError::Short => Refusal::Short,
            _ => Refusal::Malformed,
        })?;
        let (ssrc, sequence, clear) = (view.ssrc(), view.sequence(), view.header_bytes());
        if packet.len() < clear + self.cipher.tag_bytes() {
            return Err(Refusal::Short);
        }
        let place = self.sources.find(ssrc);
        match self.open(place, ssrc, sequence, clear, packet) {
            Ok((index, bytes)) => {
                if let Some(place) = self.sources.accept(place, ssrc, index) {
                    self.failures[place] = 0;
                }
                Ok(OpenedRtp {
                    index,
                    packet: &packet[..bytes],
                })
            }
            Err(refusal) => {
                if let Some(place) = place {
                    self.failures[place] = self.failures[place].wrapping_add(1);
                }
                Err(refusal)
            }
        }
    }

    /// The SSRCs seen and the highest index of each: what [`resume`](Self::resume) wants.
    pub fn sources(&self) -> impl Iterator<Item = (u32, u64)> {
        self.sources.iter()
    }

    /// The SSRCs seen with their replay windows: what [`go_on`](Self::go_on) wants.
    #[must_use]
    pub fn replays(&self) -> Vec<Replay> {
        self.sources.replays()
    }

    /// Goes on where another opener of the same key was, to the last packet.
    pub fn go_on(&mut self, replays: &[Replay]) {
        self.sources.go_on(replays);
    }

    /// Takes up an SSRC where another opener left it: `index` and all before count as seen.
    /// `false`: the table of SSRCs is full.
    pub fn resume(&mut self, ssrc: u32, index: u64) -> bool {
        self.sources.resume(ssrc, index & RTP_INDEX_MAX)
    }

    /// Gives the index and the length without the tag.
    fn open(
        &self,
        place: Option<usize>,
        ssrc: u32,
        sequence: u16,
        clear: usize,
        packet: &mut [u8],
    ) -> Result<(u64, usize), Refusal> {
        let (index, other) = match place {
            Some(place) => self.indices(place, sequence)?,
            None if self.sources.is_full() => return Err(Refusal::Unknown),
            None => first_indices(sequence),
        };
        let opened = match other {
            None => self
                .cipher
                .open(ssrc, index, clear, packet)
                .map(|bytes| (index, bytes)),
            Some(other) => self.open_either(ssrc, [index, other], clear, packet),
        };
        opened.ok_or(Refusal::Auth)
    }

    /// The likeliest index of a packet of a known SSRC, and in doubt another.
    //= https://www.rfc-editor.org/rfc/rfc3711#section-3.3.1
    //# v is chosen from the set { ROC-1, ROC, ROC+1 } (modulo 2^32) such that i is closest (in
    //# modulo 2^48 sense) to the value 2^16 * ROC + s_l (see Appendix A for pseudocode).
    fn indices(&self, place: usize, sequence: u16) -> Result<(u64, Option<u64>), Refusal> {
        let window = self.sources.window(place);
        let index = seq::extend(window.highest(), sequence);
        if index > RTP_INDEX_MAX {
            return Err(Refusal::Old);
        }
        let failures = self.failures[place];
        // Without a tag nothing could tell which of two is right.
        let certain = matches!(self.cipher, RtpCipher::Plain) || failures < DOUBT_FAILURES;
        if certain || !failures.is_multiple_of(DOUBT_STRIDE) {
            window.check(index)?;
            return Ok((index, None));
        }
        let turns = 1 + failures / DOUBT_STRIDE % DOUBT_TURNS;
        let other = index + (u64::from(turns) << 16);
        match window.check(index) {
            _ if other > RTP_INDEX_MAX => window.check(index).map(|()| (index, None)),
            Ok(()) => Ok((index, Some(other))),
            Err(_) => Ok((other, None)),
        }
    }

    /// Opens with the first index that fits.
    #[cold]
    fn open_either(
        &self,
        ssrc: u32,
        indices: [u64; 2],
        clear: usize,
        packet: &mut [u8],
    ) -> Option<(u64, usize)> {
        // A failure loses the bytes.
        let mut copy = [0; DOUBT_BYTES_MAX];
        let copy = copy.get_mut(..packet.len());
        let Some(copy) = copy else {
            let [index, _] = indices;
            return self
                .cipher
                .open(ssrc, index, clear, packet)
                .map(|bytes| (index, bytes));
        };
        copy.copy_from_slice(packet);
        indices.into_iter().find_map(|index| {
            packet.copy_from_slice(copy);
            self.cipher
                .open(ssrc, index, clear, packet)
                .map(|bytes| (index, bytes))
        })
    }
}

/// The likeliest index of the first packet of an SSRC, and another.
///
/// A sender that starts just below 2^16, against the advice of RFC 3711 section 3.3.1, may have
/// wrapped before its first packet came through: without the second try none ever would.
fn first_indices(sequence: u16) -> (u64, Option<u64>) {
    let index = u64::from(sequence);
    (index, (sequence < 1 << 15).then_some(index | 1 << 16))
}
