//! Owns a rate over the last 600 ms of any clock: what was sent, or what arrived. Hot.

/// Length of a bucket.
const BUCKET_US: i64 = 40_000;

/// Buckets of a window; the newest of them is not full.
const BUCKETS: usize = 16;

/// The same as a distance of bucket numbers.
const SPAN: i64 = 16;

const _: () = assert!(BUCKETS as u64 == SPAN.unsigned_abs());

/// Full buckets that make a rate: five frames.
const FULL_MIN: i64 = 4;

/// Counts bytes by time.
pub(super) struct Meter {
    buckets: [u32; BUCKETS],
    /// Number of the newest bucket.
    newest: i64,
    /// Number of the first one; `i64::MAX`: nothing was counted.
    first: i64,
}

impl Meter {
    pub const fn new() -> Self {
        Self {
            buckets: [0; BUCKETS],
            newest: 0,
            first: i64::MAX,
        }
    }

    /// Notes `bytes` at a time in microseconds; what is older than the window is left out.
    pub fn add(&mut self, at_us: i64, bytes: u32) {
        let number = at_us.div_euclid(BUCKET_US);
        if self.first == i64::MAX || number - self.newest >= SPAN {
            // A pause is no low rate: counting begins anew.
            self.buckets = [0; BUCKETS];
            (self.first, self.newest) = (number, number);
        }
        while self.newest < number {
            self.newest += 1;
            self.buckets[place(self.newest)] = 0;
        }
        if number > self.newest - SPAN && number >= self.first {
            let bucket = &mut self.buckets[place(number)];
            *bucket = bucket.saturating_add(bytes);
        }
    }

    /// Bits per second of the full buckets. `None`: too little was counted.
    pub fn bps(&self) -> Option<f64> {
        if self.first == i64::MAX {
            return None;
        }
        let full = (self.newest - self.first).min(SPAN - 1);
        if full < FULL_MIN {
            return None;
        }
        let bytes: u64 = (self.newest - full..self.newest)
            .map(|number| u64::from(self.buckets[place(number)]))
            .sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "16 buckets are far below 2^52 bits"
        )]
        let bps = (bytes * 8) as f64 * 1e6 / (full * BUCKET_US) as f64;
        Some(bps)
    }
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "below the number of buckets"
)]
const fn place(number: i64) -> usize {
    number.rem_euclid(SPAN) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_read_within_a_frame() {
        let mut meter = Meter::new();
        assert_eq!(meter.bps(), None);
        for frame in 0..300_i64 {
            meter.add(-5_000_000 + frame * 33_333, 6_250);
            if let Some(bps) = meter.bps().filter(|_| frame > 30) {
                assert!((1.35e6..1.65e6).contains(&bps), "{bps}");
            }
        }
    }

    #[test]
    fn what_is_late_counts_and_what_is_old_does_not() {
        let mut meter = Meter::new();
        for bucket in 0..20_i64 {
            meter.add(bucket * BUCKET_US, 500);
        }
        assert_eq!(meter.bps(), Some(100_000.0));
        meter.add(18 * BUCKET_US, 7_500);
        assert_eq!(meter.bps(), Some(200_000.0));
        meter.add(0, 1_000_000);
        meter.add(i64::MIN, 1_000_000);
        assert_eq!(meter.bps(), Some(200_000.0));
        meter.add(1_000 * BUCKET_US, 1);
        assert_eq!(meter.bps(), None);
    }
}
