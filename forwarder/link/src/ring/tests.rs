//! The ring against an oracle, between threads, and against a broken other side.

use super::*;
use crate::ids::CoreId;
use crate::limits::Limits;
use crate::region::Region;
use proptest::prelude::*;
use std::collections::VecDeque;

/// Slots of the rings below.
const SLOTS: usize = 4;

fn region() -> Region {
    let limits = Limits {
        streams_max: 1,
        viewers_max: 1,
        log_packets: crate::limits::LOG_PACKETS_MIN,
        events_max: u32::try_from(SLOTS).unwrap(),
        ..Limits::default()
    };
    Region::create(&limits).unwrap()
}

type Ends = (Producer<64>, Consumer<64>);

fn ends(region: &Region) -> Ends {
    let producer = region.events_producer(CoreId(0)).unwrap().ring;
    (producer, region.events_consumer(CoreId(0)).unwrap().ring)
}

#[derive(Clone, Debug)]
enum Step {
    Push(Vec<u8>),
    Pop,
    /// An end dies and another goes on.
    NewProducer,
    NewConsumer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..=64).prop_map(Step::Push),
        4 => Just(Step::Pop),
        1 => Just(Step::NewProducer),
        1 => Just(Step::NewConsumer),
    ]
}

proptest! {
    #[test]
    fn a_ring_is_a_bounded_queue(steps in prop::collection::vec(step(), 0..200)) {
        let region = region();
        let (mut producer, mut consumer) = ends(&region);
        let mut oracle: VecDeque<(u64, [u8; 64])> = VecDeque::new();
        let mut pushed = 0;
        for step in steps {
            match step {
                Step::Push(bytes) => {
                    let full = oracle.len() == SLOTS;
                    let expected = if full { Err(Full) } else { Ok(pushed) };
                    prop_assert_eq!(producer.push(&bytes), expected);
                    if !full {
                        let mut slot = [0; 64];
                        slot[..bytes.len()].copy_from_slice(&bytes);
                        oracle.push_back((pushed, slot));
                        pushed += 1;
                    }
                }
                Step::Pop => {
                    let popped = consumer.pop(|number, slot| (number, *slot));
                    prop_assert_eq!(popped, oracle.pop_front());
                }
                Step::NewProducer => {
                    drop(producer);
                    producer = region.events_producer(CoreId(0)).unwrap().ring;
                }
                Step::NewConsumer => {
                    drop(consumer);
                    consumer = region.events_consumer(CoreId(0)).unwrap().ring;
                }
            }
            prop_assert_eq!(consumer.is_empty(), oracle.is_empty());
            prop_assert_eq!(producer.room(), SLOTS - oracle.len());
        }
    }

    #[test]
    fn impossible_positions_are_survived(written in any::<u64>(), read in any::<u64>()) {
        let region = region();
        let (producer, consumer) = ends(&region);
        producer.ring.head.written.0.store(written, Ordering::Relaxed);
        consumer.ring.head.read.0.store(read, Ordering::Relaxed);
        drop((producer, consumer));
        let (mut producer, mut consumer) = ends(&region);
        let _ = producer.push(b"x");
        for _ in 0..=SLOTS {
            consumer.pop(|_, _| ());
        }
        // The consumer has resynchronised: the ring works again.
        prop_assert!(consumer.is_empty());
        prop_assert!(producer.push(b"y").is_ok());
        prop_assert_eq!(consumer.pop(|_, slot| slot[0]), Some(b'y'));
    }
}

#[test]
fn threads_hand_over_everything_in_order() {
    const MESSAGES: u64 = 20_000;
    let region = region();
    let (mut producer, mut consumer) = ends(&region);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..MESSAGES {
                while producer.push(&n.to_le_bytes()).is_err() {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < MESSAGES {
            let popped = consumer.pop(|number, slot| {
                assert_eq!((number, &slot[..8]), (next, &next.to_le_bytes()[..]));
            });
            match popped {
                Some(()) => next += 1,
                None => std::thread::yield_now(),
            }
        }
    });
}
