//! Owns the streams of the node: who publishes each, its log, and what is known of it.

use crate::clock;
use crate::config::{Config, StreamSettings, Takeover};
use crate::control::StreamName;
use crate::publisher::{Key, Publisher, Remains, Report, Source};
use link::ids::StreamId;
use link::region::{LinkError, Region};
use session::srt::{CallerId, Stats as SrtStats};
use session::{SessionId, Sessions, StreamDescription};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use wire::time::{Span, Time};

use super::describe;
use super::stream::{Active, Stream, media_config};

/// A stream without publisher and viewers is kept for this long: an encoder that restarts finds its
/// viewers' player still asking for it, and its timestamps go on.
const IDLE_MAX: Span = Span::secs(60);

/// Tracks that a publisher announces and does not send hold the description back for this long.
const DESCRIBE_AFTER: Span = Span::secs(2);

/// Why a publisher is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody publishes this stream already.
    #[error("somebody publishes this stream already (streams.takeover is \"refuse\")")]
    Taken,
    /// All streams are in use.
    #[error("all streams of this node are in use (limits.streams_max)")]
    Full,
    /// The log cannot be had.
    #[error("there is no memory for another stream")]
    NoMemory,
}

/// Who has to go for a newcomer.
#[derive(Debug, Default)]
pub struct InTheWay {
    /// An SRT connection.
    pub connection: Option<CallerId>,
    /// A WebRTC session.
    pub session: Option<SessionId>,
}

/// All streams.
pub struct Streams {
    pub(super) region: Region,
    pub(super) table: BTreeMap<StreamName, Stream>,
    reports: mpsc::Sender<(Key, Report)>,
    epochs: u64,
    /// Streams whose log is still held by somebody.
    closing: Vec<StreamId>,
}

impl Streams {
    /// Goes on with the streams that the memory holds: an earlier control may have opened them.
    pub fn adopt(
        region: Region,
        reports: mpsc::Sender<(Key, Report)>,
        sessions: &mut Sessions,
    ) -> Self {
        let mut streams = Self {
            region,
            table: BTreeMap::new(),
            reports,
            epochs: 0,
            closing: Vec::new(),
        };
        let now = clock::now();
        for (id, name) in streams.region.streams() {
            let Ok(name) = name.parse::<StreamName>() else {
                streams.closing.push(id);
                continue;
            };
            // A worker goes on writing it if its publisher came by WebRTC.
            let writer = streams.region.log_writer(id).ok();
            let mut stream = Stream::new(now, id, writer.map(Remains::of));
            let known = describe::load(&streams.region, id);
            sessions.stream_opened(name.as_str(), id);
            if !known.is_empty() {
                sessions.stream_described(now, id, known);
                stream.described = true;
            }
            tracing::info!(stream = %name, "goes on after a restart");
            streams.table.insert(name, stream);
        }
        streams
    }

    /// Lets a publisher in. Its bytes may come at once; they wait for the one before it to end.
    ///
    /// # Errors
    /// Taken, or no room. Who has to go for it comes with the answer.
    pub fn publish(
        &mut self,
        name: &StreamName,
        mut active: Active,
        source: Source,
        config: &Config,
        sessions: &mut Sessions,
    ) -> Result<InTheWay, Refusal> {
        let settings = config.stream_settings(name);
        active.epoch = self.next_epoch();
        let stream = self.vacate(name, &settings, sessions)?;
        let in_the_way = stream.active.as_mut().map(in_the_way).unwrap_or_default();
        stream.next = Some((active, source, settings));
        self.begin(name);
        Ok(in_the_way)
    }

    /// The stream of this name, opened if it is new, for a newcomer who may publish it.
    pub(super) fn vacate(
        &mut self,
        name: &StreamName,
        settings: &StreamSettings,
        sessions: &mut Sessions,
    ) -> Result<&mut Stream, Refusal> {
        if !self.table.contains_key(name) {
            let stream = self.open(name)?;
            sessions.stream_opened(name.as_str(), stream.id);
            self.table.insert(name.clone(), stream);
        }
        let stream = self.table.get_mut(name).ok_or(Refusal::NoMemory)?;
        let taken = stream.active.is_some() && settings.takeover == Takeover::Refuse;
        if taken || stream.next.is_some() {
            return Err(Refusal::Taken);
        }
        Ok(stream)
    }

    /// True if the stream is here: somebody publishes it, or did a moment ago.
    pub(super) fn knows(&self, name: &StreamName) -> bool {
        self.table.contains_key(name)
    }

    pub(super) fn next_epoch(&mut self) -> u64 {
        self.epochs += 1;
        self.epochs
    }

