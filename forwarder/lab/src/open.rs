//! Owns a worker's thread on the loopback, streams that are sent to it from outside, and a viewer
//! that says when packets reach it. Frames are sent when a schedule says so, whatever has become of
//! those before: a worker that is late is sent the next one all the same.

mod ends;

use std::net::{Ipv4Addr, SocketAddr};

use io::probe::Backend;
use io::{PortConfig, Socket, SocketConfig, clock};
use link::Region;
use link::channel::CommandProducer;
use link::command::Command;
use link::ids::CoreId;
use link::limits::Limits;
use link::log::Entry;
use link::stats::{Counter, Stats};
use link::transit::Distribution;
use seal::Cipher;
use wire::time::Span;
use worker::{Config, Idle, LoadLimit, Pin, Workers, spawn};

use crate::rig::address;
use crate::sink::{Sink, loopback};
use ends::{Source, Witness, publisher, viewer};

/// What is waited for comes within this time, or never.
const PATIENCE: Span = Span::secs(5);

/// After the last frame of a schedule what is late has so long to come.
const LAST: Span = Span::millis(500);

/// Frames under way when it is measured what a core can do: it never waits for the next.
const AHEAD: u64 = 2;

/// How a worker is made and whom it serves.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How packets come and go.
    pub backend: Backend,
    /// What it does without work.
    pub idle: Idle,
    /// The processor of the worker, if there is one to choose.
    pub cpu: Option<usize>,
    /// Streams.
    pub streams: u32,
    /// Viewers of each.
    pub viewers: u32,
    /// Packets of a frame, 2 to 64.
    pub packets: u8,
}

/// A worker with its streams.
pub struct Stage {
    shape: Shape,
    region: Region,
    stats: Stats,
    workers: Workers,
    to: SocketAddr,
    sources: Vec<Source>,
    witness: Witness,
    /// Who is nobody: most viewers.
    sink: Sink,
    random: u64,
}

/// What became of the frames of a while.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How long packets were inside, as the worker has counted.
    pub inside: Distribution,
    /// From when a frame was to be sent until all of it was at the witness, in nanoseconds, sorted.
    pub outside_ns: Vec<u64>,
    /// Frames of the witness's stream that never came to it.
    pub lost: u64,
    /// Frames sent.
    pub frames: u64,
    /// Times that the worker fell asleep.
    pub sleeps: u64,
}

impl Stage {
    /// Everybody has joined, and has had a first frame of each stream.
    ///
    /// # Errors
    /// What could not be set up, in words.
    pub fn new(shape: Shape) -> Result<Self, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let limits = Limits {
            cores: 1,
            streams_max: shape.streams,
            viewers_max: shape.streams * shape.viewers + 1,
            log_packets: 1024,
            ..Limits::default()
        };
        let region = Region::create(&limits).map_err(|e| words(&e))?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sockets = Socket::bind_all(any, 1, &SocketConfig::default()).map_err(|e| words(&e))?;
        let to = sockets[0].local();
        let workers = spawn(Config {
            region: region.clone(),
            sockets,
            backend: shape.backend,
            xdp: None,
            cipher: Cipher::best(),
            port: PortConfig::default(),
            idle: shape.idle,
            pin: shape.cpu.map_or(Pin::Off, |cpu| Pin::Cpus(vec![cpu])),
            load_limit: LoadLimit::new(0.0),
        })
        .map_err(|e| words(&e))?;
        let core = CoreId(0);
        let mut commands = region.commands_producer(core).map_err(|e| words(&e))?;
        let sink = loopback()?;
        let witness = Witness::new().map_err(|e| words(&e))?;
        let sources = (0..shape.streams).map(|n| Source::new(n).map_err(|e| words(&e)));
        let mut stage = Self {
            stats: region.stats(core).map_err(|e| words(&e))?,
            sources: sources.collect::<Result<_, _>>()?,
            shape,
            region,
            workers,
            to,
            witness,
            sink,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        stage.people(&mut commands)?;
        for stream in 0..stage.sources.len() {
            stage.sources[stream].send(to, 2, true);
            if stream == 0 {
                stage.witness.seen.due.push(clock::now());
            }
        }
        stage.await_done("the first frames", u64::from(shape.streams) * 2)?;
        Ok(stage)
    }

    /// Frames a second that the worker does when it never has to wait for one.
    ///
    /// # Errors
    /// The worker does not send.
    pub fn capacity(&mut self, lasting: Span) -> Result<f64, String> {
        let each = self.packets_of_a_frame();
        let begun = clock::now();
        let sent = self.stats.read(Counter::PacketSent);
        let done = self.done();
        let mut frames: u64 = 0;
        while clock::now().since(begun) < lasting {
            // The witness has one more viewer's worth of the first stream.
            let least = sent + frames.saturating_sub(AHEAD) * each;
            let end = clock::now() + PATIENCE;
            while self.stats.read(Counter::PacketSent) < least {
                if clock::now() > end {
                    return Err("the worker does not send what it is sent".to_owned());
                }
                std::hint::spin_loop();
            }
            // Not the first stream, whose frames are told apart.
            let stream = 1 + usize::try_from(frames).unwrap_or(0) % (self.sources.len() - 1);
            self.sources[stream].send(self.to, self.shape.packets, false);
            frames += 1;
        }
        let seconds = seconds(clock::now().since(begun));
        let packets = frames * u64::from(self.shape.packets);
        self.await_done("the last frames", done + packets)?;
        Ok(float(frames) / seconds)
    }

