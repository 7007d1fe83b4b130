//! Owns what is shown of streams, sessions and the node.

use super::Driver;
use super::source::{audio, video};
use super::stream::{Active, Stream};
use super::transit::{self, Counted};
use super::whip::{intake, is_fed};
use crate::clock;
use crate::control::{
    BackendView, CoreCounters, CoreView, ListenView, MemoryView, MetricsSnapshot, NodeView,
    ProcessesView, PublisherKind, Readiness, ReadyCheck, Sample, SessionState, SessionView,
    StreamCounters, StreamName, StreamState, StreamView,
};
use link::ids::{CoreId, StreamId};
use link::region::{Region, Role};
use link::stats::{COUNTERS, Intake, Kind};
use link::viewer::ViewerCounters;
use session::EngineKind;
use std::collections::BTreeMap;
use std::path::PathBuf;
use wire::srtp::Profile as SrtpProfile;
use wire::time::{Span, Time};

/// A worker that has not turned for this long is stuck or dead: it turns at least ten times a
/// second when it has nothing to do.
const STUCK_AFTER: Span = Span::secs(2);

/// What does not change while the process lives.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// When the process began.
    pub started: Time,
    /// How packets come and go.
    pub backend: BackendView,
    /// Where the node listens.
    pub listen: ListenView,
    /// The supervisor's process id, if one runs.
    pub supervisor: Option<u32>,
    /// Where the supervisor writes the forwarder's process id.
    pub forwarder_pid_file: PathBuf,
}

