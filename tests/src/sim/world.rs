//! Owns one run: turns of everybody in an order that the seed shuffles, the storm, the calm with
//! its drills, and the end, when nothing may be left.

use io::sim::{Counts, SimNet, SimSocket};
use link::Region;
use link::stats::Counter;
use wire::demux::{Class, classify};
use wire::peer::Ip;
use wire::time::{Span, Time};

use super::forwarder::Forwarder;
use super::journal::Journal;
use super::ledger::Ledger;
use super::plan::{Drill, Plan};
use super::publisher::Publisher;
use super::sidecar::Sidecar;
use super::source::Encoder;
use super::stage::Stage;
use super::succession::Successor;
use super::watcher::Watcher;
use super::{Mutant, Tally};

/// Where peers reach the forwarder.
pub(super) const SERVER: &str = "192.0.2.1:8000";

/// When everything begins.
pub(super) const BEGIN: Time = Time(Span::secs(100).0);

/// What the calendar is ahead of the host's clock.
const UNIX_OFFSET: u64 = 1_700_000_000_000_000_000;

/// Between two turns of everybody.
const STEP: Span = Span::millis(1);

/// Between two turns when everybody has left.
const LAZY_STEP: Span = Span::millis(10);

/// Of a million packets, so many are left out by the mutant that does so.
const MUTANT_PPM: u32 = 2_000;

/// Of a packet that a mutant sends again, this byte is another one: behind all headers.
const SPOILT_BYTE: usize = 40;

/// Between two lines of how much was sent.
const TELL: Span = Span::millis(100);

/// One run.
pub struct World {
    pub(super) plan: Plan,
    pub(super) stage: Stage,
    pub(super) region: Region,
    /// Of the forwarder, one for each core: the supervisor's.
    pub(super) sockets: Vec<SimSocket>,
    pub(super) forwarder: Option<Forwarder>,
    pub(super) successor: Option<Successor>,
    pub(super) sidecar: Option<Sidecar>,
    pub(super) watchers: Vec<Watcher>,
    publishers: Vec<Publisher>,
    /// Those whose streams the sidecar writes.
    pub(super) encoders: Vec<Encoder>,
    pub(super) ledger: Ledger,
    pub(super) tally: Tally,
    pub(super) mutant: Option<Mutant>,
    /// What the host's clock is ahead of the network's.
    pub(super) ahead: Span,
    /// By how many seconds the calendar was set.
    pub(super) wall_shift: i64,
    pub(super) sidecar_stalls_until: Time,
    pub(super) forwarder_comes: Option<Time>,
    pub(super) sidecar_comes: Option<Time>,
    /// Whether what a forwarder had queued when it died had left.
    pub(super) is_out: bool,
    /// After how many datagrams and things the next processes die.
    pub(super) die_again: [Option<u32>; 2],
    /// Sessions that were live when a sidecar left its place: the next one knows them.
    pub(super) live_before: Vec<String>,
    pub(super) gaps: [Span; 2],
    pub(super) throttled_until: Vec<Option<Time>>,
    pub(super) cuts: Vec<(Time, Ip)>,
    pub(super) faults_done: usize,
    pub(super) lives: u64,
}

impl World {
    /// Before the first turn.
    ///
    /// # Panics
    /// When there is no memory.
    #[must_use]
    pub fn new(plan: Plan, journal: Journal, mutant: Option<Mutant>) -> Self {
        let seed = plan.seed;
        journal.tick(BEGIN);
        journal.note(format_args!("{plan:?}"));
        let net = SimNet::new(seed, plan.link);
        let region = Region::create(&plan.limits).expect("memory for a small world");
        let viewers = plan.viewers.iter().enumerate();
        let watchers = viewers
            .map(|(n, plan)| Watcher::new(n, *plan, BEGIN))
            .collect();
        let streams = || plan.streams.iter().enumerate();
        let by_whip = streams().filter(|(_, plan)| plan.by_whip);
        let publishers = by_whip.map(|(n, plan)| Publisher::new(n, plan, BEGIN, seed));
        let by_sidecar = streams().filter(|(_, plan)| !plan.by_whip);
        let encoders = by_sidecar.map(|(n, plan)| {
            let number = u8::try_from(n).unwrap_or(u8::MAX);
            Encoder::new(number, plan, BEGIN + plan.comes, seed)
        });
        let is_clean = plan.is_clean();
        let server = SERVER.parse().expect("an address");
        let sockets = (0..plan.limits.cores).map(|_| net.socket(server));
        let mut this = Self {
            publishers: publishers.collect(),
            encoders: encoders.collect(),
            sockets: sockets.collect(),
            watchers,
            stage: Stage::new(BEGIN, net, journal.clone(), seed, is_clean),
            region,
            forwarder: None,
            successor: None,
            sidecar: None,
            ledger: Ledger::new(journal),
            tally: Tally::default(),
            mutant,
            ahead: Span::ZERO,
            wall_shift: 0,
            sidecar_stalls_until: Time::ZERO,
            forwarder_comes: Some(BEGIN),
            sidecar_comes: Some(BEGIN),
            is_out: false,
            die_again: [None; 2],
            live_before: Vec::new(),
            gaps: [Span::ZERO; 2],
            throttled_until: vec![None; plan.limits.cores.into()],
            cuts: Vec::new(),
            faults_done: 0,
            lives: 0,
            plan,
        };
        this.mutate();
        this
    }

