//! Owns which kinds of feedback were negotiated with a viewer: others are not acted upon.

/// Feedback of a viewer on one track that is acted upon, one bit for each kind. Reports and
/// goodbyes are of every session and have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hears(u8);

impl Hears {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Packets are asked for again (RFC 4585 section 6.2.1).
    pub const NACK: Self = Self(1);
    /// Keyframes are asked for by PLI (RFC 4585 section 6.3.1).
    pub const PLI: Self = Self(2);
    /// Keyframes are commanded by FIR (RFC 5104 section 4.3.1).
    pub const FIR: Self = Self(4);
    /// The receiver's own estimate (draft-alvestrand-rmcat-remb).
    pub const REMB: Self = Self(8);
    /// Arrivals by transport-wide number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub const TRANSPORT_CC: Self = Self(16);
    /// Arrivals by source (RFC 8888).
    pub const BY_SOURCE: Self = Self(32);
    /// All of them: what a viewer is taken to have negotiated of which nothing was said.
    pub const ALL: Self = Self(63);

    /// These, and `other` if it was negotiated.
    #[must_use]
    pub const fn with(self, other: Self, is_negotiated: bool) -> Self {
        match is_negotiated {
            true => Self(self.0 | other.0),
            false => self,
        }
    }

    /// True if all of `other` are among them.
    #[inline]
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As it is kept in a command: what is *not* heard, so that the zeros of one who does not know
    /// of it mean all.
    pub(crate) const fn encode(self) -> u8 {
        !self.0 & Self::ALL.0
    }

    /// The opposite of [`Self::encode`]. `None`: bits of no known kind.
    pub(crate) fn decode(unheard: u8) -> Option<Self> {
        (unheard <= Self::ALL.0).then_some(Self(!unheard & Self::ALL.0))
    }
}

impl Default for Hears {
    fn default() -> Self {
        Self::ALL
    }
}
