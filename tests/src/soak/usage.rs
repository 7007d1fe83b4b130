//! Owns what each process of a server has of this host, and what of it is too much more than it
//! was.

use std::fmt;
use std::fs;

use crate::server::Server;

/// What a process may have more at rest than it had at rest before, in memory of its own: an
/// allocator keeps pages, what is freed last is not what was taken last, and a forwarder touches
/// its tables as far as there have been viewers at once: 4 MiB more were seen. One that takes the
/// place of another touches memory ahead, for what it is told and for what it is left, 1 MiB and
/// more of each, and its allocator keeps it: 8 MiB more were seen.
const OWN_SLACK_KIB: u64 = 12 << 10;

/// The same of the memory that the planes share. All of it is reserved at the start; pages count
/// when a process first touches them, and after a minute it has been all through the logs.
const SHARED_SLACK_KIB: u64 = 4 << 10;

/// Descriptors that may be open at one look and not at the other: a connection of HTTP that is
/// about to be closed, as the one by which we ask.
const DESCRIPTORS_SLACK: u64 = 3;

/// Threads that come and go with what blocks: the runtime's, which ends them when they idle.
const THREADS_SLACK: u64 = 6;

/// The processes of a server, by the word of their command line.
pub const PLANES: [&str; 2] = ["forwarder", "control"];

/// One look at one process.
#[derive(Clone, Debug)]
pub struct Usage {
    /// `supervisor`, `forwarder` or `control`.
    pub name: &'static str,
    /// Which one of its kind: it ends with its process.
    pub pid: u32,
    /// Memory of its own (`RssAnon`).
    pub own_kib: u64,
    /// Memory that it shares with the others (`RssShmem`).
    pub shared_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Looks at all processes of a server.
    #[must_use]
    pub fn look(server: &Server) -> Vec<Self> {
        let planes = PLANES.map(|name| (name, server.plane(name)));
        let all = [("supervisor", server.pid())].into_iter().chain(planes);
        all.map(|(name, pid)| Self::of(name, pid)).collect()
    }

    fn of(name: &'static str, pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let word = line.and_then(|rest| rest.split_whitespace().next());
            word.and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let open = fs::read_dir(format!("/proc/{pid}/fd"));
        Self {
            name,
            pid,
            own_kib: field("RssAnon:"),
            shared_kib: field("RssShmem:"),
            descriptors: open.map_or(0, |entries| entries.count() as u64),
            threads: field("Threads:"),
        }
    }

    /// What it has too much more than it, or its like, had at rest before; `is_warm`: all of the
    /// shared memory that is in use had been touched then.
    #[must_use]
    pub fn too_much(&self, before: &Self, is_warm: bool) -> Vec<String> {
        let shared_before = if is_warm {
            before.shared_kib
        } else {
            u64::MAX >> 1
        };
        let pairs = [
            (
                "KiB of memory of its own",
                self.own_kib,
                before.own_kib,
                OWN_SLACK_KIB,
            ),
            (
                "KiB of shared memory",
                self.shared_kib,
                shared_before,
                SHARED_SLACK_KIB,
            ),
            (
                "open descriptors",
                self.descriptors,
                before.descriptors,
                DESCRIPTORS_SLACK,
            ),
            ("threads", self.threads, before.threads, THREADS_SLACK),
        ];
        let grown = pairs
            .into_iter()
            .filter(|(_, now, then, slack)| *now > then + slack);
        grown
            .map(|(what, now, then, slack)| {
                let (name, pid, old) = (self.name, self.pid, before.pid);
                format!(
                    "{name} ({pid}) has {now} {what}, {then} before ({old}): more than {slack} more"
                )
            })
            .collect()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let (own, shared) = (mib(self.own_kib), mib(self.shared_kib));
        let (descriptors, threads) = (self.descriptors, self.threads);
        let name = self.name;
        write!(
            f,
            "{name} {own:.1}+{shared:.1} MiB {descriptors} fd {threads} th"
        )
    }
}
