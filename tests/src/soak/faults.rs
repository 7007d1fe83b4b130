//! Owns what happens to the server from outside while it serves: its processes are killed and
//! replaced, and its configuration changes.

use std::fs;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::guests::Deeds;
use crate::http;
use crate::process::{hang_up, kill_now};
use crate::random::Random;
use crate::server::{Server, binary};
use crate::wait::wait_for;

/// How long a process may be away, on a busy machine.
const BACK: Duration = Duration::from_secs(20);

/// A process that dies sooner than this is thought ill, and started again only after a pause.
const HEALTHY: Duration = Duration::from_millis(2200);

/// Something that happens to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its configuration is read again, with a value that is another.
    Reload,
    /// The sidecar is killed.
    Sidecar,
    /// The forwarder is killed.
    Forwarder,
    /// Both planes are replaced by the same program.
    Upgrade,
}

/// Each of them once, in an order that nobody knows.
#[must_use]
pub fn shuffled(random: &mut Random) -> Vec<Fault> {
    use Fault::{Forwarder, Reload, Sidecar, Upgrade};
    let mut all = vec![Reload, Sidecar, Forwarder, Upgrade];
    (0..all.len())
        .map(|_| all.swap_remove(random.below(all.len())))
        .collect()
}

impl Fault {
    /// Makes it happen, and waits until the server is well again.
    ///
    /// # Errors
    /// What has not gone as it must.
    pub fn happen(self, server: &mut Server, deeds: &Deeds) -> Result<(), String> {
        deeds.trouble();
        let start = Instant::now();
        match self {
            Self::Reload => return reload(server),
            Self::Sidecar => kill(server, "control"),
            Self::Forwarder => kill(server, "forwarder"),
            Self::Upgrade => {
                server.install(binary());
                let (is_done, said) = server.upgrade();
                if !is_done {
                    return Err(format!("an upgrade failed: {said}"));
                }
            }
        }
        server.wait_ready();
        deeds.trouble();
        deeds.faults.fetch_add(1, Relaxed);
        sleep(HEALTHY.saturating_sub(start.elapsed()));
        Ok(())
    }
}

fn kill(server: &Server, plane: &str) {
    let old = server.plane(plane);
    kill_now(old);
    wait_for(&format!("another {plane}"), BACK, || {
        match server.plane(plane) {
            new if new == old => Err(format!("{old} is there still")),
            _ => Ok(()),
        }
    });
}

/// Two values take turns; each is seen by the API when it holds.
fn reload(server: &Server) -> Result<(), String> {
    const VALUES: [&str; 2] = ["push_timeout_ms = 11000", "push_timeout_ms = 10000"];
    let file = server.folder().join("freshet.toml");
    let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let (old, new) = match text.contains(VALUES[0]) {
        true => (VALUES[0], VALUES[1]),
        false => (VALUES[1], VALUES[0]),
    };
    fs::write(&file, text.replace(old, new)).map_err(|error| error.to_string())?;
    hang_up(server.pid());
    wait_for("the configuration to be taken", BACK, || {
        let shown = http::get(server.http, "/v1/config")?.text();
        shown.contains(new).then_some(()).ok_or(shown)
    });
    Ok(())
}
