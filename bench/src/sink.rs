//! Owns the places that swallow what is sent: devices of a network namespace of our own that free
//! every frame, or the loopback, whose sockets nobody reads.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// A place that datagrams go to and do not come from.
#[derive(Debug)]
pub struct Sink {
    /// What it is, in words.
    pub what: &'static str,
    /// The device that it goes through.
    device: &'static str,
    /// Our address on it.
    pub local: Ipv4Addr,
    /// Where the first viewer is; each of the others has the next address.
    pub first: SocketAddrV4,
    /// Kept so that loopback has somewhere to deliver to.
    _unread: Option<UdpSocket>,
}

/// Moves this thread into a network of its own and makes two devices there that free what they
/// are given: one to which runs go whole, as to a card that segments UDP, and one for which the
/// kernel cuts them up. Then those two and the loopback. The network ends with the process.
///
/// # Errors
/// Why not, in words: then there is only [`loopback`].
pub fn namespace() -> Result<Vec<Sink>, String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("no network namespace of our own ({errno}): run as root"))?;
    ip("link set lo up")?;
    // A device that is told that it takes one segment at a time is given single frames.
    let whole = device(
        "whole",
        0,
        "",
        "device that segments UDP (as many cards do)",
    )?;
    let split = device(
        "split",
        1,
        "gso_max_segs 1",
        "device that does not segment UDP: the kernel does",
    )?;
    Ok(vec![whole, split, loopback()?])
}

/// The loopback: all addresses of 127.1/16 lead to one socket that is never read. Delivery to it
/// is part of what a send costs there.
///
/// # Errors
/// Why there is no socket.
pub fn loopback() -> Result<Sink, String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(|error| error.to_string())?;
    let port = socket.local_addr().map_err(|error| error.to_string())?;
    Ok(Sink {
        what: "loopback, to a socket that is never read (delivery counted in)",
        device: "lo",
        local: Ipv4Addr::LOCALHOST,
        first: SocketAddrV4::new(Ipv4Addr::new(127, 1, 0, 1), port.port()),
        _unread: Some(socket),
    })
}

impl Sink {
    /// Bytes of frames that have reached the device: the witness that sends were not lost before.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let line = table.lines().find_map(|line| {
            line.trim_start()
                .strip_prefix(self.device)?
                .strip_prefix(':')
        });
        let first = line.and_then(|rest| rest.split_whitespace().next());
        first.and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}

/// An ifb device, which frees frames that no other device has redirected to it, after it has
/// counted them. Its driver says that it segments; it sees a run as one frame.
fn device(name: &'static str, nth: u8, settings: &str, what: &'static str) -> Result<Sink, String> {
    let local = Ipv4Addr::new(10, 97, nth, 1);
    let gateway = Ipv4Addr::new(10, 97, nth, 2);
    let net = Ipv4Addr::new(10, 96 - nth, 0, 0);
    ip(&format!("link add {name} {settings} type ifb"))?;
    ip(&format!("link set {name} arp on up"))?;
    ip(&format!("address add {local}/24 dev {name}"))?;
    ip(&format!(
        "neighbour replace {gateway} lladdr 02:00:00:00:0b:0{nth} dev {name} nud permanent"
    ))?;
    ip(&format!("route add {net}/16 via {gateway}"))?;
    Ok(Sink {
        what,
        device: name,
        local,
        first: SocketAddrV4::new(Ipv4Addr::from_bits(net.to_bits() + 1), 40_000),
        _unread: None,
    })
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| format!("ip {arguments}: {error}: install iproute2"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {}", said.trim()))
}
