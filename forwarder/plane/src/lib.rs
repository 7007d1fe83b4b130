//! What to do with a packet. Sans-IO: bytes and time come in, runs go out; memory is fixed.
//!
//! A turn of a core: [`Plane::begin`] with the time, each received datagram into the
//! [`RxSink`](wire::datagram::RxSink), then [`Plane::fan_out`]. In between, when there is time:
//! [`Plane::apply`] for commands and [`Plane::tick`] for the clock. Nothing allocates after
//! [`Plane::new`] but the ends of a log when a stream or publisher is first named.
//!
//! The way in: `ingest` sorts, `flow` knows whose it is, `check` answers STUN, `feedback` hears
//! RTCP, `publisher` fills a log with what `reorder` has put in order, `upstream` asks for what is
//! missing. The way out: `burst` cuts what is new in a log into runs, once; `live` walks the
//! viewers, `send` seals what each one gets, `rewrite` makes its headers, `history` remembers them.
//! `layers` chooses among the encodings of a stream by what `estimate` thinks of a viewer's path.
#![forbid(unsafe_code)]

mod apply;
mod asked;
mod burst;
mod check;
mod codec;
mod coming;
mod encodings;
pub mod estimate;
mod extension;
mod fanout;
mod feedback;
mod flow;
mod handoff;
mod handover;
mod hearing;
mod history;
mod ingest;
mod keyframe;
mod ladder;
mod lane;
mod layers;
mod live;
mod nack;
mod outbox;
mod overload;
mod pace;
mod passed;
mod probes;
mod publisher;
mod publishers;
mod random;
mod reception;
mod reorder;
mod repair;
mod report;
mod rewrite;
mod seating;
mod send;
mod shared;
mod stream;
mod tick;
mod timeline;
mod together;
mod told;
mod transit;
mod upstream;
mod verdict;
mod viewer;
mod viewers;

use link::Region;
use link::channel::{EventProducer, PuntProducer};
use link::command::TRACKS_MAX;
use link::ids::CoreId;
use link::limits::Limits;
use link::region::LinkError;
use link::stats::{Counter, Stats};
use wire::datagram::Egress;
use wire::time::Time;

use asked::Repairs;
use fanout::{Done, Tables, Turn};
use flow::Flows;
use handoff::Handoffs;
use handover::{Staged, Told};
use layers::Adaptations;
use outbox::Outbox;
use overload::Overload;
use passed::Passed;
use publisher::Publisher;
use publishers::Publishers;
use random::Random;
use report::Wall;
use shared::Shared;
use stream::Stream;
use together::Together;
use transit::Transits;
use viewer::{PATHS_MAX, Viewer};

pub use handoff::{Contents, Parcel};
pub use handover::HandoverError;
pub use report::CNAME;
pub use seal::Cipher;

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

/// Answers, repairs, parcels and packets out of turn, about: the same for all limits.
const FIXED_BYTES: u64 = 5 << 20;

/// The data plane of one core.
pub struct Plane {
    core: CoreId,
    now: Time,
    /// When the datagrams that come now were received.
    came: Option<Time>,
    wall: Wall,
    ticked_at: Time,
    visited: usize,
    /// Something was told to control since it was last woken.
    has_told: bool,
    flows: Flows,
    tables: Tables,
    publishers: Publishers,
    passed: Passed,
    shared: Shared,
    adaptations: Adaptations,
    overload: Overload,
    transits: Transits,
    outbox: Outbox,
    handoffs: Handoffs,
    random: Random,
    outlets: Outlets,
    cipher: Cipher,
    /// What was told ahead to the plane that is to take the place of this one.
    told: Told,
    /// What was told ahead to this one, by number.
    staged: Vec<Option<Box<Staged>>>,
}

/// All that a plane allocates, without its ends of the link: made ahead, for when another plane
/// still has those.
pub struct Blank {
    core: CoreId,
    flows: Flows,
    tables: Tables,
    publishers: Publishers,
    passed: Passed,
    adaptations: Adaptations,
    shared: Shared,
    transits: Transits,
    outbox: Outbox,
    handoffs: Handoffs,
    random: Random,
    staged: Vec<Option<Box<Staged>>>,
}

