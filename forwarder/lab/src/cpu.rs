//! Owns processor time and the pinning to one processor.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds that this process has had of processors, user and system, all threads (those that
/// the kernel runs for it too).
///
/// # Panics
/// Never on Linux, which has the clock.
#[must_use]
pub fn process_ns() -> u64 {
    let read = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock");
    let seconds = u64::try_from(read.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(read.tv_nsec()).unwrap_or(0)
}

/// The same of this thread alone.
///
/// # Panics
/// Never on Linux, which has the clock.
#[must_use]
pub fn thread_ns() -> u64 {
    let read = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    let seconds = u64::try_from(read.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(read.tv_nsec()).unwrap_or(0)
}

/// Processor time of `work`, in nanoseconds.
pub fn spent_ns(work: impl FnOnce()) -> u64 {
    let before = process_ns();
    work();
    process_ns() - before
}

/// The processors that this thread may use, by their numbers.
#[must_use]
pub fn all() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.into_iter().map(|cpu| cpu.id).collect()
}

/// Keeps this thread on the processor `wanted`, or on the last one of those that it may use.
/// Says which; `None`: it could not be done.
#[must_use]
pub fn pin(wanted: Option<usize>) -> Option<usize> {
    let cpus = core_affinity::get_core_ids()?;
    let cpu = match wanted {
        Some(id) => cpus.into_iter().find(|cpu| cpu.id == id)?,
        None => cpus.into_iter().last()?,
    };
    core_affinity::set_for_current(cpu).then_some(cpu.id)
}
