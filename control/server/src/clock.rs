//! Owns the clock of the sidecar: the same monotonic nanoseconds as the data plane's.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tokio::time::Instant;
use wire::time::Time;

/// Now.
#[must_use]
pub fn now() -> Time {
    Time(nanoseconds(ClockId::CLOCK_MONOTONIC))
}

/// Now, in nanoseconds since 1970 UTC.
#[must_use]
pub fn unix_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_REALTIME)
}

/// When `time`, as counted since boot, was or will be: milliseconds since 1970 UTC.
#[must_use]
pub fn unix_ms(time: Time) -> u64 {
    let now = now();
    let ns = unix_ns();
    let then = if time > now {
        ns + time.since(now).0
    } else {
        ns - now.since(time).0.min(ns)
    };
    then / 1_000_000
}

/// The same moment for tokio's timers.
#[must_use]
pub fn instant(time: Time) -> Instant {
    Instant::now() + Duration::from_nanos(time.since(now()).0)
}

/// Sleeps until `deadline`; for ever if there is none.
pub async fn sleep_until(deadline: Option<Time>) {
    match deadline {
        Some(time) => tokio::time::sleep_until(instant(time)).await,
        None => std::future::pending().await,
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    // Both clocks exist on every Linux; a failure would be a programming error.
    let Ok(time) = clock_gettime(clock) else {
        return 0;
    };
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_advance_together() {
        let (start, unix) = (now(), unix_ns());
        std::thread::sleep(Duration::from_millis(5));
        let (passed, unix_passed) = (now().since(start).0, unix_ns() - unix);
        assert!(passed >= 5_000_000);
        assert!(
            passed.abs_diff(unix_passed) < 1_000_000_000,
            "{passed} {unix_passed}"
        );
        assert!(unix_ms(start).abs_diff(unix / 1_000_000) < 1_000);
    }
}
