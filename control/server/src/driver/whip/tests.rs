//! Streams whose publishers come by SRT and by WHIP, one after another.

use super::*;
use crate::config::Takeover;
use crate::control::{Given, Origins, PushCreated};
use crate::publisher::{Key, Progress, Report, Source};
use link::limits::Limits;
use session::Config as SessionConfig;
use tokio::sync::mpsc;

const OFFER: &str = include_str!("../../../../../tests/corpus/sdp/chromium_whip_h264.sdp");
const PUSH: &str = include_str!("../../../../../tests/corpus/sdp/ffmpeg5_push.sdp");

/// The streams of a node without workers.
struct Node {
    name: StreamName,
    config: Config,
    sessions: Sessions,
    streams: Streams,
    reports: mpsc::Receiver<(Key, Report)>,
}

/// The encoder's end of an SRT connection; it is closed when this is dropped.
type Encoder = mpsc::Sender<Vec<u8>>;

impl Node {
    fn new() -> Self {
        let limits = Limits {
            cores: 1,
            streams_max: 2,
            viewers_max: 4,
            log_packets: 1024,
            ..Limits::default()
        };
        let region = Region::create(&limits).unwrap();
        let settings = SessionConfig {
            candidates: vec!["192.0.2.7:8000".parse().unwrap()],
            viewers_max: limits.viewers_max,
            ..SessionConfig::default()
        };
        let mut sessions = Sessions::new(settings, [7; 32]).unwrap();
        let (sender, reports) = mpsc::channel(16);
        let streams = Streams::adopt(region, sender, &mut sessions);
        let mut config = Config::default();
        config.streams.takeover = Takeover::Replace;
        Self {
            name: "live".parse().unwrap(),
            config,
            sessions,
            streams,
            reports,
        }
    }

    fn by_srt(&mut self) -> Encoder {
        let (encoder, messages) = mpsc::channel(4);
        let active = super::super::newcomer(PublisherKind::Srt);
        let source = Source::Channel(messages);
        self.streams
            .publish(&self.name, active, source, &self.config, &mut self.sessions)
            .unwrap();
        encoder
    }

    fn by_whip(&mut self) -> SessionId {
        let (sessions, config) = (&mut self.sessions, &self.config);
        self.streams
            .publish_session(&self.name, OFFER, config, sessions)
            .unwrap();
        self.active().and_then(|a| a.session.clone()).unwrap()
    }

    fn by_push(&mut self) -> Result<PushCreated, Problem> {
        let ip = Some("198.51.100.4".parse().unwrap());
        let origins = Origins {
            asker: None,
            given: [5004, 5006].map(|port| Some(Given { ip, port })),
        };
        let (sessions, config) = (&mut self.sessions, &self.config);
        let pushed = self
            .streams
            .publish_push(&self.name, PUSH, origins, config, sessions);
        pushed.map(|(created, _)| created)
    }

    /// The session ends, and the driver hears of it.
    fn leaves(&mut self, session: &SessionId) {
        let cause = Cause::Expired;
        self.sessions
            .close_session(clock::now(), session.as_str(), cause)
            .unwrap();
        self.streams.session_closed(session, cause);
    }

    /// Takes the last word of the SRT publisher's task.
    async fn hears_the_end(&mut self) {
        loop {
            let (key, report) = self.reports.recv().await.unwrap();
            let is_last = matches!(report, Report::Ended(_));
            self.streams.on_report(key, report, &mut self.sessions);
            if is_last {
                return;
            }
        }
    }

    fn active(&self) -> Option<&Active> {
        self.streams.table[&self.name].active.as_ref()
    }
}

#[tokio::test]
async fn a_publisher_who_never_completes_its_handshake_leaves_the_stream_to_the_next() {
    let mut node = Node::new();
    let encoder = node.by_srt();
    let session = node.by_whip();
    drop(encoder);
    node.hears_the_end().await;
    node.leaves(&session);
    let _encoder = node.by_srt();
    node.streams.reclaim();
    assert_eq!(node.active().unwrap().kind, PublisherKind::Srt);
}

