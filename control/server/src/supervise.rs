//! Owns the two planes' processes: starts them, starts them again when one dies, stops them.
//! No media logic here: whatever happens in a plane, this process keeps the memory they share.
//!
//! All of it is on the main thread. The planes end with the thread that has started them, and of a
//! process that runs another program only the thread that asked for it goes on.

mod child;
mod document;
mod handover;
mod keep;
mod keeping;
mod replace;
mod signals;
mod upgrade;

pub use child::{Child, Executable};
pub use handover::{Inherited, give_back_unread};
pub use keep::{Charge, DRAINED, REFUSED};
pub use replace::Succession;
pub use signals::Signals;
pub use upgrade::{Upgrade, follow as follow_upgrade};

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use crate::clock;
use crate::drain::{Next, Ward};
use crate::run_dir::RunDir;
use crate::store::{Read, Store};
use keep::{Word, keep};
use keeping::Keeping;
use link::keeper::{Keeper, Notice};
use link::region::Role;
use nix::sys::signal::Signal;
use replace::Order;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use upgrade::Successor;

/// Notices of the keeper that may wait for those who listen; a few come with an upgrade.
const NOTICES_MAX: usize = 64;

/// Set in the environment of the planes: they end with their supervisor.
pub const SUPERVISED: &str = "FRESHET_SUPERVISED";

/// One process to keep alive.
#[derive(Clone)]
pub struct Plane {
    /// For messages: `forwarder` or `control`.
    pub name: &'static str,
    /// The arguments of this same executable.
    pub args: Vec<OsString>,
    /// It is told (SIGHUP) when something in the run directory has changed.
    pub reloads: bool,
    /// How another process takes its place.
    pub succession: Succession,
    /// What it is at the link.
    pub role: Role,
    /// It does what it is there for.
    pub is_well: Pulse,
}

/// Says whether a plane does what it is there for.
pub type Pulse = Arc<dyn Fn() -> bool + Send + Sync>;

/// What becomes of the planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// They are kept alive.
    GoOn,
    /// They are stopped.
    Stop,
    /// They go on, and somebody else keeps them alive.
    HandOver,
}

/// Everything that a supervisor owns beside the keeper of the link.
pub struct Estate<'a, R> {
    /// What it is told.
    pub signals: Signals,
    /// The planes.
    pub charges: Vec<Charge>,
    /// The configuration.
    pub store: Store<'a, R>,
    /// The drain.
    pub ward: Ward<'a>,
    /// How another program takes the place of this one.
    pub upgrade: Upgrade,
    /// The command line.
    pub arguments: Vec<OsString>,
    /// Last: the others have files in it.
    pub run_dir: RunDir,
}

/// Runs both planes until the node is drained, as SIGTERM and SIGINT are understood, then stops
/// them. Planes are told when there is another configuration. At SIGUSR2 the program that has our
/// name on the disk by then takes the places of the planes, and then ours: it goes on in this
/// process, and this does not return.
///
/// # Errors
/// The system refuses what is needed, or a plane refuses to start at all.
pub async fn run<R: Read>(mut keeper: Keeper, mut estate: Estate<'_, R>) -> io::Result<()> {
    loop {
        estate.signals.let_come()?;
        let Some((kept, next)) = estate.attend(keeper).await? else {
            return Ok(());
        };
        let why = estate.hand_over(&kept, &next).await;
        estate.upgrade.kept(&why);
        estate.store.reopen()?;
        keeper = kept;
    }
}

