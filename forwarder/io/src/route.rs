//! Owns the ways to viewers, off the packet path: a thread that asks the kernel for route and
//! neighbour, opens lanes, and tells the workers whenever something has changed. It needs no
//! sidecar.

mod desk;
mod kernel;
mod message;
mod resolve;

#[cfg(test)]
mod tests;

use crate::error::Error;
use crate::wake::{self, Wake};
use crate::xdp::{self, Frames, Lane, Mapping, Way};
use crate::{clock, socket::Socket};
use core::sync::atomic::{AtomicBool, Ordering};
use desk::Desk;
use kernel::{Netlink, News};
use message::Message;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use resolve::Resolver;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use wire::peer::{Ip, Peer};
use wire::time::{Span, Time};

/// Questions of all workers that may wait. More, and the viewer asks again with its next run.
const ASKS_MAX: usize = 1024;

/// Answers that may wait in the channel to a worker; behind it they wait here.
const TOLD_MAX: usize = 256;

/// News come in swarms: what follows within this belongs together.
const SWARM: Span = Span::millis(20);

/// Everything is asked for anew at most so often, and no more than a fifth of the time.
const REFRESH: Span = Span::millis(100);

/// Time between two looks at what wears out: neighbours, and lanes that could not be opened.
const TICK: Span = Span::secs(1);

/// While a worker has no room for answers, it is tried again after this.
const PUMP: Span = Span::millis(5);

/// How AF_XDP is used.
#[derive(Clone, Copy, Debug)]
pub struct XdpConfig {
    /// Compute the UDP checksum over IPv4 too.
    pub checksum: bool,
    /// Takes what an operator should know, in words.
    pub note: fn(&str),
}

/// What a worker says.
pub(crate) enum Ask {
    /// Which way leads to this viewer?
    Way {
        core: u16,
        viewer: u32,
        peer: Peer,
        local: Ip,
    },
    /// Nothing is sent to it any more.
    Forget { core: u16, viewer: u32 },
    /// A lane is not used any more.
    Closed { core: u16, number: u8, lane: Lane },
}

/// What a worker is told.
pub(crate) enum Told {
    /// The way to a viewer, for now.
    Way {
        viewer: u32,
        peer: Peer,
        local: Ip,
        way: Way,
    },
    /// A lane may be used.
    Open { number: u8, lane: Lane },
    /// A lane may not be used any more.
    Close { number: u8 },
}

/// A worker's end of its line to the router.
pub(crate) struct Line {
    pub core: u16,
    pub told: Receiver<Told>,
    pub wake: Arc<Wake>,
    asks: SyncSender<Ask>,
}

impl Line {
    /// Says something, without waking the router; false if it has no room.
    pub(crate) fn say(&self, ask: Ask) -> bool {
        self.asks.try_send(ask).is_ok()
    }

    /// The same with a lane, which comes back if there is no room.
    pub(crate) fn give_back(&self, number: u8, lane: Lane) -> Option<Lane> {
        let core = self.core;
        match self.asks.try_send(Ask::Closed { core, number, lane }) {
            Err(TrySendError::Full(Ask::Closed { lane, .. })) => Some(lane),
            _ => None,
        }
    }
}

/// What a worker needs to send by AF_XDP: see [`xdp::Xdp::new`].
pub struct End {
    pub(crate) line: Line,
    pub(crate) frames: Frames,
}

