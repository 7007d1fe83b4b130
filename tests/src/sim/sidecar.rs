//! Owns the sidecar's process: real sessions at the real link, and what of the driver is left
//! around them without a clock, HTTP and SRT.

use std::net::SocketAddr;

use link::Region;
use link::command::{AddViewer, Command, Pin};
use link::ids::{StreamId, ViewerId};
use link::lanes::LAYERS;
use link::region::Role;
use session::adopt::{Strays, adopt};
use session::lines::Lines;
use session::{Cause, Config, Kind, Output, PatchBody, Patched, SessionState, Sessions};
use wire::time::{Span, Time};

use super::dtls::identity;
use super::journal::Journal;
use super::plan::Plan;
use super::source::Shot;
use super::streams::{DESCRIPTION, Stream, append, describe, streams, with_encodings};
use crate::random::Random;
use crate::viewer::{Answer, offer};

/// As the driver's.
const HOUSEKEEPING_INTERVAL: Span = Span::millis(20);
const AUDIT_INTERVAL: Span = Span::secs(1);

/// What viewers offer to say, beside which they say what their paths carry.
const NACK: &str = "a=rtcp-fb:102 nack\r\n";

/// The process.
pub struct Sidecar {
    region: Region,
    sessions: Sessions,
    lines: Lines,
    strays: Strays,
    streams: Vec<Stream>,
    housekeeping_at: Time,
    audit_at: Time,
    /// Viewers that workers were told of since the last time.
    pub added: Vec<AddViewer>,
    /// Sessions that got keys since the last time.
    pub established: u64,
    /// What the host's clock is ahead of that of whoever calls.
    pub ahead: Span,
    dies_after: Option<u32>,
    /// Viewers whose cells were closed when they were to be kept.
    unkept: Vec<ViewerId>,
    /// It is to be buried.
    pub is_dead: bool,
    journal: Journal,
}

/// What a new sidecar is made of.
pub struct Parts<'a> {
    /// The memory, as its keeper has it.
    pub region: &'a Region,
    /// What streams there are.
    pub plan: &'a Plan,
    /// Where peers reach the forwarder.
    pub server: SocketAddr,
    /// Now, on the network's clock.
    pub now: Time,
    /// What the host's clock is ahead of it.
    pub ahead: Span,
    /// For ids and credentials.
    pub seed: u64,
    /// What is told of the run.
    pub journal: Journal,
    /// False: a mutant, which goes on with nothing.
    pub adopts: bool,
}

impl Sidecar {
    /// Joins the memory and goes on with what is there, as a new process does.
    ///
    /// # Panics
    /// When an end is not free: the last one was not reaped.
    #[must_use]
    pub fn start(parts: Parts<'_>) -> Self {
        let Parts { plan, ahead, .. } = parts;
        let now = parts.now + ahead;
        parts.region.joined(Role::Control);
        let region = parts.region.seen_by(Role::Control);
        let config = Config {
            candidates: vec![parts.server],
            cores: plan.limits.cores,
            viewers_max: plan.limits.viewers_max,
            ..Config::default()
        };
        let mut seed = [0; 32];
        seed.copy_from_slice(&Random::new(parts.seed).bytes(32));
        let mut sessions = Sessions::new(config, seed).expect("a configuration that can be");
        let lines = Lines::open(region.clone()).expect("the ends are free");
        let streams = streams(&region, plan, now, &mut sessions);
        let strays = match parts.adopts {
            true => adopt(now, &region, &lines, &mut sessions).expect("its own memory"),
            false => Strays::default(),
        };
        let mut this = Self {
            region,
            sessions,
            lines,
            strays,
            streams,
            housekeeping_at: now,
            audit_at: now + AUDIT_INTERVAL,
            added: Vec::new(),
            established: 0,
            ahead,
            dies_after: None,
            unkept: Vec::new(),
            is_dead: false,
            journal: parts.journal,
        };
        this.adopt_publishers();
        let (count, strays) = (this.sessions.session_count(), this.strays.len());
        let unusable = this.strays.unusable.len();
        this.journal.note(format_args!(
            "a sidecar has come: {count} sessions adopted, {strays} strays, {unusable} unusable"
        ));
        this
    }

    /// A turn of the driver's loop.
    pub fn turn(&mut self, now: Time) {
        let now = now + self.ahead;
        self.lines.retry();
        self.lines.receive(now, &mut self.sessions);
        self.sessions.handle_timeout(now);
        if now >= self.housekeeping_at {
            self.housekeeping_at = now + HOUSEKEEPING_INTERVAL;
            self.housekeep(now);
        }
        self.carry_out(now);
    }

