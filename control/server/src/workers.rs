//! Owns the forwarder process: its workers, from their sockets to their end.

use crate::config::{Backend, Cipher, Config, Idle, Transmit};
use crate::{clock, log, ports};
use link::ids::CoreId;
use link::keeper::{Place, Standby, Wish};
use link::region::{Region, Role};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{self, ExitCode};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tuning::{Finding, Row, Verdict};
use wire::time::{Span, Time};
use worker::probe::{self, Probe};
use worker::{LoadLimit, PortConfig, Prepared, UringSettings, Watch, Workers, XdpConfig, left};

/// How often the workers are looked after.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A joining plane waits so long for the keeper, and asks this often.
const JOIN_PATIENCE: u32 = 100;
const JOIN_PAUSE: Duration = Duration::from_millis(50);

/// How long the forwarder before may take to leave its place. It takes milliseconds.
const TAKE_OVER_MAX: Duration = Duration::from_secs(5);

/// How long it may take to tell of its viewers ahead, and how long to make ready for them: with
/// 20,000 on a core some 100 ms, and a second.
const TELL_MAX: Duration = Duration::from_secs(2);
const LEARN_MAX: Duration = Duration::from_secs(5);

/// How packets come and go, and how media leaves.
pub struct Choice {
    /// The backend.
    pub backend: probe::Choice,
    /// The way out.
    pub transmit: probe::TransmitChoice,
}

/// How packets come and go on this host, as the configuration and a probe decide.
#[must_use]
pub fn choose(config: &Config) -> Choice {
    let wanted = match config.media.backend {
        Backend::Auto => None,
        Backend::Mmsg => Some(probe::Backend::Mmsg),
        Backend::Uring => Some(probe::Backend::Uring),
    };
    let transmit = match config.media.transmit {
        Transmit::Auto => None,
        Transmit::Udp => Some(probe::Transmit::Udp),
        Transmit::Xdp => Some(probe::Transmit::Xdp),
    };
    let probe = Probe::run();
    Choice {
        backend: probe::choose(&probe, wanted),
        transmit: probe::choose_transmit(&probe, transmit),
    }
}

/// What seals for viewers with AES-GCM, as the configuration and the processor decide.
///
/// # Errors
/// The processor can't run what the configuration names.
pub fn cipher(config: &Config) -> Result<worker::Cipher, String> {
    worker::Cipher::choose(match config.media.cipher {
        Cipher::Auto => None,
        Cipher::Vaes512 => Some("vaes512"),
        Cipher::Vaes => Some("vaes"),
        Cipher::Ring => Some("ring"),
    })
    .map_err(|error| format!("media.cipher: {error}"))
}

/// How `io_uring` is used, as the configuration says, if that is the `backend`.
///
/// # Errors
/// The kernel refuses it; what to do is said.
pub fn uring(config: &Config, backend: probe::Backend) -> Result<UringSettings, String> {
    let wanted = &config.uring;
    let settings = UringSettings {
        zero_copy: wanted.zero_copy,
        fixed_buffers: wanted.fixed_buffers,
        napi_us: wanted.napi_us,
        napi_prefer: wanted.napi_prefer,
        ..UringSettings::DEFAULT
    };
    if backend == probe::Backend::Uring {
        probe::try_setting(settings)?;
    }
    Ok(settings)
}

/// What the probe of the kernel found, for `freshet doctor`.
#[must_use]
pub fn probe_rows() -> Vec<Row> {
    let why = "the data plane is faster with it, and works without";
    let row = |(name, answer): (&str, &probe::Answer)| {
        let finding = match answer {
            Ok(()) => Finding::good("yes", "yes"),
            Err(error) => {
                let fix = if name == probe::XDP {
                    "what is said beside it; it is used only with media.transmit = \"xdp\""
                } else if probe::SETTINGS.contains(&name) {
                    "what is said beside it; it is used only where [uring] asks for it"
                } else {
                    "a newer kernel, or leave of the container's seccomp profile"
                };
                Finding::wanting(Verdict::Better, error.clone(), "yes", fix)
            }
        };
        Row::new(name, why, finding)
    };
    Probe::run().list().into_iter().map(row).collect()
}

