//! Owns an upgrade: which program is next, whether it may be, the planes one after the other and
//! the supervisor after them, and what a person is told of it.

use super::child::Executable;
use super::replace::{Failure, Order};
use crate::{clock, private};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wire::time::Time;

/// Where it is told how far it has come, in the run directory.
const FILE: &str = "upgrade.json";

/// Where the supervisor's process id is.
const SUPERVISOR: &str = "serve.pid";

/// How long a program may take to say what it is. It takes a few milliseconds.
const SPEAKS_WITHIN: Duration = Duration::from_secs(10);

/// How long somebody who follows waits for word, and how often he looks.
const FOLLOW_MAX: Duration = Duration::from_secs(60);
const FOLLOW_LOOK: Duration = Duration::from_millis(20);

/// How far an upgrade has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is under way.
    Running,
    /// All planes and the supervisor run the program.
    Done,
    /// Nothing has changed, or nothing of the supervisor.
    Refused,
    /// A plane, or the supervisor, runs the program before again.
    RolledBack,
}

/// What is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Report {
    state: State,
    /// In words.
    what: String,
}

/// A program that all planes run, and that is to take the supervisor's place as well.
pub struct Successor {
    /// The program.
    pub executable: Executable,
    /// When the upgrade began.
    pub began: Time,
}

/// What an upgrade needs to know.
#[derive(Clone)]
pub struct Upgrade {
    named: PathBuf,
    run_dir: PathBuf,
}

impl Upgrade {
    /// Programs come by this name. Leaves our process id in the run directory.
    pub fn new(named: PathBuf, run_dir: &Path) -> Self {
        let pid = std::process::id();
        if let Err(error) = std::fs::write(run_dir.join(SUPERVISOR), format!("{pid}\n")) {
            tracing::debug!(%error, "process id not written");
        }
        Self {
            named,
            run_dir: run_dir.to_owned(),
        }
    }

    /// The name by which programs come.
    pub fn named(&self) -> &Path {
        &self.named
    }

    /// Lets the program that has our name now take the places of all planes, in this order; gives
    /// it back if it is to take the supervisor's next.
    pub async fn run(self, places: Vec<(&'static str, mpsc::Sender<Order>)>) -> Option<Successor> {
        let began = clock::now();
        let next = match self.check().await {
            Ok(next) => next,
            Err(why) => {
                let named = self.named.display();
                self.tell(
                    State::Refused,
                    &format!("{named}: {why}; nothing has changed"),
                );
                return None;
            }
        };
        for (name, place) in places {
            self.tell(State::Running, &format!("the {name} is being replaced"));
            let (reply, outcome) = oneshot::channel();
            let order = Order {
                executable: next.clone(),
                reply,
            };
            // Both ends go when the supervisor is stopped meanwhile.
            place.send(order).await.ok()?;
            match outcome.await.ok()? {
                Ok(()) => {}
                Err(failure) => {
                    let state = match failure {
                        Failure::Refused(_) => State::Refused,
                        Failure::RolledBack(_) => State::RolledBack,
                    };
                    self.tell(state, &format!("the {name}: {failure}"));
                    return None;
                }
            }
        }
        self.tell(State::Running, "the supervisor is being replaced");
        Some(Successor {
            executable: next,
            began,
        })
    }

    /// The supervisor goes on with the program that it has.
    pub fn kept(&self, why: &str) {
        self.tell(
            State::Refused,
            &format!(
                "the supervisor goes on with the program before, and the planes have the new one: \
                 {why}"
            ),
        );
    }

    /// The supervisor goes on with this program, the new one or, after a failure of that, the one
    /// before.
    pub fn resumed(&self, began: Time, failure: Option<&str>) {
        match failure {
            None => {
                let took = clock::now().since(began).as_millis();
                self.tell(
                    State::Done,
                    &format!("forwarder, control and supervisor were replaced in {took} ms"),
                );
            }
            Some(why) => self.tell(
                State::RolledBack,
                &format!(
                    "the supervisor: the new program could not go on, and the one before does; the \
                     planes have the new one: {why}"
                ),
            ),
        }
    }

    /// Asks the program what it is, and whether it takes the configuration that there is.
    async fn check(&self) -> Result<Executable, String> {
        let next = Executable::open(&self.named).map_err(|e| e.to_string())?;
        let version = said(asked(&next, &["--version"]), SPEAKS_WITHIN).await?;
        if !version.starts_with("freshet ") {
            return Err("it is no Freshet".to_owned());
        }
        let config = self.run_dir.join("config.toml");
        let config = config
            .to_str()
            .ok_or("the run directory has no name in UTF-8")?;
        let check = asked(&next, &["config", "--check", config]);
        said(check, SPEAKS_WITHIN).await?;
        tracing::info!(to = version.trim(), "upgrading");
        Ok(next)
    }

    fn tell(&self, state: State, what: &str) {
        match state {
            State::Running | State::Done => tracing::info!("upgrade: {what}"),
            State::Refused | State::RolledBack => tracing::error!("upgrade: {what}"),
        }
        let report = Report {
            state,
            what: what.to_owned(),
        };
        let written = serde_json::to_string(&report)
            .map_err(io::Error::other)
            .and_then(|text| private::write(&self.run_dir.join(FILE), &text));
        if let Err(error) = written {
            tracing::warn!(%error, "how far the upgrade has come is not written down");
        }
    }
}

fn asked(program: &Executable, words: &[&str]) -> Command {
    let mut command = program.command();
    command.args(words);
    command
}

/// What a program prints, if it ends within this time, and well.
pub async fn said(command: Command, within: Duration) -> Result<String, String> {
    let mut command = tokio::process::Command::from(command);
    let output = timeout(within, command.kill_on_drop(true).output()).await;
    let output = output.map_err(|_| format!("it did not answer within {within:?}"))?;
    let output = output.map_err(|e| format!("it cannot be run: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", output.status, why.trim()))
}

/// Lets the node with this run directory upgrade to the program that it was started by, as that is
/// on the disk now, and follows until that is done.
///
/// # Errors
/// No node runs there.
pub fn follow(run_dir: &Path) -> io::Result<ExitCode> {
    let file = run_dir.join(SUPERVISOR);
    let nobody = |e| io::Error::other(format!("{}: {e}; does a node run there?", file.display()));
    let text = std::fs::read_to_string(&file).map_err(nobody)?;
    let pid = text.trim().parse().map_err(io::Error::other)?;
    // Of an upgrade before.
    let _ = std::fs::remove_file(run_dir.join(FILE));
    kill(Pid::from_raw(pid), Signal::SIGUSR2)
        .map_err(|e| io::Error::other(format!("process {pid} of {}: {e}", file.display())))?;
    let end = Instant::now() + FOLLOW_MAX;
    let mut last = None;
    while Instant::now() < end {
        let text = std::fs::read_to_string(run_dir.join(FILE)).ok();
        let report: Option<Report> = text.and_then(|text| serde_json::from_str(&text).ok());
        if let Some(report) = report.filter(|report| last.as_ref() != Some(report)) {
            println!("{}", report.what);
            match report.state {
                State::Running => {}
                State::Done => return Ok(ExitCode::SUCCESS),
                State::Refused | State::RolledBack => return Ok(ExitCode::FAILURE),
            }
            last = Some(report);
        }
        std::thread::sleep(FOLLOW_LOOK);
    }
    Err(io::Error::other(
        "no word of its end; see the log of the node",
    ))
}
