//! Owns what an estimator says of a path.

use wire::time::Span;

use super::Usage;

/// What a viewer's path is thought to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Bits per second of all that is told by [`super::Estimator::on_sent`].
    pub bps: u64,
    /// Over-use, loss, silence or the receiver itself has lowered it just now. Else a low figure
    /// means only that little was sent.
    pub is_limited: bool,
    /// How long what is sent now waits behind what was sent before; zero: not at all, or not known.
    pub queue: Span,
}

/// Figures for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What delays say.
    pub usage: Usage,
    /// Share of packets lost, about a second's, in 1/256.
    pub fraction_lost: u8,
    /// Round trip, from a send to the feedback about it; zero: not known.
    pub rtt: Span,
    /// Bits per second that arrived, of the last 600 ms; 0: not known.
    pub acked_bps: u64,
    /// How much longer packets take than at best.
    pub queue: Span,
    /// Padding is being sent.
    pub is_probing: bool,
}
