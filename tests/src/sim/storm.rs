//! Owns the storm: what goes wrong when its time has come, and the end of it.

use io::sim::Link;
use wire::peer::Ip;
use wire::time::{Span, Time};

use super::Mutant;
use super::plan::{Fate, Fault, PATHS_BPS};
use super::source::LAYERS_MAX;
use super::world::{BEGIN, World};

/// What a perfect network still takes.
const CALM_LATENCY: Span = Span::millis(5);

impl World {
    /// What goes wrong now, and what is over.
    pub(super) fn befall(&mut self) {
        let now = self.stage.now;
        while self.stage.is_stormy
            && let Some((at, fault)) = self.plan.faults.get(self.faults_done).copied()
            && BEGIN + at <= now
        {
            self.faults_done += 1;
            self.stage.journal.note(format_args!("{fault:?}"));
            self.inflict(fault);
        }
        for core in 0..self.throttled_until.len() {
            if self.throttled_until[core].is_some_and(|until| until <= now) {
                self.throttled_until[core] = None;
                if let Some(forwarder) = &mut self.forwarder {
                    forwarder.throttle(core, u32::MAX);
                }
            }
        }
        let (over, cuts) = self.cuts.drain(..).partition(|(until, _)| *until <= now);
        self.cuts = cuts;
        let over: Vec<(Time, Ip)> = over;
        for (_, ip) in over {
            let link = if self.stage.is_stormy {
                self.plan.link
            } else {
                clean()
            };
            self.stage.net.set_link_of(ip, link);
        }
    }

    fn inflict(&mut self, fault: Fault) {
        let now = self.stage.now;
        match fault {
            Fault::ForwarderDies {
                after,
                is_out,
                gap,
                again,
            } => {
                (self.is_out, self.gaps[0], self.die_again[0]) = (is_out, gap, again);
                match (after, &mut self.forwarder) {
                    (Some(datagrams), Some(forwarder)) => forwarder.die_after(Some(datagrams)),
                    _ => self.forwarder_dies(),
                }
            }
            Fault::SidecarDies { after, gap, again } => {
                (self.gaps[1], self.die_again[1]) = (gap, again);
                match &mut self.sidecar {
                    Some(sidecar) if after > 0 => sidecar.die_after(Some(after - 1)),
                    _ => self.sidecar_dies(),
                }
            }
            Fault::ForwarderReplaced { stands, fate } => self.replace_forwarder(stands, fate),
            Fault::SidecarReplaced(gap) => {
                self.gaps[1] = gap;
                self.replace_sidecar();
            }
            Fault::BothDie { gaps } => {
                self.gaps = gaps;
                self.forwarder_dies();
                self.sidecar_dies();
            }
            Fault::CoreStalls { core, time } => {
                if let Some(forwarder) = &mut self.forwarder {
                    forwarder.stall(core, now + time);
                }
            }
            Fault::SidecarStalls(time) => self.sidecar_stalls_until = now + time,
            Fault::WallJumps(seconds) => self.wall_shift += seconds,
            Fault::ClockLeaps(span) => {
                self.ahead = self.ahead + span;
                if let Some(sidecar) = &mut self.sidecar {
                    sidecar.ahead = self.ahead;
                }
            }
            Fault::Throttled { core, runs, time } => {
                if let Some(forwarder) = &mut self.forwarder {
                    forwarder.throttle(core, runs);
                    self.throttled_until[core] = Some(now + time);
                }
            }
            Fault::Cut { peer, time } => {
                if let Some(ip) = self.ip_of(peer) {
                    self.stage.net.set_link_of(ip, cut());
                    self.cuts.push((now + time, ip));
                }
            }
            other => self.inflict_peer(other),
        }
    }

    /// What befalls a peer, or what it wants.
    fn inflict_peer(&mut self, fault: Fault) {
        let now = self.stage.now;
        match fault {
            Fault::RestartsIce(peer) => {
                let number = peer % self.watchers.len();
                let desk = Self::desk(&mut self.sidecar, self.sidecar_stalls_until, &self.stage);
                self.watchers[number].restart_ice(&mut self.stage, desk);
            }
            Fault::Chooses { peer, one } => {
                let number = peer % self.watchers.len();
                let desk = Self::desk(&mut self.sidecar, self.sidecar_stalls_until, &self.stage);
                self.watchers[number].choose(now, one, desk);
            }
            Fault::Pins { peer, layer } => {
                let number = peer % self.watchers.len();
                let desk = Self::desk(&mut self.sidecar, self.sidecar_stalls_until, &self.stage);
                self.watchers[number].pin(now, layer, desk);
            }
            Fault::PathCarries { peer, bps } => {
                let number = peer % self.watchers.len();
                self.watchers[number].carries_bps = bps;
            }
            Fault::Moves { peer, says_so } => {
                let number = peer % self.watchers.len();
                self.watchers[number].moves(now, says_so);
            }
            _ => {}
        }
    }

    /// The faults are over; what they did is made good as far as a host would.
    pub(super) fn calm(&mut self) {
        self.stage.journal.note(format_args!("the storm is over"));
        self.stage.is_stormy = false;
        self.stage.net.set_link(clean());
        self.sidecar_stalls_until = Time::ZERO;
        let now = self.stage.now;
        let cuts = std::mem::take(&mut self.cuts);
        self.cuts = cuts.into_iter().map(|(_, ip)| (now, ip)).collect();
        for core in 0..self.throttled_until.len() {
            self.throttled_until[core] = Some(now);
            if let Some(forwarder) = &mut self.forwarder {
                forwarder.stall(core, now);
                forwarder.die_after(None);
            }
        }
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.die_after(None);
        }
        self.die_again = [None; 2];
        for watcher in &mut self.watchers {
            watcher.carries_bps = PATHS_BPS[LAYERS_MAX - 1];
        }
        if let Some(successor) = &mut self.successor {
            successor.fate = Fate::Well;
        }
        if self.mutant == Some(Mutant::ForgetsViewer)
            && let Some(ip) = self.ip_of(0)
        {
            self.stage.net.set_link_of(ip, cut());
            self.cuts.clear();
        }
    }

    fn ip_of(&self, peer: usize) -> Option<Ip> {
        let number = peer % self.watchers.len();
        let client = self.watchers[number].client()?;
        Some(client.address().ip().into())
    }
}

pub(super) fn clean() -> Link {
    Link {
        latency: CALM_LATENCY,
        ..Link::default()
    }
}

fn cut() -> Link {
    Link {
        loss_ppm: 1_000_000,
        ..Link::default()
    }
}
