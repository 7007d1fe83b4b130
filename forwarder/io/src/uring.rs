//! Owns the `io_uring` backend: one wait for everything, receive requests that renew themselves,
//! frames provided in advance. Hot.

mod buffers;
mod egress;
mod ring;
mod rx;
mod settings;

use crate::arena::Arena;
use crate::clock;
use crate::error::Error;
use crate::message::{Messages, Refusal};
use crate::mmsg::sent_at;
use crate::mmsg::tx::{count, segments_max, singly};
use crate::port::{FlushReport, Port, PortConfig};
use crate::socket::Socket;
use crate::wake;
use buffers::Buffers;
use core::mem;
use core::time::Duration;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
pub use ring::Mode;
use rx::Ready;
pub use settings::Settings;
use std::os::fd::{AsFd, OwnedFd};
use wire::datagram::RxSink;
use wire::time::{Span, Time};

const REMEDY: &str = "allow io_uring (sysctl kernel.io_uring_disabled=0, the container's system \
                      call filter, Linux 6.1 or newer), or choose the mmsg backend";

/// Names of requests, in the upper half of their user data; the lower half is the run's slot.
const RECEIVE: u64 = 1 << 32;
const WAKEUP: u64 = 2 << 32;
const SEND: u64 = 3 << 32;

/// A port over one ring. It lives and dies on the thread that made it.
pub struct Uring {
    ring: IoUring,
    mode: Mode,
    settings: Settings,
    /// `None` only while being dropped.
    buffers: Option<Buffers>,
    ready: Ready,
    /// What the receive request looks like; the kernel reads it when the request starts.
    shape: Box<libc::msghdr>,
    arena: Arena,
    messages: Messages,
    single: Messages,
    segments_max: u8,
    batch: u32,
    turn_max: usize,
    /// The receive request, and the poll of the eventfd, are with the kernel.
    receiving: bool,
    polling: bool,
    /// Another port has the socket: what this one received would be lost.
    has_left: bool,
    /// The eventfd was written since the last wait.
    woken: bool,
    /// Runs that the kernel has not answered. Those that it has may still be read by a device.
    unanswered: u32,
    /// There was no room, and none has become free since.
    full: bool,
    report: FlushReport,
    socket: Socket,
    wake: OwnedFd,
}

impl Uring {
    /// A port over `socket` that `wake` (an eventfd, non-blocking) can wake.
    ///
    /// # Errors
    /// The kernel, or a filter of system calls, refuses a ring, one of its parts, or a setting.
    pub fn new(socket: Socket, wake: OwnedFd, config: &PortConfig) -> Result<Self, Error> {
        let config = config.clamped();
        let submissions = (u32::from(config.runs_max) + 8).next_power_of_two();
        // What is not copied is answered twice.
        let answers = submissions << u32::from(config.uring.zero_copy);
        let completions = (answers + u32::from(config.rx_buffers)).next_power_of_two();
        // Made before the ring, it is dropped after it.
        let arena = Arena::new(config.runs_max, config.arena_bytes);
        let (mut ring, mode) = ring::create(submissions, completions, &config.uring)?;
        // A request on a non-blocking socket fails with EAGAIN where it should wait.
        socket.set_nonblocking(false)?;
        ring::register(&ring, &socket, &wake)?;
        let buffers = Buffers::register(&ring.submitter(), config.rx_buffers)?;
        // SAFETY: the arena's memory is boxed. `drop` keeps it until no request is out, or leaks
        // it, and the ring goes before it.
        unsafe { config.uring.prepare(&mut ring, arena.memory())? };
        let mut port = Self {
            mode,
            settings: config.uring,
            buffers: Some(buffers),
            ready: Ready::new(config.rx_buffers),
            shape: Box::new(rx::SHAPE),
            arena,
            messages: Messages::new(usize::from(config.runs_max)),
            single: Messages::new(1),
            segments_max: segments_max(&socket, &config),
            batch: u32::from(config.batch_runs),
            turn_max: usize::from(config.rx_turn_max),
            receiving: false,
            polling: false,
            has_left: false,
            woken: false,
            unanswered: 0,
            full: false,
            report: FlushReport::default(),
            ring,
            socket,
            wake,
        };
        port.arm();
        port.submit();
        Ok(port)
    }

