//! Owns what sessions want done, why they end, and what they count.

use crate::dtls::Failure;
use crate::session::SessionId;
use link::command::Command;
use link::ids::{CoreId, StreamId, ViewerId};
use std::fmt;
use wire::peer::{Ip, Peer};

/// What is to be done.
pub enum Output {
    /// Send a datagram through a worker's socket.
    Transmit {
        /// The worker that has last received from the peer.
        core: CoreId,
        /// To whom.
        peer: Peer,
        /// From which address of ours.
        local: Ip,
        /// At most [`crate::dtls::MTU_BYTES`] bytes.
        bytes: Vec<u8>,
    },
    /// Give a worker a command, in order.
    Command {
        /// Which worker.
        core: CoreId,
        /// What. May hold keys: zeroise what is left of it.
        command: Box<Command>,
    },
    /// A session has keys and is being served.
    Established {
        /// Which session.
        session: SessionId,
        /// Its viewer.
        viewer: ViewerId,
    },
    /// A session is no more.
    Closed {
        /// Which session.
        session: SessionId,
        /// Its viewer.
        viewer: ViewerId,
        /// What it watched.
        stream: StreamId,
        /// Why.
        cause: Cause,
    },
    /// A viewer needs a keyframe that the log does not have.
    KeyframeWanted(StreamId),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The viewer asked for it (DELETE).
    Deleted,
    /// An operator asked for it.
    Operator,
    /// No valid check, or no complete handshake, in time.
    Expired,
    /// The handshake failed.
    Handshake(Failure),
    /// The viewer closed the DTLS association.
    PeerClosed,
    /// The stream is over.
    StreamClosed,
    /// The stream now has another codec than the viewer was promised.
    FormatChanged,
    /// The viewer stopped answering for (RFC 7675).
    Consent,
    /// The viewer said BYE.
    Bye,
    /// The keys are used up.
    KeyWornOut,
    /// The worker could not take the viewer.
    Refused,
    /// The worker does not have the viewer any more, and did not say why.
    Lost,
}

impl Cause {
    /// Stable machine-readable name, `kebab-case`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Operator => "operator",
            Self::Expired => "expired",
            Self::Handshake(Failure::FingerprintMismatch) => "fingerprint-mismatch",
            Self::Handshake(Failure::Version) => "dtls-version",
            Self::Handshake(Failure::Profile) => "srtp-profile",
            Self::Handshake(Failure::Handshake) => "dtls-handshake",
            Self::PeerClosed => "peer-closed",
            Self::StreamClosed => "stream-closed",
            Self::FormatChanged => "format-changed",
            Self::Consent => "consent",
            Self::Bye => "bye",
            Self::KeyWornOut => "key-worn-out",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that were created.
    pub session_created: u64,
    /// Sessions that got keys.
    pub session_established: u64,
    /// Sessions that ended.
    pub session_closed: u64,
    /// Offers that were refused.
    pub offer_refused: u64,
    /// Sessions refused because there were too many.
    pub session_refused_full: u64,
    /// ICE restarts.
    pub ice_restarted: u64,
    /// Valid checks answered.
    pub stun_answered: u64,
    /// Valid checks answered with an error.
    pub stun_rejected: u64,
    /// Not STUN, or not a binding request.
    pub stun_malformed: u64,
    /// Checks for nobody here, or with a wrong integrity.
    pub stun_unverified: u64,
    /// DTLS datagrams of sessions.
    pub dtls_received: u64,
    /// DTLS datagrams from addresses without a valid check.
    pub dtls_unverified: u64,
    /// Handshakes that failed.
    pub dtls_failed: u64,
    /// Punted datagrams of another kind.
    pub punt_unknown: u64,
    /// Viewers that were sent to a worker again.
    pub viewer_resent: u64,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmit {
                core, peer, bytes, ..
            } => {
                write!(f, "Transmit({core:?}, {peer:?}, {} bytes)", bytes.len())
            }
            Self::Command { core, command } => {
                let name = match **command {
                    Command::AddViewer(_) => "AddViewer",
                    Command::RemoveViewer(_) => "RemoveViewer",
                    Command::RestartIce { .. } => "RestartIce",
                    Command::AddPublisher(_) => "AddPublisher",
                    Command::RemovePublisher(_) => "RemovePublisher",
                    Command::AskKeyframe(_) => "AskKeyframe",
                    Command::CloseStream(_) => "CloseStream",
                };
                write!(f, "Command({core:?}, {name})")
            }
            Self::Established { viewer, .. } => write!(f, "Established({viewer:?})"),
            Self::Closed { viewer, cause, .. } => write!(f, "Closed({viewer:?}, {cause:?})"),
            Self::KeyframeWanted(stream) => write!(f, "KeyframeWanted({stream:?})"),
        }
    }
}
