//! Owns the control process: puts sessions, HTTP and SRT together over a link.

use crate::clock;
use crate::config::{Config, reread};
use crate::control::{BackendView, Control, ListenView, StreamName};
use crate::drain::Drain;
use crate::driver::{Driver, Facts, Parts};
use crate::srt::{News, Order, QUESTIONS_MAX, SrtTask};
use crate::{http, load, log, ports, supervise, workers};
use link::region::Role;
use media::clip::Looper;
use nix::unistd::getppid;
use session::Sessions;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wire::time::Span;

/// The built-in clip: made by `assets/make-demo.sh`.
const CLIP: &[u8] = include_bytes!("../assets/demo.ts");

/// Name of the stream that the clip is published as.
const CLIP_STREAM: &str = "demo";

/// How long servers that relays have called are given to hear that they end.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the driver, HTTP and SRT may take to end, each.
const END: Duration = Duration::from_secs(2);

/// The same when another sidecar waits for the place: answers under way are written by then.
const HASTE: Duration = Duration::from_millis(200);

/// The SRT task, and the driver's ends of what leads to it.
struct SrtSide {
    address: SocketAddr,
    task: JoinHandle<()>,
    news: mpsc::Receiver<News>,
    orders: mpsc::Sender<Order>,
}

/// Runs the sidecar until SIGTERM, or until the node is drained. At SIGHUP the configuration is
/// read once more, by `again`, and what the supervisor has decided of a drain.
///
/// # Errors
/// A port is taken, or another control is at the link.
pub async fn run(
    link: &Path,
    config: Config,
    again: impl Fn() -> io::Result<Config>,
    demo: bool,
) -> io::Result<ExitCode> {
    // Early: by default it would end us.
    let mut hangup = signal(SignalKind::hangup())?;
    let place = workers::join(link, Role::Control).await?;
    let region = place.region;
    let (listener, srt_socket) = ports::of_control(place.lent)?;
    let address = listener.local_addr()?;
    let candidates = config.candidates()?;
    let sessions = Sessions::new(
        session_config(&config, region.limits().cores, &candidates),
        rand::random(),
    )
    .map_err(io::Error::other)?;
    let facts = facts(&config, link, &candidates);

    let srt = start_srt(&config, srt_socket)?;

    let (control, requests) = Control::channel();
    let (config_source, config) = watch::channel(Arc::new(config));
    let supervisor = std::env::var_os(supervise::SUPERVISED).map(|_| getppid());
    let run_dir = link.parent().unwrap_or(Path::new("."));
    let drain = Drain::open(run_dir, supervisor);
    let desk = http::Desk::new(supervisor.map(|_| run_dir.to_owned()));
    let site = http::Site::new(control, config.clone(), drain.clone(), desk);
    let relays = site.relays();
    let parts = Parts {
        region,
        sessions,
        config,
        requests,
        srt_news: srt.news,
        srt_orders: srt.orders,
        host: load::host::watch()?,
        drain: drain.clone(),
        facts,
    };
    let mut driver = Driver::new(parts)?;
    if demo {
        publish_clip(&mut driver)?;
    }

    let (stop, stopped) = watch::channel(false);
    let mut driver = tokio::spawn(driver.run(stopped.clone()));
    let mut http_stopped = stopped.clone();
    let serving = tokio::spawn(http::serve(listener, site, async move {
        let _ = http_stopped.wait_for(|stop| *stop).await;
    }));
    relays.start();
    tracing::info!(http = %address, srt = %srt.address, "serving");
    let reload = || reload(&config_source, &again);
    let patience = match until_end(&mut driver, &drain, &mut hangup, reload).await? {
        End::Driver => return Ok(ExitCode::FAILURE),
        End::Replaced => {
            driver.abort();
            HASTE
        }
        End::Told => {
            // Servers that do not answer learn of it by our silence.
            let _ = tokio::time::timeout(FAREWELL, relays.stop()).await;
            END
        }
    };
    // Both tasks hold receivers.
    let _ = stop.send(true);
    let _ = tokio::time::timeout(patience, driver).await;
    let _ = tokio::time::timeout(patience, serving).await;
    // It has ended with the driver, after the last of its farewells.
    let _ = tokio::time::timeout(patience, srt.task).await;
    Ok(outcome(&drain, supervisor.is_some()))
}

