//! Owns what a seed decides: how large the world is, who comes and goes, and what goes wrong when.

use io::sim::Link;
use link::limits::Limits;
use wire::time::Span;

use super::source::LAYERS_MAX;
use crate::random::Random;

/// Most cores: one more than two, so that a datagram can be at a third one's.
const CORES_MAX: usize = 3;

/// Most streams.
const STREAMS_MAX: usize = 3;

/// Most viewers that watch at once.
const VIEWERS_MAX: usize = 7;

/// Cells of viewers: room for those who come again while their last index rests, and few enough
/// that indexes are used again.
const CELLS: u32 = 32;

/// Faults happen within this time, after everybody had time to come.
const STORM: [Span; 2] = [Span::millis(1500), Span::millis(7500)];

/// Most faults of a run, but for those of the network, which last.
const FAULTS_MAX: usize = 6;

/// Most upgrades of a run, and most from the last turn of a forwarder to the first of the next.
const UPGRADES_MAX: usize = 3;
const STANDS_MAX: Span = Span::millis(20);

/// Changes of what viewers are sent.
const PATHS_MAX: usize = 6;

/// What paths carry: the lowest encoding with its sound, the second, all.
pub const PATHS_BPS: [u64; LAYERS_MAX] = [120_000, 350_000, 8_000_000];

/// What comes along with an upgrade comes so shortly before it, or after it.
const COMPANY: Span = Span::millis(60);

/// Keyframes come only when they are asked for, as from browsers.
const ON_DEMAND: u32 = u32::MAX;

/// Everything that a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How large everything is. Rings are small, so that they are full now and then.
    pub limits: Limits,
    /// How each stream comes in.
    pub streams: Vec<StreamPlan>,
    /// Who watches.
    pub viewers: Vec<ViewerPlan>,
    /// What goes wrong, in the order of time.
    pub faults: Vec<(Span, Fault)>,
    /// How the network is until the storm is over.
    pub link: Link,
    /// When the storm is over.
    pub calm_at: Span,
    /// What dies once more when all is calm: then recovery is timed.
    pub drills: Vec<Drill>,
}

/// How a stream comes in.
#[derive(Clone, Copy, Debug)]
pub struct StreamPlan {
    /// Through a WHIP session; else the sidecar writes it, as for SRT.
    pub by_whip: bool,
    /// Frames from keyframe to keyframe, 25 a second.
    pub group: u32,
    /// Encodings of the picture that its publisher sends.
    pub encodings: usize,
    /// When its publisher comes.
    pub comes: Span,
    /// When its publisher forgets its session and makes another, if it does: that one takes over.
    pub takes_over: Option<Span>,
}

/// Who watches what and when.
#[derive(Clone, Copy, Debug)]
pub struct ViewerPlan {
    /// Index of the stream.
    pub stream: usize,
    /// When it comes.
    pub comes: Span,
    /// How it ends what it began.
    pub leaves: Leave,
    /// When it leaves and comes again, if it does.
    pub restless: Option<Span>,
}

/// How a peer ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// DELETE.
    Deletes,
    /// A DTLS goodbye.
    Closes,
    /// It is not heard of any more.
    Vanishes,
}

/// What dies when all is calm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drill {
    /// The forwarder.
    Forwarder,
    /// The sidecar.
    Sidecar,
    /// The forwarder does not die, but is replaced.
    ForwarderReplaced,
    /// Nor does the sidecar.
    SidecarReplaced,
    /// Nobody dies: viewers want other encodings, and paths carry less and more.
    Layers,
    /// Cores have hardly any time left for a while.
    Overload,
}

