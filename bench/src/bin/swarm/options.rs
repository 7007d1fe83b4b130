//! Owns what may be asked for on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// How a viewer looks at what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Check {
    /// Opens SRTP and looks at numbers, timestamps and age.
    Full,
    /// Reads headers, which are in the clear, and counts.
    Count,
}

/// Crowds of one running server.
#[derive(Clone, Debug, Parser)]
#[command(about = "Publishers and viewers of a running server by the thousand; \
                   what they and the server say, as text and as JSON")]
pub struct Options {
    /// Where the server's HTTP is.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// What is watched, if there are no publishers of ours.
    #[arg(long, default_value = "demo", conflicts_with = "publishers")]
    pub stream: String,
    /// Publishers by WHIP; they publish swarm/0, swarm/1..., and viewers spread over them.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub publishers: u32,
    /// Kilobits a second of each publisher.
    #[arg(long, default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub kbps: u32,
    /// Frames a second of each publisher.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240))]
    pub fps: u32,
    /// Frames from keyframe to keyframe.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub gop: u32,
    /// Viewers that are there before all others, checked in full and measured apart.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub watchers: u32,
    /// Watchers have a stream to themselves, swarm/apart, with one more publisher: what they see of
    /// the others is only that the server has work.
    #[arg(long, requires = "publishers")]
    pub apart: bool,
    /// Viewers that come one after another.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub viewers: u32,
    /// How many of them come a second; 0: as fast as the server takes them.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub join_rate: u32,
    /// Viewers that want to join at the same moment, instead of --viewers.
    #[arg(long, conflicts_with_all = ["viewers", "join_rate"],
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub storm: Option<u32>,
    /// Of those who come, so many are under way at once; 0: all. More than the threads here have
    /// time for wait for each other, and their handshakes for nothing.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub at_once: u32,
    /// Viewers a second that leave and are replaced, once all have come.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub churn: u32,
    /// How viewers look at what they get; watchers look at all of it.
    #[arg(long, value_enum, default_value = "full")]
    pub check: Check,
    /// Seconds that the watchers watch before others come.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub before: u32,
    /// Seconds that everybody watches after all have come.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Threads of the viewers; watchers and publishers have one each besides.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub threads: u32,
    /// Processors to stay on, separated by commas. Default: all.
    #[arg(long, value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// HTTP connections of each thread.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// A TCP connection for every request, as different browsers have.
    #[arg(long)]
    pub fresh: bool,
    /// Seconds that a viewer tries to join; it comes again when it is told to (409, 503).
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub patience: u32,
    /// Where the figures are written as JSON; - is the standard output.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Fail if so many viewers, or fewer, have not joined. In percent of all.
    #[arg(long, default_value_t = 0.0)]
    pub allow_failed: f64,
    /// Fail if more packets than this have not come to the watchers (to the viewers, if there are
    /// no watchers), in percent of all.
    #[arg(long)]
    pub expect_loss: Option<f64>,
    /// Fail if the 99th percentile of the watchers' latency while others join is above this, in ms.
    #[arg(long)]
    pub expect_p99_ms: Option<f64>,
    /// Fail if all have not joined after so many seconds.
    #[arg(long)]
    pub expect_joined_s: Option<f64>,
}

impl Options {
    /// How many come besides the watchers.
    pub fn newcomers(&self) -> u32 {
        self.storm.unwrap_or(self.viewers)
    }

    /// What watchers watch.
    pub fn watched(&self) -> Vec<String> {
        match self.apart {
            true => vec!["swarm/apart".to_owned()],
            false => self.streams(),
        }
    }

    /// What our publishers publish.
    pub fn published(&self) -> Vec<String> {
        let mut all = match self.publishers {
            0 => Vec::new(),
            _ => self.streams(),
        };
        if self.apart {
            all.extend(self.watched());
        }
        all
    }

    /// What those watch who come.
    pub fn streams(&self) -> Vec<String> {
        match self.publishers {
            0 => vec![self.stream.clone()],
            count => (0..count).map(|nth| format!("swarm/{nth}")).collect(),
        }
    }
}
