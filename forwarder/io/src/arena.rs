//! Owns the memory that runs are written to before they are sent: one ring of bytes, one ring of
//! run descriptions, freed in the order of claiming. Hot.

use wire::datagram::{DATAGRAM_MAX, RUN_BYTES_MAX, RunMeta, SEGMENTS_MAX, Slot};
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
/// `head <= next <= tail`: `head..next` is with the kernel, `next..tail` is waiting.
pub(crate) struct Arena {
    memory: Box<[u8]>,
    runs: Box<[Run]>,
    mask: u32,
    head: u32,
    next: u32,
    tail: u32,
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
            tail: 0,
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
        let Some(mut run) = self.claimed.take() else {
            debug_assert!(bytes == 0, "commit without claim");
            return;
        };
        debug_assert!(bytes <= run.bytes, "commit of more than was claimed");
        run.bytes = bytes.min(run.bytes);
        if run.bytes == 0 {
            return;
        }
        let segments = run.bytes.div_ceil(usize::from(run.segment_bytes));
        run.segments = u8::try_from(segments).unwrap_or(run.segments);
        self.end = run.start + run.bytes.next_multiple_of(ALIGN);
        let slot = self.slot(self.tail);
        self.runs[slot] = run;
        self.tail = self.tail.wrapping_add(1);
    }

    /// Runs that wait for the kernel.
    pub(crate) fn waiting(&self) -> u32 {
        self.tail.wrapping_sub(self.next)
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

    proptest! {
        // An oracle keeps a copy of each run: what is read back must be what was written, so no
        // two live runs ever share a byte.
        #[test]
        fn live_runs_never_overlap(
            steps in proptest::collection::vec((0_u8..4, 1_usize..9000), 1..300),
        ) {
            let mut arena = Arena::new(8, 65_536);
            let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
            let mut kernel: Vec<(usize, Vec<u8>)> = Vec::new();
            for ((step, n), mark) in steps.into_iter().zip((0..=u8::MAX).cycle()) {
                match step {
                    0 | 1 => if let Some(mut slot) = arena.claim(meta(n)) {
                        slot.put(&vec![mark; n], 1200);
                        arena.commit(n);
                        waiting.push_back(vec![mark; n]);
                    },
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