impl Blank {
    /// For a core. `seed` spreads timestamps, reports and hashes.
    #[must_use]
    pub fn new(core: CoreId, limits: &Limits, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            core,
            flows: Flows::new(flows_max(limits), random.next_u64()),
            tables: Tables::new(limits),
            publishers: Publishers::new(limits.streams_max),
            passed: Passed::new(limits.streams_max),
            adaptations: Adaptations::new(limits.viewers_max),
            shared: Shared::new(),
            transits: Transits::new(),
            outbox: Outbox::new(),
            handoffs: Handoffs::new(core, limits.cores),
            random,
            staged: Vec::new(),
        }
    }

    /// Touches the memory of so many viewers now: the system finds pages when they are touched
    /// first, and that takes longer than to fill them.
    pub fn expect(&mut self, viewers: usize) {
        self.tables.viewers.touch(viewers);
    }

    /// The plane.
    #[must_use]
    pub fn with(self, outlets: Outlets) -> Plane {
        Plane {
            core: self.core,
            now: Time::ZERO,
            came: None,
            wall: Wall::default(),
            ticked_at: Time::ZERO,
            visited: 0,
            has_told: false,
            flows: self.flows,
            tables: self.tables,
            publishers: self.publishers,
            passed: self.passed,
            shared: self.shared,
            adaptations: self.adaptations,
            overload: Overload::default(),
            transits: self.transits,
            outbox: self.outbox,
            handoffs: self.handoffs,
            random: self.random,
            outlets,
            cipher: Cipher::best(),
            told: Told::default(),
            staged: self.staged,
        }
    }
}

impl Plane {
    /// A plane that knows nobody. `seed` spreads timestamps, reports and hashes.
    #[must_use]
    pub fn new(core: CoreId, limits: &Limits, outlets: Outlets, seed: u64) -> Self {
        Blank::new(core, limits, seed).with(outlets)
    }

    /// Seals with `cipher` for viewers to come, instead of the fastest that there is.
    pub fn seal_with(&mut self, cipher: Cipher) {
        self.cipher = cipher;
    }

    /// Control lets newcomers in up to this load of a core, 0 to 1; 0: always. Shortly before that
    /// the plane gives up what is missed the least.
    pub const fn limit_load(&mut self, limit: f64) {
        self.overload.limit(limit);
    }

    /// Bytes that a plane with these limits allocates, about. Those of viewers' slots are touched
    /// only as far as there have been viewers at once, and those of publishers when they come.
    #[must_use]
    pub fn memory_bytes(limits: &Limits) -> u64 {
        let viewers = u64::from(limits.viewers_max)
            * (size_of::<Option<Viewer>>() + Adaptations::MEMORY_BYTES + 32) as u64;
        let stream_bytes = size_of::<Stream>()
            + Publisher::MEMORY_BYTES
            + Passed::MEMORY_BYTES
            + Repairs::STREAM_BYTES
            + 64;
        let streams = u64::from(limits.streams_max) * stream_bytes as u64;
        let flows = Flows::memory_bytes(flows_max(limits)) as u64;
        viewers + streams + flows + FIXED_BYTES
    }

    /// Sends what is to be sent; says how many datagrams were handed to `egress`.
    pub fn fan_out(&mut self, now: Time, egress: &mut impl Egress) -> usize {
        self.begin(now);
        self.publishers.release(now);
        self.feed_back();
        let (replies, reply_bytes) = self.outbox.flush(egress);
        let mut turn = Turn {
            now,
            segments_max: egress.segments_max(),
            egress,
            adaptations: &mut self.adaptations,
            transits: &mut self.transits,
            together: Together::default(),
            is_midway: false,
            repair_age_max: self.overload.repair_age_max(),
            done: Done::default(),
        };
        self.tables.serve_blocked(&mut turn);
        self.tables.serve_live(&mut turn);
        self.tables.repair(&mut turn);
        self.tables.probe(&mut turn);
        self.tables.serve_joining(&mut turn);
        let done = turn.done;
        self.count(&done, replies as u64, reply_bytes as u64);
        usize::try_from(done.datagrams).unwrap_or(usize::MAX) + replies
    }

    /// What [`Plane::fan_out`] has sent was given to the kernel at `at`: all of it, or not.
    pub fn flushed(&mut self, at: Time, is_all: bool) {
        if !self.transits.is_empty() {
            let is_all = is_all && self.tables.lists.blocked.is_empty();
            let at = at.max(self.now);
            self.transits.flushed(at, is_all, &self.outlets.stats);
        }
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
        stats.add(Counter::ProbeSent, done.probes);
        stats.add(Counter::RetransmissionTooOld, done.too_old);
        stats.add(Counter::RetransmissionGivenUp, done.given_up);
        stats.add(Counter::RetransmissionOverBudget, done.over_budget);
    }
}

/// Flows of all viewers and publishers, and a quarter more for those of other cores.
const fn flows_max(limits: &Limits) -> usize {
    (limits.viewers_max as usize * PATHS_MAX + limits.streams_max as usize * TRACKS_MAX) * 5 / 4
}
