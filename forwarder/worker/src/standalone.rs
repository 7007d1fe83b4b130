//! Owns the forwarder alone: no sidecar, its flows from a file, its counters on the terminal. For
//! benches, tests, and relays whose flows somebody else has agreed on.

mod file;

pub use file::{File, Publisher, Stream, Track, TrackIn, Viewer};

use crate::cpu::Pin;
use crate::idle::Idle;
use crate::load_limit::LoadLimit;
use crate::spawn::{Config, Workers, spawn};
use core::time::Duration;
use io::probe::{Backend, Choice, Probe, Transmit, TransmitChoice, choose, choose_transmit};
use io::{PortConfig, Socket, SocketConfig, XdpConfig};
use link::Region;
use link::channel::{CommandProducer, EventConsumer, PuntConsumer};
use link::command::Command;
use link::event::Event;
use link::ids::{CoreId, StreamId, ViewerId};
use link::limits::Limits;
use link::stats::{COUNTERS, Counter};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use plane::Cipher;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;
use wire::time::Span;
use zeroize::{Zeroize, Zeroizing};

/// Time between two looks at what the workers have to say.
const LOOK: Duration = Duration::from_millis(100);

/// Runs from the flows in the file at `path` until SIGTERM or SIGINT.
///
/// # Errors
/// What could not be read, set up or kept running, in words for the operator.
pub fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    // It has keys in it.
    let text = Zeroizing::new(text);
    let file = File::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    // Before the first thread, which inherits the mask: signals come to the descriptor only.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals
        .thread_block()
        .map_err(|e| format!("block signals: {e}"))?;
    let signals = SignalFd::new(&signals).map_err(|e| format!("signalfd: {e}"))?;
    let report = Duration::from_secs(file.report_s);
    let mut forwarder = Forwarder::start(file)?;
    println!("{}", forwarder.describe());
    let mut reported = Instant::now();
    loop {
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let pause = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, pause).is_ok_and(|ready| ready > 0) {
            break;
        }
        forwarder.look()?;
        if !report.is_zero() && reported.elapsed() >= report {
            reported = Instant::now();
            println!("{}", forwarder.counters());
        }
    }
    println!("{}", forwarder.counters());
    forwarder.stop()
}

/// Workers with the flows of a file.
pub struct Forwarder {
    region: Region,
    workers: Workers,
    choice: Choice,
    transmit: TransmitChoice,
    local: SocketAddr,
    lines: Vec<Line>,
    streams: HashMap<String, StreamId>,
    viewers: HashMap<ViewerId, Viewer>,
}

/// The link to one worker, from control's end.
struct Line {
    commands: CommandProducer,
    events: EventConsumer,
    punts: PuntConsumer,
    /// Commands that found the ring full.
    waiting: VecDeque<Command>,
}

impl Forwarder {
    /// Makes the memory, starts the workers and gives them their flows.
    ///
    /// # Errors
    /// What could not be set up.
    pub fn start(file: File) -> Result<Self, String> {
        let limits = limits(&file)?;
        let region = Region::create(&limits).map_err(|e| format!("the link's memory: {e}"))?;
        let wanted = file
            .backend
            .as_deref()
            .map(str::parse::<Backend>)
            .transpose()?;
        let probe = Probe::run();
        let choice = choose(&probe, wanted);
        let wanted = file.transmit.as_deref();
        let wanted = wanted.map(str::parse::<Transmit>).transpose()?;
        let transmit = choose_transmit(&probe, wanted);
        let cipher = Cipher::choose(file.cipher.as_deref())?;
        let cores = usize::from(limits.cores);
        let sockets = Socket::bind_all(file.listen, cores, &SocketConfig::default());
        let sockets = sockets.map_err(|e| e.to_string())?;
        let local = sockets.first().map_or(file.listen, Socket::local);
        let workers = spawn(Config {
            region: region.clone(),
            sockets,
            backend: choice.backend,
            xdp: (transmit.transmit == Transmit::Xdp).then_some(XdpConfig {
                checksum: true,
                note: |note| eprintln!("{note}"),
            }),
            cipher,
            port: PortConfig::default(),
            idle: match file.spin_us {
                0 => Idle::Sleep,
                us => Idle::Spin(Span::micros(us)),
            },
            pin: Pin::Auto,
            load_limit: LoadLimit::new(0.0),
        })
        .map_err(|e| e.to_string())?;
        let mut forwarder = Self {
            lines: lines(&region)?,
            region,
            workers,
            choice,
            transmit,
            local,
            streams: HashMap::new(),
            viewers: HashMap::new(),
        };
        forwarder.give(file)?;
        Ok(forwarder)
    }