#[tokio::test]
async fn a_stream_whose_publishers_overlapped_is_closed_when_it_idles() {
    let mut node = Node::new();
    let encoder = node.by_srt();
    let session = node.by_whip();
    let id = node.streams.table[&node.name].id;
    node.streams.lend(id, &mut node.sessions);
    node.leaves(&session);
    drop(encoder);
    node.hears_the_end().await;
    node.streams.reclaim();
    let later = clock::now() + Span::secs(3600);
    node.streams.reap(later, &mut node.sessions);
    assert!(node.streams.table.is_empty());
}

#[tokio::test]
async fn what_a_publisher_has_sent_counts_on_when_another_takes_over() {
    let mut node = Node::new();
    let _encoder = node.by_srt();
    let stream = node.streams.table.get_mut(&node.name).unwrap();
    stream.active.as_mut().unwrap().progress = Progress {
        packets: [10, 5],
        bytes: [1000, 50],
        ..Progress::default()
    };
    node.by_whip();
    assert_eq!(node.streams.table[&node.name].before, [15, 1050]);
}

#[tokio::test]
async fn a_push_takes_over_and_is_taken_over() {
    let mut node = Node::new();
    let encoder = node.by_srt();
    node.by_push().unwrap();
    let active = node.active().unwrap();
    assert_eq!(active.kind, PublisherKind::Push);
    let sources: Vec<String> = active.sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["198.51.100.4:5004", "198.51.100.4:5006"]);
    drop(encoder);
    node.hears_the_end().await;
    assert_eq!(node.active().unwrap().kind, PublisherKind::Push);
    let push = node.active().unwrap().session.clone().unwrap();
    let session = node.by_whip();
    // The push that is over changes nothing for who came after it.
    node.streams.session_closed(&push, Cause::TakenOver);
    assert_eq!(node.active().unwrap().kind, PublisherKind::Whip);
    node.by_push().unwrap();
    node.streams.session_closed(&session, Cause::TakenOver);
    assert_eq!(node.active().unwrap().kind, PublisherKind::Push);
    node.config.streams.takeover = Takeover::Refuse;
    assert_eq!(node.by_push().unwrap_err().name(), "stream-taken");
}

#[tokio::test]
async fn the_log_of_a_push_is_free_when_that_is_over() {
    let mut node = Node::new();
    node.by_push().unwrap();
    let push = node.active().unwrap().session.clone().unwrap();
    let id = node.streams.table[&node.name].id;
    node.streams.lend(id, &mut node.sessions);
    let worker = node.streams.region.log_writer(id).unwrap();
    node.leaves(&push);
    node.streams.reclaim();
    assert!(node.streams.table[&node.name].remains.is_none());
    drop(worker);
    node.streams.reclaim();
    assert!(node.streams.table[&node.name].remains.is_some());
}

#[tokio::test]
async fn whoever_is_unknown_and_silent_is_an_orphan() {
    let mut node = Node::new();
    node.by_push().unwrap();
    let push = node.active().unwrap().session.clone().unwrap();
    let id = node.streams.table[&node.name].id;
    node.streams.lend(id, &mut node.sessions);
    let _worker = node.streams.region.log_writer(id).unwrap();
    let later = clock::now() + Span::secs(3600);
    assert!(node.streams.orphans(later).is_empty(), "it is known");
    node.leaves(&push);
    let soon = clock::now() + Span::secs(30);
    assert!(node.streams.orphans(soon).is_empty(), "it has just come");
    assert_eq!(node.streams.orphans(later), [id]);
    let intake = Intake {
        arrival: later - Span::secs(5),
        ..Intake::default()
    };
    let line = node.streams.region.stream_stats(id, CoreId(0)).unwrap();
    line.set_intake(&intake);
    assert!(node.streams.orphans(later).is_empty(), "it is heard");
}