/// Why the sidecar ends.
enum End {
    /// It was told to, or the node is drained.
    Told,
    /// Another one takes its place, and everybody goes on with that: no farewells.
    Replaced,
    /// It cannot go on.
    Driver,
}

/// Waits for the end; until then, looks at what the supervisor has decided when that says so.
async fn until_end(
    driver: &mut JoinHandle<()>,
    drain: &Drain,
    hangup: &mut Signal,
    reload: impl Fn(),
) -> io::Result<End> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut replaced = signal(SignalKind::user_defined2())?;
    loop {
        tokio::select! {
            _ = term.recv() => return Ok(End::Told),
            _ = interrupt.recv() => return Ok(End::Told),
            () = drain.over() => return Ok(End::Told),
            _ = replaced.recv() => return Ok(End::Replaced),
            _ = hangup.recv() => {
                drain.look();
                reload();
            }
            ended = &mut *driver => {
                tracing::error!(?ended, "the driver has ended");
                return Ok(End::Driver);
            }
        }
    }
}

/// How a supervisor is told why the sidecar has ended.
fn outcome(drain: &Drain, is_supervised: bool) -> ExitCode {
    if !drain.is_over() {
        return ExitCode::SUCCESS;
    }
    drain.forget();
    match is_supervised {
        true => ExitCode::from(supervise::DRAINED),
        false => ExitCode::SUCCESS,
    }
}

fn start_srt(config: &Config, socket: std::net::UdpSocket) -> io::Result<SrtSide> {
    let address = socket.local_addr()?;
    let socket = UdpSocket::from_std(socket)?;
    let config = session::srt::Config {
        latency: Span::millis(u64::from(config.srt.latency_ms)),
        ..session::srt::Config::default()
    };
    let (tells, news) = mpsc::channel(QUESTIONS_MAX);
    // Room for an answer and a close of every connection.
    let (orders, told) = mpsc::channel(2 * config.connections_max);
    let task = SrtTask::new(socket, config, rand::random(), tells, told);
    Ok(SrtSide {
        address,
        task: tokio::spawn(task.run()),
        news,
        orders,
    })
}

/// Takes the configuration as it is now, as a whole or not at all.
fn reload(current: &watch::Sender<Arc<Config>>, again: impl Fn() -> io::Result<Config>) {
    let read = reread(&current.borrow(), again);
    match read {
        Ok((config, changes)) => {
            let changed = changes.live.join(", ");
            if !changed.is_empty() {
                tracing::info!(changed, "the configuration was read again");
            }
            log::follow(&config.log);
            current.send_replace(Arc::new(config));
        }
        Err(error) => tracing::error!("SIGHUP: the configuration stays as it was: {error}"),
    }
}

fn facts(config: &Config, link: &Path, candidates: &[SocketAddr]) -> Facts {
    let choice = workers::choose(config);
    Facts {
        started: clock::now(),
        backend: BackendView {
            name: workers::name(choice.backend.backend).to_owned(),
            why: choice.backend.why,
            transmit: choice.transmit.transmit.to_string(),
            transmit_why: choice.transmit.why,
            cipher: workers::cipher(config).map_or_else(|_| String::new(), |c| c.to_string()),
        },
        listen: ListenView {
            http: vec![config.http.listen.resolve().to_string()],
            media: vec![config.media.listen.resolve().to_string()],
            advertise: candidates.iter().map(ToString::to_string).collect(),
            srt: vec![config.srt.listen.resolve().to_string()],
        },
        supervisor: u32::try_from(getppid().as_raw()).ok(),
        forwarder_pid_file: link.with_file_name("forwarder.pid"),
    }
}

fn publish_clip(driver: &mut Driver) -> io::Result<()> {
    let name: StreamName = CLIP_STREAM.parse().map_err(io::Error::other)?;
    let looper = Looper::new(CLIP).map_err(io::Error::other)?;
    driver.publish_clip(&name, looper).map_err(io::Error::other)
}

fn session_config(config: &Config, cores: u16, candidates: &[SocketAddr]) -> session::Config {
    session::Config {
        candidates: candidates.to_vec(),
        cores,
        viewers_max: config.limits.viewers_max,
        handshakes_max: config.limits.handshakes_max,
        handshake_timeout: Span::secs(config.limits.handshake_timeout_s),
        ..session::Config::default()
    }
}