/// What becomes of a forwarder that is to take the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Well,
    /// It dies when the one before has left, and another one begins afresh after so long.
    Dies(Span),
    /// It goes on, and dies when it has sent so many datagrams.
    DiesSoon {
        /// Datagrams that it still sends.
        datagrams: u32,
        /// Until the next one is there.
        gap: Span,
    },
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The forwarder dies: between two turns, or when it has sent so many datagrams more.
    ForwarderDies {
        /// Datagrams that it still sends.
        after: Option<u32>,
        /// Whether what it had queued then is with the kernel already.
        is_out: bool,
        /// Until the next one is there.
        gap: Span,
        /// The next one dies, too, when it has sent so many datagrams.
        again: Option<u32>,
    },
    /// The sidecar dies, when it has done so many things more.
    SidecarDies {
        /// Outputs that it still carries out, and packets that it still writes.
        after: u32,
        /// Until the next one is there.
        gap: Span,
        /// The next one dies, too, when it has done so many things.
        again: Option<u32>,
    },
    /// A forwarder takes the place of the one that runs.
    ForwarderReplaced {
        /// From the last turn of the one before to its first.
        stands: Span,
        /// What becomes of it.
        fate: Fate,
    },
    /// A sidecar takes the place of the one that runs, after so long.
    SidecarReplaced(Span),
    /// A core does nothing for a while.
    CoreStalls {
        /// Which one.
        core: usize,
        /// For how long.
        time: Span,
    },
    /// The sidecar does nothing for a while.
    SidecarStalls(Span),
    /// The calendar clock is set, by so many seconds.
    WallJumps(i64),
    /// The host's monotonic clock leaps ahead of its peers', as when the host was asleep.
    ClockLeaps(Span),
    /// A peer's address changes; it may say so by a check at once.
    Moves {
        /// Which of those who are there.
        peer: usize,
        /// By a check at once, or by the next one only.
        says_so: bool,
    },
    /// A core's device takes so many runs a turn for a while.
    Throttled {
        /// Which one.
        core: usize,
        /// How many.
        runs: u32,
        /// For how long.
        time: Span,
    },
    /// Both processes die at once; then each takes its time.
    BothDie {
        /// Until the next forwarder is there, and the next sidecar.
        gaps: [Span; 2],
    },
    /// A viewer restarts ICE.
    RestartsIce(usize),
    /// A viewer wants one layer, or all again.
    Chooses {
        /// Which of those who are there.
        peer: usize,
        /// Whether it wants one.
        one: bool,
    },
    /// A viewer wants one encoding, or what its path carries.
    Pins {
        /// Which of those who are there.
        peer: usize,
        /// Which encoding.
        layer: Option<usize>,
    },
    /// A viewer finds out what its path carries, and says so from now on.
    PathCarries {
        /// Which of those who are there.
        peer: usize,
        /// Bits a second.
        bps: u64,
    },
    /// The path of a peer is cut for a while.
    Cut {
        /// Which of those who are there.
        peer: usize,
        /// For how long.
        time: Span,
    },
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let random = &mut Random::new(seed ^ 0x9147);
        let mut streams: Vec<_> = (0..=random.below(STREAMS_MAX))
            .map(|_| stream(random))
            .collect();
        let viewers = (0..=random.below(VIEWERS_MAX)).map(|_| viewer(random, streams.len()));
        let viewers: Vec<_> = viewers.collect();
        let limits = limits(random, streams.len());
        let calm_at = between(random, STORM);
        let mut faults: Vec<_> = (0..random.below(FAULTS_MAX + 1))
            .map(|_| {
                let at = between(random, [Span::millis(200), calm_at]);
                (at, fault(random, usize::from(limits.cores)))
            })
            .collect();
        let more = &mut Random::new(seed ^ 0x1a7e);
        faults.extend((0..more.below(3)).map(|_| {
            let at = between(more, [Span::millis(200), calm_at]);
            (at, wish(more))
        }));
        for stream in streams.iter_mut().filter(|stream| stream.by_whip) {
            if more.below(2) == 0 {
                stream.group = ON_DEMAND;
            }
        }
        upgrades(
            seed,
            &mut streams,
            calm_at,
            limits.cores.into(),
            &mut faults,
        );
        layers(seed, &mut streams, calm_at, &mut faults);
        faults.sort_by_key(|(at, _)| *at);
        let drills = [Drill::Forwarder, Drill::Sidecar];
        let mut drills: Vec<_> = drills
            .into_iter()
            .filter(|_| random.below(2) == 0)
            .collect();
        if random.below(2) == 0 {
            drills.reverse();
        }
        for drill in [Drill::ForwarderReplaced, Drill::SidecarReplaced] {
            if more.below(2) == 0 {
                drills.insert(more.below(drills.len() + 1), drill);
            }
        }
        if streams.iter().any(|stream| stream.encodings > 1) && more.below(3) == 0 {
            drills.insert(more.below(drills.len() + 1), Drill::Layers);
            if more.below(2) == 0 {
                drills.push(Drill::Overload);
            }
        }
        Self {
            seed,
            limits,
            streams,
            viewers,
            faults,
            link: link(random),
            calm_at,
            drills,
        }
    }

    /// True if nothing that hangs on chance or on a stall comes between a flight of a handshake and
    /// its answer.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Link {
            loss_ppm,
            duplicate_ppm,
            corrupt_ppm,
            ..
        } = self.link;
        self.faults.is_empty() && loss_ppm + duplicate_ppm + corrupt_ppm == 0
    }
}

