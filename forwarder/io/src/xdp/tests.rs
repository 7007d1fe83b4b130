//! The rings and frames against a model of the kernel that takes and gives back as it likes.

use super::frames::{FRAME_BYTES, Frames, PAYLOAD_AT};
use super::mapping::Mapping;
use super::ring::{Consumer, Layout, Producer};
use proptest::prelude::*;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

const RING: Layout = Layout {
    producer: 0,
    consumer: 64,
    flags: 128,
    entries: 192,
    size: 16,
};

fn memory(frames: u32) -> Arc<Mapping> {
    let bytes = usize::try_from(frames * FRAME_BYTES).unwrap();
    Arc::new(Mapping::anonymous(bytes).unwrap())
}

#[test]
fn a_ring_is_full_and_empty_and_goes_round() {
    let shared = memory(1);
    let mut ours = Producer::<u64>::new(Arc::clone(&shared), RING);
    let mut theirs = Consumer::<u64>::new(shared, RING);
    let mut expected = 0;
    for round in 0..100_u64 {
        let many = round % 17;
        for nth in 0..many {
            assert!(ours.write(expected + nth));
        }
        assert_eq!(u64::from(ours.unpublished()), many);
        assert_eq!(theirs.drain(|_| panic!("not published")), 0);
        ours.publish();
        if many == 16 {
            assert!(!ours.write(0), "full");
        }
        let mut next = expected;
        theirs.drain(|value| {
            assert_eq!(value, next);
            next += 1;
        });
        expected += many;
        assert_eq!((next, ours.waiting()), (expected, 0));
    }
}

#[test]
fn what_the_kernel_did_not_have_is_not_free() {
    let mut frames = Frames::new(memory(4));
    frames.release(0, 0);
    frames.release(0, u64::MAX);
    assert_eq!((frames.free(), frames.strays()), (4, 2));
    frames.claim(2).unwrap();
    frames.commit(2, 3);
    let mine = u64::from(PAYLOAD_AT);
    frames.release(2, mine);
    assert_eq!((frames.free(), frames.strays()), (2, 1), "of another lane");
    frames.release(3, mine);
    frames.release(3, mine);
    assert_eq!((frames.free(), frames.strays()), (3, 1), "once only");
    frames.release_all(3);
    assert_eq!(frames.free(), 4);
    frames.claim(1).unwrap();
    frames.commit(1, 5);
    frames.lose_all(5);
    frames.release(5, mine);
    frames.release_all(5);
    assert_eq!((frames.free(), frames.strays()), (3, 2), "lost for good");
}

#[test]
fn parked_frames_stay_until_they_are_given_or_let_go() {
    let mut frames = Frames::new(memory(24));
    let claim = |frames: &mut Frames, mark: u8, count: u8| {
        let mut slot = frames.claim(count).unwrap();
        let from = slot.place().start;
        slot.put(&vec![mark; 100 * usize::from(count)], 100);
        from
    };
    let first = claim(&mut frames, 1, 2);
    assert!(frames.park(2));
    // Of this one only a part is used, and the next is not parked at all.
    let second = claim(&mut frames, 2, 3);
    assert!(frames.park(1));
    claim(&mut frames, 3, 4);
    assert_eq!((frames.first_claimed(), frames.free()), (3, 24 - 7));
    frames.commit(3, 0);
    assert_eq!(frames.free(), 24 - 6);
    claim(&mut frames, 4, 4);
    frames.abandon();
    assert!(!frames.park(0), "nothing");
    assert_eq!(frames.free(), 24 - 6);
    assert_eq!(frames.memory()[first..first + 100], [1; 100]);
    frames.memory_mut()[second + 99] = 7;
    for (place, mark, last) in [(0, 1, 1), (1, 1, 1), (2, 2, 7)] {
        let (_, _, payload) = frames.datagram(place, 100).unwrap();
        assert_eq!((payload[0], payload[99]), (mark, last));
    }
    assert!(frames.datagram(3, 100).is_none());
    frames.give(0..2, 1);
    frames.let_go(2..3);
    frames.none_parked();
    assert_eq!((frames.free(), frames.first_claimed()), (24 - 5, 0));
    frames.release_all(0);
    frames.release_all(1);
    assert_eq!((frames.free(), frames.strays()), (24, 0));
}

/// A lane as the model has it.
struct Side {
    sending: Producer<libc::xdp_desc>,
    done: Consumer<u64>,
    /// The kernel's ends.
    sent: Consumer<libc::xdp_desc>,
    back: Producer<u64>,
    /// What the kernel holds, with the mark in it.
    held: VecDeque<(u64, u8)>,
}

