//! Streams whose publishers come by SRT and by WHIP, one after another.

use super::*;
use crate::config::Takeover;
use crate::publisher::{Key, Progress, Report, Source};
use link::limits::Limits;
use session::Config as SessionConfig;
use tokio::sync::mpsc;

const OFFER: &str = include_str!("../../../../../tests/corpus/sdp/chromium_whip_h264.sdp");

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
