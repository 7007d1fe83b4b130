//! Owns the wake-ups: an eventfd for each sleeper and a flag that saves the call while it is awake.

use crate::sync::Shared;
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Whether the sleeper means to block; alone in its cache line.
#[cfg_attr(not(loom), derive(zerocopy::FromBytes))]
#[repr(C, align(64))]
pub(crate) struct SleepFlag {
    word: AtomicU32,
}

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// Rings the bell of a worker. Static, so that the model checker can do without.
pub trait Bell {
    /// Something is there for this worker now.
    fn ring(&self, core: usize);
}

/// No bell at all: for readers that poll.
impl Bell for () {
    fn ring(&self, _core: usize) {}
}

/// Wakes one sleeper. Cheap while it is awake: a fence and a load.
#[derive(Clone)]
pub struct Waker {
    flag: Shared<SleepFlag>,
    bell: Arc<OwnedFd>,
}

/// The wakers of all workers by core.
#[derive(Clone)]
pub struct Wakers(pub(crate) Arc<[Waker]>);

/// The side that sleeps: [`Sleeper::prepare`], look once more for work, block on
/// [`Sleeper::fd`] until it is readable or the deadline comes, [`Sleeper::clear`].
pub struct Sleeper {
    flag: Shared<SleepFlag>,
    bell: Arc<OwnedFd>,
}

impl Waker {
    pub(crate) fn new(flag: Shared<SleepFlag>, bell: Arc<OwnedFd>) -> Self {
        Self { flag, bell }
    }

    /// The other half.
    pub(crate) fn sleeper(&self) -> Sleeper {
        Sleeper {
            flag: self.flag.clone(),
            bell: Arc::clone(&self.bell),
        }
    }

    /// Call after what was written is visible. Makes the system call only if the sleeper sleeps.
    #[inline]
    pub fn wake(&self) {
        // Either we see the flag of `prepare`, or the sleeper's look after it sees what we wrote.
        fence(Ordering::SeqCst);
        if self.flag.word.load(Ordering::Relaxed) != AWAKE {
            self.strike();
        }
    }

    #[cold]
    fn strike(&self) {
        if self.flag.word.swap(AWAKE, Ordering::AcqRel) != AWAKE {
            // The one possible failure is a counter at its maximum: the sleeper wakes anyway.
            let _ = nix::unistd::write(&self.bell, &1u64.to_ne_bytes());
        }
    }
}

impl Bell for Wakers {
    #[inline]
    fn ring(&self, core: usize) {
        if let Some(waker) = self.0.get(core) {
            waker.wake();
        }
    }
}

impl Sleeper {
    /// Announces that we are about to block. Look for work once more after this.
    pub fn prepare(&self) {
        self.flag.word.store(ASLEEP, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Readable once somebody has called [`Waker::wake`] after [`Sleeper::prepare`].
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Awake again, with work or without: nobody makes a system call for us until the next
    /// [`Sleeper::prepare`].
    pub fn clear(&self) {
        self.flag.word.store(AWAKE, Ordering::Relaxed);
        let mut count = [0; 8];
        // Not blocking: nothing there is as good as something.
        let _ = nix::unistd::read(&self.bell, &mut count);
    }
}
