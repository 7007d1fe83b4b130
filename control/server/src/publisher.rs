//! Owns one publisher's way in: bytes of MPEG-TS become records of its stream's log.

use crate::clock;
use link::command::{AUDIO, VIDEO};
use link::ids::StreamId;
use link::log::{AppendError, Entry, Flags, LogWriter, Record};
use media::clip::Looper;
use media::{Continuation, Description, Ingest, Notice, Output, Packet, Track};
use std::time::Duration;
use tokio::sync::mpsc;
use wire::time::{Span, Time};

/// Messages of MPEG-TS that may wait for the publisher's task: at 1,316 bytes a message and
/// 10 Mbit/s, a second. A task that is further behind loses what comes, and counts it.
pub const MESSAGES_MAX: usize = 1024;

/// Messages taken in one go before what they made is published.
const MESSAGES_A_TURN: usize = 64;

/// How long a packet waits for a reader that holds the oldest packets of the log. Readers hold them
/// for less than a turn; one that does not let go in this time has died.
const STALLED_MS_MAX: u32 = 50;

/// How often counters are told.
const REPORT_INTERVAL: Span = Span::secs(1);

/// Which publisher of which stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The stream.
    pub stream: StreamId,
    /// Counts all publishers of the node.
    pub epoch: u64,
}

/// What a publisher's task tells the driver.
pub enum Report {
    /// The tracks are known, or have changed.
    Described(Description),
    /// Something that the publisher should know.
    Notice(Notice),
    /// Policy says that this publisher has to go.
    Refused(Notice),
    /// About once a second.
    Progress(Progress),
    /// The last word: the next publisher of the stream may begin.
    Ended(Box<Remains>),
    /// Instead of the last word: the task has panicked.
    Died,
}

/// What has gone into the log since the publisher came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Packets, by track.
    pub packets: [u64; 2],
    /// Payload bytes, by track.
    pub bytes: [u64; 2],
    /// Bits a second over the last interval, by track.
    pub bitrate_bps: [u64; 2],
    /// Video frames a second over the last interval.
    pub fps: f64,
    /// Time between the last two keyframes in milliseconds; 0: there were not two yet.
    pub gop_ms: u32,
    /// Packets that the log did not take, because a reader held it or they were too long.
    pub refused: u64,
}

/// What is left of a publisher when it has gone: the next one of its stream goes on from here.
pub struct Remains {
    /// The writing end of the stream's log.
    pub writer: LogWriter,
    /// Where its timestamps stopped.
    pub continuation: Continuation,
}

/// Where a publisher's bytes come from.
pub enum Source {
    /// Somebody else's task; ends when the sender is dropped.
    Channel(mpsc::Receiver<Vec<u8>>),
    /// The built-in clip; ends when the receiver is dropped or told.
    Clip(Box<Looper>, mpsc::Receiver<()>),
}

/// One publisher at work.
pub struct Publisher {
    ingest: Ingest,
    writer: LogWriter,
    key: Key,
    reports: mpsc::Sender<(Key, Report)>,
    progress: Progress,
    window: Window,
}

/// What the figures "over the last interval" are made of.
struct Window {
    since: Time,
    bytes: [u64; 2],
    frames: u64,
    frames_before: u64,
    key_at: Option<Time>,
}

impl Publisher {
    /// Goes on where `remains` stopped.
    #[must_use]
    pub fn new(
        key: Key,
        config: media::Config,
        remains: Remains,
        reports: mpsc::Sender<(Key, Report)>,
    ) -> Self {
        let Remains {
            writer,
            continuation,
        } = remains;
        let window = Window {
            since: clock::now(),
            bytes: [0; 2],
            frames: 0,
            frames_before: 0,
            key_at: None,
        };
        let ingest = Ingest::new(config, Some(continuation));
        Self {
            ingest,
            writer,
            key,
            reports,
            progress: Progress::default(),
            window,
        }
    }

    /// Works until the source ends; then gives back what the next publisher goes on with.
    pub async fn run(mut self, source: Source) {
        match source {
            Source::Channel(messages) => self.feed_messages(messages).await,
            Source::Clip(looper, stop) => self.feed_clip(*looper, stop).await,
        }
        let continuation = self.ingest.finish(clock::now());
        self.drain(clock::now()).await;
        let remains = Remains {
            writer: self.writer,
            continuation,
        };
        // Nobody listens: the driver ends, and with it everything.
        let _ = self
            .reports
            .send((self.key, Report::Ended(Box::new(remains))))
            .await;
    }

