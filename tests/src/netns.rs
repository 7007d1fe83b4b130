//! Owns a network namespace with one cable to it, made and removed by the test.

use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sched::{CloneFlags, setns};

use crate::process::run;
use crate::wait::{is_root, skip};

/// A namespace and a pair of virtual devices: one end here, the other there.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    device: String,
    net: u8,
}

impl Namespace {
    /// Makes one; `None` where that is not allowed, having said so.
    ///
    /// # Panics
    /// When the tools fail.
    #[must_use]
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        if !is_root() {
            let _ = skip("network namespaces want root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let net = u8::try_from((process.wrapping_mul(7) + u32::from(number)) % 250).ok()?;
        let name = format!("freshet-{process}-{number}");
        let device = format!("fr{}v{number}", process % 1_000_000);
        let peer = format!("{device}p");
        let this = Self { name, device, net };
        let ns = &this.name[..];
        run("ip", &["netns", "add", ns]);
        run(
            "ip",
            &[
                "link",
                "add",
                &this.device,
                "type",
                "veth",
                "peer",
                "name",
                &peer,
            ],
        );
        run("ip", &["link", "set", &peer, "netns", ns]);
        let here = format!("{}/24", this.here());
        let there = format!("{}/24", this.there());
        run("ip", &["address", "add", &here, "dev", &this.device]);
        run("ip", &["link", "set", &this.device, "up"]);
        run("ip", &["-n", ns, "address", "add", &there, "dev", &peer]);
        run("ip", &["-n", ns, "link", "set", &peer, "up"]);
        run("ip", &["-n", ns, "link", "set", "lo", "up"]);
        Some(this)
    }

    /// Its name, for `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Our end's address.
    #[must_use]
    pub fn here(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.net, 1)
    }

    /// The other end's address.
    #[must_use]
    pub fn there(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.net, 2)
    }

    /// Runs `work` on a thread inside the namespace; sockets made there stay there.
    ///
    /// # Panics
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let namespace = File::open(path).expect("a namespace of ours");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                work()
            });
            thread.join().expect("the work inside the namespace")
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for arguments in [
            ["link", "delete", &self.device],
            ["netns", "delete", &self.name],
        ] {
            let ended = std::process::Command::new("ip").args(arguments).status();
            if !ended.is_ok_and(|status| status.success()) {
                eprintln!("not removed: ip {arguments:?}");
            }
        }
    }
}
