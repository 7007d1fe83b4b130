//! A message laid out by hand, round trips, lies.

use proptest::prelude::*;

use super::*;
use crate::rtcp::{Item, compound};
use crate::rtcp_feedback::Message;

type Source = (u32, u16, Vec<Came>);

fn told(bytes: &[u8]) -> Option<(u32, Vec<Source>)> {
    let mut items = compound(bytes);
    let Some(Item::Feedback(feedback)) = items.next() else {
        return None;
    };
    let Message::Arrivals(fci) = feedback.message else {
        panic!("{:?}", feedback.message);
    };
    let arrivals = Arrivals::parse(fci)?;
    let all = arrivals.blocks().map(|block| {
        let came: Vec<_> = block.packets().collect();
        assert_eq!(came.len(), usize::from(block.count));
        for (nth, (sequence, _)) in (0..).zip(&came) {
            assert_eq!(*sequence, block.first.wrapping_add(nth));
        }
        (
            block.ssrc,
            block.first,
            came.into_iter().map(|one| one.1).collect(),
        )
    });
    let all: Vec<Source> = all.collect();
    let count: usize = all.iter().map(|one| one.2.len()).sum();
    assert_eq!(arrivals.count as usize, count);
    Some((arrivals.reported, all))
}

#[test]
fn a_message_has_its_layout() {
    #[rustfmt::skip]
    let bytes = [
        0x8b, 205, 0, 9, 0, 0, 0, 1,
        // Three packets across the wrap, the second of which is missing; ECT(1) on the third.
        0, 0, 0, 7, 0xff, 0xff, 0, 3, 0x80, 0x21, 0, 0, 0xbf, 0xfe, 0, 0,
        // One that came after the report, and none of a third source.
        0, 0, 0, 8, 0, 1, 0, 1, 0x9f, 0xff, 0, 0,
        1, 2, 3, 4,
    ];
    let first = vec![Came::Before(33), Came::No, Came::Untimed];
    let second = vec![Came::Untimed];
    let all = vec![(7, 0xffff, first), (8, 1, second)];
    assert_eq!(told(&bytes), Some((0x0102_0304, all)));
}

#[test]
fn one_that_lies_is_refused() {
    let came = [Came::Before(1); 3];
    let mut out = [0; 64];
    let used = write_arrivals(1, &[(2, 3, &came)], 4, &mut out);
    assert_eq!(used, 28);
    assert!(told(&out[..used]).is_some());
    // More packets than there are, fewer, and more than there may be.
    for count in [5, 1, ARRIVALS_MAX + 1] {
        out[14..16].copy_from_slice(&count.to_be_bytes());
        assert_eq!(told(&out[..used]), None, "{count}");
    }
    assert_eq!(write_arrivals(1, &[(2, 3, &came)], 4, &mut out[..27]), 0);
    let many = vec![Came::No; usize::from(ARRIVALS_MAX) + 1];
    assert_eq!(
        write_arrivals(1, &[(2, 3, &many)], 4, &mut vec![0; 40_000]),
        0
    );
    // As many as no message may have, all of them there.
    for (count, is_legal) in [(ARRIVALS_MAX, true), (ARRIVALS_MAX + 1, false)] {
        let metrics = vec![0; (2 * usize::from(count)).next_multiple_of(4)];
        let fci = [&[0; 6][..], &count.to_be_bytes(), &metrics, &[0; 4]].concat();
        assert_eq!(Arrivals::parse(&fci).is_some(), is_legal);
    }
    // Nothing but a time.
    let used = write_arrivals(1, &[], 4, &mut out);
    assert_eq!(told(&out[..used]), Some((4, Vec::new())));
}

fn came() -> impl Strategy<Value = Came> {
    prop_oneof![
        Just(Came::No),
        Just(Came::Untimed),
        (0..UNTIMED).prop_map(Came::Before),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        sources in proptest::collection::vec(
            (any::<u32>(), any::<u16>(), proptest::collection::vec(came(), 0..40)), 0..6),
        reported in any::<u32>(),
    ) {
        let lent: Vec<_> = sources.iter().map(|one| (one.0, one.1, &one.2[..])).collect();
        let mut out = [0; 1024];
        let used = write_arrivals(9, &lent, reported, &mut out);
        prop_assert!(used > 0);
        prop_assert_eq!(told(&out[..used]), Some((reported, sources)));
    }

    #[test]
    fn no_bytes_are_too_bad(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(arrivals) = Arrivals::parse(&bytes) {
            let read = arrivals.blocks().map(|block| block.packets().count()).sum::<usize>();
            prop_assert_eq!(read, arrivals.count as usize);
            prop_assert!(2 * read <= bytes.len());
        }
    }
}
