//! Owns what viewers of several encodings must get when all is calm: the one that they have chosen,
//! or the best that their paths carry, and something in every moment.

use wire::time::Span;

use super::Mutant;
use super::calm::FOUND_AFTER;
use super::plan::PATHS_BPS;
use super::source::LAYERS_MAX;
use super::watcher::Watcher;
use super::world::World;

/// After a viewer has chosen, the encoding is there: a keyframe was asked for, and once more after
/// 2 s if it did not come.
const CHOSEN_AFTER: Span = Span::millis(2500);

/// When a path carries less, a lower one is there, until the next trial whether more goes.
const LOWERED_AFTER: Span = Span::millis(4000);

/// When a path carries more, probes have found that out step by step.
const RAISED_AFTER: Span = Span::millis(16_000);

/// No picture stands for longer than this meanwhile.
const STANDS_MAX: Span = Span::millis(1000);

/// Between two looks at all pictures.
const LOOK: Span = Span::millis(50);

impl World {
    /// All viewers choose each encoding, then none; paths become narrow, and wide again.
    pub(super) fn drill_layers(&mut self) {
        // Who has moved is found by a check.
        self.briskly(FOUND_AFTER);
        for layer in 0..LAYERS_MAX {
            self.pin_all(Some(layer));
            self.look_on(CHOSEN_AFTER);
            self.must_have_layer(layer, "have chosen it");
        }
        self.pin_all(None);
        self.carry_all(PATHS_BPS[0]);
        let lowest = self.look_on(LOWERED_AFTER);
        self.must_have(&lowest, "have narrow paths", |one, got, best| {
            got < best || best == 0 || !one.is_asked()
        });
        if self.mutant != Some(Mutant::StaysNarrow) {
            self.carry_all(PATHS_BPS[LAYERS_MAX - 1]);
        }
        self.look_on(RAISED_AFTER);
        let layers = self.layers();
        self.must_have(&layers, "have wide paths", |one, got, best| {
            got == best || !one.is_asked()
        });
    }

    fn pin_all(&mut self, layer: Option<usize>) {
        let now = self.stage.now;
        let layer = match self.mutant {
            Some(Mutant::ChoosesAnother) => layer.map(|layer| (layer + 1) % LAYERS_MAX),
            _ => layer,
        };
        for watcher in &self.watchers {
            watcher.pin(now, layer, self.sidecar.as_mut());
        }
    }

    fn carry_all(&mut self, bps: u64) {
        let all = self.watchers.iter_mut();
        all.for_each(|watcher| watcher.carries_bps = bps);
    }

    /// Lets time pass, in which no picture may stand; the lowest encoding that each viewer gets.
    pub(super) fn look_on(&mut self, span: Span) -> Vec<Option<usize>> {
        let until = self.stage.now + span;
        let mut lowest = self.layers();
        while self.stage.now < until && self.goes_on() {
            self.briskly(LOOK);
            let now = self.stage.now;
            let stands =
                |one: &&Watcher| one.media_at().is_some_and(|at| now.since(at) > STANDS_MAX);
            if let Some(one) = self.watchers.iter().find(stands) {
                let number = one.number;
                self.stage
                    .journal
                    .fault(format_args!("the picture of viewer {number} stands"));
            }
            for (lowest, now) in lowest.iter_mut().zip(self.layers()) {
                *lowest = (*lowest).min(now);
            }
        }
        lowest
    }

    /// What each viewer gets now.
    pub(super) fn layers(&self) -> Vec<Option<usize>> {
        let layer = |one: &Watcher| one.picture()?.layer();
        self.watchers.iter().map(layer).collect()
    }

    /// Each viewer gets this encoding, or the best that its publisher sends.
    fn must_have_layer(&self, layer: usize, why: &str) {
        let is_it = |_: &Watcher, got, best: usize| got == layer.min(best);
        self.must_have(&self.layers(), why, is_it);
    }

    /// The same of what they got, which is held against the best.
    pub(super) fn must_have(
        &self,
        layers: &[Option<usize>],
        why: &str,
        is_right: impl Fn(&Watcher, usize, usize) -> bool,
    ) {
        let is_wrong = |(one, got): (&Watcher, &Option<usize>)| {
            let best = self.plan.streams[one.stream()].encodings.max(1) - 1;
            let is_right = got.is_some_and(|got| is_right(one, got, best));
            (!is_right).then_some((one.number, *got, best))
        };
        let all = self.watchers.iter().zip(layers);
        let wrong: Vec<_> = all.filter_map(is_wrong).collect();
        if !wrong.is_empty() && self.goes_on() {
            self.stage.journal.fault(format_args!(
                "viewers do not get their encoding and {why}: (viewer, got, best) {wrong:?}"
            ));
        }
    }
}
