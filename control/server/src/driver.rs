//! Owns the sidecar's loop: sessions, streams and the link, one thing after another.

mod admission;
mod adopt;
mod describe;
mod drain;
mod events;
mod layers;
mod load;
mod push;
mod relay;
mod requests;
mod samples;
mod source;
mod stream;
mod streams;
mod transit;
mod views;
mod whep;
mod whip;

use crate::clock;
use crate::config::Config;
use crate::control::{PublisherKind, RelayStep, Request, StreamName};
use crate::drain::Drain;
use crate::hush::Hush;
use crate::load::host::HostReading;
use crate::publisher::{Key, Progress, Report, Source};
use crate::srt::{News, Order};
use drain::Draining;
use events::Events;
use link::region::{LinkError, Region};
use link::stats::Intake;
use link::wake::Sleeper;
use load::Loads;
use media::clip::Looper;
use session::adopt::Strays;
use session::lines::Lines;
use session::srt::Counters as SrtCounters;
use session::{Kind, Output, Sessions};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use stream::Active;
use streams::{Refusal, Streams};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use transit::Transits;
use wire::time::{Span, Time};

/// How often a new forwarder is looked for: it has nothing to send until it is told.
const HOUSEKEEPING_INTERVAL: Span = Span::millis(20);

/// How often the cells of all viewers are looked at, and idle streams closed.
const AUDIT_INTERVAL: Span = Span::secs(1);

/// Pause before a command is tried again that a worker had no room for.
const RETRY_AFTER: Span = Span::millis(1);

/// Reports of publishers that may wait.
const REPORTS_MAX: usize = 256;

/// What a driver is made of.
pub struct Parts {
    /// The memory shared with the forwarder.
    pub region: Region,
    /// The sessions.
    pub sessions: Sessions,
    /// The configuration, as it is reloaded.
    pub config: watch::Receiver<Arc<Config>>,
    /// What HTTP asks.
    pub requests: mpsc::Receiver<Request>,
    /// What the SRT task tells.
    pub srt_news: mpsc::Receiver<News>,
    /// What the SRT task is told.
    pub srt_orders: mpsc::Sender<Order>,
    /// What the system says of devices and memory.
    pub host: watch::Receiver<HostReading>,
    /// Whether the node is being emptied.
    pub drain: Drain,
    /// What does not change while the process lives.
    pub facts: Facts,
}

pub use views::Facts;

/// The sidecar's own state, and what it shares with the other tasks.
pub struct Driver {
    region: Region,
    sessions: Sessions,
    streams: Streams,
    strays: Strays,
    events: Events,
    lines: Lines,
    sleeper: Sleeper,
    bell: AsyncFd<OwnedFd>,
    config: watch::Receiver<Arc<Config>>,
    requests: mpsc::Receiver<Request>,
    reports: mpsc::Receiver<(Key, Report)>,
    srt_news: mpsc::Receiver<News>,
    srt_orders: mpsc::Sender<Order>,
    facts: Facts,
    srt_counters: SrtCounters,
    srt_overflowed: u64,
    srt_hush: Hush,
    transits: Transits,
    loads: Loads,
    draining: Draining,
    /// Who wants to know what becomes of a session with another server.
    relays: BTreeMap<String, watch::Sender<RelayStep>>,
    housekeeping_at: Time,
    audit_at: Time,
}

