//! Owns the check whether the kernel lets this process use `io_uring`.

use crate::{Finding, Host, Plan, Stage, Verdict};

const PATH: &str = "/proc/sys/kernel/io_uring_disabled";

pub(super) struct IoUring;

impl Stage for IoUring {
    fn name(&self) -> &'static str {
        "io-uring"
    }

    fn why(&self) -> &'static str {
        "without it packets come and go by recvmmsg and sendmmsg, which costs a little more"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        let wanted = "0 (everybody may)";
        // Loosening a lock that somebody has put there is for the operator alone.
        let fix = "sysctl -w kernel.io_uring_disabled=0, if the policy of this host allows it";
        match host.number(PATH) {
            None => Finding::absent("no such setting: kernels before 6.6 always allow it"),
            Some(0) => Finding::good("0", wanted),
            Some(1) => Finding::wanting(Verdict::Better, "1 (only a group may)", wanted, fix),
            Some(n) => Finding::wanting(Verdict::Better, format!("{n} (off)"), wanted, fix),
        }
    }

    fn owns(&self, _: &str) -> bool {
        false
    }
}
