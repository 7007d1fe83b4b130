//! Owns one core: everything that it needs, allocated here and never after, and one turn. Hot.

use crate::error::Error;
use crate::handoff::Exchange;
use crate::housekeep::{Intake, Tally, Weighed};
use crate::load_limit::LoadLimit;
use crate::meter::Meter;
use io::Port;
use link::Region;
use link::ids::CoreId;
use link::wake::{Sleeper, Waker};
use plane::Cipher;
use plane::{Blank, Outlets, Plane};
use wire::time::{Span, Time};

/// Time between two ticks of the plane: fine enough for time-outs and reports, and a thousand
/// times rarer than a busy core turns.
const TICK: Span = Span::millis(10);

/// A core that sleeps wakes at least so often, so that its heartbeat says that it lives.
const SLEEP_MAX: Span = Span::millis(100);

/// While runs wait for a device that takes no more, it is asked again after this.
const CONGESTED: Span = Span::millis(1);

/// What a seat is made of, besides its port.
pub struct SeatConfig<'a> {
    /// The memory that it shares with control.
    pub region: &'a Region,
    /// Which worker it is.
    pub core: CoreId,
    /// The inboxes of all cores.
    pub exchange: &'a Exchange,
    /// What seals for viewers with AES-GCM.
    pub cipher: Cipher,
    /// Random, for hashes and offsets.
    pub seed: u64,
}

/// One core.
pub struct Seat<P> {
    core: CoreId,
    port: P,
    plane: Plane,
    intake: Intake,
    exchange: Exchange,
    tally: Tally,
    meter: Meter,
    load_limit: Option<LoadLimit>,
    sleeper: Sleeper,
    control: Waker,
    tick_at: Time,
}

/// What a turn has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Datagrams that came in, from the network and from other cores.
    pub received: usize,
    /// Commands applied and handshake datagrams sent for control.
    pub asked: usize,
    /// Datagrams that went out to viewers.
    pub sent: usize,
    /// Runs that the kernel has not taken yet.
    pub waiting: u32,
}

impl Turn {
    /// True if there was anything to do.
    #[must_use]
    pub fn worked(&self) -> bool {
        self.received + self.asked + self.sent > 0
    }
}

impl<P: Port> Seat<P> {
    /// Takes the ends of the link and allocates everything.
    ///
    /// # Errors
    /// Another worker holds the ends, or there is no such core.
    pub fn new(config: &SeatConfig<'_>, port: P) -> Result<Self, Error> {
        let limits = config.region.limits();
        Self::with(config, port, Blank::new(config.core, limits, config.seed))
    }

    /// The same with what was allocated before.
    ///
    /// # Errors
    /// As [`Seat::new`].
    pub fn with(config: &SeatConfig<'_>, port: P, blank: Blank) -> Result<Self, Error> {
        let SeatConfig { region, core, .. } = *config;
        let failed = |cause| Error::Link {
            core: core.0,
            cause,
        };
        let sleeper = region.sleeper(core).map_err(failed)?;
        let outlets = Outlets::take(region, core).map_err(failed)?;
        let mut plane = blank.with(outlets);
        plane.seal_with(config.cipher);
        Ok(Self {
            core,
            port,
            plane,
            intake: Intake::new(region, core)?,
            exchange: config.exchange.clone(),
            tally: Tally::new(region, core)?,
            meter: Meter::new(),
            load_limit: None,
            sleeper,
            control: region.control_waker(),
            tick_at: Time::ZERO,
        })
    }

    /// Follows this limit from now on; without one it is the whole of the core.
    pub fn follow(&mut self, limit: LoadLimit) {
        self.load_limit = Some(limit);
    }