/// The thread. Dropped: it ends.
pub struct Router {
    stop: Arc<AtomicBool>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// Starts it in the network namespace of the calling thread; gives an end for each worker, in
    /// the order of their `sockets`, which say what our port is.
    ///
    /// # Errors
    /// AF_XDP or netlink cannot be used here, or the host is short of something.
    pub fn start(sockets: &[Socket], config: XdpConfig) -> Result<(Self, Vec<End>), Error> {
        xdp::probe()?;
        let own = sockets.first().map(|one| Peer::from(one.local()));
        let own = own.unwrap_or_default();
        let news = News::new()?;
        let resolver = Resolver::new(Netlink::new(own.port)?, own.ip);
        let (asks, questions) = sync_channel(ASKS_MAX);
        let wake = Arc::new(Wake::new()?);
        let mut ends = Vec::new();
        let mut desk = Desk::new(resolver, own.port, config.checksum, config.note);
        for core in 0..u16::try_from(sockets.len()).unwrap_or(u16::MAX) {
            let memory = Arc::new(xdp::memory()?);
            let (tell, told) = sync_channel(TOLD_MAX);
            desk.add(tell, Arc::clone(&memory));
            ends.push(end(core, told, Arc::clone(&wake), asks.clone(), memory));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let office = Office {
            desk,
            news,
            questions,
            wake: Arc::clone(&wake),
            stop: Arc::clone(&stop),
            refresh_at: Some(Time::ZERO),
            revisit_at: None,
            refreshed_at: Time::ZERO,
            refresh_cost: Span::ZERO,
        };
        let thread = std::thread::Builder::new()
            .name("router".to_owned())
            .spawn(move || office.run())
            .map_err(|e| Error::new("thread", e, "raise the limit on tasks, `ulimit -u`"))?;
        let router = Self {
            stop,
            wake,
            thread: Some(thread),
        };
        Ok((router, ends))
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake.wake();
        // A panic has been printed by the thread.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn end(
    core: u16,
    told: Receiver<Told>,
    wake: Arc<Wake>,
    asks: SyncSender<Ask>,
    memory: Arc<Mapping>,
) -> End {
    let line = Line {
        core,
        told,
        wake,
        asks,
    };
    let frames = Frames::new(memory);
    End { line, frames }
}

/// The thread's own.
struct Office {
    desk: Desk<Netlink>,
    news: News,
    questions: Receiver<Ask>,
    wake: Arc<Wake>,
    stop: Arc<AtomicBool>,
    /// When everything is to be asked for anew.
    refresh_at: Option<Time>,
    /// When the ways of all viewers are to be looked at.
    revisit_at: Option<Time>,
    refreshed_at: Time,
    refresh_cost: Span,
}

impl Office {
    fn run(mut self) {
        let mut tick_at = Time::ZERO;
        while !self.stop.load(Ordering::SeqCst) {
            let now = clock::now();
            self.hear(now);
            self.look(now);
            if now >= tick_at {
                tick_at = now + TICK;
                if self.desk.tick(now) {
                    self.revisit_at = Some(now);
                }
            }
            let mut until = tick_at;
            for at in [self.refresh_at, self.revisit_at].into_iter().flatten() {
                until = until.min(at);
            }
            if !self.desk.pump() {
                // Nothing else is done before that.
                until = tick_at.min(now + PUMP);
            }
            self.wait(until);
        }
    }

    /// Takes questions and news.
    fn hear(&mut self, now: Time) {
        while let Ok(ask) = self.questions.try_recv() {
            if self.desk.on_ask(now, ask) {
                self.revisit_at.get_or_insert(now);
            }
        }
        let (desk, mut refresh, mut revisit) = (&mut self.desk, false, false);
        self.news.read(|message| match message {
            Message::Neighbour(neighbour) => revisit |= desk.on_neighbour(neighbour),
            Message::Done | Message::Refused(_) | Message::Other => {}
            _ => refresh = true,
        });
        if refresh && self.refresh_at.is_none() {
            let pause = REFRESH.max(Span(self.refresh_cost.0 * 4));
            self.refresh_at = Some((now + SWARM).max(self.refreshed_at + pause));
        }
        if revisit {
            self.revisit_at.get_or_insert(now + SWARM);
        }
    }

    /// Does what is due.
    fn look(&mut self, now: Time) {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= now);
        // What was said before goes first: so little waits, however often ways change.
        if !self.desk.pump() {
            return;
        }
        if is_due(self.refresh_at) {
            self.refresh_at = None;
            self.revisit_at = None;
            self.desk.refresh(now);
            self.refreshed_at = clock::now();
            self.refresh_cost = self.refreshed_at.since(now);
        } else if is_due(self.revisit_at) {
            self.revisit_at = None;
            self.desk.revisit(now);
        }
    }

    fn wait(&mut self, until: Time) {
        let mut fds = [
            PollFd::new(self.news.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        let left = until.since(clock::now()).0.div_ceil(Span::millis(1).0);
        let pause = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        // An interrupted wait is a wait that ended early.
        let _ = poll(&mut fds, pause);
        wake::drain(self.wake.as_fd());
    }
}