    async fn feed_messages(&mut self, mut messages: mpsc::Receiver<Vec<u8>>) {
        loop {
            tokio::select! {
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    let now = clock::now();
                    self.ingest.push(now, &message);
                    for _ in 1..MESSAGES_A_TURN {
                        let Ok(message) = messages.try_recv() else { break };
                        self.ingest.push(now, &message);
                    }
                }
                () = clock::sleep_until(self.next_deadline()) => {}
            }
            self.turn().await;
        }
    }

    async fn feed_clip(&mut self, mut looper: Looper, mut stop: mpsc::Receiver<()>) {
        loop {
            let now = clock::now();
            while let Some(bytes) = looper.poll(now) {
                self.ingest.push(now, bytes);
            }
            self.turn().await;
            let due = self.next_deadline().map(|due| due.min(looper.deadline()));
            tokio::select! {
                _ = stop.recv() => return,
                () = clock::sleep_until(due) => {}
            }
        }
    }

    /// The next thing that has to happen without new bytes. There is always one: the report.
    fn next_deadline(&self) -> Option<Time> {
        let report = self.window.since + REPORT_INTERVAL;
        Some(self.ingest.deadline().map_or(report, |due| due.min(report)))
    }

    async fn turn(&mut self) {
        let now = clock::now();
        self.ingest.handle_timeout(now);
        self.drain(now).await;
        if now.since(self.window.since) >= REPORT_INTERVAL {
            self.report(now);
        }
    }

    /// Moves everything that is due into the log and publishes it as one batch.
    async fn drain(&mut self, now: Time) {
        let mut news = Vec::new();
        while let Some(output) = self.ingest.poll() {
            match output {
                Output::Packet(packet) => {
                    count(&mut self.progress, &mut self.window, &packet);
                    if !append(&mut self.writer, &packet, now).await {
                        self.progress.refused += 1;
                    }
                }
                Output::Tracks(description) => news.push(Report::Described(description)),
                Output::Notice(notice) => news.push(Report::Notice(notice)),
                Output::Refused(notice) => news.push(Report::Refused(notice)),
            }
        }
        if self.writer.unpublished() > 0 {
            self.writer.publish();
        }
        for report in news {
            // Gone: the driver ends, and with it this task.
            let _ = self.reports.send((self.key, report)).await;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "frames of a second are few")]
    fn report(&mut self, now: Time) {
        let window = &mut self.window;
        let ns = now.since(window.since).0.max(1);
        for track in [VIDEO, AUDIO] {
            let bits = (self.progress.bytes[track] - window.bytes[track]) * 8;
            self.progress.bitrate_bps[track] = bits.saturating_mul(1_000_000_000) / ns;
        }
        let frames = (window.frames - window.frames_before) as f64;
        self.progress.fps = frames * 1e9 / ns as f64;
        window.bytes = self.progress.bytes;
        window.frames_before = window.frames;
        window.since = now;
        // A full channel means a busy driver; the next second's figures are as good.
        let _ = self
            .reports
            .try_send((self.key, Report::Progress(self.progress)));
    }
}

/// Appends, waiting for a reader that holds the oldest packets; false if that takes too long.
async fn append(writer: &mut LogWriter, packet: &Packet<'_>, now: Time) -> bool {
    let record = record(packet, now);
    for _ in 0..STALLED_MS_MAX {
        match writer.append(&record, &[packet.payload]) {
            Ok(_) => return true,
            Err(AppendError::Stalled) => {
                writer.publish();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(_) => return false,
        }
    }
    false
}

fn record(packet: &Packet<'_>, now: Time) -> Record {
    let mut flags = Flags::NONE;
    for (set, flag) in [
        (packet.first, Flags::FIRST),
        (packet.last, Flags::LAST),
        (packet.key, Flags::KEY),
        (packet.discardable, Flags::DISCARDABLE),
    ] {
        if set {
            flags |= flag;
        }
    }
    Record {
        lane: if packet.track == Track::Video { 0 } else { 1 },
        flags,
        timestamp: packet.timestamp,
        capture: packet.capture,
        arrival: now,
        // What is paced is due now: that it was held back before is meant.
        entry: Entry::Sidecar,
        came: now,
        ..Record::default()
    }
}

fn count(progress: &mut Progress, window: &mut Window, packet: &Packet<'_>) {
    let track = packet.track.index();
    progress.packets[track] += 1;
    progress.bytes[track] += packet.payload.len() as u64;
    if packet.track == Track::Video && packet.first {
        window.frames += 1;
        let before = if packet.key {
            window.key_at.replace(packet.capture)
        } else {
            None
        };
        if let Some(before) = before {
            let gop = packet.capture.since(before).as_millis();
            progress.gop_ms = u32::try_from(gop).unwrap_or(u32::MAX);
        }
    }
}
