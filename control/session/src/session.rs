//! Owns one session, from its POST to its end: what joins ICE, DTLS and the viewer on a worker.

use crate::dtls::fingerprint::Fingerprint;
use crate::dtls::{Dtls, EngineKind};
use crate::ice::Ice;
use link::command::{AddViewer, Command, TRACKS_MAX, TrackOut};
use link::ids::{CoreId, StreamId, ViewerId};
use link::keys::SrtpKeys;
use std::borrow::Borrow;
use std::fmt;
use wire::peer::{Ip, Peer};
use wire::time::{Span, Time};
use zeroize::Zeroize;

/// First wait for a worker's answer to a command before it is given again; doubled every time.
const RESEND_FIRST: Span = Span::millis(250);

/// Longest wait. The answer itself may have been lost, and asking again is cheap.
const RESEND_LAST: Span = Span::secs(8);

/// Name of a session, 160 random bits: who knows it may change the session.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(crate) String);

/// One session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) viewer: ViewerId,
    pub(crate) stream: StreamId,
    pub(crate) created: Time,
    pub(crate) expires: Time,
    pub(crate) ice: Ice,
    /// The server side waits from the start; the client side is made when it may begin.
    pub(crate) dtls: Option<Dtls>,
    /// The peer wants to be the DTLS server, with one of these certificates: we open the handshake
    /// on the first valid check, and this is taken.
    pub(crate) dtls_client: Option<Vec<Fingerprint>>,
    pub(crate) tracks: [TrackOut; TRACKS_MAX],
    /// Tag and kind of the first accepted media section, which stands for all of its group.
    pub(crate) section: (String, String),
    pub(crate) placed: Option<Placed>,
}

/// What is known of a session that has keys.
pub(crate) struct Placed {
    /// The worker that serves the viewer.
    pub(crate) core: CoreId,
    /// Where the viewer is.
    pub(crate) peer: Peer,
    pub(crate) local: Ip,
    pub(crate) keys: SrtpKeys,
    pub(crate) rtcp_first_index: u64,
    pub(crate) engine: EngineKind,
    /// The worker has said that it serves the viewer.
    pub(crate) acknowledged: bool,
    resend_at: Time,
    resend_wait: Span,
}

impl SessionId {
    /// The id as it stands in a URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Session {
    /// When this session wants to be looked at.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let handshake = self.dtls.as_ref().and_then(Dtls::deadline);
        let own = match &self.placed {
            None => Some(self.expires),
            Some(placed) if placed.acknowledged => None,
            Some(placed) => Some(placed.resend_at),
        };
        [handshake, own].into_iter().flatten().min()
    }

    /// The commands that make a worker serve this viewer; none before there are keys.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (CoreId, Command)> {
        let add = self.placed.as_ref().map(|placed| {
            let add = Command::AddViewer(AddViewer {
                viewer: self.viewer,
                stream: self.stream,
                peer: placed.peer,
                local: placed.local,
                ice: *self.ice.credentials(),
                keys: placed.keys,
                tracks: self.tracks,
                rtcp_first_index: placed.rtcp_first_index,
            });
            (placed.core, add)
        });
        let restart = self
            .placed
            .as_ref()
            .zip(self.ice.restarted())
            .map(|(placed, ice)| {
                (
                    placed.core,
                    Command::RestartIce {
                        viewer: self.viewer,
                        ice: *ice,
                    },
                )
            });
        [add, restart].into_iter().flatten()
    }

    /// Everything is to be sent again by a worker that has forgotten it: from the leases on, so
    /// that no index of a key is used twice.
    pub(crate) fn renew(&mut self, now: Time, leases: [u64; 5]) {
        let [video, video_rtx, audio, audio_rtx, rtcp] = leases;
        for (track, (media, rtx)) in self
            .tracks
            .iter_mut()
            .zip([(video, video_rtx), (audio, audio_rtx)])
        {
            track.first_index = track.first_index.max(media);
            track.rtx_first_index = track.rtx_first_index.max(rtx);
        }
        if let Some(placed) = &mut self.placed {
            placed.rtcp_first_index = placed.rtcp_first_index.max(rtcp);
            placed.await_acknowledgement(now);
        }
    }
}

impl Placed {
    pub(crate) fn new(
        now: Time,
        (core, peer, local): (CoreId, Peer, Ip),
        keys: SrtpKeys,
        engine: EngineKind,
    ) -> Self {
        Self {
            core,
            peer,
            local,
            keys,
            // RFC 3711 section 3.4: the index is that of the next packet, and 0 before the first.
            rtcp_first_index: 1,
            engine,
            acknowledged: false,
            resend_at: now + RESEND_FIRST,
            resend_wait: RESEND_FIRST,
        }
    }

    /// True once when the worker has kept us waiting; the next wait is longer.
    pub(crate) fn resend_due(&mut self, now: Time) -> bool {
        let due = !self.acknowledged && self.resend_at <= now;
        if due {
            self.resend_wait = Span(self.resend_wait.0.saturating_mul(2).min(RESEND_LAST.0));
            self.resend_at = now + self.resend_wait;
        }
        due
    }

    fn await_acknowledgement(&mut self, now: Time) {
        self.acknowledged = false;
        self.resend_wait = RESEND_FIRST;
        self.resend_at = now + RESEND_FIRST;
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

impl Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whoever knows an id may change the session, so logs get its beginning only.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", self.0.get(..6).unwrap_or(""))
    }
}
