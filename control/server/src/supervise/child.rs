//! Owns one process of a plane: started, told, stopped.

use super::{Plane, SUPERVISED};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long the planes may take to end by themselves before they are killed.
pub const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A program, held open: what takes its name on the disk later is another one.
#[derive(Clone, Debug)]
pub struct Executable(Arc<File>);

impl Executable {
    /// The program of this name now.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Arc::new).map(Self)
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
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

/// Starts a plane; `more` is for this one time.
pub fn start(executable: &Executable, plane: &Plane, more: &[&str]) -> io::Result<Child> {
    let mut command = executable.command();
    command
        .args(&plane.args)
        .args(more)
        .env(SUPERVISED, "1")
        .kill_on_drop(true)
        // A terminal's Ctrl-C reaches the whole group; the planes are stopped by us, in order.
        .process_group(0)
        .spawn()
}

/// Gives it a sign.
pub fn send(name: &str, child: &Child, what: Signal) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else {
        return;
    };
    if let Err(error) = signal::kill(Pid::from_raw(pid), what) {
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
    if let Err(error) = child.kill().await {
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
