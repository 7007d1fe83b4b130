//! `io_uring` against plain calls: sending with each of its settings, by the barest loops and by
//! the server's own backends, and receiving.

#[path = "uring/table.rs"]
mod table;

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;
use freshet_bench::cpu;
use freshet_bench::floor::mmsg;
use freshet_bench::floor::uring::{Setting, Uring as Bare};
use freshet_bench::host::Host;
use freshet_bench::sink::{self, Sink};
use io::uring::Settings;
use io::wake::Wake;
use io::{Mmsg, Port, PortConfig, Socket, SocketConfig, Uring, clock};
use table::{Cost, Table, cost};
use wire::datagram::{NOBODY, RunMeta, RxMeta, RxSink};
use wire::time::Span;

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
const LOOKS_MAX: u32 = 1000;

/// Bytes of a packet when it is sent.
const PACKET_BYTES: u16 = 1216;

/// Milliseconds after which submission threads sleep.
const POLL_MS: u32 = 20;

/// By then they do: what they look for nothing isn't charged to who comes next.
const CALM: Duration = Duration::from_millis(POLL_MS as u64 + 5);

/// How long to wait for the kernel to take what it has not.
const TAKES: Span = Span::millis(1);

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
        println!("the barest loops, messages made before");
        send(options, sink)?;
        println!("the backends of the server, runs written and sent");
        send_by_backends(options, sink)?;
    }
    println!("\nreceiving datagrams that wait in the socket, ns per datagram: loopback");
    receive(options)
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
            Ok(ring) => rings.push((name, setting, ring)),
            Err(why) => println!("note        no {name}: {why}"),
        }
    }
    let mut names = vec!["sendmmsg".to_owned()];
    names.extend(rings.iter().map(|(name, ..)| (*name).to_owned()));
    for burst in BURSTS {
        let mut table = Table::new(names.clone());
        for _ in 0..options.rounds {
            let packets = PEERS * burst * TIMES;
            let time = |work: &mut dyn FnMut()| {
                work();
                cost(packets, || (0..TIMES).for_each(|_| work()))
            };
            let mut costs = vec![time(&mut || plain.burst(burst))];
            for (_, setting, ring) in &mut rings {
                costs.push(time(&mut || ring.burst(burst)));
                if *setting == Setting::Polled {
                    thread::sleep(CALM);
                }
            }
            table.add(&costs);
        }
        table.print(format_args!("bursts of {burst}"));
    }
    let errors = plain.errors + rings.iter().map(|(.., ring)| ring.errors).sum::<u64>();
    if errors > 0 {
        println!("WRONG: {errors} messages were refused");
    }
    Ok(())
}

/// The settings that are compared, and their names.
const SETTINGS: [(&str, Settings); 7] = {
    let polled = Settings {
        sqpoll_ms: POLL_MS,
        ..Settings::DEFAULT
    };
    let zero_copy = Settings {
        zero_copy: true,
        fixed_buffers: false,
        ..Settings::DEFAULT
    };
    let fixed = Settings {
        zero_copy: true,
        ..Settings::DEFAULT
    };
    [
        ("uring", Settings::DEFAULT),
        ("uring, sqpoll_ms (both threads)", polled),
        ("uring, zero_copy, no fixed_buffers", zero_copy),
        ("uring, zero_copy", fixed),
        (
            "uring, sqpoll_ms, zero_copy",
            Settings {
                sqpoll_ms: POLL_MS,
                ..fixed
            },
        ),
        (
            "uring, napi_us = 50",
            Settings {
                napi_us: 50,
                ..Settings::DEFAULT
            },
        ),
        (
            "uring, sqpoll_ms, napi_us = 50",
            Settings {
                napi_us: 50,
                ..polled
            },
        ),
    ]
};

/// Ports with those of [`SETTINGS`] that this kernel takes.
fn rings(at: Ipv4Addr) -> Result<Vec<(&'static str, Settings, Uring)>, String> {
    let mut rings = Vec::new();
    for (name, uring) in SETTINGS {
        let config = PortConfig {
            uring,
            ..PortConfig::default()
        };
        match Uring::new(socket(at)?, bell()?, &config) {
            Ok(ring) => rings.push((name, uring, ring)),
            Err(why) => println!("note        no {name}: {why}"),
        }
    }
    Ok(rings)
}

/// What became of what was sent.
#[derive(Default)]
struct Fate {
    dropped: u64,
    copied: u64,
}

fn send_by_backends(options: &Options, sink: &Sink) -> Result<(), String> {
    let any = Ipv4Addr::UNSPECIFIED;
    let mut plain = Mmsg::new(socket(any)?, bell()?, &PortConfig::default()).map_err(words)?;
    let mut rings = rings(any)?;
    let names = rings.iter().map(|(name, ..)| (*name).to_owned());
    let names: Vec<String> = ["mmsg".to_owned()].into_iter().chain(names).collect();
    let mut fates: Vec<Fate> = names.iter().map(|_| Fate::default()).collect();
    for burst in BURSTS {
        let mut table = Table::new(names.clone());
        for _ in 0..options.rounds {
            let mut costs = vec![send_times(&mut plain, sink, burst, &mut fates[0])];
            for ((_, setting, ring), fate) in rings.iter_mut().zip(&mut fates[1..]) {
                costs.push(send_times(ring, sink, burst, fate));
                if setting.sqpoll_ms > 0 {
                    thread::sleep(CALM);
                }
            }
            table.add(&costs);
        }
        table.print(format_args!("bursts of {burst}"));
    }
    for (name, fate) in names.iter().zip(&fates) {
        if fate.dropped > 0 {
            println!("WRONG: {} packets were refused, by {name}", fate.dropped);
        }
        if fate.copied > 0 {
            println!("note        {} runs were copied, by {name}", fate.copied);
        }
    }
    Ok(())
}

