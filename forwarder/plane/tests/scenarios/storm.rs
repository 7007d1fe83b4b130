//! Storms of feedback: thousands of viewers of a layered stream who ask for everything all the
//! time, next to a stream whose viewers ask for nothing.

use link::command::{AddViewer, Command, IceCredentials, Pin, TRACKS_MAX, TrackOut, VIDEO};
use link::ids::{CoreId, StreamId, ViewerId, ufrag};
use link::keys::{MasterKey, SrtpKeys};
use link::lanes::{LAYERS, LAYERS_MAX};
use link::limits::Limits;
use link::stats::Counter;
use nix::time::{ClockId, clock_gettime};
use seal::Profile;
use wire::datagram::{Egress, RUN_BYTES_MAX, RunMeta, RxMeta, RxSink, Slot};
use wire::peer::{Ip, Peer};
use wire::rtcp_feedback::{TransportRecorder, write_nack, write_pli};
use wire::rtcp_report::{ReportBlock, write_receiver_report};
use wire::seq::newer32;
use wire::time::{Span, Time};

use crate::counting;
use crate::layers::Simulcast;
use crate::world::{LIMITS, Source, UNIX_OFFSET, World};

/// Viewers of the layered stream.
const CROWD: u32 = 10_000;

/// A turn serves 128 of them with a burst; a picture is one.
const TURNS_OF_FRAME: u32 = CROWD.div_ceil(128);

/// Viewers of the other stream.
const BYSTANDERS: u32 = 100;

/// Sizes of the packets of a picture of the other stream: 1.4 Mbit/s.
const OTHER: [usize; 6] = [1000; 6];

/// Datagrams that a port takes in before each fan-out.
const TAKEN_IN: usize = 32;

/// Every viewer sends its feedback once in so many milliseconds.
const EVERY_MS: u64 = 100;

/// Packets that it asks for each time.
const LOST: u32 = 256;

/// Both streams have 30 pictures a second, not in the same turn.
const FRAME_MS: u64 = 33;
const OTHER_AT_MS: u64 = 16;

/// What `pace.rs` says: bytes of repairs at once, and a second for streams below 1 Mbit/s.
const REPAIR_BURST: u64 = 96 * 1024;
const REPAIR_PER_S: u64 = 32_000;

/// How long it lasts, and from when on the publisher hears what it is asked for.
const STORM_MS: u64 = 2000;
const DEAF_MS: u64 = 1000;

/// A viewer that keeps account of numbers only.
struct Watcher {
    id: ViewerId,
    at: RxMeta,
    ssrc: u32,
    /// The next sequence numbers, of media and of repairs.
    next: [u16; 2],
    packets: u32,
    timestamp: u32,
    repair_bytes: u64,
}

impl Watcher {
    fn receive(&mut self, datagram: &[u8]) {
        if is_rtcp(datagram) {
            return;
        }
        let word = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().unwrap());
        let source = word(8).wrapping_sub(self.ssrc) as usize;
        assert!(source < 2, "another viewer's packet");
        let sequence = u16::try_from(word(0) & 0xffff).unwrap();
        assert_eq!(sequence, self.next[source], "source {source}");
        self.next[source] = sequence.wrapping_add(1);
        if source == 1 {
            self.repair_bytes += datagram.len() as u64;
            return;
        }
        let timestamp = word(4);
        let goes_on =
            self.packets == 0 || timestamp == self.timestamp || newer32(timestamp, self.timestamp);
        assert!(goes_on, "time ran back");
        self.timestamp = timestamp;
        self.packets += 1;
    }

    /// A call for a keyframe, and one for all that it was sent lately, twice.
    fn complain(&self) -> [(RxMeta, Vec<u8>); 3] {
        let lost = LOST.min(self.packets);
        let first = self.next[0].wrapping_sub(u16::try_from(lost).unwrap());
        let lost: Vec<u16> = (0..lost)
            .map(|nth| first.wrapping_add(u16::try_from(nth).unwrap()))
            .collect();
        let mut out = [0; 256];
        let pli = write_pli(1, self.ssrc, &mut out);
        let pli = out[..pli].to_vec();
        let nack = write_nack(1, self.ssrc, &lost, &mut out);
        let nack = out[..nack].to_vec();
        [(self.at, pli), (self.at, nack.clone()), (self.at, nack)]
    }
}

