//! Owns the plain data of a report: the fields of its JSON.

use serde::Serialize;
use std::collections::BTreeMap;

/// What was measured on this host. Costs are processor time in nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// The host.
    pub host: Host,
    /// Bytes of an RTP packet, without what protects it.
    pub packet_bytes: usize,
    /// Sealing one packet.
    pub ciphers: Vec<CipherCost>,
    /// Where packets went, by the names that `send` and `forward` use.
    pub paths: BTreeMap<String, String>,
    /// Handing one datagram to the kernel, the port by itself.
    pub send: Vec<SendCost>,
    /// Taking one datagram from the kernel.
    pub receive: Vec<ReceiveCost>,
    /// One packet to one viewer, from the log through plane, cipher and kernel.
    pub forward: Vec<ForwardCost>,
    /// How long packets were inside at half load; none: it could not be measured.
    pub latency: Option<Latency>,
    /// Memory.
    pub memory: Memory,
    /// Network devices that say how fast they are.
    pub devices: Vec<Device>,
    /// What the server would use here, and what viewers are reckoned with.
    pub server: Server,
    /// Viewers by bit rate and path.
    pub capacity: Vec<Capacity>,
    /// What could not be measured, and why.
    pub skipped: Vec<Skipped>,
}

/// The host.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Host {
    /// Model of the processor.
    pub processor: String,
    /// Processors that the system runs.
    pub processors: usize,
    /// Instructions that decide what ciphers cost.
    pub features: Vec<String>,
    /// Release of the kernel.
    pub kernel: String,
    /// What the kernel does against speculation.
    pub mitigations: String,
    /// Load averages at the start: what else was running.
    pub load: String,
}

/// Sealing.
#[derive(Clone, Debug, Serialize)]
pub struct CipherCost {
    /// The protection, by its name in DTLS.
    pub profile: String,
    /// What seals.
    pub cipher: String,
    /// Nanoseconds.
    pub ns_per_packet: f64,
}

/// Sending.
#[derive(Clone, Debug, Serialize)]
pub struct SendCost {
    /// Where to.
    pub path: String,
    /// `mmsg` or `uring`.
    pub backend: String,
    /// Datagrams that the kernel is given as one.
    pub burst: u32,
    /// Nanoseconds.
    pub ns_per_datagram: f64,
}

/// Receiving.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiveCost {
    /// `mmsg` or `uring`.
    pub backend: String,
    /// Nanoseconds.
    pub ns_per_datagram: f64,
}

/// Forwarding.
#[derive(Clone, Debug, Serialize)]
pub struct ForwardCost {
    /// Where to.
    pub path: String,
    /// `mmsg`, `uring` or `xdp`.
    pub way: String,
    /// Packets of the stream that come at once.
    pub burst: u32,
    /// Nanoseconds: the one in the middle of several rounds.
    pub ns_per_packet: f64,
    /// How far apart the middle half of the rounds is.
    pub spread_ns: f64,
    /// Packets a second of one core that does nothing else.
    pub packets_per_second: f64,
}

/// Time inside at half load.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Frames a second that the worker could do.
    pub frames_per_second: f64,
    /// The half of the packets were inside no longer than this.
    pub p50_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1000.
    pub p999_us: u64,
}

/// Memory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Memory {
    /// Bytes that a viewer takes of the data plane, measured.
    pub viewer_data_plane_bytes: u64,
    /// Bytes of both processes that a viewer takes at most, with which is reckoned.
    pub viewer_bytes_max: u64,
    /// Bytes that can be had here.
    pub available_bytes: u64,
}

/// A network device.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Bits a second that it sends at most.
    pub bits_per_second: u64,
}

/// What the server would use here.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Server {
    /// The way out.
    pub way: String,
    /// What seals.
    pub cipher: String,
    /// Workers.
    pub cores: u16,
    /// The load up to which viewers are let in (`limits.max_load`).
    pub max_load: f64,
    /// Frames a second with which is reckoned.
    pub frames_per_second: u32,
}

/// Viewers at a bit rate.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    /// Bits a second of the stream.
    pub bits_per_second: u64,
    /// Where to.
    pub path: String,
    /// Packets of a frame.
    pub burst: u32,
    /// Nanoseconds for a packet to a viewer at that burst.
    pub ns_per_packet: f64,
    /// Viewers of one core.
    pub viewers_per_core: u64,
    /// Viewers of all workers, if each has a core of its own.
    pub viewers_cpu: u64,
    /// Viewers of the fastest device; none: no device says how fast it is.
    pub viewers_device: Option<u64>,
    /// Viewers of the memory; none: it is not known.
    pub viewers_memory: Option<u64>,
    /// The least of them.
    pub viewers: u64,
    /// Which that is: `cpu`, `device` or `memory`.
    pub bound_by: String,
}

/// Something that could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}
