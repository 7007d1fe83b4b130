//! Owns the event streams of viewers (webrtc-http-egress-events section 4): who wants to be told
//! what, and what was told. Each session has one at most, which ends with it.

use super::layers::{self, LayerView};
use crate::control::{Event, EventKind, EventKinds};
use link::ids::StreamId;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use wire::time::{Span, Time};

/// Events that may wait for a reader: there are few a second. One that is further behind is cut; it
/// is told how things are when it comes again.
const QUEUE_MAX: usize = 16;

/// How often the rates of layers are told when nothing else about them changes.
const LAYERS_INTERVAL: Span = Span::secs(5);

/// What viewers are told about a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Media comes in.
    pub is_live: bool,
    /// How many watch.
    pub viewers: u32,
    /// The layers of its video.
    pub layers: Vec<LayerView>,
}

/// The event streams of all sessions.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// By the index of the stream.
    audiences: BTreeMap<u32, Audience>,
    numbers: u64,
}

/// Those who want to be told about one stream.
#[derive(Debug, Default)]
struct Audience {
    told: News,
    layers_told_at: Time,
    /// By session.
    feeds: BTreeMap<String, Feed>,
}

/// One event stream.
#[derive(Debug)]
struct Feed {
    /// Part of its URL.
    number: u64,
    kinds: EventKinds,
    /// The viewer's media section with the video.
    section: Option<usize>,
    /// What the viewer has been told last, or knew when it came.
    knows_live: bool,
    /// It has been asked to come again.
    is_asked: bool,
    /// Kept for a reader that is not there now.
    reconnect: Option<Event>,
    reader: Option<mpsc::Sender<Event>>,
}

impl Events {
    /// Makes the event stream of a session; the one before ends. Its number is part of its URL.
    pub(super) fn open(
        &mut self,
        stream: StreamId,
        session: &str,
        section: Option<usize>,
        kinds: EventKinds,
        news: News,
    ) -> u64 {
        self.numbers += 1;
        let feed = Feed {
            number: self.numbers,
            kinds,
            section,
            knows_live: news.is_live,
            is_asked: false,
            reconnect: None,
            reader: None,
        };
        let audience = self.audiences.entry(stream.index).or_insert(Audience {
            told: news,
            ..Audience::default()
        });
        audience.feeds.insert(session.to_owned(), feed);
        self.numbers
    }

    /// Gives the event stream of this number to a reader, which begins with how things are; the
    /// reader before ends. `None`: there is no such stream.
    pub(super) fn read(
        &mut self,
        stream: StreamId,
        session: &str,
        number: u64,
        news: &News,
    ) -> Option<mpsc::Receiver<Event>> {
        let feed = self.feed(stream, session, number)?;
        let (reader, events) = mpsc::channel(QUEUE_MAX);
        feed.reader = Some(reader);
        if news.is_live || feed.knows_live {
            feed.tell_live(news.is_live);
        }
        feed.tell_layers(&news.layers);
        feed.tell_viewers(news.viewers);
        if let Some(event) = feed.reconnect.take() {
            feed.tell(event.kind, || event.data);
        }
        Some(events)
    }

    /// Ends the event stream of this number; false if there is none.
    pub(super) fn close(&mut self, stream: StreamId, session: &str, number: u64) -> bool {
        let is_there = self.feed(stream, session, number).is_some();
        if is_there {
            self.end(stream, session, None);
        }
        is_there
    }

    /// A session is over; `reconnect`: its viewer should open another, and is told so with this.
    pub(super) fn end(&mut self, stream: StreamId, session: &str, reconnect: Option<String>) {
        let Some(audience) = self.audiences.get_mut(&stream.index) else {
            return;
        };
        if let Some(mut feed) = audience.feeds.remove(session)
            && let Some(data) = reconnect
            && !feed.is_asked
        {
            feed.tell(EventKind::Reconnect, || data);
        }
        if audience.feeds.is_empty() {
            self.audiences.remove(&stream.index);
        }
    }

    /// Asks so many viewers, who have not been asked, to come again elsewhere: with the data that
    /// there is for their stream. Stream by stream, so that the node which they go to has to fetch
    /// one after the other. Says how many it were.
    pub(super) fn ask_to_reconnect(&mut self, most: u64, data: &BTreeMap<u32, String>) -> u64 {
        let mut asked = 0;
        for (stream, audience) in &mut self.audiences {
            let data = data.get(stream).map_or("{}", |data| data);
            let feeds = audience.feeds.values_mut();
            for feed in feeds.filter(|feed| feed.listens() && !feed.is_asked) {
                if asked == most {
                    return asked;
                }
                asked += 1;
                feed.ask(data);
            }
        }
        asked
    }

