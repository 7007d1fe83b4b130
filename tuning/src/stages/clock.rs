//! Owns the check of the kernel's clock source.

use crate::{Finding, Host, Plan, Stage, Verdict};

const PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Those that are read without a system call.
const QUICK: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

pub(super) struct Clock;

impl Stage for Clock {
    fn name(&self) -> &'static str {
        "clock-source"
    }

    fn why(&self) -> &'static str {
        "each turn of a worker reads the clock: 20 ns with these, a microsecond with others"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        let wanted = QUICK.join(", ");
        match host.read(PATH) {
            None => Finding::absent("cannot be seen"),
            Some(now) if QUICK.contains(&&now[..]) => Finding::good(now, wanted),
            Some(now) => {
                let fix = "boot with tsc=reliable if the processor's counter can be trusted";
                Finding::wanting(Verdict::Better, now, wanted, fix)
            }
        }
    }

    fn owns(&self, _: &str) -> bool {
        false
    }
}
