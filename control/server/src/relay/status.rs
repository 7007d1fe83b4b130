//! Owns what is shown of a relay.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which way media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From there to here, by WHEP.
    Pull,
    /// From here to there, by WHIP.
    Push,
}

/// How far a relay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelayState {
    /// A push whose stream nobody publishes here now.
    Idle,
    /// The server is asked, checked, and shakes hands.
    Connecting,
    /// Media flows.
    Live,
    /// It waits to try again: see `retry_unix_ms`.
    Waiting,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastError {
    /// A name that never changes.
    #[schema(example = "unreachable")]
    pub reason: String,
    /// What happened.
    pub detail: String,
    /// What to do about it.
    pub remedy: String,
    /// When, milliseconds since 1970 UTC.
    pub at_unix_ms: u64,
}

/// One relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RelayView {
    /// Its name in `/v1/relays/{id}`.
    pub id: String,
    /// Which way media goes.
    pub direction: Direction,
    /// The stream here.
    #[schema(example = "live/studio")]
    pub stream: String,
    /// The endpoint there.
    pub url: String,
    /// It stands in the configuration, and cannot be deleted by the API.
    pub configured: bool,
    /// How far it has come.
    pub state: RelayState,
    /// Since when, milliseconds since 1970 UTC.
    pub since_unix_ms: u64,
    /// When it tries again, if it waits; milliseconds since 1970 UTC.
    pub retry_unix_ms: Option<u64>,
    /// Sessions that were asked for.
    pub attempts: u64,
    /// How many of them did not come to be, or ended otherwise than by our wish.
    pub failures: u64,
    /// How often a server that answered no checks has restarted ICE of its session.
    pub restarts: u64,
    /// What went wrong last, even if it runs now.
    pub last_error: Option<LastError>,
    /// Its session here, as in `/v1/sessions`.
    pub session: Option<String>,
    /// The encodings that a push sends while it is live, by their names; empty: it sends one.
    #[schema(example = json!(["q", "h", "f"]))]
    pub encodings: Vec<String>,
    /// Bits a second while it is live, over the last second.
    pub bitrate_bps: Option<u64>,
    /// Round-trip time to the server.
    pub rtt_ms: Option<u32>,
}
