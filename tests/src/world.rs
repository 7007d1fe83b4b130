//! Owns a whole data plane with its viewers: planes over ports of any backend, a network that may
//! be simulated, and invariants that are checked with every packet.
//!
//! What is checked: a nonce is never used for two packets; sequence numbers of a track run on by
//! one; a repeated packet is the same packet; a viewer gets the bytes of its stream and no other's;
//! what is lost on the way comes again.

mod peer;
mod source;
mod spy;

use std::net::SocketAddr;

use io::port::{Port, PortConfig};
use link::Region;
use link::channel::EventConsumer;
use link::command::Command;
use link::ids::CoreId;
use link::limits::Limits;
use link::stats::Counter;
use plane::{Outlets, Plane};
use wire::datagram::RxSink;
use wire::time::{Span, Time};

use crate::tap::Tap;

pub use peer::{Client, Viewer};
pub use source::{Source, content};
pub use spy::Spy;

/// Between two ticks of a plane.
const TICK: Span = Span::millis(10);

/// Limits of a small world: streams, viewers, and a history of some seconds.
pub const LIMITS: Limits = Limits {
    cores: 2,
    streams_max: 4,
    viewers_max: 64,
    log_packets: 4096,
    commands_max: 64,
    events_max: 256,
    punts_max: 16,
};

/// Where ports and clients come from, and what time it is there.
pub trait Network {
    /// What the planes send and receive through.
    type Port: Port;
    /// What a viewer sends and receives through.
    type Client: Client;

    /// Ports at one address, one for each core.
    fn ports(&mut self, cores: u16, config: &PortConfig) -> Vec<Self::Port>;

    /// Where they are.
    fn server(&self) -> SocketAddr;

    /// Another client.
    fn client(&mut self, number: u32) -> Self::Client;

    /// Now.
    fn now(&self) -> Time;

    /// Lets a little time pass.
    fn pass(&mut self);
}

/// Planes, streams and viewers on one network.
pub struct World<N: Network> {
    /// Where it happens.
    pub network: N,
    /// The shared memory.
    pub region: Region,
    /// Each core's plane and port.
    pub cores: Vec<(Plane, Tap<N::Port, Spy>)>,
    /// Those who watch.
    pub viewers: Vec<Viewer<N::Client>>,
    events: Vec<EventConsumer>,
    ticked_at: Time,
    seed: u64,
}

impl<N: Network> World<N> {
    /// A world of nobody.
    ///
    /// # Panics
    /// When there is no memory for it.
    #[must_use]
    pub fn new(mut network: N, seed: u64) -> Self {
        let region = Region::create(&LIMITS).expect("memory for a small world");
        let ports = network.ports(LIMITS.cores, &PortConfig::default());
        let mut cores = Vec::new();
        let mut events = Vec::new();
        for (number, port) in (0..).zip(ports) {
            let core = CoreId(number);
            let outlets = Outlets::take(&region, core).expect("nobody else has them");
            let plane = Plane::new(core, &LIMITS, outlets, seed ^ u64::from(number));
            cores.push((plane, Tap::new(port, Spy::default())));
            events.push(region.events_consumer(core).expect("nobody else has it"));
        }
        let viewers = Vec::new();
        Self {
            network,
            region,
            cores,
            viewers,
            events,
            ticked_at: Time::ZERO,
            seed,
        }
    }

    /// A stream with nothing in it.
    ///
    /// # Panics
    /// When there are too many.
    #[must_use]
    pub fn source(&mut self, index: u32) -> Source {
        Source::open(&self.region, index)
    }

    /// A viewer of this stream joins, served by one core or another; gives its place.
    ///
    /// # Panics
    /// When there are too many.
    pub fn join(&mut self, source: &Source) -> usize {
        let number = u32::try_from(self.viewers.len()).expect("few viewers");
        let cell = self
            .region
            .open_viewer(number)
            .expect("viewers below the limit");
        let client = self.network.client(number);
        let server = self.network.server();
        let viewer = Viewer::new(cell.id(), source, client, server, self.seed);
        let core = self.viewers.len() % self.cores.len();
        self.cores[core].1.watch.expect_viewer(&viewer);
        let now = self.network.now();
        self.cores[core]
            .0
            .apply(now, &Command::AddViewer(*viewer.command()));
        self.viewers.push(viewer);
        self.viewers.len() - 1
    }

    /// One turn of everything.
    pub fn turn(&mut self) {
        self.network.pass();
        let now = self.network.now();
        let is_tick = now.since(self.ticked_at) >= TICK;
        for (plane, port) in &mut self.cores {
            plane.begin(now);
            port.recv(now, &mut Into { plane });
            plane.fan_out(now, port);
            if is_tick {
                plane.tick(now, now.0 + UNIX_OFFSET);
                plane.fan_out(now, port);
            }
            let report = port.flush(now);
            plane.flushed(report.at, report.waiting == 0);
        }
        if is_tick {
            self.ticked_at = now;
        }
        self.carry();
        for events in &mut self.events {
            while events.pop().is_some() {}
        }
        for viewer in &mut self.viewers {
            viewer.turn(now);
        }
    }

    /// Turns for so long.
    pub fn run(&mut self, span: Span) {
        let until = self.network.now() + span;
        while self.network.now() < until {
            self.turn();
        }
    }

    /// So many frames of video at 30 a second with the sound between them, and turns for that time.
    pub fn play(&mut self, sources: &mut [Source], frames: u32) {
        for _ in 0..frames {
            let now = self.network.now();
            for source in sources.iter_mut() {
                source.frame(now);
            }
            self.run(Span::micros(33_333));
        }
    }

    /// A counter over all cores.
    ///
    /// # Panics
    /// When a core has none.
    #[must_use]
    pub fn count(&self, counter: Counter) -> u64 {
        let cores = (0..LIMITS.cores).map(CoreId);
        cores
            .map(|core| {
                self.region
                    .stats(core)
                    .expect("a core of ours")
                    .read(counter)
            })
            .sum()
    }

    /// Parcels from core to core, until there are none.
    fn carry(&mut self) {
        loop {
            let mut parcels = Vec::new();
            for (plane, _) in &mut self.cores {
                parcels.extend(std::iter::from_fn(|| plane.handoff().copied()));
            }
            if parcels.is_empty() {
                return;
            }
            for mut parcel in parcels {
                self.cores[usize::from(parcel.to.0)].0.parcel(&mut parcel);
            }
        }
    }
}

/// What the wall clock is ahead of a world's clock.
const UNIX_OFFSET: u64 = 1_700_000_000_000_000_000;

/// Lends datagrams to a plane.
struct Into<'a> {
    plane: &'a mut Plane,
}

impl RxSink for Into<'_> {
    fn came(&mut self, at: Option<Time>) {
        self.plane.came(at);
    }

    fn datagram(&mut self, meta: wire::datagram::RxMeta, bytes: &mut [u8]) {
        self.plane.datagram(meta, bytes);
    }
}
