//! Owns the whole: streams, sessions, time-outs, and the queue of what is to be done.

use crate::config::{Config, ConfigError};
use crate::description::StreamDescription;
use crate::dtls::{Context, Progress};
use crate::encodings::Encodings;
use crate::ice::Pair;
use crate::output::{Cause, Counters, Output};
use crate::push::Pushes;
use crate::random::Random;
use crate::session::{Kind, Placed, Session};
use crate::streams::Streams;
use crate::table::Table;
use link::command::{AUDIO, Command, VIDEO};
use link::ids::{CoreId, StreamId};
use std::collections::VecDeque;
use wire::peer::{Ip, Peer};
use wire::time::{Span, Time};

/// All sessions of a node and what they need.
pub struct Sessions {
    pub(crate) config: Config,
    pub(crate) dtls: Context,
    pub(crate) random: Random,
    pub(crate) streams: Streams,
    pub(crate) table: Table,
    pub(crate) pushes: Pushes,
    pub(crate) counters: Counters,
    /// Sessions that are not established.
    pub(crate) handshakes: u32,
    outputs: VecDeque<Output>,
}

/// Where datagrams of a session go, and through which worker.
pub(crate) type Route = (CoreId, Peer, Ip);

impl Sessions {
    /// A node without streams. `seed` is 32 bytes from the system's random source: ids, credentials
    /// and entity-tags come from it and must not be guessed.
    ///
    /// # Errors
    /// A setting that cannot be, or DTLS that cannot be set up.
    pub fn new(config: Config, seed: [u8; 32]) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            dtls: Context::new(config.prefer_dtls13)?,
            random: Random::new(seed),
            streams: Streams::default(),
            table: Table::new(config.viewers_max),
            pushes: Pushes::default(),
            counters: Counters::default(),
            handshakes: 0,
            outputs: VecDeque::new(),
            config,
        })
    }

    /// Changes how many handshakes there may be at once, at least one, and how long each may take
    /// that begins now. Those that have begun go on.
    pub fn set_limits(&mut self, handshakes_max: u32, handshake_timeout: Span) {
        self.config.handshakes_max = handshakes_max.max(1);
        self.config.handshake_timeout = handshake_timeout;
    }

    /// A stream can be watched from now on, as soon as it is described.
    pub fn stream_opened(&mut self, name: &str, id: StreamId) {
        self.streams.open(name, id);
    }

    /// A stream consists of this now. Viewers that were promised another codec are let go; unknown
    /// streams are ignored.
    pub fn stream_described(&mut self, now: Time, id: StreamId, description: StreamDescription) {
        let Some(stream) = self.streams.by_id_mut(id) else {
            return;
        };
        let before = std::mem::replace(&mut stream.description, description);
        let changed = match (before.video, description.video) {
            (Some(old), Some(new)) => !old.same_format(&new),
            _ => false,
        };
        if changed {
            let wronged = |s: &Session| s.stream == id && s.tracks[VIDEO].clock_hz != 0;
            self.close_all(now, wronged, Cause::FormatChanged);
        }
        self.check_offered(now, id);
    }

    /// A stream is over: its viewers and its publisher are let go, and every worker forgets it.
    pub fn stream_closed(&mut self, now: Time, id: StreamId) {
        if self.streams.by_id(id).is_none() {
            return;
        }
        self.close_all(now, |session| session.stream == id, Cause::StreamClosed);
        if self.pushes.feeds(id) {
            self.close_push(now, id.index, Cause::StreamClosed);
        }
        self.streams.close(id);
        for core in (0..self.config.cores).map(CoreId) {
            self.command(core, Command::CloseStream(id));
        }
    }

    /// What is to be done next; `None` when all has been taken.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Sessions::handle_timeout`] is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let pushes = self.pushes.deadline();
        self.table.deadline().into_iter().chain(pushes).min()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(index) = self.table.pop_due(now) {
            self.session_due(now, index);
        }
        self.pushes_due(now);
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn session_due(&mut self, now: Time, index: u32) {
        let Some(session) = self.table.get_mut(index) else {
            return;
        };
        if session.placed.is_none() && session.expires <= now {
            return self.close(now, index, Cause::Expired, true);
        }
        if session.placed.as_ref().is_some_and(|p| p.is_hopeless(now)) {
            return self.close(now, index, Cause::Refused, true);
        }
        if session.agent.as_ref().is_some_and(|a| a.is_lost(now)) {
            if !self.miss_consent(now, index) {
                return self.close(now, index, Cause::Consent, true);
            }
            return self.schedule(index);
        }
        let checks = session.checks_due(now, &mut self.random);
        let mut datagrams = Vec::new();
        let progress = match &mut session.dtls {
            Some(dtls) => dtls.handle_timeout(now, &mut datagrams),
            None => Progress::Going,
        };
        let resend = session
            .placed
            .as_mut()
            .is_some_and(|placed| placed.resend_due(now));
        let route = session.route();
        self.transmit(route, datagrams);
        for (route, check) in checks {
            self.transmit(Some(route), vec![check]);
        }
        if resend {
            self.counters.viewer_resent += 1;
            self.send_commands(index);
        }
        self.on_dtls(now, index, route, progress);
    }

    /// Goes on with a session after something was done to its association.
    pub(crate) fn on_dtls(
        &mut self,
        now: Time,
        index: u32,
        route: Option<Route>,
        progress: Progress,
    ) {
        match progress {
            Progress::Going => {}
            Progress::Closed => return self.close(now, index, Cause::PeerClosed, true),
            Progress::Failed(failure) => {
                self.counters.dtls_failed += 1;
                return self.close(now, index, Cause::Handshake(failure), true);
            }
            Progress::Established(established) => {
                if let (Some(session), Some(route)) = (self.table.get_mut(index), route) {
                    // Not nominated yet: the pair on which the handshake was completed.
                    let route = session.selected_route().unwrap_or(route);
                    let (keys, engine) = (established.keys, established.engine);
                    let publishes = session.publishing.is_some();
                    let mut placed = Placed::new(now, route, keys, engine, publishes);
                    placed.parts_awaited = session.parts_mask();
                    session.placed = Some(placed);
                    let (session, viewer) = (session.id.clone(), session.viewer);
                    self.handshakes = self.handshakes.saturating_sub(1);
                    self.counters.session_established += 1;
                    self.counters.publisher_established += u64::from(publishes);
                    self.send_commands(index);
                    self.output(Output::Established { session, viewer });
                }
            }
        }
        self.schedule(index);
    }

    /// Ends a session. `command`: its worker may still have the viewer.
    pub(crate) fn close(&mut self, now: Time, index: u32, cause: Cause, command: bool) {
        let Some(mut session) = self.table.remove(now, index) else {
            return;
        };
        let parts = session.encodings.iter().flat_map(Encodings::viewers);
        let parts: Vec<_> = parts.collect();
        for part in &parts {
            self.table.release(now, *part);
        }
        let mut datagrams = Vec::new();
        if let Some(dtls) = &mut session.dtls {
            dtls.close(now, &mut datagrams);
        }
        self.transmit(session.route(), datagrams);
        match &session.placed {
            Some(placed) if command => {
                self.command(placed.core, Command::RemoveViewer(session.viewer));
            }
            Some(_) => {}
            None => self.handshakes = self.handshakes.saturating_sub(1),
        }
        let kind = session.kind();
        if let Some(stream) = self.streams.by_id_mut(session.stream) {
            match kind {
                Kind::Viewer => stream.viewers = stream.viewers.saturating_sub(1),
                Kind::Publisher if stream.publisher == Some(session.viewer) => {
                    stream.publisher = None;
                    stream.lanes_before = session.publishing.as_ref().map(|one| one.lanes);
                }
                Kind::Publisher | Kind::Push => {}
            }
        }
        self.counters.session_closed += 1;
        self.counters.publisher_closed += u64::from(kind == Kind::Publisher);
        self.output(Output::Closed {
            session: session.id.clone(),
            kind,
            viewer: Some(session.viewer),
            parts,
            stream: session.stream,
            cause,
        });
    }

    /// Gives a session's worker what makes it serve the peer.
    pub(crate) fn send_commands(&mut self, index: u32) {
        if let Some(session) = self.table.get_mut(index) {
            let (stream, viewer) = (session.stream, session.viewer);
            let publishing = session.publishing.as_mut();
            if let Some(publishing) = publishing.filter(|p| !p.announced) {
                publishing.announced = true;
                self.outputs.push_back(Output::PublisherReady {
                    session: session.id.clone(),
                    viewer: Some(viewer),
                    stream,
                });
            }
        }
        self.keep(index);
        if let Some(session) = self.table.get(index) {
            for (core, command) in session.commands() {
                self.outputs.push_back(Output::Command {
                    core,
                    command: Box::new(command),
                });
            }
        }
    }

    pub(crate) fn command(&mut self, core: CoreId, command: Command) {
        self.output(Output::Command {
            core,
            command: Box::new(command),
        });
    }

    pub(crate) fn transmit(&mut self, route: Option<Route>, datagrams: Vec<Vec<u8>>) {
        let Some((core, peer, local)) = route else {
            return;
        };
        for bytes in datagrams {
            self.output(Output::Transmit {
                core,
                peer,
                local,
                bytes,
            });
        }
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Sets the timer of a session by what it wants now.
    pub(crate) fn schedule(&mut self, index: u32) {
        let due = self.table.get(index).and_then(Session::deadline);
        self.table.set_timer(index, due);
    }

    /// The session that publishes a stream.
    pub(crate) fn publisher_of(&self, stream: StreamId) -> Option<&Session> {
        let viewer = self.streams.by_id(stream)?.publisher?;
        self.table
            .get(viewer.index)
            .filter(|session| session.viewer == viewer)
    }

    /// Ends all sessions: each peer that has keys of ours is told so.
    pub fn close_everything(&mut self, now: Time, cause: Cause) {
        self.close_all(now, |_| true, cause);
    }

    fn close_all(&mut self, now: Time, wanted: impl Fn(&Session) -> bool, cause: Cause) {
        for index in self.table.indexes(wanted) {
            self.close(now, index, cause, true);
        }
    }
}

impl Session {
    /// Where datagrams of this session go: the selected pair, before nomination the one heard from
    /// last. `None` before any valid check.
    pub(crate) fn route(&self) -> Option<Route> {
        let newest = || self.ice.newest().map(Pair::route);
        self.selected_route().or_else(newest)
    }

    fn selected_route(&self) -> Option<Route> {
        self.ice.selected().map(Pair::route)
    }

    /// True if the viewer was promised audio.
    pub(crate) fn has_audio(&self) -> bool {
        self.tracks[AUDIO].clock_hz != 0
    }
}
