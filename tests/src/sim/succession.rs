//! Owns how one forwarder takes the place of another: what the cores of the one before do at last,
//! and what becomes of what they leave.

use std::cell::Cell;

use io::sim::Link;
use wire::time::{Span, Time};

use super::forwarder::{Forwarder, Means, SimSeat};
use super::picture::Picture;
use super::plan::Fate;
use super::storm::clean;
use super::watcher::Watcher;
use super::world::World;
use super::{Mutant, lives};

/// How long cores wait for each other, and for their devices: as the worker's loop does.
const LEAVE_TOGETHER: Span = Span::millis(5);
const LEAVE_MAX: Span = Span::millis(10);

/// Between two looks at a device that takes no more.
const LOOK: Span = Span::millis(1);

/// So often a forwarder is replaced in a drill. Paths of viewers lose so many packets meanwhile,
/// until so long after the next one's first turn.
const REPLACED: usize = 3;
const DRILL_LOSS_PPM: u32 = 100_000;
const LOSES: Span = Span::millis(40);

/// After that they have seen the next frame.
const SEEN: Span = Span::millis(100);

/// And what was lost was sent again: asked for each 60 ms, it is not lost ten times.
const REPAIRED: Span = Span::millis(600);

/// What the cores of a forwarder have told ahead and leave, by core.
pub type Left = Vec<(Vec<u8>, Vec<u8>)>;

/// Cores that are about to leave.
pub(super) struct Leaving {
    began: Time,
    cores: Vec<Stage>,
}

/// How far a core is.
enum Stage {
    Turns,
    /// It has received its last.
    Deaf,
    Left(Vec<u8>, Vec<u8>),
}

impl Leaving {
    pub fn new(cores: usize, began: Time) -> Self {
        Self {
            began,
            cores: (0..cores).map(|_| Stage::Turns).collect(),
        }
    }

    /// A core does the next of its last things.
    pub fn turn(&mut self, seat: &mut SimSeat, core: usize, now: Time, told: &[u8]) {
        let all_deaf = !self.cores.iter().any(|one| matches!(one, Stage::Turns));
        let is_late = now >= self.began + LEAVE_TOGETHER;
        match &mut self.cores[core] {
            stage @ Stage::Turns => {
                seat.leave(now);
                *stage = Stage::Deaf;
            }
            stage @ Stage::Deaf if all_deaf || is_late => {
                let mut left = Vec::new();
                let clock = Cell::new(now);
                let clock = || clock.replace(clock.get() + LOOK);
                seat.left(now + LEAVE_MAX, clock, !told.is_empty(), &mut left)
                    .expect("memory for a small handover");
                *stage = Stage::Left(told.to_vec(), left);
            }
            Stage::Deaf | Stage::Left(..) => {}
        }
    }

    /// What was left, once all have.
    pub fn take(&mut self) -> Option<Left> {
        let has_left = |stage: &Stage| matches!(stage, Stage::Left(..));
        self.cores.iter().all(has_left).then(|| {
            let all = self.cores.drain(..);
            all.filter_map(|stage| match stage {
                Stage::Left(told, left) => Some((told, left)),
                _ => None,
            })
            .collect()
        })
    }
}

/// A forwarder that is on its way to the place of another.
pub(super) struct Successor {
    /// From the last turn of the one before to its first.
    pub stands: Span,
    /// What becomes of it.
    pub fate: Fate,
    /// What it goes on with, as soon as the one before has left.
    left: Option<Left>,
}

impl World {
    /// Another forwarder is to take the place of the one that runs.
    pub(super) fn replace_forwarder(&mut self, stands: Span, fate: Fate) {
        let (now, ahead) = (self.stage.now, self.ahead);
        if let Some(forwarder) = &mut self.forwarder
            && self.successor.is_none()
        {
            forwarder.leave(now, ahead);
            self.successor = Some(Successor {
                stands,
                fate,
                left: None,
            });
        }
    }