    /// Where it listens.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The memory, for whoever writes logs or reads counters.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The stream of this name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<StreamId> {
        self.streams.get(name).copied()
    }

    /// One line about how it runs.
    #[must_use]
    pub fn describe(&self) -> String {
        let Choice { backend, why } = &self.choice;
        let (transmit, because) = (self.transmit.transmit, &self.transmit.why);
        let (local, cores) = (self.local, self.lines.len());
        let (streams, viewers) = (self.streams.len(), self.viewers.len());
        format!(
            "forwarder on {local}: {cores} workers over {backend} ({why}), transmitting by \
             {transmit} ({because}), {streams} streams, {viewers} viewers"
        )
    }

    /// Sends what is waiting, and takes back who was let go: a static flow is for ever.
    ///
    /// # Errors
    /// A worker has died, or refuses a viewer.
    pub fn look(&mut self) -> Result<(), String> {
        if let Some(core) = self.workers.dead() {
            return Err(format!("worker {} has died", core.0));
        }
        let (mut gone, mut refused) = (Vec::new(), None);
        for line in &mut self.lines {
            while let Some(event) = line.events.pop() {
                match event {
                    Event::ViewerGone(viewer, _) => gone.push(viewer),
                    Event::ViewerRefused(viewer) => refused = Some(viewer),
                    _ => {}
                }
            }
            // Handshakes are for a sidecar.
            while line.punts.pop(|_| ()).is_some() {}
        }
        if let Some(viewer) = refused.and_then(|id| self.viewers.get(&id)) {
            return Err(format!(
                "viewer {} cannot be served: check its keys",
                viewer.peer
            ));
        }
        for id in gone {
            if let Some(viewer) = self.viewers.remove(&id) {
                self.add(viewer, Some(id))?;
            }
        }
        self.push();
        Ok(())
    }

    /// What all workers have counted together, but for zeros.
    #[must_use]
    pub fn counters(&self) -> String {
        let sum = |counter: &Counter| -> u64 { self.count(*counter) };
        let words = COUNTERS
            .iter()
            .map(|counter| (counter.name(), sum(counter)));
        let words: Vec<String> = words
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| format!("{name}={n}"))
            .collect();
        words.join(" ")
    }

    /// A counter over all workers.
    #[must_use]
    pub fn count(&self, counter: Counter) -> u64 {
        let cores = 0..self.region.limits().cores;
        let stats = cores.filter_map(|core| self.region.stats(CoreId(core)).ok());
        stats.map(|stats| stats.read(counter)).sum()
    }

    /// Ends all workers.
    ///
    /// # Errors
    /// One of them has panicked.
    pub fn stop(self) -> Result<(), String> {
        self.workers.stop();
        self.workers.join().map_err(|e| e.to_string())
    }

    fn give(&mut self, file: File) -> Result<(), String> {
        for (index, stream) in (0..).zip(file.streams) {
            let id = self.region.open_stream(index, &stream.name);
            let id = id.map_err(|e| format!("stream {:?}: {e}", stream.name))?;
            if let Some(publisher) = &stream.publisher {
                let command = publisher.command(id)?;
                self.queue(0, Command::AddPublisher(command));
            }
            self.streams.insert(stream.name, id);
        }
        for viewer in file.viewers {
            self.add(viewer, None)?;
        }
        self.push();
        Ok(())
    }

    /// Serves `viewer`, anew if it had the number `before`. No packet number of its keys is used
    /// twice: it goes on where the leases of its last cell end.
    fn add(&mut self, viewer: Viewer, before: Option<ViewerId>) -> Result<(), String> {
        let failed = |e: link::region::LinkError| format!("viewer {}: {e}", viewer.peer);
        let mut leases = [0; link::viewer::LEASES];
        let index = match before {
            Some(id) => {
                let last = self.region.viewer(id).map_err(failed)?;
                leases = last.leases();
                last.close();
                id.index
            }
            None => u32::try_from(self.viewers.len()).map_err(|e| e.to_string())?,
        };
        let cell = self.region.open_viewer(index).map_err(failed)?;
        let stream = self.stream(&viewer.stream).unwrap_or_default();
        let command = viewer.command(cell.id(), stream, leases)?;
        let core = usize::try_from(index).unwrap_or(0) % self.lines.len();
        self.queue(core, Command::AddViewer(command));
        self.viewers.insert(cell.id(), viewer);
        Ok(())
    }

    fn queue(&mut self, core: usize, command: Command) {
        if let Some(line) = self.lines.get_mut(core) {
            line.waiting.push_back(command);
        }
    }

    fn push(&mut self) {
        for line in &mut self.lines {
            while let Some(command) = line.waiting.front_mut()
                && line.commands.push(command).is_ok()
            {
                command.zeroize();
                line.waiting.pop_front();
            }
        }
    }
}

fn limits(file: &File) -> Result<Limits, String> {
    let streams = u32::try_from(file.streams.len()).map_err(|e| e.to_string())?;
    let viewers = u32::try_from(file.viewers.len()).map_err(|e| e.to_string())?;
    let limits = Limits {
        cores: file.cores,
        streams_max: streams.max(1),
        viewers_max: viewers.max(1),
        log_packets: file.log_packets,
        ..Limits::default()
    };
    limits.check().map_err(|e| e.to_string())?;
    Ok(limits)
}

fn lines(region: &Region) -> Result<Vec<Line>, String> {
    let line = |core| {
        let core = CoreId(core);
        Ok(Line {
            commands: region.commands_producer(core)?,
            events: region.events_consumer(core)?,
            punts: region.punts_in_consumer(core)?,
            waiting: VecDeque::new(),
        })
    };
    let lines: Result<_, link::region::LinkError> = (0..region.limits().cores).map(line).collect();
    lines.map_err(|e| e.to_string())
}
