//! Owns the plain data that the API shows of a drain.

use crate::clock;
use crate::drain::{Drain, remaining};
use serde::Serialize;
use utoipa::ToSchema;

/// Whether the node is being emptied, and how far that has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DrainView {
    /// Where it stands.
    pub state: DrainState,
    /// When it began, in milliseconds since 1970 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_unix_ms: Option<u64>,
    /// Until when those who are here may stay, in milliseconds since 1970 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_unix_ms: Option<u64>,
    /// How long that is from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// Who is left; missing until that has been counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<DrainLeft>,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrainState {
    /// Newcomers are let in.
    Serving,
    /// Newcomers are kept out, and viewers are asked to leave.
    Draining,
    /// Nobody is left, or the time is up: the node is about to end.
    Ending,
}

/// Who is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct DrainLeft {
    /// Who watches, other nodes included.
    pub viewers: u64,
    /// Who publishes from elsewhere.
    pub publishers: u64,
    /// Of those who watch, who has been told to reconnect.
    pub told: u64,
    /// Who is yet to be told. All others do not listen for events, and stay until the deadline.
    pub to_tell: u64,
}

impl DrainView {
    /// As it is now.
    #[must_use]
    pub fn of(drain: &Drain) -> Self {
        let order = drain.order();
        let progress = drain.progress().filter(|_| order.is_some());
        Self {
            state: match (order, drain.is_over()) {
                (None, _) => DrainState::Serving,
                (Some(_), false) => DrainState::Draining,
                (Some(_), true) => DrainState::Ending,
            },
            begun_unix_ms: order.map(|order| clock::unix_ms(order.begun)),
            deadline_unix_ms: order.map(|order| clock::unix_ms(order.deadline)),
            remaining_ms: order.map(|order| remaining(&order).as_millis()),
            left: progress.map(|progress| DrainLeft {
                viewers: progress.viewers,
                publishers: progress.publishers,
                told: progress.told,
                to_tell: progress.to_tell,
            }),
        }
    }
}
