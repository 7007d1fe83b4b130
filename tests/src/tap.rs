//! Owns a port that shows everything sent through it before the network can lose it.

use io::port::{FlushReport, Port};
use wire::datagram::{Egress, Parked, RUN_BYTES_MAX, RunMeta, RxMeta, RxSink, Slot};
use wire::time::{Span, Time};

/// Who is shown what is sent.
pub trait Watch {
    /// A datagram of this run is about to be sent.
    fn sent(&mut self, run: &RunMeta, datagram: &[u8]);
}

/// A port and who watches it.
pub struct Tap<P, W> {
    port: P,
    /// Who is shown everything.
    pub watch: W,
    /// What the clock of whoever uses this port is ahead of the network's.
    pub ahead: Span,
    run: Option<RunMeta>,
    buffer: Vec<u8>,
    /// Runs that the port has parked, and how they are cut.
    parked: Vec<(Parked, RunMeta)>,
}

impl<P: Port, W: Watch> Tap<P, W> {
    /// Shows `watch` what is sent through `port`.
    pub fn new(port: P, watch: W) -> Self {
        Self {
            port,
            watch,
            ahead: Span::ZERO,
            run: None,
            buffer: Vec::with_capacity(RUN_BYTES_MAX),
            parked: Vec::new(),
        }
    }

    /// The port itself.
    pub fn port(&mut self) -> &mut P {
        &mut self.port
    }
}

impl<P: Port, W: Watch> Egress for Tap<P, W> {
    fn segments_max(&self) -> u8 {
        self.port.segments_max()
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        self.port.claim(run)?;
        self.port.commit(0);
        self.run = Some(run);
        self.buffer.clear();
        self.buffer.resize(run.bytes, 0xee);
        Some(Slot::joined(&mut self.buffer))
    }

    fn commit(&mut self, bytes: usize) {
        let run = self.run.take().expect("claimed before");
        if bytes == 0 {
            return;
        }
        let filled = std::mem::take(&mut self.buffer);
        for datagram in filled[..bytes].chunks(usize::from(run.segment_bytes)) {
            self.watch.sent(&run, datagram);
        }
        let mut slot = self.port.claim(run).expect("there was room a moment ago");
        slot.put(&filled, usize::from(run.segment_bytes));
        self.port.commit(bytes);
        self.buffer = filled;
    }

    fn parked_max(&self) -> u8 {
        self.port.parked_max()
    }

    fn park(&mut self, bytes: usize) -> Option<Parked> {
        let run = self.run.take().expect("claimed before");
        let mut slot = self.port.claim(run).expect("there was room a moment ago");
        slot.put(&self.buffer[..bytes], usize::from(run.segment_bytes));
        let parked = self.port.park(bytes)?;
        self.parked.push((parked, run));
        Some(parked)
    }

    fn parked(&self, run: Parked) -> &[u8] {
        self.port.parked(run)
    }

    fn parked_mut(&mut self, run: Parked) -> &mut [u8] {
        self.port.parked_mut(run)
    }

    fn commit_parked(&mut self) {
        for (parked, run) in std::mem::take(&mut self.parked) {
            let whole = self.port.parked(parked).to_vec();
            for datagram in whole.chunks(usize::from(run.segment_bytes)) {
                self.watch.sent(&run, datagram);
            }
        }
        self.port.commit_parked();
    }
}

impl<P: Port, W: Watch> Port for Tap<P, W> {
    fn recv(&mut self, now: Time, sink: &mut impl RxSink) -> usize {
        let ahead = self.ahead;
        self.port.recv(now - ahead, &mut Later { sink, ahead })
    }

    fn flush(&mut self, now: Time) -> FlushReport {
        let mut report = self.port.flush(now - self.ahead);
        if report.at != Time::ZERO {
            report.at = report.at + self.ahead;
        }
        report
    }

    fn wait(&mut self, until: Time) {
        self.port.wait(until - self.ahead);
    }

    fn leave(&mut self, now: Time, sink: &mut impl RxSink) -> usize {
        let ahead = self.ahead;
        self.port.leave(now - ahead, &mut Later { sink, ahead })
    }
}

/// Puts arrivals on the clock of whoever uses the port.
struct Later<'a, S> {
    sink: &'a mut S,
    ahead: Span,
}

impl<S: RxSink> RxSink for Later<'_, S> {
    fn came(&mut self, at: Option<Time>) {
        self.sink.came(at.map(|at| at + self.ahead));
    }

    fn datagram(&mut self, meta: RxMeta, bytes: &mut [u8]) {
        self.sink.datagram(meta, bytes);
    }
}
