//! Owns `freshet conform`: is a WHIP or WHEP server, ours or anybody's, as its standard wants it?
//!
//! The server is seen from outside alone: real requests, real offers, no media.

mod answer;
mod checks;
mod client;
mod link;
mod offer;
mod report;
mod rules;
mod sdp;
pub(crate) mod url;

pub use rules::Protocol;

use crate::cli::ConformArgs;
use checks::{Bench, Step};
use client::Client;
use hyper::Method;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Exit code when nothing can be said about the server.
const UNCHECKED: u8 = 2;

/// Requests that a step may take at most, each with all of its time: a step that hangs all the
/// same is given up.
const STEP_REQUESTS_MAX: u32 = 24;

/// Checks a server and prints what was found. Fails if it breaks a rule that it must keep.
pub async fn run(args: &ConformArgs) -> ExitCode {
    let bench = match prepare(args).await {
        Ok(bench) => Arc::new(bench),
        Err(error) => {
            eprintln!("freshet conform: {error}");
            return ExitCode::from(UNCHECKED);
        }
    };
    let limit = Duration::from_secs(args.timeout_secs) * STEP_REQUESTS_MAX;
    let done = tokio::select! {
        done = perform(&bench, limit) => done,
        // Without a handler for it there is nothing to wait for but the checks.
        Ok(()) = tokio::signal::ctrl_c() => Err("stopped".to_owned()),
    };
    for session in bench.client.sweep().await {
        eprintln!("freshet conform: a session is left behind and cannot be deleted: {session}");
    }
    let rows = report::rows(args.protocol, &bench.findings());
    print(args, &rows);
    if let Err(error) = done {
        eprintln!("freshet conform: {error}");
        return ExitCode::from(UNCHECKED);
    }
    match report::conforms(&rows) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn prepare(args: &ConformArgs) -> Result<Bench, String> {
    let endpoint = url::endpoint(&args.url)?;
    let patience = Duration::from_secs(args.timeout_secs);
    let client = Client::new(args.token.clone(), &args.origin, patience)?;
    let look = client.ask(Method::OPTIONS, &endpoint).token(None);
    look.send().await.map_err(|error| {
        format!(
            "{endpoint} does not answer: {error}\n  remedy: is this its address, and does it run?"
        )
    })?;
    Ok(Bench::new(args.protocol, endpoint, client))
}

/// Makes all checks. Each step is a task of its own: one that panics or hangs does not keep the
/// others from being made, nor sessions from being deleted.
async fn perform(bench: &Arc<Bench>, limit: Duration) -> Result<(), String> {
    let mut outcome = Ok(());
    for (at, step) in Step::ALL.into_iter().enumerate() {
        progress(at, step.title());
        let shared = Arc::clone(bench);
        // Dropped with us when the user has had enough: no session is made after that.
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { step.perform(&shared).await });
        let what = match tokio::time::timeout(limit, tasks.join_next()).await {
            Ok(Some(Ok(())) | None) => continue,
            Ok(Some(Err(error))) => format!("the check itself failed: {error}"),
            Err(_) => {
                tasks.shutdown().await;
                "not done in time".to_owned()
            }
        };
        outcome = Err(format!("{}: {what}", step.title()));
    }
    progress(Step::ALL.len(), "");
    outcome
}

/// Tells who waits what is under way: in one line that is written over, or in lines of a log.
fn progress(at: usize, title: &str) {
    let (mut errors, all) = (io::stderr(), Step::ALL.len());
    let is_over = at == all;
    // Who closed the other end does not want to know.
    let _ = match (errors.is_terminal(), is_over) {
        (true, true) => write!(errors, "\r\x1b[K"),
        (true, false) => write!(errors, "\r\x1b[K[{}/{all}] {title}", at + 1),
        (false, true) => Ok(()),
        (false, false) => writeln!(errors, "[{}/{all}] {title}", at + 1),
    };
    let _ = errors.flush();
}

fn print(args: &ConformArgs, rows: &[report::Row]) {
    let mut out = io::stdout();
    let text = match args.json {
        true => format!("{:#}\n", report::json(rows)),
        false => {
            let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
            format!(
                "{} at {}\n\n{}\n{}\n",
                args.protocol.name(),
                args.url,
                report::table(rows, colours),
                report::summary(rows)
            )
        }
    };
    // As above.
    let _ = out.write_all(text.as_bytes());
}
