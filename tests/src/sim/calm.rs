//! Owns what must hold when a storm is over: everybody is served or told, deaths are made good in
//! time, and nothing is left when all have gone.

use std::collections::BTreeMap;

use link::stats::Counter;
use wire::time::{Span, Time};

use super::Mutant;
use super::plan::Drill;
use super::sidecar::Sidecar;
use super::watcher::Watcher;
use super::world::World;

/// After the storm everybody is served within this: what may have to run its course first is a
/// handshake that is given up after 4 s, and the longest pause of keyframes, 8 s.
const SETTLED_AFTER: Span = Span::millis(14_000);

/// Media is there if some has come within this: a few frames.
const FRESH: Span = Span::millis(300);

/// A dead process is started again after this by its supervisor.
const GAP: Span = Span::millis(50);

/// After the death of a forwarder media is there again within this.
const RECOVERED_AFTER: Span = Span::millis(500);

/// For a viewer whose address has changed: if the sidecar died before it had put that down, the
/// viewer is found by its next check of consent, 2.5 s later at most.
pub(super) const FOUND_AFTER: Span = Span::millis(3000);

/// Time for what lives to be seen to live.
const STEADY: Span = Span::millis(400);

/// When all have left this is enough for the last to be missed: 30 s without consent, and an audit.
const MISSED_AFTER: Span = Span::secs(45);

impl World {
    /// Waits until everybody is served; who is not in time is a fault.
    pub(super) fn settle(&mut self) {
        let until = self.stage.now + SETTLED_AFTER;
        while self.stage.now < until && self.goes_on() {
            self.briskly(Span::millis(20));
            let is_whole = self.forwarder.is_some() && self.sidecar.is_some();
            if is_whole && self.missing().is_empty() {
                // The last of the storm's datagrams and replays are past then.
                self.briskly(STEADY);
                return self.must_be_on_time();
            }
        }
        let missing = self.missing();
        if self.goes_on() && !missing.is_empty() {
            let missing = missing.join("; ");
            self.stage
                .journal
                .fault(format_args!("neither served nor told: {missing}"));
        }
    }

    /// A process dies in the calm, and what must not suffer is looked at.
    pub(super) fn drill(&mut self, drill: Drill) {
        if !self.goes_on() {
            return;
        }
        self.stage.journal.note(format_args!("drill: {drill:?}"));
        let knows = |id: &&str| self.sidecar.as_ref().is_some_and(|one| one.knows(id));
        let sessions: Vec<String> = self.sessions().filter(knows).map(str::to_owned).collect();
        let late = self.mutant == Some(Mutant::RestartsLate);
        self.gap(drill, if late { Span(GAP.0 * 40) } else { GAP });
        let died_at = self.stage.now;
        match drill {
            Drill::Forwarder => {
                self.forwarder_dies();
                self.briskly(GAP + RECOVERED_AFTER);
                self.must_have_media_since(died_at + GAP, false);
                if self.watchers.iter().any(Watcher::has_moved) {
                    self.briskly(Span(FOUND_AFTER.0 - RECOVERED_AFTER.0));
                    self.must_have_media_since(died_at + GAP, true);
                }
            }
            Drill::Sidecar => {
                self.sidecar_dies();
                self.briskly(GAP + Span::millis(2));
                self.must_know(&sessions);
                self.briskly(STEADY);
            }
            Drill::ForwarderReplaced => self.drill_upgrade(),
            Drill::Layers => self.drill_layers(),
            Drill::Overload => self.drill_overload(),
            Drill::SidecarReplaced => {
                self.replace_sidecar();
                self.briskly(GAP + Span::millis(2));
                self.must_know(&sessions);
                self.briskly(STEADY);
            }
        }
        self.settle();
        let told: u32 = self.watchers.iter().map(|one| one.told).sum();
        self.stage
            .journal
            .note(format_args!("drill done, {told} were told so far"));
    }

