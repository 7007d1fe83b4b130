//! Owns how long packets stay inside, counted by buckets: one writer, no lock, fixed size. Hot.
//!
//! Buckets are log-linear: each doubling of time has sixteen of equal width, so that a time is
//! known to one part in sixteen, from [`UNIT_NS`] to [`REACH`]. Longer ones count in the last.

use crate::log::Entry;
use core::sync::atomic::{AtomicU64, Ordering};
use wire::time::Span;

/// Width of the first buckets in nanoseconds: less than a system call takes.
pub const UNIT_NS: u64 = 1 << UNIT_BITS;
const UNIT_BITS: u32 = 6;

/// Buckets of one doubling, as a power of two.
const PART_BITS: u32 = 4;
const PARTS: usize = 1 << PART_BITS;

/// Doublings after the first sixteen buckets: up to 8.6 seconds, more than anything may wait.
const DOUBLINGS: usize = 23;

/// Buckets of one distribution.
pub const BUCKETS: usize = PARTS * (1 + DOUBLINGS);

/// Where the last bucket ends.
pub const REACH: Span = Span(UNIT_NS << (PART_BITS + 23));
const _: () = assert!(DOUBLINGS == 23);

/// The entries whose times are counted, with their names.
pub const ENTRIES: [(Entry, &str); 2] = [(Entry::Network, "network"), (Entry::Sidecar, "sidecar")];

/// One distribution in shared memory.
#[derive(zerocopy::FromBytes)]
#[repr(C)]
pub(crate) struct TransitCells {
    sum_ns: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl TransitCells {
    /// Counts one packet. The writer alone: no atomic addition is paid for.
    #[inline]
    pub(crate) fn add(&self, time: Span) {
        let add = |word: &AtomicU64, n: u64| {
            word.store(
                word.load(Ordering::Relaxed).wrapping_add(n),
                Ordering::Relaxed,
            );
        };
        add(&self.sum_ns, time.0);
        add(&self.buckets[bucket(time)], 1);
    }

    /// What it holds; each number is right for itself.
    pub(crate) fn read(&self) -> Distribution {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        Distribution {
            sum_ns: load(&self.sum_ns),
            buckets: self.buckets.each_ref().map(load),
        }
    }
}

/// The bucket of a time.
#[inline]
fn bucket(time: Span) -> usize {
    let units = time.0 >> UNIT_BITS;
    let top = units.checked_ilog2().unwrap_or(0);
    let doubling = top.saturating_sub(PART_BITS - 1);
    let part = usize::try_from(units >> doubling.saturating_sub(1)).unwrap_or(usize::MAX);
    // From the second row on the highest bit of `part` is set: it counts the row before.
    let row = (doubling as usize).saturating_sub(1) << PART_BITS;
    row.saturating_add(part).min(BUCKETS - 1)
}

/// Where a bucket ends, which is where the next one begins.
fn end(bucket: usize) -> Span {
    let row = (bucket >> PART_BITS).saturating_sub(1);
    let part = (bucket - (row << PART_BITS)) as u64 + 1;
    Span((part << row) << UNIT_BITS)
}

/// What was counted, taken out of shared memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Distribution {
    sum_ns: u64,
    buckets: [u64; BUCKETS],
}

impl Distribution {
    /// Packets.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Their times together, in nanoseconds; wraps after 584 years of them.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Packets whose time was shorter than `edge`, which should be a power of two of [`UNIT_NS`]:
    /// otherwise the bucket that it lies in is left out.
    #[must_use]
    pub fn below(&self, edge: Span) -> u64 {
        let buckets = self.buckets.iter().enumerate();
        let below = buckets.take_while(|(at, _)| end(*at) <= edge);
        below.fold(0, |sum, (_, n)| sum.wrapping_add(*n))
    }

