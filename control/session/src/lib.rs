//! Signalling of the control plane, sans-IO: WHIP and WHEP sessions, ICE lite, DTLS, SDP.
//!
//! [`Sessions`] takes requests, handshake datagrams, events and the time, and gives answers,
//! datagrams and commands. It is the truth about who publishes and watches what; workers are
//! caches of it.
//!
//! After every call that takes `now`, [`Sessions::poll`] until it gives nothing, and call
//! [`Sessions::handle_timeout`] when [`Sessions::deadline`] has come.
#![forbid(unsafe_code)]

pub mod adopt;
mod agent;
mod call;
mod checks;
mod config;
mod counter;
pub mod description;
pub mod dtls;
mod encodings;
mod ice;
mod keepsake;
mod layer;
pub mod lines;
mod output;
mod pull;
mod punt;
mod push;
mod random;
mod reconcile;
mod refusal;
mod restart;
pub mod sdp;
mod session;
mod sessions;
mod signalling;
pub mod srt;
mod streams;
mod table;
mod view;
mod whep;
mod whip;

pub use call::Call;
pub use config::{Config, ConfigError};
pub use counter::CounterOffer;
pub use description::{AudioCodec, StreamDescription, VideoCodec};
pub use dtls::{EngineKind, Failure};
pub use keepsake::NotAdopted;
pub use link::command::Pin;
pub use output::{Cause, Counters, Output};
pub use pull::{Countered, Pulled};
pub use push::{PushRequest, PushView, Pushed};
pub use reconcile::Holder;
pub use refusal::SignalError;
pub use restart::RESTART_TIMEOUT;
pub use sdp::push::{Given, NoAddress, Origins};
pub use session::{Kind, SessionId};
pub use sessions::Sessions;
pub use signalling::{Created, PatchBody, Patched};
pub use view::{SessionState, SessionView, StreamView};
pub use whip::Published;

#[cfg(test)]
mod tests;
