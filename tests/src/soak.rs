//! Owns long runs of the real system with everything that grows or leaks: publishers and viewers
//! who come, leave and vanish beside viewers who stay, nonsense, and processes that are killed,
//! replaced and told to read their configuration again, at moments that a seed chooses.
//!
//! After each round the guests leave, and the server is looked at while it rests: memory,
//! descriptors, threads, sessions, gauges and counters must be what they are for those who stay.

mod counters;
mod faults;
mod guests;
mod rest;
mod stay;
mod usage;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::http;
use crate::process::Process;
use crate::publish::{ENCODINGS, Ffmpeg, Kind, Whip};
use crate::random::Random;
use crate::server::{Server, Setup};

use counters::Counters;
use faults::shuffled;
use guests::{COMES, Deeds, Guests, Ports, shortly_before_the_wraps};
use stay::Stayers;
use usage::Usage;

/// The stream of a publisher that stays, which nobody watches but those who stay: what is sent of
/// it must be what they got.
const STAYS: &str = "soak/stays";

/// The stream of an SRT encoder.
const ENCODER: &str = "soak/encoder";

/// The streams of a publisher of three encodings that stays, and of one of sound alone.
const LAYERS: &str = "soak/layers";
const SOUND: &str = "soak/sound";

/// What the encodings have, in kbit/s.
const LAYERS_KBPS: [usize; ENCODINGS] = [80, 240, 700];

/// The built-in clip.
const CLIP: &str = "demo";

/// Who stays, and where.
const STAYERS: [(&str, usize); 6] = [
    (STAYS, 4),
    (COMES, 2),
    (ENCODER, 2),
    (CLIP, 2),
    (LAYERS, 3),
    (SOUND, 2),
];

/// What guests watch.
const VISITED: &[&str] = &[COMES, ENCODER, CLIP, LAYERS, SOUND];

/// When the encoder's clock begins, in seconds: its 33 bits wrap after 95,443.7 of them.
const ENCODER_BEGINS: &str = "95438";

/// Longer than what was sent is on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(400);

/// How long anything else may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Of everything that is chosen.
    pub seed: u64,
    /// The first round and each that follows.
    pub rounds: [Duration; 2],
    /// How long all of it may take: the round that has begun is ended.
    pub span: Duration,
    /// In how many rounds one is with killed and replaced processes. The first is always without.
    pub storm_in: usize,
    /// Those who vanished are waited for: else their sessions are ended at the end of a round.
    pub waits: bool,
}

/// A round's row of the table.
struct Row {
    at: Duration,
    guests: u64,
    faults: u64,
    usage: String,
}

struct Soak {
    plan: Plan,
    random: Random,
    server: Server,
    ports: Ports,
    deeds: Arc<Deeds>,
    stays: Whip,
    /// Those that stay beside it.
    beside: [Whip; 2],
    encoder: Process,
    stayers: Vec<Stayers>,
    living: BTreeSet<String>,
    /// At rest: the first of all, and the first of each process.
    rests: Vec<Usage>,
    counters: Option<Counters>,
    lines: u64,
    done: u64,
    /// Changes of encoding that those who stay have seen.
    switches: u64,
    wrong: Vec<String>,
    rows: Vec<Row>,
    start: Instant,
}

/// Runs it to its end.
///
/// # Panics
/// When something was wrong: with all that was.
pub fn run(plan: Plan) {
    println!(
        "seed {:#x}: FRESHET_SEED={} repeats it",
        plan.seed, plan.seed
    );
    let mut soak = Soak::begin(plan);
    let mut nth = 0;
    while soak.wrong.is_empty() && (nth < 2 || soak.start.elapsed() < plan.span) {
        let has_faults = nth % plan.storm_in == 1 % plan.storm_in;
        soak.round(plan.rounds[nth.min(1)], has_faults);
        nth += 1;
    }
    soak.end();
}

impl Soak {
    fn begin(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let server = Server::start(Setup {
            own_program: true,
            demo: true,
            cores: 2,
            log_packets: 2048,
            viewers_max: 256,
            toml: "[streams]\ntakeover = \"replace\"\npush_timeout_ms = 10000\n".to_owned(),
            ..Setup::default()
        });
        let ports = Ports {
            http: server.http,
            media: server.media,
            srt: server.srt,
        };
        let encoder = encoder(&server);
        let begin = |random: &mut Random| shortly_before_the_wraps(random);
        let stays = Whip::start(server.http, STAYS, Kind::Video, begin(&mut random));
        let stays = stays.unwrap_or_else(|why| panic!("{why}\n{}", server.log()));
        let beside = [(LAYERS, Kind::Simulcast(LAYERS_KBPS)), (SOUND, Kind::Audio)];
        let beside = beside.map(|(stream, kind)| {
            let one = Whip::start(server.http, stream, kind, begin(&mut random));
            one.unwrap_or_else(|why| panic!("{why}\n{}", server.log()))
        });
        let first = Whip::start(server.http, COMES, Kind::Video, begin(&mut random));
        let first = first.unwrap_or_else(|why| panic!("{why}\n{}", server.log()));
        let stayers: Vec<Stayers> = STAYERS
            .into_iter()
            .map(|(stream, count)| {
                server.wait_live(stream);
                Stayers::join(server.http, stream, count, random.next_u64())
            })
            .collect();
        first.leave();
        let mut this = Self {
            plan,
            random,
            server,
            ports,
            deeds: Arc::default(),
            stays,
            beside,
            encoder,
            stayers,
            living: BTreeSet::new(),
            rests: Vec::new(),
            counters: None,
            lines: 0,
            done: 0,
            switches: 0,
            wrong: Vec::new(),
            rows: Vec::new(),
            start: Instant::now(),
        };
        let viewers = STAYERS.iter().map(|(_, count)| count).sum::<usize>();
        let count = viewers + 1 + this.beside.len();
        this.wait("those who stay, to be listed", PATIENCE, |this| {
            this.living = this.listed();
            this.living.len() == count
        });
        this
    }

