//! Owns the forwarder's process: real seats over ports of the simulated network, its death, and how
//! it leaves its place to another one.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use io::port::{Port, PortConfig};
use io::sim::{SimPort, SimSocket};
use link::Region;
use link::ids::CoreId;
use link::region::Role;
use wire::datagram::RunMeta;
use wire::peer::Ip;
use wire::time::{Span, Time};
use worker::{Blank, Cipher, Exchange, Seat, SeatConfig};

use super::burden::Burden;
use super::succession::{Leaving, Left};
use crate::tap::{Tap, Watch};

/// The process.
pub struct Forwarder {
    region: Region,
    seats: Vec<SimSeat>,
    stalled_until: Vec<Time>,
    leaving: Option<Leaving>,
    /// By core, what it has told ahead, and when.
    told: Vec<(Vec<u8>, Time)>,
    /// What takes time of its cores besides.
    pub(super) burden: Option<Box<Burden>>,
}

/// A core over the simulated network.
pub(super) type SimSeat = Seat<Tap<SimPort, Seen>>;

/// What a process begins with.
pub struct Means<'a> {
    /// The memory, as its keeper has it.
    pub region: &'a Region,
    /// One for each core; whoever supervises keeps them open.
    pub sockets: &'a [SimSocket],
    /// For hashes and offsets.
    pub seed: u64,
}

/// What was sent, and when to die.
pub struct Seen {
    /// To whom, and what.
    pub datagrams: Vec<(Ip, Vec<u8>)>,
    dies_after: Option<u32>,
}

/// How long before a core leaves it has told ahead, at the most.
const TOLD_EVERY: [Span; 2] = [Span::millis(90), Span::millis(700)];

/// What unwinds through a turn: the process is no more.
struct Death;

impl Watch for Seen {
    fn sent(&mut self, run: &RunMeta, datagram: &[u8]) {
        match &mut self.dies_after {
            Some(0) => resume_unwind(Box::new(Death)),
            Some(left) => *left -= 1,
            None => {}
        }
        self.datagrams.push((run.peer.ip, datagram.to_vec()));
    }
}

/// Tells of all viewers ahead now and then, as if another one were to come: what is left when it
/// comes was told some time before, or was not.
fn tell(seat: &mut SimSeat, core: usize, now: Time, (told, at): &mut (Vec<u8>, Time)) {
    if now.since(*at) < TOLD_EVERY[core % TOLD_EVERY.len()] {
        return;
    }
    *at = now;
    told.clear();
    seat.begin_ahead();
    let telling = seat.tell_ahead(usize::MAX, told);
    assert!(telling.expect("memory for a few viewers"), "all of them");
}

impl Forwarder {
    /// Joins the memory and takes its ends, as a new process does.
    ///
    /// # Panics
    /// When an end is not free: the last one was not reaped.
    #[must_use]
    pub fn start(means: &Means<'_>) -> Self {
        means.region.joined(Role::Forwarder);
        Self::sit(means, Time::ZERO, &Left::new())
    }

    /// Goes on where the one before was, which has let go of everything.
    ///
    /// # Errors
    /// What that one left cannot be read.
    pub fn succeed(means: &Means<'_>, now: Time, ahead: Span, left: &Left) -> Result<Self, String> {
        let mut this = Self::sit(means, now + ahead, left);
        for (seat, (_, part)) in this.seats.iter_mut().zip(left) {
            seat.port().ahead = ahead;
            let taken = seat.go_on(now + ahead, part);
            taken.map_err(|error| error.to_string())?;
        }
        Ok(this)
    }