    /// Sessions go on, whichever way a sidecar ended.
    fn must_know(&self, sessions: &[String]) {
        let sidecar = self.sidecar.as_ref();
        let knows = |id: &&String| sidecar.is_some_and(|sidecar| sidecar.knows(id));
        let lost = sessions.iter().filter(|id| !knows(id)).count();
        if lost > 0 && self.goes_on() {
            let all = sessions.len();
            self.stage.journal.fault(format_args!(
                "{lost} of {all} sessions were not gone on with by the next sidecar"
            ));
        }
    }

    /// All leave, and nothing is left of them.
    pub(super) fn empty(&mut self) {
        if !self.goes_on() {
            return;
        }
        self.tally.switches = self.watchers.iter().map(Watcher::switches).sum();
        self.disperse();
        self.lazily(MISSED_AFTER);
        if self.mutant == Some(Mutant::LeaksCell) {
            let _ = self.region.open_viewer(0);
        }
        let now = self.stage.now;
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.close_streams(now);
        }
        self.lazily(Span::millis(200));
        let mut left = BTreeMap::new();
        let cells = self.region.viewers().len();
        left.insert("open cells", u64::try_from(cells).unwrap_or(u64::MAX));
        let sessions = self.sidecar.as_ref().map_or(0, |one| one.session_count());
        left.insert("sessions", sessions.into());
        let has_work = self.sidecar.as_mut().is_some_and(Sidecar::has_work);
        left.insert("work of the sidecar", has_work.into());
        left.insert("viewers of workers", self.count(Counter::ViewerActive));
        left.insert(
            "publishers of workers",
            self.count(Counter::PublisherActive),
        );
        left.retain(|_, count| *count > 0);
        let held = self
            .sidecar
            .as_ref()
            .map(|one| one.free_streams())
            .unwrap_or_default();
        if self.goes_on() && !(left.is_empty() && held.is_empty()) {
            self.stage
                .journal
                .fault(format_args!("left when all had gone: {left:?} {held:?}"));
        }
    }

    fn sessions(&self) -> impl Iterator<Item = &str> {
        let viewers = self.watchers.iter().filter_map(|one| one.session());
        viewers.chain(self.sessions_of_publishers().flatten())
    }

    /// Who has no media at the moment, or sends some to nobody.
    fn missing(&self) -> Vec<String> {
        let now = self.stage.now;
        let knows = |id| self.sidecar.as_ref().is_some_and(|one| one.knows(id));
        let is_fresh = |at: Time| now.since(at) <= FRESH;
        let is_served = |one: &&Watcher| one.media_at().is_some_and(is_fresh);
        let viewers = self
            .watchers
            .iter()
            .filter(|one| !is_served(one))
            .map(|one| {
                let (number, stream) = (one.number, one.stream());
                let session = one
                    .session()
                    .map(|id| if knows(id) { "200" } else { "404" });
                format!("viewer {number} of stream {stream}: {session:?}")
            });
        let publishers = self.sessions_of_publishers().enumerate();
        let unknown = publishers.filter(|(_, id)| !id.is_some_and(knows));
        let publishers = unknown.map(|(number, _)| format!("publisher {number} of all"));
        viewers.chain(publishers).collect()
    }

    /// What is shown is shown when it was before, whoever died in between.
    fn must_be_on_time(&self) {
        let late = self.watchers.iter().filter(|one| one.late_ticks() > 0);
        let late: Vec<_> = late.map(|one| (one.number, one.late_ticks())).collect();
        if !late.is_empty() && self.goes_on() {
            let journal = &self.stage.journal;
            journal.fault(format_args!(
                "viewers show their pictures late, in ticks: {late:?}"
            ));
        }
    }

    pub(super) fn must_have_media_since(&mut self, since: Time, moved: bool) {
        let all = self.watchers.iter().filter(|one| one.has_moved() <= moved);
        let without = all.filter(|one| one.media_at().is_none_or(|at| at < since));
        let without: Vec<_> = without.map(|one| one.number).collect();
        if !without.is_empty() && self.goes_on() {
            self.stage.journal.fault(format_args!(
                "viewers {without:?} have no media in time when a forwarder was replaced"
            ));
        }
    }
}
