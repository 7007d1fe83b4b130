//! What to do with a packet. Sans-IO: bytes and time come in, runs go out; memory is fixed.
//!
//! A turn of a core: [`Plane::begin`] with the time, each received datagram into the
//! [`RxSink`](wire::datagram::RxSink), then [`Plane::fan_out`]. In between, when there is time:
//! [`Plane::apply`] for commands and [`Plane::tick`] for the clock. Nothing allocates after
//! [`Plane::new`] but the ends of a log when a stream or publisher is first named.
//!
//! The way in: `ingest` sorts, `flow` knows whose it is, `check` answers STUN, `feedback` hears
//! RTCP, `publisher` fills a log. The way out: `burst` cuts what is new in a log into runs, once;
//! `fanout` walks the viewers, `rewrite` makes each one's headers, `history` remembers them.
#![forbid(unsafe_code)]

mod apply;
mod burst;
mod check;
mod codec;
mod fanout;
mod feedback;
mod flow;
mod handoff;
mod history;
mod ingest;
mod keyframe;
mod nack;
mod outbox;
mod pace;
mod publisher;
mod random;
mod reorder;
mod repair;
mod report;
mod rewrite;
mod stream;
mod tick;
mod verdict;
mod viewer;
mod viewers;

use link::Region;
use link::channel::{EventProducer, PuntProducer};
use link::ids::CoreId;
use link::limits::Limits;
use link::region::LinkError;
use link::stats::{Counter, Stats};
use wire::datagram::Egress;
use wire::time::Time;

use fanout::{Done, Tables, Turn};
use flow::Flows;
use handoff::Handoffs;
use outbox::Outbox;
use publisher::Publishers;
use random::Random;
use report::Wall;
use viewer::PATHS_MAX;

pub use handoff::{Contents, Parcel};
pub use report::CNAME;

/// This core's ends of the link.
pub struct Outlets {
    /// The memory: logs and viewer cells.
    pub region: Region,
    /// Events to control.
    pub events: EventProducer,
    /// Handshake datagrams to control.
    pub punts: PuntProducer,
    /// Counters.
    pub stats: Stats,
}

impl Outlets {
    /// Takes the ends of `core`.
    ///
    /// # Errors
    /// There is no such core, or somebody holds one of its ends.
    pub fn take(region: &Region, core: CoreId) -> Result<Self, LinkError> {
        Ok(Self {
            region: region.clone(),
            events: region.events_producer(core)?,
            punts: region.punts_in_producer(core)?,
            stats: region.stats(core)?,
        })
    }
}

/// The data plane of one core.
pub struct Plane {
    core: CoreId,
    now: Time,
    wall: Wall,
    ticked_at: Time,
    visited: usize,
    /// Something was told to control since it was last woken.
    has_told: bool,
    flows: Flows,
    tables: Tables,
    publishers: Publishers,
    outbox: Outbox,
    handoffs: Handoffs,
    random: Random,
    outlets: Outlets,
}

impl Plane {
    /// A plane that knows nobody. `seed` spreads timestamps, reports and hashes.
    #[must_use]
    pub fn new(core: CoreId, limits: &Limits, outlets: Outlets, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let viewers_max = limits.viewers_max as usize;
        let publishers_max = limits.streams_max as usize;
        // A quarter more for the flows of other cores.
        let flows_max = (viewers_max * PATHS_MAX + publishers_max) * 5 / 4;
        Self {
            core,
            now: Time::ZERO,
            wall: Wall::default(),
            ticked_at: Time::ZERO,
            visited: 0,
            has_told: false,
            flows: Flows::new(flows_max, random.next_u64()),
            tables: Tables::new(limits),
            publishers: Publishers::new(limits.streams_max),
            outbox: Outbox::new(),
            handoffs: Handoffs::new(core, limits.cores),
            random,
            outlets,
        }
    }

    /// Sends what is to be sent; says how many datagrams were handed to `egress`.
    pub fn fan_out(&mut self, now: Time, egress: &mut impl Egress) -> usize {
        self.begin(now);
        self.publishers.release(now);
        let (replies, reply_bytes) = self.outbox.flush(egress);
        let mut turn = Turn {
            now,
            segments_max: egress.segments_max(),
            egress,
            done: Done::default(),
        };
        self.tables.repair(&mut turn);
        self.tables.serve_blocked(&mut turn);
        self.tables.serve_live(&mut turn);
        self.tables.serve_joining(&mut turn);
        let done = turn.done;
        self.count(&done, replies as u64, reply_bytes as u64);
        usize::try_from(done.datagrams).unwrap_or(usize::MAX) + replies
    }

    /// True if control was told something since the last call: then wake it, once a turn.
    pub fn has_told(&mut self) -> bool {
        core::mem::take(&mut self.has_told)
    }

    /// A parcel for another core; copy it to that core's queue, which gives it to its plane by
    /// [`Plane::parcel`].
    pub fn handoff(&mut self) -> Option<&Parcel> {
        self.handoffs.pop()
    }

    fn count(&self, done: &Done, replies: u64, reply_bytes: u64) {
        if replies == 0 && *done == Done::default() {
            return;
        }
        let stats = &self.outlets.stats;
        stats.add(Counter::DatagramSent, done.datagrams + replies);
        stats.add(Counter::ByteSent, done.bytes + reply_bytes);
        stats.add(Counter::PacketSent, done.datagrams);
        stats.add(Counter::RunSent, done.runs + replies);
        stats.add(Counter::EgressFull, done.fulls);
        stats.add(Counter::ViewerSkipped, done.skips);
        stats.add(Counter::LogReaderSkipped, done.overtaken);
        stats.add(Counter::RetransmissionSent, done.resent);
        stats.add(Counter::RetransmissionTooOld, done.too_old);
        stats.add(Counter::RetransmissionOverBudget, done.over_budget);
    }
}