    /// The storm, the calm, the end.
    #[must_use]
    pub fn run(mut self) -> Tally {
        let calm_at = BEGIN + self.plan.calm_at;
        while self.stage.now < calm_at && self.goes_on() {
            self.turn(STEP);
        }
        self.calm();
        self.settle();
        for drill in self.plan.drills.clone() {
            self.drill(drill);
        }
        self.empty();
        let counts = self.stage.net.counts();
        self.tally.mishaps = counts.lost + counts.duplicated + counts.corrupted;
        self.tally.packets = self.ledger.packets;
        self.tally.jumps = self.ledger.jumps;
        self.tally.reports = self.stage.reports;
        self.tally.told = self.watchers.iter().map(|one| u64::from(one.told)).sum();
        self.tally.repaired = self.count(Counter::RetransmissionSent);
        self.tally
    }

    /// True while nothing was found to be wrong: what comes after a fault says little.
    pub(super) fn goes_on(&self) -> bool {
        !self.stage.journal.has_fault()
    }

    /// Turns for so long.
    pub(super) fn pass(&mut self, span: Span, step: Span) {
        let until = self.stage.now + span;
        while self.stage.now < until && self.goes_on() {
            self.turn(step);
        }
    }

    /// Everybody, once.
    pub(super) fn turn(&mut self, step: Span) {
        self.stage.now = self.stage.now + step;
        self.stage.journal.tick(self.stage.now);
        self.tell();
        self.befall();
        self.live();
        let cores = usize::from(self.plan.limits.cores);
        let (viewers, publishers) = (self.watchers.len(), self.publishers.len());
        let mut order: Vec<usize> = (0..cores + 1 + viewers + publishers).collect();
        for place in (1..order.len()).rev() {
            order.swap(place, self.stage.random.below(place + 1));
        }
        for who in order {
            if who < cores {
                self.turn_core(who);
            } else if who == cores {
                self.turn_sidecar();
            } else if who <= cores + viewers {
                let desk = Self::desk(&mut self.sidecar, self.sidecar_stalls_until, &self.stage);
                self.watchers[who - cores - 1].turn(&mut self.stage, desk);
            } else {
                let desk = Self::desk(&mut self.sidecar, self.sidecar_stalls_until, &self.stage);
                self.publishers[who - cores - 1 - viewers].turn(&mut self.stage, desk);
            }
            self.after_sidecar();
        }
    }

    /// How much was sent so far: with the same seed the same, but for bytes, as signatures of a
    /// handshake are a byte longer or shorter by chance.
    fn tell(&mut self) {
        if self.stage.now.0.is_multiple_of(TELL.0) {
            let stray = self.sidecar.as_ref().map_or(0, Sidecar::stray_cells);
            if stray > 0 {
                self.stage
                    .journal
                    .fault(format_args!("{stray} cells are open and nobody's"));
            }
            let (counts, media) = (self.stage.net.counts(), self.ledger.packets);
            let Counts {
                sent,
                lost,
                duplicated,
                corrupted,
                unbound,
                ..
            } = counts;
            self.stage.journal.note(format_args!(
                "{sent} datagrams, {media} of media; {lost} lost, {duplicated} repeated, \
                 {corrupted} damaged, {unbound} for nobody"
            ));
        }
    }

