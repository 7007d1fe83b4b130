//! Owns how often callers may try: token buckets, one for all and a fixed table by address.

use std::hash::BuildHasher;
use std::net::IpAddr;
use wire::time::{Span, Time};

/// Buckets by address. Addresses that fall together share one: it makes a neighbour wait, and
/// never grows.
const BUCKETS: usize = 1024;

/// Attempts one address may make at once, and the time after which it may make one more. An encoder
/// that retries every 250 ms until its stream is free passes; one in a loop of 40 ms does not.
const ADDRESS_BURST: u32 = 20;
const ADDRESS_INTERVAL: Span = Span::millis(200);

/// Says whether a caller whose cookie was right may go on.
pub struct Budget<S> {
    all: Bucket,
    all_interval: Span,
    all_burst: u32,
    by_address: Box<[Bucket]>,
    key: S,
}

/// Time at which the bucket is full again; each token taken pushes it further away.
#[derive(Clone, Copy, Default)]
struct Bucket {
    full_at: Time,
}

impl<S: BuildHasher> Budget<S> {
    /// `per_s` callers a second in all (at least one), twice that at once. `key` spreads
    /// addresses over the table in a way outsiders cannot foresee.
    pub fn new(per_s: u32, key: S) -> Self {
        let per_s = per_s.max(1);
        Self {
            all: Bucket::default(),
            all_interval: Span(Span::secs(1).0 / u64::from(per_s)),
            all_burst: per_s.saturating_mul(2),
            by_address: vec![Bucket::default(); BUCKETS].into(),
            key,
        }
    }

    /// Takes a token for `address` at `now`, if there is one.
    pub fn take(&mut self, now: Time, address: IpAddr) -> bool {
        // A host owns a /64 of IPv6. On a socket for both families IPv4 comes dressed as IPv6,
        // all of it in one /64.
        let prefix = match address.to_canonical() {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX),
        };
        let at = self.key.hash_one((b"srt budget", prefix)) % BUCKETS as u64;
        let at = usize::try_from(at).unwrap_or(0);
        self.by_address[at].take(now, ADDRESS_INTERVAL, ADDRESS_BURST)
            && self.all.take(now, self.all_interval, self.all_burst)
    }
}

impl Bucket {
    fn take(&mut self, now: Time, interval: Span, burst: u32) -> bool {
        let full_at = self.full_at.max(now) + interval;
        let fits = full_at.since(now).0 <= interval.0.saturating_mul(u64::from(burst));
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srt::cookie::CookieKey;
    use std::net::Ipv4Addr;

    fn key() -> CookieKey {
        CookieKey::new(&[1; 32])
    }

    #[test]
    fn one_address_cannot_use_up_everybodys_budget() {
        let mut budget = Budget::new(100, key());
        let now = Time(1_000_000_000);
        let hog = IpAddr::from([10, 0, 0, 1]);
        let taken = (0..1000).filter(|_| budget.take(now, hog)).count();
        assert_eq!(taken, 20);
        let others = (0..1000u32)
            .filter(|n| budget.take(now, IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + n))))
            .count();
        assert_eq!(others, 180, "a burst of twice the rate in all");
        let later = now + Span::secs(1);
        let taken = (0..1000).filter(|_| budget.take(later, hog)).count();
        assert_eq!(taken, 5);
    }

    #[test]
    fn hosts_are_told_apart_whatever_the_socket() {
        let now = Time(1_000_000_000);
        let taken = |addresses: [&str; 2]| {
            let mut budget = Budget::new(1000, key());
            let hosts = addresses.map(|address| address.parse::<IpAddr>().unwrap());
            hosts
                .map(|host| (0..100).filter(|_| budget.take(now, host)).count())
                .iter()
                .sum()
        };
        let sums: [usize; 4] = [
            taken(["10.0.0.1", "10.0.0.2"]),
            taken(["::ffff:10.0.0.1", "::ffff:10.0.0.2"]),
            taken(["2001:db8:0:1::1", "2001:db8:0:2::1"]),
            taken(["2001:db8::1", "2001:db8::2"]),
        ];
        // Two hosts fall together once in a thousand runs: then they share.
        assert!(
            sums[..3].iter().filter(|sum| **sum == 40).count() >= 2,
            "{sums:?}"
        );
        assert_eq!(sums[3], 20, "one /64, one host");
    }
}
