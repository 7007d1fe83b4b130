//! `io_uring` against plain calls: sending with each of its settings, and receiving.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;

use clap::Parser;
use freshet_bench::cpu;
use freshet_bench::floor::mmsg;
use freshet_bench::floor::uring::{Setting, Uring as Bare};
use freshet_bench::host::Host;
use freshet_bench::samples::Samples;
use freshet_bench::sink::{self, Sink};
use io::wake::Wake;
use io::{Mmsg, Port, PortConfig, Socket, SocketConfig, Uring, clock};
use wire::datagram::{RxMeta, RxSink};

/// Packets of a run.
const BURSTS: [u32; 4] = [1, 3, 9, 16];

/// Addresses that runs go to.
const PEERS: u32 = 256;

/// Datagrams that wait when they are received.
const FILLS: [u32; 4] = [1, 8, 32, 128];

/// Bytes of received datagrams: reports and checks, and media.
const SIZES: [usize; 2] = [100, 1200];

/// Times for one figure.
const TIMES: u32 = 32;

/// Looks at a socket for what was sent to it a moment ago, over the loopback.
const LOOKS_MAX: u32 = 10_000;

#[derive(Parser)]
#[command(about = "io_uring against plain calls, sending and receiving")]
struct Options {
    /// Rounds; in each of them all ways take their turn.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The processor to run on; the last one if it is not given.
    #[arg(long)]
    cpu: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("uring: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    print!("{}", Host::look());
    match cpu::pin(options.cpu) {
        Some(cpu) => println!("pinned to   processor {cpu}"),
        None => println!("pinned to   nothing: the system refused"),
    }
    println!(
        "rounds      {}; x: plain calls through this, in the median round",
        options.rounds
    );
    let sinks = sink::namespace().or_else(|why| {
        println!("note        loopback only: {why}");
        sink::loopback().map(|sink| vec![sink])
    })?;
    for sink in &sinks {
        println!(
            "\nsending runs of packets of 1,216 bytes, ns per packet: {}",
            sink.what
        );
        send(options, sink)?;
    }
    println!("\nreceiving datagrams that wait in the socket, ns per datagram: loopback");
    receive(options)
}

/// A table with a row for each way and a column for each length.
struct Table {
    names: Vec<String>,
    samples: Vec<Samples>,
    ratios: Vec<Samples>,
}

impl Table {
    fn new(names: Vec<String>) -> Self {
        Self {
            samples: vec![Samples::default(); names.len()],
            ratios: vec![Samples::default(); names.len()],
            names,
        }
    }

    /// One round: what each way cost. The first is what the others are compared with.
    fn add(&mut self, costs: &[f64]) {
        for ((samples, ratios), cost) in self.samples.iter_mut().zip(&mut self.ratios).zip(costs) {
            samples.add(*cost);
            ratios.add(costs[0] / cost);
        }
    }

    fn print(&self, what: impl Display) {
        println!("{what:<44}{:>8}{:>8}{:>7}{:>7}", "ns", "least", "IQR", "x");
        for ((name, samples), ratios) in self.names.iter().zip(&self.samples).zip(&self.ratios) {
            println!(
                "    {name:<40}{:>8.0}{:>8.0}{:>7.0}{:>7.2}",
                samples.median(),
                samples.least(),
                samples.spread(),
                ratios.median(),
            );
        }
    }
}

fn send(options: &Options, sink: &Sink) -> Result<(), String> {
    let mut plain = mmsg::Mmsg::new(PEERS, sink);
    let settings = [
        ("io_uring", Setting::Deferred),
        ("io_uring, SQPOLL (both threads counted)", Setting::Polled),
        ("io_uring, SENDMSG_ZC", Setting::ZeroCopy),
    ];
    let mut rings = Vec::new();
    for (name, setting) in settings {
        match Bare::new(PEERS, sink, setting) {
            Ok(ring) => rings.push((name, ring)),
            Err(why) => println!("note        no {name}: {why}"),
        }
    }
    let mut names = vec!["sendmmsg".to_owned()];
    names.extend(rings.iter().map(|(name, _)| (*name).to_owned()));
    for burst in BURSTS {
        let mut table = Table::new(names.clone());
        for _ in 0..options.rounds {
            let packets = f64::from(PEERS * burst * TIMES);
            let time = |work: &mut dyn FnMut()| {
                work();
                let ns = cpu::spent_ns(|| (0..TIMES).for_each(|_| work()));
                ns as f64 / packets
            };
            let mut costs = vec![time(&mut || plain.burst(burst))];
            for (_, ring) in &mut rings {
                costs.push(time(&mut || ring.burst(burst)));
            }
            table.add(&costs);
        }
        table.print(format_args!("bursts of {burst}"));
    }
    let errors = plain.errors + rings.iter().map(|(_, ring)| ring.errors).sum::<u64>();
    if errors > 0 {
        println!("WRONG: {errors} messages were refused");
    }
    Ok(())
}

fn receive(options: &Options) -> Result<(), String> {
    let bell = || Wake::new().and_then(|wake| wake.fd()).map_err(words);
    let socket = || {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Socket::bind(at, &SocketConfig::default()).map_err(words)
    };
    let config = PortConfig::default();
    let mut plain = Mmsg::new(socket()?, bell()?, &config).map_err(words)?;
    let mut ring = Uring::new(socket()?, bell()?, &config).map_err(words)?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(words)?;
    let names = ["recvmmsg", "io_uring: multishot, provided buffers"];
    for bytes in SIZES {
        for fill in FILLS {
            let mut table = Table::new(names.map(str::to_owned).to_vec());
            for _ in 0..options.rounds {
                let to = plain.socket().local();
                let calls = drain(&mut plain, &sender, to, fill, bytes)?;
                let to = ring.socket().local();
                let multishot = drain(&mut ring, &sender, to, fill, bytes)?;
                table.add(&[calls, multishot]);
            }
            table.print(format_args!("{fill} of {bytes} bytes"));
        }
    }
    Ok(())
}

/// Counts what comes.
struct Count(u32);

impl RxSink for Count {
    fn datagram(&mut self, _: RxMeta, _: &mut [u8]) {
        self.0 += 1;
    }
}

/// Nanoseconds for one of `fill` datagrams that wait.
fn drain<P: Port>(
    port: &mut P,
    sender: &UdpSocket,
    to: SocketAddr,
    fill: u32,
    bytes: usize,
) -> Result<f64, String> {
    let datagram = vec![0x5a; bytes];
    let mut spent = 0;
    for _ in 0..TIMES {
        for _ in 0..fill {
            sender.send_to(&datagram, to).map_err(words)?;
        }
        let mut count = Count(0);
        let now = clock::now();
        let mut looks = 0;
        spent += cpu::spent_ns(|| {
            while count.0 < fill && looks < LOOKS_MAX {
                port.recv(now, &mut count);
                looks += 1;
            }
        });
        // Rings give their buffers back here.
        port.flush(now);
        if count.0 < fill {
            return Err(format!("{} of {fill} datagrams came", count.0));
        }
    }
    Ok(spent as f64 / f64::from(TIMES * fill))
}

fn words(error: impl Display) -> String {
    error.to_string()
}
