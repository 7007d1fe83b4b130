//! Owns the gate: who may come in, by what is estimated and what the operator allows.

use super::{Bound, CAUSES, Estimate};
use std::fmt;

/// A gate that is shut opens when the load has fallen to this part of the limit: one that opens and
/// shuts with every sample lets in a few of those who try, by luck and not by turn.
const OPEN_PART: f64 = 0.95;

/// A newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomer {
    /// Somebody who wants to watch.
    Viewer,
    /// Another node that fetches a stream for viewers of its own: each of them is a way to lead
    /// viewers away from here. They are let in like publishers.
    Node,
    /// Somebody who wants to publish a stream that this node does not have. Few and cheap next to
    /// viewers, and each of them means that nobody watches that stream: they are let in until the
    /// load is half-way from the limit to 1.
    Publisher,
}

impl Newcomer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Node, Self::Publisher];

    /// As metrics name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Node => "node",
            Self::Publisher => "publisher",
        }
    }

    /// The load up to which it is let in.
    #[must_use]
    pub fn limit(self, max_load: f64) -> f64 {
        match self {
            Self::Viewer => max_load,
            Self::Node | Self::Publisher => f64::midpoint(max_load, 1.0),
        }
    }
}

/// Why a newcomer is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Overload {
    /// What binds.
    pub bound: Bound,
    /// How loaded that is, with those who are on their way in.
    pub load: f64,
    /// What the operator allows.
    pub limit: f64,
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is loaded to {:.3} with those who are on their way in, and {:.3} is the limit \
             (limits.max_load)",
            self.bound, self.load, self.limit
        )
    }
}

/// Refusals by newcomer and by cause, in the orders of [`Newcomer::ALL`] and [`CAUSES`].
pub type Refused = [[u64; CAUSES.len()]; Newcomer::ALL.len()];

/// Lets newcomers in, or not.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    is_shut: [bool; Newcomer::ALL.len()],
    refused: Refused,
}

impl Gate {
    /// Asks for a newcomer. `max_load`: what the operator allows; 0: everything.
    ///
    /// # Errors
    /// He does not fit. It is counted.
    pub fn ask(
        &mut self,
        who: Newcomer,
        max_load: f64,
        estimate: &Estimate,
    ) -> Result<(), Overload> {
        let asked = self.look(who, max_load, estimate);
        if let Err(overload) = &asked {
            self.refused[who as usize][overload.bound.cause()] += 1;
        }
        asked
    }

    /// The same without counting: whether one would be let in.
    ///
    /// # Errors
    /// He does not fit.
    pub fn look(
        &mut self,
        who: Newcomer,
        max_load: f64,
        estimate: &Estimate,
    ) -> Result<(), Overload> {
        let is_shut = &mut self.is_shut[who as usize];
        let limit = who.limit(max_load);
        let (load, bound) = estimate.projected(1);
        *is_shut = max_load > 0.0
            && match *is_shut {
                true => load > limit * OPEN_PART,
                false => load > limit,
            };
        match *is_shut {
            true => Err(Overload { bound, load, limit }),
            false => Ok(()),
        }
    }

    /// Refusals since the start.
    #[must_use]
    pub fn refused(&self) -> &Refused {
        &self.refused
    }
}
