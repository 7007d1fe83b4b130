//! Owns which layer a viewer is sent: down at once when the path is full, up with patience. Hot.

use wire::time::{Span, Time};

use super::Outlook;

/// Layers of a stream that are chosen from, whatever they are: three encodings of three spatial
/// layers each, with all their pictures or half of them, and a quarter of the lowest.
pub const POINTS_MAX: usize = 19;

/// A layer is left when the estimate falls below this share of its rate.
const ENOUGH: f32 = 0.95;

/// A layer is chosen when the estimate exceeds its rate by this factor, ...
const AMPLE: f32 = 1.15;
/// ... for this long, ...
const AMPLE_FOR: Span = Span::secs(1);
/// ... and the last change was so long ago.
const CALM: Span = Span::secs(2);

/// A fall this soon after a climb makes the next climb wait: 5, 10, 20 s.
const SOON: Span = Span::secs(10);
const HOLD_S: u64 = 5;
const HOLD_DOUBLED_MAX: u8 = 2;

/// A smaller picture begins with a keyframe, and nothing is seen until that has come. One that
/// would take longer, behind what waits already, is not chosen in a fall, but the smallest: from
/// there it climbs when the queue has drained.
const LATE: Span = Span::millis(250);

/// Bits of a keyframe are those of its layer in this part of a second: 12 KB of 390 to 560 kbit/s,
/// 3 KB of 150, of Chromium's VP9.
const KEYFRAME_PART: f32 = 6.0;

/// A hold is no time for probes but for its end, so that their answer is there.
const PROBES_BEFORE: Span = Span::secs(2);

/// Layers' rates are averaged over this time: a keyframe is no change of rate.
const SMOOTHED_OVER_S: f32 = 3.0;

/// A layer as its publisher sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerRate {
    /// Bits per second, measured as [`super::Estimator::on_sent`] is told bytes; with all that is
    /// sent beside it, e.g. audio. 0: not known yet, which is no choice but for the lowest.
    pub bps: u32,
    /// False: its publisher has ceased to send it.
    pub is_live: bool,
    /// Layers of one size and encoding have the same number; between others lies a keyframe.
    pub picture: u8,
}

/// Chooses for one viewer.
#[derive(Clone, Debug)]
pub struct Choice {
    rates: [f32; POINTS_MAX],
    /// Layers that there were: with another number they are others.
    known: usize,
    smoothed_at: Time,
    ample_since: Option<Time>,
    changed_at: Option<Time>,
    climbed_at: Option<Time>,
    held_until: Time,
    doubled: u8,
}

impl Default for Choice {
    fn default() -> Self {
        Self::new()
    }
}

