//! Owns what viewers ask of the driver: sessions that watch, and what is told and chosen in them.

use super::Driver;
use super::events::News;
use super::layers::{inner_of, layers_of, only, resolve};
use super::requests::problem;
use super::stream::Stream;
use super::views::state_of;
use super::whip::intake;
use crate::clock;
use crate::control::{CounterOffer, Event, EventKinds, LayerWish, Posted, StreamName, StreamState};
use crate::load::Newcomer;
use crate::problem::Problem;
use link::ids::StreamId;
use session::{Cause, Kind, SessionId, SessionView};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::time::Time;

/// Of all connections, this part may be held by event streams: whoever comes to watch must find
/// room.
const READERS_PART: usize = 2;

/// Seconds after which a reader that found no room may try again.
const READERS_RETRY_AFTER_SECS: u32 = 10;

impl Driver {
    /// Answers an offer, or makes one to a viewer whose own has nothing in common with the stream
    /// or is empty.
    pub(super) fn whep_post(
        &mut self,
        who: Newcomer,
        name: &StreamName,
        offer: &str,
    ) -> Result<Posted, Problem> {
        self.must_not_drain(who)?;
        self.room_for(who)?;
        let now = clock::now();
        let latency = self.config.borrow().stream_settings(name).latency;
        let delay = latency.playout_delay();
        let is_empty = offer.trim().is_empty();
        let answered =
            (!is_empty).then(|| self.sessions.whep_post(now, name.as_str(), offer, delay));
        let posted = match answered {
            Some(Ok(created)) => Posted::Answered(created.into()),
            Some(Err(error)) if error.status != 406 => return Err(problem(&error)),
            nothing_in_common => {
                if let Some(Err(error)) = nothing_in_common {
                    tracing::debug!(stream = %name, %error, "counter-offer");
                }
                let counter = self.sessions.whep_counter(now, name.as_str(), delay);
                let counter = counter.map_err(|error| problem(&error))?;
                Posted::Countered(CounterOffer {
                    id: counter.id.as_str().to_owned(),
                    offer: counter.offer,
                    etag: counter.etag,
                    valid: Duration::from_nanos(counter.valid.0),
                })
            }
        };
        self.streams.count_session(name);
        self.viewer_came();
        Ok(posted)
    }

    pub(super) fn open_events(&mut self, id: &str, kinds: EventKinds) -> Result<u64, Problem> {
        let viewer = self.viewer(id)?;
        let news = self.news(viewer.stream);
        Ok(self
            .events
            .open(viewer.stream, id, viewer.video_section, kinds, news))
    }

    pub(super) fn read_events(
        &mut self,
        id: &str,
        number: u64,
    ) -> Result<mpsc::Receiver<Event>, Problem> {
        let viewer = self.viewer(id)?;
        let most = self.config.borrow().http.connections_max / READERS_PART;
        if self.events.readers() >= most {
            return Err(readers_full(most));
        }
        let news = self.news(viewer.stream);
        let events = self.events.read(viewer.stream, id, number, &news);
        events.ok_or_else(unknown_events)
    }

    pub(super) fn close_events(&mut self, id: &str, number: u64) -> Result<(), Problem> {
        let viewer = self.viewer(id)?;
        match self.events.close(viewer.stream, id, number) {
            true => Ok(()),
            false => Err(unknown_events()),
        }
    }

    pub(super) fn choose_layer(&mut self, id: &str, wish: &LayerWish) -> Result<(), Problem> {
        let viewer = self.viewer(id)?;
        let layers = self.news(viewer.stream).layers;
        let pin = resolve(wish, viewer.video_section, &layers)?;
        let chosen = self.sessions.choose_layer(id, pin);
        chosen.map_err(|error| problem(&error))
    }

    /// The name of the layer that a viewer has chosen.
    pub(super) fn layer_of(&self, view: &SessionView) -> Option<String> {
        let lane = view.pin.lane?;
        let mut layers = self.news(view.stream).layers.into_iter();
        let chosen = layers.find(|layer| layer.lane == lane)?;
        Some(chosen.encoding_id)
    }

    /// The name of the layer in this lane, if the stream has several.
    pub(super) fn layer_in(&self, stream: StreamId, lane: u32) -> Option<String> {
        let mut streams = self.streams.iter().map(|(_, stream)| stream);
        let active = streams.find(|one| one.id == stream)?.active.as_ref()?;
        let mut encodings = active.encodings.iter();
        match encodings.find(|one| u32::try_from(one.lane) == Ok(lane)) {
            Some(found) => Some(found.name.clone()),
            None => (!inner_of(active, usize::try_from(lane).ok()?).is_empty()).then(only),
        }
    }

