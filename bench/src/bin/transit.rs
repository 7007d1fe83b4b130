//! How long packets are inside a worker, by what it does without work and by how much it has to do.

use std::process::ExitCode;

use clap::Parser;
use freshet_bench::cpu;
use freshet_bench::host::Host;
use freshet_bench::open::{Outcome, Shape, Stage};
use io::probe::{Backend, Probe, choose};
use wire::time::Span;
use worker::Idle;

/// Viewers who never check are gone after 30 s; all loads together stay below.
const SECONDS_MAX: u64 = 8;

/// How long it is measured what a core can do.
const CAPACITY: Span = Span::secs(2);

/// Frames under way before the first figures: caches and tables are warm.
const WARM: Span = Span::millis(500);

#[derive(Parser)]
#[command(about = "How long packets are inside a worker, by idle mode and load")]
struct Options {
    /// Streams, 2 at least.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=256))]
    streams: u32,
    /// Viewers of each stream.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=2000))]
    viewers: u32,
    /// Packets of a frame.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u8).range(2..=64))]
    packets: u8,
    /// Seconds of each load.
    #[arg(long, default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: u64,
    /// Loads in percent of what one core can do.
    #[arg(long, value_delimiter = ',', default_values_t = [10_u32, 50, 80])]
    loads: Vec<u32>,
    /// mmsg or uring; whichever is better if it is not given.
    #[arg(long)]
    backend: Option<String>,
    /// How long the spinning worker looks for work, in microseconds.
    #[arg(long, default_value_t = 50_000)]
    spin_us: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("transit: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.loads.len() > 3 || options.loads.iter().any(|load| !(1..=100).contains(load)) {
        return Err("--loads: up to three, of 1 to 100 percent".to_owned());
    }
    print!("{}", Host::look());
    let wanted = options.backend.as_deref().map(str::parse::<Backend>);
    let choice = choose(&Probe::run(), wanted.transpose()?);
    println!("backend     {} ({})", choice.backend, choice.why);
    let ids: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|cpu| cpu.id)
        .collect();
    let [sender, .., worker] = ids[..] else {
        return Err("two processors are needed: one sends, one forwards".to_owned());
    };
    if cpu::pin(Some(sender)).is_none() {
        return Err(format!("processor {sender} is refused"));
    }
    println!("processors  the worker on {worker}, the sender on {sender}");
    println!(
        "streams     {} with {} viewers each, frames of {} packets at random moments",
        options.streams, options.viewers, options.packets
    );
    let shape = Shape {
        backend: choice.backend,
        idle: Idle::Spin(Span::micros(options.spin_us)),
        cpu: Some(worker),
        streams: options.streams,
        viewers: options.viewers,
        packets: options.packets,
    };
    let capacity = Stage::new(shape)?.capacity(CAPACITY)?;
    let each = f64::from(options.viewers) * f64::from(options.packets);
    println!(
        "capacity    {capacity:.0} frames/s, {:.0} packets/s to viewers",
        capacity * each
    );
    print_head();
    for (name, idle) in [("sleep", Idle::Sleep), ("spin", shape.idle)] {
        let mut stage = Stage::new(Shape { idle, ..shape })?;
        stage.play(capacity / 10.0, WARM)?;
        for load in &options.loads {
            let rate = capacity * f64::from(*load) / 100.0;
            let outcome = stage.play(rate, Span::secs(options.seconds))?;
            println!("{}", row(name, *load, options.seconds, &outcome)?);
        }
        if stage.unknown() > 0 {
            println!(
                "WRONG: of {} packets the time is not known",
                stage.unknown()
            );
        }
    }
    Ok(())
}

fn print_head() {
    println!(
        "\n{:<8}{:>5}{:>9}   {:>34}   {:>34}{:>10}{:>7}",
        "", "", "", "inside (us)", "from schedule to a viewer (us)", "", ""
    );
    println!(
        "{:<8}{:>5}{:>9}   {:>7}{:>9}{:>9}{:>9}   {:>7}{:>9}{:>9}{:>9}{:>10}{:>7}",
        "idle",
        "load",
        "frames/s",
        "p50",
        "p99",
        "p99.9",
        "max",
        "p50",
        "p99",
        "p99.9",
        "max",
        "sleeps/s",
        "lost"
    );
}

fn row(name: &str, load: u32, seconds: u64, outcome: &Outcome) -> Result<String, String> {
    let shares = [0.5, 0.99, 0.999, 1.0];
    let us = |span: Span| span.as_micros();
    let inside = shares.map(|share| outcome.inside.quantile(share).map(us));
    let outside = shares.map(|share| outcome.outside(share).map(us));
    let ([Some(a), Some(b), Some(c), Some(d)], [Some(e), Some(f), Some(g), Some(h)]) =
        (inside, outside)
    else {
        return Err(format!("{name} at {load} %: nothing came"));
    };
    Ok(format!(
        "{name:<8}{load:>4}%{:>9}   {a:>7}{b:>9}{c:>9}{d:>9}   {e:>7}{f:>9}{g:>9}{h:>9}{:>10}{:>7}",
        outcome.frames / seconds,
        outcome.sleeps / seconds,
        outcome.lost,
    ))
}
