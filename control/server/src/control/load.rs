//! Owns the plain data that the API shows of the load.

use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How loaded the node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct LoadBrief {
    /// The load of what is fullest, with those who are on their way in; 1: full. More than 1: those
    /// on their way in will be too many.
    #[schema(example = 0.42)]
    pub load: f64,
    /// Viewers are let in up to this load (`limits.max_load`); 0: always.
    #[schema(example = 0.85)]
    pub max_load: f64,
    /// What will be full first as viewers come; of a node that lets none in, what is.
    #[schema(example = "core 0")]
    pub bound_by: String,
    /// Whether another viewer would be let in now.
    pub accepts_viewers: bool,
    /// How many more would fit, each as costly as those who watch now. An estimate: it is too low
    /// while few watch, since many share what a few have to pay for.
    pub headroom_viewers: u64,
}

/// How loaded the node is, part by part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct LoadView {
    /// The whole.
    #[serde(flatten)]
    pub brief: LoadBrief,
    /// What a viewer costs: the part of one core that he takes.
    #[schema(example = 0.0003)]
    pub viewer_load: f64,
    /// The load of the fullest of each kind, as measured: `core`, `sending`, `device`, `memory`.
    pub causes: BTreeMap<String, f64>,
    /// The part of its time that each worker is not free; none: not measured.
    pub cores: Vec<Option<f64>>,
    /// What each worker gives up, loaded as it is: `nothing`, `retransmissions` that are asked for
    /// late (from 90 % of `max_load` on), or upper `layers` of viewers with narrow paths as well
    /// (from 95 %). At `max_load` newcomers are refused.
    pub gives_up: Vec<String>,
    /// What each network device sends, of what it can; only those that say how fast they are.
    pub devices: BTreeMap<String, f64>,
    /// Newcomers refused since the start.
    pub refused: Vec<RefusedView>,
}

/// Newcomers of one kind that were refused for one cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct RefusedView {
    /// `viewer`, `node` (one that fetches a stream for its own viewers) or `publisher`.
    #[schema(example = "viewer")]
    pub newcomer: String,
    /// `core`, `sending`, `device` or `memory`.
    #[schema(example = "core")]
    pub cause: String,
    /// How many.
    pub count: u64,
}