    /// The time that a share of the packets, 0 to 1, did not exceed: the end of the bucket where
    /// that packet lies, so never too short. `None`: there is none.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of packets below 2^53, rounded up"
    )]
    pub fn quantile(&self, share: f64) -> Option<Span> {
        let count = self.count();
        let nth = ((share.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        for (at, n) in self.buckets.iter().enumerate() {
            seen = seen.wrapping_add(*n);
            if seen >= nth {
                return Some(end(at));
            }
        }
        None
    }

    /// What has been counted since `earlier` was read. Another writer since then, who began at
    /// zero: all that it has counted.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut buckets = self.buckets.iter().zip(&earlier.buckets);
        if buckets.any(|(now, then)| now < then) {
            return self.clone();
        }
        let mut since = self.clone();
        since.sum_ns = since.sum_ns.wrapping_sub(earlier.sum_ns);
        for (now, then) in since.buckets.iter_mut().zip(&earlier.buckets) {
            *now -= then;
        }
        since
    }

    /// Adds what another worker has counted.
    pub fn add(&mut self, other: &Self) {
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        for (sum, n) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum = sum.wrapping_add(*n);
        }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self {
            sum_ns: 0,
            buckets: [0; BUCKETS],
        }
    }
}

impl core::fmt::Debug for Distribution {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let quantile = |share| self.quantile(share).unwrap_or_default().0;
        f.debug_struct("Distribution")
            .field("count", &self.count())
            .field("p50_ns", &quantile(0.5))
            .field("p99_ns", &quantile(0.99))
            .field("max_ns", &quantile(1.0))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells() -> TransitCells {
        TransitCells {
            sum_ns: AtomicU64::new(0),
            buckets: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    #[test]
    fn buckets_follow_each_other_without_gap() {
        let mut start = Span::ZERO;
        for at in 0..BUCKETS {
            assert_eq!(bucket(start), at, "{start:?}");
            assert_eq!(bucket(Span(end(at).0 - 1)), at, "{start:?}");
            start = end(at);
        }
        assert_eq!(start, REACH);
        assert_eq!(bucket(REACH), BUCKETS - 1);
        assert_eq!(bucket(Span(u64::MAX)), BUCKETS - 1);
    }

    #[test]
    fn edges_of_metrics_are_edges_of_buckets() {
        let cells = cells();
        let edge = Span(UNIT_NS << 10);
        cells.add(Span(edge.0 - 1));
        cells.add(edge);
        assert_eq!(cells.read().below(edge), 1);
        assert_eq!(cells.read().below(Span(edge.0 * 2)), 2);
    }

    #[test]
    fn what_was_before_is_taken_off() {
        let cells = cells();
        assert_eq!(cells.read().quantile(0.5), None);
        cells.add(Span::millis(7));
        let before = cells.read();
        cells.add(Span::micros(3));
        let since = cells.read().since(&before);
        assert_eq!((since.count(), since.sum_ns()), (1, 3_000));
        assert!(since.quantile(1.0).unwrap() < Span::micros(4));
        // Another forwarder began at zero.
        let afresh = Distribution::default().since(&before);
        assert_eq!(afresh.count(), 0);
        let mut both = before.clone();
        both.add(&since);
        assert_eq!(both, cells.read());
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_sorted_list_to_a_sixteenth(
            mut times in proptest::collection::vec(0_u64..8_000_000_000, 1..300),
            // Parts of 64, which are exact.
            parts in 0_u8..=64,
        ) {
            let cells = cells();
            times.iter().for_each(|ns| cells.add(Span(*ns)));
            times.sort_unstable();
            let read = cells.read();
            let share = f64::from(parts) / 64.0;
            let nth = (usize::from(parts) * times.len()).div_ceil(64).max(1);
            let (exact, told) = (times[nth - 1], read.quantile(share).unwrap().0);
            prop_assert!(told > exact && told <= exact + exact / 16 + UNIT_NS, "{exact} {told}");
            prop_assert_eq!(read.count(), times.len() as u64);
            prop_assert_eq!(read.sum_ns(), times.iter().sum::<u64>());
        }
    }
}
