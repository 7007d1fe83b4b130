//! Owns the estimate: what is measured of cores, devices and memory, smoothed, and what those who
//! have been admitted and are not measured yet will add to it.

use super::host::{HostReading, Memory};
use super::smooth::Step;
use super::{Bound, VIEWER_BYTES_MAX};
use std::collections::BTreeMap;
use wire::time::{Span, Time};

/// From one sample of the workers to the next.
pub const SAMPLE_INTERVAL: Span = Span::millis(500);

/// A worker turns ten times a second at least. One that has not for this part of a sample is stuck
/// in a turn, or dead.
const STUCK_PART: f64 = 0.5;

/// What a packet that comes in costs, of one that goes out in a burst: it is a datagram by itself,
/// wakes the core and is looked up. Measured between 3 and 6 by the benches.
const RECEIVED_WEIGHT: f64 = 4.0;

/// What a viewer costs of a core while nothing is measured: 5 Mbit/s, 520 packets a second of a
/// microsecond each.
const VIEWER_LOAD: f64 = 520e-6;

/// How many viewers must be measured to count as much as [`VIEWER_LOAD`]. A single viewer pays for
/// wake-ups that hundreds share.
const VIEWER_WEIGHT: f64 = 2.0;

/// Of all memory, the part that stays free for the system: caches of what runs, page tables,
/// buffers of sockets. Memory is full when that is all that is left.
const MEMORY_KEPT: f64 = 1.0 / 32.0;

/// What a worker has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreReading {
    /// Time since its first turn; zero: a worker that does not measure.
    pub passed: Span,
    /// Time of that at work.
    pub busy: Span,
    /// Time of that held up by its device.
    pub congested: Span,
    /// Viewers that it serves now.
    pub viewers: u64,
    /// Packets sent to viewers.
    pub packets_sent: u64,
    /// Bytes sent to everybody.
    pub bytes_sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Packets overwritten before they were read.
    pub skipped: u64,
}

/// One core, smoothed.
#[derive(Clone, Debug, Default)]
struct Core {
    last: CoreReading,
    /// Part of its time that is not free; none: not measured yet.
    load: Option<f64>,
    bound: Bound,
    /// Viewers that `load` contains.
    seen: f64,
    share: Share,
}

/// What viewers take of a core, all smoothed alike: only ratios are asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Part of its time.
    load: f64,
    bits_per_second: f64,
    viewers: f64,
}

/// One device, smoothed.
#[derive(Clone, Debug)]
struct Device {
    bits_per_second: u64,
    sent_bytes: u64,
    load: f64,
}

/// What is known of the load of a node.
#[derive(Clone, Debug, Default)]
pub struct Estimate {
    cores: Vec<Core>,
    sampled: Option<Time>,
    devices: BTreeMap<String, Device>,
    host_read: Time,
    memory: Option<Memory>,
    /// Viewers that were admitted and have not left, when the last sample was taken.
    known: u64,
    /// Viewers admitted since.
    admitted: u64,
}

impl Estimate {
    /// Takes a sample: what every worker has counted, what the host says, and how many viewers
    /// have been admitted and have not left.
    pub fn sample(&mut self, now: Time, cores: &[CoreReading], host: &HostReading, viewers: u64) {
        let before = self.sampled.replace(now);
        self.known = viewers;
        self.admitted = 0;
        self.cores.resize_with(cores.len(), Core::default);
        for (number, (core, reading)) in (0..).zip(self.cores.iter_mut().zip(cores)) {
            match before {
                Some(before) => core.sample(number, now.since(before), reading),
                None => core.last = *reading,
            }
        }
        self.sample_host(host);
    }

    /// A viewer has been admitted.
    pub fn admitted(&mut self) {
        self.admitted += 1;
    }

    /// The load of the node, 0 to 1 and more, with `more` viewers besides those who have been
    /// admitted, and what binds: the fullest of its cores, devices and its memory.
    #[must_use]
    pub fn projected(&self, more: u64) -> (f64, Bound) {
        let mut most = (0.0, Bound::Unknown);
        for (load, bound) in self.all(more) {
            if load > most.0 {
                most = (load, bound);
            }
        }
        most
    }

