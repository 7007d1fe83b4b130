//! Owns one session, from its POST to its end: what joins ICE, DTLS and what a worker has of it.

use crate::agent::Agent;
use crate::counter::Awaited;
use crate::description::StreamDescription;
use crate::dtls::fingerprint::Fingerprint;
use crate::dtls::{Dtls, EngineKind};
use crate::encodings::Encodings;
use crate::ice::Ice;
use crate::sdp::layers::Offered;
use link::command::{AddPublisher, Command, Origin, Pin, TRACKS_MAX, TrackIn, TrackOut};
use link::ids::{CoreId, StreamId, ViewerId};
use link::keys::SrtpKeys;
use link::lanes::LANES_MAX;
use std::borrow::Borrow;
use std::fmt;
use wire::peer::{Ip, Peer};
use wire::time::{Span, Time};
use zeroize::Zeroize;

/// First wait for a worker's answer to a command before it is given again; doubled every time.
const RESEND_FIRST: Span = Span::millis(250);

/// How long a worker may go on refusing a publisher. Whoever wrote the log before it has ended long
/// before that.
const REFUSALS_MAX: Span = Span::secs(5);

/// Longest wait. The answer itself may have been lost, and asking again is cheap.
const RESEND_LAST: Span = Span::secs(8);

/// Name of a session, 160 random bits: who knows it may change the session.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(crate) String);

/// Which way media goes in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To the peer, which watches (WHEP).
    Viewer,
    /// From the peer, which publishes (WHIP).
    Publisher,
    /// From the peer, which sends plain RTP or SRTP and hears nothing.
    Push,
}

/// One session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// The viewer on its worker. That of a publisher takes no tracks: it is the way back.
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
    /// What is sent to the peer; nothing to a publisher.
    pub(crate) tracks: [TrackOut; TRACKS_MAX],
    /// What a publisher sends; `None`: it is a viewer's session.
    pub(crate) publishing: Option<Publishing>,
    /// Tag and kind of the first accepted media section, which stands for all of its group.
    pub(crate) section: (String, String),
    /// Index of the section that carries the video to a viewer.
    pub(crate) video_section: Option<usize>,
    /// A viewer was made an offer and has not answered it.
    pub(crate) awaited: Option<Awaited>,
    /// We have made the offer, to a server that we have called.
    pub(crate) agent: Option<Box<Agent>>,
    /// Which layers a viewer wants.
    pub(crate) pin: Pin,
    /// A push: what encodings were offered.
    pub(crate) offered: Option<Offered>,
    /// A push whose server takes encodings by their names.
    pub(crate) encodings: Option<Encodings>,
    pub(crate) placed: Option<Placed>,
}

/// What makes a session a publisher's.
pub(crate) struct Publishing {
    pub(crate) description: StreamDescription,
    /// By lane: several of video if it sends several encodings.
    pub(crate) lanes: [TrackIn; LANES_MAX],
    /// 0: none, as in the command.
    pub(crate) rid_id: u8,
    pub(crate) repaired_rid_id: u8,
    pub(crate) transport_cc_id: u8,
    pub(crate) remb_bps: u64,
    /// The log has been asked for: see `Output::PublisherReady`.
    pub(crate) announced: bool,
}

/// What is known of a session that has keys.
pub(crate) struct Placed {
    /// The worker that serves the viewer.
    pub(crate) core: CoreId,
    /// Where the peer is.
    pub(crate) peer: Peer,
    pub(crate) local: Ip,
    pub(crate) keys: SrtpKeys,
    pub(crate) rtcp_first_index: u64,
    pub(crate) engine: EngineKind,
    /// The worker has said that it serves the viewer.
    pub(crate) viewer_added: bool,
    /// The worker has not said yet that it takes what a publisher sends.
    pub(crate) publisher_awaited: bool,
    /// The same of encodings beside the first, one bit each.
    pub(crate) parts_awaited: u8,
    /// Since when it has refused the publisher.
    refused_since: Option<Time>,
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

impl Kind {
    /// Stable machine-readable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Push => "push",
        }
    }
}

impl Session {
    pub(crate) fn kind(&self) -> Kind {
        match self.publishing {
            None => Kind::Viewer,
            Some(_) => Kind::Publisher,
        }
    }

