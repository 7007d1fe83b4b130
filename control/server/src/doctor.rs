//! Owns `freshet doctor` and `freshet tune`: the checks of `tuning`, and those that need the
//! configuration.

use crate::cli::{DoctorArgs, TuneArgs};
use crate::config::Config;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::ExitCode;
use tuning::{Finding, Host, Plan, Row, UndoFile, Verdict};

/// Checks the host for this configuration and prints what was found, together with `more` (what
/// the backends' probe says). Fails if something will not work.
#[must_use]
pub fn doctor(args: &DoctorArgs, config: &Config, more: Vec<Row>) -> ExitCode {
    let mut rows = tuning::check(&Host::default(), &plan(config));
    rows.extend(more);
    rows.extend(own(config, &Host::default()));
    if args.json {
        println!("{}", json(&rows));
    } else {
        print!("{}", tuning::table(&rows));
        println!("\n{}", summary(&rows));
    }
    if tuning::worst(&rows) == Verdict::Bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Shows, makes or takes back the changes of the host.
#[must_use]
pub fn tune(args: &TuneArgs, config: &Config) -> ExitCode {
    let (host, plan, file) = (Host::default(), plan(config), UndoFile::default());
    if !args.apply && !args.undo {
        print!("{}", tuning::table(&tuning::check(&host, &plan)));
        println!("\nnothing was changed; `freshet tune --apply` changes what it may");
        return ExitCode::SUCCESS;
    }
    let done = if args.undo {
        tuning::undo(&host, &file)
    } else {
        tuning::apply(&host, &plan, &file)
    };
    match done {
        Ok(done) => {
            for outcome in &done {
                let change = &outcome.change;
                println!("{}: {} -> {}", change.path, change.from, change.to);
            }
            println!("{} changed{}", done.len(), way_back(args, &file));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("freshet tune: {error}");
            ExitCode::FAILURE
        }
    }
}

fn way_back(args: &TuneArgs, file: &UndoFile) -> &'static str {
    if args.apply && file.exists() {
        "; until the next restart of the host, or `freshet tune --undo`"
    } else {
        ""
    }
}

fn plan(config: &Config) -> Plan {
    Plan {
        viewers_max: config.limits.viewers_max.into(),
        media_port: config.media.listen.resolve().port(),
        srt_port: config.srt.listen.resolve().port(),
    }
}

fn own(config: &Config, host: &Host) -> Vec<Row> {
    let (http, media, srt) = (
        &config.http.listen,
        &config.media.listen,
        &config.srt.listen,
    );
    let udp = |at: SocketAddr| UdpSocket::bind(at).map(drop);
    let tcp = |at: SocketAddr| TcpListener::bind(at).map(drop);
    vec![
        memory(config, host),
        port(
            "http-port",
            "http.listen",
            "nobody can reach page and API",
            tcp,
            http.resolve(),
        ),
        port(
            "media-port",
            "media.listen",
            "no media can be sent",
            udp,
            media.resolve(),
        ),
        port(
            "srt-port",
            "srt.listen",
            "nobody can publish",
            udp,
            srt.resolve(),
        ),
        addresses(config),
    ]
}

/// Bound and released again. In use is not bad: the server itself may be running.
fn port(
    check: &str,
    key: &str,
    why: &str,
    bind: fn(SocketAddr) -> io::Result<()>,
    at: SocketAddr,
) -> Row {
    let wanted = "free, or held by freshet";
    let finding = match bind(at) {
        Ok(()) => Finding::good(format!("{at} is free"), wanted),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::wanting(
            Verdict::Better,
            format!("{at} is in use"),
            wanted,
            format!("nothing if freshet runs; else `ss -lnp` shows who has it, or set {key}"),
        ),
        Err(error) => {
            let fix = format!("set {key} to an address and port that this user may bind");
            Finding::wanting(Verdict::Bad, format!("{at}: {error}"), wanted, fix)
        }
    };
    Row::new(check, format!("otherwise {why}"), finding)
}

