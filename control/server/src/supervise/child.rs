//! Owns one process of a plane: started, told, stopped. It is known by its id alone, so that one
//! that the program before in this process has started is as good as one that we have.

use super::{Plane, SUPERVISED};
use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::SignalKind;

/// How long the planes may take to end by themselves before they are killed.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A program, held open: what takes its name on the disk later is another one.
#[derive(Clone, Debug)]
pub struct Executable(Arc<File>);

/// A child of this process. Dropped: killed.
pub struct Child {
    pid: Pid,
    life: Life,
}

/// What is known of it.
enum Life {
    /// It lives, or has not been waited for: its id is not another's.
    Ours,
    Ended(ExitStatus),
    /// It is no child of ours, or no more: nothing is to be sent to whoever has its id.
    Lost,
}

impl Executable {
    /// The program of this name now.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Arc::new).map(Self)
    }

    /// The program that this process runs.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn own() -> io::Result<Self> {
        Self::open(Path::new("/proc/self/exe"))
    }

    /// A command that runs it. It does not see our settings in the environment: the configuration
    /// that planes are given has them in it already; read again, they would win over the command
    /// line.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FRESHET_") {
                command.env_remove(name);
            }
        }
        command.arg0("freshet").stdin(Stdio::null());
        command
    }

    /// Its name in this process, and in one that is forked from it, until that runs it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// A copy of its descriptor.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone().map(OwnedFd::from)
    }
}

impl From<OwnedFd> for Executable {
    fn from(descriptor: OwnedFd) -> Self {
        Self(Arc::new(File::from(descriptor)))
    }
}

/// Starts a plane; `more` is for this one time. The kernel ends it with the *thread* that calls
/// this, by the plane's own wish: that has to be the main thread.
pub fn start(executable: &Executable, plane: &Plane, more: &[&str]) -> io::Result<Child> {
    let mut command = executable.command();
    let child = command
        .args(&plane.args)
        .args(more)
        .env(SUPERVISED, "1")
        // A terminal's Ctrl-C reaches the whole group; the planes are stopped by us, in order.
        .process_group(0)
        .spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Child::adopt(pid))
}

impl Child {
    /// A process that this one has started, perhaps by another program.
    pub fn adopt(pid: i32) -> Self {
        Self {
            pid: Pid::from_raw(pid),
            life: Life::Ours,
        }
    }

    /// Its process id, until it has ended and that was seen.
    pub fn id(&self) -> Option<i32> {
        matches!(self.life, Life::Ours).then_some(self.pid.as_raw())
    }

    /// Waits for its end. It may be asked again.
    ///
    /// # Errors
    /// It is no child of ours.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        // Before the first look: one that ends after it is heard of.
        let mut deaths = tokio::signal::unix::signal(SignalKind::child())?;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            deaths.recv().await;
        }
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match self.life {
            Life::Ours => {}
            Life::Ended(status) => return Ok(Some(status)),
            Life::Lost => return Err(Errno::ECHILD.into()),
        }
        // As wait(2) packs it.
        let raw = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => code << 8,
            Ok(WaitStatus::Signaled(_, signal, _)) => signal as i32,
            Ok(_) => return Ok(None),
            Err(errno) => {
                self.life = Life::Lost;
                return Err(errno.into());
            }
        };
        let status = ExitStatus::from_raw(raw);
        self.life = Life::Ended(status);
        Ok(Some(status))
    }

    fn send(&self, what: Signal) -> io::Result<()> {
        match self.life {
            Life::Ours => Ok(signal::kill(self.pid, what)?),
            Life::Ended(_) | Life::Lost => Ok(()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended meanwhile.
        let _ = self.send(Signal::SIGKILL);
    }
}

/// Gives it a sign.
pub fn send(name: &str, child: &Child, what: Signal) {
    if let Err(error) = child.send(what) {
        tracing::warn!(plane = name, %error, "did not take {what}");
    }
}

/// Ends it, by force if it must be.
pub async fn stop(name: &str, child: &mut Child) {
    end(name, child, Signal::SIGTERM).await;
}

/// Asks it to end by this sign, and kills it if it does not.
pub async fn end(name: &str, child: &mut Child, sign: Signal) {
    send(name, child, sign);
    if tokio::time::timeout(STOP_DEADLINE, child.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            plane = name,
            "still alive after {STOP_DEADLINE:?}: killing it"
        );
        kill(name, child).await;
    }
}

/// Ends it by force.
pub async fn kill(name: &str, child: &mut Child) {
    let ended = match child.send(Signal::SIGKILL) {
        Ok(()) => child.wait().await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::error!(plane = name, %error, "cannot be killed");
    }
}

/// Leaves the process id where an operator looks for it. Nothing depends on it.
pub fn note_pid(path: &Path, child: &Child) {
    let pid = child.id().map(|pid| pid.to_string()).unwrap_or_default();
    if let Err(error) = std::fs::write(path, pid + "\n") {
        tracing::debug!(path = %path.display(), %error, "process id not written");
    }
}