impl Choice {
    /// A choice without a past.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rates: [0.0; POINTS_MAX],
            known: 0,
            smoothed_at: Time::ZERO,
            ample_since: None,
            changed_at: None,
            climbed_at: None,
            held_until: Time::ZERO,
            doubled: 0,
        }
    }

    /// The layer to send. `layers` ascend in rate; what is beyond [`POINTS_MAX`] is never chosen.
    /// `current` is what was chosen last, even if its keyframe is still waited for. `cap`: the
    /// highest layer that is wanted. The lowest live layer is always good enough; if none is live,
    /// `current` stays.
    pub fn choose(
        &mut self,
        now: Time,
        outlook: Outlook,
        layers: &[LayerRate],
        current: usize,
        cap: Option<usize>,
    ) -> usize {
        self.smooth(now, layers);
        let bps = rate(outlook.bps);
        let Some((lowest, top)) = bounds(layers, cap) else {
            return current;
        };
        if current > top || !is_live(layers, current) {
            let chosen = self.best(layers, top, bps, 1.0).unwrap_or(lowest);
            self.change(now);
            return chosen;
        }
        let is_short = outlook.is_limited && bps < ENOUGH * self.rate(current);
        if is_short && current > lowest {
            let affordable = self.best(layers, current - 1, bps, 1.0);
            self.fall(now);
            let chosen = affordable.unwrap_or(lowest);
            return self.in_time(outlook, layers, (lowest, current), chosen);
        }
        let ample = self.best(layers, top, bps, AMPLE);
        let Some(ample) = ample.filter(|layer| *layer > current) else {
            self.ample_since = None;
            return current;
        };
        let since = *self.ample_since.get_or_insert(now);
        let is_calm = self.changed_at.is_none_or(|at| now.since(at) >= CALM);
        if now.since(since) < AMPLE_FOR || !is_calm || now < self.held_until {
            return current;
        }
        self.change(now);
        self.climbed_at = Some(now);
        ample
    }

    /// What the path would have to carry for the next higher layer, or for the current one with
    /// ease, if it is not known to. `None`: there is nothing to find out.
    #[must_use]
    pub fn wanted(
        &self,
        now: Time,
        outlook: Outlook,
        layers: &[LayerRate],
        current: usize,
        cap: Option<usize>,
    ) -> Option<u64> {
        if self.held_until > now + PROBES_BEFORE {
            return None;
        }
        let bps = rate(outlook.bps);
        let (_, top) = bounds(layers, cap)?;
        (current..=top)
            .filter(|layer| self.is_known(layers, *layer))
            .map(|layer| AMPLE * self.rate(layer))
            .find(|needed| *needed > bps)
            .map(|needed| bits(needed) + 1)
    }

    #[inline]
    fn rate(&self, layer: usize) -> f32 {
        self.rates.get(layer).copied().unwrap_or(f32::MAX)
    }

    /// True if the layer is live and its rate has been measured.
    fn is_known(&self, layers: &[LayerRate], layer: usize) -> bool {
        is_live(layers, layer) && self.rate(layer) > 0.0
    }

    /// The highest live layer up to `top` whose rate times `factor` is affordable.
    fn best(&self, layers: &[LayerRate], top: usize, bps: f32, factor: f32) -> Option<usize> {
        (0..=top)
            .rev()
            .find(|layer| self.is_known(layers, *layer) && bps >= factor * self.rate(*layer))
    }

    /// What a fall from `current` to `chosen` leads to: less, if it would begin too late.
    fn in_time(
        &self,
        outlook: Outlook,
        layers: &[LayerRate],
        (lowest, current): (usize, usize),
        chosen: usize,
    ) -> usize {
        let picture = |layer: usize| layers.get(layer).map(|layer| layer.picture);
        if picture(chosen) == picture(current) || picture(chosen) == picture(lowest) {
            return chosen;
        }
        let keyframe_s = self.rate(chosen) / KEYFRAME_PART / rate(outlook.bps);
        let queue_ms = u16::try_from(outlook.queue.as_millis()).unwrap_or(u16::MAX);
        let late_ms = f32::from(queue_ms) + 1e3 * keyframe_s;
        if late_ms <= f32::from(u16::try_from(LATE.as_millis()).unwrap_or(u16::MAX)) {
            return chosen;
        }
        // All pictures of the smallest size, if the path carries them.
        let is_smallest = |layer: &usize| picture(*layer) == picture(lowest);
        let smallest = (lowest..chosen).rev().filter(is_smallest);
        let mut carried = smallest.filter(|layer| rate(outlook.bps) >= self.rate(*layer));
        carried.next().unwrap_or(lowest)
    }

    fn smooth(&mut self, now: Time, layers: &[LayerRate]) {
        let ms = now.since(self.smoothed_at).0 / 1_000_000;
        self.smoothed_at = now;
        if self.known != layers.len() {
            self.known = layers.len();
            self.rates = [0.0; POINTS_MAX];
        }
        let share = f32::from(u16::try_from(ms).unwrap_or(u16::MAX)) / 1_000.0 / SMOOTHED_OVER_S;
        for (smoothed, layer) in self.rates.iter_mut().zip(layers) {
            let bps = rate(layer.bps.into());
            if !layer.is_live {
                // Its next rate is taken as it comes.
                *smoothed = 0.0;
            } else if *smoothed <= 0.0 {
                *smoothed = bps;
            } else {
                *smoothed += (bps - *smoothed) * share.min(1.0);
            }
        }
    }

    fn fall(&mut self, now: Time) {
        self.change(now);
        if let Some(climbed_at) = self.climbed_at.take() {
            if now.since(climbed_at) < SOON {
                self.held_until = now + Span::secs(HOLD_S << self.doubled);
                self.doubled = (self.doubled + 1).min(HOLD_DOUBLED_MAX);
            } else {
                self.doubled = 0;
            }
        }
    }

    fn change(&mut self, now: Time) {
        self.changed_at = Some(now);
        self.ample_since = None;
    }
}

/// The lowest live layer and the highest one that may be chosen.
fn bounds(layers: &[LayerRate], cap: Option<usize>) -> Option<(usize, usize)> {
    let known = layers.get(..POINTS_MAX).unwrap_or(layers);
    let lowest = known.iter().position(|layer| layer.is_live)?;
    let last = known.len() - 1;
    Some((lowest, cap.unwrap_or(last).clamp(lowest, last)))
}