    /// How the kernel runs completions for this port.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// True while the receive request is with the kernel.
    pub(crate) fn renews(&self) -> bool {
        self.receiving
    }

    /// The socket under it.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Starts the requests that renew themselves, if they have ended.
    fn arm(&mut self) {
        if self.has_left {
            return;
        }
        if !self.receiving {
            let shape: *const libc::msghdr = &raw const *self.shape;
            let request = opcode::RecvMsgMulti::new(ring::SOCKET, shape, buffers::GROUP);
            self.receiving = self.push(&request.build().user_data(RECEIVE));
        }
        if !self.polling {
            let request = opcode::PollAdd::new(ring::WAKE, POLL_IN).multi(true);
            self.polling = self.push(&request.build().user_data(WAKEUP));
        }
    }

    /// Puts a request into the queue; false if there is no room even after a submission.
    fn push(&mut self, request: &squeue::Entry) -> bool {
        if self.ring.submission().is_full() {
            self.submit();
        }
        // SAFETY: a receive request points to `shape`, a send request to its slot's message and
        // to its run's bytes in the arena. Those are boxed and neither moved, freed nor rewritten
        // before the completion (`Arena::release`); `drop` waits for that or leaks them.
        unsafe { self.ring.submission().push(request).is_ok() }
    }

    /// Hands the queue to the kernel and lets it finish what it has deferred.
    fn submit(&mut self) {
        // Refused (EINTR, or EBUSY while completions wait to be read): the queue stays as it is
        // and goes with the next call.
        let _ = self.ring.submit();
    }

    /// Queues what waits, and submits.
    fn send(&mut self) {
        let family = self.socket.family();
        while let Some((slot, run, bytes)) = self.arena.peek(0) {
            if self.segments_max == 1 && run.segments > 1 {
                singly(&self.socket, &mut self.single, run, bytes, &mut self.report);
                self.arena.pass(1);
                continue;
            }
            self.messages.set(slot, family, run, bytes);
            let request = self.settings.request(self.messages.header(slot));
            if !self.push(&request.user_data(SEND | slot as u64)) {
                break;
            }
            self.arena.submit(1);
            self.unanswered += 1;
        }
        self.submit();
        self.reap();
    }

    /// Reads all completions.
    fn reap(&mut self) {
        loop {
            let next = self.ring.completion().next();
            let Some(done) = next else { return };
            match done.user_data() & !SLOT {
                RECEIVE => self.on_receive(&done),
                WAKEUP => self.on_wakeup(&done),
                _ => self.on_sent(&done),
            }
        }
    }

    fn on_receive(&mut self, done: &cqueue::Entry) {
        if !cqueue::more(done.flags()) {
            // Out of frames, or out of room for completions: `arm` starts it again.
            self.receiving = false;
        }
        let (Some(id), Some(buffers)) = (cqueue::buffer_select(done.flags()), &mut self.buffers)
        else {
            return;
        };
        if buffers.take(id) {
            // A frame that came with an error is given back like an unusable one.
            self.ready
                .push(id, usize::try_from(done.result()).unwrap_or(0));
        }
    }

    fn on_wakeup(&mut self, done: &cqueue::Entry) {
        if !cqueue::more(done.flags()) {
            self.polling = false;
        }
        wake::drain(self.wake.as_fd());
        self.woken = true;
    }

    /// A run was taken or refused, or no device reads it any more. It is ours again with the last
    /// of its answers.
    fn on_sent(&mut self, done: &cqueue::Entry) {
        let slot = slot_of(done);
        if cqueue::notif(done.flags()) {
            self.report.copied += u32::from(settings::was_copied(done.result()));
        } else {
            self.unanswered = self.unanswered.saturating_sub(1);
            self.answered(slot, done.result());
        }
        if !cqueue::more(done.flags()) {
            self.arena.release(slot);
            self.full = false;
        }
    }

    fn answered(&mut self, slot: usize, result: i32) {
        let Some((run, bytes)) = self.arena.at(slot) else {
            return;
        };
        if result >= 0 {
            count(&mut self.report, run, bytes);
        } else {
            self.report.errors += 1;
            let segmenting = Refusal::of(-result, run.segments) == Refusal::Segmenting;
            // More pages than may be locked: a copy takes none of them.
            let unlocked = self.settings.zero_copy && -result == libc::ENOMEM;
            if segmenting || unlocked {
                let any = singly(&self.socket, &mut self.single, run, bytes, &mut self.report);
                if any && segmenting {
                    self.segments_max = 1;
                }
            } else {
                self.report.dropped += u32::from(run.segments);
            }
        }
    }

