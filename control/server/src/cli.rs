//! Owns the command line.

use crate::config::Override;
use crate::conform::Protocol;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::str::FromStr;

/// Freshet, a live-video edge server: SRT in, WebRTC out.
///
/// Publish with SRT from ffmpeg, OBS or a hardware encoder; watch in any browser by WHEP.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "freshet", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; without it: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve, when no command is given.
    #[command(flatten)]
    pub serve: ServeArgs,
}

const EXAMPLES: &str = "\
Examples:
  freshet --demo                      serve, with a built-in clip as stream \"demo\":
                                      open http://127.0.0.1:8080/
  freshet serve --http '*:8080'       serve viewers on other hosts too
  freshet serve --config freshet.toml
  freshet config > freshet.toml       start a configuration; every key is explained in it
  freshet doctor                      does this host let it run well?
  freshet tune --check                what could be tuned (changes nothing)
  sudo freshet bench                  how many viewers can this host carry?
  freshet conform whep http://127.0.0.1:8080/whep/demo
                                      does a server keep to its standard? (any server)

Publish, for example:
  ffmpeg -re -i in.mp4 -c:v libx264 -bf 0 -g 60 -tune zerolatency -c:a aac -f mpegts \\
    'srt://127.0.0.1:9000?streamid=publish:mystream'

Every key of the configuration can also be set by the environment, as FRESHET_SECTION_KEY.
SIGHUP reads the configuration again: tokens, limits and rules of streams change at once.
SIGTERM empties the node before it ends (see [drain]), SIGINT ends it at once.
SIGUSR2 upgrades it: see \"freshet upgrade --help\".";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve: start both planes, and restart them when they die.
    Serve(ServeArgs),
    /// Run the data plane alone: with a sidecar over a link, or from a static file of flows.
    #[command(after_help = "\
Examples:
  freshet forwarder --link /run/freshet/link
  freshet forwarder flows.toml")]
    Forwarder(ForwarderArgs),
    /// Run the sidecar alone: signalling, SRT, HTTP.
    #[command(after_help = "Example:\n  freshet control --link /run/freshet/link --config f.toml")]
    Control(ControlArgs),
    /// Replace the programs of a running node without a pause, and follow until it is done.
    ///
    /// Install the new program under the name by which the node was started, then call this. The
    /// forwarder leaves its place to the new one with all that it knows; then the sidecar is
    /// replaced; then the new program goes on in the process of the supervisor, whose id stays.
    /// What does not fit is refused and changes nothing more; what is not well in its first second
    /// is rolled back. A supervisor that cannot be replaced goes on as it is, with the new planes.
    ///
    /// Exit code 0: all three are upgraded; 1: one is refused, or rolled back, and it is said
    /// which; 2: it could not be tried.
    #[command(after_help = "\
Examples:
  freshet upgrade --run-dir /run/freshet
  freshet upgrade --config /etc/freshet.toml      its node.run_dir")]
    Upgrade(UpgradeArgs),
    /// Print the default configuration with every key explained, or check a file.
    #[command(after_help = "\
Examples:
  freshet config > freshet.toml
  freshet config --check freshet.toml")]
    Config(ConfigArgs),
    /// Check this host: kernel, limits, network; say what to change and why.
    ///
    /// Exit code 0: all is well or could be better; 1: something will not work.
    Doctor(DoctorArgs),
    /// Tune this host for many viewers, and undo it again.
    #[command(after_help = "\
Examples:
  freshet tune                        the same as --check: changes nothing
  sudo freshet tune --apply           sets what --check shows; remembers what was there
  sudo freshet tune --undo            puts back what was there")]
    Tune(TuneArgs),
    /// Measure this host: what a packet costs, how many viewers that makes, and what binds first.
    ///
    /// Ciphers, sending, receiving, forwarding and the time that it takes, one after the other on
    /// an otherwise idle host; no server must run. As root, packets go to devices of a network of
    /// its own that swallow them; else over the loopback, which costs more.
    ///
    /// Exit code 0: measured, perhaps not all of it, which is said; 2: it could not be measured.
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(BenchArgs),
    /// Check a WHIP or WHEP server, this one or any other, against its standard.
    ///
    /// Sends requests and offers as clients do, but no media, and prints for each rule whether it
    /// is kept. Every session that is made is deleted again. WHEP: somebody must publish the
    /// stream. WHIP: nobody should; the stream is published a few times, for a moment each.
    ///
    /// Exit code 0: no rule that must be kept is broken; 1: one is; 2: nothing can be said.
    #[command(after_help = CONFORM_EXAMPLES)]
    Conform(ConformArgs),
}