    /// Whom requests reach: nobody while the sidecar is dead or stalls.
    pub(super) fn desk<'a>(
        sidecar: &'a mut Option<Sidecar>,
        stalls_until: Time,
        stage: &Stage,
    ) -> Option<&'a mut Sidecar> {
        sidecar.as_mut().filter(|_| stalls_until <= stage.now)
    }

    fn turn_core(&mut self, core: usize) {
        let Some(forwarder) = &mut self.forwarder else {
            return;
        };
        let (now, ahead) = (self.stage.now, self.ahead);
        let unix = (now + ahead).0 + UNIX_OFFSET;
        let unix = unix.saturating_add_signed(self.wall_shift * 1_000_000_000);
        let lives = forwarder.turn(core, now, ahead, unix);
        let sent = forwarder.take_sent(core);
        for (to, datagram) in sent {
            self.show(to, datagram);
        }
        match lives {
            true => self.hand_over(),
            false => self.forwarder_dies(),
        }
    }

    fn turn_sidecar(&mut self) {
        let now = self.stage.now;
        if self.sidecar_stalls_until > now {
            return;
        }
        for encoder in &mut self.encoders {
            let stream = usize::from(encoder.stream());
            let Some(sidecar) = &mut self.sidecar else {
                encoder.skip(now);
                continue;
            };
            loop {
                let shots = encoder.turn(now);
                if shots.is_empty() {
                    break;
                }
                sidecar.write(now, stream, &shots);
            }
        }
        if let Some(sidecar) = &mut self.sidecar {
            sidecar.turn(now);
        }
    }

    /// What it has told workers is expected from now on; and if it has died, that is seen to.
    fn after_sidecar(&mut self) {
        let Some(sidecar) = &mut self.sidecar else {
            return;
        };
        for add in sidecar.added.drain(..) {
            self.ledger.expect(&add);
        }
        self.tally.sessions += std::mem::take(&mut sidecar.established);
        if sidecar.is_dead {
            self.sidecar_dies();
        }
    }

    /// Looks at what is sent, or at what a mutant makes of it.
    fn show(&mut self, to: Ip, mut datagram: Vec<u8>) {
        let is_its = |mutant| match mutant {
            Mutant::RepeatsNonce | Mutant::SkipsNumber => classify(&datagram) == Class::Rtp,
            Mutant::RepeatsReport => classify(&datagram) == Class::Rtcp,
            _ => false,
        };
        let mutant = self.mutant.filter(|mutant| is_its(*mutant));
        if mutant != Some(Mutant::SkipsNumber) || !self.stage.random.chance_ppm(MUTANT_PPM) {
            self.ledger.look(to, &datagram);
        }
        if matches!(mutant, Some(Mutant::RepeatsNonce | Mutant::RepeatsReport)) {
            if let Some(byte) = datagram.get_mut(SPOILT_BYTE) {
                *byte ^= 1;
            }
            self.ledger.look(to, &datagram);
        }
    }

    fn mutate(&mut self) {
        let publishers = self.publishers.iter_mut().map(|one| &mut one.encoder);
        for encoder in publishers.chain(&mut self.encoders) {
            match self.mutant {
                Some(Mutant::SwapsStreams) => {
                    encoder.says_stream = encoder.stream().wrapping_add(1);
                }
                Some(Mutant::ChangesByte) => encoder.is_spoilt = true,
                _ => {}
            }
        }
    }

    /// One frame of each stream is sent to nobody.
    pub(super) fn skip_frame(&mut self) {
        let publishers = self.publishers.iter_mut().map(|one| &mut one.encoder);
        for encoder in publishers.chain(&mut self.encoders) {
            encoder.leave_out();
        }
    }

    /// A counter over all cores.
    pub(super) fn count(&self, counter: Counter) -> u64 {
        let cores = (0..self.plan.limits.cores).map(link::ids::CoreId);
        let stats = cores.filter_map(|core| self.region.stats(core).ok());
        stats.map(|stats| stats.read(counter)).sum()
    }

    /// Everybody leaves.
    pub(super) fn disperse(&mut self) {
        self.stage.journal.note(format_args!("everybody leaves"));
        for watcher in &mut self.watchers {
            watcher.leave(&mut self.stage, self.sidecar.as_mut());
        }
        for publisher in &mut self.publishers {
            publisher.leave(&self.stage, self.sidecar.as_mut());
        }
        self.encoders.clear();
    }

    /// The sessions of publishers, `None` for those who have none with keys.
    pub(super) fn sessions_of_publishers(&self) -> impl Iterator<Item = Option<&str>> {
        self.publishers.iter().map(Publisher::session)
    }

    pub(super) fn lazily(&mut self, span: Span) {
        self.pass(span, LAZY_STEP);
    }

    pub(super) fn briskly(&mut self, span: Span) {
        self.pass(span, STEP);
    }

    pub(super) fn gap(&mut self, drill: Drill, gap: Span) {
        let is_sidecars = matches!(drill, Drill::Sidecar | Drill::SidecarReplaced);
        self.gaps[usize::from(is_sidecars)] = gap;
    }
}