    /// Posts a viewer's offer: session, answer, and whether it may say what its path carries; or a
    /// status.
    ///
    /// # Errors
    /// The status of the refusal; 0: the sidecar died over it.
    pub fn whep_post(&mut self, now: Time, stream: usize) -> Result<(String, Answer, bool), u16> {
        let now = now + self.ahead;
        let name = &self.streams[stream].name;
        let plain = offer(&identity().fingerprint);
        let offer = plain.replace(NACK, &format!("{NACK}a=rtcp-fb:102 goog-remb\r\n"));
        let created = self.sessions.whep_post(now, name, &offer, None);
        self.carry_out(now);
        let created = created.map_err(|error| error.status)?;
        let (id, answer) = self.answer(created.id.as_str(), &created.answer)?;
        Ok((id, answer, created.answer.contains("goog-remb")))
    }

    /// Posts a publisher's offer: session and answer, or a status.
    ///
    /// # Errors
    /// As [`Sidecar::whep_post`].
    pub fn whip_post(&mut self, now: Time, stream: usize) -> Result<(String, Answer), u16> {
        let now = now + self.ahead;
        let offer = offer(&identity().fingerprint).replace("a=recvonly", "a=sendonly");
        let offer = with_encodings(&offer, self.streams[stream].encodings);
        let id = self.streams[stream].id;
        let published = self.sessions.whip_post(now, id, &offer, true);
        let created = published.map_err(|error| error.status)?.created;
        self.streams[stream].publisher = Some(created.id.clone());
        self.carry_out(now);
        self.answer(created.id.as_str(), &created.answer)
    }

    /// DELETE of a session; that it is no more already is as well.
    pub fn delete(&mut self, now: Time, id: &str) {
        let now = now + self.ahead;
        let _ = self.sessions.delete(now, id);
        self.carry_out(now);
    }

    /// PATCH of a session that restarts ICE: our new username fragment and password.
    pub fn restart_ice(&mut self, now: Time, id: &str, fragment: &str) -> Option<(String, String)> {
        let now = now + self.ahead;
        let body = PatchBody::TrickleIce(fragment);
        let patched = self.sessions.patch(now, id, Some("*"), body);
        self.carry_out(now);
        let Ok(Patched::Restarted { fragment, .. }) = patched else {
            return None;
        };
        let value = |name: &str| fragment.lines().find_map(|line| line.strip_prefix(name));
        let ice = (value("a=ice-ufrag:")?, value("a=ice-pwd:")?);
        (!self.is_dead).then(|| (ice.0.to_owned(), ice.1.to_owned()))
    }

    /// A viewer's choice of one encoding, or of all.
    pub fn choose_layer(&mut self, now: Time, id: &str, layer: Option<usize>) {
        let pin = Pin {
            lane: layer.map(|layer| u8::try_from(LAYERS[layer]).unwrap_or(0)),
            ..Pin::NONE
        };
        // Gone meanwhile: as well.
        let _ = self.sessions.choose_layer(id, pin);
        self.carry_out(now + self.ahead);
    }

    /// Cells that are open and of no session, and of none that is awaited: they would be for ever.
    #[must_use]
    pub fn stray_cells(&self) -> usize {
        let known = self.sessions.session_views().count() + self.strays.len();
        self.region.viewers().len().saturating_sub(known)
    }

    /// True if a worker writes the log of this stream.
    #[must_use]
    pub fn is_by_whip(&self, stream: usize) -> bool {
        self.streams[stream].is_by_whip
    }

    /// GET of a session: 200 or 404.
    #[must_use]
    pub fn knows(&self, id: &str) -> bool {
        self.sessions.session_view(id).is_some()
    }

    /// Sessions whose media a worker has.
    #[must_use]
    pub fn live_sessions(&self) -> Vec<String> {
        let views = self.sessions.session_views();
        let live = views.filter(|view| view.state == SessionState::Live);
        live.map(|view| view.id.as_str().to_owned()).collect()
    }

    /// Messages that wait for room, or to be read, and handshakes that are not complete.
    pub fn has_work(&mut self) -> bool {
        self.lines.retry() || !self.lines.is_quiet() || self.sessions.handshake_count() > 0
    }

    /// How many sessions there are.
    #[must_use]
    pub fn session_count(&self) -> u32 {
        self.sessions.session_count()
    }

    /// Writes packets of an encoder into the log of its stream, as one batch.
    pub fn write(&mut self, now: Time, stream: usize, shots: &[Shot]) {
        let now = now + self.ahead;
        let Some(writer) = &mut self.streams[stream].writer else {
            return;
        };
        for shot in shots {
            if dies_now(&mut self.dies_after) {
                // What it has appended nobody has seen.
                self.is_dead = true;
                return;
            }
            if let Err(error) = append(writer, now, shot) {
                self.journal
                    .fault(format_args!("log of stream {stream}: {error}"));
            }
        }
        writer.publish();
    }

    /// It dies when it has carried out so many outputs more; `None`: it does not.
    pub fn die_after(&mut self, outputs: Option<u32>) {
        self.dies_after = outputs;
    }

    /// What is done when the process is dead.
    pub fn bury(self) {
        // In this order, as what the dead held is set free by the keeper, not by them.
        self.region.reap(Role::Control);
    }

