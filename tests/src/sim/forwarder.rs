//! Owns the forwarder's process: real seats over ports of the simulated network, and its death.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use io::port::{Port, PortConfig};
use io::sim::{SimNet, SimPort};
use link::Region;
use link::ids::CoreId;
use link::region::Role;
use wire::datagram::RunMeta;
use wire::peer::Ip;
use wire::time::{Span, Time};
use worker::{Cipher, Exchange, Seat, SeatConfig};

use crate::tap::{Tap, Watch};

/// The process.
pub struct Forwarder {
    region: Region,
    seats: Vec<Seat<Tap<SimPort, Seen>>>,
    stalled_until: Vec<Time>,
}

/// What was sent, and when to die.
pub struct Seen {
    /// To whom, and what.
    pub datagrams: Vec<(Ip, Vec<u8>)>,
    dies_after: Option<u32>,
}

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

impl Forwarder {
    /// Joins the memory and takes its ends, as a new process does.
    ///
    /// # Panics
    /// When an end is not free: the last one was not reaped.
    #[must_use]
    pub fn start(region: &Region, net: &SimNet, server: SocketAddr, seed: u64) -> Self {
        region.joined(Role::Forwarder);
        let region = region.seen_by(Role::Forwarder);
        let exchange = Exchange::new(&region);
        let cores = region.limits().cores;
        let seats = (0..cores).map(CoreId).map(|core| {
            let seen = Seen {
                datagrams: Vec::new(),
                dies_after: None,
            };
            let port = Tap::new(net.port(server, &PortConfig::default()), seen);
            let config = SeatConfig {
                region: &region,
                core,
                exchange: &exchange,
                cipher: Cipher::best(),
                seed: seed ^ u64::from(core.0),
            };
            Seat::new(&config, port).expect("the ends are free")
        });
        Self {
            seats: seats.collect(),
            stalled_until: vec![Time::ZERO; cores.into()],
            region,
        }
    }

    /// A turn of a core, unless it stalls. False: the process has died in it.
    pub fn turn(&mut self, core: usize, now: Time, ahead: Span, unix_ns: u64) -> bool {
        if self.stalled_until[core] > now {
            return true;
        }
        let seat = &mut self.seats[core];
        seat.port().ahead = ahead;
        let turned = catch_unwind(AssertUnwindSafe(|| seat.turn(now + ahead, || unix_ns)));
        match turned {
            Ok(_) => true,
            Err(cause) if cause.is::<Death>() => false,
            Err(cause) => resume_unwind(cause),
        }
    }

    /// What a core has sent since the last time.
    pub fn take_sent(&mut self, core: usize) -> Vec<(Ip, Vec<u8>)> {
        std::mem::take(&mut self.seats[core].port().watch.datagrams)
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