    /// Guests for a while, then a look at the server at rest.
    fn round(&mut self, span: Duration, has_faults: bool) {
        let sent = self.hold();
        let guests = Guests::come(self.ports, &self.deeds, VISITED, &mut self.random);
        let (start, mut happened) = (Instant::now(), Vec::new());
        let mut next = Vec::new();
        let mut quiet = self.quiet();
        while start.elapsed() < span || (has_faults && happened.len() < 4) {
            sleep(Duration::from_millis(200));
            self.look_on();
            if !has_faults || start.elapsed() < quiet {
                continue;
            }
            if next.is_empty() {
                next = shuffled(&mut self.random);
            }
            let fault = next.remove(0);
            happened.push(fault);
            if let Err(why) = fault.happen(&mut self.server, &self.deeds) {
                self.wrong.push(why);
            }
            quiet = start.elapsed() + self.quiet();
        }
        guests.go();
        self.rest(&happened, sent);
    }

    /// From one fault to the next: from nothing to a tenth of a round.
    fn quiet(&mut self) -> Duration {
        let [_, round] = self.plan.rounds;
        let most = usize::try_from(round.as_millis() / 10).unwrap_or(0);
        Duration::from_millis(u64::try_from(self.random.below(most)).unwrap_or(0))
    }

    /// What is looked at all the time; and the encoder comes back if its connection was cut.
    fn look_on(&mut self) {
        if let Some(now) = Counters::look(&self.server) {
            let before = self.counters.as_ref();
            self.wrong
                .extend(before.map_or_else(Vec::new, |before| now.fallen(before)));
            self.counters = Some(now);
        }
        if self.encoder.ended().is_some() {
            self.deeds.trouble();
            self.encoder = encoder(&self.server);
        }
        self.wrong.extend(self.deeds.wrong());
    }

    /// Nothing of the stream that stays is on its way: the count of what was sent of it, which
    /// those who stay count from, too.
    fn hold(&mut self) -> Option<u64> {
        self.stays.hold(true);
        sleep(ON_ITS_WAY);
        let sent = self.sent();
        for stayers in &mut self.stayers {
            stayers.forget(self.random.next_u64());
        }
        self.stays.hold(false);
        sent
    }

    fn sent(&self) -> Option<u64> {
        let view = self.server.stream(STAYS);
        view["counters"]["packet_sent"].as_u64()
    }

    /// Everybody leaves: nothing is left.
    fn end(mut self) {
        println!("\n     at  guests  faults  memory of its own and shared, descriptors, threads");
        for row in &self.rows {
            let (at, guests, faults) = (row.at.as_secs(), row.guests, row.faults);
            println!("{at:5} s {guests:7} {faults:7}  {}", row.usage);
        }
        std::mem::take(&mut self.stayers)
            .into_iter()
            .for_each(Stayers::leave);
        for publisher in self.beside.iter().chain([&self.stays]) {
            let _ = http::request(self.ports.http, "DELETE", publisher.location(), &[], b"");
        }
        if self.switches == 0 {
            self.wrong.push("nobody has switched".to_owned());
        }
        self.living.clear();
        self.wait("the list of sessions to be empty", PATIENCE, |this| {
            this.listed().is_empty()
        });
        for name in [
            "freshet_worker_viewer_active",
            "freshet_worker_publisher_active",
            "freshet_stream_viewer_active",
        ] {
            self.gauge(name, 0);
        }
        let log = self.server.log();
        let _ = self.log();
        assert!(
            self.wrong.is_empty(),
            "seed {}:\n{}\n{log}",
            self.plan.seed,
            self.wrong.join("\n")
        );
    }
}

/// An encoder that publishes by SRT, with a clock that wraps in a few seconds.
fn encoder(server: &Server) -> Process {
    let video = [
        Ffmpeg::default().video,
        &["-output_ts_offset", ENCODER_BEGINS],
    ]
    .concat();
    let encoder = Ffmpeg {
        video: &video,
        video_kbps: 300,
        size: "320x180",
        gop: 30,
        ..Ffmpeg::default()
    };
    encoder.to(&server.srt_url(ENCODER, ""), server.folder())
}
