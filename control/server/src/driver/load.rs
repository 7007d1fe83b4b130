//! Owns the sampling of the workers, and the answer to newcomers on a loaded node.

use super::Driver;
use crate::config::Config;
use crate::control::{LoadBrief, LoadView, RefusedView, StreamName};
use crate::load::host::HostReading;
use crate::load::{CAUSES, CoreReading, Estimate, Gate, Newcomer, SAMPLE_INTERVAL, Sacrifice};
use crate::problem::Problem;
use link::ids::CoreId;
use link::region::Region;
use link::stats::Counter;
use rand::Rng;
use session::lines::Lines;
use std::iter;
use std::ops::RangeInclusive;
use tokio::sync::watch;
use wire::time::{Span, Time};

/// Seconds after which one who was refused may try again, by chance: in three the load can have
/// fallen, and those who were refused together do not come together again.
pub(super) const RETRY_AFTER_SECS: RangeInclusive<u32> = 3..=12;

/// Steps of what is shown of a load.
const SHOWN: f64 = 1e4;

/// What is known of the load, and who is let in.
pub(super) struct Loads {
    estimate: Estimate,
    gate: Gate,
    host: watch::Receiver<HostReading>,
    sample_at: Time,
    /// What each worker gave up, when that was looked at last.
    given_up: Vec<Sacrifice>,
}

impl Loads {
    pub(super) fn new(host: watch::Receiver<HostReading>) -> Self {
        Self {
            estimate: Estimate::default(),
            gate: Gate::default(),
            host,
            sample_at: Time::ZERO,
            given_up: Vec::new(),
        }
    }
}

impl Driver {
    /// Takes a sample of all workers if it is time.
    pub(super) fn sample_load(&mut self, now: Time) {
        if now < self.loads.sample_at {
            return;
        }
        self.loads.sample_at = now + SAMPLE_INTERVAL;
        let cores = readings(&self.region, &self.lines);
        let viewers = self.viewers(&cores);
        let host = self.loads.host.borrow_and_update().clone();
        self.loads.estimate.sample(now, &cores, &host, viewers);
        let given_up = self.given_up();
        let before = std::mem::replace(&mut self.loads.given_up, given_up);
        let before = before.into_iter().chain(iter::repeat(Sacrifice::Nothing));
        for ((core, now), before) in self.loads.given_up.iter().enumerate().zip(before) {
            if *now > before {
                tracing::warn!(core, gives_up = now.name(), "the worker is loaded");
            } else if *now < before {
                tracing::info!(core, gives_up = now.name(), "the worker is less loaded");
            }
        }
    }

    /// What each worker gives up.
    fn given_up(&self) -> Vec<Sacrifice> {
        let stage = |core| {
            let stats = self.region.stats(core).ok()?;
            Some(stats.read(Counter::OverloadStage))
        };
        let cores = self.lines.cores();
        cores
            .map(|core| Sacrifice::of(stage(core).unwrap_or(0)))
            .collect()
    }

    /// Lets a newcomer in, or tells when to come again.
    pub(super) fn room_for(&mut self, who: Newcomer) -> Result<(), Problem> {
        let max_load = self.config.borrow().limits.max_load;
        let Loads { gate, estimate, .. } = &mut self.loads;
        gate.ask(who, max_load, estimate).map_err(|overload| {
            tracing::debug!(newcomer = who.name(), %overload, "refused");
            Problem::new(
                503,
                "overloaded",
                "The node is as loaded as it may be",
                overload.to_string(),
                "try again after Retry-After, or at another node; those who watch are not affected",
            )
            .retry_after(rand::rng().random_range(RETRY_AFTER_SECS))
        })
    }

    /// The same for somebody who wants to publish. One whose stream is here already may always
    /// come: those who watch it wait for him.
    pub(super) fn room_to_publish(&mut self, name: &StreamName) -> Result<(), Problem> {
        if !self.is_awaited(name) {
            self.must_not_drain(Newcomer::Publisher)?;
        }
        match self.streams.knows(name) {
            true => Ok(()),
            false => self.room_for(Newcomer::Publisher),
        }
    }

