//! Order: what leaves when, over losses and repairs.

use super::*;
use proptest::prelude::*;

const PATIENCE: Span = Span::millis(100);

/// An order that starts at 100 and keeps what it let go.
struct Bench {
    order: Order,
    out: Vec<u8>,
}

impl Bench {
    fn new(ring_max: usize) -> Self {
        Self {
            order: Order::new(Seq::new(100), ring_max, PATIENCE),
            out: Vec::new(),
        }
    }

    /// Pushes packet 100 + `n`, whose payload is `n`; says what is out so far.
    fn push(&mut self, ms: u64, n: u8) -> &[u8] {
        let seq = Seq::new(100 + u32::from(n));
        self.order
            .push(at(ms), seq, &[n], &mut |p| self.out.push(p[0]));
        &self.out
    }

    fn release(&mut self, ms: u64) -> &[u8] {
        self.order.release(at(ms), &mut |p| self.out.push(p[0]));
        &self.out
    }

    fn give_up(&mut self, ms: u64, first: u32, last: u32) -> &[u8] {
        let (first, last) = (Seq::new(first), Seq::new(last));
        self.order
            .give_up(at(ms), first, last, &mut |p| self.out.push(p[0]));
        &self.out
    }
}

fn at(ms: u64) -> Time {
    Time::ZERO + Span::millis(ms)
}

#[test]
fn in_order_is_at_once_and_a_gap_waits_for_its_repair() {
    let mut b = Bench::new(64);
    assert_eq!(b.push(0, 0), [0]);
    assert_eq!(b.push(1, 1), [0, 1]);
    assert_eq!(b.push(2, 3), [0, 1]);
    assert_eq!(b.order.deadline(), Some(at(102)));
    assert_eq!(b.push(50, 2), [0, 1, 2, 3]);
    assert_eq!((b.order.deadline(), b.order.held()), (None, 0));
}

#[test]
fn patience_counts_from_when_each_gap_was_seen() {
    let mut b = Bench::new(64);
    b.push(0, 2); // 0 and 1 missed since 0
    b.push(40, 5); // 3 and 4 since 40
    assert_eq!(b.push(90, 1), []);
    assert_eq!(b.release(99), []);
    assert_eq!(b.release(100), [1, 2]);
    assert_eq!(b.order.deadline(), Some(at(140)));
    assert_eq!(b.push(120, 4), [1, 2]);
    assert_eq!(b.release(140), [1, 2, 4, 5]);
    assert_eq!(
        b.order.tally(),
        Tally {
            released: 4,
            skipped: 2,
            late: 0
        }
    );
}

#[test]
fn a_drop_request_ends_the_wait_for_what_is_known_missing_only() {
    let mut b = Bench::new(64);
    b.push(0, 0);
    b.push(0, 4);
    assert_eq!(b.give_up(1, 102, 101), [0], "reversed: nothing");
    assert_eq!(
        b.give_up(1, 0, 0x7fff_ffff),
        [0],
        "half way round the numbers: nothing"
    );
    assert_eq!(b.give_up(1, 102, 103), [0], "101 is still missing");
    assert_eq!(b.push(2, 1), [0, 1, 4]);
    assert_eq!(b.give_up(3, 105, 120), [0, 1, 4]);
    assert_eq!(
        b.push(4, 5),
        [0, 1, 4, 5],
        "what was still to come is still taken"
    );
    assert_eq!(
        b.order.tally(),
        Tally {
            released: 4,
            skipped: 2,
            late: 0
        }
    );
}

#[test]
fn a_repair_may_still_come_after_a_drop_request() {
    let mut b = Bench::new(64);
    b.push(0, 3);
    b.give_up(0, 101, 101);
    b.push(1, 1);
    assert_eq!(b.push(2, 0), [0, 1]);
    assert_eq!(b.push(3, 2), [0, 1, 2, 3]);
    assert_eq!(b.order.tally().skipped, 0);
}