/// Keeps this thread, and those that it will start, off the processors of workers: handshakes and
/// transcoding never hold up what is forwarded. Where workers have all processors, they share.
pub fn stay_off(config: &Config) {
    let of_host = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = config.cores(of_host);
    let spare = worker::spare(usize::from(workers));
    let mut set = CpuSet::new();
    let known = spare.iter().all(|cpu| set.set(*cpu).is_ok());
    if !spare.is_empty() && known && sched_setaffinity(Pid::from_raw(0), &set).is_ok() {
        tracing::debug!(?spare, "control stays off the processors of workers");
    } else {
        tracing::info!(
            workers,
            "control shares processors with workers: joins may delay media"
        );
    }
}

/// The name of a backend as the configuration has it.
#[must_use]
pub fn name(backend: probe::Backend) -> &'static str {
    match backend {
        probe::Backend::Mmsg => "mmsg",
        probe::Backend::Uring => "uring",
    }
}

/// Joins the keeper of the link; it may still be starting.
///
/// # Errors
/// No keeper, or it refuses: another process has this role, or another version.
pub async fn join(link: &Path, role: Role) -> io::Result<Place> {
    let mut tries = 0;
    loop {
        match link::keeper::join(link, role) {
            Ok(place) => return Ok(place),
            Err(error) if tries < JOIN_PATIENCE && may_come(&error) => {
                tries += 1;
                tokio::time::sleep(JOIN_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Not there yet, or the one before has died and is not buried yet.
fn may_come(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, ConnectionRefused, NotFound, ResourceBusy};
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | AddrInUse | ResourceBusy
    )
}

/// Runs the workers over a link until SIGTERM, or until another process takes their place. With
/// `stands_by` it is this one that takes the place of another. At SIGHUP the configuration is read
/// once more, by `again`: what concerns the log and the load changes at once.
///
/// # Errors
/// They cannot be started. That one of them has died later is a failure, not an error.
pub async fn run(
    link: &Path,
    config: &Config,
    again: impl Fn() -> io::Result<Config>,
    stands_by: bool,
) -> io::Result<ExitCode> {
    // Early: by default it would end us.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let means = Means::new(config)?;
    let load_limit = means.load_limit.clone();
    let (region, workers) = match stands_by {
        true => take_over(link, config, means)?,
        false => {
            let place = join(link, Role::Forwarder).await?;
            let workers = prepare(&place, config, means, 0)?.start(None);
            (place.region, workers.map_err(io::Error::other)?)
        }
    };
    let mut watch = Watch::new(region.limits().cores);
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match again() {
                Ok(config) => {
                    log::follow(&config.log);
                    load_limit.set(config.limits.max_load);
                }
                Err(error) => tracing::error!("SIGHUP: all stays as it was: {error}"),
            },
            () = tokio::time::sleep(LOOK_INTERVAL) => {
                if let Some(core) = workers.dead() {
                    tracing::error!(core = core.0, "a worker has died");
                    return Ok(ExitCode::FAILURE);
                }
                if let Some(core) = watch.look(&region) {
                    tracing::error!(core = core.0, "a worker is stuck: others take all places");
                    // It cannot be asked to end, and is not to be waited for.
                    process::exit(1);
                }
                match link::keeper::wish(&region)? {
                    Wish::None => {}
                    Wish::Tell => tell_ahead(&region, &workers)?,
                    Wish::Leave { knows } => return hand_over(&region, workers, knows),
                }
            }
        }
    }
    workers.stop();
    workers.join().map_err(io::Error::other)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes everything ready, waits until the forwarder that runs has left its place, and goes on
/// where that was. If it died, the workers begin as after any other death.
fn take_over(link: &Path, config: &Config, means: Means) -> io::Result<(Region, Workers)> {
    let standby = link::keeper::stand_by(link, Role::Forwarder)?;
    let viewers = standby.place().region.viewers().len();
    let prepared = prepare(standby.place(), config, means, viewers)?;
    let reader = left::Reader::new(left::bytes_for(viewers));
    let knows = learn(&standby, &prepared, viewers)?;
    let (place, left) = standby.take_over(knows, TAKE_OVER_MAX)?;
    let stopped = last_turn(&place.region);
    let left = left.map(|left| reader.read(left)).transpose()?;
    let is_handed_over = left.is_some();
    let workers = prepared.start(left).map_err(io::Error::other)?;
    if is_handed_over {
        let stood = clock::now().since(stopped);
        tracing::info!(
            stood_us = stood.as_micros(),
            "goes on where the one before was"
        );
    }
    Ok((place.region, workers))
}

/// Makes everything ready for the viewers that the forwarder that runs tells of, while that still
/// serves them. False: it does not tell.
fn learn(standby: &Standby, prepared: &Prepared, viewers: usize) -> io::Result<bool> {
    let Some(told) = standby.ask(TELL_MAX)? else {
        return Ok(false);
    };
    let told = left::Reader::new(left::bytes_for(viewers)).read(told)?;
    prepared.learn(&told, LEARN_MAX).map_err(io::Error::other)?;
    Ok(true)
}

/// When the first of the workers turned for the last time.
fn last_turn(region: &Region) -> Time {
    let cores = (0..region.limits().cores).map(CoreId);
    let beats = cores.filter_map(|core| Some(region.stats(core).ok()?.heartbeat()));
    beats.min().unwrap_or(Time::ZERO)
}

/// Tells the process that waits for our place what it can know already.
fn tell_ahead(region: &Region, workers: &Workers) -> io::Result<()> {
    let bytes = left::bytes_for(region.viewers().len());
    let told = workers.tell_ahead(bytes, TELL_MAX);
    let told = told.map_err(io::Error::other);
    let told = told.and_then(|told| left::write(left::file(bytes)?, &told));
    if let Err(error) = &told {
        tracing::warn!(%error, "nothing is told ahead: an upgrade will take longer");
    }
    link::keeper::tell(region, told.as_ref().ok())
}

/// Leaves the place to the process that waits for it. It has it when all of ours is let go.
fn hand_over(region: &Region, workers: Workers, knows: bool) -> io::Result<ExitCode> {
    let bytes = left::bytes_for(region.viewers().len());
    let file = left::file(bytes)?;
    let began = Instant::now();
    let left = match workers.hand_over(knows, bytes) {
        Ok(left) => left,
        Err(error) => {
            tracing::error!(%error, "cannot hand over: the next forwarder begins afresh");
            return Ok(ExitCode::FAILURE);
        }
    };
    let bytes: usize = left.iter().map(Vec::len).sum();
    link::keeper::leave(region, &left::write(file, &left)?)?;
    tracing::info!(bytes, took_us = began.elapsed().as_micros(), "handed over");
    Ok(ExitCode::SUCCESS)
}

/// What a forwarder works with on this host.
struct Means {
    choice: Choice,
    cipher: worker::Cipher,
    uring: UringSettings,
    load_limit: LoadLimit,
}

impl Means {
    /// Looks for it: some probes of the kernel.
    fn new(config: &Config) -> io::Result<Self> {
        let choice = choose(config);
        Ok(Self {
            cipher: cipher(config).map_err(io::Error::other)?,
            uring: uring(config, choice.backend.backend).map_err(io::Error::other)?,
            choice,
            load_limit: LoadLimit::new(config.limits.max_load),
        })
    }
}

/// Workers that have everything but their ends of the link, for so many viewers.
fn prepare(place: &Place, config: &Config, means: Means, viewers: usize) -> io::Result<Prepared> {
    let lent: Result<Vec<_>, _> = place.lent.iter().map(OwnedFd::try_clone).collect();
    let sockets = ports::of_forwarder(lent?)?;
    let region = place.region.clone();
    let cores = usize::from(region.limits().cores);
    let address = config.media.listen.resolve();
    let Means {
        choice,
        cipher,
        uring,
        load_limit,
    } = means;
    let (backend, transmit) = (choice.backend.backend, choice.transmit.transmit);
    if backend != probe::Backend::Uring && uring != UringSettings::DEFAULT {
        tracing::warn!("[uring] is set and does nothing: media.backend is not \"uring\"");
    }
    tracing::info!(%address, cores, backend = name(backend), %transmit, %cipher, "forwarding");
    let workers = worker::Config {
        region,
        sockets,
        backend,
        xdp: (transmit == probe::Transmit::Xdp).then_some(XdpConfig {
            checksum: config.media.udp_checksum,
            note: |note| tracing::warn!("{note}"),
        }),
        cipher,
        port: PortConfig {
            uring,
            ..PortConfig::default()
        },
        idle: match config.media.idle {
            Idle::Sleep => worker::Idle::Sleep,
            Idle::Spin => worker::Idle::Spin(Span::micros(config.media.spin_us.into())),
        },
        pin: worker::Pin::Auto,
        load_limit,
    };
    worker::prepare(workers, viewers).map_err(io::Error::other)
}