    /// A viewer has been let in, who is not measured yet.
    pub(super) fn viewer_came(&mut self) {
        self.loads.estimate.admitted();
    }

    pub(super) fn load_brief(&self, config: &Config) -> LoadBrief {
        let Loads { estimate, gate, .. } = &self.loads;
        let max_load = config.limits.max_load;
        let limit = if max_load > 0.0 { max_load } else { 1.0 };
        let (load, fullest) = estimate.projected(0);
        let places = u64::from(self.region.limits().viewers_max);
        let free = places.saturating_sub(self.viewers(&readings(&self.region, &self.lines)));
        let (headroom, next) = estimate.headroom(limit);
        let looked = gate
            .clone()
            .look(Newcomer::Viewer, max_load, estimate)
            .is_ok();
        LoadBrief {
            load: shown(load),
            max_load,
            bound_by: match looked {
                true if free < headroom => "limits.viewers_max".to_owned(),
                true => next.to_string(),
                false => fullest.to_string(),
            },
            accepts_viewers: looked && free > 0,
            headroom_viewers: if looked { headroom.min(free) } else { 0 },
        }
    }

    pub(super) fn load_view(&self) -> LoadView {
        let Loads { estimate, gate, .. } = &self.loads;
        let causes = CAUSES.iter().zip(estimate.by_cause());
        let mut refused = Vec::new();
        for (who, counts) in Newcomer::ALL.iter().zip(gate.refused()) {
            for (cause, count) in CAUSES.iter().zip(counts) {
                refused.push(RefusedView {
                    newcomer: who.name().to_owned(),
                    cause: (*cause).to_owned(),
                    count: *count,
                });
            }
        }
        LoadView {
            brief: self.load_brief(&self.config.borrow()),
            viewer_load: estimate.viewer_load(),
            causes: causes
                .map(|(name, load)| ((*name).to_owned(), shown(load)))
                .collect(),
            gives_up: self
                .given_up()
                .into_iter()
                .map(|one| one.name().to_owned())
                .collect(),
            cores: estimate.cores().map(|load| load.map(shown)).collect(),
            devices: estimate
                .devices()
                .map(|(name, load)| (name.to_owned(), shown(load)))
                .collect(),
            refused,
        }
    }

    /// How many watch.
    pub(super) fn viewer_count(&self) -> u64 {
        self.viewers(&readings(&self.region, &self.lines))
    }

    /// Viewers who were let in and have not left: sessions, also those on their way in, or what
    /// workers serve, of which an earlier life of control has let in some.
    fn viewers(&self, cores: &[CoreReading]) -> u64 {
        let sessions = self.sessions.stream_views();
        let let_in: u64 = sessions.map(|view| u64::from(view.viewers)).sum();
        let_in.max(cores.iter().map(|core| core.viewers).sum())
    }
}

fn readings(region: &Region, lines: &Lines) -> Vec<CoreReading> {
    lines.cores().map(|core| reading(region, core)).collect()
}

/// What a worker has counted. One that cannot be read has counted nothing.
fn reading(region: &Region, core: CoreId) -> CoreReading {
    let Ok(stats) = region.stats(core) else {
        return CoreReading::default();
    };
    let read = |counter| stats.read(counter);
    CoreReading {
        passed: Span(read(Counter::TimePassed)),
        busy: Span(read(Counter::TimeBusy)),
        congested: Span(read(Counter::TimeCongested)),
        viewers: read(Counter::ViewerActive),
        packets_sent: read(Counter::PacketSent),
        bytes_sent: read(Counter::ByteSent),
        received: read(Counter::DatagramReceived),
        skipped: read(Counter::LogReaderSkipped),
    }
}

fn shown(load: f64) -> f64 {
    (load * SHOWN).round() / SHOWN
}
