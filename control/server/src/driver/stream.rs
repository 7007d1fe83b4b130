//! Owns one stream of the node: its publisher, its notices, and what is left when that one goes.

use crate::config::{Bframes, StreamSettings};
use crate::control::{NoticeView, PublisherKind, Severity, StreamName};
use crate::publisher::{Progress, Remains, Source};
use link::command::{AUDIO, VIDEO};
use link::ids::StreamId;
use link::lanes::{LANES_MAX, SPATIAL_MAX, TEMPORAL_MAX};
use link::log::LogWriter;
use link::stats::Intake;
use media::{Continuation, Description, Mark};
use session::srt::{CallerId, Stats as SrtStats};
use session::{SessionId, StreamDescription};
use std::net::SocketAddr;
use tokio::sync::mpsc;
use wire::time::{Span, Time};

/// Notices kept of one publisher: there are fewer kinds than this.
const NOTICES_MAX: usize = 32;

/// Who publishes.
pub struct Active {
    /// Of all publishers of the node.
    pub epoch: u64,
    /// How media comes in.
    pub kind: PublisherKind,
    /// Its SRT connection.
    pub connection: Option<CallerId>,
    /// Its WebRTC session, or its push. A worker writes the log then.
    pub session: Option<SessionId>,
    /// Dropped to end a source that has no connection.
    pub stop: Option<mpsc::Sender<()>>,
    /// Its address.
    pub remote: Option<SocketAddr>,
    /// Of a push, every address that its packets come from.
    pub sources: Vec<SocketAddr>,
    /// When it came.
    pub since: Time,
    /// What has gone into the log. Of a WebRTC publisher only what is measured over the last
    /// second: the rest is counted by its worker.
    pub progress: Progress,
    /// The encodings of its video, if it sends several.
    pub encodings: Vec<Encoding>,
    /// Bits a second of each spatial and temporal layer by lane, as measured last.
    pub layers: [Layers; LANES_MAX],
    /// Width and height of each spatial layer by lane; 0: not known.
    pub layer_sizes: [[(u16, u16); SPATIAL_MAX]; LANES_MAX],
    /// What workers had taken in of the stream before it came.
    pub taken_before: Intake,
    /// What its worker had taken in when that was measured.
    pub measured: Option<(Time, Intake)>,
    /// What SRT says of it.
    pub srt: Option<SrtStats>,
    /// The latency that both ends agreed on.
    pub latency: Option<Span>,
}

/// Something of each layer of an encoding: spatial ones outside, temporal ones inside.
pub type Layers = [[u64; TEMPORAL_MAX]; SPATIAL_MAX];

/// One of several encodings of a publisher's video, as it was measured last.
pub struct Encoding {
    /// Where it is in the log.
    pub lane: usize,
    /// The publisher's name for it (RFC 8852).
    pub name: String,
    /// Bits a second; 0: it does not come in.
    pub bitrate_bps: u64,
    /// Frames a second.
    pub fps: f64,
    /// Width and height in pixels; 0: not known.
    pub size: (u16, u16),
}

impl Encoding {
    /// One that has not been measured yet.
    pub(super) fn new(lane: usize, name: String) -> Self {
        Self {
            lane,
            name,
            bitrate_bps: 0,
            fps: 0.0,
            size: (0, 0),
        }
    }
}

/// One stream.
pub struct Stream {
    /// Its log.
    pub id: StreamId,
    /// Who publishes now.
    pub active: Option<Active>,
    /// What it consists of, by its MPEG-TS.
    pub description: Description,
    /// What it consists of, as a WebRTC publisher has negotiated it; then the other is empty.
    pub negotiated: StreamDescription,
    /// What its publisher should know.
    pub notices: Vec<NoticeView>,
    /// Packets and bytes of the publishers before this one.
    pub before: [u64; 2],
    /// Packets that came, were lost and were sent again by SRT, of the publishers before this one.
    pub before_by_srt: [u64; 3],
    /// Sessions opened.
    pub session_opened: u64,
    /// The writing end of the log while nobody publishes; `None`: somebody else has it, the task of
    /// an SRT publisher or a worker, or has let go of it a moment ago.
    pub(super) remains: Option<Remains>,
    /// Who waits for the one before to end.
    pub(super) next: Option<(Active, Source, StreamSettings)>,
    pub(super) described: bool,
    pub(super) idle_since: Time,
    /// When this process opened or found it.
    pub(super) met_at: Time,
}

