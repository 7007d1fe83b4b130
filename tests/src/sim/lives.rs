//! Owns the lives of both processes: when they come, die, and are replaced.

use wire::time::Time;

use super::Mutant;
use super::sidecar::{Parts, Sidecar};
use super::source::Encoder;
use super::world::{SERVER, World};

impl World {
    /// The forwarder dies, or the one that is about to come to its place.
    pub(super) fn forwarder_dies(&mut self) {
        let is_awaited = self.successor.take().is_some();
        let Some(forwarder) = self.forwarder.take() else {
            if is_awaited {
                self.region.reap(link::region::Role::Forwarder);
                self.forwarder_is_dead();
            }
            return;
        };
        forwarder.bury(self.stage.now, self.is_out);
        self.forwarder_is_dead();
    }

    fn forwarder_is_dead(&mut self) {
        self.stage
            .journal
            .note(format_args!("the forwarder has died"));
        self.tally.forwarder_deaths += 1;
        self.ledger.forwarder_died();
        self.forwarder_comes = Some(self.stage.now + self.gaps[0]);
    }

    /// The sidecar dies.
    pub(super) fn sidecar_dies(&mut self) {
        if self.sidecar.is_some() {
            self.stage
                .journal
                .note(format_args!("the sidecar has died"));
            self.tally.sidecar_deaths += 1;
        }
        self.sidecar_ends();
    }

    /// The sidecar ends without a farewell: another one takes its place.
    pub(super) fn replace_sidecar(&mut self) {
        let Some(sidecar) = &self.sidecar else { return };
        self.stage
            .journal
            .note(format_args!("the sidecar leaves its place"));
        self.tally.sidecar_upgrades += 1;
        self.live_before = sidecar.live_sessions();
        self.sidecar_ends();
    }

    fn sidecar_ends(&mut self) {
        let Some(mut sidecar) = self.sidecar.take() else {
            return;
        };
        for add in sidecar.added.drain(..) {
            self.ledger.expect(&add);
        }
        sidecar.bury();
        // They connect again, and begin with one.
        self.encoders.iter_mut().for_each(Encoder::force_key);
        self.sidecar_comes = Some(self.stage.now + self.gaps[1]);
    }

    /// Starts what is to be started.
    pub(super) fn live(&mut self) {
        let now = self.stage.now;
        if self.forwarder_comes.is_some_and(|at| at <= now) {
            self.forwarder_comes = None;
            self.start_forwarder();
        }
        if self.sidecar_comes.is_some_and(|at| at <= now) {
            self.sidecar_comes = None;
            self.start_sidecar();
        }
    }

    fn start_sidecar(&mut self) {
        self.lives += 1;
        self.sidecar_stalls_until = Time::ZERO;
        let mut sidecar = Sidecar::start(Parts {
            region: &self.region,
            plan: &self.plan,
            server: SERVER.parse().expect("an address"),
            now: self.stage.now,
            ahead: self.ahead,
            seed: self.plan.seed ^ self.lives << 32,
            journal: self.stage.journal.clone(),
            adopts: self.mutant != Some(Mutant::AdoptsNobody),
        });
        sidecar.die_after(self.die_again[1].take());
        self.tally.adopted += u64::from(sidecar.session_count());
        let before = std::mem::take(&mut self.live_before);
        let lost = before.iter().filter(|id| !sidecar.knows(id)).count();
        if lost > 0 {
            let all = before.len();
            self.stage.journal.fault(format_args!(
                "{lost} of {all} sessions were not gone on with after an upgrade"
            ));
        }
        self.sidecar = Some(sidecar);
    }
}

/// A number of things, for a tally.
pub(super) fn count(things: usize) -> u64 {
    u64::try_from(things).unwrap_or(u64::MAX)
}