impl<R: Read> Estate<'_, R> {
    /// Keeps everything going until the end, or until another program is to go on with it.
    async fn attend(&mut self, keeper: Keeper) -> io::Result<Option<(Keeper, Successor)>> {
        let (notices, _) = broadcast::channel(NOTICES_MAX);
        let mut tended = self.tend(&notices);
        let keeping = Keeping::begin(keeper, notices)?;
        let mut upgrading = JoinSet::new();
        let mut successor = None;
        let mut outcome = Ok(());
        loop {
            let next = tokio::select! {
                signal = self.signals.next() => match signal {
                    Signal::SIGUSR2 if upgrading.is_empty() && successor.is_none() => {
                        upgrading.spawn(self.upgrade.clone().run(tended.places.clone()));
                        Next::Wait
                    }
                    other => self.on_signal(other),
                },
                () = clock::sleep_until(self.ward.patience()) => self.ward.on_impatience(),
                Some(ended) = tended.keepers.join_next() => {
                    outcome = judge(ended).map(drop);
                    successor = None;
                    Next::Stop
                }
                Some(done) = upgrading.join_next() => {
                    successor = done.ok().flatten();
                    if successor.is_some() {
                        self.store.close();
                    }
                    Next::Wait
                }
                ask = self.store.asked() => match ask {
                    Some(ask) => self.store.put(ask),
                    None => break,
                },
            };
            match next {
                Next::Wait => {}
                Next::Tell => tended.change.send_modify(|changes| *changes += 1),
                Next::Stop => {
                    successor = None;
                    break;
                }
            }
        }
        // The receivers live in `keepers`; there is nobody to tell only if all have ended.
        let _ = tended.course.send(match successor {
            Some(_) => Course::HandOver,
            None => Course::Stop,
        });
        while let Some(ended) = tended.keepers.join_next().await {
            match judge(ended) {
                Ok(handed) => self.charges.extend(handed),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome?;
        self.handed(keeping, successor).await
    }

    /// Begins to keep the planes alive.
    fn tend(&mut self, notices: &broadcast::Sender<Notice>) -> Tended {
        let (course, courses) = watch::channel(Course::GoOn);
        let (change, changed) = watch::channel(0);
        let mut keepers = JoinSet::new();
        let mut places = Vec::new();
        for charge in self.charges.drain(..) {
            let pids = self.run_dir.path.join(format!("{}.pid", charge.plane.name));
            let (order, orders) = mpsc::channel(1);
            places.push((charge.plane.name, order));
            let word = Word {
                course: courses.clone(),
                changed: changed.clone(),
                orders,
                notices: notices.subscribe(),
            };
            keepers.spawn(keep(charge, pids, word));
        }
        Tended {
            keepers,
            course,
            change,
            places,
        }
    }

    fn on_signal(&mut self, signal: Signal) -> Next {
        match signal {
            Signal::SIGTERM => self.ward.on_term(),
            Signal::SIGINT => self.ward.on_interrupt(),
            Signal::SIGUSR1 => self.ward.on_told(),
            Signal::SIGHUP => self.store.reload(),
            // An upgrade is under way.
            _ => Next::Wait,
        }
    }

    /// Whether another program can go on: a plane that has ended meanwhile, as it does after a
    /// drain, ends everything.
    async fn handed(
        &mut self,
        keeping: Keeping,
        successor: Option<Successor>,
    ) -> io::Result<Option<(Keeper, Successor)>> {
        match successor {
            Some(next) if self.charges.len() == handover::PLANES => {
                self.charges.sort_by_key(|charge| charge.plane.role as u32);
                Ok(Some((keeping.end().await?, next)))
            }
            _ => {
                for charge in &mut self.charges {
                    charge.stop().await;
                }
                Ok(None)
            }
        }
    }
}

/// Planes that are kept alive, and the ways to those who do it.
struct Tended {
    keepers: JoinSet<Result<Option<Charge>, &'static str>>,
    course: watch::Sender<Course>,
    /// How often something has changed of which planes are told.
    change: watch::Sender<u32>,
    /// Where programs are ordered.
    places: Vec<(&'static str, mpsc::Sender<Order>)>,
}

/// What the end of a plane's keeper means for the whole.
fn judge(
    ended: Result<Result<Option<Charge>, &'static str>, JoinError>,
) -> io::Result<Option<Charge>> {
    match ended {
        Ok(Ok(handed)) => Ok(handed),
        Ok(Err(plane)) => Err(io::Error::other(format!(
            "the {plane} refuses to start, for the reason above"
        ))),
        Err(error) => Err(io::Error::other(format!(
            "a plane's keeper failed: {error}"
        ))),
    }
}