impl Active {
    /// Packets that came, were lost and were sent again by SRT.
    pub fn by_srt(&self) -> [u64; 3] {
        let srt = self.srt.unwrap_or_default();
        [srt.packets, srt.skipped, srt.retransmitted]
    }
}

impl Stream {
    /// A stream whose log has just been opened, or adopted.
    pub(super) fn new(now: Time, id: StreamId, remains: Option<Remains>) -> Self {
        Self {
            id,
            active: None,
            description: Description::default(),
            negotiated: StreamDescription::default(),
            notices: Vec::new(),
            before: [0; 2],
            before_by_srt: [0; 3],
            session_opened: 0,
            remains,
            next: None,
            described: false,
            idle_since: now,
            met_at: now,
        }
    }

    /// Makes room for what a new publisher says of itself.
    pub(super) fn start(&mut self, active: Active) {
        self.description = Description::default();
        self.negotiated = StreamDescription::default();
        self.described = false;
        self.notices.clear();
        self.retire();
        self.active = Some(active);
    }

    /// Its publisher has ended; the next one goes on with `remains`.
    pub(super) fn end(&mut self, now: Time, remains: Remains) {
        self.retire();
        self.remains = Some(remains);
        self.idle_since = now;
    }

    /// Its publisher, if there is one, is no more; what it has sent counts on.
    pub(super) fn retire(&mut self) {
        if let Some(active) = self.active.take() {
            self.before[0] += active.progress.packets.iter().sum::<u64>();
            self.before[1] += active.progress.bytes.iter().sum::<u64>();
            for (sum, count) in self.before_by_srt.iter_mut().zip(active.by_srt()) {
                *sum += count;
            }
        }
    }

    /// Puts down what its publisher should know.
    pub(super) fn note(&mut self, name: &StreamName, notice: &media::Notice) {
        let severity = match notice.severity() {
            media::Severity::Info => Severity::Info,
            media::Severity::Warning => Severity::Warning,
            media::Severity::Error => Severity::Error,
        };
        let view = NoticeView {
            severity,
            code: notice.code().to_owned(),
            message: notice.to_string(),
            remedy: notice.remedy().to_owned(),
        };
        tracing::warn!(stream = %name, code = view.code, remedy = view.remedy, "{}", view.message);
        let known = self
            .notices
            .iter()
            .position(|known| known.code == view.code);
        match known {
            Some(place) => self.notices[place] = view,
            None if self.notices.len() < NOTICES_MAX => self.notices.push(view),
            None => {}
        }
    }
}

/// Where the timestamps of a log stopped, for a writer that has not written them itself.
fn continuation(writer: &LogWriter) -> Continuation {
    let mark = |track| {
        writer.newest(track).map(|record| Mark {
            timestamp: record.timestamp,
            capture: record.capture,
            next_frame: record.frame.wrapping_add(1),
        })
    };
    Continuation {
        tracks: [mark(VIDEO), mark(AUDIO)],
    }
}

impl Remains {
    /// Of a log that somebody else may have written.
    pub(super) fn of(writer: LogWriter) -> Self {
        let continuation = continuation(&writer);
        Self {
            writer,
            continuation,
        }
    }
}

/// How a stream's ingest is set up.
pub(super) fn media_config(settings: &StreamSettings) -> media::Config {
    media::Config {
        bframes: match settings.bframes {
            Bframes::Report => media::BframePolicy::Report,
            Bframes::DropDisposable => media::BframePolicy::DropDisposable,
            Bframes::Refuse => media::BframePolicy::Refuse,
        },
        opus_bitrate: settings.opus_bitrate_bps,
        first_timestamps: rand::random(),
        ..media::Config::default()
    }
}
