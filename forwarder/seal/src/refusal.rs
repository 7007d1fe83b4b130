//! Owns the reasons why a received packet is not opened.

/// Why a packet was refused. Nothing changed in the opener's state; the packet's bytes may be
/// overwritten. One counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// Shorter than the header, the tag and the index.
    Short,
    /// Not version 2, or the header reaches beyond the packet.
    Malformed,
    /// An SSRC that was not seen before, and the table of SSRCs is full.
    Unknown,
    /// This index was accepted before.
    Replay,
    /// Behind the replay window.
    Old,
    /// The tag is wrong: corrupted, forged, or protected with another key.
    Auth,
}

impl Refusal {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Short,
        Self::Malformed,
        Self::Unknown,
        Self::Replay,
        Self::Old,
        Self::Auth,
    ];
}
