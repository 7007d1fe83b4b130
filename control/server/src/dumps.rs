//! Owns what a core dump of this process may hold: no memory, for keys are in it.

use std::io;

/// Which kinds of memory the kernel puts into a core dump of this process, and of those that it
/// starts (core(5)): a bit for each.
const FILTER: &str = "/proc/self/coredump_filter";

/// None. Registers and signals of all threads are still told, and so is where each of them was.
const NO_MEMORY: &str = "0x0";

/// Leaves it out, or says that it cannot be. Before there is a key.
pub fn leave_out() {
    if let Err(error) = leave_out_memory() {
        tracing::warn!(
            %error,
            "core dumps of this process would hold keys: switch them off (`ulimit -c 0`, \
             LimitCORE=0) if there are any"
        );
    }
}

/// Keeps keys, tokens and pictures out of core dumps. Whoever hunts a fault with a debugger allows
/// it again, for one process, by `echo 0x33 > /proc/PID/coredump_filter`.
///
/// # Errors
/// The kernel has no core dumps, or there is no `/proc`.
fn leave_out_memory() -> io::Result<()> {
    std::fs::write(FILTER, NO_MEMORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_memory_is_in_a_dump() {
        let filter = || std::fs::read_to_string(FILTER).unwrap();
        let before = filter();
        leave_out_memory().unwrap();
        assert_eq!(filter().trim().trim_start_matches('0'), "");
        std::fs::write(FILTER, format!("0x{}", before.trim())).unwrap();
    }
}
