//! Processor time per forwarded packet, end to end: from the stream log through plane, cipher and
//! kernel, for each backend and burst, next to libsrtp with one `sendto` per packet, and next to
//! the least that kernel and cipher cost by themselves.

#[path = "fanout/goals.rs"]
mod goals;
#[path = "fanout/table.rs"]
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use freshet_bench::host::Host;
use freshet_bench::rig::PACED_PACKETS_MAX;
use freshet_bench::sink::{self, Sink};
use freshet_bench::{PAYLOAD_BYTES, cpu};
use io::probe::{Probe, choose};
use seal::{Cipher, Profile};
use serde_json::json;
use table::Table;

/// The burst that libsrtp's rows are of.
const FRAME: u32 = 9;

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
    /// Packets of a burst: by default single packets, a third of a frame, a frame of 2.5 Mbit/s and
    /// one a little smaller, a large one.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3, 8, 9, 16],
          value_parser = clap::value_parser!(u32).range(1..=64))]
    bursts: Vec<u32>,
    /// The processor to run on; the last one if it is not given.
    #[arg(long)]
    cpu: Option<usize>,
    /// Loopback alone, without a network of our own.
    #[arg(long)]
    loopback: bool,
    /// What seals: vaes512, vaes or ring; the fastest if it is not given.
    #[arg(long)]
    cipher: Option<String>,
    /// The protection of all viewers.
    #[arg(long, value_enum, default_value_t = Suite::Gcm128)]
    profile: Suite,
    /// Leave the source address to the kernel; the server never does.
    #[arg(long)]
    no_source: bool,
    /// Only rows that have this in `NAME, burst N;`: to look at one of them with a profiler.
    #[arg(long, default_value = "")]
    only: String,
    /// Only places whose description has this in it.
    #[arg(long, default_value = "")]
    sink: String,
    /// Write all figures here too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The profiles that browsers and servers agree on.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Suite {
    /// `AEAD_AES_128_GCM`.
    Gcm128,
    /// `AEAD_AES_256_GCM`.
    Gcm256,
    /// `AES128_CM_SHA1_80`.
    Cm80,
}

impl Suite {
    fn srtp(self) -> Profile {
        match self {
            Self::Gcm128 => Profile::AeadAes128Gcm,
            Self::Gcm256 => Profile::AeadAes256Gcm,
            Self::Cm80 => Profile::Aes128CmSha1_80,
        }
    }

    fn tag_bytes(self) -> u64 {
        match self {
            Self::Gcm128 | Self::Gcm256 => 16,
            Self::Cm80 => 10,
        }
    }
}

impl Options {
    fn cipher(&self) -> Result<Cipher, String> {
        Cipher::choose(self.cipher.as_deref())
    }

    /// Viewers who never check are gone after half a minute of the stream's own time.
    fn check(&self) -> Result<(), String> {
        self.cipher()?;
        let warm: u32 = self.bursts.iter().sum();
        let most = self.bursts.iter().max().copied().unwrap_or(0);
        let each = self.packets / self.viewers + most;
        let round = u64::from(each) * self.bursts.len() as u64 + u64::from(warm);
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
    let host = Host::look().to_string();
    print!("{host}");
    match cpu::pin(options.cpu) {
        Some(cpu) => println!("pinned to   processor {cpu}"),
        None => println!("pinned to   nothing: the system refused"),
    }
    let choice = choose(&Probe::run(), None);
    println!("default     {} ({})", choice.backend, choice.why);
    println!("cipher      {}", options.cipher()?);
    println!("baseline    libsrtp with {}", openssl::version::version());
    println!(
        "packets     {} bytes and {} of tag, {:?}, {} viewers, {} rounds of {} packets",
        PAYLOAD_BYTES + 12,
        options.profile.tag_bytes(),
        options.profile.srtp(),
        options.viewers,
        options.rounds,
        options.packets,
    );
    let (mut verdicts, mut figures) = (Vec::new(), Vec::new());
    for sink in sinks(options)? {
        if !sink.what.contains(&options.sink) {
            continue;
        }
        let mut table = Table::new(options, &sink);
        for _ in 0..options.rounds {
            table.round(options);
        }
        println!("\n{}", sink.what);
        table.print();
        table.admit(&sink);
        figures.push(json!({ "sink": sink.what, "rows": table.figures() }));
        verdicts.push((sink.what, goals::judge(&table, sink.kind, options)));
    }
    println!("\nGoals, in the median round");
    for (what, lines) in verdicts {
        println!("{what}");
        for line in lines {
            println!("    {line}");
        }
    }
    let Some(path) = &options.json else {
        return Ok(());
    };
    let all = json!({
        "host": host.lines().collect::<Vec<_>>(),
        "profile": format!("{:?}", options.profile.srtp()),
        "viewers": options.viewers,
        "rounds": options.rounds,
        "packet_bytes": PAYLOAD_BYTES + 12,
        "sinks": figures,
    });
    fs::write(path, format!("{all:#}\n")).map_err(|error| format!("{}: {error}", path.display()))
}

fn sinks(options: &Options) -> Result<Vec<Sink>, String> {
    if !options.loopback {
        match sink::namespace() {
            Ok(mut sinks) => {
                match sink::cable() {
                    Ok(cable) => sinks.insert(2, cable),
                    Err(why) => println!("note        no cable: {why}"),
                }
                return Ok(sinks);
            }
            Err(why) => println!("note        loopback only: {why}"),
        }
    }
    Ok(vec![sink::loopback()?])
}