fn send_times<P: Port>(port: &mut P, sink: &Sink, burst: u32, fate: &mut Fate) -> Cost {
    turn(port, sink, burst, fate);
    cost(PEERS * burst * TIMES, || {
        (0..TIMES).for_each(|_| turn(port, sink, burst, fate));
    })
}

/// A turn of a worker: looks for datagrams, and sends a run of so many packets to every peer.
fn turn<P: Port>(port: &mut P, sink: &Sink, burst: u32, fate: &mut Fate) {
    port.recv(clock::now(), &mut Count(0));
    let bytes = usize::from(PACKET_BYTES) * burst as usize;
    let packets = [0x5a; PACKET_BYTES as usize * BURSTS[3] as usize];
    for nth in 0..PEERS {
        let ip = Ipv4Addr::from_bits(sink.first.ip().to_bits() + nth);
        let run = RunMeta {
            peer: SocketAddr::from((ip, sink.first.port())).into(),
            local: IpAddr::V4(sink.local).into(),
            segment_bytes: PACKET_BYTES,
            segments: u8::try_from(burst).unwrap_or(u8::MAX),
            bytes,
            viewer: NOBODY,
        };
        loop {
            if let Some(mut slot) = port.claim(run) {
                slot.put(&packets[..bytes], usize::from(PACKET_BYTES));
                break;
            }
            flush(port, fate);
        }
        port.commit(bytes);
    }
    while flush(port, fate) {}
}

/// True if the kernel has not taken all; then it was waited for.
fn flush<P: Port>(port: &mut P, fate: &mut Fate) -> bool {
    let now = clock::now();
    let report = port.flush(now);
    fate.dropped += u64::from(report.dropped);
    fate.copied += u64::from(report.copied);
    if report.waiting > 0 {
        port.wait(now + TAKES);
    }
    report.waiting > 0
}

fn receive(options: &Options) -> Result<(), String> {
    let here = Ipv4Addr::LOCALHOST;
    let mut plain = Mmsg::new(socket(here)?, bell()?, &PortConfig::default()).map_err(words)?;
    let mut rings = rings(here)?;
    // How runs are sent is nothing to what comes.
    rings.retain(|(_, setting, _)| !setting.zero_copy);
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(words)?;
    let names = rings.iter().map(|(name, ..)| (*name).to_owned());
    let names: Vec<String> = ["mmsg".to_owned()].into_iter().chain(names).collect();
    for bytes in SIZES {
        for fill in FILLS {
            let mut table = Table::new(names.clone());
            for _ in 0..options.rounds {
                let to = plain.socket().local();
                let mut costs = vec![drain(&mut plain, &sender, to, fill, bytes)?];
                for (_, setting, ring) in &mut rings {
                    let to = ring.socket().local();
                    costs.push(drain(ring, &sender, to, fill, bytes)?);
                    if setting.sqpoll_ms > 0 {
                        thread::sleep(CALM);
                    }
                }
                table.add(&costs);
            }
            table.print(format_args!("{fill} of {bytes} bytes"));
        }
    }
    Ok(())
}

fn socket(at: Ipv4Addr) -> Result<Socket, String> {
    Socket::bind(SocketAddr::from((at, 0)), &SocketConfig::default()).map_err(words)
}

fn bell() -> Result<OwnedFd, String> {
    Wake::new().and_then(|wake| wake.fd()).map_err(words)
}

/// Counts what comes.
struct Count(u32);

impl RxSink for Count {
    fn datagram(&mut self, _: RxMeta, _: &mut [u8]) {
        self.0 += 1;
    }
}

/// What one of `fill` datagrams that wait costs.
fn drain<P: Port>(
    port: &mut P,
    sender: &UdpSocket,
    to: SocketAddr,
    fill: u32,
    bytes: usize,
) -> Result<Cost, String> {
    let datagram = vec![0x5a; bytes];
    let mut sum = Cost { all: 0.0, own: 0.0 };
    for _ in 0..TIMES {
        for _ in 0..fill {
            sender.send_to(&datagram, to).map_err(words)?;
        }
        let mut count = Count(0);
        let now = clock::now();
        let mut looks = 0;
        let spent = cost(TIMES * fill, || {
            while count.0 < fill && looks < LOOKS_MAX {
                if port.recv(now, &mut count) == 0 {
                    port.wait(clock::now() + TAKES);
                }
                looks += 1;
            }
        });
        sum.all += spent.all;
        sum.own += spent.own;
        // Rings give their buffers back here.
        port.flush(now);
        if count.0 < fill {
            return Err(format!("{} of {fill} datagrams came", count.0));
        }
    }
    Ok(sum)
}

fn words(error: impl Display) -> String {
    error.to_string()
}
