//! Owns the memory that runs are written to before they are sent: one ring of bytes, one ring of
//! run descriptions, freed in the order of claiming. Hot.

use wire::datagram::{
    DATAGRAM_MAX, PARKED_MAX, Parked, RUN_BYTES_MAX, RunMeta, SEGMENTS_MAX, Slot,
};
use wire::peer::{Ip, Peer};

/// A run in the arena.
#[derive(Clone, Copy, Default)]
pub(crate) struct Run {
    pub peer: Peer,
    pub local: Ip,
    pub segment_bytes: u16,
    pub segments: u8,
    /// True when the backend has no further use for it.
    done: bool,
    start: usize,
    bytes: usize,
}

impl Run {
    /// What the kernel is to segment by: nothing for a run of one.
    pub(crate) fn segment(&self) -> Option<u16> {
        (self.segments > 1).then_some(self.segment_bytes)
    }

    /// The same, for one of its segments alone.
    pub(crate) fn single(&self) -> Self {
        Self {
            segments: 1,
            ..*self
        }
    }
}

/// Runs from claim to release. Indexes count up for ever; a slot is the index masked.
///
/// `head <= next <= ready <= tail`: `head..next` is with the kernel, `next..ready` is waiting, and
/// `ready..tail` is parked, or was committed behind a run that is.
pub(crate) struct Arena {
    memory: Box<[u8]>,
    runs: Box<[Run]>,
    mask: u32,
    head: u32,
    next: u32,
    ready: u32,
    tail: u32,
    /// Datagrams of the runs that are parked.
    parked: u8,
    /// Where the next run begins, if it fits before the end.
    end: usize,
    claimed: Option<Run>,
}

/// Runs begin at cache lines.
const ALIGN: usize = 64;

impl Arena {
    /// `runs_max` is a power of two.
    pub(crate) fn new(runs_max: u16, bytes: u32) -> Self {
        assert!(runs_max.is_power_of_two(), "runs_max is a power of two");
        Self {
            memory: vec![0; bytes as usize].into_boxed_slice(),
            runs: vec![Run::default(); usize::from(runs_max)].into_boxed_slice(),
            mask: u32::from(runs_max) - 1,
            head: 0,
            next: 0,
            ready: 0,
            tail: 0,
            parked: 0,
            end: 0,
            claimed: None,
        }
    }

