//! Owns waiting: deadlines that are generous, polls that are short, one heavy test at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(20);

/// Asks `look` until it gives something, or fails the test with `what` and the last words of
/// `state`.
///
/// # Panics
/// When `limit` has passed.
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) if start.elapsed() > limit => {
                panic!("waited {limit:?} for {what}; last: {state}")
            }
            Err(_) => sleep(POLL),
        }
    }
}

/// The same for something that is true or not yet.
///
/// # Panics
/// When `limit` has passed.
pub fn wait_until(what: &str, limit: Duration, mut look: impl FnMut() -> bool) {
    wait_for(what, limit, || {
        look().then_some(()).ok_or_else(|| "not yet".into())
    });
}

/// Held by a test that wants the machine for itself: browsers and crowds disturb each other.
/// A test that failed while holding it does not spoil the next.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True when the tests are to be small: `FRESHET_TESTS=quick`.
#[must_use]
pub fn quick() -> bool {
    std::env::var("FRESHET_TESTS").is_ok_and(|value| value == "quick")
}

/// True when tests that resemble others are to run too, as they do where one file is named:
/// `FRESHET_TESTS=full`.
#[must_use]
pub fn full() -> bool {
    std::env::var("FRESHET_TESTS").is_ok_and(|value| value == "full")
}

/// True if every one of `programs` is there. If not, says which is missing and that the test is
/// skipped; where `FRESHET_TESTS_SKIP=never` is set, as `tests/run` does, that is a failure.
///
/// # Panics
/// When a program is missing and skipping is forbidden.
#[must_use]
pub fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing: Vec<&&str> = programs
        .iter()
        .filter(|name| !std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
        .collect();
    missing.is_empty() || skip(&format!("{missing:?} not found in PATH"))
}

/// Says that a test is skipped and why; false, for `if !skip(..) { return }` in one line.
///
/// # Panics
/// When skipping is forbidden: `FRESHET_TESTS_SKIP=never`.
#[must_use]
pub fn skip(why: &str) -> bool {
    let forbidden = std::env::var("FRESHET_TESTS_SKIP").is_ok_and(|value| value == "never");
    assert!(!forbidden, "cannot run, and may not be skipped: {why}");
    eprintln!("skipped: {why}");
    false
}

/// True for root, who may make network namespaces.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
