//! Processor time per forwarded packet, end to end: from the stream log through plane, cipher and
//! kernel, for each backend and burst, next to libsrtp with one `sendto` per packet.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::Parser;
use freshet_bench::classic::{Classic, Order};
use freshet_bench::host::Host;
use freshet_bench::null::Null;
use freshet_bench::rig::{Audience, PACED_PACKETS_MAX, Pace, Rig};
use freshet_bench::samples::Samples;
use freshet_bench::sink::{self, Sink};
use freshet_bench::{PAYLOAD_BYTES, cpu};
use io::probe::{Backend, Probe, choose};
use io::route::Router;
use io::{Mmsg, PortConfig, Socket, SocketConfig, Uring, Xdp, XdpConfig};
use link::command::VIDEO;
use seal::{Cipher, Profile};
use wire::datagram::SEGMENTS_MAX;
use wire::peer::Ip;

/// Packets of a burst: single packets, a third of a frame, a frame of 2.5 Mbit/s, a large one.
const BURSTS: [u32; 4] = [1, 3, 9, 16];

/// The burst that the goal is about.
const FRAME: u32 = 9;

/// How many times cheaper than the classic way a frame is to be.
const GOAL: f64 = 5.0;

#[derive(Parser)]
#[command(about = "Processor time per forwarded packet, next to libsrtp and sendto")]
struct Options {
    /// Viewers of one stream.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    viewers: u32,
    /// Rounds; in each of them all ways take their turn.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=30))]
    rounds: u32,
    /// Packets sent for one figure, about.
    #[arg(long, default_value_t = 36_000)]
    packets: u32,
    /// The processor to run on; the last one if it is not given.
    #[arg(long)]
    cpu: Option<usize>,
    /// Loopback alone, without a network of our own.
    #[arg(long)]
    loopback: bool,
    /// What seals: vaes or ring; the fastest if it is not given.
    #[arg(long)]
    cipher: Option<String>,
    /// Leave the source address to the kernel; the server never does.
    #[arg(long)]
    no_source: bool,
}

impl Options {
    fn cipher(&self) -> Result<Cipher, String> {
        Cipher::choose(self.cipher.as_deref())
    }

