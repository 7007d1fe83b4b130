//! Owns the sight of a queue that grows: one-way delays of groups of packets, their trend, and a
//! threshold that follows what is usual on the path (draft-ietf-rmcat-gcc-02 section 5). Hot.
//!
//! Only differences of delays count, so the two clocks need not agree. A group's delay is that of
//! its luckiest packet: the first of a run tells what lay in the queue before it, while the last
//! one of a keyframe mostly waited for its own.
//!
//! Floats: a slope of least squares and averages, some dozens of times a second and viewer.

use super::trend::Trend;

/// Packets that were sent within this time are one group. The draft's 5 ms (section 5.2) are for
/// a pacer's bursts; a run is sent at once, and audio before it is no part of it.
const GROUP_US: i64 = 1_000;

/// Groups that the certainty of a trend grows with.
const CERTAIN_GROUPS: u8 = 60;

/// What a trend is multiplied with, so that thresholds are the milliseconds of the draft.
const GAIN: f32 = 4.0;

/// Share of a new delay in the average.
const SMOOTHING: f32 = 0.1;

/// The threshold: where it starts, its bounds, how fast it follows upwards and downwards per
/// millisecond, and what it takes for a peak that it does not follow (the draft, section 5.4).
const THRESHOLD: f32 = 12.5;
const THRESHOLD_MIN: f32 = 6.0;
const THRESHOLD_MAX: f32 = 600.0;
const GAIN_UP: f32 = 0.0087;
const GAIN_DOWN: f32 = 0.039;
const PEAK: f32 = 15.0;
const STEP_MS_MAX: f32 = 100.0;

/// A trend counts when it has lasted this long and over more than one group.
const OVERUSE_MS: f32 = 10.0;

/// And when the queue has this many milliseconds: what is smaller harms nobody.
const QUEUE_MS: f32 = 8.0;

/// Most that jitter asks for on top of that.
const JITTER_MS_MAX: f32 = 60.0;

/// A queue that stays above this for so long is over-use even if it does not grow.
const STANDING_MS: f32 = 60.0;
const STANDING_US: i64 = 1_500_000;

/// If it stands for this long in spite of what was done, the path has become longer.
const LONGER_US: i64 = 6_000_000;

/// The least delay is that of the last one to two spans of this length.
const FLOOR_US: i64 = 10_000_000;

/// After a pause of this length old groups say nothing about a trend.
const PAUSE_US: i64 = 2_000_000;

/// What arrives is measured over at least and at most this time with a queue.
const BUSY_US_MIN: i64 = 80_000;
const BUSY_US_MAX: i64 = 400_000;

/// What the delays say of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    /// It shrinks.
    Under,
    /// It stays as it is.
    #[default]
    Normal,
    /// It grows.
    Over,
    /// It is long and does not shrink.
    Standing,
}

#[derive(Clone, Copy)]
struct Group {
    sent_us: i64,
    /// Least of its packets, with an offset that nobody knows.
    delay_us: i64,
    /// Of the packet with the least delay, as is the next one.
    at_us: i64,
    packet_bytes: u32,
    bytes: u32,
    /// There was a queue before it.
    has_waited: bool,
    /// Some of it, or all that came behind it, was not told of.
    is_broken: bool,
}

pub(super) struct Delay {
    group: Option<Group>,
    /// Delays are told from this one on, so that they are small numbers.
    origin_us: Option<i64>,
    last_at_us: i64,
    trend: Trend,
    groups: u8,
    smoothed_ms: f32,
    /// Mean deviation of a group's delay from the average.
    jitter_ms: f32,
    threshold: f32,
    last_trend: f32,
    over_ms: f32,
    over_groups: u8,
    usage: Usage,
    /// Over-use was seen that nobody has taken.
    is_news: bool,
    floor_ms: f32,
    floor_before_ms: f32,
    floor_since_us: i64,
    /// Since when the queue is long, and whether that was told.
    long_since_us: Option<i64>,
    is_told: bool,
    /// What arrived while each group found a queue, and how long that took.
    busy_bytes: u32,
    busy_us: i64,
}

impl Delay {
    pub const fn new() -> Self {
        Self {
            group: None,
            origin_us: None,
            last_at_us: 0,
            trend: Trend::new(),
            groups: 0,
            smoothed_ms: 0.0,
            jitter_ms: 0.0,
            threshold: THRESHOLD,
            last_trend: 0.0,
            over_ms: 0.0,
            over_groups: 0,
            usage: Usage::Normal,
            is_news: false,
            floor_ms: f32::MAX,
            floor_before_ms: f32::MAX,
            floor_since_us: 0,
            long_since_us: None,
            is_told: false,
            busy_bytes: 0,
            busy_us: 0,
        }
    }

