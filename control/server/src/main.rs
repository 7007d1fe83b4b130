//! The composition root of the `freshet` binary.

mod bench;
mod cli;
mod clock;
mod config;
mod conform;
mod control;
mod doctor;
mod drain;
mod driver;
mod dumps;
mod http;
mod hush;
mod load;
mod log;
mod media_type;
mod metrics;
mod ports;
mod private;
mod problem;
mod publisher;
mod relay;
mod run_dir;
mod serve;
mod sidecar;
mod srt;
mod store;
mod supervise;
mod workers;

use clap::Parser;
use cli::{Cli, Command, ConfigArgs, ForwarderArgs, ServeArgs, Settings, UpgradeArgs};
use config::Config;
use std::io;
use std::process::ExitCode;
use supervise::Inherited;

/// For the cold side: the packet path does not allocate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        supervise::give_back_unread(std::env::args_os(), &error.to_string());
        error.exit()
    });
    match run(cli.into_command()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("freshet: {error}");
            ExitCode::from(supervise::REFUSED)
        }
    }
}

fn run(command: Command) -> io::Result<ExitCode> {
    serve::follow_supervisor();
    match command {
        Command::Serve(args) => serve(args),
        Command::Control(args) => {
            let config = settle(&args.settings)?;
            workers::stay_off(&config);
            let again = move || read(&args.settings, None);
            block_on(2, sidecar::run(&args.link, config, again, args.demo))
        }
        Command::Forwarder(ForwarderArgs {
            link: Some(link),
            settings,
            stand_by,
            ..
        }) => {
            let config = settle(&settings)?;
            let again = move || read(&settings, None);
            block_on(1, workers::run(&link, &config, again, stand_by))
        }
        Command::Forwarder(ForwarderArgs {
            flows, settings, ..
        }) => {
            settle(&settings)?;
            let flows = flows.ok_or_else(|| io::Error::other("name a file of flows"))?;
            worker::standalone::run(&flows).map_err(io::Error::other)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Upgrade(args) => upgrade(args),
        Command::Config(args) => print_config(&args),
        Command::Doctor(args) => {
            let config = settle(&args.settings)?;
            let more = workers::probe_rows();
            Ok(doctor::doctor(&args, &config, more))
        }
        Command::Bench(args) => {
            let config = settle(&args.settings)?;
            bench::run(&args, &config)
        }
        Command::Tune(args) => Ok(doctor::tune(&args, &Config::default())),
        Command::Conform(args) => block_on(1, async move { Ok(conform::run(&args).await) }),
    }
}

/// Serves, from the start or where the program before was in this process. All of it is on this
/// thread: see [`supervise`].
fn serve(args: ServeArgs) -> io::Result<ExitCode> {
    let ServeArgs {
        demo,
        settings,
        resume,
        dry_run,
    } = args;
    let inherited = resume.map(Inherited::take).transpose()?;
    if let Some(inherited) = inherited.as_ref().filter(|_| dry_run) {
        return serve::rehearse(inherited);
    }
    let file = settings.config.clone();
    let again = |text: Option<&str>| read(&settings, text);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match inherited {
        Some(inherited) => runtime.block_on(serve::resume(inherited, again, file, demo)),
        None => {
            let config = settle(&settings)?;
            runtime.block_on(serve::run(config, again, file, demo))
        }
    }
}

/// The configuration as it is now, or as it would be with this text in place of that of the file.
fn read(settings: &Settings, text: Option<&str>) -> io::Result<Config> {
    let file = match &settings.config {
        Some(path) => {
            let name = path.display().to_string();
            let text = match text {
                Some(text) => text.to_owned(),
                None => std::fs::read_to_string(path)
                    .map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?,
            };
            Some((name, text))
        }
        None => None,
    };
    let file = file
        .as_ref()
        .map(|(name, text)| (name.as_str(), text.as_str()));
    config::load(file, std::env::vars(), settings.overrides()).map_err(io::Error::other)
}

/// The configuration, with logging set up as it says.
fn settle(settings: &Settings) -> io::Result<Config> {
    let config = read(settings, None)?;
    log::begin(&config.log)?;
    dumps::leave_out();
    Ok(config)
}

/// Runs a plane, or both. An error has kept it from starting; what ends it later is its outcome.
fn block_on(
    threads: usize,
    task: impl Future<Output = io::Result<ExitCode>>,
) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(task)
}

fn upgrade(args: UpgradeArgs) -> io::Result<ExitCode> {
    let run_dir = match args.run_dir {
        Some(run_dir) => run_dir,
        None => read(&args.settings, None)?.node.run_dir.into(),
    };
    if run_dir.as_os_str().is_empty() {
        return Err(io::Error::other(
            "which node? Name its run directory by --run-dir, or its configuration by --config; a \
             node without node.run_dir upgrades at SIGUSR2",
        ));
    }
    supervise::follow_upgrade(&run_dir)
}

fn print_config(args: &ConfigArgs) -> io::Result<ExitCode> {
    let Some(path) = &args.check else {
        print!("{}", config::DEFAULT_TOML);
        return Ok(ExitCode::SUCCESS);
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
    let config = config::load(Some((&name, &text)), std::env::vars(), Vec::new())
        .map_err(io::Error::other)?;
    let of_host = std::thread::available_parallelism().map_or(1, usize::from);
    let sum = config
        .link_limits(config.cores(of_host))
        .memory()
        .map_err(io::Error::other)?;
    println!("{name}: all right\n\n{sum}");
    Ok(ExitCode::SUCCESS)
}