    /// Viewers who never check are gone after half a minute of the stream's own time.
    fn check(&self) -> Result<(), String> {
        self.cipher()?;
        let warm: u32 = BURSTS.iter().sum();
        let each = self.packets / self.viewers + BURSTS[BURSTS.len() - 1];
        let round = u64::from(each) * BURSTS.len() as u64 + u64::from(warm);
        if round * u64::from(self.rounds) < PACED_PACKETS_MAX {
            return Ok(());
        }
        Err(format!(
            "{} rounds of {} packets are {} for each viewer, and {PACED_PACKETS_MAX} can be: \
             lower --rounds or --packets, or raise --viewers",
            self.rounds,
            self.packets,
            round * u64::from(self.rounds),
        ))
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fanout: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    options.check()?;
    print!("{}", Host::look());
    match cpu::pin(options.cpu) {
        Some(cpu) => println!("pinned to   processor {cpu}"),
        None => println!("pinned to   nothing: the system refused"),
    }
    let choice = choose(&Probe::run(), None);
    println!("default     {} ({})", choice.backend, choice.why);
    println!("cipher      {}", options.cipher()?);
    println!("baseline    libsrtp with {}", openssl::version::version());
    println!(
        "packets     {} bytes and 16 of tag, AES-128-GCM, {} viewers, {} rounds of {} packets",
        PAYLOAD_BYTES + 12,
        options.viewers,
        options.rounds,
        options.packets,
    );
    let mut verdicts = Vec::new();
    for sink in sinks(options)? {
        let mut table = Table::new(options, &sink);
        for _ in 0..options.rounds {
            table.round(options);
        }
        println!("\n{}", sink.what);
        table.print();
        table.admit(&sink);
        verdicts.push((sink.what, table.ratios));
    }
    println!();
    // The first sink, which is the goal's, comes last.
    for (what, ratios) in verdicts.into_iter().rev() {
        let ratio = ratios.median();
        println!(
            "{what}: at least {:.1}x in every round, IQR {:.1}",
            ratios.least(),
            ratios.spread()
        );
        let missed = if ratio < GOAL { ": MISSED" } else { "" };
        println!("baseline / freshet at burst {FRAME}: {ratio:.1}x (goal >= {GOAL:.1}){missed}");
    }
    Ok(())
}

fn sinks(options: &Options) -> Result<Vec<Sink>, String> {
    if !options.loopback {
        match sink::namespace() {
            Ok(sinks) => return Ok(sinks),
            Err(why) => println!("note        loopback only: {why}"),
        }
    }
    Ok(vec![sink::loopback()?])
}

/// One way to forward, and what it cost in each round.
struct Row {
    name: String,
    burst: u32,
    backend: Option<Backend>,
    way: Way,
    samples: Samples,
    /// What it cost in the round that is going on, or was the last.
    latest: f64,
}

/// How a row forwards.
#[derive(Clone, Copy)]
enum Way {
    Classic(Order),
    Sealed,
    Plane,
    Mmsg,
    Uring,
    Xdp,
}

/// All ways to one sink.
struct Table {
    classic: Classic,
    plane: Rig<Null>,
    mmsg: Rig<Mmsg>,
    uring: Result<Rig<Uring>, String>,
    xdp: Result<(Rig<Xdp<Mmsg>>, Router), String>,
    rows: Vec<Row>,
    /// In each round, the cheaper baseline through a frame over the default backend.
    ratios: Samples,
    default: Backend,
    handed: u64,
    witness: u64,
}

impl Table {
    fn new(options: &Options, sink: &Sink) -> Self {
        let audience = Audience {
            cipher: options.cipher().unwrap_or(Cipher::Ring),
            viewers: options.viewers,
            first: sink.first,
            local: if options.no_source {
                Ip::UNKNOWN
            } else {
                IpAddr::V4(sink.local).into()
            },
            profile: Profile::AeadAes128Gcm,
            track: VIDEO,
            pace: Pace::Stream,
        };
        let config = PortConfig::default();
        let socket = || {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            Socket::bind(any, &SocketConfig::default())
        };
        let probe = Probe::run();
        let uring = match &probe.io_uring {
            Ok(()) => Ok(Rig::new(&audience, |bell| {
                Uring::new(socket()?, bell, &config)
            })),
            Err(why) => Err(why.clone()),
        };
        let mut table = Self {
            classic: Classic::new(options.viewers, sink),
            plane: Rig::new(&audience, |_| Ok::<_, String>(Null::new(SEGMENTS_MAX))),
            mmsg: Rig::new(&audience, |bell| Mmsg::new(socket()?, bell, &config)),
            uring,
            xdp: xdp(&audience, &config),
            rows: Vec::new(),
            ratios: Samples::default(),
            default: choose(&probe, None).backend,
            handed: 0,
            witness: 0,
        };
        table.list();
        table.list_xdp();
        table.witness = sink.bytes();
        table
    }

    fn list(&mut self) {
        let orders = [
            ("libsrtp, sendto: packet by packet", Order::PacketByPacket),
            ("libsrtp, sendto: viewer by viewer", Order::ViewerByViewer),
        ];
        for (name, order) in orders {
            self.row(name, FRAME, None, Way::Classic(order));
        }
        self.row("libsrtp, nothing sent", FRAME, None, Way::Sealed);
        self.row("freshet, nothing sent", FRAME, None, Way::Plane);
        let backends = [(Backend::Mmsg, Way::Mmsg), (Backend::Uring, Way::Uring)];
        for (backend, way) in backends {
            if let (Backend::Uring, Err(why)) = (backend, &self.uring) {
                println!("note        no io_uring: {why}");
                continue;
            }
            for burst in BURSTS {
                self.row(&format!("freshet, {backend}"), burst, Some(backend), way);
            }
        }
    }

    fn list_xdp(&mut self) {
        if let Err(why) = &self.xdp {
            println!("note        no AF_XDP: {why}");
            return;
        }
        for burst in BURSTS {
            self.row("freshet, AF_XDP in copy mode", burst, None, Way::Xdp);
        }
    }

    fn row(&mut self, name: &str, burst: u32, backend: Option<Backend>, way: Way) {
        self.rows.push(Row {
            name: name.to_owned(),
            burst,
            backend,
            way,
            samples: Samples::default(),
            latest: 0.0,
        });
    }