    /// All of the memory, for a kernel that wants to know it beforehand. It never moves.
    pub(crate) fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// Memory for `run`. A claim that was never committed is forgotten.
    pub(crate) fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        self.claimed = None;
        let legal = legal(run);
        debug_assert!(legal, "a run that cannot be sent: {run:?}");
        if !legal || self.tail.wrapping_sub(self.head) > self.mask {
            return None;
        }
        let start = self.place(run.bytes)?;
        self.claimed = Some(Run {
            peer: run.peer,
            local: run.local,
            segment_bytes: run.segment_bytes,
            segments: run.segments,
            done: false,
            start,
            bytes: run.bytes,
        });
        Some(Slot::joined(self.memory.get_mut(start..start + run.bytes)?))
    }

    /// Queues the claimed run, cut to `bytes`. Zero, or no claim: nothing.
    pub(crate) fn commit(&mut self, bytes: usize) {
        if self.push(bytes).is_some() && self.parked == 0 {
            self.ready = self.tail;
        }
    }

    /// The same, but it does not wait for the kernel yet, and neither does what is committed behind
    /// it. `None`: nothing was in it, or more than may be parked.
    pub(crate) fn park(&mut self, bytes: usize) -> Option<Parked> {
        let segments = self.claimed.as_ref().map_or(0, |run| run.segments);
        let fits = segments <= PARKED_MAX.saturating_sub(self.parked);
        debug_assert!(fits, "more than may be parked");
        let slot = self.push(if fits { bytes } else { 0 })?;
        self.parked += self.runs[slot].segments;
        u32::try_from(slot).ok().map(Parked)
    }

    /// The bytes of a parked run.
    pub(crate) fn parked(&self, Parked(slot): Parked) -> &[u8] {
        match self.at(slot as usize) {
            Some((_, bytes)) => bytes,
            None => &[],
        }
    }

    /// The same, to be written to.
    pub(crate) fn parked_mut(&mut self, Parked(slot): Parked) -> &mut [u8] {
        let run = self.runs.get(slot as usize).copied().unwrap_or_default();
        let bytes = self.memory.get_mut(run.start..run.start + run.bytes);
        bytes.unwrap_or_default()
    }

    /// Lets the first run that is parked, or behind one that is, wait for the kernel. False: there
    /// is none.
    pub(crate) fn unpark(&mut self) -> bool {
        self.claimed = None;
        self.parked = 0;
        if self.ready == self.tail {
            return false;
        }
        self.ready = self.ready.wrapping_add(1);
        true
    }

    /// Puts the claimed run behind all others; gives its slot.
    fn push(&mut self, bytes: usize) -> Option<usize> {
        let Some(mut run) = self.claimed.take() else {
            debug_assert!(bytes == 0, "commit without claim");
            return None;
        };
        debug_assert!(bytes <= run.bytes, "commit of more than was claimed");
        run.bytes = bytes.min(run.bytes);
        if run.bytes == 0 {
            return None;
        }
        let segments = run.bytes.div_ceil(usize::from(run.segment_bytes));
        run.segments = u8::try_from(segments).unwrap_or(run.segments);
        self.end = run.start + run.bytes.next_multiple_of(ALIGN);
        let slot = self.slot(self.tail);
        self.runs[slot] = run;
        self.tail = self.tail.wrapping_add(1);
        Some(slot)
    }

    /// Runs that wait for the kernel.
    pub(crate) fn waiting(&self) -> u32 {
        self.ready.wrapping_sub(self.next)
    }

    /// Runs that are with the kernel, or released but not yet reclaimed.
    pub(crate) fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.head)
    }

    /// The waiting run `ahead` places from the front, its slot and its bytes.
    pub(crate) fn peek(&self, ahead: u32) -> Option<(usize, &Run, &[u8])> {
        if ahead >= self.waiting() {
            return None;
        }
        let slot = self.slot(self.next.wrapping_add(ahead));
        let (run, bytes) = self.at(slot)?;
        Some((slot, run, bytes))
    }

    /// The run in `slot`.
    pub(crate) fn at(&self, slot: usize) -> Option<(&Run, &[u8])> {
        let run = self.runs.get(slot)?;
        Some((run, self.memory.get(run.start..run.start + run.bytes)?))
    }

    /// The first `n` waiting runs are with the kernel now.
    pub(crate) fn submit(&mut self, n: u32) {
        debug_assert!(n <= self.waiting());
        self.next = self.next.wrapping_add(n.min(self.waiting()));
    }

    /// The kernel is through with the run in `slot`; memory returns in the order of claiming.
    pub(crate) fn release(&mut self, slot: usize) {
        if let Some(run) = self.runs.get_mut(slot) {
            run.done = true;
        }
        while self.head != self.next && self.runs[self.slot(self.head)].done {
            self.head = self.head.wrapping_add(1);
        }
    }

    /// The first `n` waiting runs are sent and need not be kept.
    pub(crate) fn pass(&mut self, n: u32) {
        for _ in 0..n.min(self.waiting()) {
            let slot = self.slot(self.next);
            self.next = self.next.wrapping_add(1);
            self.release(slot);
        }
    }

    fn slot(&self, index: u32) -> usize {
        (index & self.mask) as usize
    }

    /// Where `bytes` fit in one piece. An empty arena starts anew at the front, so that a port
    /// that keeps up uses the same few cached pages again and again.
    fn place(&mut self, bytes: usize) -> Option<usize> {
        let need = bytes.next_multiple_of(ALIGN);
        if self.head == self.tail {
            self.end = 0;
            return (need <= self.memory.len()).then_some(0);
        }
        let oldest = self.runs[self.slot(self.head)].start;
        if self.end <= oldest {
            return (self.end + need <= oldest).then_some(self.end);
        }
        if self.end + need <= self.memory.len() {
            return Some(self.end);
        }
        (need <= oldest).then_some(0)
    }
}

