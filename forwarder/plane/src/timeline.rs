//! Owns when the packets of a source were captured, and what their timestamps are in the log. Hot.

use link::log::Record;
use serde::{Deserialize, Serialize};
use wire::seq::{diff32, newer32};
use wire::time::Time;

/// Ticks from the anchor after which it moves: differences have 32 bits.
const ANCHOR_TICKS_MAX: u32 = 1 << 28;

/// Most ticks from one publisher to the next: 3 hours of video. Viewers tell what is ahead from
/// what is behind by half of 2^32.
const CONTINUED_TICKS_MAX: u128 = 1 << 30;

/// The first packet of a source comes at least this part of a second after the last of the one
/// before it, whatever their clocks say. Viewers who are being shown frames again have them a tick
/// apart behind what they were sent: with a frame's time between, what is new comes after those.
const CONTINUED_PER_S: u32 = 25;

/// Layers whose timestamps agree within a part of a second of this count as aligned: reports of
/// browsers are right to a millisecond.
const ALIGNED_PER_S: u32 = 300;

const NS_PER_S: i64 = 1_000_000_000;

/// The times of one source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timeline {
    /// RTP clock in Hz.
    clock_hz: u32,
    /// A timestamp and when it was captured.
    anchor: Option<(u32, Time)>,
    /// Added to timestamps for the log; `None`: nothing of this source is there yet.
    offset: Option<u32>,
    /// The last timestamp in the log.
    newest: u32,
}

impl Timeline {
    /// Of a source of which nothing is known.
    pub const fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz,
            anchor: None,
            offset: None,
            newest: 0,
        }
    }

    /// A report says when a timestamp was captured.
    pub fn set_anchor(&mut self, timestamp: u32, captured: Time) {
        self.anchor = Some((timestamp, captured));
    }

    /// When a timestamp was captured, on our clock.
    #[inline]
    pub fn captured(&mut self, now: Time, timestamp: u32) -> Time {
        let (base, at) = *self.anchor.get_or_insert((timestamp, now));
        let ticks = diff32(timestamp, base);
        let ns = i64::from(ticks) * NS_PER_S / i64::from(self.clock_hz.max(1));
        let captured = Time(at.0.saturating_add_signed(ns));
        if ticks.unsigned_abs() > ANCHOR_TICKS_MAX {
            self.anchor = Some((timestamp, captured));
        }
        captured
    }

    /// The log's timestamp for one of the publisher's. The first of a source goes on after
    /// `newest`, what the log has of the track, by the time that has passed.
    #[inline]
    pub fn mapped(
        &mut self,
        timestamp: u32,
        captured: Time,
        newest: impl FnOnce() -> Option<Record>,
    ) -> u32 {
        let clock_hz = self.clock_hz;
        let offset = *self.offset.get_or_insert_with(|| {
            newest().map_or(0, |last| {
                continued(&last, captured, clock_hz).wrapping_sub(timestamp)
            })
        });
        self.newest = timestamp.wrapping_add(offset);
        self.newest
    }

    /// Moves the timestamps from this one on, the first of a keyframe, to where they agree with
    /// those of `other`, a packet of another layer: what was captured at once has one timestamp.
    /// Sources count from anywhere, and before their reports it is a guess how they relate.
    ///
    /// The first of a source goes on after `newest`, as of [`Self::mapped`]: if much of the
    /// publisher before has come at once, it seems to be captured later than what comes now.
    pub fn align(
        &mut self,
        timestamp: u32,
        captured: Time,
        other: &Record,
        newest: impl FnOnce() -> Option<Record>,
    ) {
        let wanted = beside(other, captured, self.clock_hz);
        let Some(offset) = self.offset else {
            let last = newest().filter(|last| !newer32(wanted, last.timestamp));
            let aligned = last.map_or(wanted, |last| continued(&last, captured, self.clock_hz));
            self.offset = Some(aligned.wrapping_sub(timestamp));
            return;
        };
        let now = timestamp.wrapping_add(offset);
        let tolerance = self.clock_hz / ALIGNED_PER_S;
        if diff32(wanted, now).unsigned_abs() <= tolerance {
            return;
        }
        let aligned = if newer32(wanted, self.newest) {
            wanted
        } else {
            self.newest.wrapping_add(1)
        };
        self.offset = Some(aligned.wrapping_sub(timestamp));
    }
}

/// The timestamp of what was captured then, before or after `other`.
fn beside(other: &Record, captured: Time, clock_hz: u32) -> u32 {
    let ns = i128::from(captured.0) - i128::from(other.capture.0);
    let ticks = ns * i128::from(clock_hz) / i128::from(NS_PER_S);
    let most = i128::try_from(CONTINUED_TICKS_MAX).unwrap_or(0);
    let ticks = i32::try_from(ticks.clamp(-most, most)).unwrap_or(0);
    other.timestamp.wrapping_add_signed(ticks)
}

/// The timestamp after `last` of what was captured then.
fn continued(last: &Record, captured: Time, clock_hz: u32) -> u32 {
    let elapsed = u128::from(captured.since(last.capture).0);
    let ticks = elapsed * u128::from(clock_hz) / u128::from(NS_PER_S.unsigned_abs());
    let least = u128::from(clock_hz / CONTINUED_PER_S);
    let ticks = u32::try_from(ticks.clamp(least, CONTINUED_TICKS_MAX)).unwrap_or(1);
    last.timestamp.wrapping_add(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::time::Span;

    #[test]
    fn timestamps_go_on_by_the_time_that_has_passed() {
        let last = Record {
            timestamp: u32::MAX,
            capture: Time(Span::secs(10).0),
            ..Record::default()
        };
        let after = |span| continued(&last, last.capture + span, 90_000);
        assert_eq!(after(Span::millis(100)), 8999);
        assert_eq!(after(Span::ZERO), 3599);
        assert_eq!(after(Span::secs(1 << 30)), (1 << 30) - 1);
        assert_eq!(continued(&last, Time::ZERO, 90_000), 3599);
        assert_eq!(continued(&last, Time::FAR, u32::MAX), (1 << 30) - 1);
    }

    #[test]
    fn the_first_of_a_source_is_aligned_and_never_behind_the_one_before() {
        let record = |timestamp, ms| Record {
            timestamp,
            capture: Time(Span::millis(ms).0),
            ..Record::default()
        };
        let first = |other: Record, newest: Option<Record>| {
            let mut timeline = Timeline::new(90_000);
            timeline.align(7, Time(Span::secs(20).0), &other, || newest);
            timeline.mapped(7, Time(Span::secs(20).0), || None)
        };
        assert_eq!(first(record(5000, 19_900), None), 14_000);
        assert_eq!(
            first(record(5000, 19_900), Some(record(4000, 19_900))),
            14_000
        );
        // Four seconds of the publisher before have come at once.
        let last = record(400_000, 24_000);
        assert_eq!(first(last, Some(last)), 403_600);
    }
}
