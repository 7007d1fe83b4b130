//! Owns the plain data that the API shows of sessions.

use serde::Serialize;
use utoipa::ToSchema;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Answered; no valid connectivity check yet.
    New,
    /// A valid check came; the handshake runs.
    Connecting,
    /// Media flows.
    Connected,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SessionView {
    /// Its id: who knows it may change the session.
    pub id: String,
    /// How far it has come.
    pub state: SessionState,
    /// `viewer` (WHEP) or `publisher` (WHIP).
    #[schema(example = "viewer")]
    pub kind: String,
    /// What it watches or publishes.
    pub stream: String,
    /// Where it is; none before the first valid check.
    pub remote: Option<String>,
    /// When it was opened, milliseconds since 1970 UTC.
    pub created_unix_ms: u64,
    /// Round-trip time by RTCP.
    pub rtt_ms: Option<f64>,
    /// Loss that the viewer reported last, 0 to 1.
    pub loss: Option<f64>,
    /// Packets sent.
    pub packets: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Packets sent again.
    pub retransmissions: u64,
    /// NACK messages received.
    pub nacks: u64,
    /// Keyframe requests received.
    pub plis: u64,
    /// The worker that serves it; none before the handshake is done.
    pub core: Option<u16>,
    /// State of ICE in words.
    #[schema(example = "connected")]
    pub ice_state: String,
    /// State of DTLS in words, with its version.
    #[schema(example = "connected (1.3)")]
    pub dtls_state: String,
    /// The SRTP profile.
    #[schema(example = "AEAD_AES_128_GCM")]
    pub srtp_profile: Option<String>,
    /// The video layer that the viewer has chosen, by its name; none: the server chooses.
    pub layer: Option<String>,
    /// The video layer that it is sent, by its name; none: the stream has one, or it is sent all.
    pub layer_sent: Option<String>,
    /// The encodings that another server is sent by a push, by their names; empty: it is sent one.
    #[schema(example = json!(["q", "h", "f"]))]
    pub encodings: Vec<String>,
    /// The highest spatial layer of it that it is sent, from 0; none: it has no layers inside.
    pub spatial_layer_sent: Option<u8>,
    /// The highest temporal layer of it that it is sent, from 0; none: it has no layers inside.
    pub temporal_layer_sent: Option<u8>,
    /// What its path is thought to carry, in bits a second; none: the stream has one layer.
    pub estimate_bps: Option<u64>,
}

/// Which sessions to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Only those of this stream.
    pub stream: Option<String>,
    /// Only those behind this cursor (`next` of the page before).
    pub after: Option<String>,
    /// At most so many, 1 to 1000.
    pub limit: usize,
}

/// Some sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct SessionPage {
    /// The sessions.
    pub sessions: Vec<SessionView>,
    /// All sessions that match, on every page.
    pub total: usize,
    /// The `after` of the next page; none: this was the last.
    pub next: Option<String>,
}
