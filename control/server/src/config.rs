//! Owns the configuration: what can be set, from where, and what it means for one stream.

mod addresses;
mod check;
mod drain;
mod key;
mod listen;
mod load;
mod pattern;
mod policy;
mod redact;
mod redirect;
mod relays;
mod reload;
mod uring;

pub use addresses::advertised;
pub use drain::{DEADLINE_S, DrainSettings};
pub use key::Secret;
#[cfg(test)]
pub use key::keys;
pub use listen::Listen;
#[cfg(test)]
pub use load::Origin;
pub use load::{ConfigError, Override, load};
pub use policy::{Caller, Denied, StreamSettings};
pub use relays::{RelayRule, RelaySettings, is_match};
pub use reload::{WantsRestart, reread};
pub use uring::Uring;

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use wire::rtp_ext::PlayoutDelay;

/// The default configuration, which is also its manual.
pub const DEFAULT_TOML: &str = include_str!("config/default.toml");

/// Everything that can be set. Ranges and reasons: [`DEFAULT_TOML`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process as a whole.
    pub node: Node,
    /// Web page, WHEP, API, metrics.
    pub http: Http,
    /// The data plane.
    pub media: Media,
    /// `io_uring`, where it is the backend.
    pub uring: Uring,
    /// SRT publishers.
    pub srt: Srt,
    /// How streams are treated.
    pub streams: Streams,
    /// Exceptions for some streams, first match first.
    pub stream: Vec<StreamRule>,
    /// How others are called.
    pub relays: RelaySettings,
    /// Streams that are fetched from others.
    pub pull: Vec<RelayRule>,
    /// Streams that are sent to others.
    pub push: Vec<RelayRule>,
    /// Who may do what.
    pub auth: Auth,
    /// Every maximum.
    pub limits: Limits,
    /// How it ends.
    pub drain: DrainSettings,
    /// The log.
    pub log: Log,
}

/// `[node]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Directory of the sockets between the processes; empty: chosen at start.
    pub run_dir: String,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where HTTP listens.
    pub listen: Listen,
    /// Origins that may call WHEP; `*` is any.
    pub allowed_origins: Vec<String>,
    /// Most bytes of a body.
    pub body_bytes_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once of one address.
    pub connections_per_address_max: usize,
    /// Time for the head of a request.
    pub header_timeout_ms: u64,
    /// Time for a whole request.
    pub request_timeout_ms: u64,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// UDP address of the data plane.
    pub listen: Listen,
    /// Addresses that browsers are told; see [`advertised`].
    pub advertise: Vec<String>,
    /// Workers; 0: see [`Config::cores`].
    pub cores: u16,
    /// How packets come and go.
    pub backend: Backend,
    /// How media leaves for viewers.
    pub transmit: Transmit,
    /// Compute UDP checksums over IPv4 where that is ours to do, with AF_XDP.
    pub udp_checksum: bool,
    /// What seals for viewers with AES-GCM.
    pub cipher: Cipher,
    /// What an idle worker does.
    pub idle: Idle,
    /// How long it looks for work before it sleeps, if it does.
    pub spin_us: u32,
    /// `SO_BUSY_POLL` of the sockets; 0: off.
    pub busy_poll_us: u16,
}

/// How packets come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// What the probe at start finds best.
    #[default]
    Auto,
    /// `recvmmsg` and `sendmmsg`.
    Mmsg,
    /// `io_uring`.
    Uring,
}

/// How media leaves for viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transmit {
    /// What we think best: the socket.
    #[default]
    Auto,
    /// The backend's socket.
    Udp,
    /// AF_XDP where a viewer's way is Ethernet, the socket elsewhere.
    Xdp,
}

/// What seals for viewers with AES-GCM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cipher {
    /// The fastest that the processor can run.
    #[default]
    Auto,
    /// Freshet's own, which wants VAES, VPCLMULQDQ and AVX-512.
    Vaes512,
    /// Freshet's own, which wants VAES, VPCLMULQDQ and AVX2.
    Vaes,
    /// `ring`.
    Ring,
}

/// What an idle worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Sleeps until the kernel wakes it.
    #[default]
    Sleep,
    /// Looks for work for a while before it sleeps.
    Spin,
}

/// `[srt]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Srt {
    /// UDP address of the listener.
    pub listen: Listen,
    /// Receive latency that we ask for.
    pub latency_ms: u16,
    /// Passphrase of publishers; empty: none.
    pub passphrase: Secret,
}