/// All of them, and the way to the publisher.
struct Network {
    watchers: Vec<Watcher>,
    memory: Box<[u8]>,
    claimed: Option<RunMeta>,
    /// Where the publisher is, and what it was sent.
    publisher: RxMeta,
    answers: Vec<([u8; 1500], usize)>,
    /// Packets that the bystanders are to get in this turn, and when they had them.
    awaited: u32,
    had_at_ns: u64,
    /// Runs of media and repairs of the crowd that left before that.
    ahead: u32,
}

impl Egress for Network {
    fn segments_max(&self) -> u8 {
        64
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        self.claimed = Some(run);
        self.memory.get_mut(..run.bytes).map(Slot::joined)
    }

    fn commit(&mut self, bytes: usize) {
        let run = self.claimed.take().expect("claimed before");
        if run.peer == self.publisher.peer {
            let mut answer = [0; 1500];
            answer[..bytes].copy_from_slice(&self.memory[..bytes]);
            self.answers.push((answer, bytes));
            return;
        }
        let [.., high, low] = run.peer.ip.0;
        let number = u16::from_be_bytes([high, low]);
        let watcher = &mut self.watchers[usize::from(number)];
        let packets = watcher.packets;
        for datagram in self.memory[..bytes].chunks(usize::from(run.segment_bytes)) {
            watcher.receive(datagram);
        }
        if u32::from(number) < CROWD {
            self.ahead += u32::from(self.awaited > 0 && !is_rtcp(&self.memory));
        } else if self.awaited > 0 {
            self.awaited -= watcher.packets - packets;
            if self.awaited == 0 {
                self.had_at_ns = cpu_ns();
            }
        }
    }
}

/// How long a turn took to serve the bystanders, in ns of processor time.
#[derive(Clone, Copy)]
struct Delay {
    /// From the first datagram of the turn on.
    from_turn: u64,
    /// From when media was in the log.
    from_log: u64,
}

struct Storm {
    world: World,
    network: Network,
    camera: Simulcast,
    other: Source,
    ms: u64,
    /// Calls for keyframes by encoding: when.
    called: [Vec<u64>; LAYERS_MAX],
    /// Calls that the publisher has not heard.
    unheard: [bool; LAYERS_MAX],
    is_deaf: bool,
    rages: bool,
    delays: Vec<Delay>,
    /// Turns without new media, and how long they took, in ns, without what was taken in.
    idle: (u64, u64),
}

