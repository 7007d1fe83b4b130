//! Owns the report as people read it.

use super::report::{Capacity, Report};
use std::fmt::{self, Display, Formatter};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        writeln!(f, "processor    {} x {}", host.processors, host.processor)?;
        writeln!(f, "has          {}", host.features.join(" "))?;
        writeln!(f, "kernel       {} ({})", host.kernel, host.mitigations)?;
        writeln!(f, "load before  {}", host.load)?;
        self.steps(f)?;
        self.forwarding(f)?;
        self.viewers(f)?;
        self.words(f)
    }
}

impl Report {
    fn steps(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nSealing a packet of {} bytes (ns)", self.packet_bytes)?;
        for cost in &self.ciphers {
            let (profile, cipher) = (&cost.profile, &cost.cipher);
            writeln!(f, "  {profile:<20}{cipher:<8}{:>8.0}", cost.ns_per_packet)?;
        }
        writeln!(
            f,
            "\nHanding a datagram to the kernel, taking one from it (ns)"
        )?;
        for cost in &self.send {
            let (path, backend) = (&cost.path, &cost.backend);
            let what = format!("to {path}, {} at once", cost.burst);
            writeln!(f, "  {what:<20}{backend:<8}{:>8.0}", cost.ns_per_datagram)?;
        }
        for cost in &self.receive {
            let backend = &cost.backend;
            writeln!(
                f,
                "  {:<20}{backend:<8}{:>8.0}",
                "from lo", cost.ns_per_datagram
            )?;
        }
        if let Some(latency) = &self.latency {
            writeln!(
                f,
                "\nInside at half load (us): half of the packets {}, 99 % {}, 99.9 % {}",
                latency.p50_us, latency.p99_us, latency.p999_us
            )?;
        }
        Ok(())
    }

    fn forwarding(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nA packet to a viewer: log, plane, cipher, kernel (ns)")?;
        let mut bursts: Vec<u32> = self.forward.iter().map(|cost| cost.burst).collect();
        bursts.sort_unstable();
        bursts.dedup();
        write!(f, "  {:<28}", "packets at once")?;
        for burst in &bursts {
            write!(f, "{burst:>8}")?;
        }
        let mut row = ("", "");
        for cost in &self.forward {
            if row != (&cost.path[..], &cost.way[..]) {
                row = (&cost.path, &cost.way);
                write!(f, "\n  {:<28}", format!("to {}, {}", cost.path, cost.way))?;
            }
            write!(f, "{:>8.0}", cost.ns_per_packet)?;
        }
        writeln!(f)
    }

    fn viewers(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let server = &self.server;
        writeln!(
            f,
            "\nViewers at {} frames/s, by {} and {}, up to a load of {} (limits.max_load)",
            server.frames_per_second, server.way, server.cipher, server.max_load
        )?;
        writeln!(
            f,
            "  {:>8}  {:<8}{:>10}{:>12}{:>10}{:>10}  binds first",
            "Mbit/s",
            "to",
            "per core",
            format!("{} cores", server.cores),
            "device",
            "memory"
        )?;
        for one in &self.capacity {
            writeln!(f, "{}", line(one))?;
        }
        Ok(())
    }

    fn words(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for (name, what) in &self.paths {
            writeln!(f, "{name}: {what}")?;
        }
        for device in &self.devices {
            let bits = device.bits_per_second as f64 / 1e9;
            writeln!(f, "device {}: {bits} Gbit/s", device.name)?;
        }
        if self.devices.is_empty() {
            writeln!(
                f,
                "device: none says how fast it is, so that it is not reckoned with"
            )?;
        }
        for skipped in &self.skipped {
            writeln!(f, "note: {}: {}", skipped.what, skipped.why)?;
        }
        write!(f, "{WORDS}")
    }
}

fn line(one: &Capacity) -> String {
    let number = |n: Option<u64>| n.map_or("?".to_owned(), |n| n.to_string());
    format!(
        "  {:>8}  {:<8}{:>10}{:>12}{:>10}{:>10}  {}",
        one.bits_per_second as f64 / 1e6,
        one.path,
        one.viewers_per_core,
        one.viewers_cpu,
        number(one.viewers_device),
        number(one.viewers_memory),
        one.bound_by,
    )
}

const WORDS: &str = "
What this does not say: what the driver of a real card costs (nothing is behind these devices);
whether cores that share a processor or its memory are worth as much as one alone; what else the
host has to do, handshakes of newcomers among it. On a virtual machine, what the host below gives
moves by a third from minute to minute. The server measures itself while it runs, and lets nobody
in beyond limits.max_load.
";