impl Facts {
    fn forwarder_pid(&self) -> Option<u32> {
        std::fs::read_to_string(&self.forwarder_pid_file)
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

impl Driver {
    pub(super) fn stream_views(&self) -> Vec<StreamView> {
        let viewers: BTreeMap<u32, u32> = self
            .sessions
            .stream_views()
            .map(|view| (view.id.index, view.viewers))
            .collect();
        let view = |(name, stream): (&StreamName, &Stream)| {
            let ours = viewers.get(&stream.id.index).copied().unwrap_or(0);
            // After a restart of the sidecar, workers serve viewers that it never met.
            let viewers = ours.max(self.served(stream.id));
            self.stream_view(name, stream, viewers)
        };
        self.streams.iter().map(view).collect()
    }

    /// Viewers of a stream that workers serve now.
    pub(super) fn served(&self, stream: StreamId) -> u32 {
        let of_core = |core| {
            self.region
                .stream_stats(stream, core)
                .map_or(0, |s| s.viewers())
        };
        self.lines.cores().map(of_core).sum()
    }

    fn stream_view(&self, name: &StreamName, stream: &Stream, viewers: u32) -> StreamView {
        let progress = stream
            .active
            .as_ref()
            .map(|active| active.progress)
            .unwrap_or_default();
        let intake = intake(&self.region, stream.id);
        StreamView {
            name: name.to_string(),
            state: state_of(clock::now(), stream, &intake),
            publisher: stream
                .active
                .as_ref()
                .map(|active| self.publisher_view(active, &intake)),
            video: video(stream, &progress),
            audio: audio(stream, &progress),
            viewers,
            notices: stream.notices.clone(),
            counters: self.stream_counters(stream, &intake),
        }
    }

    fn stream_counters(&self, stream: &Stream, intake: &Intake) -> StreamCounters {
        let progress = stream
            .active
            .as_ref()
            .map(|active| active.progress)
            .unwrap_or_default();
        let now = stream.active.as_ref().map_or([0; 3], Active::by_srt);
        let [received, lost, repeated] = [0, 1, 2].map(|at| stream.before_by_srt[at] + now[at]);
        let mut counters = StreamCounters {
            packet_received: sum(stream.before[0], &progress.packets, &intake.packets),
            byte_received: sum(stream.before[1], &progress.bytes, &intake.bytes),
            session_opened: stream.session_opened,
            publisher_packet_received: sum(received, &[], &intake.packets),
            publisher_packet_lost: lost + intake.lost,
            publisher_packet_repeated: repeated + intake.recovered,
            ..StreamCounters::default()
        };
        for core in self.lines.cores() {
            if let Ok(stats) = self.region.stream_stats(stream.id, core) {
                counters.packet_sent += stats.packets();
                counters.byte_sent += stats.bytes();
            }
        }
        counters
    }

    pub(super) fn session_view(&self, view: &session::SessionView) -> SessionView {
        let counters = self.counters_of(view);
        let state = match view.state {
            session::SessionState::New => SessionState::New,
            session::SessionState::Connecting => SessionState::Connecting,
            session::SessionState::Starting | session::SessionState::Live => {
                SessionState::Connected
            }
        };
        let is_whole = !view.encodings.is_empty();
        let is_layered = !is_whole && self.has_inner_layers(view.stream, counters.lane);
        let reported = counters.rtt_us > 0 || counters.fraction_lost > 0;
        SessionView {
            id: view.id.as_str().to_owned(),
            state,
            kind: view.kind.name().to_owned(),
            stream: view.stream_name.clone(),
            remote: view
                .peer
                .map(|peer| std::net::SocketAddr::from(peer).to_string()),
            created_unix_ms: clock::unix_ms(view.created),
            rtt_ms: (counters.rtt_us > 0).then(|| f64::from(counters.rtt_us) / 1000.0),
            loss: reported.then(|| f64::from(counters.fraction_lost) / 256.0),
            packets: counters.packets,
            bytes: counters.bytes,
            retransmissions: counters.retransmitted,
            nacks: counters.nacks,
            plis: counters.plis,
            core: view.core.map(|core| core.0),
            ice_state: match view.state {
                session::SessionState::New => "new",
                session::SessionState::Connecting => "checking",
                _ => "connected",
            }
            .to_owned(),
            dtls_state: match (view.state, view.engine) {
                (session::SessionState::New, _) => "new".to_owned(),
                (session::SessionState::Connecting, _) => "connecting".to_owned(),
                (_, Some(engine)) => format!("connected ({})", engine_version(engine)),
                (_, None) => "connected".to_owned(),
            },
            srtp_profile: view.profile.map(|profile| profile_name(profile).to_owned()),
            layer: self.layer_of(view),
            layer_sent: self
                .layer_in(view.stream, counters.lane)
                .filter(|_| view.encodings.is_empty()),
            encodings: view.encodings.clone(),
            spatial_layer_sent: u8::try_from(counters.spatial).ok().filter(|_| is_layered),
            temporal_layer_sent: u8::try_from(counters.temporal).ok().filter(|_| is_layered),
            estimate_bps: (counters.estimate_bps > 0).then_some(counters.estimate_bps),
        }
    }

    /// What workers have counted of a session, with all encodings that it sends.
    fn counters_of(&self, view: &session::SessionView) -> ViewerCounters {
        let of = |viewer| self.region.viewer(viewer).map(|cell| cell.counters());
        let mut sum = of(view.viewer).unwrap_or_default();
        for part in view.parts.iter().filter_map(|part| of(*part).ok()) {
            sum.packets += part.packets;
            sum.bytes += part.bytes;
            sum.retransmitted += part.retransmitted;
            sum.nacks += part.nacks;
            sum.plis += part.plis;
        }
        sum
    }

    pub(super) fn node_view(&self) -> NodeView {
        let now = clock::now();
        let limits = self.region.limits();
        let mut transit = Counted::default();
        for core in self.lines.cores() {
            for (sum, of) in transit.iter_mut().zip(self.of_late(core)) {
                sum.add(&of);
            }
        }
        NodeView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: now.since(self.facts.started).as_millis() / 1000,
            backend: self.facts.backend.clone(),
            cores: limits.cores,
            memory: memory_view(&self.region),
            limits: BTreeMap::from([
                ("streams_max".to_owned(), u64::from(limits.streams_max)),
                ("viewers_max".to_owned(), u64::from(limits.viewers_max)),
                ("log_packets".to_owned(), u64::from(limits.log_packets)),
            ]),
            listen: self.facts.listen.clone(),
            processes: ProcessesView {
                supervisor: self.facts.supervisor,
                forwarder: self.facts.forwarder_pid(),
                control: Some(std::process::id()),
            },
            load: self.load_view(),
            transit: transit::views(&transit),
            counters: self
                .lines
                .cores()
                .map(|core| self.core_view(now, core))
                .collect(),
        }
    }

    fn core_view(&self, now: Time, core: CoreId) -> CoreView {
        let Ok(stats) = self.region.stats(core) else {
            return CoreView::default();
        };
        let turned = stats.heartbeat();
        CoreView {
            core: core.0,
            turn_age_ms: (turned > Time::ZERO).then(|| now.since(turned).as_millis()),
            transit: transit::views(&self.of_late(core)),
            counters: COUNTERS
                .iter()
                .map(|c| (c.name().to_owned(), stats.read(*c)))
                .collect(),
        }
    }

    /// How long media packets were inside of late, as this worker has counted.
    fn of_late(&self, core: CoreId) -> Counted {
        let counted = self.region.stats(core).map(|stats| transit::read(&stats));
        let counted = counted.unwrap_or_default();
        self.transits.of_late(usize::from(core.0), counted)
    }

    pub(super) fn metrics_snapshot(&self) -> MetricsSnapshot {
        let mut sessions = BTreeMap::new();
        for view in self.sessions.session_views() {
            *sessions.entry(view.state.name().to_owned()).or_insert(0) += 1;
        }
        let of_core = |core: CoreId| {
            let stats = self.region.stats(core).ok()?;
            let sample = |counter: &link::stats::Counter| Sample {
                name: counter.name(),
                help: counter.help(),
                value: stats.read(*counter),
                counter: counter.kind() == Kind::Sum,
            };
            Some(CoreCounters {
                core: core.0,
                samples: COUNTERS.iter().map(sample).collect(),
                transits: transit::read(&stats).into(),
            })
        };
        MetricsSnapshot {
            uptime_s: clock::now().since(self.facts.started).as_millis() / 1000,
            backend: self.facts.backend.name.clone(),
            cipher: self.facts.backend.cipher.clone(),
            memory_bytes: memory_view(&self.region).total_bytes,
            sessions,
            cores: self.lines.cores().filter_map(of_core).collect(),
            control: self.samples(),
            load: self.load_view(),
            streams: self.stream_views(),
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        let now = clock::now();
        let presence = self.region.presence(Role::Forwarder);
        let stuck = self.lines.cores().find(|core| {
            let turned = self.region.stats(*core).map(|stats| stats.heartbeat());
            turned.is_ok_and(|turned| now.since(turned) > STUCK_AFTER)
        });
        let checks = vec![
            self.draining.check(),
            ReadyCheck {
                name: "forwarder".to_owned(),
                ok: presence.alive,
                detail: if presence.alive {
                    "running"
                } else {
                    "not running"
                }
                .to_owned(),
            },
            ReadyCheck {
                name: "workers".to_owned(),
                ok: stuck.is_none(),
                detail: stuck.map_or("all turn".to_owned(), |core| {
                    format!(
                        "worker {} has not turned for {} s",
                        core.0,
                        STUCK_AFTER.0 / 1_000_000_000
                    )
                }),
            },
        ];
        Readiness {
            ready: checks.iter().all(|check| check.ok),
            checks,
            load: self.load_brief(&self.config.borrow()),
        }
    }
}

/// Whether a stream can be watched, by who publishes it and what has been taken in of it.
pub(super) fn state_of(now: Time, stream: &Stream, intake: &Intake) -> StreamState {
    match &stream.active {
        Some(active) if stream.described && has_begun(active, intake) => StreamState::Live,
        Some(_) => StreamState::Waiting,
        // One that an earlier life of control has let in.
        None if is_fed(now, intake) => StreamState::Live,
        None => StreamState::Offline,
    }
}

/// A push is described before anything comes of it.
fn has_begun(active: &Active, intake: &Intake) -> bool {
    active.kind != PublisherKind::Push || intake.arrival > active.since
}

fn engine_version(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Dtls13 => "1.3",
        EngineKind::Dtls12 => "1.2",
    }
}

fn memory_view(region: &Region) -> MemoryView {
    let Ok(sum) = region.limits().memory() else {
        return MemoryView::default();
    };
    MemoryView {
        total_bytes: sum.total(),
        parts: sum
            .items
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), *bytes))
            .collect(),
    }
}

pub(super) fn profile_name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::Plain => "none",
        SrtpProfile::Aes128CmSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
        SrtpProfile::Aes128CmSha1_32 => "SRTP_AES128_CM_HMAC_SHA1_32",
        SrtpProfile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
    }
}

fn sum(before: u64, by_track: &[u64], by_lane: &[u64]) -> u64 {
    before + by_track.iter().chain(by_lane).sum::<u64>()
}
