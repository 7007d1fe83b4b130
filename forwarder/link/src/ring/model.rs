//! The model of the ring: loom runs every order of the steps of producer and consumer.
//! Not under `--release`: loom's coroutines do not survive link-time optimisation.

use super::{Consumer, Lonely, Producer, Ring, RingHead, Slot};
use crate::sync::atomic::AtomicU64;
use crate::sync::{Shared, SharedSlice};
use std::sync::Arc;

fn ring() -> Ring<8> {
    let lonely = || Lonely(AtomicU64::new(0));
    Ring {
        head: Shared(Arc::new(RingHead {
            written: lonely(),
            read: lonely(),
        })),
        slots: SharedSlice((0..2).map(|_| Slot::new()).collect()),
    }
}

fn same(ring: &Ring<8>) -> Ring<8> {
    Ring {
        head: ring.head.clone(),
        slots: ring.slots.clone(),
    }
}

#[test]
fn messages_arrive_whole_and_in_order_or_are_refused() {
    loom::model(|| {
        let ring = ring();
        let mut producer = Producer::adopt(same(&ring), None);
        let mut consumer = Consumer::adopt(ring, true, None);
        let pushing = loom::thread::spawn(move || {
            let mut pushed = 0u64;
            for _ in 0..4 {
                if producer.push(&(pushed + 1).to_le_bytes()).is_ok() {
                    pushed += 1;
                }
            }
            pushed
        });
        let mut next = 0;
        let mut take = |consumer: &mut Consumer<8>| {
            let popped = consumer.pop(|number, slot| {
                assert_eq!(number, next);
                assert_eq!(u64::from_le_bytes(*slot), next + 1);
            });
            next += u64::from(popped.is_some());
            popped.is_some()
        };
        for _ in 0..3 {
            take(&mut consumer);
        }
        let pushed = pushing.join().expect("the producer runs through");
        while take(&mut consumer) {}
        assert_eq!(next, pushed);
    });
}

#[test]
fn the_next_ends_go_on_where_the_last_stopped() {
    loom::model(|| {
        let ring = ring();
        let mut first = Producer::adopt(same(&ring), None);
        let mut consumer = Consumer::adopt(same(&ring), false, None);
        let popping = loom::thread::spawn(move || consumer.pop(|_, slot| slot[0]));
        assert!(first.push(&[1]).is_ok());
        drop(first);
        let mut second = Producer::adopt(same(&ring), None);
        assert_eq!(second.push(&[2]), Ok(1));
        let first = popping.join().expect("the consumer runs through");
        let mut consumer = Consumer::adopt(ring, false, None);
        let second = consumer.pop(|_, slot| slot[0]);
        assert_eq!(
            (first, second),
            if first.is_some() {
                (Some(1), Some(2))
            } else {
                (None, Some(1))
            }
        );
    });
}