    /// If the one before has left meanwhile, the place is the other's.
    pub(super) fn hand_over(&mut self) {
        let Some(forwarder) = self.forwarder.take_if(|_| self.successor.is_some()) else {
            return;
        };
        let left = match forwarder.left() {
            Ok(left) => left,
            Err(forwarder) => {
                self.forwarder = Some(forwarder);
                return;
            }
        };
        let bytes: usize = left.iter().map(|(_, left)| left.len()).sum();
        self.stage
            .journal
            .note(format_args!("the forwarder has left"));
        self.tally.left_bytes += u64::try_from(bytes).unwrap_or(0);
        let Some(successor) = &mut self.successor else {
            return;
        };
        successor.left = Some(left);
        self.forwarder_comes = Some(self.stage.now + successor.stands);
        if let Fate::Dies(gap) = successor.fate {
            self.gaps[0] = gap;
            self.forwarder_dies();
        }
    }

    /// What comes to the place: one that goes on with what was left, or one that begins afresh.
    pub(super) fn start_forwarder(&mut self) {
        self.lives += 1;
        let means = Means {
            region: &self.region,
            sockets: &self.sockets,
            seed: self.plan.seed ^ self.lives << 32,
        };
        let (now, ahead) = (self.stage.now, self.ahead);
        let successor = self.successor.take();
        let Some((left, successor)) = successor.and_then(|mut one| Some((one.left.take()?, one)))
        else {
            self.stage
                .journal
                .note(format_args!("a forwarder has come"));
            let mut forwarder = Forwarder::start(&means);
            forwarder.die_after(self.die_again[0].take());
            self.forwarder = Some(forwarder);
            return;
        };
        let waiting: usize = self.sockets.iter().map(|one| one.waiting(now)).sum();
        self.tally.waited += lives::count(waiting);
        self.tally.upgrades += 1;
        let left = match self.mutant {
            Some(Mutant::ForgetsHandover) => Vec::new(),
            Some(Mutant::ForgetsTold) => {
                let rests = left.into_iter().map(|(_, rest)| (Vec::new(), rest));
                rests.collect()
            }
            _ => left,
        };
        let mut forwarder = match Forwarder::succeed(&means, now, ahead, &left) {
            Ok(forwarder) => forwarder,
            Err(why) => return self.stage.journal.fault(format_args!("{why}")),
        };
        if let Fate::DiesSoon { datagrams, gap } = successor.fate {
            self.gaps[0] = gap;
            forwarder.die_after(Some(datagrams));
        }
        self.forwarder = Some(forwarder);
        self.stage.journal.note(format_args!(
            "a forwarder goes on, and {waiting} datagrams have waited for it"
        ));
    }

    /// Forwarders are replaced one after the other, while viewers lose packets and ask for them
    /// again: all of them get everything.
    pub(super) fn drill_upgrade(&mut self) {
        let skips = self.skips();
        for _ in 0..REPLACED {
            self.set_paths(Link {
                loss_ppm: DRILL_LOSS_PPM,
                ..clean()
            });
            let before = Span::millis(self.below(60));
            self.briskly(before);
            let stands = Span::millis(self.below(20));
            self.replace_forwarder(stands, Fate::Well);
            self.briskly(stands + LOSES);
            self.set_paths(clean());
            let lossless = self.stage.now;
            self.briskly(SEEN);
            self.must_have_media_since(lossless, true);
        }
        if self.mutant == Some(Mutant::SkipsFrame) {
            self.skip_frame();
        }
        self.briskly(REPAIRED);
        let now = self.skips();
        let pictures = self.watchers.iter().filter_map(Watcher::picture);
        let missing: Vec<_> = pictures.flat_map(Picture::missing).collect();
        if (now != skips || !missing.is_empty()) && self.goes_on() {
            self.stage.journal.fault(format_args!(
                "over an upgrade packets were left out, or not sent again: {skips:?} before, \
                 {now:?} after it, {missing:?} missing"
            ));
        }
    }

    /// By viewer, what was left out before it was numbered, and what was not sent again.
    fn skips(&self) -> Vec<(usize, u32, usize)> {
        let seen = |one: &Watcher| {
            let picture = one.picture()?;
            Some((one.number, picture.skips, picture.given_up))
        };
        self.watchers.iter().filter_map(seen).collect()
    }

    fn set_paths(&self, link: Link) {
        let clients = self.watchers.iter().filter_map(Watcher::client);
        clients.for_each(|one| self.stage.net.set_link_of(one.address().ip().into(), link));
    }

    fn below(&mut self, count: usize) -> u64 {
        lives::count(self.stage.random.below(count))
    }
}
