//! Crowds for a running server: publishers and viewers by the thousand, those who come and go, and
//! those who come all at once; what they see, and what the server spends on it.

mod crew;
mod desk;
mod histogram;
mod options;
mod owners;
mod publisher;
mod report;
mod stamp;
mod tally;
mod usage;
mod viewer;

use std::fs;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use clap::Parser;
use lab::host::Host;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use crew::{Crew, Order, Parts, Standing};
use options::{Check, Options};
use publisher::{Publisher, Shape};
use report::Report;
use tally::{Now, Phase, Tally};
use usage::Usage;

/// Between two looks at how all stand.
const LOOK: Duration = Duration::from_millis(10);

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(500);

/// After their first packets watchers catch up with the last keyframe; then they are measured.
const SETTLE: Duration = Duration::from_secs(3);

/// Watchers under way at once: each is to be there soon.
const WATCHERS_AT_ONCE: u64 = 64;

/// Descriptors of this process besides those of viewers: files, event queues, connections.
const DESCRIPTORS: u64 = 256;

/// Beyond their own patience, how long those who join may take: each step of theirs has an end.
const JOIN_EXTRA: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(report) => {
            let faults = report.faults();
            let to_stdout = options.json.as_ref().is_some_and(|p| p.as_os_str() == "-");
            if !to_stdout {
                print!("{}{}", Host::look(), report.to_text());
            }
            if let Err(error) = write_json(&options, &report) {
                eprintln!("swarm: {error}");
                return ExitCode::FAILURE;
            }
            match faults.is_empty() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        Err(why) => {
            eprintln!("swarm: {why}");
            ExitCode::FAILURE
        }
    }
}

