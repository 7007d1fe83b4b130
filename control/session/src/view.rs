//! Owns what can be seen of sessions and streams from outside: plain data, no secrets.

use crate::description::StreamDescription;
use crate::dtls::EngineKind;
use crate::session::{Kind, Session, SessionId};
use crate::sessions::Sessions;
use link::command::{Pin, VIDEO};
use link::ids::{CoreId, StreamId, ViewerId};
use link::keys::Profile;
use wire::peer::Peer;
use wire::time::Time;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// No valid check yet.
    New,
    /// Checks are valid, keys are not there.
    Connecting,
    /// There are keys, the worker has not confirmed the viewer or the publisher.
    Starting,
    /// The worker serves the viewer, or takes what the publisher sends.
    Live,
}

/// A session as others see it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its name.
    pub id: SessionId,
    /// Which way media goes.
    pub kind: Kind,
    /// Its viewer: the cell with its counters.
    pub viewer: ViewerId,
    /// What it watches or publishes.
    pub stream: StreamId,
    /// The name of that stream.
    pub stream_name: String,
    /// How far it has come.
    pub state: SessionState,
    /// When it was created.
    pub created: Time,
    /// Where the peer is, once a check was valid.
    pub peer: Option<Peer>,
    /// The worker that serves it.
    pub core: Option<CoreId>,
    /// Who ran the handshake.
    pub engine: Option<EngineKind>,
    /// What protects its media.
    pub profile: Option<Profile>,
    /// It takes or sends video.
    pub video: bool,
    /// It takes or sends audio.
    pub audio: bool,
    /// A viewer's: index of the media section that carries the video.
    pub video_section: Option<usize>,
    /// A viewer's: which layers it wants.
    pub pin: Pin,
    /// Encodings that it sends, by name: none if it sends one, as a viewer takes it.
    pub encodings: Vec<String>,
    /// The viewers of those beside the first, with counters of their own.
    pub parts: Vec<ViewerId>,
    /// What it sends by its answer, or what it takes of its stream as that is now.
    pub description: StreamDescription,
}

/// A stream as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamView {
    /// Its name.
    pub name: String,
    /// Its log.
    pub id: StreamId,
    /// What it consists of.
    pub description: StreamDescription,
    /// Sessions that watch it, established or not; no publishers.
    pub viewers: u32,
    /// The session that publishes it, established or not.
    pub publisher: Option<SessionId>,
}

impl SessionState {
    /// Stable machine-readable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Connecting => "connecting",
            Self::Starting => "starting",
            Self::Live => "live",
        }
    }
}

impl Sessions {
    /// All sessions, in the order of their viewer indexes.
    pub fn session_views(&self) -> impl Iterator<Item = SessionView> {
        // What has only been offered is nobody's yet.
        let all = self.table.iter().filter(|s| !s.is_unanswered_call());
        all.map(|session| self.view(session))
    }

    /// One session.
    #[must_use]
    pub fn session_view(&self, id: &str) -> Option<SessionView> {
        self.table
            .by_id(id)
            .and_then(|index| self.table.get(index))
            .map(|s| self.view(s))
    }

    /// All streams, by name.
    pub fn stream_views(&self) -> impl Iterator<Item = StreamView> {
        self.streams.iter().map(|(name, stream)| StreamView {
            name: name.to_owned(),
            id: stream.id,
            description: stream.description,
            viewers: stream.viewers,
            publisher: self
                .publisher_of(stream.id)
                .map(|session| session.id.clone()),
        })
    }

    /// How many sessions there are.
    #[must_use]
    pub fn session_count(&self) -> u32 {
        self.table.len()
    }

    /// How many of them are not established.
    #[must_use]
    pub fn handshake_count(&self) -> u32 {
        self.handshakes
    }

    fn view(&self, session: &Session) -> SessionView {
        let placed = session.placed.as_ref();
        let route = session.route();
        let state = match placed {
            None if route.is_none() => SessionState::New,
            None => SessionState::Connecting,
            Some(placed) if placed.acknowledged() => SessionState::Live,
            Some(_) => SessionState::Starting,
        };
        let description = self.carried(session);
        SessionView {
            id: session.id.clone(),
            kind: session.kind(),
            viewer: session.viewer,
            stream: session.stream,
            stream_name: self.streams.name(session.stream).unwrap_or("").to_owned(),
            state,
            created: session.created,
            peer: placed
                .map(|placed| placed.peer)
                .or(route.map(|(_, peer, _)| peer)),
            core: placed.map(|placed| placed.core),
            engine: placed.map(|placed| placed.engine),
            profile: placed.map(|placed| placed.keys.profile),
            video: session.tracks[VIDEO].clock_hz != 0 || description.video.is_some(),
            audio: session.has_audio() || description.audio.is_some(),
            video_section: session.video_section,
            pin: session.pin,
            encodings: session
                .encodings
                .as_ref()
                .map_or_else(Vec::new, |all| all.names.clone()),
            parts: session.parts().iter().map(|part| part.viewer).collect(),
            description,
        }
    }

    /// What goes through a session.
    fn carried(&self, session: &Session) -> StreamDescription {
        if let Some(publishing) = &session.publishing {
            return publishing.description;
        }
        let stream = self.streams.by_id(session.stream);
        let StreamDescription { video, audio } =
            stream.map(|stream| stream.description).unwrap_or_default();
        StreamDescription {
            video: video.filter(|_| session.tracks[VIDEO].clock_hz != 0),
            audio: audio.filter(|_| session.has_audio()),
        }
    }
}