    /// A packet that was sent and arrived at these times, each of its own clock.
    pub fn on_arrival(&mut self, sent_us: i64, at_us: i64, bytes: u32) {
        let delay_us = at_us - sent_us;
        let next = Group {
            sent_us,
            delay_us,
            at_us,
            packet_bytes: bytes,
            bytes,
            has_waited: false,
            is_broken: false,
        };
        match &mut self.group {
            Some(group) if sent_us - group.sent_us <= GROUP_US => {
                group.bytes = group.bytes.saturating_add(bytes);
                // One that was overtaken belongs to a group that is closed.
                if sent_us >= group.sent_us && delay_us < group.delay_us {
                    (group.delay_us, group.at_us) = (delay_us, at_us);
                    group.packet_bytes = bytes;
                }
            }
            _ => {
                if let Some(group) = self.group.replace(next) {
                    self.update(&group);
                    self.note_busy(&group);
                }
            }
        }
    }

    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// True once for each time that over-use was seen.
    pub const fn take_news(&mut self) -> bool {
        core::mem::replace(&mut self.is_news, false)
    }

    /// How much longer than the least delay the delay is.
    pub fn queue_ms(&self) -> f32 {
        (self.smoothed_ms - self.least_ms()).max(0.0)
    }

    /// Mean deviation of delays.
    pub const fn jitter_ms(&self) -> f32 {
        self.jitter_ms
    }

