//! Owns the check of the limit of open files.

use super::limit_at_least;
use crate::{Finding, Host, Plan, Stage, Verdict};

/// 4,096 HTTP connections (the default limit) and room for sockets, logs and links. Viewers need
/// none: all share the sockets of their core.
const WANTED: u64 = 8192;

pub(super) struct Nofile;

impl Stage for Nofile {
    fn name(&self) -> &'static str {
        "open-files"
    }

    fn why(&self) -> &'static str {
        "each HTTP connection takes one; without any left newcomers cannot connect"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        let fix = "LimitNOFILE=65536 in the systemd unit, or `ulimit -n 65536` before the start";
        limit_at_least(host, "Max open files", WANTED, Verdict::Better, fix)
    }

    fn owns(&self, _: &str) -> bool {
        false
    }
}