    /// Ends all streams: there is to be nothing left then.
    pub fn close_streams(&mut self, now: Time) {
        let now = now + self.ahead;
        for stream in &mut self.streams {
            self.sessions.stream_closed(now, stream.id);
            (stream.writer, stream.is_over) = (None, true);
        }
        self.carry_out(now);
    }

    /// Gives the memory of streams that were ended back; what does not let go of which.
    #[must_use]
    pub fn free_streams(&self) -> Vec<String> {
        let close = |stream: &Stream| {
            let closed = self.region.close_stream(stream.id);
            closed
                .err()
                .map(|error| format!("{}: {error}", stream.name))
        };
        self.streams.iter().filter_map(close).collect()
    }

    fn answer(&self, id: &str, answer: &str) -> Result<(String, Answer), u16> {
        if self.is_dead {
            return Err(0);
        }
        let read = Answer::parse(answer);
        if read.is_none() {
            self.journal
                .fault(format_args!("an answer as nobody knows it: {answer}"));
        }
        read.map(|answer| (id.to_owned(), answer)).ok_or(0)
    }

    fn housekeep(&mut self, now: Time) {
        for stream in &mut self.streams {
            if stream.writer.is_none() && stream.publisher.is_none() && !stream.is_over {
                stream.writer = self.region.log_writer(stream.id).ok();
            }
        }
        if self.lines.refill(now, &mut self.sessions) {
            self.journal
                .note(format_args!("a forwarder is given all viewers"));
        }
        if now >= self.audit_at {
            self.audit_at = now + AUDIT_INTERVAL;
            let lines = &self.lines;
            self.sessions.audit(now, |viewer| lines.holder(viewer));
            self.strays.release(now, &self.lines, &mut self.sessions);
        }
    }

    fn carry_out(&mut self, now: Time) {
        while !self.is_dead
            && let Some(output) = self.sessions.poll()
        {
            self.is_dead = dies_now(&mut self.dies_after);
            if !self.is_dead {
                self.one(now, output);
            }
        }
        // Who was lost while that was on its way needs none any more.
        for viewer in std::mem::take(&mut self.unkept) {
            if self
                .sessions
                .session_views()
                .any(|view| view.viewer == viewer)
            {
                self.journal
                    .fault(format_args!("{viewer:?} lives and is not kept"));
            }
        }
    }

    fn one(&mut self, now: Time, output: Output) {
        match output {
            Output::Transmit {
                core,
                peer,
                local,
                bytes,
            } => {
                self.lines.transmit(core, peer, local, bytes);
            }
            Output::Command { core, command } => {
                if let Command::AddViewer(add) = &*command {
                    self.cell(add.viewer);
                    self.added.push(*add);
                }
                self.lines.command(core, *command);
            }
            Output::Keep { viewer, keepsake } => {
                let is_kept = self.cell(viewer).is_some_and(|cell| cell.save(&keepsake));
                if !is_kept {
                    self.unkept.push(viewer);
                }
            }
            Output::PublisherReady { stream, .. } => self.lend(now, stream),
            Output::Closed {
                session,
                kind,
                viewer,
                cause,
                ..
            } => {
                let said = format_args!("{} {viewer:?} closed: {}", kind.name(), cause.name());
                match cause {
                    // There is room for everybody.
                    Cause::Refused => self.journal.fault(said),
                    _ => self.journal.note(said),
                }
                viewer
                    .into_iter()
                    .for_each(|viewer| self.lines.close(viewer));
                let mut streams = self.streams.iter_mut();
                let its = |stream: &&mut Stream| stream.publisher.as_ref() == Some(&session);
                if let Some(stream) = streams.find(its) {
                    stream.publisher = None;
                }
            }
            Output::Established { viewer, .. } => {
                self.established += 1;
                self.journal.note(format_args!("{viewer:?} established"));
            }
            Output::ConsentMissed { .. } | Output::KeyframeWanted(_) => {}
        }
    }

    fn cell(&self, viewer: ViewerId) -> Option<link::viewer::Viewer> {
        let cell = self.lines.cell(viewer);
        let said = |error: &_| {
            self.journal
                .note(format_args!("no cell for {viewer:?}: {error}"));
        };
        cell.inspect_err(said).ok()
    }

    /// A worker is about to ask for the log.
    fn lend(&mut self, now: Time, id: StreamId) {
        for core in self.lines.cores() {
            self.lines.command(core, Command::RemovePublisher(id));
        }
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
            stream.writer = None;
        }
        self.sessions.stream_described(now, id, DESCRIPTION);
        describe(&self.region, id);
    }

    fn adopt_publishers(&mut self) {
        let views = self.sessions.session_views();
        let publishers = views.filter(|view| view.kind == Kind::Publisher);
        for view in publishers.collect::<Vec<_>>() {
            if let Some(stream) = self.streams.iter_mut().find(|one| one.id == view.stream) {
                stream.writer = None;
                stream.publisher = Some(view.id);
            }
        }
    }
}

/// One thing more is to be done: true if it dies before that.
fn dies_now(dies_after: &mut Option<u32>) -> bool {
    match dies_after {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}
