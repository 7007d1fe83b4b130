//! Owns what must hold while cores have hardly any time left, and after that: upper layers are
//! given up for some, no picture stands, and all is given back.

use link::ids::CoreId;
use link::stats::{Counter, Stats};
use wire::time::{Span, Time};

use super::Mutant;
use super::world::World;

/// Share of their time that cores have no use of: above where layers are given up, and below where
/// control refuses newcomers.
const BURDEN: f64 = 0.98;

/// After this all are held lower that ever will be: four steps of a second, once the load is seen.
const GIVEN_UP_AFTER: Span = Span::millis(8000);

/// After this all is given back: the load falls slowly, steps back take longer than those before,
/// and what more a path carries is found out step by step.
const GIVEN_BACK_AFTER: Span = Span::secs(30);

/// What a core is burdened with.
pub(super) struct Burden {
    share: f64,
    /// By core, up to when that was counted.
    counted: Vec<Time>,
}

impl Burden {
    pub fn new(share: f64, cores: usize, now: Time) -> Self {
        Self {
            share,
            counted: vec![now; cores],
        }
    }

    /// Takes a part of the time that has passed on a core.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a share of some milliseconds"
    )]
    pub fn weigh(&mut self, core: usize, now: Time, stats: &Stats) {
        let passed = now.since(self.counted[core]).0;
        self.counted[core] = now;
        stats.add(Counter::TimeBusy, (passed as f64 * self.share) as u64);
    }
}

impl World {
    /// Cores become loaded, and are free again.
    pub(super) fn drill_overload(&mut self) {
        let before = self.count(Counter::LayerGivenUp);
        self.burden(Some(BURDEN));
        self.look_on(GIVEN_UP_AFTER);
        let stages = self.stages();
        let all_told = stages.iter().all(|stage| *stage == 2);
        if !all_told && self.goes_on() {
            self.stage
                .journal
                .fault(format_args!("loaded cores are in stages {stages:?}"));
        }
        self.tally.given_up += self.count(Counter::LayerGivenUp) - before;
        if self.mutant != Some(Mutant::StaysLoaded) {
            self.burden(None);
        }
        self.look_on(GIVEN_BACK_AFTER);
        let layers = self.layers();
        self.must_have(&layers, "are not loaded any more", |one, got, best| {
            got == best || !one.is_asked()
        });
        let stages = self.stages();
        let is_over = stages.iter().all(|stage| *stage == 0);
        if !is_over && self.goes_on() {
            self.stage
                .journal
                .fault(format_args!("free cores are in stages {stages:?}"));
        }
        self.burden(None);
    }

    fn burden(&mut self, share: Option<f64>) {
        let (now, cores) = (
            self.stage.now + self.ahead,
            usize::from(self.plan.limits.cores),
        );
        if let Some(forwarder) = &mut self.forwarder {
            forwarder.burden = share.map(|share| Box::new(Burden::new(share, cores, now)));
        }
    }

    /// What each core says that it gives up.
    fn stages(&self) -> Vec<u64> {
        let cores = (0..self.plan.limits.cores).map(CoreId);
        let stats = cores.filter_map(|core| self.region.stats(core).ok());
        stats
            .map(|stats| stats.read(Counter::OverloadStage))
            .collect()
    }
}
