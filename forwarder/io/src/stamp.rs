//! Owns when a datagram was received: the kernel's stamps, brought to the monotonic clock. Hot.
//!
//! The kernel stamps what it takes from a device by the calendar clock. What that is ahead of the
//! monotonic clock changes only when somebody sets it (both follow the same corrections of speed),
//! so it is looked at whenever stamps are read. If it has changed, nobody knows by which of both
//! values a stamp is to be read: then there is none for a while.

use crate::clock;
use wire::time::{Span, Time};

/// What the clocks may differ more or less than before, without one of them having been set: they
/// are read one after the other, 25 ns apart or 300 ns where that takes a system call.
const NOISE_NS: u64 = 10_000;

/// Readings until two of them are not interrupted.
const TRIES: usize = 4;

/// A datagram does not wait longer in a socket; nor is a stamp believed that is older. It is also
/// how long none is believed after the calendar clock was set.
const WAIT_MAX: Span = Span::secs(1);

/// Both clocks at about one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
    /// The monotonic clock, read after that.
    pub now: Time,
}

impl Clocks {
    /// Reads both.
    pub(crate) fn read() -> Self {
        let unix_ns = clock::unix_ns();
        Self {
            unix_ns,
            now: clock::now(),
        }
    }

    fn ahead(self) -> u64 {
        self.unix_ns.wrapping_sub(self.now.0)
    }
}

/// Reads stamps.
#[derive(Default)]
pub(crate) struct Stamps {
    now: Time,
    /// Nanoseconds that the calendar clock is ahead.
    ahead: Option<u64>,
    /// No stamp is believed before.
    settled_at: Time,
}

impl Stamps {
    /// Datagrams have been received: looks at the clocks by `read`.
    pub(crate) fn look(&mut self, mut read: impl FnMut() -> Clocks) {
        let mut clocks = read();
        for _ in 1..TRIES {
            let known = self.ahead;
            if known.is_some_and(|ahead| is_near(clocks.ahead(), ahead)) {
                break;
            }
            // Interrupted between the two, or set: the next tells.
            let again = read();
            let is_sure = is_near(again.ahead(), clocks.ahead());
            clocks = again;
            if is_sure {
                if known.is_some() {
                    self.settled_at = clocks.now + WAIT_MAX;
                }
                self.ahead = Some(clocks.ahead());
                break;
            }
        }
        self.now = clocks.now;
    }

    /// The time of a stamp of what was received before the last look. `None`: it can't be told.
    #[inline]
    pub(crate) fn time(&self, stamp_ns: Option<u64>) -> Option<Time> {
        let at = Time(stamp_ns?.wrapping_sub(self.ahead?));
        // A stamp from the future, by no more than the clocks are known, is of now.
        let is_sane = at.0 <= self.now.0 + NOISE_NS && self.now.since(at) < WAIT_MAX;
        (is_sane && self.now >= self.settled_at).then(|| at.min(self.now))
    }
}

/// True if two differences of the clocks are one.
fn is_near(one: u64, other: u64) -> bool {
    one.wrapping_sub(other).cast_signed().unsigned_abs() < NOISE_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    const AHEAD: u64 = 1_700_000_000_000_000_000;

    fn at(now: Time, ahead: u64) -> impl FnMut() -> Clocks {
        move || Clocks {
            unix_ns: now.0 + ahead,
            now,
        }
    }

    fn time(ms: u64) -> Time {
        Time::ZERO + Span::millis(ms)
    }

    /// The stamp of a datagram that came at `came`.
    fn stamp(came: Time, ahead: u64) -> Option<u64> {
        Some(came.0 + ahead)
    }

    #[test]
    fn a_stamp_is_brought_to_the_monotonic_clock() {
        let mut stamps = Stamps::default();
        assert_eq!(stamps.time(stamp(time(5), AHEAD)), None, "nobody looked");
        stamps.look(at(time(10), AHEAD));
        assert_eq!(stamps.time(stamp(time(9), AHEAD)), Some(time(9)));
        assert_eq!(stamps.time(None), None);
        let soon = Some(time(10).0 + AHEAD + 100);
        assert_eq!(stamps.time(soon), Some(time(10)));
    }

    #[test]
    fn a_clock_that_is_set_silences_stamps_for_as_long_as_datagrams_may_wait() {
        for (before, after) in [
            (AHEAD, AHEAD + Span::millis(3).0),
            (AHEAD, AHEAD - Span::secs(40).0),
            (AHEAD, AHEAD + Span::secs(3600).0),
        ] {
            let mut stamps = Stamps::default();
            stamps.look(at(time(10), before));
            assert_eq!(stamps.time(stamp(time(9), before)), Some(time(9)));
            stamps.look(at(time(20), after));
            for ahead in [before, after] {
                assert_eq!(stamps.time(stamp(time(19), ahead)), None);
            }
            stamps.look(at(time(1010), after));
            assert_eq!(stamps.time(stamp(time(1009), after)), None);
            stamps.look(at(time(1021), after));
            assert_eq!(stamps.time(stamp(time(1020), after)), Some(time(1020)));
            // Of before, come what may: it is from the future, or too old.
            if before.abs_diff(after) >= WAIT_MAX.0 {
                assert_eq!(stamps.time(stamp(time(1020), before)), None);
            }
        }
    }

    #[test]
    fn an_interruption_between_two_readings_is_no_step() {
        let mut stamps = Stamps::default();
        stamps.look(at(time(10), AHEAD));
        let mut nth = 0;
        stamps.look(|| {
            nth += 1;
            let late = if nth == 1 {
                Span::millis(2)
            } else {
                Span::ZERO
            };
            Clocks {
                unix_ns: time(20).0 + AHEAD - late.0,
                now: time(20),
            }
        });
        assert_eq!(stamps.time(stamp(time(19), AHEAD)), Some(time(19)));
    }

    #[test]
    fn clocks_that_never_agree_are_not_believed() {
        let mut stamps = Stamps::default();
        let mut ahead = AHEAD;
        stamps.look(|| {
            ahead += Span::millis(1).0;
            Clocks {
                unix_ns: time(20).0 + ahead,
                now: time(20),
            }
        });
        assert_eq!(stamps.time(stamp(time(19), AHEAD)), None);
    }
}
