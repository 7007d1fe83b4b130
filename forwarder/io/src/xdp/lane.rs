//! Owns one way to one device: a socket, its rings, and the calls that make the kernel look at
//! them. Hot.

use super::frames::Frames;
use super::ring::{Consumer, Producer};
use super::socket::Target;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use wire::time::{Span, Time};

/// A device that has given nothing back for so long, while it had something, has hung or has been
/// taken apart: the lane is closed, so that its viewers go by the sockets.
const STALL: Span = Span::secs(1);

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    /// The kernel has taken all.
    Done,
    /// The queue of the device is full, or memory is short: later.
    Full,
    /// The device has gone, is down or hangs.
    Broken,
}

/// A lane.
pub struct Lane {
    socket: OwnedFd,
    target: Target,
    sending: Producer<libc::xdp_desc>,
    done: Consumer<u64>,
    out: u32,
    /// When something was last seen to come back, or nothing to be out.
    moved_at: Time,
    /// Something has come back since.
    moved: bool,
    /// Calls since they were last asked for.
    calls: u32,
}

impl Lane {
    pub(super) fn new(
        socket: OwnedFd,
        target: Target,
        sending: Producer<libc::xdp_desc>,
        done: Consumer<u64>,
    ) -> Self {
        Self {
            socket,
            target,
            sending,
            done,
            out: 0,
            moved_at: Time::ZERO,
            moved: true,
            calls: 0,
        }
    }

    /// The socket, for others to share its memory.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Where it leads.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// Queues a frame of `bytes` at `address`; false if there is no room.
    pub(crate) fn queue(&mut self, address: u32, bytes: u32) -> bool {
        let queued = self.sending.write(libc::xdp_desc {
            addr: address.into(),
            len: bytes,
            options: 0,
        });
        // It is waited for from now on, however long ago the last turn was.
        self.moved |= self.out == 0;
        self.out += u32::from(queued);
        queued
    }

    /// Frames that were queued and not shown to the kernel.
    pub(crate) fn unpublished(&self) -> u32 {
        self.sending.unpublished()
    }

    /// Frames that the kernel has not taken.
    pub(crate) fn waiting(&self) -> u32 {
        self.sending.waiting()
    }

    /// Frames that were queued and have not come back, taken or not.
    pub(crate) fn out(&self) -> u32 {
        self.out
    }

    /// Calls of the kernel since this was last asked.
    pub(crate) fn calls(&mut self) -> u32 {
        core::mem::take(&mut self.calls)
    }

    /// Shows the kernel what is queued, and makes it send as long as it goes on.
    pub(crate) fn kick(&mut self) -> Kick {
        self.sending.publish();
        loop {
            let waiting = self.sending.waiting();
            if waiting == 0 {
                return Kick::Done;
            }
            if self.sending.flags() & libc::XDP_RING_NEED_WAKEUP == 0 {
                return Kick::Full;
            }
            self.calls += 1;
            let answer = send(self.socket.as_raw_fd(), &[], MsgFlags::MSG_DONTWAIT);
            match answer {
                // EAGAIN: the budget of a call is spent, or the queue is full. EBUSY: a frame was
                // dropped by the device, and is done with.
                Ok(_) | Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS | Errno::EINTR) => {
                    if self.sending.waiting() >= waiting {
                        return Kick::Full;
                    }
                }
                Err(_) => return Kick::Broken,
            }
        }
    }

    /// Takes back what the kernel is through with; `number` is the lane's among those of `frames`.
    pub(crate) fn reclaim(&mut self, frames: &mut Frames, number: u8) {
        let back = self.done.drain(|address| frames.release(number, address));
        self.out = self.out.saturating_sub(back);
        self.moved |= back > 0;
    }

    /// True if the kernel has had something for too long. To be asked once a turn.
    pub(crate) fn is_stalled(&mut self, now: Time) -> bool {
        if self.out == 0 || core::mem::take(&mut self.moved) {
            self.moved_at = now;
        }
        now.since(self.moved_at) > STALL
    }
}
