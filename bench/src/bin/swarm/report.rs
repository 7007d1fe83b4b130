//! Owns what is told at the end: JSON, and the same for people.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::options::Options;
use crate::tally::{PHASES, Phase, Tally};
use crate::usage::Usage;

/// All that was measured.
pub struct Report {
    pub options: Options,
    pub watchers: Tally,
    pub viewers: Tally,
    /// How long the phases were, seconds.
    pub seconds: [f64; 3],
    /// At the beginning, and at the end of each phase.
    pub usages: [Usage; 4],
}

impl Report {
    /// From the first newcomer's wish to the last one's first packet, seconds.
    pub fn joined_s(&self) -> f64 {
        self.seconds[Phase::Joining as usize]
    }

    /// What was not as it was expected.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let options = &self.options;
        let failed = self.watchers.failures() + self.viewers.failures();
        let wanted = self.watchers.wanted + self.viewers.wanted;
        let percent = 100.0 * failed as f64 / wanted.max(1) as f64;
        if failed > 0 && percent > options.allow_failed {
            faults.push(format!("{failed} of {wanted} have not joined"));
        }
        for (name, tally) in [("watchers", &self.watchers), ("viewers", &self.viewers)] {
            for media in &tally.media {
                for (reason, count) in &media.refused {
                    faults.push(format!("{name}: {count} packets refused: {reason}"));
                }
            }
        }
        let measured = match options.watchers {
            0 => &self.viewers,
            _ => &self.watchers,
        };
        if let Some(most) = options.expect_loss {
            for (phase, media) in PHASES.iter().zip(&measured.media) {
                let lost = media.lost_percent();
                if lost > most {
                    faults.push(format!("{lost:.4} % lost {}", phase.name()));
                }
            }
        }
        let joining = &measured.media[Phase::Joining as usize].latency;
        if let Some(most) = options.expect_p99_ms {
            let p99 = joining.permille(990) as f64 / 1e3;
            if p99 > most || joining.count() == 0 {
                faults.push(format!("p99 of latency while others join is {p99} ms"));
            }
        }
        if let Some(most) = options
            .expect_joined_s
            .filter(|most| self.joined_s() > *most)
        {
            faults.push(format!("joining took {:.1} s, not {most}", self.joined_s()));
        }
        faults
    }

    pub fn to_json(&self) -> Value {
        let phase = |at: usize| {
            let (before, after) = (&self.usages[at], &self.usages[at + 1]);
            json!({
                "seconds": self.seconds[at],
                "server": after.since(before, self.seconds[at]),
            })
        };
        let options = &self.options;
        json!({
            "stream": options.streams(),
            "watched": options.watched(),
            "threads": options.threads,
            "check": format!("{:?}", options.check).to_lowercase(),
            "watchers": self.watchers.to_json(),
            "viewers": self.viewers.to_json(),
            "joins_per_s": self.joins_per_s(),
            "bytes_per_viewer": self.bytes_per_viewer(),
            "phases": { "before": phase(0), "joining": phase(1), "after": phase(2) },
            "faults": self.faults(),
        })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let viewers = &self.viewers;
        let _ = writeln!(
            out,
            "joined      {} of {} in {:.2} s: {:.0} a second",
            viewers.joined,
            viewers.wanted,
            self.joined_s(),
            self.joins_per_s(),
        );
        let ms = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
        for (what, times) in [
            ("wish to first packet", &viewers.join),
            ("POST to answer", &viewers.answer),
            ("POST to keys", &viewers.keys),
            ("POST to first packet", &viewers.first),
        ] {
            let (p50, p99, max) = (
                times.permille(500),
                times.permille(990),
                times.permille(1000),
            );
            let _ = writeln!(
                out,
                "            {what}: p50 {}, p99 {}, max {}",
                ms(p50),
                ms(p99),
                ms(max)
            );
        }
        for (word, counts) in [
            ("told to wait", &viewers.deferred),
            ("FAILED", &viewers.failed),
        ] {
            for (reason, count) in counts {
                let _ = writeln!(out, "            {word}: {count} times: {reason}");
            }
        }
        for (name, tally) in [("watchers", &self.watchers), ("viewers", viewers)] {
            for (at, phase) in PHASES.iter().enumerate() {
                let media = &tally.media[at];
                if media.packets > 0 {
                    let latency = &media.latency;
                    let _ = writeln!(
                        out,
                        "{name:<11} {:<8} {} packets, {} lost ({:.4} %), silence {} ms; \
                         latency p50 {}, p99 {}, p99.9 {}",
                        phase.name(),
                        media.packets,
                        media.lost,
                        media.lost_percent(),
                        media.silence_ms,
                        ms(latency.permille(500)),
                        ms(latency.permille(990)),
                        ms(latency.permille(999)),
                    );
                }
            }
        }
        self.tell_server(&mut out);
        for fault in self.faults() {
            let _ = writeln!(out, "WRONG       {fault}");
        }
        out
    }

    fn tell_server(&self, out: &mut String) {
        if self.usages[0].is_empty() {
            let _ = writeln!(out, "server      not on this host, or another user's");
            return;
        }
        for (at, phase) in PHASES.iter().enumerate() {
            let told = self.usages[at + 1].since(&self.usages[at], self.seconds[at]);
            for process in told.as_array().into_iter().flatten() {
                let _ = write!(
                    out,
                    "{:<11} {:<8} {:.1} MiB, {:.0} % of a processor:",
                    process["process"].as_str().unwrap_or_default(),
                    phase.name(),
                    process["pss_bytes"].as_f64().unwrap_or(0.0) / 1_048_576.0,
                    process["cpu_percent"].as_f64().unwrap_or(0.0),
                );
                let threads = process["threads"].as_array().into_iter().flatten();
                for thread in threads.take(4) {
                    let _ = write!(
                        out,
                        " {} {:.0} % on {};",
                        thread["thread"].as_str().unwrap_or_default(),
                        thread["cpu_percent"].as_f64().unwrap_or(0.0),
                        thread["cpus_allowed"].as_str().unwrap_or_default(),
                    );
                }
                out.push('\n');
            }
        }
        let _ = writeln!(
            out,
            "memory      {:.1} KiB more per viewer",
            self.bytes_per_viewer() / 1024.0
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn joins_per_s(&self) -> f64 {
        (self.viewers.joined - self.viewers.left.min(self.viewers.joined)) as f64
            / self.joined_s().max(1e-3)
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn bytes_per_viewer(&self) -> f64 {
        let [_, before, _, after] = self.usages.each_ref().map(Usage::pss_bytes);
        let there = self.viewers.joined.saturating_sub(self.viewers.left);
        (after as f64 - before as f64) / there.max(1) as f64
    }
}
