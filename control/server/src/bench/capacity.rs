//! Owns the reckoning: from what a packet costs to how many viewers fit, and what binds.

use super::report::{Capacity, Device, ForwardCost, Memory, Server};

/// Frames a second of a stream.
pub const FRAMES_PER_SECOND: u32 = 30;

/// Packets of a frame that are sent at once: a burst of more is cut.
pub const BURST_MAX: u32 = 64;

/// Of the memory, the part that is left to the system, as admission leaves it.
const MEMORY_KEPT_PART: u64 = 32;

/// On the wire, a packet has besides itself: the tag of GCM, UDP, IPv4, Ethernet with its checksum,
/// preamble and gap.
const WIRE_BYTES: u64 = 16 + 8 + 20 + 18 + 20;

/// Packets that a frame of this bit rate is made of.
#[must_use]
pub fn burst(bits_per_second: u64, packet_bytes: u64) -> u32 {
    let frame = bits_per_second.div_ceil(8 * packet_bytes * u64::from(FRAMES_PER_SECOND));
    u32::try_from(frame)
        .unwrap_or(BURST_MAX)
        .clamp(1, BURST_MAX)
}

/// Viewers of a stream of so many bits a second, at what forwarding to a path costs.
#[must_use]
pub fn reckon(
    bits_per_second: u64,
    packet_bytes: u64,
    cost: &ForwardCost,
    server: &Server,
    devices: &[Device],
    memory: &Memory,
) -> Capacity {
    let packets = bits_per_second as f64 / (8 * packet_bytes) as f64;
    let viewers_per_core = whole(server.max_load * 1e9 / (packets * cost.ns_per_packet));
    let viewers_cpu = viewers_per_core * u64::from(server.cores);
    let wire = packets * 8.0 * (packet_bytes + WIRE_BYTES) as f64;
    let fastest = devices.iter().map(|device| device.bits_per_second).max();
    let viewers_device = fastest.map(|bits| whole(server.max_load * bits as f64 / wire));
    let available = memory.available_bytes;
    let viewers_memory = (available > 0)
        .then(|| (available - available / MEMORY_KEPT_PART) / memory.viewer_bytes_max.max(1));
    let bounds = [
        ("cpu", Some(viewers_cpu)),
        ("device", viewers_device),
        ("memory", viewers_memory),
    ];
    let known = bounds.iter().filter_map(|(name, n)| Some((*name, (*n)?)));
    let (bound_by, viewers) = known.min_by_key(|(_, n)| *n).unwrap_or(("cpu", 0));
    Capacity {
        bits_per_second,
        path: cost.path.clone(),
        burst: cost.burst,
        ns_per_packet: cost.ns_per_packet,
        viewers_per_core,
        viewers_cpu,
        viewers_device,
        viewers_memory,
        viewers,
        bound_by: bound_by.to_owned(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and `as` saturates"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::VIEWER_BYTES_MAX;

    fn cost(ns_per_packet: f64) -> ForwardCost {
        ForwardCost {
            path: "split".into(),
            way: "mmsg".into(),
            burst: 9,
            ns_per_packet,
            spread_ns: 0.0,
            packets_per_second: 1e9 / ns_per_packet,
        }
    }

    fn server() -> Server {
        Server {
            cores: 4,
            max_load: 0.8,
            ..Server::default()
        }
    }

    fn memory(gigabytes: u64) -> Memory {
        Memory {
            viewer_bytes_max: VIEWER_BYTES_MAX,
            available_bytes: gigabytes << 30,
            ..Memory::default()
        }
    }

    #[test]
    fn a_frame_has_as_many_packets_as_its_bits_take() {
        assert_eq!(burst(1, 1200), 1);
        assert_eq!(burst(288_000, 1200), 1);
        assert_eq!(burst(288_001, 1200), 2);
        assert_eq!(burst(2_500_000, 1200), 9);
        assert_eq!(burst(u64::MAX, 1200), BURST_MAX);
    }

    #[test]
    fn the_least_binds_and_is_named() {
        // 250 packets a second at a microsecond: a 4,000th of a core.
        let of = |devices: &[Device], memory| {
            reckon(2_400_000, 1200, &cost(1000.0), &server(), devices, &memory)
        };
        let cpu = of(&[], memory(64));
        assert_eq!((cpu.viewers_per_core, cpu.viewers_cpu), (3200, 12_800));
        assert_eq!((cpu.viewers, &cpu.bound_by[..]), (12_800, "cpu"));
        assert_eq!(cpu.viewers_device, None);
        let slow = Device {
            name: "eth0".into(),
            bits_per_second: 1_000_000_000,
        };
        let device = of(&[slow], memory(64));
        // 0.8 Gbit/s by 250 packets of 1,282 bytes.
        assert_eq!((device.viewers, &device.bound_by[..]), (312, "device"));
        let starved = of(&[], memory(1));
        assert_eq!((starved.viewers, &starved.bound_by[..]), (7936, "memory"));
    }
}
