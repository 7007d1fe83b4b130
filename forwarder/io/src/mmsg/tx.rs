//! Owns sending by `sendmmsg`, and the datagram-by-datagram way for runs that the kernel will
//! not segment. Hot.

use crate::addr::Family;
use crate::arena::{Arena, Run};
use crate::message::{Messages, Refusal};
use crate::port::{FlushReport, PortConfig};
use crate::socket::Socket;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use wire::datagram::SEGMENTS_MAX;

/// The transmit lane of [`super::Mmsg`].
pub(crate) struct Tx {
    pub arena: Arena,
    pub segments_max: u8,
    messages: Messages,
    single: Messages,
    batch: u16,
}

impl Tx {
    pub(crate) fn new(socket: &Socket, config: &PortConfig) -> Self {
        Self {
            arena: Arena::new(config.runs_max, config.arena_bytes),
            segments_max: segments_max(socket, config),
            messages: Messages::new(usize::from(config.batch_runs)),
            single: Messages::new(1),
            batch: config.batch_runs,
        }
    }

    /// True when as many runs wait as one call takes.
    pub(crate) fn batch_is_full(&self) -> bool {
        self.arena.waiting() >= u32::from(self.batch)
    }

    /// Sends what waits, until all is gone or the kernel's queue is full.
    pub(crate) fn send(&mut self, socket: &Socket, report: &mut FlushReport) {
        while self.arena.waiting() > 0 {
            if self.segments_max == 1 && self.front_has_segments() {
                self.send_front_singly(socket, report);
                continue;
            }
            let filled = self.fill(socket.family());
            match sendmmsg(socket, &mut self.messages.headers()[..filled as usize]) {
                Ok(sent) => self.took(sent, report),
                Err(errno) => {
                    if !self.refused(errno, socket, report) {
                        return;
                    }
                }
            }
        }
    }

    /// Writes headers for the waiting runs, up to one batch; returns how many.
    fn fill(&mut self, family: Family) -> u32 {
        let mut filled = 0;
        while filled < u32::from(self.batch)
            && let Some((_, run, bytes)) = self.arena.peek(filled)
            && (self.segments_max > 1 || run.segments == 1)
        {
            self.messages.set(filled as usize, family, run, bytes);
            filled += 1;
        }
        filled
    }

    fn took(&mut self, sent: u32, report: &mut FlushReport) {
        for ahead in 0..sent {
            if let Some((_, run, bytes)) = self.arena.peek(ahead) {
                count(report, run, bytes);
            }
        }
        self.arena.pass(sent);
    }

    /// Deals with a refusal of the run in front; false when there is no point in going on.
    fn refused(&mut self, errno: i32, socket: &Socket, report: &mut FlushReport) -> bool {
        let Some((_, run, _)) = self.arena.peek(0) else {
            return false;
        };
        let segments = run.segments;
        match Refusal::of(errno, segments) {
            Refusal::Again => return true,
            Refusal::Full => return false,
            Refusal::Segmenting => {
                report.errors += 1;
                self.send_front_singly(socket, report);
            }
            Refusal::Lost => {
                report.errors += 1;
                report.dropped += u32::from(segments);
                self.arena.pass(1);
            }
        }
        true
    }

    fn front_has_segments(&self) -> bool {
        self.arena
            .peek(0)
            .is_some_and(|(_, run, _)| run.segments > 1)
    }

    fn send_front_singly(&mut self, socket: &Socket, report: &mut FlushReport) {
        if let Some((_, run, bytes)) = self.arena.peek(0)
            && singly(socket, &mut self.single, run, bytes, report)
        {
            self.segments_max = 1;
        }
        self.arena.pass(1);
    }
}

/// Segments that a port over `socket` begins with.
pub(crate) fn segments_max(socket: &Socket, config: &PortConfig) -> u8 {
    if config.segment && socket.segments() {
        SEGMENTS_MAX
    } else {
        1
    }
}

/// Counts a run that the kernel took whole.
pub(crate) fn count(report: &mut FlushReport, run: &Run, bytes: &[u8]) {
    report.runs += 1;
    report.datagrams += u32::from(run.segments);
    report.bytes += bytes.len() as u64;
}

/// Sends the segments of a run one after another, with the one place of `message`. True if one of
/// them went through: then it was the segmenting that was refused, and not the size or the peer.
pub(crate) fn singly(
    socket: &Socket,
    message: &mut Messages,
    run: &Run,
    bytes: &[u8],
    report: &mut FlushReport,
) -> bool {
    let mut any = false;
    report.unsegmented += 1;
    for segment in bytes.chunks(usize::from(run.segment_bytes)) {
        message.set(0, socket.family(), &run.single(), segment);
        let sent = loop {
            match sendmmsg(socket, message.headers()) {
                Err(libc::EINTR) => {}
                answer => break answer,
            }
        };
        if sent.is_ok() {
            any = true;
            report.datagrams += 1;
            report.bytes += segment.len() as u64;
        } else {
            report.errors += 1;
            report.dropped += 1;
        }
    }
    report.runs += u32::from(any);
    any
}

/// Returns how many messages the kernel took, or the `errno` of the first.
fn sendmmsg(socket: &Socket, headers: &mut [libc::mmsghdr]) -> Result<u32, i32> {
    let places = libc::c_uint::try_from(headers.len()).unwrap_or(libc::c_uint::MAX);
    // SAFETY: `headers` are `places` headers written by `Messages::set`; each points to a name,
    // a control block and a vector that live in the same `Messages`, and the vector to bytes of
    // the arena or of a slice that the caller holds. The kernel only reads them.
    // JUSTIFICATION: nix's `sendmmsg` rebuilds its headers from iterators at every call and has
    // no per-message UDP_SEGMENT without an allocation; `sendto` one by one costs 28 % more.
    let answer = unsafe {
        libc::sendmmsg(
            socket.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            places,
            libc::MSG_DONTWAIT,
        )
    };
    u32::try_from(answer).map_err(|_| io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
