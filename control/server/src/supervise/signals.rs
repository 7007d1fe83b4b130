//! Owns the signals that the supervisor is sent, also while one program follows another in its
//! process: none is lost, and none has its default meaning.

use nix::sys::signal::{SigSet, Signal, raise};
use std::future::{poll_fn, ready};
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::signal::unix::{self, SignalKind};

/// All that mean something to a supervisor.
const KINDS: [Signal; 5] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// How long a signal may be on its way from its handler to us: one turn of the loop, a few
/// microseconds.
const SETTLE: Duration = Duration::from_millis(5);

/// The signals of this process. All of it has to be on its main thread.
pub struct Signals([(Signal, unix::Signal); KINDS.len()]);

impl Signals {
    /// Begins to listen; those that were kept back wait until [`Signals::let_come`].
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> io::Result<Self> {
        let listen = |kind| unix::signal(SignalKind::from_raw(kind as i32)).map(|on| (kind, on));
        let all: Vec<_> = KINDS.into_iter().map(listen).collect::<io::Result<_>>()?;
        let all = <[_; KINDS.len()]>::try_from(all);
        all.map(Self).map_err(|_| io::ErrorKind::Other.into())
    }

    /// The next one.
    pub async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            for (kind, on) in &mut self.0 {
                if on.poll_recv(context).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Keeps all back for the next program in this process, those included that have come and that
    /// nobody has asked for.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn keep_back(&mut self) -> io::Result<()> {
        set().thread_block()?;
        tokio::time::sleep(SETTLE).await;
        loop {
            tokio::select! {
                biased;
                kind = self.next() => raise(kind)?,
                () = ready(()) => return Ok(()),
            }
        }
    }

    /// Lets all come that were kept back.
    ///
    /// # Errors
    /// The system refuses.
    pub fn let_come(&self) -> io::Result<()> {
        Ok(set().thread_unblock()?)
    }
}

fn set() -> SigSet {
    KINDS.into_iter().collect()
}
