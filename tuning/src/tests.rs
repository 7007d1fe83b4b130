//! Stages on a host made of files.

use super::*;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A host of files in a directory of its own.
struct Fake {
    root: PathBuf,
}

impl Fake {
    fn new(files: &[(&str, &str)]) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("tune-{}-{number}", std::process::id()));
        let fake = Self { root };
        fs::create_dir_all(&fake.root).unwrap();
        for (path, text) in files {
            let path = fake.root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        fake
    }

    fn host(&self) -> Host {
        Host::under(&self.root)
    }

    fn undo_file(&self) -> UndoFile {
        UndoFile::at(&self.root.join("undo"))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

const RMEM: &str = "/proc/sys/net/core/rmem_max";
const SHMEM: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
const GOVERNOR_0: &str = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
const GOVERNOR_1: &str = "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor";

fn stock() -> Fake {
    Fake::new(&[
        (RMEM, "212992"),
        ("/proc/sys/net/core/wmem_max", "99999999"),
        ("/proc/sys/kernel/io_uring_disabled", "2"),
        (SHMEM, "always within_size advise [never] deny force"),
        (GOVERNOR_0, "powersave"),
        (GOVERNOR_1, "performance"),
        ("/sys/devices/system/cpu/cpufreq/x", ""),
        (
            "/sys/devices/system/clocksource/clocksource0/current_clocksource",
            "hpet",
        ),
        ("/proc/sys/net/ipv4/neigh/default/gc_thresh3", "1024"),
        ("/proc/sys/net/netfilter/nf_conntrack_count", "90"),
        ("/proc/sys/net/netfilter/nf_conntrack_max", "100"),
        (
            "/proc/self/limits",
            "Limit Soft Hard Units\nMax open files            1024     4096     files\n\
             Max locked memory         unlimited unlimited bytes",
        ),
    ])
}

fn finding(rows: &[Row], check: &str) -> Finding {
    rows.iter()
        .find(|row| row.check == check)
        .unwrap()
        .finding
        .clone()
}

#[test]
fn a_stock_host_is_seen_as_it_is() {
    let fake = stock();
    let rows = check(&fake.host(), &Plan::default());
    let verdict = |name| finding(&rows, name).verdict;
    assert_eq!(rows.len(), stages().len());
    for (name, expected) in [
        ("receive-buffer", Verdict::Better),
        ("send-buffer", Verdict::Good),
        ("open-files", Verdict::Better),
        ("locked-memory", Verdict::Good),
        ("io-uring", Verdict::Better),
        ("huge-pages", Verdict::Better),
        ("cpu-governor", Verdict::Better),
        ("clock-source", Verdict::Better),
        ("neighbour-table", Verdict::Better),
        ("conntrack", Verdict::Bad),
        ("udp-segmentation", Verdict::Absent),
    ] {
        assert_eq!(verdict(name), expected, "{name}");
    }
    assert_eq!(worst(&rows), Verdict::Bad);
    assert_eq!(finding(&rows, "open-files").found, "1024");
    assert_eq!(
        finding(&rows, "cpu-governor").found,
        "powersave on 1 of 2 cores"
    );
    let fix = finding(&rows, "conntrack").fix.unwrap();
    assert!(fix.contains("udp dport { 8000, 9000 } notrack"), "{fix}");
}

#[test]
fn an_empty_host_is_no_error() {
    let fake = Fake::new(&[]);
    let rows = check(&fake.host(), &Plan::default());
    assert!(worst(&rows) <= Verdict::Absent, "{}", table(&rows));
}

#[test]
fn what_is_applied_can_be_undone_exactly() {
    let fake = stock();
    let (host, file, plan) = (fake.host(), fake.undo_file(), Plan::default());
    let applied = apply(&host, &plan, &file).unwrap();
    let changed: Vec<&str> = applied.iter().map(|o| &o.stage[..]).collect();
    assert_eq!(
        changed,
        [
            "receive-buffer",
            "huge-pages",
            "cpu-governor",
            "neighbour-table"
        ]
    );
    assert_eq!(host.number(RMEM), Some(4 << 20));
    assert_eq!(host.read(SHMEM).as_deref(), Some("advise"));
    assert_eq!(host.read(GOVERNOR_0).as_deref(), Some("performance"));
    let locked = host.number("/proc/sys/kernel/io_uring_disabled");
    assert_eq!(locked, Some(2), "a lock is not opened by itself");

    let again = apply(&host, &plan, &file).unwrap();
    assert!(again.is_empty(), "{again:?}");

    let undone = undo(&host, &file).unwrap();
    assert_eq!(undone.len(), applied.len());
    assert_eq!(host.number(RMEM), Some(212_992));
    assert_eq!(host.read(SHMEM).as_deref(), Some("never"));
    assert_eq!(host.read(GOVERNOR_0).as_deref(), Some("powersave"));
    assert_eq!(host.read(GOVERNOR_1).as_deref(), Some("performance"));
    assert!(!file.exists());
    assert!(undo(&host, &file).unwrap().is_empty());
}

#[test]
fn the_first_value_is_the_one_to_go_back_to() {
    let fake = stock();
    let (host, file, plan) = (fake.host(), fake.undo_file(), Plan::default());
    apply(&host, &plan, &file).unwrap();
    // Somebody lowers it again, and we raise it again.
    host.write(RMEM, "300000").unwrap();
    apply(&host, &plan, &file).unwrap();
    undo(&host, &file).unwrap();
    assert_eq!(host.number(RMEM), Some(212_992));
}

#[test]
fn an_undo_file_cannot_write_elsewhere() {
    let fake = stock();
    let host = fake.host();
    let lines = "receive-buffer\t/proc/self/limits\towned\tx\n\
                 cpu-governor\t/sys/devices/system/cpu/cpu0/../../x/cpufreq/\
                 scaling_governor\ta\tb\n\
                 nonsense\n";
    fs::write(fake.root.join("undo"), lines).unwrap();
    assert!(undo(&host, &fake.undo_file()).unwrap().is_empty());
    assert!(
        host.read("/proc/self/limits")
            .unwrap()
            .contains("Max open files")
    );
}

#[test]
fn an_error_names_file_and_remedy() {
    let cause = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let text = TuneError::new(RMEM, cause).to_string();
    assert!(text.contains(RMEM) && text.contains("as root"), "{text}");
}

#[test]
fn the_table_says_why_and_how() {
    let fake = stock();
    let text = table(&check(&fake.host(), &Plan::default()));
    assert!(
        text.contains("fix: sysctl -w net.core.rmem_max=4194304"),
        "{text}"
    );
    assert!(text.contains("why: "), "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("BAD") && line.contains("conntrack"))
    );
    assert!(text.lines().all(|line| line == line.trim_end()));
}

#[test]
fn this_host_can_be_looked_at() {
    let rows = check(&Host::default(), &Plan::default());
    assert!(finding(&rows, "open-files").verdict != Verdict::Absent);
    println!("{}", table(&rows));
}
