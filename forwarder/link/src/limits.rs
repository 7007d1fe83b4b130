//! Owns every maximum of the data plane and the sum of its memory.

use crate::ids::UFRAG_VIEWERS_MAX;
use core::fmt;
use core::ops::RangeInclusive;

/// Slots of a log are this many bytes: one cache line of description and the packet.
pub const SLOT_BYTES: usize = 1472;

/// Most bytes of one RTP payload in the log. GStreamer's payloaders send 1,388 by default, and
/// what a viewer's packet has around it leaves room for these in an Ethernet frame.
pub const PAYLOAD_MAX: usize = SLOT_BYTES - 64;

/// Most workers. Bound of the per-reader arrays in shared memory.
pub const CORES_MAX: usize = 64;

/// What one node may hold. All memory is reserved at start from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Workers, 1 to [`CORES_MAX`].
    pub cores: u16,
    /// Streams at once.
    pub streams_max: u32,
    /// Viewers at once, all cores together.
    pub viewers_max: u32,
    /// Packets that a log holds, a power of two. 16,384 are 10 s of 10 Mbit/s.
    pub log_packets: u32,
    /// Commands on their way to one worker, a power of two.
    pub commands_max: u32,
    /// Events on their way from one worker, a power of two.
    pub events_max: u32,
    /// Handshake datagrams on their way, each direction, one worker; a power of two. The default
    /// has room for one of each handshake that control allows at once: what is dropped here is
    /// repeated after a pause, by everybody at the same time.
    pub punts_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cores: 1,
            streams_max: 64,
            viewers_max: 16_384,
            log_packets: 16_384,
            commands_max: 256,
            events_max: 1024,
            punts_max: 1024,
        }
    }
}

/// Least packets of a log: its slack must let the writer go on while readers hold what is oldest.
pub const LOG_PACKETS_MIN: u32 = 64;

/// Most packets of a log: 1.4 GiB, ten minutes of 10 Mbit/s.
pub const LOG_PACKETS_MAX: u32 = 1 << 20;

/// Most streams: 4,096 logs of the default size are 92 GiB already.
pub const STREAMS_MAX: u32 = 4096;

/// Most messages of a ring.
pub const RING_MAX: u32 = 1 << 16;

/// A limit that cannot be. Says which, why, and what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Outside what this build can do.
    #[error("{name} = {value} is out of range: choose {min} to {max}")]
    OutOfRange {
        /// The field of [`Limits`].
        name: &'static str,
        /// What it was.
        value: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// Positions are masked, so sizes are powers of two.
    #[error("{name} = {value} is not a power of two: choose {lower} or {upper}")]
    NotPowerOfTwo {
        /// The field of [`Limits`].
        name: &'static str,
        /// What it was.
        value: u32,
        /// The next smaller power.
        lower: u32,
        /// The next larger power.
        upper: u32,
    },
    /// The sum is beyond the address space.
    #[error("the limits need more memory than can be addressed: lower streams_max or log_packets")]
    TooMuchMemory,
}

impl Limits {
    /// Whether memory can be laid out for these limits.
    ///
    /// # Errors
    /// The first limit that cannot be, with what would do.
    pub fn check(&self) -> Result<(), LimitsError> {
        in_range(
            "cores",
            self.cores.into(),
            1..=u32::try_from(CORES_MAX).unwrap_or(u32::MAX),
        )?;
        in_range("streams_max", self.streams_max, 1..=STREAMS_MAX)?;
        in_range("viewers_max", self.viewers_max, 1..=UFRAG_VIEWERS_MAX)?;
        power_of_two(
            "log_packets",
            self.log_packets,
            LOG_PACKETS_MIN..=LOG_PACKETS_MAX,
        )?;
        power_of_two("commands_max", self.commands_max, 2..=RING_MAX)?;
        power_of_two("events_max", self.events_max, 2..=RING_MAX)?;
        power_of_two("punts_max", self.punts_max, 2..=RING_MAX)
    }
}

/// What the memory of a node is for, in bytes. Of the logs only those of open streams are taken
/// from the system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySum {
    /// Purpose and bytes.
    pub items: Vec<(&'static str, u64)>,
}

impl MemorySum {
    /// Bytes of everything together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.items.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl fmt::Display for MemorySum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (purpose, bytes) in self.items.iter().copied().chain([("sum", self.total())]) {
            writeln!(f, "{purpose:<24}{:>12} KiB", bytes.div_ceil(1024))?;
        }
        Ok(())
    }
}

fn in_range(name: &'static str, value: u32, range: RangeInclusive<u32>) -> Result<(), LimitsError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(LimitsError::OutOfRange {
        name,
        value,
        min: *range.start(),
        max: *range.end(),
    })
}

fn power_of_two(
    name: &'static str,
    value: u32,
    range: RangeInclusive<u32>,
) -> Result<(), LimitsError> {
    in_range(name, value, range)?;
    if value.is_power_of_two() {
        return Ok(());
    }
    let upper = value.next_power_of_two();
    Err(LimitsError::NotPowerOfTwo {
        name,
        value,
        lower: upper / 2,
        upper,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_had() {
        Limits::default().check().unwrap();
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        let odd = Limits {
            log_packets: 5000,
            ..Limits::default()
        };
        let text = odd.check().unwrap_err().to_string();
        assert_eq!(
            text,
            "log_packets = 5000 is not a power of two: choose 4096 or 8192"
        );
        let none = Limits {
            cores: 0,
            ..Limits::default()
        };
        let text = none.check().unwrap_err().to_string();
        assert_eq!(text, "cores = 0 is out of range: choose 1 to 64");
    }
}
