//! Owns `freshet serve`: the memory that both planes share, the planes' processes, and what a
//! person is told when they start.

use crate::config::{Config, LogFormat};
use crate::drain::Ward;
use crate::ports::Ports;
use crate::store::{Read, Store};
use crate::supervise::{self, Plane, Pulse, Succession};
use crate::{clock, workers};
use link::ids::CoreId;
use link::keeper::{Keeper, Notice};
use link::region::{Region, Role};
use std::cell::Cell;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use wire::time::Span;

/// How long the keeper's thread waits for something to happen before it looks again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Notices of the keeper that may wait for those who listen; a few come with an upgrade.
const NOTICES_MAX: usize = 64;

/// Workers turn at least ten times a second; one that has not for so long hangs.
const HEARTBEAT_MAX: Span = Span::millis(500);

/// A directory of this run; removed when it is dropped if this run has made it.
struct RunDir {
    path: PathBuf,
    ours: bool,
}

/// Serves until it is drained. `read` reads the configuration once more, from `file` if there is
/// one.
///
/// # Errors
/// The memory or the run directory cannot be had.
pub async fn run(
    config: Config,
    read: impl Read,
    file: Option<PathBuf>,
    demo: bool,
) -> io::Result<ExitCode> {
    let of_host = std::thread::available_parallelism().map_or(1, usize::from);
    let limits = config.link_limits(config.cores(of_host));
    let ports = Ports::bind(&config, usize::from(limits.cores))?;
    let region = Region::create(&limits).map_err(|e| {
        io::Error::new(
            e.kind(),
            format!("no memory for the link: {e}; lower [limits]"),
        )
    })?;
    let run_dir = RunDir::make(&config.node.run_dir)?;
    let link = run_dir.path.join("link");
    let mut keeper = Keeper::listen(region, &link)?;
    ports.lend(&mut keeper);
    let memory = keeper.region().clone();
    let (notices, _) = broadcast::channel(NOTICES_MAX);
    let heard = notices.clone();
    std::thread::Builder::new()
        .name("keeper".into())
        .spawn(move || keep(keeper, &heard))?;

    print_banner(&config, demo, &limits)?;

    let drain_time = Cell::default();
    let ward = Ward::new(run_dir.path.clone(), &drain_time);
    let store = Store::new(config, read, file, &run_dir.path, &drain_time)?;
    let resolved = store.resolved();
    let mut control = plane_args("control", &link, resolved);
    if demo {
        control.push("--demo".into());
    }
    let planes = vec![
        Plane {
            name: "forwarder",
            args: plane_args("forwarder", &link, resolved),
            reloads: true,
            succession: Succession::StandsBy,
            role: Role::Forwarder,
            is_well: workers_turn(memory.clone()),
        },
        Plane {
            name: "control",
            args: control,
            reloads: true,
            succession: Succession::Leaves,
            role: Role::Control,
            is_well: Arc::new(move || memory.presence(Role::Control).alive),
        },
    ];
    supervise::run(planes, &run_dir.path, store, ward, &notices).await?;
    Ok(ExitCode::SUCCESS)
}

/// Ends this process when its supervisor dies: an orphan would hold the ports.
pub fn follow_supervisor() {
    if std::env::var_os(supervise::SUPERVISED).is_some() {
        // Refused: an orphan is left behind in a case that should not happen anyway.
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
    }
}

fn plane_args(name: &str, link: &Path, config: &Path) -> Vec<OsString> {
    let words: [OsString; 5] = [
        name.into(),
        "--link".into(),
        link.into(),
        "--config".into(),
        config.into(),
    ];
    words.into()
}

fn keep(mut keeper: Keeper, notices: &broadcast::Sender<Notice>) {
    loop {
        let notice = match keeper.serve_one(PATIENCE) {
            Ok(None) => continue,
            Ok(Some(notice)) => notice,
            Err(error) => {
                tracing::error!(%error, "the keeper of the link");
                std::thread::sleep(PATIENCE);
                continue;
            }
        };
        match &notice {
            Notice::Joined { role, pid, .. } => tracing::debug!(?role, pid, "joined"),
            Notice::Waiting { role, pid, build } => {
                tracing::info!(?role, pid, build, "waits for its place");
            }
            Notice::Succeeded { role, pid } => tracing::info!(?role, pid, "has its place"),
            Notice::Left { role, pid } => tracing::warn!(?role, pid, "left the link"),
            Notice::Refused { pid, why } => tracing::warn!(pid, why, "refused"),
        }
        // Nobody has to listen.
        let _ = notices.send(notice);
    }
}

