//! Owns what a node's operator decides about sessions, and its bounds.

use crate::dtls::SetupError;
use link::limits::CORES_MAX;
use std::net::SocketAddr;
use wire::time::Span;

/// Our username fragments carry 24 bits of the viewer's index.
const VIEWERS_MAX: u32 = 1 << 24;

/// Most candidates of an answer: each costs the client a pair to check.
const CANDIDATES_MAX: usize = 16;

/// What sessions are made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where viewers reach the workers' UDP port, best first. 1 to 16, none of them unspecified.
    pub candidates: Vec<SocketAddr>,
    /// How many workers there are.
    pub cores: u16,
    /// Sessions at once, 1 to 2^24; no more than `link`'s `Limits::viewers_max`.
    pub viewers_max: u32,
    /// Sessions at once that have been asked for and are not established: bounds what somebody can
    /// make us hold who only sends POST requests.
    pub handshakes_max: u32,
    /// From the POST to the first valid check, at most. Browsers begin as soon as they have the
    /// answer; who does not come holds a place among the handshakes no longer than this.
    pub check_timeout: Span,
    /// From the POST to established keys, at most.
    pub handshake_timeout: Span,
    /// Canonical name of all tracks, also in RTCP; a token without blanks.
    pub cname: String,
    /// What a publisher is told that it may send at most, in bits a second, if it listens to REMB
    /// (draft-alvestrand-rmcat-remb-03); 0: it is not told.
    pub publisher_bitrate_max_bps: u64,
    /// Take DTLS 1.3 wherever it is offered, even when that means a dearer SRTP profile.
    pub prefer_dtls13: bool,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No address to announce.
    #[error("{0} addresses to announce to viewers; name 1 to {CANDIDATES_MAX} that they can reach")]
    Candidates(usize),
    /// An address that nobody can send to.
    #[error("{0} cannot be announced to viewers; name an address of this host and its UDP port")]
    Unspecified(SocketAddr),
    /// A number out of range.
    #[error("{name} is {value}; choose {min} to {max}")]
    Range {
        /// Which number.
        name: &'static str,
        /// What it was.
        value: u32,
        /// Smallest allowed.
        min: u32,
        /// Largest allowed.
        max: u32,
    },
    /// Not a token.
    #[error("the canonical name {0:?} has characters beyond letters, digits and .@_-")]
    Cname(String),
    /// DTLS is out of order.
    #[error(transparent)]
    Dtls(#[from] SetupError),
}

impl Config {
    /// Says what is wrong, if anything.
    ///
    /// # Errors
    /// The first setting that cannot be, with its remedy.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=CANDIDATES_MAX).contains(&self.candidates.len()) {
            return Err(ConfigError::Candidates(self.candidates.len()));
        }
        for candidate in &self.candidates {
            if candidate.ip().is_unspecified() || candidate.port() == 0 {
                return Err(ConfigError::Unspecified(*candidate));
            }
        }
        let cores_max = u32::try_from(CORES_MAX).unwrap_or(u32::MAX);
        range("cores", u32::from(self.cores), 1, cores_max)?;
        range("viewers_max", self.viewers_max, 1, VIEWERS_MAX)?;
        range("handshakes_max", self.handshakes_max, 1, VIEWERS_MAX)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".@_-".contains(c);
        if self.cname.is_empty() || self.cname.len() > 255 || !self.cname.chars().all(plain) {
            return Err(ConfigError::Cname(self.cname.clone()));
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            candidates: Vec::new(),
            cores: 1,
            viewers_max: 16_384,
            handshakes_max: 1024,
            check_timeout: Span::secs(10),
            handshake_timeout: Span::secs(30),
            cname: "freshet".to_owned(),
            publisher_bitrate_max_bps: 20_000_000,
            prefer_dtls13: false,
        }
    }
}

fn range(name: &'static str, value: u32, min: u32, max: u32) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Range {
            name,
            value,
            min,
            max,
        })
    }
}
