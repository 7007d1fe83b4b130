//! Owns what a loaded core gives up, and in which order: old repairs first, then the upper layers
//! of those viewers whose paths carry the least anyway. Newcomers come last, and are control's to
//! refuse.
//!
//! A core that has no time left delays everybody by as much as it lacks. What is given up before
//! that is what is missed the least: a repair that comes too late to be shown, and layers that a
//! path hardly carries.

use link::stats::{Counter, Stats};
use wire::time::{Span, Time};

use crate::estimate::LayerRate;
use crate::ladder::Ladder;
use crate::layers::Adaptation;

/// From one look at the load to the next.
const SAMPLE: Span = Span::millis(100);

/// The part of a sample that counts at once while the load rises: nine tenths of a step are seen
/// within 700 ms.
const RISE: f64 = 0.3;
/// And while it falls: within five seconds, which is longer than from keyframe to keyframe mostly.
const FALL: f64 = 0.05;

/// Old repairs are given up from this part of the load on up to which viewers are let in.
pub const REPAIRS_AT: f64 = 0.90;

/// And upper layers from this one on. Newcomers are refused at the whole of it.
pub const LAYERS_AT: f64 = 0.95;

/// A stage ends when the load is below this part of what began it.
const CALM: f64 = 0.9;

/// A repair is old when it is asked for so long, and a round trip, after its packet came: browsers
/// ask within 20 to 50 ms for the first time, so that it was asked for and sent before.
pub const OLD: Span = Span::millis(100);

/// Viewers are held lower, and let go, in steps of so many of 256 ...
const STEP: u32 = 32;
/// ... and never more than these: those whose paths carry what they are sent keep it.
const SHARE_MAX: u32 = 128;
/// What a step has saved is seen after this: a smaller picture begins at a keyframe. Every viewer
/// is looked at several times meanwhile, and all about as often.
const STEP_INTERVAL: Span = Span::secs(1);

/// Layers that were given back and have to be taken again soon, within this, were given back too
/// early: what they cost is more than the core has. From one step back to the next it takes twice
/// as long then, up to the longest, and half as long again with each that is kept: back and forth
/// would be keyframes without end.
const RELAPSE: Span = Span::secs(20);
const BACK_INTERVAL_MAX: Span = Span::secs(32);

/// Classes of viewers by what their path carries, of what the whole stream takes. All that carry
/// it with ease are in the last.
const CLASSES: usize = 48;
/// Classes up to that of a path which carries just that.
const CLASSES_TO_WHOLE: u64 = 32;

/// What is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing.
    #[default]
    Calm,
    /// Old repairs.
    Repairs,
    /// Upper layers as well.
    Layers,
}

/// How loaded a core is, and what it gives up.
pub struct Overload {
    /// The load up to which viewers are let in.
    limit: f64,
    load: f64,
    /// The same without the slow fall: a step must not be taken for what the one before has mended.
    recent: f64,
    stage: Stage,
    /// Nanoseconds that had passed, and those that were not free, at the last sample.
    counted: Option<(u64, u64)>,
    sampled_at: Time,
    /// Of 256 viewers, how many are held lower.
    share: u32,
    stepped_at: Time,
    /// Since when as many have been held lower, once the stage has ended.
    kept_from: Time,
    /// When fewer were held lower than before, unless layers have been taken again since.
    gave_back_at: Option<Time>,
    /// From one such step to the next.
    back_interval: Span,
    /// Looks at viewers with layers by class, since the last step.
    census: [u32; CLASSES],
    line: Line,
}

/// Which viewers are held lower.
#[derive(Clone, Copy, Default)]
struct Line {
    /// All of the classes below this one, ...
    class: usize,
    /// ... and of this one so many of 256.
    share: u32,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            limit: 1.0,
            load: 0.0,
            recent: 0.0,
            stage: Stage::default(),
            counted: None,
            sampled_at: Time::ZERO,
            share: 0,
            stepped_at: Time::ZERO,
            kept_from: Time::ZERO,
            gave_back_at: None,
            back_interval: STEP_INTERVAL,
            census: [0; CLASSES],
            line: Line::default(),
        }
    }
}

impl Overload {
    /// Newcomers are let in up to this load from now on; 0: always.
    pub const fn limit(&mut self, limit: f64) {
        self.limit = if limit > 0.0 { limit } else { 1.0 };
    }

    /// Looks at what the worker has counted of its time, if it is time.
    pub fn look(&mut self, now: Time, stats: &Stats) {
        if now.since(self.sampled_at) < SAMPLE {
            return;
        }
        self.sampled_at = now;
        let passed = stats.read(Counter::TimePassed);
        let used = stats.read(Counter::TimeBusy) + stats.read(Counter::TimeCongested);
        let Some(before) = self.counted.replace((passed, used)) else {
            return;
        };
        let passed = passed.wrapping_sub(before.0);
        if passed > 0 {
            let was = self.stage;
            self.weigh(part(used.wrapping_sub(before.1), passed));
            if was < Stage::Layers && self.stage == Stage::Layers {
                self.relapse(now);
            }
        }
        if now.since(self.stepped_at) >= STEP_INTERVAL {
            self.stepped_at = now;
            self.step(now);
            self.draw();
        }
        stats.set(Counter::OverloadStage, self.stage as u64);
    }

