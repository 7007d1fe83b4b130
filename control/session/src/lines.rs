//! Owns control's ends of the link: commands and handshake datagrams down, events and punts up.

use crate::{Holder, Sessions};
use link::channel::{CommandProducer, EventConsumer, PuntConsumer, PuntProducer};
use link::command::Command;
use link::event::Event;
use link::ids::{CoreId, ViewerId};
use link::punt::PuntError;
use link::region::{LinkError, Presence, Region, Role};
use link::viewer::{LEASES, Viewer};
use link::wake::Waker;
use std::collections::VecDeque;
use wire::peer::{Ip, Peer};
use wire::time::Time;
use zeroize::Zeroize;

/// Punts taken from one worker in a turn. Each may cost a signature, half a millisecond: what they
/// bring up is to go out, and what time has brought up is to be done, before more are taken.
const PUNTS_A_TURN: usize = 16;

/// Datagrams that wait for room in a worker's ring. As long as any do, no punts are taken that
/// would bring up more; the rest is what timers repeat, for all handshakes at once by default.
const OUTGOING_MAX: usize = 1024;

/// The link, worker by worker.
pub struct Lines {
    region: Region,
    workers: Vec<Line>,
    /// How often a forwarder had joined when we last looked.
    joins: u32,
    /// Handshake datagrams that a worker had no room for; their protocols send them again.
    punt_lost: u64,
}

struct Line {
    commands: CommandProducer,
    /// Commands that the ring had no room for; bounded by what `Sessions` holds.
    waiting: VecDeque<Command>,
    events: EventConsumer,
    punts_in: PuntConsumer,
    punts_out: PuntProducer,
    /// Datagrams that the ring had no room for, at most [`OUTGOING_MAX`].
    outgoing: VecDeque<(Peer, Ip, Vec<u8>)>,
    waker: Waker,
}

impl Lines {
    /// Takes control's ends.
    ///
    /// # Errors
    /// Another control holds them.
    pub fn open(region: Region) -> Result<Self, LinkError> {
        let open = |core: CoreId| -> Result<Line, LinkError> {
            Ok(Line {
                commands: region.commands_producer(core)?,
                waiting: VecDeque::new(),
                events: region.events_consumer(core)?,
                punts_in: region.punts_in_consumer(core)?,
                punts_out: region.punts_out_producer(core)?,
                outgoing: VecDeque::new(),
                waker: region.waker(core)?,
            })
        };
        let workers = (0..region.limits().cores)
            .map(|n| open(CoreId(n)))
            .collect::<Result<_, _>>()?;
        let joins = region.presence(Role::Forwarder).joins;
        Ok(Self {
            region,
            workers,
            joins,
            punt_lost: 0,
        })
    }

    /// Gives a worker a command, now or as soon as there is room, in order.
    pub fn command(&mut self, core: CoreId, command: Command) {
        if let Some(line) = self.workers.get_mut(usize::from(core.0)) {
            line.waiting.push_back(command);
            line.send_waiting();
        }
    }

    /// Sends a handshake datagram through a worker's socket, now or as soon as there is room.
    pub fn transmit(&mut self, core: CoreId, peer: Peer, local: Ip, bytes: Vec<u8>) {
        let Some(line) = self.workers.get_mut(usize::from(core.0)) else {
            return;
        };
        if line.outgoing.len() < OUTGOING_MAX {
            line.outgoing.push_back((peer, local, bytes));
        } else {
            self.punt_lost += 1;
        }
        self.punt_lost += line.send_outgoing(core);
    }

    /// Tries again what there was no room for. True if something still waits.
    pub fn retry(&mut self) -> bool {
        for (core, line) in (0..).map(CoreId).zip(&mut self.workers) {
            line.send_waiting();
            self.punt_lost += line.send_outgoing(core);
        }
        let waits = |line: &Line| !line.waiting.is_empty() || !line.outgoing.is_empty();
        self.workers.iter().any(waits)
    }

