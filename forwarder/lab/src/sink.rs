//! Owns the places that swallow what is sent: devices of a network namespace of our own that free
//! every frame, a cable at whose other end a program drops all, or the loopback, whose sockets
//! nobody reads.

mod drop;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// What becomes of runs on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They stay whole, as for a card that segments.
    Segments,
    /// The kernel cuts them up for a device that does nothing.
    Single,
    /// The kernel cuts them up, and another device receives them.
    Cable,
    /// They stay whole, and a socket has no room for them.
    Loopback,
}

/// A place that datagrams go to and do not come from.
#[derive(Debug)]
pub struct Sink {
    /// What it is, in words.
    pub what: &'static str,
    /// What becomes of runs.
    pub kind: Kind,
    /// The device that it goes through.
    device: &'static str,
    /// Our address on it.
    pub local: Ipv4Addr,
    /// Where the first viewer is; each of the others has the next address.
    pub first: SocketAddrV4,
    /// A device of the same kind, for another socket that wants a queue of its own.
    pub twin: Option<&'static str>,
    /// Programs at the other ends of cables.
    _drops: Vec<OwnedFd>,
    /// Kept so that loopback has somewhere to deliver to.
    _unread: Option<UdpSocket>,
}

/// Moves this thread into a network of its own and makes two devices there that free what they
/// are given: one to which runs go whole, as to a card that segments UDP, and one for which the
/// kernel cuts them up. Then those two and the loopback. The network ends with the process.
///
/// # Errors
/// Why not, in words: then there is only [`loopback`], in the network where the thread was before.
pub fn namespace() -> Result<Vec<Sink>, String> {
    let before = fs::File::open("/proc/thread-self/ns/net")
        .map_err(|error| format!("no network namespaces here ({error})"))?;
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("no network namespace of our own ({errno}): run as root"))?;
    devices().map_err(|why| match setns(before, CloneFlags::CLONE_NEWNET) {
        Ok(()) => why,
        Err(errno) => format!("{why}; and there is no way back ({errno})"),
    })
}

/// What [`namespace`] makes, in the network of this thread.
fn devices() -> Result<Vec<Sink>, String> {
    ip("link set lo up")?;
    // A device that is told that it takes one segment at a time is given single frames.
    let whole = device(
        ["whole", "whole2"],
        0,
        (Kind::Segments, ""),
        "device that segments UDP (as many cards do)",
    )?;
    let split = device(
        ["split", "split2"],
        1,
        (Kind::Single, "gso_max_segs 1"),
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
        kind: Kind::Loopback,
        what: "loopback, to a socket that is never read (delivery counted in)",
        device: "lo",
        local: Ipv4Addr::LOCALHOST,
        first: SocketAddrV4::new(Ipv4Addr::new(127, 1, 0, 1), port.port()),
        twin: None,
        _drops: Vec::new(),
        _unread: Some(socket),
    })
}

impl Sink {
    /// Its name: `whole` segments UDP, of `split` the kernel does it, `lo` is the loopback.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.device
    }

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

/// A cable in the network that [`namespace`] has made, whose other end drops what comes, in the
/// driver. Its driver makes such devices segment nothing, and the other end's work is charged to
/// the sender.
///
/// # Errors
/// Why there is none.
pub fn cable() -> Result<Sink, String> {
    let names = [["near", "far"], ["near2", "far2"]];
    let mut drops = Vec::new();
    for [near, far] in names {
        ip(&format!("link add {near} type veth peer name {far}"))?;
        let drop = drop::everything(far);
        drops.push(drop.map_err(|error| format!("a program that drops: {error}"))?);
        ip(&format!("link set {far} up"))?;
        ip(&format!("link set {near} up"))?;
    }
    route(names[0][0], 2)?;
    Ok(Sink {
        kind: Kind::Cable,
        what: "cable (veth) whose other end drops in XDP (its work counted in)",
        device: names[0][1],
        local: local(2),
        first: first(2),
        twin: Some(names[1][0]),
        _drops: drops,
        _unread: None,
    })
}

/// An ifb device, which frees frames that no other device has redirected to it, after it has
/// counted them. Its driver says that it segments; it sees a run as one frame.
fn device(
    names: [&'static str; 2],
    nth: u8,
    (kind, settings): (Kind, &str),
    what: &'static str,
) -> Result<Sink, String> {
    for name in names {
        ip(&format!("link add {name} {settings} type ifb"))?;
        ip(&format!("link set {name} arp on up"))?;
    }
    route(names[0], nth)?;
    Ok(Sink {
        what,
        kind,
        device: names[0],
        local: local(nth),
        first: first(nth),
        twin: Some(names[1]),
        _drops: Vec::new(),
        _unread: None,
    })
}

/// Our address on the device.
fn local(nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 97, nth, 1)
}

/// The first viewer behind it.
fn first(nth: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 96 - nth, 0, 1), 40_000)
}

/// All viewers are behind one gateway, whose hardware address is known.
fn route(name: &str, nth: u8) -> Result<(), String> {
    let gateway = Ipv4Addr::new(10, 97, nth, 2);
    let net = Ipv4Addr::new(10, 96 - nth, 0, 0);
    ip(&format!("address add {}/24 dev {name}", local(nth)))?;
    ip(&format!(
        "neighbour replace {gateway} lladdr 02:00:00:00:0b:0{nth} dev {name} nud permanent"
    ))?;
    ip(&format!("route add {net}/16 via {gateway}"))
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
