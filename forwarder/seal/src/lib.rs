//! SRTP and SRTCP: keys live and die here. Sans-IO, no state on the sending side.
//!
//! A [`Secret`] is what the handshake yields for one direction. A [`Sealer`] protects what we
//! send, an [`Opener`] verifies and decrypts what a peer sends. Both know the session keys of all
//! SSRCs of their direction, for these depend on the master key alone.
//!
//! The sender's indices are the caller's: a [`Sealer`] holds no counter, so it can be shared by
//! flows, moved between cores and rebuilt after a restart. The price is a duty: **one (key, SSRC,
//! index) seals one packet, ever**. With GCM a repetition gives away the authentication key.
//!
//! The opener's state (roll-over counter, replay windows) changes only after a tag verified.
#![deny(unsafe_code)]

mod backend;
mod cipher;
mod cm;
mod gcm;
mod group;
mod kdf;
mod opener;
#[cfg(feature = "libsrtp")]
pub mod oracle;
mod refusal;
mod rtcp;
mod sealer;
mod secret;
mod sources;
mod window;

pub use backend::Cipher;
pub use group::Group;
pub use opener::{OpenedRtp, Opener, RtpOpener};
pub use refusal::Refusal;
pub use rtcp::RtcpOpener;
pub use sealer::{Packet, Run, Sealer};
pub use secret::{KeyError, Secret};
pub use sources::{RTCP_SOURCES_MAX, RTP_SOURCES_MAX, Replay};
pub use wire::srtp::Profile;
