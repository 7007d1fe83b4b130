//! Owns `freshet bench`: what a packet costs on this host, and how many viewers that makes.

mod capacity;
mod forward;
mod measure;
mod report;
mod table;

use crate::cli::BenchArgs;
use crate::config::Config;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

/// Measures this host and tells.
///
/// # Errors
/// Nothing can be measured, or the file cannot be written.
pub fn run(args: &BenchArgs, config: &Config) -> io::Result<ExitCode> {
    let plan = measure::Plan::new(args, config).map_err(io::Error::other)?;
    // A thread of its own: it moves into another network, and is pinned to a processor.
    let measuring = std::thread::Builder::new()
        .name("bench".to_owned())
        .spawn(move || measure::run(&plan))?;
    let report = measuring
        .join()
        .map_err(|_| io::Error::other("the measuring has panicked"))?
        .map_err(io::Error::other)?;
    if let Some(path) = &args.json {
        // Numbers and texts only: serialising them cannot fail.
        let json = serde_json::to_string_pretty(&report).unwrap_or_default();
        if path.as_os_str() == "-" {
            writeln!(io::stdout(), "{json}")?;
            return Ok(ExitCode::SUCCESS);
        }
        fs::write(path, json + "\n")
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    }
    write!(io::stdout(), "{report}")?;
    Ok(ExitCode::SUCCESS)
}