    /// Waits for a completion, at most `left`; `None` for ever.
    fn enter(&mut self, left: Option<Span>) {
        let timeout = left.map(|span| Timespec::from(Duration::from_nanos(span.0)));
        let mut args = SubmitArgs::new();
        if let Some(timeout) = &timeout {
            args = args.timespec(timeout);
        }
        // ETIME and EINTR are ends of a wait like any other.
        let _ = self.ring.submitter().submit_with_args(1, &args);
    }
}

impl Uring {
    /// Takes back all that the kernel has of ours. False: it does not let go of it.
    fn quiesce(&mut self) -> bool {
        const PATIENCE: u32 = 100;
        let pause = Timespec::from(Duration::from_millis(10));
        let quiet = |port: &Self| !port.receiving && !port.polling && port.arena.in_flight() == 0;
        for _ in 0..PATIENCE {
            // Nothing to cancel is an error here; what counts is what is still out.
            let _ = self
                .ring
                .submitter()
                .register_sync_cancel(Some(pause), CancelBuilder::any());
            self.reap();
            if quiet(self) {
                break;
            }
            self.enter(Some(Span::millis(1)));
        }
        quiet(self)
    }
}

impl Port for Uring {
    fn recv(&mut self, _now: Time, sink: &mut impl RxSink) -> usize {
        self.arm();
        let queue = self.ring.submission();
        if queue.taskrun() || queue.cq_overflow() || !queue.is_empty() {
            drop(queue);
            self.submit();
        } else {
            drop(queue);
        }
        self.reap();
        match &mut self.buffers {
            Some(buffers) if !self.ready.is_empty() => {
                self.ready
                    .give(self.turn_max, buffers, sink, &mut self.report)
            }
            _ => 0,
        }
    }

    fn flush(&mut self, _now: Time) -> FlushReport {
        if self.arena.waiting() > 0 {
            self.send();
        }
        self.report.at = sent_at(&self.report);
        // What a device still reads is taken; it counts where others wait for its room.
        let out = if self.full {
            self.arena.in_flight()
        } else {
            self.unanswered
        };
        self.report.waiting = self.arena.waiting() + out;
        mem::take(&mut self.report)
    }

    fn wait(&mut self, until: Time) {
        self.arm();
        let (before, was_full) = (self.unanswered, self.full);
        self.reap();
        let moved = self.unanswered < before || self.full != was_full;
        if self.ready.is_empty() && !self.woken && !moved {
            let left = clock::left(until);
            if left != Some(Span::ZERO) {
                self.enter(left);
            }
            self.reap();
        }
        self.woken = false;
    }

    fn leave(&mut self, _now: Time, sink: &mut impl RxSink) -> usize {
        self.has_left = true;
        self.quiesce();
        match &mut self.buffers {
            Some(buffers) => self.ready.give(usize::MAX, buffers, sink, &mut self.report),
            None => 0,
        }
    }
}

impl Drop for Uring {
    /// Frees memory only when the kernel has let go of it.
    fn drop(&mut self) {
        let quiet = self.quiesce();
        let Some(buffers) = self.buffers.take() else {
            return;
        };
        if quiet {
            // If refused, the frames are leaked: the safe answer.
            let _ = buffers.unregister(&self.ring.submitter());
            return;
        }
        buffers.leak();
        mem::forget(mem::replace(&mut self.arena, Arena::new(1, 0)));
        mem::forget(mem::replace(&mut self.messages, Messages::new(0)));
        mem::forget(mem::replace(&mut self.shape, Box::new(rx::SHAPE)));
    }
}

/// The part of the user data that is a slot.
const SLOT: u64 = 0xffff_ffff;

#[allow(clippy::cast_sign_loss, reason = "1")]
const POLL_IN: u32 = libc::POLLIN as u32;

#[allow(clippy::cast_possible_truncation, reason = "masked to 32 bits")]
fn slot_of(done: &cqueue::Entry) -> usize {
    (done.user_data() & SLOT) as usize
}