    fn weigh(&mut self, load: f64) {
        let weight = if load > self.load { RISE } else { FALL };
        self.load += (load - self.load) * weight;
        self.recent += (load - self.recent) * RISE;
        let began_at = |stage| match stage {
            Stage::Calm => 0.0,
            Stage::Repairs => REPAIRS_AT * self.limit,
            Stage::Layers => LAYERS_AT * self.limit,
        };
        for stage in [Stage::Repairs, Stage::Layers] {
            if self.load >= began_at(stage) {
                self.stage = self.stage.max(stage);
            }
        }
        while self.stage > Stage::Calm && self.load < began_at(self.stage) * CALM {
            self.stage = match self.stage {
                Stage::Layers => Stage::Repairs,
                _ => Stage::Calm,
            };
        }
    }

    /// Layers are taken, perhaps again.
    fn relapse(&mut self, now: Time) {
        let gave_back_at = self.gave_back_at.take();
        self.back_interval = match gave_back_at.filter(|at| now.since(*at) < RELAPSE) {
            Some(_) => Span(2 * self.back_interval.0).min(BACK_INTERVAL_MAX),
            None => STEP_INTERVAL,
        };
    }

    /// More viewers are held lower while the load stays where that begins, fewer when the stage has
    /// ended.
    fn step(&mut self, now: Time) {
        if self.stage == Stage::Layers {
            self.kept_from = now;
            if self.recent >= LAYERS_AT * self.limit {
                self.share = (self.share + STEP).min(SHARE_MAX);
            }
        } else if self.share > 0 && now.since(self.kept_from) >= self.back_interval {
            self.kept_from = now;
            self.share = self.share.saturating_sub(STEP);
            if self.gave_back_at.replace(now).is_some() {
                // The step before has been kept.
                self.back_interval = Span(self.back_interval.0 / 2).max(STEP_INTERVAL);
            }
        }
    }

    /// Finds the line from the classes that were counted.
    fn draw(&mut self) {
        let all: u32 = self.census.iter().sum();
        if all > 0 {
            let mut left = u64::from(all) * u64::from(self.share) / 256;
            self.line = Line::default();
            for count in self.census {
                let count = u64::from(count);
                if left <= count {
                    self.line.share = u32::try_from(left * 256 / count.max(1)).unwrap_or(256);
                    break;
                }
                left -= count;
                self.line.class += 1;
            }
        }
        self.census = [0; CLASSES];
    }

    /// How old a packet may be, besides a round trip, to be sent again; none: as old as it is.
    pub const fn repair_age_max(&self) -> Option<Span> {
        match self.stage {
            Stage::Calm => None,
            Stage::Repairs | Stage::Layers => Some(OLD),
        }
    }

    /// Counts a viewer whose path is thought to carry `bps` where all layers take `whole_bps`; to
    /// be told of every viewer of several layers, of all as often. True: its upper layers are
    /// given up. `is_held`: they were before.
    fn holds(&mut self, slot: u32, bps: u64, whole_bps: u64, is_held: bool) -> bool {
        let class = bps.saturating_mul(CLASSES_TO_WHOLE) / whole_bps.max(1);
        let class = usize::try_from(class).unwrap_or(CLASSES).min(CLASSES - 1);
        self.census[class] += 1;
        let Line { class: line, share } = self.line;
        let is_below = class < line || class == line && chance(slot) < share;
        // Nobody goes back and forth: every change is a keyframe.
        match self.stage {
            Stage::Layers => is_held || is_below,
            _ => is_held && is_below,
        }
    }
}

impl Overload {
    /// The highest rung that a viewer may be on, if that is less than all; it is on `current`. True
    /// beside it: upper layers are taken from it now.
    pub fn cap(
        &mut self,
        slot: u32,
        known: &mut Adaptation,
        ladder: &Ladder,
        current: usize,
    ) -> (Option<usize>, bool) {
        let rates = ladder.rates();
        let Some(last) = rates.len().checked_sub(1).filter(|last| *last > 0) else {
            return (None, false);
        };
        let whole_bps = rates[last].bps.into();
        if !self.holds(slot, known.estimator.bps(), whole_bps, known.held.is_some()) {
            known.held = None;
            return (None, false);
        }
        let is_new = known.held.is_none();
        let held = *known
            .held
            .get_or_insert_with(|| below(rates, current.min(last)));
        (Some(held.min(last)), is_new && held < current)
    }
}

/// The best rung of a smaller picture than this one, or with fewer pictures of the smallest.
fn below(rates: &[LayerRate], rung: usize) -> usize {
    let is_smaller = |rate: &LayerRate| rate.picture < rates[rung].picture;
    let smaller = rates[..rung].iter().rposition(is_smaller);
    smaller.unwrap_or(rung.saturating_sub(1))
}

/// One of 256 by which viewers of one class are told apart: always the same for a viewer.
const fn chance(slot: u32) -> u32 {
    // The golden ratio spreads neighbours.
    slot.wrapping_mul(0x9e37_79b9) >> 24
}

#[expect(clippy::cast_precision_loss, reason = "a part of a tenth of a second")]
fn part(used: u64, passed: u64) -> f64 {
    (used as f64 / passed as f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests;