    /// Takes a report of a publisher's task. Gives back the connection that policy wants closed.
    pub fn on_report(
        &mut self,
        key: Key,
        report: Report,
        sessions: &mut Sessions,
    ) -> Option<CallerId> {
        let now = clock::now();
        let (name, stream) = self.table.iter_mut().find(|(_, s)| s.id == key.stream)?;
        let name = name.clone();
        let is_past = stream
            .active
            .as_ref()
            .is_some_and(|active| active.epoch != key.epoch);
        if is_past {
            // A WebRTC publisher has taken over; the writing end, dropped here, is for its worker.
            return None;
        }
        match report {
            Report::Described(description) => {
                stream.description = description;
                stream.described = false;
            }
            Report::Notice(notice) => stream.note(&name, &notice),
            Report::Refused(notice) => {
                stream.note(&name, &notice);
                return stream.active.as_ref().and_then(|active| active.connection);
            }
            Report::Progress(progress) => {
                if let Some(active) = &mut stream.active {
                    active.progress = progress;
                }
            }
            Report::Ended(remains) => {
                stream.end(now, *remains);
                tracing::info!(stream = %name, "publisher gone");
                self.begin(&name);
                return None;
            }
            Report::Died => {
                tracing::error!(stream = %name, "its ingest has panicked: publisher dropped");
                let connection = stream.active.as_ref().and_then(|active| active.connection);
                match self.region.log_writer(key.stream) {
                    Ok(writer) => stream.end(now, Remains::of(writer)),
                    Err(error) => tracing::error!(stream = %name, %error, "its log is lost"),
                }
                self.begin(&name);
                return connection;
            }
        }
        self.tell(now, &name, sessions);
        None
    }

    /// Tells viewers-to-be what a stream consists of, as soon as that is certain enough.
    fn tell(&mut self, now: Time, name: &StreamName, sessions: &mut Sessions) {
        let Some(stream) = self.table.get_mut(name) else {
            return;
        };
        let since = stream.active.as_ref().map_or(now, |active| active.since);
        let waited = now.since(since) >= DESCRIBE_AFTER;
        if stream.described || !(stream.description.complete || waited) {
            return;
        }
        let told: StreamDescription = describe::of(&stream.description);
        if told.is_empty() {
            return;
        }
        stream.described = true;
        sessions.stream_described(now, stream.id, told);
        describe::save(&self.region, stream.id, &stream.description);
        tracing::info!(stream = %name, tracks = %describe::text(&told), "can be watched");
    }

    /// Closes streams that nobody feeds or watches.
    pub fn reap(&mut self, now: Time, sessions: &mut Sessions) {
        let watched: BTreeMap<u32, u32> = sessions
            .stream_views()
            .map(|view| (view.id.index, view.viewers))
            .collect();
        let mut over = Vec::new();
        for (name, stream) in &mut self.table {
            // A log that somebody else writes has a publisher, perhaps of an earlier control.
            let busy = stream.active.is_some() || stream.next.is_some() || stream.remains.is_none();
            if busy
                || watched
                    .get(&stream.id.index)
                    .is_some_and(|viewers| *viewers > 0)
            {
                stream.idle_since = now;
            } else if now.since(stream.idle_since) >= IDLE_MAX {
                over.push(name.clone());
            }
        }
        for name in over {
            if let Some(stream) = self.table.remove(&name) {
                tracing::info!(stream = %name, "closed: nobody feeds or watches it");
                sessions.stream_closed(now, stream.id);
                self.closing.push(stream.id);
            }
        }
        let region = &self.region;
        self.closing
            .retain(|id| matches!(region.close_stream(*id), Err(LinkError::Busy)));
    }

    /// Puts down what SRT says of a connection.
    pub fn on_srt(&mut self, id: CallerId, stats: SrtStats) {
        let of_it = |active: &&mut Active| active.connection == Some(id);
        let mut all = self
            .table
            .values_mut()
            .filter_map(|stream| stream.active.as_mut());
        if let Some(active) = all.find(of_it) {
            active.srt = Some(stats);
        }
    }

    /// All streams by name.
    pub fn iter(&self) -> impl Iterator<Item = (&StreamName, &Stream)> {
        self.table.iter()
    }

    /// Counts a session of a stream.
    pub fn count_session(&mut self, name: &StreamName) {
        if let Some(stream) = self.table.get_mut(name) {
            stream.session_opened += 1;
        }
    }

    fn open(&self, name: &StreamName) -> Result<Stream, Refusal> {
        for index in 0..self.region.limits().streams_max {
            match self.region.open_stream(index, name.as_str()) {
                Ok(id) => {
                    let writer = self.region.log_writer(id).map_err(|_| Refusal::NoMemory)?;
                    return Ok(Stream::new(clock::now(), id, Some(Remains::of(writer))));
                }
                Err(LinkError::Busy) => {}
                Err(error) => {
                    tracing::error!(stream = %name, %error, "no log for the stream");
                    return Err(Refusal::NoMemory);
                }
            }
        }
        Err(Refusal::Full)
    }

    /// Starts whoever waits, if the one before has ended.
    pub(super) fn begin(&mut self, name: &StreamName) {
        let Some(stream) = self.table.get_mut(name) else {
            return;
        };
        if stream.active.is_some() {
            return;
        }
        let Some((active, source, settings)) = stream.next.take() else {
            return;
        };
        let Some(remains) = stream.remains.take() else {
            stream.next = Some((active, source, settings));
            return;
        };
        let key = Key {
            stream: stream.id,
            epoch: active.epoch,
        };
        stream.start(active);
        let publisher = Publisher::new(key, media_config(&settings), remains, self.reports.clone());
        let reports = self.reports.clone();
        tokio::spawn(async move {
            // Codecs of others see bytes of strangers: a panic there costs this publisher alone.
            if tokio::spawn(publisher.run(source)).await.is_err() {
                let _ = reports.send((key, Report::Died)).await;
            }
        });
    }
}

/// Tells an active publisher to end, as far as that can be done from here.
pub(super) fn in_the_way(active: &mut Active) -> InTheWay {
    active.stop = None;
    InTheWay {
        connection: active.connection,
        session: active.session.clone(),
    }
}