impl Side {
    fn new() -> Self {
        let (tx, cq) = (memory(1), memory(1));
        Self {
            sending: Producer::new(Arc::clone(&tx), RING),
            done: Consumer::new(Arc::clone(&cq), RING),
            sent: Consumer::new(tx, RING),
            back: Producer::new(cq, RING),
            held: VecDeque::new(),
        }
    }
}

const FRAMES: u32 = 12;

/// A datagram of the run that is claimed: `len` bytes of `mark`.
fn send(frames: &mut Frames, side: &mut Side, lane: u8, marks: &[u8], abandon: bool) -> bool {
    let Some(mut slot) = frames.claim(u8::try_from(marks.len()).unwrap()) else {
        return false;
    };
    for mark in marks {
        slot.put(&[*mark; 100], 100);
    }
    if abandon {
        frames.abandon();
        return true;
    }
    for (nth, mark) in marks.iter().enumerate() {
        let (at, room, payload) = frames.datagram(nth, 100).unwrap();
        room.fill(*mark);
        assert_eq!(payload, [*mark; 100]);
        assert!(side.sending.write(libc::xdp_desc {
            addr: u64::from(at),
            len: 100,
            options: 0,
        }));
    }
    frames.commit(marks.len(), lane);
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 2000 }))]
    // What the kernel holds is never claimed, never written, and never lost.
    #[test]
    fn frames_are_with_one_side_only(
        steps in proptest::collection::vec((0_u8..8, 0_usize..2, 1_usize..7, any::<u16>()), 1..200),
    ) {
        let shared = memory(FRAMES);
        let mut frames = Frames::new(Arc::clone(&shared));
        let mut sides = [Side::new(), Side::new()];
        for (nth, (step, lane, many, random)) in steps.into_iter().enumerate() {
            let side = &mut sides[lane];
            let number = u8::try_from(lane).unwrap();
            let mark = u8::try_from(nth).unwrap();
            match step {
                0..=2 => {
                    let free = frames.free();
                    let marks = vec![mark; many];
                    let sent = send(&mut frames, side, number, &marks, step == 2);
                    prop_assert_eq!(sent, many <= free);
                }
                3 => side.sending.publish(),
                4 => {
                    let held = &mut side.held;
                    side.sent.drain(|desc| held.push_back((desc.addr, 0)));
                    // What it takes is read when it is sent, which may be later.
                    for (address, seen) in held.iter_mut().filter(|(_, seen)| *seen == 0) {
                        let at = usize::try_from(*address).unwrap();
                        // SAFETY: within the mapping; nobody writes to what the kernel holds.
                        *seen = unsafe { shared.at().add(at).read() };
                    }
                }
                5 => {
                    for _ in 0..many.min(side.held.len()) {
                        let at = usize::from(random) % side.held.len();
                        let (address, seen) = side.held.remove(at).unwrap();
                        let byte = usize::try_from(address).unwrap() + 99;
                        // SAFETY: as above.
                        let now = unsafe { shared.at().add(byte).read() };
                        prop_assert_eq!(now, seen, "written while the kernel had it");
                        prop_assert!(side.back.write(address));
                    }
                    side.back.publish();
                }
                6 => {
                    side.done.drain(|address| frames.release(number, address));
                }
                _ => if random.is_multiple_of(16) {
                    // The lane is closed; the kernel forgets what it had.
                    *side = Side::new();
                    frames.release_all(number);
                },
            }
            let held: HashSet<u64> = sides
                .iter()
                .flat_map(|side| side.held.iter().map(|(address, _)| *address))
                .collect();
            let holding: usize = sides.iter().map(|side| side.held.len()).sum();
            prop_assert_eq!(held.len(), holding, "a frame is held once");
            prop_assert!(frames.free() + holding <= FRAMES as usize);
            prop_assert_eq!(frames.strays(), 0);
        }
        for (number, side) in (0..).zip(&mut sides) {
            side.sending.publish();
            let back = &mut side.back;
            for (address, _) in side.held.drain(..) {
                prop_assert!(back.write(address));
            }
            side.sent.drain(|desc| assert!(back.write(desc.addr)));
            back.publish();
            side.done.drain(|address| frames.release(number, address));
        }
        prop_assert_eq!(frames.free(), FRAMES as usize, "none is lost");
    }
}
