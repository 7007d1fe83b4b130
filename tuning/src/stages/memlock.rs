//! Owns the check of the limit of locked memory.

use super::limit_at_least;
use crate::{Finding, Host, Plan, Stage, Verdict};

/// Rings and registered buffers of 64 workers at most.
const WANTED: u64 = 64 << 20;

pub(super) struct Memlock;

impl Stage for Memlock {
    fn name(&self) -> &'static str {
        "locked-memory"
    }

    fn why(&self) -> &'static str {
        "io_uring and AF_XDP register their buffers as locked memory; too little turns them off"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        let fix = "LimitMEMLOCK=infinity in the systemd unit, or `ulimit -l unlimited`";
        limit_at_least(host, "Max locked memory", WANTED, Verdict::Better, fix)
    }

    fn owns(&self, _: &str) -> bool {
        false
    }
}
