//! Owns the emptying of the node before it ends: what was decided, in a file that outlives each of
//! the planes, and how far it has come.
//!
//! The supervisor begins it at SIGTERM, an operator by the API; whoever does writes the file and
//! gives the other a sign. Control carries it out, and ends when it is over; the supervisor takes
//! that for the end of all, and does not wait for longer than the deadline.

mod pace;
mod ward;

pub use pace::Pace;
pub use ward::{Next, Ward};

use crate::problem::Problem;
use crate::{clock, private};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use wire::time::{Span, Time};

/// Name of the problem that newcomers are told.
pub const DRAINING: &str = "draining";

/// Its name in the run directory.
const FILE: &str = "drain.json";

/// What was decided. Times are of the clock that all processes of this host share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// When it began.
    pub begun: Time,
    /// Until when those who are here may stay.
    pub deadline: Time,
}

/// How it stands in the file.
#[derive(Serialize, Deserialize)]
struct Written {
    begun_ns: u64,
    deadline_ns: u64,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Who still watches here, other nodes included.
    pub viewers: u64,
    /// Who still publishes from elsewhere.
    pub publishers: u64,
    /// Of those who watch, who has been told to reconnect.
    pub told: u64,
    /// Who is yet to be told.
    pub to_tell: u64,
    /// Nobody is left, or the time is up.
    pub is_over: bool,
}

/// Control's view of it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    run_dir: PathBuf,
    supervisor: Option<Pid>,
    order: watch::Sender<Option<Order>>,
    progress: watch::Sender<Option<Progress>>,
}

impl Order {
    /// Begins now.
    #[must_use]
    pub fn new(now: Time, time: Span) -> Self {
        Self {
            begun: now,
            deadline: now + time,
        }
    }

    /// The time is up.
    #[must_use]
    pub fn is_up(&self, now: Time) -> bool {
        now >= self.deadline
    }

    /// What is in the file; none if there is no file, or none that makes sense.
    fn read(run_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(run_dir.join(FILE)).ok()?;
        let written: Written = serde_json::from_str(&text).ok()?;
        Some(Self {
            begun: Time(written.begun_ns),
            deadline: Time(written.deadline_ns),
        })
    }

    fn write(&self, run_dir: &Path) -> io::Result<()> {
        let written = Written {
            begun_ns: self.begun.0,
            deadline_ns: self.deadline.0,
        };
        let text = serde_json::to_string(&written).map_err(io::Error::other)?;
        private::write(&run_dir.join(FILE), &text)
    }
}

/// No drain, as far as the file says.
fn remove(run_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(run_dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Drain {
    /// As an earlier life of control has left it. `supervisor`: who wants to know of changes.
    #[must_use]
    pub fn open(run_dir: &Path, supervisor: Option<Pid>) -> Self {
        Self(Arc::new(Inner {
            run_dir: run_dir.to_owned(),
            supervisor,
            order: watch::Sender::new(Order::read(run_dir)),
            progress: watch::Sender::new(None),
        }))
    }

    /// What was decided; none: the node serves.
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        *self.0.order.borrow()
    }

    /// How far it has come, if that is known yet.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        *self.0.progress.borrow()
    }

    /// The supervisor may have decided something.
    pub fn look(&self) {
        self.0.order.send_replace(Order::read(&self.0.run_dir));
    }

    /// Decides: `None` takes it back.
    ///
    /// # Errors
    /// It cannot be written down; nothing has changed.
    pub fn decide(&self, order: Option<Order>) -> io::Result<()> {
        match &order {
            Some(order) => order.write(&self.0.run_dir)?,
            None => remove(&self.0.run_dir)?,
        }
        self.0.order.send_replace(order);
        if let Some(supervisor) = self.0.supervisor
            && let Err(error) = kill(supervisor, Signal::SIGUSR1)
        {
            tracing::warn!(%error, "the supervisor does not hear of the drain");
        }
        Ok(())
    }

    /// Notes how far it has come.
    pub fn report(&self, progress: Option<Progress>) {
        self.0.progress.send_replace(progress);
    }

    /// True when nobody is left or the time is up: it cannot be taken back any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.progress().is_some_and(|progress| progress.is_over)
    }

    /// Returns when it is over.
    pub async fn over(&self) {
        let mut progress = self.0.progress.subscribe();
        let is_over = |progress: &Option<Progress>| progress.is_some_and(|it| it.is_over);
        // The sender lives as long as `self`.
        let _ = progress.wait_for(is_over).await;
    }

    /// It is over, and not to be gone on with by a later life of control.
    pub fn forget(&self) {
        if let Err(error) = remove(&self.0.run_dir) {
            tracing::warn!(%error, "the file of the drain stays behind");
        }
    }
}

/// What a newcomer is told.
#[must_use]
pub fn refusal() -> Problem {
    Problem::new(
        503,
        DRAINING,
        "The node is being emptied",
        "it is about to end, and takes nobody in",
        "go to another node, or try again after Retry-After; those who are here are not affected",
    )
}

/// How long it is until `order` is up.
#[must_use]
pub fn remaining(order: &Order) -> Span {
    order.deadline.since(clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("freshet-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[tokio::test]
    async fn a_later_life_goes_on_with_what_was_decided() {
        let folder = folder("drain");
        let first = Drain::open(&folder, None);
        assert_eq!(first.order(), None);
        let order = Order::new(Time(7), Span::secs(5));
        first.decide(Some(order)).unwrap();
        assert_eq!(Drain::open(&folder, None).order(), Some(order));
        first.decide(None).unwrap();
        first.decide(None).unwrap();
        assert_eq!(first.order(), None);
        assert_eq!(Drain::open(&folder, None).order(), None);

        // What makes no sense is no order.
        std::fs::write(folder.join(FILE), "{\"begun_ns\": 1").unwrap();
        first.look();
        assert_eq!(first.order(), None);
        first.forget();
        assert!(!folder.join(FILE).exists());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(first.decide(Some(order)).is_err());
        assert_eq!(first.order(), None, "what is not written down is not so");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_that_is_reported() {
        let drain = Drain::open(Path::new("/nowhere"), None);
        let waiter = drain.clone();
        let waiting = tokio::spawn(async move { waiter.over().await });
        drain.report(Some(Progress::default()));
        tokio::task::yield_now().await;
        assert!(!drain.is_over() && !waiting.is_finished());
        let is_over = true;
        drain.report(Some(Progress {
            is_over,
            ..Progress::default()
        }));
        waiting.await.unwrap();
        assert!(drain.is_over());
    }
}
