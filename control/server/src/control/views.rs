//! Owns the plain data that the API shows: what the driver fills in and HTTP gives out.

use super::layers::LayerInfo;
use super::load::{LoadBrief, LoadView};
use link::transit::Distribution;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Whether a stream can be watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamState {
    /// Media comes in.
    Live,
    /// A publisher is there, or was a moment ago, but no media that can be played yet.
    Waiting,
    /// Known by name, without a publisher.
    #[default]
    Offline,
}

/// One stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct StreamView {
    /// Its name.
    pub name: String,
    /// Whether it can be watched.
    pub state: StreamState,
    /// Who feeds it.
    pub publisher: Option<PublisherView>,
    /// The video track.
    pub video: Option<VideoView>,
    /// The audio track, as it is sent to viewers.
    pub audio: Option<AudioView>,
    /// Sessions that watch.
    pub viewers: u32,
    /// What the publisher should know or change.
    pub notices: Vec<NoticeView>,
    /// Counters since the stream was opened.
    pub counters: StreamCounters,
}

impl StreamView {
    /// Leaves out what only operators may see.
    pub fn redact(&mut self) {
        if let Some(publisher) = &mut self.publisher {
            publisher.remote = None;
            publisher.sources.clear();
        }
    }
}

/// How media comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublisherKind {
    /// SRT with MPEG-TS.
    Srt,
    /// WebRTC by WHIP.
    Whip,
    /// Plain RTP or SRTP of another server.
    Push,
    /// Fetched from another server by a relay.
    Pull,
    /// The built-in clip.
    Demo,
}

/// The publisher of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PublisherView {
    /// How media comes in.
    pub kind: PublisherKind,
    /// Its address; left out for callers who may not see addresses, and for the demo.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.7:40123")]
    pub remote: Option<String>,
    /// Of a push, every address that its packets come from, video first; left out likewise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// When it came, milliseconds since 1970 UTC.
    pub since_unix_ms: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Data packets received.
    pub packets: u64,
    /// Packets that never came, neither at first nor again.
    pub loss: u64,
    /// Packets that were sent again.
    pub retransmissions: u64,
    /// Round-trip time.
    pub rtt_ms: Option<f64>,
    /// The latency that both ends agreed on.
    pub latency_ms: Option<u32>,
}

/// A video track.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct VideoView {
    /// `H264`, `H265`, `VP8`, `VP9` or `AV1`.
    #[schema(example = "H264")]
    pub codec: String,
    /// Profile and level of H.264 as six hexadecimal digits (RFC 6184 section 8.1).
    #[schema(example = "42c01f")]
    pub profile_level_id: Option<String>,
    /// Width in pixels.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// Frames a second.
    pub fps: Option<f64>,
    /// Bits a second, over the last seconds.
    pub bitrate_bps: Option<u64>,
    /// Time between the last two keyframes.
    pub gop_ms: Option<u32>,
    /// The encodings that come in, the lowest first; none if there is one without layers inside.
    pub layers: Vec<LayerInfo>,
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AudioView {
    /// What viewers get: `opus`.
    #[schema(example = "opus")]
    pub codec: String,
    /// What the publisher sends: `aac`, `opus`.
    #[schema(example = "aac")]
    pub source_codec: String,
    /// Sample rate of the source in Hz.
    pub sample_rate_hz: Option<u32>,
    /// Channels of the source.
    pub channels: Option<u8>,
    /// Bits a second as sent to one viewer.
    pub bitrate_bps: Option<u64>,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// It plays, but worse than it could.
    Warning,
    /// It does not play until this is changed.
    Error,
}

/// Something that the publisher should know or change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct NoticeView {
    /// How much it matters.
    pub severity: Severity,
    /// A name that never changes.
    #[schema(example = "b_frames")]
    pub code: String,
    /// What was found.
    pub message: String,
    /// What to change, by encoder where that differs.
    pub remedy: String,
}

/// Counters of one stream since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct StreamCounters {
    /// RTP packets written to the stream's log.
    pub packet_received: u64,
    /// RTP payload bytes written to the stream's log.
    pub byte_received: u64,
    /// RTP packets sent to all viewers.
    pub packet_sent: u64,
    /// Bytes sent to all viewers.
    pub byte_sent: u64,
    /// WHEP sessions opened.
    pub session_opened: u64,
    /// Packets received from its publishers, one after another.
    pub publisher_packet_received: u64,
    /// Packets of its publishers that never came.
    pub publisher_packet_lost: u64,
    /// Packets that its publishers sent again.
    pub publisher_packet_repeated: u64,
}

