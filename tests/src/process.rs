//! Owns a program that a test started: its output in a file, its death with the test's.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::wait_for;

/// A running program and everything that it started. Dropped: killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Process {
    /// Starts `command` with its output in `folder/name.log`, in a process group of its own; it is
    /// killed when this thread dies, however it dies.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, folder: &Path, command: &Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).expect("a log in a folder of ours");
        let errors = output.try_clone().expect("a second handle of the log");
        let mut tied = tied(command);
        tied.stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        let child = tied
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self {
            child,
            log,
            name: name.to_owned(),
        }
    }

    /// What it wrote so far, to either output.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Panics
    /// When the system has lost it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When `limit` has passed.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let name = format!("the end of {}", self.name);
        wait_for(&name, limit, || self.ended().ok_or_else(|| self.output()))
    }

    /// Waits until its output has `text`; gives the whole output.
    ///
    /// # Panics
    /// When `limit` has passed.
    #[must_use]
    pub fn says(&self, text: &str, limit: Duration) -> String {
        wait_for(&format!("{} to say {text:?}", self.name), limit, || {
            let output = self.output();
            if output.contains(text) {
                Ok(output)
            } else {
                Err(output)
            }
        })
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        // Gone already: that is what was wanted.
        let _ = kill(pid(self.pid()), Signal::SIGTERM);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already: that is what was wanted.
        let _ = killpg(pid(self.child.id()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end and gives what it printed.
///
/// # Panics
/// When it cannot be run or fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {text}{errors}"
    );
    text
}

/// Kills `process` without a warning; one that is gone already is as wanted.
pub fn kill_now(process: u32) {
    let _ = kill(pid(process), Signal::SIGKILL);
}

/// Lets `process` read its configuration again.
///
/// # Panics
/// When there is no such process.
pub fn hang_up(process: u32) {
    kill(pid(process), Signal::SIGHUP).expect("a process that is there");
}

/// The process ids of the children of `parent`, and their command lines.
#[must_use]
pub fn children(parent: u32) -> Vec<(u32, String)> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = threads(parent)
        .into_iter()
        .fold(String::new(), |text, thread| {
            let path = path.replacen(&format!("task/{parent}"), &format!("task/{thread}"), 1);
            text + &fs::read_to_string(path).unwrap_or_default()
        });
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .map(|child: u32| {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            (child, String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
}

/// Resident memory of a process in bytes; 0 if it is gone.
#[must_use]
pub fn resident_bytes(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn threads(process: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten();
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).expect("process ids are small"))
}

/// The same command, killed by the kernel when the thread that started it dies.
fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]);
    tied.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(key, value),
            None => tied.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    tied
}

/// A command with its arguments.
#[must_use]
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