    /// Sends `rate` frames a second, at moments that depend on nothing, for so long.
    ///
    /// # Errors
    /// The worker has died.
    pub fn play(&mut self, rate: f64, lasting: Span) -> Result<Outcome, String> {
        let inside = self.stats.transit(Entry::Network);
        let sleeps = self.stats.read(Counter::SleepBegun);
        let before = self.witness.seen.due.len();
        self.witness.seen.outside_ns.clear();
        let mut frames = 0;
        let mut due = clock::now();
        let end = due + lasting;
        loop {
            due = due + self.pause(rate);
            if due > end {
                break;
            }
            while clock::now() < due {
                self.witness.look();
            }
            let streams = self.sources.len() as u64;
            let stream = usize::try_from(self.next_random() % streams).unwrap_or(0);
            if stream == 0 {
                self.witness.seen.due.push(due);
            }
            self.sources[stream].send(self.to, self.shape.packets, false);
            frames += 1;
        }
        let sleeps = self.stats.read(Counter::SleepBegun) - sleeps;
        let awaited = self.witness.seen.due.len() - before;
        let packets = frames * u64::from(self.shape.packets);
        let until = clock::now() + LAST;
        loop {
            self.witness.look();
            let counted = self.stats.transit(Entry::Network).since(&inside).count();
            let is_all = self.witness.seen.outside_ns.len() >= awaited && counted >= packets;
            if is_all || clock::now() > until {
                break;
            }
        }
        if self.workers.dead().is_some() {
            return Err("the worker has died".to_owned());
        }
        let mut outside_ns = self.witness.seen.outside_ns.clone();
        outside_ns.sort_unstable();
        Ok(Outcome {
            inside: self.stats.transit(Entry::Network).since(&inside),
            lost: (awaited as u64).saturating_sub(outside_ns.len() as u64),
            outside_ns,
            frames,
            sleeps,
        })
    }

    /// Packets whose time inside is not known.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.stats.read(Counter::TransitUnknown)
    }

    /// Adds all viewers and publishers.
    fn people(&mut self, commands: &mut CommandProducer) -> Result<(), String> {
        let mut all = Vec::new();
        for (n, source) in (0..).zip(&self.sources) {
            let name = format!("bench/{n}");
            let stream = self.region.open_stream(n, &name);
            let stream = stream.map_err(|e| e.to_string())?;
            let peer = source.socket.local_addr().map_err(|e| e.to_string())?;
            all.push(Command::AddPublisher(publisher(stream, peer, source)));
            let first = n * self.shape.viewers;
            let sunk =
                (first..first + self.shape.viewers).map(|n| (n, address(self.sink.first, n)));
            let witness = (self.region.limits().viewers_max - 1, self.witness.address());
            let witness = (n == 0).then_some(witness);
            for (n, peer) in sunk.chain(witness) {
                let cell = self.region.open_viewer(n).map_err(|e| e.to_string())?;
                all.push(Command::AddViewer(viewer(cell.id(), stream, peer)));
            }
        }
        let end = clock::now() + PATIENCE;
        for command in all {
            while commands.push(&command).is_err() {
                if clock::now() > end {
                    return Err("the worker takes no commands".to_owned());
                }
                std::thread::yield_now();
            }
        }
        let viewers = u64::from(self.region.limits().viewers_max);
        let waker = self.region.waker(CoreId(0)).map_err(|e| e.to_string())?;
        self.wait("the viewers", |stage| {
            waker.wake();
            stage.stats.read(Counter::ViewerAdded) >= viewers
        })
    }

    fn packets_of_a_frame(&self) -> u64 {
        u64::from(self.shape.packets) * u64::from(self.shape.viewers)
    }

    /// Packets that the worker has done with: counted after the flush of their turn.
    fn done(&self) -> u64 {
        self.stats.transit(Entry::Network).count() + self.unknown()
    }

    fn await_done(&mut self, what: &str, packets: u64) -> Result<(), String> {
        self.wait(what, |stage| stage.done() >= packets)
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end = clock::now() + PATIENCE;
        while !done(self) {
            if clock::now() > end {
                return Err(format!(
                    "{what}: not within {} s",
                    PATIENCE.as_millis() / 1000
                ));
            }
            self.witness.look();
        }
        Ok(())
    }

    /// The time to the next frame: as between events that know nothing of each other.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds at most, not negative"
    )]
    fn pause(&mut self, rate: f64) -> Span {
        let part = (float(self.next_random() >> 11) + 1.0) / float((1 << 53) + 1);
        Span((-part.ln() / rate.max(1.0) * 1e9) as u64)
    }

    /// xorshift64*: the same at every run.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1
    }
}

impl Outcome {
    /// What a share of the frames, 0 to 1, did not exceed on their way to the witness.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place of the list"
    )]
    pub fn outside(&self, share: f64) -> Option<Span> {
        let nth = (share * float(self.outside_ns.len() as u64)).ceil() as usize;
        let place = nth.clamp(1, self.outside_ns.len().max(1)) - 1;
        self.outside_ns.get(place).map(|ns| Span(*ns))
    }
}

fn seconds(span: Span) -> f64 {
    float(span.0) / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "counts and times below 2^53")]
fn float(n: u64) -> f64 {
    n as f64
}