impl Storm {
    /// Everybody watches, and has for so long that no keyframe is in the log any more.
    fn brewing() -> Self {
        let limits = Limits {
            viewers_max: 16_384,
            ..LIMITS
        };
        let mut world = World::with(&limits);
        let stream = world.region.open_stream(0, "live/cam").unwrap();
        let camera = Simulcast::join(&mut world, stream);
        let other = world.source(1);
        let mut watchers = Vec::new();
        for n in 0..CROWD {
            let watcher = watch(&mut world, stream, n, Profile::Plain);
            let lane = u8::try_from(LAYERS[n as usize % LAYERS_MAX]).ok();
            let pin = Pin { lane, ..Pin::NONE };
            let now = world.now;
            let choice = Command::ChooseLayer(watcher.id, pin);
            world.plane().apply(now, &choice);
            watchers.push(watcher);
        }
        for n in CROWD..CROWD + BYSTANDERS {
            watchers.push(watch(&mut world, other.id, n, Profile::AeadAes128Gcm));
        }
        let network = Network {
            watchers,
            memory: vec![0; RUN_BYTES_MAX].into_boxed_slice(),
            claimed: None,
            publisher: world.viewers[camera.peer.viewer].at,
            answers: Vec::with_capacity(64),
            awaited: 0,
            had_at_ns: 0,
            ahead: 0,
        };
        let mut storm = Self {
            world,
            network,
            camera,
            other,
            ms: 0,
            called: [const { Vec::new() }; LAYERS_MAX],
            unheard: [false; LAYERS_MAX],
            is_deaf: false,
            rages: false,
            delays: Vec::new(),
            idle: (0, 0),
        };
        storm.run(4000);
        storm
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    /// A millisecond: as many turns as it takes to take in what was sent, and to send out a picture
    /// to everybody.
    fn step(&mut self) {
        self.ms += 1;
        self.world.now = self.world.now + Span::millis(1);
        if self.ms.is_multiple_of(FRAME_MS) {
            self.camera.capture(&mut self.world);
        }
        let mut awaited = 0;
        if self.ms % FRAME_MS == OTHER_AT_MS {
            awaited = BYSTANDERS * u32::try_from(OTHER.len()).unwrap();
            let is_key = self.ms < FRAME_MS;
            self.other.video(self.world.now, is_key, &OTHER);
        }
        let mut datagrams = self.complaints();
        let mut left = &mut datagrams[..];
        let mut more = match self.ms.is_multiple_of(FRAME_MS) {
            true => TURNS_OF_FRAME,
            false => 0,
        };
        loop {
            let (taken, later) = left.split_at_mut(TAKEN_IN.min(left.len()));
            self.turn(taken, awaited);
            (left, awaited) = (later, 0);
            if left.is_empty() && more == 0 {
                break;
            }
            more = more.saturating_sub(1);
        }
        self.hear();
    }

    /// What is sent in this millisecond.
    fn complaints(&self) -> Vec<(RxMeta, Vec<u8>)> {
        if !self.rages {
            return Vec::new();
        }
        let every = usize::try_from(EVERY_MS).unwrap();
        let nth = usize::try_from(self.ms).unwrap() % every;
        let crowd = self.network.watchers[..CROWD as usize].iter();
        let due = crowd.skip(nth).step_by(every);
        due.flat_map(Watcher::complain).collect()
    }

    /// A turn of the core. Nothing is allocated; media that is there goes out in it.
    fn turn(&mut self, datagrams: &mut [(RxMeta, Vec<u8>)], awaited: u32) {
        let now = self.world.now;
        let plane = &mut self.world.planes[0];
        self.network.awaited = awaited;
        counting::begin();
        let begun_ns = cpu_ns();
        plane.begin(now);
        for (at, bytes) in datagrams {
            plane.datagram(*at, bytes);
        }
        let taken_ns = cpu_ns();
        plane.fan_out(now, &mut self.network);
        let ended_ns = cpu_ns();
        if self.ms.is_multiple_of(10) {
            plane.tick(now, now.0 + UNIX_OFFSET);
        }
        assert_eq!(counting::end(), 0, "allocations of a turn");
        if awaited > 0 {
            assert_eq!(self.network.awaited, 0, "left over from the turn");
            self.delays.push(Delay {
                from_turn: self.network.had_at_ns - begun_ns,
                from_log: self.network.had_at_ns - taken_ns,
            });
        } else if !self.ms.is_multiple_of(FRAME_MS) {
            self.idle = (self.idle.0 + 1, self.idle.1 + ended_ns - taken_ns);
        }
    }

    /// What the publisher is told, and does.
    fn hear(&mut self) {
        let viewer = &mut self.world.viewers[self.camera.peer.viewer];
        for (answer, bytes) in self.network.answers.drain(..) {
            viewer.receive(&answer[..bytes]);
        }
        for ssrc in self.camera.peer.calls(&self.world) {
            let mut sources = self.camera.sources.iter();
            let layer = sources.position(|source| source.0 == ssrc).unwrap();
            self.called[layer].push(self.ms);
            self.unheard[layer] = true;
        }
        if !self.is_deaf {
            for (key, unheard) in self.camera.keys.iter_mut().zip(&mut self.unheard) {
                *key |= std::mem::take(unheard);
            }
        }
    }

    fn counts(&self) -> [u64; 6] {
        [
            Counter::PliReceived,
            Counter::NackReceived,
            Counter::RetransmissionRepeated,
            Counter::RetransmissionOverBudget,
            Counter::RetransmissionTooOld,
            Counter::RetransmissionSent,
        ]
        .map(|counter| self.world.count(counter))
    }
}

fn watch(world: &mut World, stream: StreamId, n: u32, profile: Profile) -> Watcher {
    // The publisher has the first place.
    let id = world.region.open_viewer(n + 1).unwrap().id();
    let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
    let ip = |last: [u8; 2]| {
        let mut ip = [0; 16];
        ip[10..14].copy_from_slice(&[0xff, 0xff, 10, 1]);
        ip[14..].copy_from_slice(&last);
        Ip(ip)
    };
    let at = RxMeta {
        peer: Peer {
            ip: ip([high, low]),
            port: 40_000,
        },
        local: ip([255, 255]),
    };
    let ssrc = 0x1000_0000 + 2 * n;
    let mut tracks = [TrackOut::default(); TRACKS_MAX];
    tracks[VIDEO] = TrackOut {
        ssrc,
        rtx_ssrc: ssrc + 1,
        clock_hz: 90_000,
        payload_type: 102,
        rtx_payload_type: 103,
        first_index: 1000,
        ..TrackOut::default()
    };
    let mut master = MasterKey::default();
    master.key[..profile.key_bytes()].fill(high ^ low);
    let add = AddViewer {
        viewer: id,
        stream,
        peer: at.peer,
        local: at.local,
        ice: IceCredentials {
            ufrag: ufrag(id.index, [7; 12]),
            pwd: [b'p'; 24],
        },
        keys: SrtpKeys {
            profile,
            send: master,
            receive: master,
        },
        tracks,
        rtcp_first_index: 0,
        encoding: None,
    };
    let now = world.now;
    world.plane().apply(now, &Command::AddViewer(add));
    Watcher {
        id,
        at,
        ssrc,
        next: [1000, 0],
        packets: 0,
        timestamp: 0,
        repair_bytes: 0,
    }
}

/// By its payload type (RFC 5761 section 4).
fn is_rtcp(datagram: &[u8]) -> bool {
    (192..=223).contains(&datagram[1])
}

/// Processor time of this thread.
fn cpu_ns() -> u64 {
    let read = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    u64::try_from(read.tv_sec() * 1_000_000_000 + read.tv_nsec()).unwrap()
}

/// What a quarter of the pictures stayed below: what else the machine does makes the others late.
fn quartile(delays: &[Delay], of: fn(&Delay) -> u64) -> u64 {
    let mut all: Vec<u64> = delays.iter().map(of).collect();
    all.sort_unstable();
    all[all.len() / 4]
}

/// One call for each encoding and interval: half a second at first, then twice as long.
fn assert_few_calls(called: &[Vec<u64>], begun: u64) {
    for (layer, called) in called.iter().enumerate() {
        assert!((1..=4).contains(&called.len()), "{layer}: {called:?}");
        for (nth, pair) in called.windows(2).enumerate() {
            let is_answered = pair[1] > begun + DEAF_MS;
            let interval = if is_answered { 500 } else { 500 << nth };
            assert!(pair[1] - pair[0] >= interval, "{layer}: {called:?}");
        }
    }
}

/// Writes a message of a viewer.
type Write = fn(&Watcher, Time, &mut [u8]) -> usize;

impl Storm {
    /// What a message of each kind costs, taken in from every viewer in turn.
    fn price(&mut self) {
        let now = self.world.now;
        let kinds: [(&str, Write); 5] = [
            ("a PLI", |watcher, _, out| write_pli(1, watcher.ssrc, out)),
            ("a NACK of 1", |watcher, _, out| {
                write_nack(1, watcher.ssrc, &[watcher.next[0].wrapping_sub(9)], out)
            }),
            ("a NACK of 16", |watcher, _, out| {
                let first = watcher.next[0].wrapping_sub(30);
                let lost: [u16; 16] =
                    std::array::from_fn(|nth| first.wrapping_add(u16::try_from(nth).unwrap()));
                write_nack(1, watcher.ssrc, &lost, out)
            }),
            ("a report", |watcher, _, out| {
                let block = ReportBlock {
                    ssrc: watcher.ssrc,
                    ..ReportBlock::default()
                };
                write_receiver_report(1, &[block], b"w", out)
            }),
            ("transport-wide feedback of 20", |watcher, now, out| {
                let mut recorder = TransportRecorder::new();
                for nth in 0..20 {
                    let number = watcher.next[0].wrapping_add(watcher.next[1]);
                    recorder.record(number.wrapping_sub(1020 - nth), now);
                }
                recorder.write(1, watcher.ssrc, out)
            }),
        ];
        for (name, write) in kinds {
            let mut out = [0; 1024];
            let crowd = self.network.watchers[..CROWD as usize].iter();
            let datagrams = crowd.map(|watcher| {
                let used = write(watcher, now, &mut out);
                assert!(used > 0);
                (watcher.at, out[..used].to_vec())
            });
            let mut datagrams: Vec<_> = datagrams.collect();
            let plane = &mut self.world.planes[0];
            let heard = self.world.region.stats(CoreId(0)).unwrap();
            let before = heard.read(Counter::ReportReceived);
            let begun_ns = cpu_ns();
            for (at, bytes) in &mut datagrams {
                plane.datagram(*at, bytes);
            }
            let ns = (cpu_ns() - begun_ns) / u64::from(CROWD);
            assert_eq!(
                heard.read(Counter::ReportReceived) - before,
                u64::from(CROWD)
            );
            println!("{name}: {ns} ns");
            self.run(300);
        }
    }
}

/// What became of all that was asked for, and that it was bounded.
fn assert_bounded(storm: &Storm, begun: u64, before: [u64; 6]) {
    let after = storm.counts();
    let [pleas, lost, repeated, refused, too_old, sent] =
        std::array::from_fn(|nth| after[nth] - before[nth]);
    println!("of {lost}: {sent} sent, {repeated} repeated, {too_old} too old, {refused} refused");
    println!("calls upstream from {begun} ms on: {:?}", storm.called);
    assert_eq!(pleas, u64::from(CROWD) * STORM_MS / EVERY_MS);
    assert_eq!(lost, repeated + refused + too_old + sent);
    assert!(refused > 0 && sent > 0);
    assert_few_calls(&storm.called, begun);
    let budget = REPAIR_BURST + REPAIR_PER_S * (storm.ms - begun) / 1000;
    let watchers = &storm.network.watchers;
    let most = watchers.iter().map(|watcher| watcher.repair_bytes).max();
    assert!(most.unwrap() <= budget, "{most:?} bytes of {budget}");
    let pictures = storm.other.frames[VIDEO];
    let expected = pictures * u32::try_from(OTHER.len()).unwrap();
    for watcher in &watchers[CROWD as usize..] {
        assert_eq!((watcher.packets, watcher.repair_bytes), (expected, 0));
    }
}

/// Before, in and after a storm: how long others waited for media after it was in the log, in
/// nanoseconds.
fn rage(storm: &mut Storm) -> [u64; 3] {
    storm
        .network
        .watchers
        .iter_mut()
        .for_each(|watcher| watcher.repair_bytes = 0);
    [false, true, false].map(|rages| {
        // What was left over is of no phase.
        storm.delays.clear();
        let (begun, before) = (storm.ms, storm.counts());
        storm.idle = (0, 0);
        storm.called.iter_mut().for_each(Vec::clear);
        (storm.rages, storm.is_deaf) = (rages, rages);
        storm.run(DEAF_MS);
        storm.is_deaf = false;
        storm.run(STORM_MS - DEAF_MS);
        storm.rages = false;
        let delays = std::mem::take(&mut storm.delays);
        let served_ns = quartile(&delays, |delay| delay.from_log);
        let from_turn_ns = quartile(&delays, |delay| delay.from_turn);
        let idle_ns = storm.idle.1 / storm.idle.0.max(1);
        println!(
            "storm: {rages}; others served {served_ns} ns after their media was in the log, \
             {from_turn_ns} ns after the turn began; turns without media {idle_ns} ns"
        );
        if rages {
            let mut turns = 0;
            while storm.world.planes[0].ready() {
                storm.step();
                turns += 1;
            }
            // A queue of 4,096, of which a turn looks at 64 at the least.
            assert!(turns <= 64, "{turns} turns of repairs were queued");
            assert_bounded(storm, begun, before);
        }
        served_ns
    })
}

/// Storms of which one has to leave others alone: times are those of a machine that also does other
/// work.
const STORMS: usize = 3;

#[test]
fn a_storm_of_feedback_is_bounded_and_others_do_not_notice() {
    let mut storm = Storm::brewing();
    storm.network.ahead = 0;
    // Their media is the first thing that leaves. What it takes is the same within a tenth, and
    // within a quarter where other work disturbs the clock.
    let is_unnoticed = (0..STORMS).any(|_| {
        let [before, during, after] = rage(&mut storm);
        during <= before.max(after) * 5 / 4
    });
    assert_eq!(storm.network.ahead, 0);
    assert!(is_unnoticed, "none of {STORMS} storms");
    storm.price();
}
