//! Owns the port of a simulated server: the same arena as a real one, and a wait that only notes
//! until when it would have slept.

use super::SimSocket;
use crate::arena::Arena;
use crate::port::{FlushReport, Port, PortConfig};
use wire::datagram::{
    DATAGRAM_MAX, Egress, PARKED_MAX, Parked, RunMeta, RxSink, SEGMENTS_MAX, Slot,
};
use wire::peer::{Ip, Peer};
use wire::time::Time;

/// A port of [`SimNet`].
pub struct SimPort {
    socket: SimSocket,
    arena: Arena,
    segments_max: u8,
    segments: bool,
    turn_max: usize,
    runs_per_flush: u32,
    asleep: Option<Time>,
    report: FlushReport,
}

impl SimPort {
    pub(super) fn new(socket: SimSocket, config: &PortConfig) -> Self {
        let config = config.clamped();
        Self {
            socket,
            arena: Arena::new(config.runs_max, config.arena_bytes),
            segments_max: if config.segment { SEGMENTS_MAX } else { 1 },
            segments: config.segment,
            turn_max: usize::from(config.rx_turn_max),
            runs_per_flush: u32::MAX,
            asleep: None,
            report: FlushReport::default(),
        }
    }

    /// From now on the device does not segment: the next run is sent singly, and
    /// `segments_max` falls to 1.
    pub fn refuse_segments(&mut self) {
        self.segments = false;
    }

    /// From now on a flush takes this many runs; the rest waits.
    pub fn throttle(&mut self, runs_per_flush: u32) {
        self.runs_per_flush = runs_per_flush;
    }

    /// Until when the last `wait` would have slept, unless `wait` has found work.
    #[must_use]
    pub fn asleep(&self) -> Option<Time> {
        self.asleep
    }

    /// Sends the first waiting run.
    fn send_front(&mut self, now: Time) {
        let Some((_, run, bytes)) = self.arena.peek(0) else {
            return;
        };
        let ip = if run.local.is_unknown() {
            self.home(run.peer)
        } else {
            run.local
        };
        let from = Peer {
            ip,
            port: self.socket.0.addr.port(),
        };
        let refused = run.segments > 1 && !self.segments;
        let mut net = self.socket.0.net.lock();
        for segment in bytes.chunks(usize::from(run.segment_bytes)) {
            net.send(now, from, run.peer, segment);
        }
        drop(net);
        self.report.runs += 1;
        self.report.datagrams += u32::from(run.segments);
        self.report.bytes += bytes.len() as u64;
        if refused {
            self.report.errors += 1;
            self.report.unsegmented += 1;
            self.segments_max = 1;
        }
        self.arena.pass(1);
    }

    /// The source that a kernel would choose: ours, or loopback of the peer's family.
    fn home(&self, peer: Peer) -> Ip {
        let ours = self.socket.0.addr.ip();
        if !ours.is_unspecified() {
            return ours.into();
        }
        let loopback: core::net::IpAddr = if peer.ip.is_v4() {
            core::net::Ipv4Addr::LOCALHOST.into()
        } else {
            core::net::Ipv6Addr::LOCALHOST.into()
        };
        loopback.into()
    }
}

impl Egress for SimPort {
    fn segments_max(&self) -> u8 {
        self.segments_max
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        self.arena.claim(run)
    }

    fn commit(&mut self, bytes: usize) {
        self.arena.commit(bytes);
    }

    fn parked_max(&self) -> u8 {
        PARKED_MAX
    }

    fn park(&mut self, bytes: usize) -> Option<Parked> {
        self.arena.park(bytes)
    }

    fn parked(&self, run: Parked) -> &[u8] {
        self.arena.parked(run)
    }

    fn parked_mut(&mut self, run: Parked) -> &mut [u8] {
        self.arena.parked_mut(run)
    }

    fn commit_parked(&mut self) {
        while self.arena.unpark() {}
    }
}

impl Port for SimPort {
    fn recv(&mut self, now: Time, sink: &mut impl RxSink) -> usize {
        self.asleep = None;
        self.socket.0.net.lock().deliver(now);
        let mut given = 0;
        while given < self.turn_max {
            // The lock is not held while the sink works.
            let letter = self.socket.0.net.lock().pop(self.socket.0.id);
            let Some(mut letter) = letter else { break };
            if letter.bytes.len() > DATAGRAM_MAX {
                self.report.received_unusable += 1;
                continue;
            }
            sink.came(Some(letter.came));
            sink.datagram(letter.meta, &mut letter.bytes);
            given += 1;
        }
        given
    }

    fn flush(&mut self, now: Time) -> FlushReport {
        for _ in 0..self.arena.waiting().min(self.runs_per_flush) {
            self.send_front(now);
        }
        self.report.waiting = self.arena.waiting();
        if self.report.runs > 0 {
            self.report.at = now;
        }
        core::mem::take(&mut self.report)
    }

    fn wait(&mut self, until: Time) {
        self.asleep = (self.socket.0.net.lock().waiting(self.socket.0.id) == 0).then_some(until);
    }
}
