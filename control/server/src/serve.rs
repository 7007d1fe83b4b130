//! Owns `freshet serve`: the memory that both planes share, the planes' processes, and what a
//! person is told when they start.

use crate::config::{Config, LogFormat};
use crate::drain::Ward;
use crate::ports::Ports;
use crate::run_dir::RunDir;
use crate::store::{self, Read, Store};
use crate::supervise::{
    self, Charge, Child, Estate, Executable, Inherited, Plane, Pulse, Signals, Succession, Upgrade,
};
use crate::{clock, dumps, log, workers};
use link::ids::CoreId;
use link::keeper::Keeper;
use link::region::{Region, Role};
use std::cell::Cell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use wire::time::{Span, Time};

/// The socket of the link, in the run directory.
const LINK: &str = "link";

/// The name of a process that goes on with another program.
const NAME: &std::ffi::CStr = c"freshet";

/// Workers turn at least ten times a second; one that has not for so long hangs.
const HEARTBEAT_MAX: Span = Span::millis(500);

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
    let mut keeper = Keeper::listen(region, &run_dir.path.join(LINK))?;
    ports.lend(&mut keeper);
    print_banner(&config, demo, &limits)?;

    let drain_time = Cell::default();
    let executable = Executable::own()?;
    let planes = planes(&run_dir.path, demo, keeper.region());
    let estate = Estate {
        signals: Signals::listen()?,
        charges: planes
            .map(|plane| Charge::new(plane, executable.clone()))
            .into(),
        ward: Ward::new(run_dir.path.clone(), &drain_time),
        store: Store::new(config, read, file, &run_dir.path, &drain_time)?,
        upgrade: Upgrade::new(std::env::current_exe()?, &run_dir.path),
        arguments: std::env::args_os().collect(),
        run_dir,
    };
    supervise::run(keeper, estate).await?;
    Ok(ExitCode::SUCCESS)
}

/// Goes on where the program before was in this process, or lets that go on again.
///
/// # Errors
/// Neither can go on, or as [`run`] later.
pub async fn resume(
    inherited: Inherited,
    read: impl Read,
    file: Option<PathBuf>,
    demo: bool,
) -> io::Result<ExitCode> {
    let drain_time = Cell::default();
    let (keeper, estate) = match take_up(&inherited, &drain_time, read, file, demo) {
        Ok(both) => both,
        Err(error) => return Err(inherited.give_back(&error)),
    };
    let document = inherited.document();
    let began = Time(document.upgrade_began_ns);
    estate.upgrade.resumed(began, document.failure.as_deref());
    drop(inherited);
    supervise::run(keeper, estate).await?;
    Ok(ExitCode::SUCCESS)
}

/// Says whether [`resume`] would go on, and changes nothing.
///
/// # Errors
/// Why not.
pub fn rehearse(inherited: &Inherited) -> io::Result<ExitCode> {
    inherited.open()?;
    store::in_force(&inherited.document().run_dir)?;
    Ok(ExitCode::SUCCESS)
}

fn take_up<'a, R: Read>(
    inherited: &Inherited,
    drain_time: &'a Cell<Span>,
    read: R,
    file: Option<PathBuf>,
    demo: bool,
) -> io::Result<(Keeper, Estate<'a, R>)> {
    let opened = inherited.open()?;
    let document = inherited.document();
    let (path, is_ours) = (document.run_dir.clone(), document.run_dir_is_ours);
    let config = store::in_force(&path)?;
    log::begin(&config.log)?;
    dumps::leave_out();
    // It would be the number of a descriptor.
    nix::sys::prctl::set_name(NAME)?;
    let signals = Signals::listen()?;
    let store = Store::resume(config, read, file, &path, drain_time, opened.desk)?;
    // Nothing fails any more: from here on there are things that end others when they are dropped.
    let keeper = Keeper::from(opened.link);
    let planes = planes(&path, demo, keeper.region()).into_iter();
    let charges = planes.zip(opened.planes);
    let charges = charges.map(|(plane, (executable, pid))| Charge {
        plane,
        executable,
        child: pid.map(Child::adopt),
        is_new: false,
    });
    let estate = Estate {
        signals,
        charges: charges.collect(),
        ward: Ward::resume(path.clone(), drain_time, document.is_terminated),
        store,
        upgrade: Upgrade::new(document.named.clone(), &path),
        arguments: document.arguments.iter().map(OsString::from).collect(),
        run_dir: RunDir { path, is_ours },
    };
    Ok((keeper, estate))
}

/// The planes, in the order in which they are replaced.
fn planes(run_dir: &Path, demo: bool, memory: &Region) -> [Plane; 2] {
    let (link, resolved) = (run_dir.join(LINK), store::resolved(run_dir));
    let mut control = plane_args("control", &link, &resolved);
    if demo {
        control.push("--demo".into());
    }
    let workers = workers_turn(memory.clone());
    let memory = memory.clone();
    [
        Plane {
            name: "forwarder",
            args: plane_args("forwarder", &link, &resolved),
            reloads: true,
            succession: Succession::StandsBy,
            role: Role::Forwarder,
            is_well: workers,
        },
        Plane {
            name: "control",
            args: control,
            reloads: true,
            succession: Succession::Leaves,
            role: Role::Control,
            is_well: Arc::new(move || memory.presence(Role::Control).alive),
        },
    ]
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