impl Driver {
    /// Takes control's place at the link and goes on with what an earlier control has left there.
    ///
    /// # Errors
    /// Another control is there, or the system has no descriptors left.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let Parts {
            region,
            mut sessions,
            config,
            requests,
            srt_news,
            srt_orders,
            host,
            drain,
            facts,
        } = parts;
        let link_error = |e: LinkError| io::Error::other(format!("link: {e}"));
        let lines = Lines::open(region.clone()).map_err(link_error)?;
        let (reports, of_publishers) = mpsc::channel(REPORTS_MAX);
        let mut streams = Streams::adopt(region.clone(), reports, &mut sessions);
        let now = clock::now();
        let strays =
            session::adopt::adopt(now, &region, &lines, &mut sessions).map_err(link_error)?;
        adopt::tell(&strays, &sessions);
        streams.adopt_publishers(&sessions);
        let sleeper = region.control_sleeper();
        let bell = register(sleeper.fd().try_clone_to_owned()?)?;
        Ok(Self {
            region,
            sessions,
            streams,
            strays,
            events: Events::default(),
            lines,
            sleeper,
            bell,
            config,
            requests,
            reports: of_publishers,
            srt_news,
            srt_orders,
            facts,
            srt_counters: SrtCounters::default(),
            srt_overflowed: 0,
            srt_hush: Hush::default(),
            transits: Transits::default(),
            loads: Loads::new(host),
            draining: Draining::new(drain),
            relays: BTreeMap::new(),
            housekeeping_at: clock::now(),
            audit_at: clock::now() + AUDIT_INTERVAL,
        })
    }

    /// Publishes the built-in clip.
    ///
    /// # Errors
    /// Somebody publishes a stream of this name already.
    pub fn publish_clip(&mut self, name: &StreamName, looper: Looper) -> Result<(), Refusal> {
        let (stop, stopped) = mpsc::channel(1);
        let mut active = newcomer(PublisherKind::Demo);
        active.stop = Some(stop);
        let source = Source::Clip(Box::new(looper), stopped);
        let config = self.config.borrow().clone();
        self.streams
            .publish(name, active, source, &config, &mut self.sessions)
            .map(|_| ())
    }

    /// Works until `stop` says so or nobody is left who could ask for anything.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            self.turn();
            self.sleeper.prepare();
            let quiet = self.lines.is_quiet();
            let due = if quiet { self.due() } else { clock::now() };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                request = self.requests.recv() => match request {
                    Some(request) => self.answer(request),
                    None => break,
                },
                Some((key, report)) = self.reports.recv() => self.on_report(key, report),
                Some(news) = self.srt_news.recv() => self.on_news(news),
                ready = self.bell.readable() => {
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                }
                () = clock::sleep_until(Some(due)) => {}
            }
            self.sleeper.clear();
        }
        if self.draining.is_over() {
            self.say_farewell().await;
        }
    }

    /// Does some of what can be done without waiting: what takes long is cut into turns, between
    /// which requests are heard.
    fn turn(&mut self) {
        let now = clock::now();
        self.lines.receive(now, &mut self.sessions);
        self.sessions.handle_timeout(now);
        if self.config.has_changed().unwrap_or(false) {
            let limits = self.config.borrow_and_update().limits.clone();
            let timeout = Span::secs(limits.handshake_timeout_s);
            self.sessions.set_limits(limits.handshakes_max, timeout);
        }
        if now >= self.housekeeping_at {
            self.housekeeping_at = now + HOUSEKEEPING_INTERVAL;
            self.housekeep(now);
        }
        while let Some(output) = self.sessions.poll() {
            self.carry_out(output);
        }
    }

    /// When the next turn is wanted at the latest.
    fn due(&mut self) -> Time {
        let due = self
            .sessions
            .deadline()
            .map_or(self.housekeeping_at, |d| d.min(self.housekeeping_at));
        if self.lines.retry() {
            due.min(clock::now() + RETRY_AFTER)
        } else {
            due
        }
    }

    fn housekeep(&mut self, now: Time) {
        self.streams.reclaim();
        self.tell_live(now);
        self.sample_load(now);
        self.drain(now);
        if self.lines.refill(now, &mut self.sessions) {
            tracing::info!("a forwarder has come: it is given all viewers");
        }
        if now >= self.audit_at {
            self.audit_at = now + AUDIT_INTERVAL;
            self.sessions.audit(now, |viewer| self.lines.holder(viewer));
            self.release_orphans(now);
            self.strays.release(now, &self.lines, &mut self.sessions);
            self.streams.reap(now, &mut self.sessions);
            self.streams.measure(now, &mut self.sessions);
            self.transits.look(now, transit::workers(&self.region));
            self.hear_pushes();
            self.hear_calls();
            self.tell_news(now);
        }
    }

    fn carry_out(&mut self, output: Output) {
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
                if let link::command::Command::AddViewer(add) = &*command {
                    // If there is no cell, that has been said.
                    let _ = self.cell(add.viewer);
                }
                self.lines.command(core, *command);
            }
            Output::Keep { viewer, keepsake } => self.keep(viewer, &keepsake),
            Output::Established { session, .. } => {
                tracing::debug!(?session, "session established");
                self.tell_relay(&session, RelayStep::Live);
            }
            Output::ConsentMissed { session } => {
                tracing::debug!(?session, "consent missed");
                self.tell_relay(&session, RelayStep::Silent);
            }
            Output::PublisherReady {
                session, stream, ..
            } => {
                tracing::debug!(?session, stream = stream.index, "publisher ready");
                // Whoever of an earlier life of control has the log gives it up.
                self.forget_publisher(stream);
                self.streams.lend(stream, &mut self.sessions);
            }
            Output::Closed {
                session,
                kind,
                viewer,
                parts,
                stream,
                cause,
            } => {
                let all = viewer.into_iter().chain(parts);
                all.for_each(|viewer| self.lines.close(viewer));
                match kind {
                    Kind::Publisher | Kind::Push => self.streams.session_closed(&session, cause),
                    Kind::Viewer => self.end_events(stream, &session, cause),
                }
                self.tell_relay(&session, RelayStep::Ended(cause));
                let (kind, cause) = (kind.name(), cause.name());
                tracing::debug!(?session, kind, cause, "session closed");
            }
            // Only SRT publishers and pushes are left here, which cannot be asked for a keyframe.
            Output::KeyframeWanted(_) => {}
        }
    }

    fn on_report(&mut self, key: Key, report: Report) {
        if let Some(connection) = self.streams.on_report(key, report, &mut self.sessions) {
            self.order(Order::Close(connection));
        }
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Asks {
                id,
                peer,
                wish,
                latency,
            } => self.on_asks(id, peer, &wish, latency),
            News::Closed { id, why } => {
                tracing::info!(caller = %id, why, "SRT connection closed");
            }
            News::Progress {
                connections,
                counters,
                overflowed,
            } => {
                for (id, stats) in connections {
                    self.streams.on_srt(id, stats);
                }
                self.srt_counters = counters;
                self.srt_overflowed = overflowed;
            }
        }
    }

    fn order(&mut self, order: Order) {
        // As many orders fit as there can be connections; a task that takes none has died.
        if self.srt_orders.try_send(order).is_err() {
            tracing::error!("the SRT task does not take orders");
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is for borrowed descriptors too; ours is owned"
)]
fn register(bell: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(bell)
}

fn newcomer(kind: PublisherKind) -> Active {
    Active {
        epoch: 0,
        kind,
        connection: None,
        session: None,
        stop: None,
        remote: None,
        sources: Vec::new(),
        since: clock::now(),
        progress: Progress::default(),
        encodings: Vec::new(),
        layers: Default::default(),
        layer_sizes: Default::default(),
        taken_before: Intake::default(),
        measured: None,
        srt: None,
        latency: None,
    }
}