const BENCH_EXAMPLES: &str = "\
Examples:
  sudo freshet bench                  some 25 seconds, with a table
  sudo freshet bench --json host.json --seconds 60 --bitrates 2.5,6
  freshet bench --json - | jq '.capacity[] | {bits_per_second, viewers, bound_by}'";

const CONFORM_EXAMPLES: &str = "\
Examples:
  freshet conform whep http://127.0.0.1:8080/whep/demo
  freshet conform whip http://127.0.0.1:8080/whip/conform
  freshet conform whip http://media.example:8889/mystream/whip --token SECRET
  freshet conform whep http://127.0.0.1:8080/whep/demo --json | jq '.[] | select(.verdict==\"fail\")'

PASS kept, FAIL broken (must), WARN broken (should), INFO how this server does it, SKIP not checked.
https is not checked by this build: give the http address behind the proxy that speaks TLS.";

/// How to serve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ServeArgs {
    /// Also publish a built-in clip as stream "demo".
    #[arg(long)]
    pub demo: bool,
    /// What to read and to set.
    #[command(flatten)]
    pub settings: Settings,
    /// Go on with what the program before has left at this descriptor. For an upgrade alone.
    #[arg(long, value_name = "N", hide = true)]
    pub resume: Option<i32>,
    /// Only say whether that would be possible.
    #[arg(long, requires = "resume", hide = true)]
    pub dry_run: bool,
}

/// The configuration file, and what wins over it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Settings {
    /// Configuration file (TOML); "freshet config" prints one with every key.
    #[arg(long, value_name = "FILE", env = "FRESHET_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address of the web page, WHEP and the API: IP:PORT or *:PORT.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// UDP address of media to and from browsers.
    #[arg(long, value_name = "ADDR")]
    pub media: Option<String>,
    /// An address that browsers are told instead of the host's own; may be repeated.
    #[arg(long, value_name = "IP[:PORT]")]
    pub advertise: Vec<String>,
    /// UDP address of the SRT listener.
    #[arg(long, value_name = "ADDR")]
    pub srt: Option<String>,
    /// Workers; 0: one for each core but one in eight, at least one, which is control's.
    #[arg(long, value_name = "N")]
    pub cores: Option<u16>,
    /// Packet backend: auto, mmsg or uring.
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
    /// How media leaves for viewers: auto, udp or xdp.
    #[arg(long, value_name = "NAME")]
    pub transmit: Option<String>,
    /// What seals for viewers: auto, vaes512, vaes or ring.
    #[arg(long, value_name = "NAME")]
    pub cipher: Option<String>,
    /// Log level: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}

/// How to run the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["link", "flows"])))]
pub struct ForwarderArgs {
    /// Socket of the link to a sidecar.
    #[arg(long, value_name = "PATH")]
    pub link: Option<PathBuf>,
    /// Take the place of the forwarder that runs over the link, which goes on until then.
    #[arg(long, requires = "link")]
    pub stand_by: bool,
    /// Static flows (TOML): no sidecar at all.
    #[arg(value_name = "FLOWS.toml")]
    pub flows: Option<PathBuf>,
    /// What to read and to set.
    #[command(flatten)]
    pub settings: Settings,
}

/// How to run the sidecar.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ControlArgs {
    /// Socket of the link to a forwarder.
    #[arg(long, value_name = "PATH")]
    pub link: PathBuf,
    /// Also publish a built-in clip as stream "demo".
    #[arg(long)]
    pub demo: bool,
    /// What to read and to set.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which node to upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct UpgradeArgs {
    /// Its run directory; without it: node.run_dir of its configuration.
    #[arg(long, value_name = "DIR", env = "RUNTIME_DIRECTORY")]
    pub run_dir: Option<PathBuf>,
    /// What to read.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to do about the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ConfigArgs {
    /// Check this file, together with the environment, instead of printing the default.
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
}

/// How to look at the host.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// What to read and to set.
    #[command(flatten)]
    pub settings: Settings,
}

/// What to measure of the host.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct BenchArgs {
    /// Also write the figures to this file, as JSON; "-": to standard output, instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// About how long to measure, 1 to 300; setting up comes on top.
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=300))]
    pub seconds: u32,
    /// Bit rates of streams in Mbit/s, 0.05 to 100 each, eight at most.
    #[arg(long, value_name = "MBIT/S", value_delimiter = ',', num_args = 1..=8)]
    #[arg(default_value = "1,2.5,4,8")]
    pub bitrates: Vec<Bitrate>,
    /// What to read and to set.
    #[command(flatten)]
    pub settings: Settings,
}

