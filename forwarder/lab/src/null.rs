//! Owns a port that swallows what it is given: what is left is the cost of the plane.

use io::{FlushReport, Port};
use wire::datagram::{
    Egress, PARKED_MAX, Parked, RUN_BYTES_MAX, RunMeta, RxSink, SEGMENTS_MAX, Slot,
};
use wire::time::Time;

/// Slots that are written in turn: as many as a real port has in use between two calls of the
/// kernel.
const SLOTS: usize = 16;

/// Nothing ever comes of it, and nothing goes anywhere.
pub struct Null {
    slots: Box<[u8]>,
    next: usize,
    report: FlushReport,
    segments_max: u8,
}

impl Null {
    /// A port that takes runs of up to `segments_max` segments.
    #[must_use]
    pub fn new(segments_max: u8) -> Self {
        Self {
            slots: vec![0; SLOTS * (RUN_BYTES_MAX + 1)].into_boxed_slice(),
            next: 0,
            report: FlushReport::default(),
            segments_max: segments_max.clamp(1, SEGMENTS_MAX),
        }
    }
}

impl Egress for Null {
    fn segments_max(&self) -> u8 {
        self.segments_max
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        self.next = (self.next + 1) % SLOTS;
        self.report.runs += 1;
        self.report.datagrams += u32::from(run.segments);
        let from = self.next * (RUN_BYTES_MAX + 1);
        self.slots.get_mut(from..from + run.bytes).map(Slot::joined)
    }

    fn commit(&mut self, bytes: usize) {
        self.report.bytes += bytes as u64;
    }

    fn parked_max(&self) -> u8 {
        PARKED_MAX
    }

    fn park(&mut self, bytes: usize) -> Option<Parked> {
        self.commit(bytes);
        u32::try_from(self.next).ok().map(Parked)
    }

    fn parked(&self, Parked(slot): Parked) -> &[u8] {
        let from = slot as usize * (RUN_BYTES_MAX + 1);
        self.slots
            .get(from..from + RUN_BYTES_MAX)
            .unwrap_or_default()
    }

    fn parked_mut(&mut self, Parked(slot): Parked) -> &mut [u8] {
        let from = slot as usize * (RUN_BYTES_MAX + 1);
        let slot = self.slots.get_mut(from..from + RUN_BYTES_MAX);
        slot.unwrap_or_default()
    }
}

impl Port for Null {
    fn recv(&mut self, _: Time, _: &mut impl RxSink) -> usize {
        0
    }

    fn flush(&mut self, _: Time) -> FlushReport {
        core::mem::take(&mut self.report)
    }

    fn wait(&mut self, _: Time) {}
}
