//! Owns publishers' packets that came too early: they wait for those before them.

use wire::datagram::DATAGRAM_MAX;
use wire::rtp::Header;
use wire::time::Time;

/// Packets that one track may hold. More than this missing at once is a loss, not a reordering.
const HELD_MAX: usize = 32;

/// Packets that all publishers of a core may hold together.
const POOL_MAX: usize = 512;

/// A packet out of turn.
#[derive(Clone, Copy)]
pub struct Held {
    /// When it came.
    pub at: Time,
    /// ROC << 16 | sequence number.
    pub index: u64,
    /// Its header.
    pub header: Header,
    used: usize,
    bytes: [u8; DATAGRAM_MAX],
}

impl Held {
    /// Its payload.
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

/// Memory for packets of all publishers of a core.
pub struct Pool {
    frames: Box<[Held]>,
    free: Vec<usize>,
}

/// The packets that one track holds, in any order.
#[derive(Clone, Copy, Default)]
pub struct Waiting {
    frames: [usize; HELD_MAX],
    used: usize,
}

impl Pool {
    /// All allocation is here.
    pub fn new() -> Self {
        let empty = Held {
            at: Time::ZERO,
            index: 0,
            header: Header::default(),
            used: 0,
            bytes: [0; DATAGRAM_MAX],
        };
        Self {
            frames: vec![empty; POOL_MAX].into_boxed_slice(),
            free: (0..POOL_MAX).collect(),
        }
    }

    /// What a frame holds.
    pub fn held(&self, frame: usize) -> &Held {
        &self.frames[frame]
    }

    /// Gives a frame back.
    pub fn release(&mut self, frame: usize) {
        self.free.push(frame);
    }
}

impl Waiting {
    /// Keeps a packet. False: no room.
    pub fn hold(
        &mut self,
        pool: &mut Pool,
        now: Time,
        index: u64,
        header: Header,
        payload: &[u8],
    ) -> bool {
        if self.used == HELD_MAX || payload.len() > DATAGRAM_MAX {
            return false;
        }
        let Some(frame) = pool.free.pop() else {
            return false;
        };
        let held = &mut pool.frames[frame];
        held.at = now;
        held.index = index;
        held.header = header;
        held.used = payload.len();
        held.bytes[..payload.len()].copy_from_slice(payload);
        self.frames[self.used] = frame;
        self.used += 1;
        true
    }

    /// The packet with the least index.
    pub fn first<'a>(&self, pool: &'a Pool) -> Option<&'a Held> {
        let waiting = self.frames[..self.used].iter();
        waiting
            .map(|&frame| &pool.frames[frame])
            .min_by_key(|held| held.index)
    }

    /// Takes out the packet with this index: its frame, to be released.
    pub fn take(&mut self, pool: &Pool, index: u64) -> Option<usize> {
        let at = self.frames[..self.used]
            .iter()
            .position(|&frame| pool.frames[frame].index == index)?;
        self.used -= 1;
        self.frames.swap(at, self.used);
        Some(self.frames[self.used])
    }

    /// Gives everything back.
    pub fn clear(&mut self, pool: &mut Pool) {
        for &frame in &self.frames[..self.used] {
            pool.release(frame);
        }
        self.used = 0;
    }
}