/// `[streams]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streams {
    /// Which names are taken.
    pub accept: Accept,
    /// What becomes of a second publisher.
    pub takeover: Takeover,
    /// What becomes of B-frames.
    pub bframes: Bframes,
    /// How long viewers' browsers hold pictures back.
    pub latency: Latency,
    /// Bit rate of Opus made from AAC.
    pub opus_bitrate_bps: u32,
    /// A push of which nothing comes for so long ends.
    pub push_timeout_ms: u64,
}

/// Which names a publisher may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// Every valid one.
    #[default]
    Any,
    /// Those that a `[[stream]]` matches.
    Listed,
}

/// What becomes of a second publisher of a live stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Takeover {
    /// It is refused.
    #[default]
    Refuse,
    /// It takes the place of the first.
    Replace,
}

/// How long viewers' browsers hold pictures back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Latency {
    /// As long as they think right for a smooth picture in step with the sound.
    #[default]
    Smooth,
    /// Not at all.
    Lowest,
}

impl Latency {
    /// What browsers are told of it.
    #[must_use]
    pub fn playout_delay(self) -> Option<PlayoutDelay> {
        match self {
            Self::Smooth => None,
            Self::Lowest => Some(PlayoutDelay::ZERO),
        }
    }
}

/// What becomes of B-frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bframes {
    /// The publisher is told.
    #[default]
    Report,
    /// Those that no other frame needs are dropped.
    #[serde(rename = "drop-disposable")]
    DropDisposable,
    /// The publisher is refused.
    Refuse,
}

/// `[[stream]]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamRule {
    /// A name, or a pattern with `*`.
    pub name: String,
    /// Passphrase of its SRT publisher; the empty text: none, whatever `[srt]` says.
    pub passphrase: Option<Secret>,
    /// Token of its publisher, beside those of `[auth]`.
    pub publish_token: Option<Secret>,
    /// Token of its viewers, instead of those of `[auth]`.
    pub play_token: Option<Secret>,
    /// What becomes of a second publisher.
    pub takeover: Option<Takeover>,
    /// What becomes of B-frames.
    pub bframes: Option<Bframes>,
    /// How long viewers' browsers hold pictures back.
    pub latency: Option<Latency>,
    /// Bit rate of Opus made from AAC.
    pub opus_bitrate_bps: Option<u32>,
    /// Where it is published and watched, if not here: a URL with `{stream}`, and with
    /// `{protocol}` for `whip` or `whep`.
    pub redirect: Option<String>,
}

/// `[auth]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Tokens of publishers on other hosts.
    pub publish_tokens: Vec<Secret>,
    /// Tokens of viewers; none: everybody may watch.
    pub play_tokens: Vec<Secret>,
    /// Tokens of operators on other hosts.
    pub admin_tokens: Vec<Secret>,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Streams at once.
    pub streams_max: u32,
    /// Viewers at once.
    pub viewers_max: u32,
    /// Packets in the history of a stream.
    pub log_packets: u32,
    /// Handshakes at once.
    pub handshakes_max: u32,
    /// Time from POST to the end of the handshake.
    pub handshake_timeout_s: u64,
    /// The load up to which viewers are let in; 0: always.
    pub max_load: f64,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Level or directives.
    pub level: String,
    /// Shape of a line.
    pub format: LogFormat,
    /// Whether addresses are left out.
    pub redact: bool,
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Of so many cores, or fewer, one is left to control by default: the more watch, the more come.
const CORES_OF_CONTROL: usize = 8;

impl Config {
    /// Workers that are asked for on a host with so many cores: by default one for each, but for
    /// those that are left to control, so that handshakes never run where media is forwarded.
    #[must_use]
    pub fn cores(&self, of_host: usize) -> u16 {
        let most = link::limits::CORES_MAX.min(usize::from(u16::MAX));
        let workers = of_host.saturating_sub(of_host.div_ceil(CORES_OF_CONTROL));
        match self.media.cores {
            0 => u16::try_from(workers.clamp(1, most)).unwrap_or(1),
            n => n,
        }
    }

    /// The limits of the data plane with so many workers.
    #[must_use]
    pub fn link_limits(&self, cores: u16) -> link::limits::Limits {
        link::limits::Limits {
            cores,
            streams_max: self.limits.streams_max,
            viewers_max: self.limits.viewers_max,
            log_packets: self.limits.log_packets,
            ..link::limits::Limits::default()
        }
    }

    /// Where browsers send media: see [`advertised`].
    ///
    /// # Errors
    /// The host's interfaces cannot be listed.
    pub fn candidates(&self) -> std::io::Result<Vec<SocketAddr>> {
        advertised(&self.media.advertise, self.media.listen.resolve())
    }
}

#[cfg(test)]
mod tests;
