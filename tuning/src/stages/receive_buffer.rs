//! Owns the check of the greatest receive buffer of a socket.

use super::sysctl_at_least;
use crate::{Finding, Host, Plan, Stage};

/// What each worker asks for: the checks and reports of a thousand viewers who all speak while the
/// core is away for a few milliseconds.
const WANTED: u64 = 4 << 20;

const PATH: &str = "/proc/sys/net/core/rmem_max";

pub(super) struct ReceiveBuffer;

impl Stage for ReceiveBuffer {
    fn name(&self) -> &'static str {
        "receive-buffer"
    }

    fn why(&self) -> &'static str {
        "a worker that is busy for a moment loses feedback and SRT packets that do not fit"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        sysctl_at_least(host, PATH, WANTED)
    }

    fn owns(&self, path: &str) -> bool {
        path == PATH
    }
}
