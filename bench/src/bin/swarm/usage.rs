//! Owns what the server's processes and threads have of this host.

use std::fs;

use serde_json::{Value, json};

use crate::owners;

/// Clock ticks of `/proc/PID/stat`: `USER_HZ`, 100 on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;

/// One look at all of them.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    processes: Vec<Process>,
}

#[derive(Clone, Debug)]
struct Process {
    id: u32,
    /// The verb of its command line: `serve`, `forwarder`, `control`.
    name: String,
    /// Its share of memory, shared pages in equal parts.
    pss_bytes: u64,
    threads: Vec<Thread>,
}

#[derive(Clone, Debug)]
struct Thread {
    id: u32,
    name: String,
    cpu_s: f64,
    /// Where it may run, as `/proc` says it.
    cpus: String,
}

impl Usage {
    /// Looks at the server that listens at this port; nothing if it is not on this host, or another
    /// user's.
    pub fn look(port: u16) -> Self {
        let processes = owners::of(port).into_iter().map(Process::look);
        Self {
            processes: processes.collect(),
        }
    }

    /// True if there was nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// What threads have done since `before`, and what memory is now.
    pub fn since(&self, before: &Self, seconds: f64) -> Value {
        let of = |process: &Process| {
            let old = before.processes.iter().find(|old| old.id == process.id);
            let mut threads: Vec<(f64, Value)> = process
                .threads
                .iter()
                .map(|thread| thread.since(old, seconds))
                .collect();
            threads.sort_by(|a, b| b.0.total_cmp(&a.0));
            let percent: f64 = threads.iter().map(|(percent, _)| percent).sum();
            json!({
                "process": process.name,
                "pid": process.id,
                "pss_bytes": process.pss_bytes,
                "cpu_percent": percent,
                "threads": threads.into_iter().map(|(_, thread)| thread).collect::<Vec<_>>(),
            })
        };
        self.processes.iter().map(of).collect()
    }

    /// Memory of all of them.
    pub fn pss_bytes(&self) -> u64 {
        self.processes.iter().map(|one| one.pss_bytes).sum()
    }
}

impl Process {
    fn look(id: u32) -> Self {
        let line = read(&format!("/proc/{id}/cmdline")).replace('\0', " ");
        let name = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let share = kib(&read(&format!("/proc/{id}/smaps_rollup")), "Pss:");
        let tasks = fs::read_dir(format!("/proc/{id}/task"));
        let tasks = tasks.into_iter().flatten().flatten();
        Self {
            id,
            name,
            pss_bytes: share * 1024,
            threads: tasks
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .map(|thread| Thread::look(id, thread))
                .collect(),
        }
    }
}

impl Thread {
    fn look(process: u32, id: u32) -> Self {
        let folder = format!("/proc/{process}/task/{id}");
        let stat = read(&format!("{folder}/stat"));
        // The name is in brackets; behind it, fields 14 and 15 are user and system time.
        let (head, rest) = stat.rsplit_once(')').unwrap_or_default();
        let name = head.split_once('(').map_or("", |(_, name)| name);
        let times = rest.split_whitespace().skip(11).take(2);
        let ticks: f64 = times.filter_map(|word| word.parse::<f64>().ok()).sum();
        let status = read(&format!("{folder}/status"));
        let mut lines = status.lines();
        let cpus = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Self {
            id,
            name: name.to_owned(),
            cpu_s: ticks / TICKS_PER_S,
            cpus: cpus.unwrap_or_default().trim().to_owned(),
        }
    }

    fn since(&self, process: Option<&Process>, seconds: f64) -> (f64, Value) {
        let mut old = process.iter().flat_map(|old| &old.threads);
        let old = old
            .find(|old| old.id == self.id)
            .map_or(0.0, |old| old.cpu_s);
        let percent = 100.0 * (self.cpu_s - old) / seconds.max(1e-3);
        let thread = json!({
            "thread": self.name,
            "tid": self.id,
            "cpus_allowed": self.cpus,
            "cpu_percent": percent,
        });
        (percent, thread)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number behind `field` in a file of `/proc`, in KiB as it stands there.
fn kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