    fn sit(means: &Means<'_>, now: Time, left: &Left) -> Self {
        let region = means.region.seen_by(Role::Forwarder);
        let exchange = Exchange::new(&region);
        let seat = |(core, socket): (u16, &SimSocket)| {
            let seen = Seen {
                datagrams: Vec::new(),
                dies_after: None,
            };
            let port = Tap::new(socket.port(&PortConfig::default()), seen);
            let config = SeatConfig {
                region: &region,
                core: CoreId(core),
                exchange: &exchange,
                cipher: Cipher::best(),
                seed: means.seed ^ u64::from(core),
            };
            let mut blank = Blank::new(config.core, region.limits(), config.seed);
            let told = left.get(usize::from(core)).map(|(told, _)| told.as_slice());
            let told = &mut told.unwrap_or_default();
            let learnt = blank.learn(now, &region, config.cipher, told, usize::MAX);
            learnt.expect("what a forwarder tells can be read");
            Seat::with(&config, port, blank).expect("the ends are free")
        };
        Self {
            seats: (0..).zip(means.sockets).map(seat).collect(),
            stalled_until: vec![Time::ZERO; means.sockets.len()],
            leaving: None,
            told: vec![Default::default(); means.sockets.len()],
            burden: None,
            region,
        }
    }

    /// A turn of a core, unless it stalls. False: the process has died in it.
    pub fn turn(&mut self, core: usize, now: Time, ahead: Span, unix_ns: u64) -> bool {
        if self.stalled_until[core] > now {
            return true;
        }
        if let Some(burden) = &mut self.burden
            && let Ok(stats) = self
                .region
                .stats(CoreId(u16::try_from(core).unwrap_or(u16::MAX)))
        {
            burden.weigh(core, now + ahead, &stats);
        }
        let seat = &mut self.seats[core];
        seat.port().ahead = ahead;
        let (leaving, told) = (&mut self.leaving, &mut self.told[core]);
        let turned = catch_unwind(AssertUnwindSafe(|| match leaving {
            Some(leaving) => leaving.turn(seat, core, now + ahead, &told.0),
            None => {
                seat.turn(now + ahead, || unix_ns);
                seat.rest(now + ahead);
                tell(seat, core, now, told);
            }
        }));
        match turned {
            Ok(()) => true,
            Err(cause) if cause.is::<Death>() => false,
            Err(cause) => resume_unwind(cause),
        }
    }

    /// What a core has sent since the last time.
    pub fn take_sent(&mut self, core: usize) -> Vec<(Ip, Vec<u8>)> {
        std::mem::take(&mut self.seats[core].port().watch.datagrams)
    }

    /// Is asked to leave its place: its cores do nothing else in their next turns.
    pub fn leave(&mut self, now: Time, ahead: Span) {
        let cores = self.seats.len();
        self.leaving
            .get_or_insert_with(|| Leaving::new(cores, now + ahead));
    }

    /// What all cores have left, once the last one has; it has let go of everything then.
    ///
    /// # Errors
    /// Itself, while it is not done with that, or was not asked.
    pub fn left(mut self) -> Result<Left, Self> {
        let left = self.leaving.as_mut().and_then(Leaving::take);
        left.ok_or(self)
    }

    /// A core does nothing until then.
    pub fn stall(&mut self, core: usize, until: Time) {
        self.stalled_until[core] = until;
    }

    /// A core's device takes so many runs a turn from now on.
    pub fn throttle(&mut self, core: usize, runs: u32) {
        self.seats[core].port().port().throttle(runs);
    }

    /// It dies when one of its cores has sent so many datagrams more; `None`: it does not.
    pub fn die_after(&mut self, datagrams: Option<u32>) {
        for seat in &mut self.seats {
            seat.port().watch.dies_after = datagrams;
        }
    }

    /// What is done when the process is dead. `is_out`: what it had queued was with the kernel.
    pub fn bury(mut self, now: Time, is_out: bool) {
        if is_out {
            for seat in &mut self.seats {
                let port = seat.port();
                port.flush(now + port.ahead);
            }
        }
        // In this order, as what the dead held is set free by the keeper, not by them.
        self.region.reap(Role::Forwarder);
    }
}