pub(crate) fn legal(run: RunMeta) -> bool {
    let segment = usize::from(run.segment_bytes);
    (1..=SEGMENTS_MAX).contains(&run.segments)
        && (1..=DATAGRAM_MAX).contains(&segment)
        && (1..=RUN_BYTES_MAX).contains(&run.bytes)
        && run.bytes.div_ceil(segment) <= usize::from(run.segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use wire::datagram::NOBODY;

    fn meta(bytes: usize) -> RunMeta {
        RunMeta {
            peer: Peer::default(),
            local: Ip::UNKNOWN,
            segment_bytes: 1200,
            segments: u8::try_from(bytes.div_ceil(1200)).unwrap(),
            bytes,
            viewer: NOBODY,
        }
    }

    #[test]
    fn commit_cuts_the_run_and_its_segments() {
        let mut arena = Arena::new(4, 65_536);
        assert_eq!(arena.claim(meta(3000)).unwrap().room().len(), 3000);
        arena.commit(1300);
        let (_, run, bytes) = arena.peek(0).unwrap();
        assert_eq!((run.segments, bytes.len()), (2, 1300));
        assert!(arena.claim(meta(3000)).is_some());
        arena.commit(0);
        assert_eq!(arena.waiting(), 1);
    }

    #[test]
    fn full_of_runs_or_bytes_is_none() {
        let mut arena = Arena::new(2, 65_536);
        for _ in 0..2 {
            assert!(arena.claim(meta(100)).is_some());
            arena.commit(100);
        }
        assert!(arena.claim(meta(100)).is_none());
        arena.pass(1);
        assert!(arena.claim(meta(65_500)).is_none());
        assert!(arena.claim(meta(100)).is_some());
    }

    #[test]
    fn what_is_parked_waits_and_so_does_what_is_behind_it() {
        let mut arena = Arena::new(8, 65_536);
        let put = |arena: &mut Arena, mark: u8, parks: bool| {
            arena.claim(meta(100)).unwrap().put(&[mark; 100], 1200);
            if parks {
                return arena.park(100);
            }
            arena.commit(100);
            None
        };
        put(&mut arena, 1, false);
        let second = put(&mut arena, 2, true).unwrap();
        put(&mut arena, 3, false);
        let fourth = put(&mut arena, 4, true).unwrap();
        assert_eq!(arena.waiting(), 1);
        assert_eq!(arena.parked(second), [2; 100]);
        arena.parked_mut(fourth)[99] = 5;
        // A claim that comes to nothing takes nothing along.
        assert!(arena.claim(meta(100)).is_some());
        assert_eq!(arena.park(0), None);
        arena.pass(2);
        assert_eq!(arena.waiting(), 0, "one was sent, and no more");
        for waiting in 1..=3 {
            assert!(arena.unpark());
            assert_eq!(arena.waiting(), waiting);
        }
        assert!(!arena.unpark());
        for mark in 2..=4 {
            assert_eq!(arena.peek(0).unwrap().2[..99], [mark; 99]);
            assert_eq!(arena.peek(0).unwrap().2[99], mark.max(mark / 4 * 5));
            arena.pass(1);
        }
        put(&mut arena, 6, false);
        assert_eq!(arena.waiting(), 1, "nothing is parked any more");
    }

    proptest! {
        // An oracle keeps a copy of each run: what is read back must be what was written, so no
        // two live runs ever share a byte.
        #[test]
        fn live_runs_never_overlap(
            steps in proptest::collection::vec((0_u8..6, 1_usize..9000), 1..300),
        ) {
            let mut arena = Arena::new(8, 65_536);
            let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
            let mut parked: VecDeque<Vec<u8>> = VecDeque::new();
            let mut datagrams = 0;
            let mut kernel: Vec<(usize, Vec<u8>)> = Vec::new();
            for ((step, n), mark) in steps.into_iter().zip((0..=u8::MAX).cycle()) {
                match step {
                    0 | 1 => if let Some(mut slot) = arena.claim(meta(n)) {
                        slot.put(&vec![mark; n], 1200);
                        arena.commit(n);
                        let behind = if parked.is_empty() { &mut waiting } else { &mut parked };
                        behind.push_back(vec![mark; n]);
                    },
                    4 if datagrams + n.div_ceil(1200) <= PARKED_MAX.into() => {
                        if arena.claim(meta(n)).is_some() {
                            let run = arena.park(n).unwrap();
                            arena.parked_mut(run).fill(mark);
                            prop_assert_eq!(arena.parked(run), vec![mark; n]);
                            parked.push_back(vec![mark; n]);
                            datagrams += n.div_ceil(1200);
                        }
                    }
                    5 => {
                        while arena.unpark() {
                            waiting.extend(parked.pop_front());
                        }
                        datagrams = 0;
                        prop_assert!(parked.is_empty());
                    }
                    2 => if let Some((slot, _, bytes)) = arena.peek(0) {
                        prop_assert_eq!(bytes, &waiting[0][..]);
                        arena.submit(1);
                        kernel.push((slot, waiting.pop_front().unwrap()));
                    },
                    _ => if !kernel.is_empty() {
                        let (slot, expected) = kernel.remove(n % kernel.len());
                        prop_assert_eq!(arena.at(slot).unwrap().1, &expected[..]);
                        arena.release(slot);
                    },
                }
                prop_assert_eq!(arena.waiting() as usize, waiting.len());
            }
        }
    }
}
