//! Owns the log: its set-up, and its level, which may change while the process runs.

use crate::config::{Log, LogFormat};
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Error;

/// Sets another filter.
type Set = Box<dyn Fn(EnvFilter) -> Result<(), Error> + Send + Sync>;

/// The way to the filter, once the log is set up: there is one of either in a process.
static FILTER: OnceLock<Set> = OnceLock::new();

/// What is logged at this level, or by these directives.
///
/// # Errors
/// What is wrong with them.
pub fn filter(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(level).map_err(|error| error.to_string())
}

/// Begins to log.
///
/// # Errors
/// The level is none.
pub fn begin(log: &Log) -> io::Result<()> {
    let filter = filter(&log.level).map_err(io::Error::other)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let set: Set = match log.format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |filter| handle.reload(filter))
        }
        LogFormat::Json => {
            let lines = lines.json().with_filter_reloading();
            let handle = lines.reload_handle();
            lines.init();
            Box::new(move |filter| handle.reload(filter))
        }
    };
    // A second set-up has ended the process in `init` already.
    let _ = FILTER.set(set);
    Ok(())
}

/// Goes on at another level. It has been checked with the configuration.
pub fn follow(log: &Log) {
    let Some(set) = FILTER.get() else {
        return;
    };
    let changed = filter(&log.level).and_then(|it| set(it).map_err(|error| error.to_string()));
    if let Err(error) = changed {
        tracing::error!(error, "the level of the log stays as it was");
    }
}