    /// The load of each core as measured, 0 to 1; none: not measured yet.
    pub fn cores(&self) -> impl Iterator<Item = Option<f64>> {
        self.cores.iter().map(|core| core.load)
    }

    /// The load of each device as measured, 0 to 1, by its name.
    pub fn devices(&self) -> impl Iterator<Item = (&str, f64)> {
        self.devices.iter().map(|(name, one)| (&name[..], one.load))
    }

    /// What the node measured of each cause, without those who are not measured yet, in the order
    /// of [`super::CAUSES`].
    #[must_use]
    pub fn by_cause(&self) -> [f64; super::CAUSES.len()] {
        let mut most = [0.0_f64; super::CAUSES.len()];
        for (load, bound) in self.measured(0.0) {
            let one = &mut most[bound.cause()];
            *one = one.max(load);
        }
        most
    }

    /// What one viewer costs of one core, measured; what it costs by experience if nobody watches.
    #[must_use]
    pub fn viewer_load(&self) -> f64 {
        let all = self.share();
        (all.load + VIEWER_LOAD * VIEWER_WEIGHT) / (all.viewers + VIEWER_WEIGHT)
    }

    /// How many viewers more fit until something is loaded to `limit`, each as costly as those who
    /// watch, and what that will be. They spread over all cores by chance; the fullest decides.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and `as` saturates"
    )]
    pub fn headroom(&self, limit: f64) -> (u64, Bound) {
        let mut least = (f64::MAX, Bound::Unknown);
        for (load, bound) in self.all(0) {
            let each = match &bound {
                Bound::Device(name) => {
                    let device = self.devices.get(name);
                    device.map_or(0.0, |one| self.viewer_bits() / one.bits_per_second as f64)
                }
                // Its load is no straight line: looked at below.
                Bound::Memory => continue,
                _ => self.each(),
            };
            let room = match load < limit {
                true if each > 0.0 => (limit - load) / each,
                true => f64::MAX,
                false => 0.0,
            };
            if room < least.0 {
                least = (room, bound);
            }
        }
        if let Some(memory) = self.memory {
            let kept = memory.total_bytes as f64 * MEMORY_KEPT / limit.sqrt();
            let left = (memory.available_bytes as f64 - kept).max(0.0);
            let room = left / VIEWER_BYTES_MAX as f64;
            if room < least.0 {
                least = (room, Bound::Memory);
            }
        }
        (least.0 as u64, least.1)
    }

    /// Viewers that have been admitted and are not part of what was measured.
    fn pending(&self, more: u64) -> f64 {
        ((self.known + self.admitted) as f64 - self.seen()).max(0.0) + more as f64
    }

    fn seen(&self) -> f64 {
        self.cores.iter().map(|core| core.seen).sum()
    }

    /// What a viewer costs a core on average: he is served by one of them.
    fn each(&self) -> f64 {
        self.viewer_load() / self.cores.len().max(1) as f64
    }

    /// Bits a second of one viewer.
    fn viewer_bits(&self) -> f64 {
        let all = self.share();
        all.bits_per_second / all.viewers.max(1.0)
    }

    fn share(&self) -> Share {
        let mut all = Share::default();
        for core in &self.cores {
            all.load += core.share.load;
            all.bits_per_second += core.share.bits_per_second;
            all.viewers += core.share.viewers;
        }
        all
    }

    fn all(&self, more: u64) -> impl Iterator<Item = (f64, Bound)> {
        self.measured(self.pending(more))
    }

    /// Everything that can be full, with `pending` viewers besides those who were measured.
    fn measured(&self, pending: f64) -> impl Iterator<Item = (f64, Bound)> {
        let (each, bits) = (self.each(), self.viewer_bits());
        let cores = self.cores.iter().filter_map(move |core| {
            let load = core.load? + pending * each;
            Some((load, core.bound.clone()))
        });
        let devices = self.devices.iter().map(move |(name, device)| {
            let more = pending * bits / device.bits_per_second as f64;
            (device.load + more, Bound::Device(name.clone()))
        });
        let memory = self
            .memory
            .map(|memory| (memory_load(memory), Bound::Memory));
        cores.chain(devices).chain(memory)
    }

    fn sample_host(&mut self, host: &HostReading) {
        if host.at <= self.host_read {
            return;
        }
        let passed = host.at.since(self.host_read);
        self.host_read = host.at;
        self.memory = host.memory;
        let old = std::mem::take(&mut self.devices);
        for now in &host.devices {
            let load = old.get(&now.name).map_or(0.0, |old| {
                let bits = now.sent_bytes.saturating_sub(old.sent_bytes) as f64 * 8.0;
                let load = bits / seconds(passed) / now.bits_per_second as f64;
                Step::towards(old.load, load, passed).from(old.load, load)
            });
            let device = Device {
                bits_per_second: now.bits_per_second,
                sent_bytes: now.sent_bytes,
                load,
            };
            self.devices.insert(now.name.clone(), device);
        }
    }
}

