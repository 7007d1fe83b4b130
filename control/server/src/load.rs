//! Owns how loaded the node is: what has been measured of late, what newcomers will add, and
//! whether another one fits.
//!
//! Bytes and time come in, numbers and decisions go out: [`host`] reads the system, the driver
//! reads the workers.

mod estimate;
mod gate;
pub mod host;
mod smooth;

pub use estimate::{CoreReading, Estimate, SAMPLE_INTERVAL};
pub use gate::{Gate, Newcomer};

use std::fmt;

/// Bytes of both processes that a viewer takes at most: what the whole-system tests hold us to.
pub const VIEWER_BYTES_MAX: u64 = 128 * 1024;

/// What a worker gives up when it is loaded, each besides what comes before it. Newcomers are the
/// last, and refused by the [`Gate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sacrifice {
    /// Nothing.
    Nothing,
    /// Packets that are asked for again late.
    Retransmissions,
    /// Upper layers of viewers whose paths carry the least.
    Layers,
}

impl Sacrifice {
    /// That of a worker which tells of this stage.
    #[must_use]
    pub fn of(stage: u64) -> Self {
        match stage {
            0 => Self::Nothing,
            1 => Self::Retransmissions,
            _ => Self::Layers,
        }
    }

    /// Its name in the API and the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Retransmissions => "retransmissions",
            Self::Layers => "layers",
        }
    }
}

/// What binds: what would be full first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// Nothing has been measured yet.
    #[default]
    Unknown,
    /// The time of a core, by its number.
    Core(u16),
    /// A core that waits for the device to take what it sends.
    Sending(u16),
    /// A core that has not read a stream before it was overwritten.
    Behind(u16),
    /// A core that has not turned since the sample before.
    Stuck(u16),
    /// The speed of a network device.
    Device(String),
    /// The memory of the host, or of the control group.
    Memory,
}

/// The causes as metrics name them.
pub const CAUSES: [&str; 4] = ["core", "sending", "device", "memory"];

impl Bound {
    /// Its place in [`CAUSES`]. What is wrong with a core itself is of the first.
    #[must_use]
    pub fn cause(&self) -> usize {
        match self {
            Self::Unknown | Self::Core(_) | Self::Behind(_) | Self::Stuck(_) => 0,
            Self::Sending(_) => 1,
            Self::Device(_) => 2,
            Self::Memory => 3,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("nothing yet"),
            Self::Core(core) => write!(f, "core {core}"),
            Self::Sending(core) => write!(f, "what core {core} can hand to its device"),
            Self::Behind(core) => write!(f, "core {core}, which does not keep up"),
            Self::Stuck(core) => write!(f, "core {core}, which does not turn"),
            Self::Device(name) => write!(f, "device {name}"),
            Self::Memory => f.write_str("memory"),
        }
    }
}