fn is_live(layers: &[LayerRate], layer: usize) -> bool {
    layer < POINTS_MAX && layers.get(layer).is_some_and(|layer| layer.is_live)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rates are compared with margins"
)]
fn rate(bps: u64) -> f32 {
    bps as f32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates"
)]
fn bits(bps: f32) -> u64 {
    bps as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: [LayerRate; 3] = [live(0, 150_000), live(1, 500_000), live(2, 1_700_000)];

    const fn live(picture: u8, bps: u32) -> LayerRate {
        LayerRate {
            bps,
            is_live: true,
            picture,
        }
    }

    const fn free(bps: u64) -> Outlook {
        Outlook {
            bps,
            is_limited: false,
            queue: Span::ZERO,
        }
    }

    const fn full(bps: u64) -> Outlook {
        Outlook {
            bps,
            is_limited: true,
            queue: Span::ZERO,
        }
    }

    fn at(ms: u64) -> Time {
        Time::ZERO + Span::millis(ms)
    }

    #[test]
    fn it_climbs_with_patience_and_falls_at_once() {
        let mut choice = Choice::new();
        let mut choose =
            |ms, outlook, current| choice.choose(at(ms), outlook, &LAYERS, current, None);
        assert_eq!(choose(0, free(600_000), 0), 0);
        assert_eq!(choose(900, free(600_000), 0), 0);
        assert_eq!(choose(1_000, free(600_000), 0), 1);
        assert_eq!(choose(1_500, free(3_000_000), 1), 1);
        assert_eq!(choose(2_900, free(3_000_000), 1), 1);
        assert_eq!(choose(3_000, free(3_000_000), 1), 2);
        // Little was sent, or the path is full.
        assert_eq!(choose(20_000, free(400_000), 2), 2);
        assert_eq!(choose(20_000, full(1_620_000), 2), 2);
        assert_eq!(choose(20_000, full(550_000), 2), 1);
        assert_eq!(choose(20_050, full(100_000), 1), 0);
        assert_eq!(choose(20_100, full(50_000), 0), 0);
    }

    #[test]
    fn behind_a_queue_it_falls_to_the_smallest_picture() {
        let layers = [
            live(0, 80_000),
            live(0, 100_000),
            live(0, 150_000),
            live(1, 400_000),
            live(1, 560_000),
            live(2, 1_500_000),
            live(2, 2_100_000),
        ];
        let fall = |bps, queue_ms, from| {
            let outlook = Outlook {
                queue: Span::millis(queue_ms),
                ..full(bps)
            };
            Choice::new().choose(at(0), outlook, &layers, from, None)
        };
        // A keyframe of 8 KB takes 130 ms.
        assert_eq!((fall(510_000, 0, 6), fall(510_000, 110, 6)), (3, 3));
        assert_eq!((fall(510_000, 130, 6), fall(510_000, 900, 6)), (2, 2));
        assert_eq!((fall(120_000, 900, 6), fall(60_000, 900, 6)), (1, 0));
        assert_eq!(fall(1_000_000, 140, 6), 4);
        // Without a keyframe nothing has to come.
        assert_eq!((fall(1_600_000, 900, 6), fall(420_000, 900, 4)), (5, 3));
    }

    #[test]
    fn climbs_that_fail_wait_longer_and_longer() {
        let mut choice = Choice::new();
        let mut ms = 0;
        let mut waits = Vec::new();
        for _ in 0..5 {
            let from = ms;
            while choice.choose(at(ms), free(600_000), &LAYERS, 0, None) == 0 {
                ms += 100;
            }
            waits.push(ms - from);
            ms += 1_000;
            assert_eq!(choice.choose(at(ms), full(200_000), &LAYERS, 1, None), 0);
        }
        assert_eq!(waits, [1_000, 5_000, 10_000, 20_000, 20_000]);
        // One that lasted makes good for it.
        let wait = |choice: &mut Choice, mut ms| {
            let from = ms;
            while choice.choose(at(ms), free(600_000), &LAYERS, 0, None) == 0 {
                ms += 100;
            }
            ms - from
        };
        assert_eq!(wait(&mut choice, ms), 20_000);
        assert_eq!(
            choice.choose(at(ms + 60_000), full(200_000), &LAYERS, 1, None),
            0
        );
        assert_eq!(wait(&mut choice, ms + 60_000), 2_000);
    }

    #[test]
    fn silent_layers_and_those_above_the_cap_are_left() {
        let mut choice = Choice::new();
        let mut layers = LAYERS;
        layers[2].is_live = false;
        assert_eq!(choice.choose(at(0), free(9_000_000), &layers, 2, None), 1);
        assert_eq!(
            choice.choose(at(9_000), free(9_000_000), &layers, 1, Some(0)),
            0
        );
        layers[0].is_live = false;
        assert_eq!(
            choice.choose(at(9_000), free(100_000), &layers, 0, Some(0)),
            1
        );
        layers[1].is_live = false;
        assert_eq!(choice.choose(at(9_000), free(100_000), &layers, 1, None), 1);
        assert_eq!(choice.choose(at(9_000), free(100_000), &[], 1, None), 1);
    }

    #[test]
    fn a_keyframe_is_no_change_of_rate() {
        let mut choice = Choice::new();
        let mut layers = LAYERS;
        choice.choose(at(0), free(1_900_000), &layers, 2, None);
        layers[2].bps = 2_600_000;
        for ms in [100, 200, 300] {
            assert_eq!(choice.choose(at(ms), full(1_900_000), &layers, 2, None), 2);
        }
    }

    #[test]
    fn what_is_wanted_is_the_next_thing_that_is_not_known() {
        let mut choice = Choice::new();
        choice.choose(at(0), free(200_000), &LAYERS, 0, None);
        let wanted = |bps, current, cap| choice.wanted(at(0), free(bps), &LAYERS, current, cap);
        assert_eq!(wanted(200_000, 0, None).map(|bps| bps / 1_000), Some(575));
        assert_eq!(wanted(600_000, 0, None).map(|bps| bps / 1_000), Some(1_955));
        assert_eq!(wanted(600_000, 0, Some(1)), None);
        assert_eq!(
            wanted(1_800_000, 2, None).map(|bps| bps / 1_000),
            Some(1_955)
        );
        assert_eq!(wanted(2_000_000, 2, None), None);
    }
}
