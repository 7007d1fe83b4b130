//! Owns one plane: keeps its process alive, tells it, lets another program take its place.

use super::child::{Child, Executable, note_pid, send, start, stop};
use super::replace::{Order, replace};
use super::{Course, Plane};
use link::keeper::Notice;
use nix::sys::signal::Signal;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, watch};

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

/// A plane that is kept alive.
pub struct Charge {
    /// What it is.
    pub plane: Plane,
    /// What is started when it dies.
    pub executable: Executable,
    /// Its process, if there is one.
    pub child: Option<Child>,
    /// It has never been started.
    pub is_new: bool,
}

/// What the keeper of a plane is told.
pub struct Word {
    /// What it is to do.
    pub course: watch::Receiver<Course>,
    /// How often the configuration, or what is decided of a drain, has changed.
    pub changed: watch::Receiver<u32>,
    /// Programs that are to take the place of the one that runs.
    pub orders: mpsc::Receiver<Order>,
    /// What happens at the link.
    pub notices: broadcast::Receiver<Notice>,
}

/// Why a process is not attended to any more.
enum End {
    /// It has ended.
    Ended(io::Result<ExitStatus>),
    /// It is to be stopped, or another keeper is to go on with it.
    Told(Course),
}

impl Charge {
    /// One that was never started.
    #[must_use]
    pub fn new(plane: Plane, executable: Executable) -> Self {
        Self {
            plane,
            executable,
            child: None,
            is_new: true,
        }
    }

    /// Stops it.
    pub async fn stop(&mut self) {
        if let Some(child) = &mut self.child {
            stop(self.plane.name, child).await;
        }
    }
}

/// Keeps one plane alive until told otherwise; gives it back if another keeper is to go on. An
/// error names a plane that refuses its first start: another would end the same way. Later the
/// cause must have come from outside and may go again.
pub async fn keep(
    mut charge: Charge,
    pid_file: PathBuf,
    mut word: Word,
) -> Result<Option<Charge>, &'static str> {
    let name = charge.plane.name;
    let mut pause = Duration::ZERO;
    while *word.course.borrow() == Course::GoOn {
        let started = Instant::now();
        let child = match charge.child.take() {
            Some(child) => Ok(child),
            None => start(&charge.executable, &charge.plane, &[]),
        };
        match child {
            Ok(mut child) => {
                note_pid(&pid_file, &child);
                match attend(&mut child, &mut charge, &pid_file, &mut word).await {
                    End::Told(Course::HandOver) => {
                        charge.child = Some(child);
                        charge.is_new = false;
                        return Ok(Some(charge));
                    }
                    End::Told(_) => {
                        stop(name, &mut child).await;
                        return Ok(None);
                    }
                    End::Ended(Ok(status)) => match status.code() {
                        Some(code) if charge.is_new && code == i32::from(REFUSED) => {
                            return Err(name);
                        }
                        Some(code) if code == i32::from(DRAINED) => return Ok(None),
                        _ => tracing::warn!(plane = name, %status, "has ended"),
                    },
                    End::Ended(Err(error)) => {
                        tracing::error!(plane = name, %error, "lost sight");
                    }
                }
            }
            Err(error) => tracing::error!(plane = name, %error, "cannot be started"),
        }
        charge.is_new = false;
        if started.elapsed() >= HEALTHY_AFTER {
            pause = Duration::ZERO;
        }
        tracing::warn!(
            plane = name,
            after_ms = pause.as_millis(),
            "starting it again"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = told(&mut word.course) => break,
        }
        pause = (pause * 2).clamp(RESTART_AFTER_MIN, RESTART_AFTER_MAX);
    }
    // Dead just now: whoever goes on starts it.
    let is_handed = *word.course.borrow() == Course::HandOver;
    Ok(is_handed.then_some(charge))
}

/// Waits for the end of a process; until then it is told of changes, and may be replaced.
async fn attend(child: &mut Child, charge: &mut Charge, pid_file: &Path, word: &mut Word) -> End {
    let plane = &charge.plane;
    // It has read the newest one.
    word.changed.mark_unchanged();
    loop {
        tokio::select! {
            // What has happened first: a keeper that goes on is not told of it again.
            biased;
            status = child.wait() => return End::Ended(status),
            Ok(()) = word.changed.changed(), if plane.reloads => {
                send(plane.name, child, Signal::SIGHUP);
            }
            Some(order) = word.orders.recv() => {
                let next = &order.executable;
                let outcome = replace(child, plane, next, &mut word.notices).await;
                if outcome.is_ok() {
                    charge.executable = order.executable;
                }
                note_pid(pid_file, child);
                // Whoever asked has ended: nobody wants to know.
                let _ = order.reply.send(outcome);
            }
            course = told(&mut word.course) => return End::Told(course),
        }
    }
}

/// Returns when it is not to go on, or when nobody is left who could say so.
async fn told(course: &mut watch::Receiver<Course>) -> Course {
    let told = course.wait_for(|course| *course != Course::GoOn).await;
    told.map_or(Course::Stop, |course| *course)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::Succession;
    use link::region::Role;
    use std::sync::Arc;

    /// Keeps `sh -c SCRIPT` alive for at most this long; what its keeper said, or `None`.
    async fn kept(script: &str, patience: Duration) -> Option<Result<bool, &'static str>> {
        let plane = Plane {
            name: "shell",
            args: vec!["-c".into(), script.into()],
            reloads: true,
            succession: Succession::Leaves,
            role: Role::Control,
            is_well: Arc::new(|| true),
        };
        let (_course, course) = watch::channel(Course::GoOn);
        let (_change, changed) = watch::channel(0);
        let pids = std::env::temp_dir().join(format!("freshet-keep-{}", std::process::id()));
        let (_order, orders) = mpsc::channel(1);
        let (_notice, notices) = broadcast::channel(1);
        let word = Word {
            course,
            changed,
            orders,
            notices,
        };
        let shell = Executable::open(Path::new("/bin/sh")).unwrap();
        let keeper = keep(Charge::new(plane, shell), pids.clone(), word);
        let said = tokio::time::timeout(patience, keeper).await.ok();
        let _ = std::fs::remove_file(pids);
        said.map(|said| said.map(|handed| handed.is_some()))
    }

    #[tokio::test]
    async fn a_plane_that_refuses_its_first_start_ends_the_supervisor() {
        let said = kept("exit 2", Duration::from_secs(20)).await;
        assert_eq!(said, Some(Err("shell")));
    }

    #[tokio::test]
    async fn a_plane_that_has_drained_is_not_started_again() {
        assert_eq!(
            kept("exit 3", Duration::from_secs(20)).await,
            Some(Ok(false))
        );
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
