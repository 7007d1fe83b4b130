//! Owns the check of the size of the neighbour table.

use crate::{Finding, Host, Plan, Stage};

const PATH: &str = "/proc/sys/net/ipv4/neigh/default/gc_thresh3";

pub(super) struct Neighbours;

impl Stage for Neighbours {
    fn name(&self) -> &'static str {
        "neighbour-table"
    }

    fn why(&self) -> &'static str {
        "viewers on the same network take an entry each; an overfull table doubles a send's cost"
    }

    fn check(&self, host: &Host, plan: &Plan) -> Finding {
        // Twice the viewers, since entries live on for a while after their owners.
        let wanted = plan.viewers_max.saturating_mul(2).clamp(1024, 1 << 20);
        super::sysctl_at_least(host, PATH, wanted)
    }

    fn owns(&self, path: &str) -> bool {
        path == PATH
    }
}
