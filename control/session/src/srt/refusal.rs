//! Owns why a caller is turned away: the server's reasons, ours, and their codes on the wire.

use sapflow_srt::RejectCode;

use super::streamid::BadStreamId;

/// The server's reason to turn a caller away: the codes of the SRT access control guidelines.
/// libsrt's callers read such a code as it is (`srt_getrejectreason`) and 1.5.1 words each of them
/// as "Application-defined rejection reason"; on the wire it is 1000 more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// 1400: the streamid cannot be understood.
    BadRequest,
    /// 1401: no or wrong credentials.
    Unauthorized,
    /// 1402: no room for another stream.
    Overload,
    /// 1403: credentials that do not permit this.
    Forbidden,
    /// 1404: no such stream.
    NotFound,
    /// 1405: the direction is not served here.
    BadMode,
    /// 1409: somebody else publishes this stream.
    Conflict,
    /// 1500: an error of ours.
    Internal,
    /// 1503: shutting down.
    Down,
}

impl Reason {
    /// Every reason, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Overload,
        Self::Forbidden,
        Self::NotFound,
        Self::BadMode,
        Self::Conflict,
        Self::Internal,
        Self::Down,
    ];

    /// The code as `SRT_REJX_...` defines it, 1400 to 1507.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::BadRequest => 1400,
            Self::Unauthorized => 1401,
            Self::Overload => 1402,
            Self::Forbidden => 1403,
            Self::NotFound => 1404,
            Self::BadMode => 1405,
            Self::Conflict => 1409,
            Self::Internal => 1500,
            Self::Down => 1503,
        }
    }
}

/// Why we turned a caller away without asking, or after the server had accepted it. Its text says
/// what the encoder's operator must change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The streamid is not usable.
    #[error("{0}")]
    StreamId(BadStreamId),
    /// The keys do not unwrap with the stream's passphrase.
    #[error("the passphrase is wrong: type the stream's passphrase into the encoder")]
    BadSecret,
    /// The stream has a passphrase, the caller does not encrypt.
    #[error("this stream has a passphrase and the encoder uses none: type it into the encoder")]
    PassphraseMissing,
    /// The caller encrypts, the stream has no passphrase.
    #[error(
        "the encoder encrypts and this stream has no passphrase: set one for the stream, or remove \
         it from the encoder"
    )]
    PassphraseUnexpected,
    /// Encrypted with something other than AES-CTR.
    #[error(
        "the encoder encrypts with a cipher other than AES-CTR: set its crypto mode to AES-CTR"
    )]
    Cipher,
    /// Fields of the handshake contradict each other.
    #[error("the handshake contradicts itself or is malformed: is it an SRT encoder?")]
    Malformed,
    /// Too many attempts, or too many connections from one address.
    #[error("too many connections or attempts from this address: try again in a moment")]
    TooMany,
    /// The protocol engine turned it away; the number is libsrt's `SRT_REJ_...`.
    #[error(
        "the handshake asks for what is not served here (SRT reason {0}): use caller mode, live \
         transmission, SRT 1.3 or newer, and no packet filter or bonding"
    )]
    Protocol(u16),
}

impl Refusal {
    /// The code on the wire, in the Handshake Type field.
    pub(super) fn wire(self) -> RejectCode {
        match self {
            Self::StreamId(_) => Reason::BadRequest.wire(),
            Self::BadSecret => RejectCode::BADSECRET,
            Self::PassphraseMissing | Self::PassphraseUnexpected => RejectCode::UNSECURE,
            // SRT_REJ_CRYPTO of libsrt 1.5.2; older ones show it as unknown.
            Self::Cipher => RejectCode(1017),
            Self::Malformed => RejectCode::ROGUE,
            Self::TooMany => Reason::Overload.wire(),
            Self::Protocol(code) => RejectCode(WIRE_BASE + u32::from(code)),
        }
    }
}

impl Reason {
    pub(super) fn wire(self) -> RejectCode {
        RejectCode(WIRE_BASE + u32::from(self.code()))
    }
}

/// A Handshake Type of 1000 and more is a rejection: 1000 plus libsrt's reason.
const WIRE_BASE: u32 = 1000;

/// Rejections sent, by code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejections {
    /// 1010, `BADSECRET`.
    pub bad_secret: u64,
    /// 1011, `UNSECURE`: only one side has a passphrase.
    pub unsecure: u64,
    /// The server's reasons and our own that share their codes, in the order of [`Reason::ALL`].
    pub application: [u64; Reason::ALL.len()],
    /// All other codes: versions, modes, filters, groups, a full table, malformed handshakes.
    pub protocol: u64,
}

impl Rejections {
    /// Those of one of the server's reasons.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        let at = Reason::ALL.iter().position(|r| *r == reason);
        at.map_or(0, |at| self.application[at])
    }

    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.bad_secret + self.unsecure + self.protocol + self.application.iter().sum::<u64>()
    }

    /// Counts a rejection by its code on the wire.
    pub(super) fn add(&mut self, wire: u32) {
        match RejectCode(wire) {
            RejectCode::BADSECRET => self.bad_secret += 1,
            RejectCode::UNSECURE => self.unsecure += 1,
            code => match Reason::ALL.iter().position(|r| r.wire() == code) {
                Some(at) => self.application[at] += 1,
                None => self.protocol += 1,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_under_its_own_code() {
        let mut counted = Rejections::default();
        for reason in Reason::ALL {
            counted.add(reason.wire().0);
            assert_eq!(counted.of(reason), 1, "{reason:?}");
        }
        for wire in [1010, 1011, 1008, 1014, 77] {
            counted.add(wire);
        }
        assert_eq!(
            (counted.bad_secret, counted.unsecure, counted.protocol),
            (1, 1, 3)
        );
        assert_eq!(counted.sum(), 14);
    }
}
