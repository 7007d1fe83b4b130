//! Signalling of the control plane, sans-IO: WHEP sessions, ICE lite, DTLS, SDP.
//!
//! [`Sessions`] takes requests, handshake datagrams, events and the time, and gives answers,
//! datagrams and commands. It is the truth about who watches what; workers are caches of it.
//!
//! After every call that takes `now`, [`Sessions::poll`] until it gives nothing, and call
//! [`Sessions::handle_timeout`] when [`Sessions::deadline`] has come.
#![forbid(unsafe_code)]

mod config;
pub mod description;
pub mod dtls;
mod ice;
mod output;
mod punt;
mod random;
mod reconcile;
mod refusal;
pub mod sdp;
mod session;
mod sessions;
pub mod srt;
mod streams;
mod table;
mod view;
mod whep;

pub use config::{Config, ConfigError};
pub use description::{AudioCodec, StreamDescription, VideoCodec};
pub use dtls::{EngineKind, Failure};
pub use output::{Cause, Counters, Output};
pub use refusal::WhepError;
pub use session::SessionId;
pub use sessions::Sessions;
pub use view::{SessionState, SessionView, StreamView};
pub use whep::{Created, PatchBody, Patched};

#[cfg(test)]
mod tests;
