//! Owns the reference backend: `recvmmsg`, `sendmmsg`, `ppoll`. Runs everywhere. Hot.

mod rx;
pub(crate) mod tx;

use crate::clock;
use crate::error::Error;
use crate::port::{FlushReport, Port, PortConfig};
use crate::socket::Socket;
use crate::wake;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use rx::Rx;
use std::os::fd::{AsFd, OwnedFd};
use tx::Tx;
use wire::datagram::{Egress, PARKED_MAX, Parked, RunMeta, RxSink, Slot};
use wire::time::Time;

/// A port over plain system calls.
pub struct Mmsg {
    socket: Socket,
    wake: OwnedFd,
    rx: Rx,
    tx: Tx,
    report: FlushReport,
}

impl Mmsg {
    /// A port over `socket` that `wake` (an eventfd, non-blocking) can wake.
    ///
    /// # Errors
    /// None today; backends are made alike.
    pub fn new(socket: Socket, wake: OwnedFd, config: &PortConfig) -> Result<Self, Error> {
        let config = config.clamped();
        Ok(Self {
            rx: Rx::new(&config),
            tx: Tx::new(&socket, &config),
            socket,
            wake,
            report: FlushReport::default(),
        })
    }

    /// The socket under it.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}

impl Egress for Mmsg {
    fn segments_max(&self) -> u8 {
        self.tx.segments_max
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        self.tx.arena.claim(run)
    }

    fn commit(&mut self, bytes: usize) {
        self.tx.arena.commit(bytes);
        if self.tx.batch_is_full() {
            self.tx.send(&self.socket, &mut self.report);
        }
    }

    fn parked_max(&self) -> u8 {
        PARKED_MAX
    }

    fn park(&mut self, bytes: usize) -> Option<Parked> {
        self.tx.arena.park(bytes)
    }

    fn parked(&self, run: Parked) -> &[u8] {
        self.tx.arena.parked(run)
    }

    fn parked_mut(&mut self, run: Parked) -> &mut [u8] {
        self.tx.arena.parked_mut(run)
    }

    fn commit_parked(&mut self) {
        while self.tx.arena.unpark() {
            if self.tx.batch_is_full() {
                self.tx.send(&self.socket, &mut self.report);
            }
        }
    }
}

/// The end of a flush: the clock is read only if something was sent.
pub(crate) fn sent_at(report: &FlushReport) -> Time {
    if report.runs > 0 {
        clock::now()
    } else {
        Time::ZERO
    }
}

impl Port for Mmsg {
    fn recv(&mut self, _now: Time, sink: &mut impl RxSink) -> usize {
        self.rx.recv(&self.socket, sink, &mut self.report)
    }

    fn flush(&mut self, _now: Time) -> FlushReport {
        self.tx.send(&self.socket, &mut self.report);
        self.report.at = sent_at(&self.report);
        self.report.waiting = self.tx.arena.waiting();
        core::mem::take(&mut self.report)
    }

    fn wait(&mut self, until: Time) {
        let mut events = PollFlags::POLLIN;
        if self.tx.arena.waiting() > 0 {
            events |= PollFlags::POLLOUT;
        }
        let mut fds = [
            PollFd::new(self.socket.as_fd(), events),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        let timeout = clock::left(until).map(|span| {
            let left = core::time::Duration::from_nanos(span.0);
            TimeSpec::from_duration(left)
        });
        // An interrupted wait is a wait that ended early.
        let _ = ppoll(&mut fds, timeout, None);
        if fds[1].any() == Some(true) {
            wake::drain(self.wake.as_fd());
        }
    }
}
