//! Owns the two planes' processes: starts them, starts them again when one dies, stops them.
//! No media logic here: whatever happens in a plane, this process keeps the memory they share.

mod child;
mod replace;
mod upgrade;

pub use replace::Succession;
pub use upgrade::follow as follow_upgrade;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::drain::{Next, Ward};
use crate::store::{Read, Store};
use child::{Executable, note_pid, send, start, stop};
use link::keeper::Notice;
use link::region::Role;
use nix::sys::signal::Signal;
use replace::{Order, replace};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use upgrade::Upgrade;

/// A plane that dies is started again at once; after another early death it waits for this long,
/// doubled at each.
const RESTART_AFTER_MIN: Duration = Duration::from_millis(50);

/// Longest pause before a restart: a plane that cannot start must not keep a core busy.
const RESTART_AFTER_MAX: Duration = Duration::from_secs(5);

/// A plane that lived this long was healthy: its next restart is quick again.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// Exit code of a plane that will not start with what it was given: a command line, a configuration
/// or a host that does not allow it.
pub const REFUSED: u8 = 2;

/// Exit code of a plane that has ended because the node was drained: so does the other one.
pub const DRAINED: u8 = 3;

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

/// What the keeper of a plane is told.
struct Word {
    stopped: watch::Receiver<bool>,
    /// How often the configuration, or what is decided of a drain, has changed.
    changed: watch::Receiver<u32>,
    /// Programs that are to take the place of the one that runs.
    orders: mpsc::Receiver<Order>,
    /// What happens at the link.
    notices: broadcast::Receiver<Notice>,
}

/// Runs both planes until the node is drained, as `ward` understands SIGTERM and SIGINT, then stops
/// them. Planes are told when `store` has another configuration. At SIGUSR2 the program that has
/// our name on the disk by then takes the places of the planes.
///
/// # Errors
/// When this executable cannot be found again, the signal handlers cannot be installed, or a plane
/// refuses to start at all.
pub async fn run(
    planes: Vec<Plane>,
    run_dir: &Path,
    mut store: Store<'_, impl Read>,
    mut ward: Ward<'_>,
    notices: &broadcast::Sender<Notice>,
) -> io::Result<()> {
    let executable = Executable::open(Path::new("/proc/self/exe"))?;
    let upgrade = Upgrade::new(std::env::current_exe()?, run_dir);
    // Before there are planes: by default it would end us.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut drain = signal(SignalKind::user_defined1())?;
    let (stop, stopped) = watch::channel(false);
    let mut replace = signal(SignalKind::user_defined2())?;
    let (change, changed) = watch::channel(0);
    let mut keepers = JoinSet::new();
    let mut places = Vec::new();
    for plane in planes {
        let pids = run_dir.join(format!("{}.pid", plane.name));
        let (order, orders) = mpsc::channel(1);
        places.push((plane.name, order));
        let word = Word {
            stopped: stopped.clone(),
            changed: changed.clone(),
            orders,
            notices: notices.subscribe(),
        };
        keepers.spawn(keep(executable.clone(), plane, pids, word));
    }
    let mut upgrading = JoinSet::new();
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut outcome = Ok(());
    loop {
        let next = tokio::select! {
            _ = term.recv() => ward.on_term(),
            _ = interrupt.recv() => ward.on_interrupt(),
            _ = drain.recv() => ward.on_told(),
            () = clock::sleep_until(ward.patience()) => ward.on_impatience(),
            Some(ended) = keepers.join_next() => {
                outcome = judge(ended);
                Next::Stop
            }
            _ = hangup.recv() => store.reload(),
            Some(ask) = store.asked() => store.put(ask),
            _ = replace.recv() => {
                if upgrading.is_empty() {
                    upgrading.spawn(upgrade.clone().run(places.clone()));
                }
                Next::Wait
            }
            Some(_) = upgrading.join_next() => Next::Wait,
        };
        match next {
            Next::Wait => {}
            Next::Tell => change.send_modify(|changes| *changes += 1),
            Next::Stop => break,
        }
    }
    // The receivers live in `keepers`; there is nobody to tell only if all have ended.
    let _ = stop.send(true);
    while let Some(ended) = keepers.join_next().await {
        outcome = outcome.and(judge(ended));
    }
    outcome
}

/// What the end of a plane's keeper means for the whole.
fn judge(ended: Result<Result<(), &'static str>, JoinError>) -> io::Result<()> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(plane)) => Err(io::Error::other(format!(
            "the {plane} refuses to start, for the reason above"
        ))),
        Err(error) => Err(io::Error::other(format!(
            "a plane's keeper failed: {error}"
        ))),
    }
}

