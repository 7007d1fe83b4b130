//! Owns the check of the greatest send buffer of a socket.

use super::sysctl_at_least;
use crate::{Finding, Host, Plan, Stage};

/// What each worker asks for: 64 runs of 64 kB, so that a device that is slow for a millisecond
/// holds no one up.
const WANTED: u64 = 4 << 20;

const PATH: &str = "/proc/sys/net/core/wmem_max";

pub(super) struct SendBuffer;

impl Stage for SendBuffer {
    fn name(&self) -> &'static str {
        "send-buffer"
    }

    fn why(&self) -> &'static str {
        "a keyframe to many viewers waits in the socket's buffer; what does not fit is sent late"
    }

    fn check(&self, host: &Host, _: &Plan) -> Finding {
        sysctl_at_least(host, PATH, WANTED)
    }

    fn owns(&self, path: &str) -> bool {
        path == PATH
    }
}