impl Core {
    fn sample(&mut self, number: u16, passed: Span, now: &CoreReading) {
        let last = std::mem::replace(&mut self.last, *now);
        if now.passed.0 == 0 || passed.0 == 0 {
            return;
        }
        let grown = |now: u64, last: u64| now.saturating_sub(last) as f64;
        let measured = grown(now.passed.0, last.passed.0);
        let part = |now: Span, last: Span| (grown(now.0, last.0) / measured.max(1.0)).min(1.0);
        let (busy, congested) = (
            part(now.busy, last.busy),
            part(now.congested, last.congested),
        );
        let (load, bound) = if measured < passed.0 as f64 * STUCK_PART {
            (1.0, Bound::Stuck(number))
        } else if now.skipped > last.skipped {
            (1.0, Bound::Behind(number))
        } else if congested > busy {
            (busy + congested, Bound::Sending(number))
        } else {
            (busy + congested, Bound::Core(number))
        };
        let load = load.min(1.0);
        self.smooth(load, bound, passed, last.viewers.min(now.viewers) as f64);
        let sent = grown(now.packets_sent, last.packets_sent);
        let received = grown(now.received, last.received);
        let part = match sent > 0.0 {
            true => sent / (sent + received * RECEIVED_WEIGHT),
            false => 0.0,
        };
        let bits = grown(now.bytes_sent, last.bytes_sent) * 8.0 / seconds(passed);
        let (step, share) = (Step::slow(passed), &mut self.share);
        share.load = step.from(share.load, load * part);
        share.bits_per_second = step.from(share.bits_per_second, bits);
        let viewers = f64::midpoint(last.viewers as f64, now.viewers as f64);
        share.viewers = step.from(share.viewers, viewers);
    }

    /// `seen`: viewers who were there all the time. Those who came in between are part of the load
    /// only in part: they count as not measured yet.
    fn smooth(&mut self, load: f64, bound: Bound, passed: Span, seen: f64) {
        let Some(old) = self.load else {
            (self.load, self.bound, self.seen) = (Some(load), bound, seen);
            return;
        };
        let step = Step::towards(old, load, passed);
        let smoothed = step.from(old, load);
        self.load = Some(smoothed);
        self.seen = step.from(self.seen, seen);
        // What was wrong names the load until that has fallen by half.
        let calm = matches!(bound, Bound::Core(_)) && smoothed > load * 2.0;
        if !calm || self.bound == Bound::Unknown {
            self.bound = bound;
        }
    }
}

/// Full when only the part that is kept is left, a quarter when twice that: memory that others use
/// is of no weight before it is scarce.
fn memory_load(memory: Memory) -> f64 {
    let kept = memory.total_bytes as f64 * MEMORY_KEPT;
    let scarce = (kept / memory.available_bytes.max(1) as f64).min(1.0);
    scarce * scarce
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1e9
}

#[cfg(test)]
mod tests;