#[test]
fn copies_and_latecomers_are_counted_and_dropped() {
    let mut b = Bench::new(64);
    b.push(0, 0);
    b.push(0, 2);
    b.push(1, 2);
    b.push(2, 0);
    b.release(100);
    assert_eq!(b.push(101, 1), [0, 2]);
    assert_eq!(
        b.order.tally(),
        Tally {
            released: 2,
            skipped: 1,
            late: 3
        }
    );
}

#[test]
fn the_ring_never_grows_beyond_its_bound() {
    let mut b = Bench::new(8);
    b.push(0, 0);
    assert_eq!(b.push(0, 8), [0], "1 to 8 fit");
    assert_eq!(b.order.held(), 8);
    assert_eq!(b.push(0, 10), [0], "1 and 2 are given up to make room");
    assert_eq!((b.order.held(), b.order.tally().skipped), (8, 2));
    assert_eq!(
        b.push(0, 100),
        [0, 8, 10, 100],
        "a jump goes on from where it lands"
    );
    assert_eq!(
        b.order.tally(),
        Tally {
            released: 4,
            skipped: 97,
            late: 0
        }
    );
    assert_eq!(b.push(0, 101).last(), Some(&101));
}

#[test]
fn numbers_go_round() {
    let first = Seq::new(0x7fff_fffe);
    let mut order = Order::new(first, 16, PATIENCE);
    let mut out = Vec::new();
    for n in [1, 3, 0, 2, 4] {
        order.push(
            Time::ZERO,
            first.plus(n),
            &[u8::try_from(n).unwrap()],
            &mut |p| out.extend(p),
        );
    }
    assert_eq!(out, [0, 1, 2, 3, 4]);
}

#[test]
fn an_empty_payload_has_a_number_but_is_not_handed_out() {
    let mut order = Order::new(Seq::new(0), 16, PATIENCE);
    let mut out = Vec::new();
    order.push(Time::ZERO, Seq::new(0), &[], &mut |p| out.push(p));
    order.push(Time::ZERO, Seq::new(1), &[9], &mut |p| out.push(p));
    assert_eq!(out, [[9]]);
    assert_eq!(order.tally().released, 2);
}

proptest! {
    /// Any arrivals, repeats, drop requests and times: what leaves is in order, once each, and
    /// every number is either released or skipped.
    #[test]
    fn whatever_comes_leaves_in_order(
        steps in proptest::collection::vec((0u8..3, 0u32..60, 0u64..80), 1..200),
        start in prop_oneof![Just(0u32), Just(0x7fff_fff0), any::<u32>()],
    ) {
        let first = Seq::new(start);
        let mut order = Order::new(first, 32, PATIENCE);
        let mut now = Time::ZERO;
        let mut out: Vec<u32> = Vec::new();
        let mut pushed = 0;
        for (what, n, ms) in steps {
            now = now + Span::millis(ms);
            let base = u32::try_from(order.tally().released + order.tally().skipped).unwrap();
            let n = (base + n).saturating_sub(10);
            let mut keep = |p: Vec<u8>| out.push(u32::from_be_bytes(p.try_into().unwrap()));
            order.release(now, &mut keep);
            match what {
                0 => order.give_up(now, first.plus(n), first.plus(n + 3), &mut keep),
                _ => {
                    order.push(now, first.plus(n), &n.to_be_bytes(), &mut keep);
                    pushed += 1;
                }
            }
            prop_assert!(order.held() <= 32);
            prop_assert!(order.deadline().is_none_or(|at| at > now), "due now, but not released");
        }
        order.flush(&mut |p| out.push(u32::from_be_bytes(p.try_into().unwrap())));
        let tally = order.tally();
        prop_assert!(out.windows(2).all(|w| w[0] < w[1]), "{:?}", out);
        prop_assert_eq!(tally.released, out.len() as u64);
        prop_assert_eq!(tally.released + tally.late, pushed);
        if let Some(last) = out.last() {
            prop_assert_eq!(u64::from(*last) + 1, tally.released + tally.skipped);
        }
    }
}
