//! Owns what a reader has to know of the machine on which figures were taken.

use std::fmt::{self, Display, Formatter};
use std::fs;

/// Instructions that decide what ciphers cost.
const CIPHER_FLAGS: [&str; 8] = [
    "aes",
    "pclmulqdq",
    "avx2",
    "vaes",
    "vpclmulqdq",
    "sha_ni",
    "avx512f",
    "hypervisor",
];

/// What `/proc` says of this machine.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Model of the processor.
    pub processor: String,
    /// Of [`CIPHER_FLAGS`], what it has.
    pub flags: Vec<&'static str>,
    /// Processors that the system runs.
    pub processors: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// What the kernel does against speculation, which makes long kernel paths longer.
    pub mitigations: String,
    /// Load when it was asked: what else was running.
    pub load: String,
}

impl Host {
    /// Asks.
    #[must_use]
    pub fn look() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or("", |(_, value)| value.trim())
        };
        let has: Vec<&str> = field("flags").split(' ').collect();
        let file = "/sys/devices/system/cpu/vulnerabilities/";
        let mitigations = ["spectre_v2", "spec_rstack_overflow"].map(|name| {
            let text = read(&format!("{file}{name}"));
            let brief = text.split([';', ',']).next().unwrap_or_default();
            format!("{name}: {}", brief.trim())
        });
        Self {
            processor: field("model name").to_owned(),
            flags: CIPHER_FLAGS
                .into_iter()
                .filter(|flag| has.contains(flag))
                .collect(),
            processors: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            kernel: read("/proc/sys/kernel/osrelease"),
            mitigations: mitigations.join(", "),
            load: read("/proc/loadavg"),
        }
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "processor   {} x {}", self.processors, self.processor)?;
        writeln!(f, "has         {}", self.flags.join(" "))?;
        writeln!(f, "kernel      {}", self.kernel)?;
        writeln!(f, "mitigations {}", self.mitigations)?;
        writeln!(f, "load        {}", self.load)
    }
}

/// A file without the white space at its ends; nothing if it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