    /// Takes some of what workers have sent; [`Lines::is_quiet`] says if there is more.
    pub fn receive(&mut self, now: Time, sessions: &mut Sessions) {
        for (core, line) in (0..).map(CoreId).zip(&mut self.workers) {
            while let Some(event) = line.events.pop() {
                sessions.event(now, core, event);
                // A viewer of an earlier control is nobody's session here; its cell ends too.
                if let Event::ViewerGone(viewer, _) = event {
                    close(&self.region, viewer);
                }
            }
            for _ in 0..PUNTS_A_TURN {
                if !line.outgoing.is_empty() {
                    break;
                }
                let taken = line.punts_in.pop(|punt| {
                    sessions.punt(now, core, punt.peer, punt.local, punt.bytes);
                });
                if taken.is_none() {
                    break;
                }
            }
        }
    }

    /// True if nothing has come from any worker that could be taken now.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let has_none = |line: &Line| line.punts_in.is_empty() || !line.outgoing.is_empty();
        let mut lines = self.workers.iter();
        lines.all(|line| line.events.is_empty() && has_none(line))
    }

    /// Tells a forwarder that has come since the last look of all viewers: it knows nothing. False:
    /// none has.
    pub fn refill(&mut self, now: Time, sessions: &mut Sessions) -> bool {
        let presence = self.region.presence(Role::Forwarder);
        let is_new = presence.alive && presence.joins != self.joins;
        if is_new {
            self.joins = presence.joins;
            let cell = |index| self.region.viewer_at(index);
            let leases = |index| cell(index).map_or([0; LEASES], |viewer| viewer.leases());
            for core in self.cores() {
                sessions.worker_restarted(now, core, leases);
            }
        }
        is_new
    }

    /// The cell of a viewer, opened if it is not.
    ///
    /// # Errors
    /// There is no such viewer, or its generation is of the past.
    pub fn cell(&self, viewer: ViewerId) -> Result<Viewer, LinkError> {
        let cell = self.region.viewer(viewer);
        cell.or_else(|_| self.region.open_viewer_as(viewer))
    }

    /// Closes the cell of a viewer, if it is open.
    pub fn close(&self, viewer: ViewerId) {
        close(&self.region, viewer);
    }

    /// Who holds a viewer.
    #[must_use]
    pub fn holder(&self, viewer: ViewerId) -> Holder {
        let owner = self.region.viewer(viewer).ok().and_then(|v| v.owner());
        if let Some(core) = owner {
            return Holder::Core(core);
        }
        // Looked at after the cell: a dead forwarder is declared so before its cells are set free.
        // In one process there is no keeper, and no worker dies.
        let Presence { joins, alive } = self.region.presence(Role::Forwarder);
        if joins == self.joins && (alive || joins == 0) {
            Holder::Nobody
        } else {
            Holder::Unknown
        }
    }

    /// Workers by number.
    pub fn cores(&self) -> impl Iterator<Item = CoreId> + use<> {
        (0..self.region.limits().cores).map(CoreId)
    }

    /// Handshake datagrams that a worker had no room for.
    #[must_use]
    pub fn punt_lost(&self) -> u64 {
        self.punt_lost
    }
}

fn close(region: &Region, viewer: ViewerId) {
    if let Ok(cell) = region.viewer(viewer) {
        cell.close();
    }
}

impl Line {
    /// Gives the worker what waits, as far as it has room; how many can never be sent.
    fn send_outgoing(&mut self, core: CoreId) -> u64 {
        let (mut any, mut lost) = (false, 0);
        while let Some((peer, local, bytes)) = self.outgoing.front() {
            match self.punts_out.push(core, *peer, *local, bytes) {
                Ok(()) => any = true,
                Err(PuntError::Full) => break,
                Err(PuntError::TooLong) => lost += 1,
            }
            self.outgoing.pop_front();
        }
        if any {
            self.waker.wake();
        }
        lost
    }

    fn send_waiting(&mut self) {
        while let Some(command) = self.waiting.front() {
            if self.commands.push(command).is_err() {
                return;
            }
            if let Some(sent) = self.waiting.front_mut() {
                sent.zeroize();
            }
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