/// The node as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct NodeView {
    /// The version of the program.
    pub version: String,
    /// Time since it was started.
    pub uptime_s: u64,
    /// How packets come and go.
    pub backend: BackendView,
    /// Workers.
    pub cores: u16,
    /// Memory reserved at start.
    pub memory: MemoryView,
    /// The limits that are in force, by name.
    pub limits: BTreeMap<String, u64>,
    /// Where it listens.
    pub listen: ListenView,
    /// Its processes.
    pub processes: ProcessesView,
    /// How loaded it is, and whether newcomers are let in.
    pub load: LoadView,
    /// How long media packets were inside in the last minute, all workers together.
    pub transit: Vec<TransitView>,
    /// Counters of each worker.
    pub counters: Vec<CoreView>,
}

/// How packets come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct BackendView {
    /// `mmsg` or `uring`.
    pub name: String,
    /// Why this one was chosen.
    pub why: String,
    /// How media leaves for viewers: `udp`, by that backend, or `xdp`, by AF_XDP where it can.
    pub transmit: String,
    /// Why so.
    pub transmit_why: String,
    /// What seals for viewers: `vaes512`, `vaes` or `ring`.
    pub cipher: String,
}

/// Memory reserved at start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct MemoryView {
    /// The sum.
    pub total_bytes: u64,
    /// What it is made of, by name.
    pub parts: BTreeMap<String, u64>,
}

/// Where the node listens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ListenView {
    /// HTTP.
    pub http: Vec<String>,
    /// Media to and from browsers (UDP).
    pub media: Vec<String>,
    /// The addresses that browsers are told.
    pub advertise: Vec<String>,
    /// SRT.
    pub srt: Vec<String>,
}

/// Process ids; none for a part that does not run as a process of its own now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProcessesView {
    /// What starts and restarts the others.
    pub supervisor: Option<u32>,
    /// The data plane.
    pub forwarder: Option<u32>,
    /// The sidecar that answers this.
    pub control: Option<u32>,
}

/// Counters of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CoreView {
    /// Its number.
    pub core: u16,
    /// Time since its last turn; none: it has not had any.
    pub turn_age_ms: Option<u64>,
    /// How long media packets were inside in the last minute.
    pub transit: Vec<TransitView>,
    /// Counters since its start, by name.
    pub counters: BTreeMap<String, u64>,
}

/// How long media packets were inside. A packet counts once for each worker that has viewers of its
/// stream, when its copies for all of them have been handed to the kernel. Times are told to one
/// part in sixteen, rounded up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct TransitView {
    /// From when it counts: `network`, when the kernel received the packet (WHIP, pushes, relays);
    /// `sidecar`, when the sidecar released it at the stream's pace (SRT, the demo).
    #[schema(example = "network")]
    pub entry: String,
    /// Packets.
    pub packets: u64,
    /// The half of them were inside no longer than this.
    pub p50_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// 999 of 1000.
    pub p999_us: u64,
    /// All of them.
    pub max_us: u64,
}

/// Whether newcomers may be sent here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Readiness {
    /// True if every check is passed.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<ReadyCheck>,
    /// How loaded it is. A node that is full for now stays ready: what makes balancers cut it off
    /// would hurt those who watch. Look at `accepts_viewers`.
    pub load: LoadBrief,
}

/// One condition of readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReadyCheck {
    /// Its name.
    #[schema(example = "forwarder")]
    pub name: String,
    /// Passed?
    pub ok: bool,
    /// Why not, or what was seen.
    pub detail: String,
}

/// Everything that `/metrics` shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsSnapshot {
    /// Time since the start of the program.
    pub uptime_s: u64,
    /// Name of the backend.
    pub backend: String,
    /// Name of the cipher.
    pub cipher: String,
    /// Memory reserved at start.
    pub memory_bytes: u64,
    /// Sessions by state.
    pub sessions: BTreeMap<String, u64>,
    /// What each worker has counted; every worker gives the same list in the same order.
    pub cores: Vec<CoreCounters>,
    /// What the sidecar has counted: signalling, handshakes, ingest.
    pub control: Vec<Sample>,
    /// How loaded the node is.
    pub load: LoadView,
    /// All streams.
    pub streams: Vec<StreamView>,
}

/// What one worker has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreCounters {
    /// Its number.
    pub core: u16,
    /// Its counters.
    pub samples: Vec<Sample>,
    /// How long media packets were inside, by the places of [`ENTRIES`].
    ///
    /// [`ENTRIES`]: link::transit::ENTRIES
    pub transits: Vec<Distribution>,
}

/// A counter and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Singular subject, action, unit (`packet_sent`).
    pub name: &'static str,
    /// What it counts, one sentence.
    pub help: &'static str,
    /// The value now.
    pub value: u64,
    /// False: a value that may also fall (a gauge).
    pub counter: bool,
}
