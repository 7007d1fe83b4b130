//! Owns the check of the frequency governor of the cores.

use crate::{Change, Finding, Host, Plan, Stage, Verdict};

const CORES: &str = "/sys/devices/system/cpu";

pub(super) struct Governor;

impl Stage for Governor {
    fn name(&self) -> &'static str {
        "cpu-governor"
    }

    fn why(&self) -> &'static str {
        "a core that clocks down between bursts needs up to milliseconds to be fast again"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        let mut changes = Vec::new();
        let mut cores = 0;
        for core in host.list(CORES).iter().filter(|name| is_core(name)) {
            let path = format!("{CORES}/{core}/cpufreq/scaling_governor");
            let Some(from) = host.read(&path) else {
                continue;
            };
            cores += 1;
            if from != "performance" {
                changes.push(Change {
                    path,
                    from,
                    to: "performance".into(),
                });
            }
        }
        if cores == 0 {
            return Finding::absent(
                "the host does not let it be chosen (usual in virtual machines)",
            );
        }
        let Some(first) = changes.first() else {
            return Finding::good("performance", "performance");
        };
        let found = format!("{} on {} of {cores} cores", first.from, changes.len());
        let fix = "cpupower frequency-set -g performance";
        Finding {
            changes,
            ..Finding::wanting(Verdict::Better, found, "performance", fix)
        }
    }

    fn owns(&self, path: &str) -> bool {
        let inner = path
            .strip_prefix(CORES)
            .and_then(|rest| rest.strip_prefix('/'));
        let core = inner.and_then(|rest| rest.strip_suffix("/cpufreq/scaling_governor"));
        core.is_some_and(is_core)
    }
}

fn is_core(name: &str) -> bool {
    name.strip_prefix("cpu")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|digit| digit.is_ascii_digit()))
}