/// Keeps one plane alive until told to stop. An error names a plane that refuses its first start:
/// another would end the same way. Later the cause must have come from outside and may go again.
async fn keep(
    mut executable: Executable,
    plane: Plane,
    pid_file: PathBuf,
    mut word: Word,
) -> Result<(), &'static str> {
    let mut pause = Duration::ZERO;
    let mut is_first = true;
    while !*word.stopped.borrow() {
        let started = Instant::now();
        match start(&executable, &plane, &[]) {
            Ok(mut child) => {
                note_pid(&pid_file, &child);
                let ended = attend(&mut child, &mut executable, &plane, &pid_file, &mut word);
                let Some(status) = ended.await else {
                    return Ok(());
                };
                match status {
                    Ok(status) if is_first && status.code() == Some(REFUSED.into()) => {
                        return Err(plane.name);
                    }
                    Ok(status) if status.code() == Some(DRAINED.into()) => return Ok(()),
                    Ok(status) => tracing::warn!(plane = plane.name, %status, "has ended"),
                    Err(error) => tracing::error!(plane = plane.name, %error, "lost sight"),
                }
            }
            Err(error) => tracing::error!(plane = plane.name, %error, "cannot be started"),
        }
        is_first = false;
        if started.elapsed() >= HEALTHY_AFTER {
            pause = Duration::ZERO;
        }
        tracing::warn!(
            plane = plane.name,
            after_ms = pause.as_millis(),
            "starting it again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = told(&mut word.stopped) => break,
        }
        pause = (pause * 2).clamp(RESTART_AFTER_MIN, RESTART_AFTER_MAX);
    }
    Ok(())
}

/// Waits for the end of a plane; until then it is told of changes, and may be replaced. `None`: it
/// was stopped.
async fn attend(
    child: &mut Child,
    executable: &mut Executable,
    plane: &Plane,
    pid_file: &Path,
    word: &mut Word,
) -> Option<io::Result<ExitStatus>> {
    // It has read the newest one.
    word.changed.mark_unchanged();
    loop {
        tokio::select! {
            status = child.wait() => return Some(status),
            Ok(()) = word.changed.changed(), if plane.reloads => {
                send(plane.name, child, Signal::SIGHUP);
            }
            () = told(&mut word.stopped) => {
                stop(plane.name, child).await;
                return None;
            }
            Some(order) = word.orders.recv() => {
                let next = &order.executable;
                let outcome = replace(child, plane, next, &mut word.notices).await;
                if outcome.is_ok() {
                    *executable = order.executable;
                }
                note_pid(pid_file, child);
                // Whoever asked has ended: nobody wants to know.
                let _ = order.reply.send(outcome);
            }
        }
    }
}

/// Returns when told to stop, or when nobody is left who could.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps `sh -c SCRIPT` alive for at most this long; what its keeper said, or `None`.
    async fn kept(script: &str, patience: Duration) -> Option<Result<(), &'static str>> {
        let plane = Plane {
            name: "shell",
            args: vec!["-c".into(), script.into()],
            reloads: true,
            succession: Succession::Leaves,
            role: Role::Control,
            is_well: Arc::new(|| true),
        };
        let (_stop, stopped) = watch::channel(false);
        let (_change, changed) = watch::channel(0);
        let pids = std::env::temp_dir().join(format!("freshet-keep-{}", std::process::id()));
        let (_order, orders) = mpsc::channel(1);
        let (_notice, notices) = broadcast::channel(1);
        let word = Word {
            stopped,
            changed,
            orders,
            notices,
        };
        let shell = Executable::open(Path::new("/bin/sh")).unwrap();
        let keeper = keep(shell, plane, pids.clone(), word);
        let said = tokio::time::timeout(patience, keeper).await.ok();
        let _ = std::fs::remove_file(pids);
        said
    }

    #[tokio::test]
    async fn a_plane_that_refuses_its_first_start_ends_the_supervisor() {
        let said = kept("exit 2", Duration::from_secs(20)).await;
        assert_eq!(said, Some(Err("shell")));
    }

    #[tokio::test]
    async fn a_plane_that_has_drained_is_not_started_again() {
        assert_eq!(kept("exit 3", Duration::from_secs(20)).await, Some(Ok(())));
    }

    #[tokio::test]
    async fn a_plane_that_dies_is_started_again_and_may_refuse_then() {
        let lives = std::env::temp_dir().join(format!("freshet-lives-{}", std::process::id()));
        let _ = std::fs::remove_file(&lives);
        // Fails first, refuses ever after.
        let script = format!(
            "echo life >> {0}; test $(wc -l < {0}) -gt 1 && exit 2; exit 1",
            lives.display()
        );
        assert_eq!(kept(&script, Duration::from_millis(700)).await, None);
        let count = std::fs::read_to_string(&lives).unwrap().lines().count();
        std::fs::remove_file(&lives).unwrap();
        assert!(count >= 3, "{count} lives");
    }
}
