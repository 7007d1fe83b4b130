//! Processor time per forwarded packet with one core, with two, and so on: all read one log and
//! share one port, each has as many viewers.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use freshet_bench::cores::{Load, cost};
use freshet_bench::host::Host;
use freshet_bench::rig::{Audience, Pace};
use freshet_bench::samples::Samples;
use freshet_bench::sink::{self, Sink};
use link::command::VIDEO;
use seal::{Cipher, Profile};
use serde_json::{Value, json};
use wire::peer::Ip;

/// How much dearer a packet may be with all cores than with one.
const GOAL: f64 = 1.10;

#[derive(Parser)]
#[command(about = "Processor time per forwarded packet, by the number of cores")]
struct Options {
    /// Viewers of each core.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    viewers: u32,
    /// Packets of a burst.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=64))]
    burst: u32,
    /// Bursts of one figure.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    bursts: u32,
    /// Rounds; in each of them all numbers of cores take their turn.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Most cores; all that this process may use if it is not given.
    #[arg(long)]
    cores: Option<usize>,
    /// Write the figures here too.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("cores: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let host = Host::look().to_string();
    print!("{host}");
    let mut cpus: Vec<usize> = core_affinity::get_core_ids()
        .ok_or("the system does not say which processors there are")?
        .into_iter()
        .map(|cpu| cpu.id)
        .collect();
    cpus.truncate(options.cores.unwrap_or(usize::MAX).max(1));
    println!(
        "packets     {} viewers a core, bursts of {}, AES-128-GCM by {}, sendmmsg, {} rounds",
        options.viewers,
        options.burst,
        Cipher::best(),
        options.rounds,
    );
    let mut figures = Vec::new();
    for sink in sinks() {
        figures.push(measure(options, &sink, &cpus)?);
    }
    let Some(path) = &options.json else {
        return Ok(());
    };
    let all = json!({
        "host": host.lines().collect::<Vec<_>>(),
        "viewers_per_core": options.viewers,
        "burst": options.burst,
        "sinks": figures,
    });
    fs::write(path, format!("{all:#}\n")).map_err(|error| format!("{}: {error}", path.display()))
}

/// A device with as many queues as there are cores, and the loopback.
fn sinks() -> Vec<Sink> {
    sink::namespace().unwrap_or_else(|why| {
        println!("note        loopback only: {why}");
        sink::loopback().into_iter().collect()
    })
}

fn measure(options: &Options, sink: &Sink, cpus: &[usize]) -> Result<Value, String> {
    let audience = Audience {
        viewers: options.viewers,
        first: sink.first,
        local: Ip::UNKNOWN,
        profile: Profile::AeadAes128Gcm,
        cipher: Cipher::best(),
        track: VIDEO,
        pace: Pace::Stream,
    };
    let load = Load {
        viewers: options.viewers,
        burst: options.burst,
        bursts: options.bursts,
    };
    let mut costs = vec![Samples::default(); cpus.len()];
    let mut ratios = vec![Samples::default(); cpus.len()];
    for _ in 0..options.rounds {
        let mut one = 0.0;
        for count in 1..=cpus.len() {
            let each = cost(sink, &audience, &cpus[..count], load)?;
            let mean = each.iter().sum::<f64>() / each.len() as f64;
            if count == 1 {
                one = mean;
            }
            costs[count - 1].add(mean);
            ratios[count - 1].add(mean / one);
        }
    }
    println!("\n{}", sink.what);
    println!(
        "{:>6}{:>11}{:>8}{:>7}{:>11}",
        "cores", "ns/packet", "least", "IQR", "x/one core"
    );
    let mut rows = Vec::new();
    for (cores, (cost, ratio)) in (1..).zip(costs.iter().zip(&ratios)) {
        println!(
            "{cores:>6}{:>11.0}{:>8.0}{:>7.0}{:>11.2}",
            cost.median(),
            cost.least(),
            cost.spread(),
            ratio.median(),
        );
        rows.push(json!({
            "cores": cores,
            "ns_median": cost.median(),
            "ns_least": cost.least(),
            "over_one_core": ratio.median(),
        }));
    }
    let last = ratios.last().map_or(1.0, Samples::median);
    let missed = if last > GOAL { ": MISSED" } else { "" };
    println!("all cores / one: {last:.2} (goal <= {GOAL:.2}){missed}");
    Ok(json!({ "sink": sink.what, "rows": rows }))
}
