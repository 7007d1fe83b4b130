//! Owns the list of stages, and what those over a single number have in common.

mod clock;
mod conntrack;
mod governor;
mod hugepages;
mod io_uring;
mod memlock;
mod neighbours;
mod nofile;
mod receive_buffer;
mod segmentation;
mod send_buffer;

use crate::host::Host;
use crate::stage::{Change, Finding, Stage, Verdict};

/// Every stage.
pub(crate) const ALL: &[&dyn Stage] = &[
    &receive_buffer::ReceiveBuffer,
    &send_buffer::SendBuffer,
    &nofile::Nofile,
    &memlock::Memlock,
    &io_uring::IoUring,
    &hugepages::Hugepages,
    &governor::Governor,
    &clock::Clock,
    &neighbours::Neighbours,
    &conntrack::Conntrack,
    &segmentation::Segmentation,
];

/// A number in /proc/sys that should be at least `wanted`.
fn sysctl_at_least(host: &Host, path: &str, wanted: u64) -> Finding {
    let goal = format!("at least {wanted}");
    let Some(now) = host.number(path) else {
        return Finding::absent("not on this host");
    };
    if now >= wanted {
        return Finding::good(now.to_string(), goal);
    }
    let key = path.trim_start_matches("/proc/sys/").replace('/', ".");
    let fix = format!("sysctl -w {key}={wanted}");
    let change = Change {
        path: path.into(),
        from: now.to_string(),
        to: wanted.to_string(),
    };
    Finding {
        changes: vec![change],
        ..Finding::wanting(Verdict::Better, now.to_string(), goal, fix)
    }
}

/// The soft limit of this process in /proc/self/limits; none: no limit.
fn limit(host: &Host, name: &str) -> Option<Option<u64>> {
    let limits = host.read("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with(name))?;
    let soft = line.get(name.len()..)?.split_whitespace().next()?;
    if soft == "unlimited" {
        Some(None)
    } else {
        soft.parse().ok().map(Some)
    }
}

/// A limit of this process that should be at least `wanted`.
fn limit_at_least(host: &Host, name: &str, wanted: u64, below: Verdict, fix: &str) -> Finding {
    let goal = format!("at least {wanted}");
    match limit(host, name) {
        None => Finding::absent("cannot be seen"),
        Some(None) => Finding::good("unlimited", goal),
        Some(Some(now)) if now >= wanted => Finding::good(now.to_string(), goal),
        Some(Some(now)) => Finding::wanting(below, now.to_string(), goal, fix),
    }
}
