//! Synthetic viewers against a running server: handshakes per second, loss, latency, memory and
//! processor time per viewer.

#[path = "load/owners.rs"]
mod owners;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use freshet_bench::host::Host;
use tools::viewer::{Crowd, Report};

/// Clock ticks of `/proc/PID/stat`: `USER_HZ`, 100 on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;

/// How long everybody may take to connect, per viewer, and at least.
const JOIN_EACH: Duration = Duration::from_millis(100);
const JOIN_MIN: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(about = "Viewers of one stream of a running server, and what they and it say")]
struct Options {
    /// Where the server's HTTP is.
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// What they watch.
    #[arg(long, default_value = "demo")]
    stream: String,
    /// How many they are.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    viewers: u32,
    /// How long they watch after all have joined.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
}

/// What the server's processes have of this host.
#[derive(Clone, Debug, Default)]
struct Usage {
    /// Command line, shortened, and its share of memory in bytes; shared pages in equal parts.
    processes: BTreeMap<String, u64>,
    /// Processor time of all, seconds.
    cpu_s: f64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let viewers = f64::from(options.viewers);
    print!("{}", Host::look());
    let server = owners::of(options.http.port());
    if server.is_empty() {
        println!("note        the server is not on this host, or another user's: no memory");
    }
    let idle = Usage::look(&server);
    let start = Instant::now();
    let mut crowd = Crowd::new(options.http, &options.stream);
    let limit = JOIN_MIN.max(JOIN_EACH * options.viewers);
    join(&mut crowd, options, limit)?;
    let took = start.elapsed().as_secs_f64();
    println!(
        "joined      {viewers} viewers in {took:.2} s: {:.0} handshakes/s, this side's included",
        viewers / took
    );
    // Catching up with the last keyframe is over then.
    crowd.run(Duration::from_secs(2));
    crowd.forget();
    let before = Usage::look(&server);
    let watched = Instant::now();
    crowd.run(Duration::from_secs(options.seconds.into()));
    let seconds = watched.elapsed().as_secs_f64();
    let after = Usage::look(&server);
    tell(&crowd.report(), seconds);
    after.tell(&idle, &before, seconds, viewers);
    crowd.leave();
    Ok(())
}

fn join(crowd: &mut Crowd, options: &Options, limit: Duration) -> Result<(), String> {
    let start = Instant::now();
    for _ in 0..options.viewers {
        crowd.join()?;
        crowd.run(Duration::from_micros(1));
    }
    while crowd.connected() < crowd.len() {
        if start.elapsed() > limit {
            return Err(format!(
                "{} of {} connected after {limit:?}",
                crowd.connected(),
                crowd.len()
            ));
        }
        crowd.run(Duration::from_millis(10));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn tell(report: &Report, seconds: f64) {
    let sent = report.packets + report.lost;
    println!(
        "received    {} packets in {seconds:.1} s: {:.0} a second, {:.1} Mbit/s of payload",
        report.packets,
        report.packets as f64 / seconds,
        report.bytes as f64 * 8e-6 / seconds,
    );
    println!(
        "lost        {} of {sent} ({:.4} %), {} sent again; {} of {} viewers were served",
        report.lost,
        100.0 * report.lost as f64 / (sent.max(1)) as f64,
        report.retransmissions,
        report.served,
        report.viewers,
    );
    println!(
        "silence     {} ms at most between two packets of a track",
        report.longest_silence.as_millis()
    );
    let age = |percentile| {
        let us = report.age_us(percentile);
        us.map_or("unknown".to_owned(), |us| format!("{us} us"))
    };
    println!(
        "latency     p50 {}, p99 {}: from capture by the server's reports to arrival here",
        age(50),
        age(99)
    );
    for (reason, count) in &report.refused {
        println!("WRONG: {count} packets refused: {reason}");
    }
}

impl Usage {
    /// Looks at these processes.
    fn look(processes: &[u32]) -> Self {
        let mut usage = Self::default();
        for id in processes {
            let read = |file| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
            let line = read("cmdline").replace('\0', " ");
            let verb = line.split(' ').nth(1).unwrap_or_default();
            let share = kib(&read("smaps_rollup"), "Pss:") * 1024;
            usage.processes.insert(format!("{verb} ({id})"), share);
            // Behind the name in brackets: fields 14 and 15 are user and system time.
            let stat = read("stat");
            let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            let times = rest.split_whitespace().skip(11).take(2);
            let ticks: f64 = times.filter_map(|word| word.parse::<f64>().ok()).sum();
            usage.cpu_s += ticks / TICKS_PER_S;
        }
        usage
    }

    /// What has changed since there was nobody, and since everybody was there.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn tell(&self, idle: &Self, before: &Self, seconds: f64, viewers: f64) {
        for (name, bytes) in &self.processes {
            let was = idle.processes.get(name).copied().unwrap_or(0);
            println!(
                "memory      {name}: {:.1} MiB, {:.1} KiB more per viewer",
                *bytes as f64 / 1048576.0,
                (*bytes as f64 - was as f64) / 1024.0 / viewers,
            );
        }
        if !self.processes.is_empty() {
            let spent = self.cpu_s - before.cpu_s;
            println!(
                "processor   {:.1} % of one, {:.0} us per viewer and second",
                100.0 * spent / seconds,
                1e6 * spent / seconds / viewers,
            );
        }
    }
}

/// The number behind `field` in a file of `/proc`, in KiB as it stands there.
fn kib(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
