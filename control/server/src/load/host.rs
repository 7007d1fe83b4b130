//! Owns what the system says of network devices and memory, read by a thread of its own: some
//! drivers answer slowly.

use crate::clock;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use wire::time::{Span, Time};

/// Between two readings.
const INTERVAL: Duration = Duration::from_millis(500);

/// Between two looks at which devices there are, and how fast: cables are plugged by hand.
const DEVICES_INTERVAL: Span = Span::secs(10);

/// Devices that are looked at; hosts have a handful.
const DEVICES_MAX: usize = 64;

/// A network device of which the speed is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Bits a second that it sends at most.
    pub bits_per_second: u64,
    /// Bytes that it has sent, of everybody.
    pub sent_bytes: u64,
}

/// Memory that is there for processes like this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that can be had without taking them from somebody.
    pub available_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// What the system said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostReading {
    /// When.
    pub at: Time,
    /// Devices whose speed is known: real ones that are up. Virtual ones have none, or name one
    /// that means nothing.
    pub devices: Vec<Device>,
    /// The scarcer of the host's memory and that of the control group.
    pub memory: Option<Memory>,
}

impl HostReading {
    /// What the system says now.
    #[must_use]
    pub fn now() -> Self {
        Reader::new(Path::new("/")).read(clock::now())
    }
}

/// Reads the system again and again, until nobody listens.
///
/// # Errors
/// The system has no room for a thread.
pub fn watch() -> std::io::Result<watch::Receiver<HostReading>> {
    let (tell, told) = watch::channel(HostReading::default());
    std::thread::Builder::new()
        .name("host".to_owned())
        .spawn(move || {
            let mut reader = Reader::new(Path::new("/"));
            while tell.send(reader.read(clock::now())).is_ok() {
                std::thread::sleep(INTERVAL);
            }
        })?;
    Ok(told)
}

/// Reads `/sys` and `/proc`.
struct Reader {
    root: PathBuf,
    /// Name and speed.
    devices: Vec<(String, u64)>,
    devices_at: Time,
    groups: Vec<PathBuf>,
}

impl Reader {
    /// Of the system whose files are below `root`.
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            devices: Vec::new(),
            devices_at: Time::ZERO,
            groups: groups(root),
        }
    }

    fn read(&mut self, now: Time) -> HostReading {
        if now >= self.devices_at {
            self.devices_at = now + DEVICES_INTERVAL;
            self.devices = devices(&self.root);
        }
        let device = |(name, bits_per_second): &(String, u64)| {
            let file = self.class().join(name).join("statistics/tx_bytes");
            Some(Device {
                name: name.clone(),
                bits_per_second: *bits_per_second,
                sent_bytes: number(&file)?,
            })
        };
        let of_groups = self.groups.iter().filter_map(|group| of_group(group));
        let all = of_host(&self.root).into_iter().chain(of_groups);
        HostReading {
            at: now,
            devices: self.devices.iter().filter_map(device).collect(),
            memory: all.min_by_key(|memory| memory.available_bytes),
        }
    }

    fn class(&self) -> PathBuf {
        self.root.join("sys/class/net")
    }
}

/// Devices that stand for hardware, are up and know their speed, which the kernel tells in
/// megabits a second, or as -1.
fn devices(root: &Path) -> Vec<(String, u64)> {
    let class = root.join("sys/class/net");
    let entries = fs::read_dir(&class).into_iter().flatten().flatten();
    let device = |entry: fs::DirEntry| {
        let path = entry.path();
        let is_up = text(&path.join("operstate")).is_some_and(|state| state == "up");
        let is_real = path.join("device").exists();
        let megabits = number(&path.join("speed")).filter(|speed| *speed > 0)?;
        let name = entry.file_name().into_string().ok()?;
        (is_up && is_real).then_some((name, megabits.saturating_mul(1_000_000)))
    };
    let mut all: Vec<_> = entries.filter_map(device).take(DEVICES_MAX).collect();
    all.sort();
    all
}

/// The control group (version 2) of this process and those around it, if they exist.
fn groups(root: &Path) -> Vec<PathBuf> {
    let said = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    let own = said.lines().find_map(|line| line.strip_prefix("0::/"));
    let top = root.join("sys/fs/cgroup");
    let own = own.map(|own| top.join(own)).unwrap_or_default();
    let around = own.ancestors().take_while(|path| path.starts_with(&top));
    around
        .filter(|path| path.join("memory.max").exists())
        .map(Path::to_owned)
        .collect()
}