/// Who sends several encodings, and what paths carry.
fn layers(seed: u64, streams: &mut [StreamPlan], calm_at: Span, faults: &mut Vec<(Span, Fault)>) {
    let random = &mut Random::new(seed ^ 0x1a4e);
    for stream in streams.iter_mut().filter(|stream| stream.by_whip) {
        stream.encodings = 1 + random.below(LAYERS_MAX);
    }
    faults.extend((0..random.below(PATHS_MAX)).map(|_| {
        let at = between(random, [Span::millis(500), calm_at]);
        let (peer, carries) = (random.below(VIEWERS_MAX), random.below(LAYERS_MAX));
        match random.below(3) {
            0 => (
                at,
                Fault::Pins {
                    peer,
                    layer: Some(carries),
                },
            ),
            _ => (
                at,
                Fault::PathCarries {
                    peer,
                    bps: PATHS_BPS[carries],
                },
            ),
        }
    }));
}

/// Upgrades, and what happens at the same time: rings are full since a process stands still, a
/// publisher takes over, a viewer moves or wants another layer, a device is slow.
fn upgrades(
    seed: u64,
    streams: &mut [StreamPlan],
    calm_at: Span,
    cores: usize,
    faults: &mut Vec<(Span, Fault)>,
) {
    let random = &mut Random::new(seed ^ 0x0b57);
    for _ in 0..random.below(UPGRADES_MAX + 1) {
        let at = between(random, [Span::millis(200), calm_at]);
        let near = between(random, [Span(at.0.saturating_sub(COMPANY.0)), at + COMPANY]);
        let time = between(random, [Span::millis(5), Span::millis(300)]);
        let (core, peer) = (random.below(cores), random.below(VIEWERS_MAX));
        match random.below(8) {
            0 => faults.push((near, Fault::SidecarStalls(time))),
            1 => faults.push((near, Fault::CoreStalls { core, time })),
            2 => faults.push((near, Fault::RestartsIce(peer))),
            3 => faults.push((near, Fault::Chooses { peer, one: true })),
            4 => {
                let says_so = random.below(2) == 0;
                faults.push((near, Fault::Moves { peer, says_so }));
            }
            5 => {
                let runs = number(random, 4);
                faults.push((near, Fault::Throttled { core, runs, time }));
            }
            _ => {
                let stream = random.below(streams.len());
                let stream = &mut streams[stream];
                stream.takes_over = Some(Span(near.0.saturating_sub(stream.comes.0)));
            }
        }
        let fate = match random.below(6) {
            0 => Fate::Dies(gap(random)),
            1 => Fate::DiesSoon {
                datagrams: number(random, 40),
                gap: gap(random),
            },
            _ => Fate::Well,
        };
        let stands = between(random, [Span::ZERO, STANDS_MAX]);
        faults.push(match random.below(3) {
            0 => (at, Fault::SidecarReplaced(gap(random))),
            _ => (at, Fault::ForwarderReplaced { stands, fate }),
        });
    }
}

fn stream(random: &mut Random) -> StreamPlan {
    StreamPlan {
        by_whip: random.below(2) == 0,
        group: 20 + number(random, 40),
        encodings: 1,
        comes: between(random, [Span::ZERO, Span::millis(1500)]),
        takes_over: (random.below(3) == 0)
            .then(|| between(random, [Span::millis(1000), Span::millis(6000)])),
    }
}