    /// Nobody is asked to come again any more; those who have heard of it may go.
    pub(super) fn take_back(&mut self) {
        let audiences = self.audiences.values_mut();
        for feed in audiences.flat_map(|audience| audience.feeds.values_mut()) {
            feed.is_asked = false;
            feed.reconnect = None;
        }
    }

    /// Of those who want to know when to come again, how many have been asked, and have not.
    pub(super) fn listeners(&self) -> (u64, u64) {
        let feeds = self.audiences.values().flat_map(|a| a.feeds.values());
        let listening = feeds.filter(|feed| feed.listens());
        listening.fold((0, 0), |(asked, others), feed| match feed.is_asked {
            true => (asked + 1, others),
            false => (asked, others + 1),
        })
    }

    /// True if somebody wants to be told about this stream.
    pub(super) fn concern(&self, stream: StreamId) -> bool {
        self.audiences.contains_key(&stream.index)
    }

    /// True if nobody wants to be told anything.
    pub(super) fn are_unwanted(&self) -> bool {
        self.audiences.is_empty()
    }

    /// How many readers there are now.
    pub(super) fn readers(&self) -> usize {
        let feeds = self.audiences.values().flat_map(|a| a.feeds.values());
        let readers = feeds.filter_map(|feed| feed.reader.as_ref());
        readers.filter(|reader| !reader.is_closed()).count()
    }

    /// Whether media of a stream comes in: told at once if it has changed.
    pub(super) fn on_live(&mut self, stream: StreamId, is_live: bool) {
        let Some(audience) = self.audiences.get_mut(&stream.index) else {
            return;
        };
        if audience.told.is_live == is_live {
            return;
        }
        audience.told.is_live = is_live;
        for feed in audience.feeds.values_mut() {
            feed.tell_live(is_live);
        }
    }

    /// How things are with a stream: what has changed is told. About once a second.
    pub(super) fn on_news(&mut self, now: Time, stream: StreamId, news: News) {
        self.on_live(stream, news.is_live);
        let Some(audience) = self.audiences.get_mut(&stream.index) else {
            return;
        };
        let told = &mut audience.told;
        let rates_due = now.since(audience.layers_told_at) >= LAYERS_INTERVAL;
        let layers = layers::have_changed(&told.layers, &news.layers)
            || (rates_due && told.layers != news.layers);
        let viewers = told.viewers != news.viewers;
        for feed in audience.feeds.values_mut() {
            if layers {
                feed.tell_layers(&news.layers);
            }
            if viewers {
                feed.tell_viewers(news.viewers);
            }
        }
        if layers {
            audience.layers_told_at = now;
            told.layers = news.layers;
        }
        told.viewers = news.viewers;
    }

    fn feed(&mut self, stream: StreamId, session: &str, number: u64) -> Option<&mut Feed> {
        let feed = self
            .audiences
            .get_mut(&stream.index)?
            .feeds
            .get_mut(session);
        feed.filter(|feed| feed.number == number)
    }
}

impl Feed {
    /// It wants to know when to come again.
    fn listens(&self) -> bool {
        self.kinds.contains(EventKind::Reconnect)
    }

    fn ask(&mut self, data: &str) {
        self.is_asked = true;
        let kind = EventKind::Reconnect;
        if !self.tell(kind, || data.to_owned()) {
            let data = data.to_owned();
            self.reconnect = Some(Event { kind, data });
        }
    }

    fn tell_live(&mut self, is_live: bool) {
        let kind = match is_live {
            true => EventKind::Active,
            false => EventKind::Inactive,
        };
        self.tell(kind, || "{}".to_owned());
        // A reader that is not there learns when it comes how things are then.
        if self.reader.is_some() {
            self.knows_live = is_live;
        }
    }

    fn tell_layers(&mut self, layers: &[LayerView]) {
        if let Some(section) = self.section.filter(|_| !layers.is_empty()) {
            self.tell(EventKind::Layers, || layers::data(section, layers));
        }
    }

    fn tell_viewers(&mut self, viewers: u32) {
        self.tell(EventKind::ViewerCount, || {
            format!("{{\"viewercount\":{viewers}}}")
        });
    }

    /// False if it has no reader now, or none that keeps up: that one is cut.
    fn tell(&mut self, kind: EventKind, data: impl FnOnce() -> String) -> bool {
        if !self.kinds.contains(kind) {
            return true;
        }
        let Some(reader) = &self.reader else {
            return false;
        };
        let data = data();
        let told = reader.try_send(Event { kind, data }).is_ok();
        if !told {
            self.reader = None;
        }
        told
    }
}

#[cfg(test)]
mod tests;
