//! Owns the reading of the monotonic clock.

use nix::time::{ClockId, clock_gettime};
use wire::time::{Span, Time};

/// Now, by `CLOCK_MONOTONIC`.
#[must_use]
pub fn now() -> Time {
    Time(nanoseconds(ClockId::CLOCK_MONOTONIC))
}

/// Nanoseconds since 1970 by the system's calendar clock.
#[must_use]
pub fn unix_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_REALTIME)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let read = clock_gettime(clock).expect("both clocks exist on every Linux");
    let seconds = u64::try_from(read.tv_sec()).unwrap_or(0);
    let rest = u64::try_from(read.tv_nsec()).unwrap_or(0);
    Span::secs(seconds).0 + rest
}

/// How long to sleep from now until `until`: `None` for ever.
pub(crate) fn left(until: Time) -> Option<Span> {
    (until != Time::FAR).then(|| until.since(now()))
}