    /// When this session wants to be looked at.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let handshake = self.dtls.as_ref().and_then(Dtls::deadline);
        let own = match &self.placed {
            None => Some(self.expires),
            Some(placed) => placed.deadline(),
        };
        let checks = self.agent.as_ref().and_then(|agent| agent.deadline());
        [handshake, own, checks].into_iter().flatten().min()
    }

    /// True until the answer to an offer of ours has come.
    pub(crate) fn is_unanswered_call(&self) -> bool {
        self.agent.is_some() && self.ice.is_unanswered()
    }

    /// The commands that make a worker serve this peer, in their order; none before there are keys.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (CoreId, Command)> {
        let add = self.placed.as_ref().map(|placed| {
            let add = Command::AddViewer(self.add_viewer(placed, None));
            (placed.core, add)
        });
        // After their leader.
        let parts = self.placed.iter().flat_map(|placed| {
            let add = |part| Command::AddViewer(self.add_viewer(placed, Some(part)));
            self.parts()
                .iter()
                .map(move |part| (placed.core, add(part)))
        });
        // The pair was checked before there were keys.
        let calls = self.placed.as_ref().filter(|_| self.agent.is_some());
        let consent = calls.map(|placed| (placed.core, Command::Consent(self.viewer)));
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
        let publish = self.placed.as_ref().zip(self.publishing.as_ref());
        let publish = publish.map(|(placed, publishing)| {
            let add = Command::AddPublisher(AddPublisher {
                stream: self.stream,
                viewer: Some(self.viewer),
                peer: placed.peer,
                keys: placed.keys,
                audio: Origin::default(),
                lanes: publishing.lanes,
                rid_id: publishing.rid_id,
                repaired_rid_id: publishing.repaired_rid_id,
                transport_cc_id: publishing.transport_cc_id,
                remb_bps: publishing.remb_bps,
            });
            (placed.core, add)
        });
        let chosen = self.placed.as_ref().filter(|_| self.pin != Pin::NONE);
        let choice = chosen.map(|placed| {
            let choice = Command::ChooseLayer(self.viewer, self.pin);
            (placed.core, choice)
        });
        let all = [consent, restart, publish, choice];
        add.into_iter()
            .chain(parts)
            .chain(all.into_iter().flatten())
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
            if track.clock_hz != 0 {
                track.first_index = track.first_index.max(media);
                track.rtx_first_index = track.rtx_first_index.max(rtx);
            }
        }
        let publishes = self.publishing.is_some();
        if let Some(placed) = &mut self.placed {
            placed.rtcp_first_index = placed.rtcp_first_index.max(rtcp);
            placed.await_acknowledgement(now, publishes);
        }
    }
}

impl Placed {
    pub(crate) fn new(
        now: Time,
        (core, peer, local): (CoreId, Peer, Ip),
        keys: SrtpKeys,
        engine: EngineKind,
        publishes: bool,
    ) -> Self {
        Self {
            core,
            peer,
            local,
            keys,
            // RFC 3711 section 3.4: the index is that of the next packet, and 0 before the first.
            rtcp_first_index: 1,
            engine,
            viewer_added: false,
            publisher_awaited: publishes,
            parts_awaited: 0,
            refused_since: None,
            resend_at: now + RESEND_FIRST,
            resend_wait: RESEND_FIRST,
        }
    }

    /// The worker has said that it does all that it was asked for.
    pub(crate) fn acknowledged(&self) -> bool {
        self.viewer_added && !self.publisher_awaited && self.parts_awaited == 0
    }

    /// The worker takes what the publisher sends.
    pub(crate) fn on_publisher_added(&mut self) {
        // Both words come in the order of the commands. One of the publisher without one of this
        // viewer is for the publisher that was there before.
        if self.viewer_added {
            self.publisher_awaited = false;
            self.refused_since = None;
        }
    }

    /// The worker does not take it, or not yet.
    pub(crate) fn on_publisher_refused(&mut self, now: Time) {
        if self.publisher_awaited {
            self.refused_since.get_or_insert(now);
        }
    }

    /// True if a worker has refused the publisher for too long.
    pub(crate) fn is_hopeless(&self, now: Time) -> bool {
        self.gives_up_at().is_some_and(|at| at <= now)
    }

    /// True once when the worker has kept us waiting; the next wait is longer.
    pub(crate) fn resend_due(&mut self, now: Time) -> bool {
        let due = !self.acknowledged() && self.resend_at <= now;
        if due {
            self.resend_wait = Span(self.resend_wait.0.saturating_mul(2).min(RESEND_LAST.0));
            self.resend_at = now + self.resend_wait;
        }
        due
    }

    fn deadline(&self) -> Option<Time> {
        let resend_at = (!self.acknowledged()).then_some(self.resend_at);
        [resend_at, self.gives_up_at()].into_iter().flatten().min()
    }

    fn gives_up_at(&self) -> Option<Time> {
        self.refused_since.map(|since| since + REFUSALS_MAX)
    }

    fn await_acknowledgement(&mut self, now: Time, publishes: bool) {
        self.viewer_added = false;
        self.publisher_awaited = publishes;
        self.refused_since = None;
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
