//! Owns many runs: all processors, progress, the corpus of seeds that have found something, and
//! what is left behind of a failure.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Outcome, Tally, run};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(10);

/// Seeds that fail before the rest is left alone: by then there is enough to look at.
const FAILURES_MAX: usize = 10;

/// A seed that has found something, and what.
pub struct Known {
    /// The seed.
    pub seed: u64,
    /// What it found.
    pub found: String,
}

/// What came of many runs.
#[derive(Default)]
pub struct Summary {
    /// Runs.
    pub runs: usize,
    /// What has happened in them together.
    pub tally: Tally,
    /// Seeds that failed, with their first fault.
    pub failures: Vec<(u64, String)>,
}

/// Runs all seeds on all processors. Failures are printed as they come.
#[must_use]
pub fn all(seeds: &[u64]) -> Summary {
    let (next, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    let began = Instant::now();
    let work = || {
        while !enough.load(Ordering::Relaxed)
            && let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let outcome = run(*seed, false, None);
            let mut summary = summary.lock().expect("nobody panics with it");
            summary.runs += 1;
            summary.tally += outcome.tally;
            if let Some(fault) = outcome.faults.into_iter().next() {
                println!("seed {seed}: {fault}");
                summary.failures.push((*seed, fault));
            }
            enough.fetch_or(summary.failures.len() >= FAILURES_MAX, Ordering::Relaxed);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut told = began;
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(20));
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let done = next.load(Ordering::Relaxed).min(seeds.len());
                let seconds = began.elapsed().as_secs();
                println!("{done} of {} seeds after {seconds} s", seeds.len());
            }
        }
    });
    summary.into_inner().expect("nobody panicked with it")
}

/// The seeds of the corpus: a line each, a seed and what it found.
///
/// # Panics
/// When the corpus is not there, or a line of it is none.
#[must_use]
pub fn corpus() -> Vec<Known> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/sim/seeds.txt");
    let text = fs::read_to_string(path).expect("the corpus is in the tree");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let known = lines.map(|line| {
        let (seed, found) = line
            .split_once(char::is_whitespace)
            .expect("a seed and its find");
        Known {
            seed: seed.parse().expect("a seed is a number"),
            found: found.trim().to_owned(),
        }
    });
    known.collect()
}

/// Runs a seed again and leaves its trace in a file; gives the outcome and the file's path.
///
/// # Errors
/// The file cannot be written.
pub fn trace(seed: u64) -> io::Result<(Outcome, PathBuf)> {
    let outcome = run(seed, true, None);
    let path = std::env::temp_dir().join(format!("freshet-sim-{seed}.txt"));
    let faults = outcome.faults.join("\n");
    fs::write(&path, format!("{}\n{faults}\n", outcome.trace))?;
    Ok((outcome, path))
}