    /// Every way once.
    fn round(&mut self, options: &Options) {
        for at in 0..self.rows.len() {
            let (way, burst) = (self.rows[at].way, self.rows[at].burst);
            let bursts = (options.packets / options.viewers / burst).max(1);
            // One that is not counted warms the caches for this way.
            self.forward(way, burst, 1);
            let spent = cpu::spent_ns(|| self.forward(way, burst, bursts));
            let packets = u64::from(bursts * burst) * u64::from(options.viewers);
            if !matches!(way, Way::Plane | Way::Sealed) {
                self.handed += packets + u64::from(burst * options.viewers);
            }
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let each = spent as f64 / packets as f64;
            self.rows[at].samples.add(each);
            self.rows[at].latest = each;
        }
        let ratio = self.ratio_of_round();
        self.ratios.add(ratio);
    }

    fn forward(&mut self, way: Way, burst: u32, bursts: u32) {
        for _ in 0..bursts {
            match (way, &mut self.uring, &mut self.xdp) {
                (Way::Classic(order), ..) => self.classic.burst(burst, order),
                (Way::Sealed, ..) => self.classic.seal_burst(burst),
                (Way::Plane, ..) => self.plane.burst(burst),
                (Way::Uring, Ok(rig), _) => rig.burst(burst),
                (Way::Xdp, _, Ok((rig, _))) => rig.burst(burst),
                (Way::Mmsg | Way::Uring | Way::Xdp, ..) => self.mmsg.burst(burst),
            }
        }
    }

    /// The cheaper of the two classic orders.
    fn baseline(&self) -> f64 {
        let classic = self
            .rows
            .iter()
            .filter(|row| matches!(row.way, Way::Classic(_)));
        classic.fold(f64::MAX, |least, row| least.min(row.samples.median()))
    }

    fn ratio_of_round(&self) -> f64 {
        let classic = self
            .rows
            .iter()
            .filter(|row| matches!(row.way, Way::Classic(_)));
        let baseline = classic.fold(f64::MAX, |least, row| least.min(row.latest));
        let ours = |row: &&Row| row.backend == Some(self.default) && row.burst == FRAME;
        let ours = self.rows.iter().find(ours);
        ours.map_or(0.0, |row| baseline / row.latest)
    }

    fn print(&self) {
        let baseline = self.baseline();
        println!(
            "{:<36}{:>6}{:>10}{:>8}{:>7}{:>9}{:>11}",
            "", "burst", "ns/packet", "least", "IQR", "Mpkt/s", "baseline/x"
        );
        for row in &self.rows {
            let ns = row.samples.median();
            println!(
                "{:<36}{:>6}{ns:>10.0}{:>8.0}{:>7.0}{:>9.2}{:>11.2}",
                row.name,
                row.burst,
                row.samples.least(),
                row.samples.spread(),
                1000.0 / ns,
                baseline / ns,
            );
        }
    }

    /// Says what went wrong, and whether the device has seen all that was handed over.
    fn admit(&self, sink: &Sink) {
        let mut troubles = self.mmsg.troubles();
        troubles.extend(self.uring.iter().flat_map(Rig::troubles));
        troubles.extend(self.xdp.iter().flat_map(|(rig, _)| rig.troubles()));
        if self.classic.errors > 0 {
            troubles.push(("classic packets refused", self.classic.errors));
        }
        for (what, count) in troubles {
            println!("note: {what}: {count}");
        }
        let sealed = (PAYLOAD_BYTES as u64 + 12 + 16) * self.handed;
        let seen = sink.bytes() - self.witness;
        if seen < sealed {
            println!("WRONG: the device saw {seen} bytes of {sealed}: packets were lost before it");
        }
    }
}

/// A rig that sends by AF_XDP, or why there is none to this sink.
fn xdp(audience: &Audience, config: &PortConfig) -> Result<(Rig<Xdp<Mmsg>>, Router), String> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let sockets = Socket::bind_all(any, 1, &SocketConfig::default());
    let mut sockets = sockets.map_err(|error| error.to_string())?;
    let xdp = XdpConfig {
        checksum: true,
        note: |note| println!("note        {note}"),
    };
    let (router, mut ends) = Router::start(&sockets, xdp).map_err(|error| error.to_string())?;
    let (Some(socket), Some(end)) = (sockets.pop(), ends.pop()) else {
        return Err("no socket".to_owned());
    };
    let mut rig = Rig::new(audience, |bell| {
        let under = Mmsg::new(socket, bell, config)?;
        Ok::<_, io::Error>(Xdp::new(under, end, audience.viewers))
    });
    rig.warm_xdp()?;
    Ok((rig, router))
}