    /// True if the layer in this lane has spatial or temporal layers inside.
    pub(super) fn has_inner_layers(&self, stream: StreamId, lane: u32) -> bool {
        let mut streams = self.streams.iter().map(|(_, stream)| stream);
        let active = streams
            .find(|one| one.id == stream)
            .and_then(|one| one.active.as_ref());
        let lane = usize::try_from(lane).unwrap_or(usize::MAX);
        active.is_some_and(|active| !inner_of(active, lane).is_empty())
    }

    /// A viewer's session is over: its event stream ends, with the advice to open another session
    /// if it was not the viewer who wanted it to end.
    pub(super) fn end_events(&mut self, stream: StreamId, session: &SessionId, cause: Cause) {
        let comes_again = match cause {
            Cause::FormatChanged
            | Cause::StreamClosed
            | Cause::Consent
            | Cause::KeyWornOut
            | Cause::Refused
            | Cause::Lost
            | Cause::Drained => true,
            Cause::Deleted
            | Cause::Operator
            | Cause::Expired
            | Cause::Handshake(_)
            | Cause::PeerClosed
            | Cause::Bye
            | Cause::Silent
            | Cause::Answer
            | Cause::TakenOver => false,
        };
        let invitation = comes_again.then(|| match cause {
            Cause::Drained => self.invitation(stream),
            _ => "{}".to_owned(),
        });
        self.events.end(stream, session.as_str(), invitation);
    }

    /// Tells at once whose media has begun or ceased to come in.
    pub(super) fn tell_live(&mut self, now: Time) {
        if self.events.are_unwanted() {
            return;
        }
        let streams = self.streams.iter().map(|(_, stream)| stream);
        let concerned = streams.filter(|stream| self.events.concern(stream.id));
        let states: Vec<_> = concerned
            .map(|stream| (stream.id, self.is_live(now, stream)))
            .collect();
        for (stream, is_live) in states {
            self.events.on_live(stream, is_live);
        }
    }

    /// Tells everything that has changed.
    pub(super) fn tell_news(&mut self, now: Time) {
        if self.events.are_unwanted() {
            return;
        }
        let viewers: BTreeMap<u32, u32> = self
            .sessions
            .stream_views()
            .map(|view| (view.id.index, view.viewers))
            .collect();
        let streams = self.streams.iter().map(|(_, stream)| stream);
        let concerned = streams.filter(|stream| self.events.concern(stream.id));
        let all: Vec<_> = concerned
            .map(|stream| {
                let ours = viewers.get(&stream.id.index).copied().unwrap_or(0);
                (stream.id, self.news_of(now, stream, ours))
            })
            .collect();
        for (stream, news) in all {
            self.events.on_news(now, stream, news);
        }
    }

    fn viewer(&self, id: &str) -> Result<SessionView, Problem> {
        let view = self.sessions.session_view(id);
        let viewer = view.filter(|view| view.kind == Kind::Viewer);
        viewer.ok_or_else(super::requests::unknown_session)
    }

    fn news(&self, stream: StreamId) -> News {
        let mut views = self.sessions.stream_views();
        let ours = views
            .find(|view| view.id == stream)
            .map_or(0, |view| view.viewers);
        let mut streams = self.streams.iter().map(|(_, stream)| stream);
        let found = streams.find(|one| one.id == stream);
        found.map_or_else(News::default, |stream| {
            self.news_of(clock::now(), stream, ours)
        })
    }

    fn news_of(&self, now: Time, stream: &Stream, viewers: u32) -> News {
        let is_live = self.is_live(now, stream);
        News {
            is_live,
            viewers: viewers.max(self.served(stream.id)),
            layers: layers_of(stream, is_live),
        }
    }

    fn is_live(&self, now: Time, stream: &Stream) -> bool {
        let state = state_of(now, stream, &intake(&self.region, stream.id));
        state == StreamState::Live
    }
}

fn unknown_events() -> Problem {
    Problem::new(
        404,
        "event-stream-unknown",
        "There is no such event stream",
        "the session has no event stream of this number: it was ended or replaced",
        "make another by POST to the address in the Link header of the session",
    )
}

fn readers_full(most: usize) -> Problem {
    Problem::new(
        503,
        "event-streams-full",
        "No room for another reader of events",
        format!("{most} event streams are read, half of all connections"),
        "try again later; an operator may raise http.connections_max",
    )
    .retry_after(READERS_RETRY_AFTER_SECS)
}
