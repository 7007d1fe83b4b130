//! Owns the seam between one core's loop and a backend.

use crate::uring::Settings;
use crate::xdp::Fallback;
use wire::datagram::{Egress, RUN_BYTES_MAX, RxSink};
use wire::time::Time;

/// All that a worker sees of a backend.
///
/// Each turn: `recv`, then claims and commits through [`Egress`], then `flush`. `wait` when there
/// is nothing to do. A port is made on the thread that uses it.
pub trait Port: Egress {
    /// Gives every datagram that has arrived to `sink`, up to the backend's bound for one turn.
    /// Returns how many were given.
    fn recv(&mut self, now: Time, sink: &mut impl RxSink) -> usize;

    /// Hands all that was committed to the kernel. What the kernel does not take now stays for
    /// the next flush. The report covers the time since the last one.
    fn flush(&mut self, now: Time) -> FlushReport;

    /// Blocks until a datagram arrives, the wake descriptor is written, queued runs can be sent
    /// again, or `until` is reached. The only place that may block. May return early.
    fn wait(&mut self, until: Time);

    /// Receives nothing more: what has been taken out of the socket already is given to `sink`, the
    /// rest stays there for another port. Returns how many were given.
    fn leave(&mut self, _now: Time, _sink: &mut impl RxSink) -> usize {
        0
    }
}

/// What became of the runs since the last flush. Nothing here stops a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Runs that the kernel took.
    pub runs: u32,
    /// Datagrams in those runs.
    pub datagrams: u32,
    /// UDP payload bytes in those runs.
    pub bytes: u64,
    /// Calls that the kernel refused, retried ones included.
    pub errors: u32,
    /// Datagrams that were given up because of such an error.
    pub dropped: u32,
    /// Runs that a device or route refused to segment and that were sent one by one.
    pub unsegmented: u32,
    /// Runs that were to be sent without copying and were copied all the same: to a socket of this
    /// host, or for a device that cannot gather or check-sum.
    pub copied: u32,
    /// Runs that the kernel has not taken yet.
    pub waiting: u32,
    /// Datagrams received that were longer than [`wire::datagram::DATAGRAM_MAX`] or came without
    /// a usable address, and were dropped.
    pub received_unusable: u32,
    /// When the kernel had taken those runs: the clock, read after the last call that gave it
    /// some. [`Time::ZERO`] if there are none.
    pub at: Time,
    /// What left, or did not leave, by AF_XDP.
    pub xdp: XdpReport,
}

/// What AF_XDP has done since the last flush, in datagrams where nothing else is said. Those that
/// left by the socket instead are counted by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpReport {
    /// Queued for a device.
    pub datagrams: u32,
    /// Calls of the kernel.
    pub wakeups: u32,
    /// Runs for which there was no frame.
    pub full: u32,
    /// By the socket: [`Fallback::Asking`].
    pub asking: u32,
    /// By the socket: [`Fallback::Route`].
    pub route: u32,
    /// By the socket: [`Fallback::Neighbour`].
    pub neighbour: u32,
    /// By the socket: [`Fallback::Device`].
    pub device: u32,
    /// By the socket: [`Fallback::Size`].
    pub size: u32,
}

impl XdpReport {
    /// Counts a run that left by the socket.
    pub(crate) fn fell_back(&mut self, why: Fallback, datagrams: u8) {
        let counter = match why {
            Fallback::Asking => &mut self.asking,
            Fallback::Route => &mut self.route,
            Fallback::Neighbour => &mut self.neighbour,
            Fallback::Device => &mut self.device,
            Fallback::Size => &mut self.size,
        };
        *counter += u32::from(datagrams);
    }
}

/// The number of runs collected before they are handed to the kernel without waiting for the
/// flush. Sixteen runs of sixteen packets are 311 KB, which stays in a second-level cache; larger
/// batches measured no cheaper.
pub const BATCH_RUNS: u16 = 16;

/// Sizes of a port; everything is allocated from them when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Runs that may wait or be in the kernel at once, a power of two, 1 to 4096.
    pub runs_max: u16,
    /// Bytes that those runs may hold together, at least one longest run.
    pub arena_bytes: u32,
    /// Runs that are handed to the kernel in one call, 1 to `runs_max`.
    pub batch_runs: u16,
    /// Buffers for datagrams that arrive, a power of two, 1 to 32,768.
    pub rx_buffers: u16,
    /// Most datagrams given to the sink in one `recv`.
    pub rx_turn_max: u16,
    /// False: never ask the kernel to segment.
    pub segment: bool,
    /// How `io_uring` is used, where it is the backend.
    pub uring: Settings,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            runs_max: 256,
            arena_bytes: 2 << 20,
            batch_runs: BATCH_RUNS,
            rx_buffers: 512,
            rx_turn_max: 256,
            segment: true,
            uring: Settings::default(),
        }
    }
}

impl PortConfig {
    /// The same with every value brought into its range.
    #[must_use]
    pub fn clamped(mut self) -> Self {
        self.runs_max = self.runs_max.clamp(1, 4096).next_power_of_two();
        self.arena_bytes = self.arena_bytes.max(RUN_FLOOR);
        self.batch_runs = self.batch_runs.clamp(1, self.runs_max);
        self.rx_buffers = self.rx_buffers.clamp(1, 32_768).next_power_of_two();
        self.rx_turn_max = self.rx_turn_max.max(1);
        self
    }
}

/// A run of [`RUN_BYTES_MAX`], rounded up to whole cache lines.
const RUN_FLOOR: u32 = 65_536;
const _: () = assert!(RUN_BYTES_MAX < RUN_FLOOR as usize);