    /// What the path carries, in bits per second: what arrived while there was always a queue.
    /// `None`: there is none, or not for long.
    pub fn carried_bps(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "less than a second")]
        let us = self.busy_us as f64;
        (self.busy_us >= BUSY_US_MIN).then(|| f64::from(self.busy_bytes) * 8e6 / us)
    }

    /// True if the queue is no longer than jitter makes it look.
    pub fn is_short(&self) -> bool {
        self.queue_ms() <= self.noise_ms() + QUEUE_MS
    }

    /// Forgets what arrived with a queue: feedback was lost, so something is missing.
    pub const fn forget_busy(&mut self) {
        (self.busy_bytes, self.busy_us) = (0, 0);
        if let Some(group) = &mut self.group {
            group.is_broken = true;
        }
    }

    /// Forgets the trend, but not what delay is usual: a probe has disturbed it.
    pub const fn clear_trend(&mut self) {
        self.trend = Trend::new();
        self.groups = 0;
        self.over_ms = 0.0;
        self.over_groups = 0;
        self.last_trend = 0.0;
        self.usage = Usage::Normal;
        self.is_news = false;
    }

    fn noise_ms(&self) -> f32 {
        (2.0 * self.jitter_ms).min(JITTER_MS_MAX)
    }

    fn update(&mut self, group: &Group) {
        let origin_us = *self.origin_us.get_or_insert(group.delay_us);
        let delay_ms = millis(group.delay_us - origin_us);
        let step_us = group.at_us - self.last_at_us;
        if self.groups == 0 && self.floor_ms >= f32::MAX {
            self.smoothed_ms = delay_ms;
        } else if !(0..PAUSE_US).contains(&step_us) {
            self.clear_trend();
            self.smoothed_ms = delay_ms;
        }
        self.last_at_us = group.at_us;
        self.groups = self.groups.saturating_add(1).min(CERTAIN_GROUPS);
        let deviation = (delay_ms - self.smoothed_ms).abs();
        self.smoothed_ms += SMOOTHING * (delay_ms - self.smoothed_ms);
        self.trend.push(group.at_us, self.smoothed_ms);
        self.lower_floor(group.at_us);
        let trend = self
            .trend
            .slope()
            .map_or(0.0, |slope| slope * f32::from(self.groups) * GAIN);
        if trend.abs() <= self.threshold {
            self.jitter_ms += (deviation - self.jitter_ms) / 16.0;
        }
        let step_ms = millis(step_us).clamp(0.0, STEP_MS_MAX);
        self.detect(trend, step_ms);
        self.follow(trend, step_ms);
        self.last_trend = trend;
        self.watch_standing(group.at_us);
    }

    /// The next group has come. If both had to wait, the path was busy with `group` in between; one
    /// alone may be a large packet behind a small one.
    fn note_busy(&mut self, group: &Group) {
        let (least_ms, noise_ms) = (self.least_ms(), self.noise_ms());
        let (Some(next), Some(origin_us)) = (&mut self.group, self.origin_us) else {
            return;
        };
        let delay_ms = millis(next.delay_us - origin_us);
        next.has_waited = delay_ms - least_ms > noise_ms + QUEUE_MS;
        let span_us = next.at_us - group.at_us;
        let is_busy = group.has_waited && next.has_waited && !group.is_broken;
        if !is_busy || !(1..BUSY_US_MAX).contains(&span_us) {
            (self.busy_bytes, self.busy_us) = (0, 0);
            return;
        }
        // Both times are those at which a packet had come whole.
        let bytes = (group.bytes - group.packet_bytes).saturating_add(next.packet_bytes);
        self.busy_bytes = self.busy_bytes.saturating_add(bytes);
        self.busy_us += span_us;
        if self.busy_us > BUSY_US_MAX {
            self.busy_bytes /= 2;
            self.busy_us /= 2;
        }
    }

    fn least_ms(&self) -> f32 {
        self.floor_ms.min(self.floor_before_ms)
    }

    fn lower_floor(&mut self, at_us: i64) {
        let span_us = at_us - self.floor_since_us;
        if !(0..FLOOR_US).contains(&span_us) {
            // After twice the span the one before says nothing either.
            let is_next = (0..2 * FLOOR_US).contains(&span_us);
            self.floor_before_ms = if is_next { self.floor_ms } else { f32::MAX };
            self.floor_ms = f32::MAX;
            self.floor_since_us = at_us;
        }
        self.floor_ms = self.floor_ms.min(self.smoothed_ms);
    }

    fn detect(&mut self, trend: f32, step_ms: f32) {
        if trend > self.threshold {
            // It crossed the threshold somewhere between the two groups.
            let share = if self.over_groups == 0 { 0.5 } else { 1.0 };
            self.over_ms += share * step_ms;
            self.over_groups = self.over_groups.saturating_add(1);
            let lasts = self.over_ms > OVERUSE_MS && self.over_groups > 1;
            if lasts && trend >= self.last_trend && !self.is_short() {
                self.over_ms = 0.0;
                self.over_groups = 0;
                self.usage = Usage::Over;
                self.is_news = true;
            }
        } else {
            self.over_ms = 0.0;
            self.over_groups = 0;
            self.usage = if trend < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
    }

    fn follow(&mut self, trend: f32, step_ms: f32) {
        let distance = trend.abs() - self.threshold;
        if distance > PEAK {
            return;
        }
        let gain = if distance < 0.0 { GAIN_DOWN } else { GAIN_UP };
        let next = self.threshold + gain * distance * step_ms;
        self.threshold = next.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }

    fn watch_standing(&mut self, at_us: i64) {
        if self.queue_ms() < STANDING_MS + self.noise_ms() {
            self.long_since_us = None;
            self.is_told = false;
            return;
        }
        let since_us = *self.long_since_us.get_or_insert(at_us);
        let span_us = at_us - since_us;
        if span_us >= LONGER_US {
            self.floor_ms = self.smoothed_ms;
            self.floor_before_ms = f32::MAX;
            self.floor_since_us = at_us;
            self.long_since_us = None;
            self.is_told = false;
        } else if span_us >= STANDING_US && self.usage != Usage::Under {
            self.is_news |= !self.is_told;
            self.is_told = true;
            self.usage = Usage::Standing;
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a tick of 250 us is kept up to an hour"
)]
fn millis(us: i64) -> f32 {
    us as f32 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups every 33 ms with a delay that `delay_ms` gives; how often over-use was seen.
    fn run(delay: &mut Delay, groups: core::ops::Range<i64>, delay_ms: impl Fn(i64) -> i64) -> u32 {
        let mut seen = 0;
        for nth in groups {
            let sent_us = nth * 33_000;
            // The receiver's clock is 77 s behind.
            delay.on_arrival(sent_us, sent_us - 77_000_000 + delay_ms(nth) * 1_000, 4_300);
            seen += u32::from(delay.take_news());
        }
        seen
    }

    #[test]
    fn a_growing_queue_is_seen_within_half_a_second() {
        let mut delay = Delay::new();
        assert_eq!(run(&mut delay, 0..100, |_| 40), 0);
        let seen = run(&mut delay, 100..115, |nth| 40 + (nth - 100) * 10);
        assert!(seen >= 1);
        assert_eq!(delay.usage(), Usage::Over);
        assert!(delay.queue_ms() > QUEUE_MS);
        // 4,300 bytes in 43 ms.
        let carried_bps = delay.carried_bps().unwrap();
        assert!((790e3..810e3).contains(&carried_bps), "{carried_bps}");
        run(&mut delay, 115..140, |nth| 190 - (nth - 115) * 6);
        assert_eq!(delay.usage(), Usage::Under);
        assert_eq!(run(&mut delay, 140..300, |_| 40), 0);
        assert_eq!(delay.usage(), Usage::Normal);
        assert!(delay.is_short());
    }

    #[test]
    fn jitter_is_no_growing_queue() {
        let mut delay = Delay::new();
        let mut state = 1_u32;
        let noise: Vec<i64> = (0..3_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                i64::from(state >> 16) * 30 / 65_536
            })
            .collect();
        let at = |nth: i64| 40 + noise[usize::try_from(nth).unwrap()];
        assert_eq!(run(&mut delay, 0..3_000, at), 0);
        assert!(
            (3.0..15.0).contains(&delay.jitter_ms()),
            "{}",
            delay.jitter_ms()
        );
    }

    #[test]
    fn a_queue_that_stands_is_told_once_and_then_taken_for_the_path() {
        let mut delay = Delay::new();
        run(&mut delay, 0..60, |_| 40);
        // It grows too slowly for the trend.
        let seen = run(&mut delay, 60..360, |nth| 40 + (nth - 60) * 2 / 5);
        assert_eq!((delay.usage(), seen), (Usage::Standing, 1));
        let queue_ms = delay.queue_ms();
        assert!((100.0..120.0).contains(&queue_ms), "{queue_ms}");
        assert_eq!(run(&mut delay, 360..660, |_| 160), 0);
        assert_eq!(delay.usage(), Usage::Normal);
        assert!(delay.is_short(), "{}", delay.queue_ms());
    }
}
