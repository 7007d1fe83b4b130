//! Owns a count of times by size, to one part in sixteen.

use serde_json::{Value, json};

/// Steps between a power of two and the next.
const STEPS: u64 = 16;

/// Powers of two: microseconds up to some hours.
const POWERS: usize = 35;

/// Times in microseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let steps = usize::try_from(STEPS).unwrap_or(16);
        Self {
            buckets: vec![0; steps * POWERS],
            count: 0,
            max_us: 0,
        }
    }
}

impl Histogram {
    /// Counts a time.
    pub fn add(&mut self, us: u64) {
        let at = place(us).min(self.buckets.len() - 1);
        self.buckets[at] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time that so many thousandths did not exceed, rounded up to the next step; 0 if nothing
    /// was counted.
    pub fn permille(&self, permille: u64) -> u64 {
        let wanted = (self.count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return end(at).min(self.max_us);
            }
        }
        self.max_us
    }

    /// What is told of it.
    pub fn to_json(&self) -> Value {
        json!({
            "samples": self.count,
            "p50_us": self.permille(500),
            "p99_us": self.permille(990),
            "p999_us": self.permille(999),
            "max_us": self.max_us,
        })
    }
}

/// Below sixteen each number has a bucket of its own.
fn place(us: u64) -> usize {
    let power = u64::from(us.max(1).ilog2());
    let at = match us {
        0..STEPS => us,
        _ => (power - 3) * STEPS + (us >> (power - 4)) - STEPS,
    };
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The greatest number of a bucket.
fn end(at: usize) -> u64 {
    let at = at as u64;
    match at {
        0..STEPS => at,
        _ => {
            let power = at / STEPS + 3;
            ((at % STEPS + STEPS + 1) << (power - 4)) - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_the_bucket_that_ends_behind_it() {
        for us in (0..5000).chain([1 << 20, (1 << 20) + 70_000, 7_654_321]) {
            let at = place(us);
            assert!(us <= end(at), "{us} in {at}, which ends at {}", end(at));
            assert!(at == 0 || us > end(at - 1), "{us} is not in {}", at - 1);
        }
    }

    #[test]
    fn percentiles_are_close() {
        let mut times = Histogram::default();
        assert_eq!(times.permille(500), 0);
        (1..=1000).for_each(|us| times.add(us));
        for (permille, exact) in [(500, 500), (990, 990), (999, 999), (1000, 1000)] {
            let told = times.permille(permille);
            assert!(told >= exact && told <= exact + exact / 16 + 1, "{told}");
        }
    }
}