fn viewer(random: &mut Random, streams: usize) -> ViewerPlan {
    let leaves = [Leave::Deletes, Leave::Closes, Leave::Vanishes];
    ViewerPlan {
        stream: random.below(streams),
        comes: between(random, [Span::ZERO, Span::millis(3000)]),
        leaves: leaves[random.below(leaves.len())],
        restless: (random.below(3) == 0)
            .then(|| between(random, [Span::millis(1000), Span::millis(6000)])),
    }
}

fn limits(random: &mut Random, streams: usize) -> Limits {
    let power = |random: &mut Random, least: u32, steps: usize| least << number(random, steps);
    Limits {
        cores: 1 + u16::try_from(random.below(CORES_MAX)).unwrap_or(0),
        streams_max: u32::try_from(streams).unwrap_or(1),
        viewers_max: CELLS,
        log_packets: power(random, 256, 4),
        commands_max: power(random, 2, 5),
        events_max: power(random, 2, 5),
        punts_max: power(random, 4, 5),
    }
}

fn link(random: &mut Random) -> Link {
    let rarely = |random: &mut Random, most: usize| match random.below(2) {
        0 => 0,
        _ => number(random, most),
    };
    Link {
        latency: between(random, [Span::millis(1), Span::millis(40)]),
        jitter: between(random, [Span::ZERO, Span::millis(15)]),
        loss_ppm: rarely(random, 60_000),
        duplicate_ppm: rarely(random, 20_000),
        corrupt_ppm: rarely(random, 10_000),
        ..Link::default()
    }
}

/// What a viewer may want, or the end of both processes.
fn wish(random: &mut Random) -> Fault {
    let peer = random.below(VIEWERS_MAX);
    match random.below(4) {
        0 => Fault::BothDie {
            gaps: [gap(random), gap(random)],
        },
        1 => Fault::RestartsIce(peer),
        _ => Fault::Chooses {
            peer,
            one: random.below(2) == 0,
        },
    }
}

fn fault(random: &mut Random, cores: usize) -> Fault {
    let gap = gap(random);
    let time = between(random, [Span::millis(5), Span::millis(1200)]);
    let core = random.below(cores);
    let again = (random.below(3) == 0).then(|| number(random, 30));
    match random.below(12) {
        0..=2 => Fault::ForwarderDies {
            after: (random.below(2) == 0).then(|| number(random, 40)),
            is_out: random.below(2) == 0,
            gap,
            again,
        },
        3..=5 => Fault::SidecarDies {
            after: number(random, 12),
            gap,
            again,
        },
        6 => Fault::CoreStalls { core, time },
        7 => Fault::SidecarStalls(time),
        8 if random.below(2) == 0 => {
            Fault::WallJumps(if random.below(2) == 0 { 3600 } else { -3600 })
        }
        8 => Fault::ClockLeaps(between(random, [Span::secs(1), Span::secs(20)])),
        9 => Fault::Throttled {
            core,
            runs: number(random, 4),
            time,
        },
        10 => Fault::Cut {
            peer: random.below(VIEWERS_MAX),
            time: Span(time.0 * 2),
        },
        _ => Fault::Moves {
            peer: random.below(VIEWERS_MAX),
            says_so: random.below(2) == 0,
        },
    }
}

/// Until the next process is there: what a supervisor takes at first, or after early deaths.
fn gap(random: &mut Random) -> Span {
    match random.below(8) {
        0 => between(random, [Span::secs(1), Span::secs(5)]),
        _ => between(random, [Span::millis(1), Span::millis(400)]),
    }
}

fn between(random: &mut Random, [from, to]: [Span; 2]) -> Span {
    // Whole milliseconds: turns are, too.
    let span = to.0.saturating_sub(from.0) / 1_000_000;
    Span(from.0 + random.next_u64() % (span + 1) * 1_000_000)
}

fn number(random: &mut Random, below: usize) -> u32 {
    u32::try_from(random.below(below)).unwrap_or(0)
}