/// Memory of a group that has a limit.
fn of_group(group: &Path) -> Option<Memory> {
    let total_bytes = number(&group.join("memory.max"))?;
    let used = number(&group.join("memory.current"))?;
    let statistics = text(&group.join("memory.stat")).unwrap_or_default();
    // Files that were read and may be read again are given back first.
    let back = field(&statistics, "inactive_file").unwrap_or(0);
    Some(Memory {
        available_bytes: total_bytes.saturating_sub(used.saturating_sub(back)),
        total_bytes,
    })
}

fn of_host(root: &Path) -> Option<Memory> {
    let said = text(&root.join("proc/meminfo"))?;
    Some(Memory {
        available_bytes: field(&said, "MemAvailable:")?.saturating_mul(1024),
        total_bytes: field(&said, "MemTotal:")?.saturating_mul(1024),
    })
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let mut words = lines.find_map(|mut words| (words.next()? == name).then_some(words))?;
    words.next()?.parse().ok()
}

fn number(file: &Path) -> Option<u64> {
    text(file)?.parse().ok()
}

fn text(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system of files in a folder of its own.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let name = format!("freshet-host-{name}-{}", std::process::id());
            let files_of = Self(std::env::temp_dir().join(name));
            for (path, text) in files {
                files_of.write(path, text);
            }
            files_of
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_real_devices_with_a_speed_are_seen() {
        let mut files = Vec::new();
        for (name, speed, state, is_real) in [
            ("eth0", "10000\n", "up\n", true),
            ("eth1", "10000\n", "down\n", true),
            ("virtio", "-1\n", "up\n", true),
            ("veth", "10000\n", "up\n", false),
            ("none", "", "up\n", true),
        ] {
            let path = |file: &str| format!("sys/class/net/{name}/{file}");
            files.push((path("speed"), speed.to_owned()));
            files.push((path("operstate"), state.to_owned()));
            files.push((path("statistics/tx_bytes"), "77\n".to_owned()));
            if is_real {
                files.push((path("device/vendor"), "0x8086\n".to_owned()));
            }
        }
        let files: Vec<_> = files.iter().map(|(p, t)| (&p[..], &t[..])).collect();
        let system = Files::new("devices", &files);
        let mut reader = Reader::new(&system.0);
        let now = Time::ZERO + Span::secs(1);
        let read = reader.read(now);
        let eth0 = |sent_bytes, bits_per_second| Device {
            name: "eth0".to_owned(),
            bits_per_second,
            sent_bytes,
        };
        assert_eq!(read.devices, [eth0(77, 10_000_000_000)]);
        assert_eq!(read.memory, None);
        system.write("sys/class/net/eth0/statistics/tx_bytes", "99\n");
        system.write("sys/class/net/eth0/speed", "25000\n");
        let read = reader.read(now + Span::secs(1));
        assert_eq!(read.devices, [eth0(99, 10_000_000_000)]);
        let read = reader.read(now + DEVICES_INTERVAL);
        assert_eq!(read.devices, [eth0(99, 25_000_000_000)]);
    }

    #[test]
    fn the_scarcer_memory_is_what_there_is() {
        let host = "MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  400 kB\n";
        let group = "sys/fs/cgroup/a/b";
        let system = Files::new(
            "memory",
            &[
                ("proc/meminfo", host),
                ("proc/self/cgroup", "0::/a/b\n"),
                (&format!("{group}/memory.max"), "max\n"),
                (&format!("{group}/memory.current"), "1\n"),
                ("sys/fs/cgroup/a/memory.max", "200000\n"),
                ("sys/fs/cgroup/a/memory.current", "150000\n"),
                (
                    "sys/fs/cgroup/a/memory.stat",
                    "anon 5\ninactive_file 50000\n",
                ),
            ],
        );
        let read = Reader::new(&system.0).read(Time::ZERO);
        let memory = Memory {
            available_bytes: 100_000,
            total_bytes: 200_000,
        };
        assert_eq!(read.memory, Some(memory));
        system.write("sys/fs/cgroup/a/memory.max", "max\n");
        let read = Reader::new(&system.0).read(Time::ZERO);
        assert_eq!(read.memory.map(|m| m.available_bytes), Some(400 * 1024));
    }

    #[test]
    fn this_host_has_memory() {
        let memory = Reader::new(Path::new("/")).read(clock::now()).memory;
        let memory = memory.expect("Linux tells it");
        assert!(memory.available_bytes <= memory.total_bytes && memory.total_bytes > 1 << 20);
    }
}
