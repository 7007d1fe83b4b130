//! Owns how fast a viewer that has to catch up is fed, and what its repairs may cost. Hot.

use serde::{Deserialize, Serialize};
use wire::time::{Span, Time};

/// Bytes that a viewer is given at once when it joins. The receive buffer of a browser's socket is
/// about 200 KB; most keyframes are smaller than this.
pub const CATCH_UP_BURST_BYTES: u64 = 128 * 1024;

/// Least speed of catching up: 64 Mbit/s. A 10 s group of pictures at 2.5 Mbit/s takes 390 ms, and
/// a browser's network thread empties its socket faster than this.
pub const CATCH_UP_BYTES_PER_S: u64 = 8_000_000;

/// Catching up is at least so many times faster than the stream, so that it ends for any rate.
pub const CATCH_UP_SPEED: u64 = 8;

/// Repairs may cost a quarter of the stream's rate: beyond some 20 % of loss a viewer needs a
/// lower rate, not more packets.
pub const REPAIR_SHARE: u64 = 4;

/// Least rate of repairs, 256 kbit/s: streams of small rate lose whole frames at once.
pub const REPAIR_BYTES_PER_S: u64 = 32_000;

/// Repairs that may be asked for at once, e.g. a keyframe lost whole.
pub const REPAIR_BURST_BYTES: u64 = 96 * 1024;

const NS_PER_S: u64 = 1_000_000_000;

/// Refills no more than this at a time, which keeps the arithmetic within 64 bits.
const REFILL_MAX: Span = Span::secs(4);

/// A token bucket of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// Bytes in hand.
    tokens: u64,
    /// When they were counted last.
    at: Time,
}

impl Bucket {
    /// A bucket with `bytes` in it.
    pub const fn holding(bytes: u64, now: Time) -> Self {
        Self {
            tokens: bytes,
            at: now,
        }
    }

    /// Adds what `bytes_per_s` has brought since the last time, up to `burst_bytes` in all.
    #[inline]
    pub fn refill(&mut self, now: Time, bytes_per_s: u64, burst_bytes: u64) {
        let span = now.since(self.at).0.min(REFILL_MAX.0);
        // 4 s of 100 Gbit/s are below 2^64 ns x bytes.
        let brought = span.saturating_mul(bytes_per_s) / NS_PER_S;
        if brought > 0 {
            self.tokens = self.tokens.saturating_add(brought).min(burst_bytes);
            self.at = now;
        }
    }

    /// Takes `bytes` if the bucket holds them.
    #[inline]
    pub fn take(&mut self, bytes: u64) -> bool {
        let enough = self.tokens >= bytes;
        if enough {
            self.tokens -= bytes;
        }
        enough
    }

    /// Bytes in hand.
    #[inline]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }
}

/// A rate, averaged over about two seconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Rate {
    bytes_per_s: u64,
    gathered: u64,
    since: Time,
}

/// Over how long bytes are gathered before the average moves.
const RATE_WINDOW: Span = Span::millis(500);

impl Rate {
    /// Notes `bytes` more.
    #[inline]
    pub fn add(&mut self, now: Time, bytes: u64) {
        if self.since == Time::ZERO {
            self.since = now;
        }
        self.gathered += bytes;
        let span = now.since(self.since);
        if span >= RATE_WINDOW {
            let rate = self.gathered.saturating_mul(1_000) / span.as_millis().max(1);
            self.bytes_per_s = if self.bytes_per_s == 0 {
                rate
            } else {
                (self.bytes_per_s * 3 + rate) / 4
            };
            self.gathered = 0;
            self.since = now;
        }
    }

    /// The rate in bytes per second; 0 until half a second has been seen.
    #[inline]
    pub const fn bytes_per_s(&self) -> u64 {
        self.bytes_per_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_rate_and_no_more_than_its_burst() {
        let mut bucket = Bucket::holding(1000, Time(5));
        assert!(bucket.take(1000));
        assert!(!bucket.take(1));
        for ms in 1..=1000 {
            bucket.refill(Time(5) + Span::millis(ms), 8_000, 100_000);
        }
        assert_eq!(bucket.tokens(), 8_000);
        bucket.refill(Time(5) + Span::secs(3600), 8_000, 10_000);
        assert_eq!(bucket.tokens(), 10_000);
        bucket.refill(Time::ZERO, 8_000, 10_000);
        assert_eq!(bucket.tokens(), 10_000);
    }

    #[test]
    fn slow_trickles_are_not_rounded_away() {
        let mut bucket = Bucket::holding(0, Time::ZERO);
        for us in 0..100_000 {
            bucket.refill(Time(us * 10_000), 1_000, 100_000);
        }
        assert!(bucket.tokens() >= 990, "{}", bucket.tokens());
    }

    #[test]
    fn a_rate_settles() {
        let mut rate = Rate::default();
        for ms in 1..20_000 {
            rate.add(Time::ZERO + Span::millis(ms), 250);
        }
        let bytes_per_s = rate.bytes_per_s();
        assert!((240_000..260_000).contains(&bytes_per_s), "{bytes_per_s}");
    }
}
