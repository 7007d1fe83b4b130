//! Owns how one process takes the place of another of its plane, and what becomes of it if it is
//! not well.

use super::child::{Child, Executable, STOP_DEADLINE, end, kill, start};
use super::{Plane, Role};
use link::keeper::Notice;
use nix::sys::signal::Signal;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How long a process may take to come to its place. Both planes take less than a second.
const COMES_WITHIN: Duration = Duration::from_secs(10);

/// A process that the keeper refuses may have ended before the keeper's thread has told us why:
/// that takes as long as it may have to wait for a processor.
const REASON_WITHIN: Duration = Duration::from_millis(200);

/// A process that has come to its place has to be well for so long.
const PROBATION: Duration = Duration::from_secs(1);

/// How another process takes the place of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    /// It gets ready beside the one that runs, which then leaves everything to it.
    StandsBy,
    /// The one that runs ends first, and the next one takes up what the link has.
    Leaves,
}

/// A program that is to take the place of the one that runs.
pub struct Order {
    /// The program.
    pub executable: Executable,
    /// What became of it.
    pub reply: oneshot::Sender<Result<(), Failure>>,
}

/// Why a process has not taken the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The one before goes on.
    #[error("{0}; the one before goes on")]
    Refused(String),
    /// The program before was started again.
    #[error("{0}; the program before was started again")]
    RolledBack(String),
}

/// Lets a process of `next` take the place of `child`. With [`Failure::RolledBack`] it has ended,
/// and so has the one before.
pub async fn replace(
    child: &mut Child,
    plane: &Plane,
    next: &Executable,
    notices: &mut broadcast::Receiver<Notice>,
) -> Result<(), Failure> {
    // What happened before says nothing of it.
    *notices = notices.resubscribe();
    match plane.succession {
        Succession::StandsBy => {
            let mut successor = start(next, plane, &["--stand-by"]).map_err(cannot)?;
            if let Err(why) = comes(&mut successor, plane.role, notices).await {
                kill(plane.name, &mut successor).await;
                return Err(Failure::Refused(why));
            }
            // It has let go of everything, and has only to end.
            if timeout(STOP_DEADLINE, child.wait()).await.is_err() {
                kill(plane.name, child).await;
            }
            *child = successor;
        }
        Succession::Leaves => {
            end(plane.name, child, Signal::SIGUSR2).await;
            *child = start(next, plane, &[]).map_err(|e| Failure::RolledBack(words(&e)))?;
            if let Err(why) = comes(child, plane.role, notices).await {
                kill(plane.name, child).await;
                return Err(Failure::RolledBack(why));
            }
        }
    }
    if let Err(why) = proves(child, plane).await {
        kill(plane.name, child).await;
        return Err(Failure::RolledBack(why));
    }
    Ok(())
}

fn cannot(error: io::Error) -> Failure {
    Failure::Refused(words(&error))
}

fn words(error: &io::Error) -> String {
    format!("it cannot be started: {error}")
}

/// Waits until a process has come to its place.
async fn comes(
    child: &mut Child,
    role: Role,
    notices: &mut broadcast::Receiver<Notice>,
) -> Result<(), String> {
    let pid = child.id();
    let mut refusal = None;
    let coming = async {
        loop {
            tokio::select! {
                status = child.wait() => return Err(ended(status)),
                notice = notices.recv() => match notice {
                    Ok(
                        Notice::Joined { role: of, pid: by, .. }
                        | Notice::Succeeded { role: of, pid: by },
                    ) if of == role && Some(by) == pid => return Ok(()),
                    Ok(Notice::Refused { pid: by, why }) if Some(by) == pid => refusal = Some(why),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err("nobody keeps the link".to_owned()),
                },
            }
        }
    };
    let came = timeout(COMES_WITHIN, coming).await;
    let came =
        came.unwrap_or_else(|_| Err(format!("it did not get ready within {COMES_WITHIN:?}")));
    let Err(why) = came else {
        return Ok(());
    };
    if refusal.is_none() {
        let reason = timeout(REASON_WITHIN, refused(pid, notices)).await;
        refusal = reason.ok().flatten();
    }
    match refusal {
        Some(refusal) => Err(format!("{why}: {refusal}")),
        None => Err(why),
    }
}

/// The keeper's reason not to let a process in.
async fn refused(pid: Option<i32>, notices: &mut broadcast::Receiver<Notice>) -> Option<String> {
    loop {
        match notices.recv().await {
            Ok(Notice::Refused { pid: by, why }) if Some(by) == pid => return Some(why),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Looks at a process for its first second.
async fn proves(child: &mut Child, plane: &Plane) -> Result<(), String> {
    tokio::select! {
        status = child.wait() => Err(format!("{}, in its first second", ended(status))),
        () = sleep(PROBATION) => match (plane.is_well)() {
            true => Ok(()),
            false => Err("it does not do its work after its first second".to_owned()),
        },
    }
}

fn ended(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("it has ended ({status}), for the reason in the log"),
        Err(error) => format!("it was lost sight of: {error}"),
    }
}