    /// One turn: in, out, to the kernel, and the slow things when they are due. `unix_ns` tells
    /// the calendar time and is asked once a tick.
    pub fn turn(&mut self, now: Time, unix_ns: impl FnOnce() -> u64) -> Turn {
        self.tally.turn(now);
        self.meter.begin(now, self.tally.stats());
        self.plane.begin(now);
        let mut sink = Weighed {
            plane: &mut self.plane,
            bytes: 0,
            came: None,
        };
        let received = self.port.recv(now, &mut sink);
        let (bytes, came) = (sink.bytes, sink.came);
        self.tally.received(received, bytes);
        if let Some(came) = came {
            self.meter.received(now, came, self.tally.stats());
        }
        let received = received + self.exchange.take(self.core, &mut self.plane);
        self.tally.posted(self.exchange.post(&mut self.plane));
        let applied = self.intake.apply(now, &mut self.plane, &self.tally);
        let asked = applied + self.intake.send(&mut self.port, &self.tally);
        if now >= self.tick_at {
            if let Some(limit) = &self.load_limit {
                self.plane.limit_load(limit.get());
            }
            self.plane.tick(now, unix_ns());
            self.tick_at = now + TICK;
        }
        let sent = self.plane.fan_out(now, &mut self.port);
        let report = self.port.flush(now);
        self.tally.flushed(&report);
        self.plane.flushed(report.at, report.waiting == 0);
        if self.plane.has_told() {
            self.control.wake();
        }
        let turn = Turn {
            received,
            asked,
            sent,
            waiting: report.waiting,
        };
        self.meter.turned(turn);
        turn
    }

    /// Goes on where another worker was; nothing has been done here yet.
    ///
    /// # Errors
    /// What it left cannot be read.
    pub fn go_on(&mut self, now: Time, before: &[u8]) -> Result<(), Error> {
        let core = self.core.0;
        let taken = self.plane.go_on(now, before);
        taken.map_err(|cause| Error::Handover { core, cause })
    }

    /// The first half of leaving: receives nothing more, and sends what there is to be sent.
    pub fn leave(&mut self, now: Time) {
        self.tally.turn(now);
        self.plane.begin(now);
        let mut sink = Weighed {
            plane: &mut self.plane,
            bytes: 0,
            came: None,
        };
        let received = self.port.leave(now, &mut sink);
        let bytes = sink.bytes;
        self.tally.received(received, bytes);
        self.tally.posted(self.exchange.post(&mut self.plane));
    }

    /// Begins to tell of viewers ahead: see [`Plane::begin_ahead`].
    pub fn begin_ahead(&mut self) {
        self.plane.begin_ahead();
    }

    /// Tells of so many viewers more; true: of all.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn tell_ahead(&mut self, most: usize, out: &mut Vec<u8>) -> Result<bool, Error> {
        let core = self.core.0;
        let told = self.plane.tell_ahead(most, out);
        told.map_err(|cause| Error::Handover { core, cause })
    }

    /// The second half, when no core hands anything to another any more: writes what the worker
    /// that takes the place of this one goes on with, and does not know yet if it `knows` what was
    /// told ahead. What the device does not take until `until` is lost.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn left(
        &mut self,
        until: Time,
        clock: impl Fn() -> Time,
        knows: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let core = self.core.0;
        self.exchange.take(self.core, &mut self.plane);
        self.plane.settle();
        loop {
            let now = clock();
            self.plane.fan_out(now, &mut self.port);
            let report = self.port.flush(now);
            self.tally.flushed(&report);
            if report.waiting == 0 || now >= until {
                break;
            }
            self.port.wait(until.min(now + CONGESTED));
        }
        if self.plane.has_told() {
            self.control.wake();
        }
        let left = self.plane.hand_over(knows, out);
        left.map_err(|cause| Error::Handover { core, cause })
    }

    /// Says that [`Seat::sleep`] comes next: what the core does until then is work, however little
    /// it found.
    pub fn rest(&mut self, now: Time) {
        self.meter.rest(now, self.tally.stats());
    }

    /// Blocks until there is work, but not past `until`. `stopping` is asked after everybody has
    /// been told that this core sleeps: who says stop and then wakes it is heard.
    pub fn sleep(&mut self, now: Time, last: Turn, until: Time, stopping: impl Fn() -> bool) {
        if last.waiting > 0 {
            self.port.wait(until.min(now + CONGESTED));
            return;
        }
        self.sleeper.prepare();
        let work = self.plane.ready() || !self.intake.is_empty();
        if !work && self.exchange.is_empty(self.core) && !stopping() {
            self.tally.sleep();
            self.port.wait(until.min(self.deadline(now)));
        }
        self.sleeper.clear();
    }

    /// When this core has to turn next, whatever happens.
    #[must_use]
    pub fn deadline(&self, now: Time) -> Time {
        self.plane.next_deadline().min(now + SLEEP_MAX)
    }

    /// The port, for the faults of a simulation.
    pub fn port(&mut self) -> &mut P {
        &mut self.port
    }

    /// The plane, to look at.
    #[must_use]
    pub fn plane(&self) -> &Plane {
        &self.plane
    }
}
