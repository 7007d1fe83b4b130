//! Owns the configuration of a running server on the supervisor's side: it is read again at SIGHUP,
//! and replaced when an operator sends another one through control; as a whole or not at all.

mod desk;

use desk::Desk;
pub use desk::{Ask, Outcome, ask};

use crate::config::{self, Config, ConfigError, WantsRestart, reread};
use crate::drain::Next;
use crate::{log, private};
use std::cell::Cell;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use wire::time::Span;

/// Its name in the run directory, with the environment and the command line in it.
const RESOLVED: &str = "config.toml";

/// Reads everything that the configuration is made of; with a text, that stands in for the file.
pub trait Read: Fn(Option<&str>) -> io::Result<Config> {}

impl<T: Fn(Option<&str>) -> io::Result<Config>> Read for T {}

/// The configuration, where it comes from, and where the planes find it.
pub struct Store<'a, R> {
    current: Config,
    read: R,
    /// The file that the server was started with.
    file: Option<PathBuf>,
    /// With the environment and the command line in it, for the planes.
    resolved: PathBuf,
    drain_time: &'a Cell<Span>,
    desk: Desk,
}

impl<'a, R: Read> Store<'a, R> {
    /// Begins with `config`, and hears what control asks for.
    ///
    /// # Errors
    /// The run directory cannot be written to.
    pub fn new(
        config: Config,
        read: R,
        file: Option<PathBuf>,
        run_dir: &Path,
        drain_time: &'a Cell<Span>,
    ) -> io::Result<Self> {
        write_resolved(&resolved(run_dir), &config)?;
        let desk = Desk::open(run_dir)?;
        Ok(Self::with(config, read, file, run_dir, drain_time, desk))
    }

    /// Goes on with the configuration that the program before had in force, and at its socket. What
    /// the planes have read is not written again.
    ///
    /// # Errors
    /// The system refuses to wait for the socket.
    pub fn resume(
        config: Config,
        read: R,
        file: Option<PathBuf>,
        run_dir: &Path,
        drain_time: &'a Cell<Span>,
        socket: UnixListener,
    ) -> io::Result<Self> {
        let desk = Desk::at(socket)?;
        Ok(Self::with(config, read, file, run_dir, drain_time, desk))
    }

    fn with(
        config: Config,
        read: R,
        file: Option<PathBuf>,
        run_dir: &Path,
        drain_time: &'a Cell<Span>,
        desk: Desk,
    ) -> Self {
        drain_time.set(config.drain.time());
        Self {
            current: config,
            read,
            file,
            resolved: resolved(run_dir),
            drain_time,
            desk,
        }
    }

    /// SIGHUP: reads it again.
    pub fn reload(&mut self) -> Next {
        let read = reread(&self.current, || (self.read)(None));
        match read.and_then(|(config, _)| self.take(config)) {
            Ok(()) => Next::Tell,
            Err(error) => {
                tracing::error!("SIGHUP: the configuration stays as it was: {error}");
                Next::Wait
            }
        }
    }

    /// What control asks for next; none when the desk has closed, as it was told.
    pub async fn asked(&mut self) -> Option<Ask> {
        self.desk.asked().await
    }

    /// Answers what has come, and lets what comes later wait for whoever goes on at the socket.
    pub fn close(&self) {
        self.desk.close();
    }

    /// Hears again, when nobody else does.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.desk = Desk::at(self.desk.socket().try_clone()?)?;
        Ok(())
    }

    /// The socket at which control asks.
    #[must_use]
    pub fn socket(&self) -> &UnixListener {
        self.desk.socket()
    }

    /// Takes what control has asked for, and writes it to the file.
    pub fn put(&mut self, ask: Ask) -> Next {
        let outcome = self.outcome(&ask.text);
        let next = match &outcome {
            Outcome::Taken { changed } => {
                let changed = changed.join(", ");
                tracing::info!(changed, "the configuration was replaced by an operator");
                Next::Tell
            }
            refused => {
                tracing::warn!(?refused, "the configuration stays as it was");
                Next::Wait
            }
        };
        // Control has died meanwhile: it will read what there is now.
        let _ = ask.reply.send(outcome);
        next
    }

    fn outcome(&mut self, text: &str) -> Outcome {
        let Some(file) = self.file.clone() else {
            return Outcome::NoFile;
        };
        let (config, changes) = match reread(&self.current, || (self.read)(Some(text))) {
            Ok(read) => read,
            Err(error) => return refusal(&error),
        };
        match self.write(&file, text, config) {
            Ok(()) => Outcome::Taken {
                changed: changes.live,
            },
            Err(error) => Outcome::NotWritten {
                error: error.to_string(),
            },
        }
    }

    fn write(&mut self, file: &Path, text: &str, config: Config) -> io::Result<()> {
        let before = std::fs::read_to_string(file)?;
        private::replace(file, text)?;
        let taken = self.take(config);
        if taken.is_err()
            && let Err(error) = private::replace(file, &before)
        {
            tracing::error!(%error, "the file has the new configuration, which does not hold");
        }
        taken
    }

    fn take(&mut self, config: Config) -> io::Result<()> {
        write_resolved(&self.resolved, &config)?;
        self.drain_time.set(config.drain.time());
        log::follow(&config.log);
        self.current = config;
        Ok(())
    }
}

/// Where the planes find it.
#[must_use]
pub fn resolved(run_dir: &Path) -> PathBuf {
    run_dir.join(RESOLVED)
}

/// The configuration that was in force when it was last written there.
///
/// # Errors
/// It is not there, or is none of this release.
pub fn in_force(run_dir: &Path) -> io::Result<Config> {
    let path = resolved(run_dir);
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path)
        .map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
    config::load(Some((&name, &text)), [], Vec::new()).map_err(io::Error::other)
}

/// Secrets are in there.
fn write_resolved(path: &Path, config: &Config) -> io::Result<()> {
    let text = toml::to_string(config).map_err(io::Error::other)?;
    private::write(path, &text)
}

fn refusal(error: &io::Error) -> Outcome {
    let inner = error.get_ref();
    if let Some(wants) = inner.and_then(|it| it.downcast_ref::<WantsRestart>()) {
        let keys = wants.0.clone();
        return Outcome::WantsRestart { keys };
    }
    match inner.and_then(|it| it.downcast_ref::<ConfigError>()) {
        Some(error) => Outcome::Wrong {
            line: error.origin.line(),
            key: error.key.clone(),
            what: format!("{}: {}", error.origin, error.what),
            remedy: error.remedy.clone(),
        },
        None => Outcome::NotWritten {
            error: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