/// Says whether all workers turn.
fn workers_turn(memory: Region) -> Pulse {
    Arc::new(move || {
        let now = clock::now();
        let turned = |core| {
            let stats = memory.stats(CoreId(core)).ok();
            stats.is_some_and(|stats| now.since(stats.heartbeat()) < HEARTBEAT_MAX)
        };
        (0..memory.limits().cores).all(turned)
    })
}

impl RunDir {
    /// The configured one, systemd's, or a new one that nobody else may enter.
    fn make(configured: &str) -> io::Result<Self> {
        let given = if configured.is_empty() {
            std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from)
        } else {
            Some(PathBuf::from(configured))
        };
        let (path, ours) = match given {
            Some(path) => (path, false),
            None => {
                let random: u64 = rand::random();
                (
                    std::env::temp_dir().join(format!("freshet-{random:016x}")),
                    true,
                )
            }
        };
        let explain = |e: io::Error| {
            io::Error::new(e.kind(), format!("run directory {}: {e}", path.display()))
        };
        DirBuilder::new()
            .recursive(!ours)
            .mode(0o700)
            .create(&path)
            .map_err(explain)?;
        Ok(Self { path, ours })
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.ours {
            // What is left behind is a few small files in the directory for such.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Where to watch, how to publish, and what was chosen; fails if that cannot run here.
fn print_banner(config: &Config, demo: bool, limits: &link::limits::Limits) -> io::Result<()> {
    let cipher = workers::cipher(config).map_err(io::Error::other)?;
    let choice = workers::choose(config);
    workers::uring(config, choice.backend.backend).map_err(io::Error::other)?;
    if config.log.format == LogFormat::Json {
        return Ok(());
    }
    let http = reachable(config.http.listen.resolve());
    let srt = reachable(config.srt.listen.resolve());
    let memory = limits.memory().map_err(io::Error::other)?;
    let stream = if demo { "demo" } else { "mystream" };
    let mut out = io::stdout().lock();
    writeln!(out, "freshet {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  watch      http://{http}/")?;
    writeln!(out, "             WHEP http://{http}/whep/{stream}")?;
    writeln!(
        out,
        "  publish    ffmpeg -re -i in.mp4 -c:v libx264 -bf 0 -g 60 -tune zerolatency \\"
    )?;
    writeln!(
        out,
        "               -c:a aac -pes_payload_size 0 -f mpegts \
           'srt://{srt}?streamid=publish:mystream'"
    )?;
    writeln!(
        out,
        "             OBS: Custom, server srt://{srt}?streamid=publish:mystream"
    )?;
    writeln!(
        out,
        "             WHIP http://{http}/whip/mystream, or the page"
    )?;
    writeln!(out, "  media      udp {} for browsers", config.media.listen)?;
    writeln!(
        out,
        "  backend    {}: {}",
        workers::name(choice.backend.backend),
        choice.backend.why
    )?;
    let (transmit, why) = (choice.transmit.transmit, &choice.transmit.why);
    writeln!(out, "  transmit   {transmit}: {why}")?;
    let cm = cipher.name_for_cm();
    writeln!(out, "  cipher     {cipher} for AES-GCM, {cm} for AES-CM")?;
    writeln!(out, "  cores      {}", limits.cores)?;
    writeln!(
        out,
        "  memory     {} MB at most, for {} streams and {} viewers",
        memory.total() >> 20,
        limits.streams_max,
        limits.viewers_max
    )?;
    writeln!(
        out,
        "  more       http://{http}/v1/node   http://{http}/metrics   freshet --help"
    )?;
    out.flush()
}

/// An address that can be typed on this host, for one that means all of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}