fn memory(config: &Config, host: &Host) -> Row {
    let of_host = std::thread::available_parallelism().map_or(1, usize::from);
    // The limits were checked when the configuration was loaded.
    let sum = config
        .link_limits(config.cores(of_host))
        .memory()
        .map_or(0, |sum| sum.total());
    let info = host.read("/proc/meminfo").unwrap_or_default();
    let kib = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let finding = match kib.map(|kib| kib.saturating_mul(1024)) {
        None => Finding::absent("cannot be seen"),
        Some(free) if free >= sum => Finding::good(
            format!("{} MiB free", free >> 20),
            format!("{} MiB", sum >> 20),
        ),
        Some(free) => Finding::wanting(
            Verdict::Bad,
            format!("{} MiB free", free >> 20),
            format!("{} MiB", sum >> 20),
            "lower limits.streams_max, limits.log_packets or limits.viewers_max",
        ),
    };
    Row::new(
        "memory",
        "every limit may be reached: then all of it is used",
        finding,
    )
}

fn addresses(config: &Config) -> Row {
    let wanted = "one that viewers can reach";
    let finding = match config.candidates() {
        Ok(all) if all.iter().any(|at| !at.ip().is_loopback()) => {
            let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
            Finding::good(texts.join(", "), wanted)
        }
        Ok(all) => Finding::wanting(
            Verdict::Better,
            if all.is_empty() {
                "none"
            } else {
                "loopback alone"
            },
            wanted,
            "set media.advertise to the address that viewers reach this host at",
        ),
        Err(error) => Finding::wanting(
            Verdict::Bad,
            error.to_string(),
            wanted,
            "set media.advertise to the address that viewers reach this host at",
        ),
    };
    Row::new(
        "addresses",
        "browsers send their checks to the addresses that we tell them",
        finding,
    )
}

fn summary(rows: &[Row]) -> &'static str {
    match tuning::worst(rows) {
        Verdict::Bad => "something will not work: see BAD above",
        Verdict::Better => "it works; `freshet tune --apply` changes what it may to make it better",
        Verdict::Good | Verdict::Absent => "all is well",
    }
}

fn json(rows: &[Row]) -> serde_json::Value {
    let row = |row: &Row| {
        let finding = &row.finding;
        serde_json::json!({
            "check": row.check,
            "verdict": match finding.verdict {
                Verdict::Good => "good",
                Verdict::Absent => "absent",
                Verdict::Better => "better",
                Verdict::Bad => "bad",
            },
            "found": finding.found,
            "wanted": finding.wanted,
            "why": row.why,
            "fix": finding.fix,
        })
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_port_in_use_is_told_apart_from_one_that_cannot_be() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = |at: SocketAddr| TcpListener::bind(at).map(drop);
        let row = port("p", "http.listen", "x", tcp, held.local_addr().unwrap());
        assert_eq!(row.finding.verdict, Verdict::Better);
        let row = port(
            "p",
            "http.listen",
            "x",
            tcp,
            "192.0.2.1:80".parse().unwrap(),
        );
        assert_eq!(row.finding.verdict, Verdict::Bad);
        assert!(row.finding.fix.unwrap().contains("http.listen"));
    }

    #[test]
    fn too_little_memory_is_bad() {
        let root = std::env::temp_dir().join(format!("doctor-{}", std::process::id()));
        std::fs::create_dir_all(root.join("proc")).unwrap();
        let with = |text: &str| {
            std::fs::write(root.join("proc/meminfo"), text).unwrap();
            memory(&Config::default(), &Host::under(&root))
                .finding
                .verdict
        };
        assert_eq!(with("MemAvailable:    1000 kB\n"), Verdict::Bad);
        assert_eq!(
            with("MemTotal: 5 kB\nMemAvailable: 999999999 kB\n"),
            Verdict::Good
        );
        assert_eq!(with(""), Verdict::Absent);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_json_has_every_row() {
        let rows = tuning::check(
            &Host::under(Path::new("/nowhere")),
            &plan(&Config::default()),
        );
        let json = json(&rows);
        assert_eq!(json.as_array().unwrap().len(), rows.len());
        assert!(json[0]["why"].as_str().is_some_and(|text| !text.is_empty()));
    }
}