fn write_json(options: &Options, report: &Report) -> Result<(), String> {
    let Some(path) = &options.json else {
        return Ok(());
    };
    let mut text = serde_json::to_string_pretty(&report.to_json()).map_err(|e| e.to_string())?;
    text.push('\n');
    if path.as_os_str() == "-" {
        print!("{text}");
        return Ok(());
    }
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(options: &Options) -> Result<Report, String> {
    raise_descriptors(options)?;
    stay_on(&options.cpus)?;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = publish(options, &stop)?;
    let now = Arc::new(Now::default());
    now.set(Phase::Over);
    let mut watchers = Group::new(
        options,
        options.watched(),
        Check::Full,
        (u32::from(options.watchers > 0), 0),
        &now,
    )?;
    let first = options.watchers.saturating_mul(2);
    let mut viewers = Group::new(
        options,
        options.streams(),
        options.check,
        (options.threads, first),
        &now,
    )?;
    let port = options.http.port();

    watchers.join(options.watchers, 0.0, WATCHERS_AT_ONCE);
    watchers.wait(options, "watchers")?;
    if options.watchers > 0 {
        sleep(SETTLE);
    }
    let mut clock = Clock::start(port);
    now.set(Phase::Before);
    if options.watchers > 0 {
        sleep(Duration::from_secs(options.before.into()));
    }
    clock.lap();
    now.set(Phase::Joining);
    let at_once = match options.at_once {
        0 => u64::MAX,
        count => count.into(),
    };
    let per_second = f64::from(options.join_rate);
    viewers.join(options.newcomers(), per_second, at_once);
    viewers.wait(options, "viewers")?;
    clock.lap();
    now.set(Phase::After);
    viewers.order(|threads| Order::Churn(f64::from(options.churn) / threads));
    sleep(Duration::from_secs(options.seconds.into()));
    clock.lap();
    now.set(Phase::Over);

    let viewers = viewers.leave()?;
    let watchers = watchers.leave()?;
    stop.store(true, Relaxed);
    if let Some(thread) = publishing {
        thread.join().map_err(|_| "the publishers have died")?;
    }
    let (seconds, usages) = clock.read();
    Ok(Report {
        options: options.clone(),
        watchers,
        viewers,
        seconds,
        usages,
    })
}

/// Threads of viewers of one kind.
struct Group {
    crews: Vec<(Sender<Order>, Arc<Standing>, JoinHandle<Tally>)>,
    wanted: u64,
}

impl Group {
    /// `first` is the number of the first viewer, from which its address comes.
    fn new(
        options: &Options,
        streams: Vec<String>,
        check: Check,
        (threads, first): (u32, u32),
        now: &Arc<Now>,
    ) -> Result<Self, String> {
        let mut crews = Vec::new();
        for nth in 0..threads {
            let (sender, orders) = channel();
            let standing = Arc::new(Standing::default());
            let share = options.newcomers().div_ceil(options.threads) * 2;
            let crew = Crew::new(Parts {
                http: options.http,
                streams: streams.clone(),
                check,
                connections: usize::try_from(options.connections).unwrap_or(1),
                is_fresh: options.fresh,
                patience: Duration::from_secs(options.patience.into()),
                now: now.clone(),
                standing: standing.clone(),
                orders,
                first: first.saturating_add(nth * share),
            })?;
            crews.push((sender, standing, spawn(move || crew.run())));
        }
        Ok(Self { crews, wanted: 0 })
    }

    fn order(&self, order: impl Fn(f64) -> Order) {
        let threads = f64::from(u32::try_from(self.crews.len()).unwrap_or(1));
        for (sender, ..) in &self.crews {
            // A thread that has died is noticed when it is joined.
            let _ = sender.send(order(threads));
        }
    }

    fn join(&mut self, count: u32, per_second: f64, at_once: u64) {
        let threads = self.crews.len() as u64;
        self.wanted = count.into();
        for (nth, (sender, ..)) in (0..).zip(&self.crews) {
            let share = u64::from(count) / threads;
            let _ = sender.send(Order::Join {
                count: share + u64::from(nth < u64::from(count) % threads),
                per_second: per_second / f64::from(u32::try_from(threads).unwrap_or(1)),
                at_once: (at_once / threads).max(1),
            });
        }
    }

    fn standing(&self) -> [u64; 3] {
        let all = self.crews.iter().map(|(_, standing, _)| standing);
        all.fold([0; 3], |[joined, failed, packets], one| {
            [
                joined + one.joined.load(Relaxed),
                failed + one.failed.load(Relaxed),
                packets + one.packets.load(Relaxed),
            ]
        })
    }

    /// Waits until everybody has come or given up.
    fn wait(&self, options: &Options, name: &str) -> Result<(), String> {
        let start = Instant::now();
        let rate = f64::from(options.join_rate);
        let coming = if rate > 0.0 {
            f64::from(options.newcomers()) / rate
        } else {
            0.0
        };
        let patience = Duration::from_secs(options.patience.into());
        let limit = patience + JOIN_EXTRA + Duration::from_secs_f64(coming);
        let mut told = start;
        loop {
            let [joined, failed, packets] = self.standing();
            let is_done = joined + failed >= self.wanted;
            if std::io::stderr().is_terminal() && (told.elapsed() >= PROGRESS || is_done) {
                told = Instant::now();
                let _ = write!(
                    std::io::stderr(),
                    "\r{name}: {joined} of {} have joined, {failed} have not; {packets} packets \
                     {}",
                    self.wanted,
                    if is_done { "\n" } else { "" },
                );
            }
            if is_done {
                return Ok(());
            }
            if start.elapsed() > limit || self.crews.iter().any(|crew| crew.2.is_finished()) {
                return Err(format!(
                    "{joined} of {} {name} after {limit:?}",
                    self.wanted
                ));
            }
            sleep(LOOK);
        }
    }

    fn leave(self) -> Result<Tally, String> {
        let mut all = Tally::default();
        for (sender, ..) in &self.crews {
            let _ = sender.send(Order::Leave);
        }
        for (_, _, thread) in self.crews {
            let tally = thread.join().map_err(|_| "a thread of viewers has died")?;
            all.merge(&tally);
        }
        Ok(all)
    }
}

/// How long phases were, and what the server had spent at their ends.
struct Clock {
    port: u16,
    lap: Instant,
    seconds: Vec<f64>,
    usages: Vec<Usage>,
}

impl Clock {
    fn start(port: u16) -> Self {
        Self {
            port,
            usages: vec![Usage::look(port)],
            lap: Instant::now(),
            seconds: Vec::new(),
        }
    }

    fn lap(&mut self) {
        self.seconds.push(self.lap.elapsed().as_secs_f64());
        self.usages.push(Usage::look(self.port));
        self.lap = Instant::now();
    }

    fn read(self) -> ([f64; 3], [Usage; 4]) {
        (
            self.seconds.try_into().unwrap_or_default(),
            self.usages.try_into().unwrap_or_default(),
        )
    }
}

fn publish(options: &Options, stop: &Arc<AtomicBool>) -> Result<Option<JoinHandle<()>>, String> {
    let published = options.published();
    if published.is_empty() {
        return Ok(None);
    }
    let publishers: Vec<Publisher> = (0..)
        .zip(published)
        .map(|(nth, stream)| Publisher::start(options.http, &stream, nth))
        .collect::<Result<_, _>>()?;
    let (http, shape, stop) = (options.http, Shape::of(options), stop.clone());
    let run = move || publisher::run(publishers, http, shape, &stop);
    Ok(Some(spawn(run)))
}

/// Each viewer has a socket.
fn raise_descriptors(options: &Options) -> Result<(), String> {
    let viewers = u64::from(options.newcomers() + options.watchers + options.publishers + 1);
    let connections = u64::from(options.connections * (options.threads + 1));
    let wanted = viewers + connections + DESCRIPTORS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| error.to_string())?;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).map_err(|error| {
        format!(
            "{wanted} open files are needed and {hard} are allowed ({error}): raise the limit \
             (ulimit -n {wanted} as root, or LimitNOFILE of the unit), or ask for fewer viewers"
        )
    })
}

/// Threads inherit it.
fn stay_on(cpus: &[usize]) -> Result<(), String> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for id in cpus {
        set.set(*id)
            .map_err(|error| format!("processor {id}: {error}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|error| format!("--cpus: {error}"))
}
