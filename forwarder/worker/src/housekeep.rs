//! Owns what comes from control between packets: commands, handshake datagrams to send; and the
//! counting of what the port did.

use crate::error::Error;
use io::{FlushReport, Port};
use link::Region;
use link::channel::{CommandConsumer, PuntConsumer};
use link::ids::CoreId;
use link::punt::Punt;
use link::stats::{Counter, Stats};
use plane::Plane;
use wire::datagram::{NOBODY, RunMeta, RxMeta, RxSink};
use wire::time::Time;

/// Commands that one turn applies: a thousand viewers who come at once must not hold up those who
/// watch for longer than a burst of them takes.
const COMMANDS_TURN_MAX: usize = 32;

/// Handshake datagrams that one turn sends for control.
const PUNTS_TURN_MAX: usize = 32;

/// The ends of the link that a worker reads.
pub(crate) struct Intake {
    commands: CommandConsumer,
    punts: PuntConsumer,
}

impl Intake {
    pub(crate) fn new(region: &Region, core: CoreId) -> Result<Self, Error> {
        let failed = |cause| Error::Link {
            core: core.0,
            cause,
        };
        Ok(Self {
            commands: region.commands_consumer(core).map_err(failed)?,
            punts: region.punts_out_consumer(core).map_err(failed)?,
        })
    }

    /// True if control waits for nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.punts.is_empty()
    }

    /// Applies commands; returns how many.
    pub(crate) fn apply(&mut self, now: Time, plane: &mut Plane, tally: &Tally) -> usize {
        let mut applied = 0;
        while applied < COMMANDS_TURN_MAX
            && let Some(numbered) = self.commands.pop()
        {
            applied += 1;
            match &numbered.command {
                Some(command) => plane.apply(now, command),
                None => tally.stats.add(Counter::CommandMalformed, 1),
            }
            tally.stats.add(Counter::CommandApplied, 1);
            tally.stats.set_applied(numbered.number + 1);
        }
        applied
    }

    /// Puts control's datagrams into the port; returns how many.
    pub(crate) fn send(&mut self, port: &mut impl Port, tally: &Tally) -> usize {
        let mut sent = 0;
        while sent < PUNTS_TURN_MAX {
            let Some(queued) = self.punts.pop(|punt| queue(&punt, port)) else {
                break;
            };
            sent += 1;
            tally.answered(queued);
        }
        sent
    }
}

/// Puts one datagram into the port; its bytes, or `None` if the port has no room: lost like any
/// datagram, handshakes repeat theirs.
fn queue(punt: &Punt<'_>, port: &mut impl Port) -> Option<u64> {
    let bytes = punt.bytes.len();
    let segment_bytes = u16::try_from(bytes).ok().filter(|bytes| *bytes > 0)?;
    let mut slot = port.claim(RunMeta {
        peer: punt.peer,
        local: punt.local,
        segment_bytes,
        segments: 1,
        bytes,
        viewer: NOBODY,
    })?;
    slot.put(punt.bytes, bytes);
    port.commit(bytes);
    Some(bytes as u64)
}

/// Counts what the port received and sent.
pub(crate) struct Tally {
    stats: Stats,
}

impl Tally {
    pub(crate) fn new(region: &Region, core: CoreId) -> Result<Self, Error> {
        let stats = region.stats(core).map_err(|cause| Error::Link {
            core: core.0,
            cause,
        })?;
        Ok(Self { stats })
    }

    /// The counters.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// A turn began.
    pub(crate) fn turn(&self, now: Time) {
        self.stats.add(Counter::Turn, 1);
        self.stats.beat(now);
    }

    /// The worker is about to block.
    pub(crate) fn sleep(&self) {
        self.stats.add(Counter::SleepBegun, 1);
    }

    /// What came in this turn.
    pub(crate) fn received(&self, datagrams: usize, bytes: u64) {
        if datagrams > 0 {
            self.stats.add(Counter::DatagramReceived, datagrams as u64);
            self.stats.add(Counter::ByteReceived, bytes);
        }
    }

    /// A datagram of control's was queued, with its bytes, or lost.
    fn answered(&self, queued: Option<u64>) {
        let Some(bytes) = queued else {
            self.stats.add(Counter::SendDropped, 1);
            return;
        };
        self.stats.add(Counter::PuntReceived, 1);
        self.stats.add(Counter::DatagramSent, 1);
        self.stats.add(Counter::ByteSent, bytes);
        self.stats.add(Counter::RunSent, 1);
    }

    /// So many parcels for other cores found no room. The plane has counted all as sent.
    pub(crate) fn posted(&self, lost: u64) {
        if lost > 0 {
            self.stats.add(Counter::HandoffDroppedFull, lost);
        }
    }

    /// What the port says went wrong. What went right the plane has counted.
    pub(crate) fn flushed(&self, report: &FlushReport) {
        let xdp = &report.xdp;
        let counts = [
            (Counter::SendError, u64::from(report.errors)),
            (Counter::SendDropped, u64::from(report.dropped)),
            (Counter::SendCopied, u64::from(report.copied)),
            (
                Counter::DatagramMalformed,
                u64::from(report.received_unusable),
            ),
            (Counter::XdpSent, u64::from(xdp.datagrams)),
            (Counter::XdpCalled, u64::from(xdp.wakeups)),
            (Counter::XdpFull, u64::from(xdp.full)),
            (Counter::XdpPassedAsking, u64::from(xdp.asking)),
            (Counter::XdpPassedRoute, u64::from(xdp.route)),
            (Counter::XdpPassedNeighbour, u64::from(xdp.neighbour)),
            (Counter::XdpPassedDevice, u64::from(xdp.device)),
            (Counter::XdpPassedSize, u64::from(xdp.size)),
        ];
        for (counter, n) in counts {
            if n > 0 {
                self.stats.add(counter, n);
            }
        }
    }
}

/// Passes datagrams on to the plane, sums their bytes, and knows when the first of them came.
pub(crate) struct Weighed<'a> {
    pub plane: &'a mut Plane,
    pub bytes: u64,
    pub came: Option<Time>,
}

impl RxSink for Weighed<'_> {
    fn came(&mut self, at: Option<Time>) {
        self.came = self.came.or(at);
        self.plane.came(at);
    }

    fn datagram(&mut self, meta: RxMeta, bytes: &mut [u8]) {
        self.bytes += bytes.len() as u64;
        self.plane.datagram(meta, bytes);
    }
}
