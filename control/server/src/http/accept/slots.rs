//! Owns how many connections there may be, together and from one address.

use crate::config::Http;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection; dropped when it ends.
#[derive(Debug)]
pub(super) struct Slot {
    of: Slots,
    address: IpAddr,
}

impl Slots {
    /// Room for one more from `address`, if there is any.
    pub(super) fn take(&self, address: IpAddr, limits: &Http) -> Option<Slot> {
        let address = group(address);
        let mut taken = self.lock();
        let same = taken.by_address.get(&address).copied().unwrap_or(0);
        let crowded = same >= limits.connections_per_address_max && !address.is_loopback();
        if crowded || taken.all >= limits.connections_max {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, same + 1);
        drop(taken);
        Some(Slot {
            of: self.clone(),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing between lock and unlock can leave the numbers half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        taken.all -= 1;
        if let Some(same) = taken.by_address.get_mut(&self.address) {
            *same -= 1;
            if *same == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// One host has a whole /64 of IPv6 to itself (RFC 7934), so that is counted as one address.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Http {
        Http {
            connections_max: 4,
            connections_per_address_max: 2,
            ..Http::default()
        }
    }

    #[test]
    fn one_address_cannot_take_all() {
        let (slots, limits) = (Slots::default(), limits());
        let take = |text: &str| slots.take(text.parse().unwrap(), &limits);
        let first = take("192.0.2.1").unwrap();
        let _second = take("::ffff:192.0.2.1").unwrap();
        assert!(take("192.0.2.1").is_none());
        let _other = take("192.0.2.2").unwrap();
        drop(first);
        let _again = take("192.0.2.1").unwrap();
        let _last = take("192.0.2.3").unwrap();
        assert!(take("192.0.2.4").is_none(), "the sum is bounded too");
    }

    #[test]
    fn a_slash_64_is_one_address_and_loopback_is_many() {
        let (slots, limits) = (Slots::default(), limits());
        let take = |text: &str| slots.take(text.parse().unwrap(), &limits);
        let held = (
            take("2001:db8::1").unwrap(),
            take("2001:db8::ffff:1").unwrap(),
        );
        assert!(take("2001:db8::2").is_none());
        assert!(take("2001:db8:0:1::2").is_some());
        drop(held);
        let local: Vec<_> = (0..4).map(|_| take("::1").unwrap()).collect();
        assert!(take("::1").is_none());
        drop(local);
        assert!(slots.lock().by_address.is_empty(), "nothing is left behind");
    }
}
