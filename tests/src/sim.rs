//! Owns the simulator: the whole system in virtual time, and everything that goes wrong, from one
//! seed.
//!
//! Real: sessions with ICE and DTLS, control's ends of the link, the memory, every core's seat with
//! its plane, SRTP. Simulated: the clock, the network, the processes' lives, encoders and viewers.
//! Of the driver only what has no task, HTTP or SRT is real; the rest of it is `sidecar`, which is
//! short. Keys come from the system's random source, as those of DTLS must; nothing that is decided
//! hangs on them, so a seed always tells the same story.
//!
//! What is checked with every packet: `ledger` for what is sent, `picture` for what arrives. What
//! is checked at the end of a storm, and when everybody has left: `calm`. See control/notes/0010.

mod burden;
mod calm;
pub mod client;
pub mod dtls;
pub mod forwarder;
pub mod journal;
mod layers;
pub mod ledger;
mod lives;
pub mod picture;
pub mod plan;
pub mod publisher;
pub mod runs;
pub mod sidecar;
pub mod source;
pub mod stage;
mod storm;
mod streams;
mod succession;
pub mod watcher;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use journal::Journal;
use plan::Plan;
use world::World;

/// A deliberate mistake, by which it is proved that a check can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A packet of media goes out twice, with other bytes.
    RepeatsNonce,
    /// A packet of SRTCP goes out twice.
    RepeatsReport,
    /// A packet of media is left out, number and all.
    SkipsNumber,
    /// The bytes of one stream are in another.
    SwapsStreams,
    /// A byte of a payload is another one.
    ChangesByte,
    /// A sidecar goes on with nothing.
    AdoptsNobody,
    /// A viewer gets nothing any more, and its session lives.
    ForgetsViewer,
    /// The next forwarder takes its time.
    RestartsLate,
    /// The cell of a viewer stays open.
    LeaksCell,
    /// A forwarder that takes the place of another begins with nothing.
    ForgetsHandover,
    /// It does not know what it was told ahead.
    ForgetsTold,
    /// A loaded core stays loaded.
    StaysLoaded,
    /// A frame is left out over an upgrade.
    SkipsFrame,
    /// Viewers choose another encoding than the one that they expect.
    ChoosesAnother,
    /// Paths that were narrow stay so.
    StaysNarrow,
}

/// How a run went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was found to be wrong, the first first.
    pub faults: Vec<String>,
    /// The events, if they were wanted.
    pub trace: String,
    /// What has happened.
    pub tally: Tally,
}

/// What has happened in runs: a simulation in which nothing happens finds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets of media that forwarders have sent.
    pub packets: u64,
    /// Packets of SRTCP that have arrived.
    pub reports: u64,
    /// Sessions that got keys.
    pub sessions: u64,
    /// Sessions that a new sidecar went on with.
    pub adopted: u64,
    /// Forwarders that died.
    pub forwarder_deaths: u64,
    /// Sidecars that died.
    pub sidecar_deaths: u64,
    /// Numbers left out after deaths.
    pub jumps: u64,
    /// Packets lost, repeated and damaged by the network.
    pub mishaps: u64,
    /// Viewers that were told that their session is no more.
    pub told: u64,
    /// Packets that were sent again.
    pub repaired: u64,
    /// Forwarders that went on where another one was.
    pub upgrades: u64,
    /// Datagrams that have waited in sockets for them.
    pub waited: u64,
    /// Bytes that they went on with.
    pub left_bytes: u64,
    /// Sidecars that were replaced.
    pub sidecar_upgrades: u64,
    /// Changes of viewers from one encoding to another.
    pub switches: u64,
    /// Layers that loaded cores have given up.
    pub given_up: u64,
}

/// Runs a seed. `trace`: the events are wanted. A panic is a fault like any other.
#[must_use]
pub fn run(seed: u64, trace: bool, mutant: Option<Mutant>) -> Outcome {
    let journal = Journal::new(trace);
    let (plan, told) = (Plan::of(seed), journal.clone());
    let ran = catch_unwind(AssertUnwindSafe(|| World::new(plan, told, mutant).run()));
    let tally = ran.unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| cause.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_default();
        journal.fault(format_args!("panicked: {text}"));
        Tally::default()
    });
    let (faults, trace) = journal.take();
    Outcome {
        faults,
        trace,
        tally,
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.reports += other.reports;
        self.sessions += other.sessions;
        self.adopted += other.adopted;
        self.forwarder_deaths += other.forwarder_deaths;
        self.sidecar_deaths += other.sidecar_deaths;
        self.jumps += other.jumps;
        self.mishaps += other.mishaps;
        self.told += other.told;
        self.repaired += other.repaired;
        self.upgrades += other.upgrades;
        self.waited += other.waited;
        self.left_bytes += other.left_bytes;
        self.sidecar_upgrades += other.sidecar_upgrades;
        self.switches += other.switches;
        self.given_up += other.given_up;
    }
}