/// Bits a second, read as Mbit/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bitrate(pub u64);

impl FromStr for Bitrate {
    type Err = String;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in the range that was checked"
    )]
    fn from_str(text: &str) -> Result<Self, String> {
        let megabits: f64 = text.trim().parse().map_err(|_| "not a number".to_owned())?;
        match (0.05..=100.0).contains(&megabits) {
            true => Ok(Self((megabits * 1e6).round() as u64)),
            false => Err("0.05 to 100 Mbit/s can be".to_owned()),
        }
    }
}

/// How to tune the host.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(group(clap::ArgGroup::new("mode").args(["check", "apply", "undo"])))]
pub struct TuneArgs {
    /// Show what would be changed (the default).
    #[arg(long)]
    pub check: bool,
    /// Change it; needs root.
    #[arg(long)]
    pub apply: bool,
    /// Put back what the last --apply changed; needs root.
    #[arg(long)]
    pub undo: bool,
}

/// Which server to check, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ConformArgs {
    /// What the server is to be.
    pub protocol: Protocol,
    /// The endpoint, where offers are posted: http://HOST[:PORT]/PATH.
    #[arg(value_name = "URL")]
    pub url: String,
    /// Bearer token to send; that it is needed is checked as well.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CONFORM_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// Origin of the page that we seem to be; for servers that let in only some.
    #[arg(long, value_name = "URL", default_value = "https://player.example")]
    pub origin: String,
    /// Seconds to wait for each answer.
    #[arg(long = "timeout", value_name = "SECS", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..=120))]
    pub timeout_secs: u64,
    /// Print JSON: an array of objects, one a rule.
    #[arg(long)]
    pub json: bool,
}

impl Cli {
    /// The command, `serve` if none was given.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

impl Settings {
    /// What the flags set, for [`crate::config::load`].
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        let advertise = (!self.advertise.is_empty()).then(|| self.advertise.join(","));
        let cores = self.cores.map(|n| n.to_string());
        [
            ("http.listen", "--http", self.http.clone()),
            ("media.listen", "--media", self.media.clone()),
            ("media.advertise", "--advertise", advertise),
            ("srt.listen", "--srt", self.srt.clone()),
            ("media.cores", "--cores", cores),
            ("media.backend", "--backend", self.backend.clone()),
            ("media.transmit", "--transmit", self.transmit.clone()),
            ("media.cipher", "--cipher", self.cipher.clone()),
            ("log.level", "--log", self.log.clone()),
        ]
        .into_iter()
        .filter_map(|(key, flag, value)| {
            Some(Override {
                key: key.into(),
                value: value?,
                given_by: flag.into(),
            })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("freshet").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(Cli::into_command)
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        assert_eq!(parse("--demo").unwrap(), parse("serve --demo").unwrap());
        assert_eq!(parse("").unwrap(), Command::Serve(ServeArgs::default()));
    }

    #[test]
    fn flags_become_keys_that_exist() {
        let line = "serve --http a --media b --advertise c --advertise d --srt e --cores 2 \
                    --backend f --transmit t --cipher g --log h";
        let Command::Serve(args) = parse(line).unwrap() else {
            panic!("not serve")
        };
        let overrides = args.settings.overrides();
        let known = crate::config::keys();
        for given in &overrides {
            assert!(known.iter().any(|(key, _)| *key == given.key), "{given:?}");
            assert!(line.contains(&given.given_by), "{given:?}");
        }
        assert_eq!(overrides.len(), 9);
        assert_eq!(overrides[2].value, "c,d");
    }

    #[test]
    fn a_server_to_check_has_a_protocol() {
        let Command::Conform(args) = parse("conform whep http://h/whep/a --json").unwrap() else {
            panic!("another command");
        };
        assert_eq!(args.protocol, Protocol::Whep);
        assert!(args.json && args.timeout_secs == 5);
        assert!(parse("conform http://h/whep/a").is_err());
        assert!(parse("conform whip http://h/a --timeout 0").is_err());
    }

    #[test]
    fn a_forwarder_has_one_source() {
        assert!(parse("forwarder --link /x").is_ok());
        assert!(parse("forwarder flows.toml").is_ok());
        assert!(parse("forwarder").is_err());
        assert!(parse("forwarder flows.toml --link /x").is_err());
        assert!(parse("control").is_err());
        assert!(parse("tune --apply --undo").is_err());
    }
}
