//! Owns time: 33-bit stamps to one timeline that never jumps, and that timeline to the local clock.
//!
//! The timeline counts 90 kHz ticks from the first stamp. Both tracks share it, so that whatever
//! the sender's stamps do, RTP timestamps and capture times of both keep together.

use crate::num::{signed, unsigned, wrap32};
use crate::output::Track;
use wire::time::Time;

/// Ticks of MPEG-TS stamps a second.
pub(crate) const TICKS_HZ: i64 = 90_000;

/// Samples of Opus's RTP clock a second (RFC 7587 section 4.1).
pub(crate) const SAMPLES_HZ: i64 = 48_000;

/// A stamp further than this both from its track's last one and from the local clock is a jump.
/// More than the interleaving of any multiplexer, less than any wish to wait.
const JUMP_TICKS: i64 = 3 * TICKS_HZ;

/// A track this far behind the local clock for [`LAG_FOR_NS`] is moved up: the encoder paused and
/// went on with the next stamp.
const LAG_TICKS: i64 = 2 * TICKS_HZ;

/// See [`LAG_TICKS`]: long enough for a network that catches up.
const LAG_FOR_NS: i64 = 3_000_000_000;

/// The least delay is looked for in windows of this length.
const WINDOW_NS: i64 = 10_000_000_000;

/// Most that the mapping to the local clock slews up in one window: 200 ppm, twice what crystals
/// differ by.
const SLEW_NS: i64 = 2_000_000;

/// A least delay that rose by more than this is no drift; the mapping follows at once.
const STEP_NS: i64 = 100_000_000;

/// What a stamp of a track came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Its place on the timeline in ticks; negative for what came before the first.
    pub(crate) ticks: i64,
    /// The stamps jumped here by this many ticks.
    pub(crate) jumped: Option<i64>,
}

/// One run of stamps without a jump: a stamp and its place on the timeline.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    stamp: u64,
    ticks: i64,
}

impl Epoch {
    /// Signed 33-bit difference: right across the wrap after 26.5 hours.
    fn place(self, stamp: u64) -> i64 {
        let ahead = stamp.wrapping_sub(self.stamp) & 0x1_ffff_ffff;
        let ahead = if ahead >= 1 << 32 {
            signed(ahead) - (1 << 33)
        } else {
            signed(ahead)
        };
        self.ticks + ahead
    }
}

/// Maps stamps of both tracks to the timeline, and the timeline to the local clock.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    /// The newest first. The other stays for the track that has not jumped yet.
    epochs: [Option<Epoch>; 2],
    last: [Option<i64>; 2],
    lagging_since: Option<i64>,
    anchor: Anchor,
}

impl Timeline {
    /// Places a stamp that arrived at `now`.
    pub(crate) fn place(&mut self, track: Track, stamp: u64, now: Time) -> Mapped {
        let now_ns = signed(now.0);
        let Some(current) = self.epochs[0] else {
            self.epochs[0] = Some(Epoch { stamp, ticks: 0 });
            self.anchor.start(now_ns);
            self.last[track.index()] = Some(0);
            return Mapped {
                ticks: 0,
                jumped: None,
            };
        };
        let expected = self.anchor.ticks_at(now_ns);
        for slot in 0..2 {
            let Some(epoch) = self.epochs[slot] else {
                continue;
            };
            let ticks = epoch.place(stamp);
            if self.is_near(track, ticks, expected) && !self.lags(slot, ticks, expected, now_ns) {
                self.epochs[slot] = Some(Epoch { stamp, ticks });
                self.last[track.index()] = Some(ticks);
                self.anchor.on_arrival(ticks, now_ns);
                return Mapped {
                    ticks,
                    jumped: None,
                };
            }
        }
        let jumped = Some(current.place(stamp) - expected);
        let ticks = self.last[track.index()].map_or(expected, |last| expected.max(last + 1));
        self.epochs = [Some(Epoch { stamp, ticks }), Some(current)];
        self.last[track.index()] = Some(ticks);
        self.lagging_since = None;
        self.anchor.on_arrival(ticks, now_ns);
        Mapped { ticks, jumped }
    }

    /// When the moment at `ticks` was captured, by the local clock: as late as it can have been,
    /// given what arrived when.
    pub(crate) fn capture(&self, ticks: i64) -> Time {
        Time(unsigned(self.anchor.ns_at(ticks)))
    }

    fn is_near(&self, track: Track, ticks: i64, expected: i64) -> bool {
        let near = |other: i64| (ticks - other).abs() <= JUMP_TICKS;
        near(expected) || self.last[track.index()].is_some_and(near)
    }

    /// True once stamps of the current epoch have been far behind the clock for long.
    fn lags(&mut self, slot: usize, ticks: i64, expected: i64, now_ns: i64) -> bool {
        if slot != 0 || expected - ticks < LAG_TICKS {
            self.lagging_since = if slot == 0 { None } else { self.lagging_since };
            return false;
        }
        now_ns - *self.lagging_since.get_or_insert(now_ns) > LAG_FOR_NS
    }
}

/// The local time of timeline zero: the least of arrival minus place, following slow drift.
#[derive(Debug, Default)]
struct Anchor {
    zero_ns: i64,
    window_began_ns: i64,
    window_least_ns: i64,
}

impl Anchor {
    fn start(&mut self, now_ns: i64) {
        *self = Self {
            zero_ns: now_ns,
            window_began_ns: now_ns,
            window_least_ns: now_ns,
        };
    }

    fn ns_at(&self, ticks: i64) -> i64 {
        self.zero_ns.saturating_add(ticks_to_ns(ticks))
    }

    fn ticks_at(&self, ns: i64) -> i64 {
        i64::try_from(i128::from(ns - self.zero_ns) * i128::from(TICKS_HZ) / 1_000_000_000)
            .unwrap_or(i64::MAX)
    }

    fn on_arrival(&mut self, ticks: i64, now_ns: i64) {
        let zero_ns = now_ns.saturating_sub(ticks_to_ns(ticks));
        self.zero_ns = self.zero_ns.min(zero_ns);
        self.window_least_ns = self.window_least_ns.min(zero_ns);
        if now_ns - self.window_began_ns >= WINDOW_NS {
            let rise = self.window_least_ns - self.zero_ns;
            self.zero_ns += if rise > STEP_NS {
                rise
            } else {
                rise.clamp(0, SLEW_NS)
            };
            self.window_began_ns = now_ns;
            self.window_least_ns = zero_ns;
        }
    }
}

fn ticks_to_ns(ticks: i64) -> i64 {
    i64::try_from(i128::from(ticks) * 1_000_000_000 / i128::from(TICKS_HZ)).unwrap_or(i64::MAX)
}

/// Ticks to 48 kHz samples.
pub(crate) const fn ticks_to_samples(ticks: i64) -> i64 {
    ticks.saturating_mul(8).div_euclid(15)
}

/// 48 kHz samples to ticks.
pub(crate) const fn samples_to_ticks(samples: i64) -> i64 {
    samples.saturating_mul(15).div_euclid(8)
}

/// RTP timestamp of a place on the timeline, in the track's clock (RFC 3550 section 5.1: it wraps).
pub(crate) fn rtp_timestamp(base: u32, units: i64) -> u32 {
    base.wrapping_add(wrap32(units))
}

#[cfg(test)]
mod tests;
