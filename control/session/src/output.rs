//! Owns what sessions want done, why they end, and what they count.

use crate::dtls::Failure;
use crate::session::{Kind, SessionId};
use link::command::Command;
use link::ids::{CoreId, StreamId, ViewerId};
use std::fmt;
use wire::peer::{Ip, Peer};
use zeroize::Zeroizing;

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
    /// Keep this with a viewer, whose cell is opened for it if it is not there, instead of what was
    /// kept before: [`crate::Sessions::adopt`] goes on from it.
    Keep {
        /// Which viewer.
        viewer: ViewerId,
        /// At most [`link::viewer::KEEPSAKE_BYTES`] bytes. Holds keys.
        keepsake: Zeroizing<Vec<u8>>,
    },
    /// A session has keys and is being served.
    Established {
        /// Which session.
        session: SessionId,
        /// Its viewer.
        viewer: ViewerId,
    },
    /// A publisher has keys or needs none, and its worker is about to be told to write what it
    /// sends into the log of its stream: whoever writes there gives it up before the commands that
    /// follow are carried out. Comes once for a session.
    PublisherReady {
        /// Which session.
        session: SessionId,
        /// Its viewer, which is the way back to the publisher; a push has none.
        viewer: Option<ViewerId>,
        /// What it publishes.
        stream: StreamId,
    },
    /// The peer of a call does not consent any more (RFC 7675): the session ends after
    /// [`crate::RESTART_TIMEOUT`], unless an answer comes or its ICE is restarted.
    ConsentMissed {
        /// Which session.
        session: SessionId,
    },
    /// A session is no more.
    Closed {
        /// Which session.
        session: SessionId,
        /// What it was.
        kind: Kind,
        /// Its viewer, unless it is a push. Its worker lets go of it, and with a publisher's of the
        /// log.
        viewer: Option<ViewerId>,
        /// The viewers by which it sent encodings beside the first: they go with that one.
        parts: Vec<ViewerId>,
        /// What it watched or published.
        stream: StreamId,
        /// Why.
        cause: Cause,
    },
    /// A viewer needs a keyframe that the log does not have, and no session could be asked for it.
    KeyframeWanted(StreamId),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The peer asked for it (DELETE).
    Deleted,
    /// An operator asked for it.
    Operator,
    /// No valid check, or no complete handshake, in time.
    Expired,
    /// The handshake failed.
    Handshake(Failure),
    /// The peer closed the DTLS association.
    PeerClosed,
    /// The stream is over.
    StreamClosed,
    /// The stream now has another codec than the viewer was promised.
    FormatChanged,
    /// The peer gave no sign of life for too long (RFC 7675).
    Consent,
    /// The peer said BYE.
    Bye,
    /// The keys are used up.
    KeyWornOut,
    /// Another publisher has taken the stream over.
    TakenOver,
    /// The worker could not take the viewer, or the publisher for seconds.
    Refused,
    /// The worker does not have the viewer any more, and did not say why.
    Lost,
    /// Nothing has come of a push for too long.
    Silent,
    /// The answer to an offer of ours cannot be used.
    Answer,
    /// This node ends.
    Drained,
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
            Self::TakenOver => "taken-over",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Answer => "answer",
            Self::Drained => "drained",
        }
    }
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions that were created, of either kind.
    pub session_created: u64,
    /// Sessions of an earlier life of control that this one goes on with.
    pub session_adopted: u64,
    /// Sessions that got keys, of either kind.
    pub session_established: u64,
    /// Sessions that ended, of either kind.
    pub session_closed: u64,
    /// Publishers among the sessions that were created, and pushes.
    pub publisher_created: u64,
    /// Publishers among those that got keys, and pushes.
    pub publisher_established: u64,
    /// Publishers among those that ended, and pushes.
    pub publisher_closed: u64,
    /// How often a worker has refused a publisher: it is asked again.
    pub publisher_refused: u64,
    /// Offers that were refused.
    pub offer_refused: u64,
    /// Counter-offers that were made.
    pub counter_offered: u64,
    /// Sessions refused because there were too many.
    pub session_refused_full: u64,
    /// ICE restarts.
    pub ice_restarted: u64,
    /// Valid checks answered.
    pub stun_answered: u64,
    /// Valid checks answered with an error.
    pub stun_rejected: u64,
    /// Valid checks that had come before: answered, and of no other effect.
    pub stun_repeated: u64,
    /// Not STUN, or not a binding request.
    pub stun_malformed: u64,
    /// Answers to checks of ours, of peers that we have called.
    pub stun_heard: u64,
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
    /// Viewers and publishers that were sent to a worker again.
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
                    Command::PassPublisher(_) => "PassPublisher",
                    Command::RemovePublisher(_) => "RemovePublisher",
                    Command::AskKeyframe(..) => "AskKeyframe",
                    Command::ChooseLayer(..) => "ChooseLayer",
                    Command::Consent(_) => "Consent",
                    Command::CloseStream(_) => "CloseStream",
                };
                write!(f, "Command({core:?}, {name})")
            }
            Self::Keep { viewer, keepsake } => {
                write!(f, "Keep({viewer:?}, {} bytes)", keepsake.len())
            }
            Self::PublisherReady { viewer, stream, .. } => {
                write!(f, "PublisherReady({viewer:?}, {stream:?})")
            }
            Self::ConsentMissed { session } => write!(f, "ConsentMissed({session:?})"),
            Self::Established { viewer, .. } => write!(f, "Established({viewer:?})"),
            Self::Closed { viewer, cause, .. } => write!(f, "Closed({viewer:?}, {cause:?})"),
            Self::KeyframeWanted(stream) => write!(f, "KeyframeWanted({stream:?})"),
        }
    }
}
