//! Owns pushes on the driver's side: the log that they feed, whether anything comes of them, and
//! publishers that an earlier life of control has left behind.

use super::Driver;
use super::stream::Active;
use super::streams::{InTheWay, Streams, in_the_way};
use super::views::profile_name;
use super::whip::{intake, refused};
use crate::clock;
use crate::config::Config;
use crate::control::{
    Origins, PublisherKind, PushCreated, PushPost, SessionState, SessionView, StreamName,
};
use crate::problem::Problem;
use link::command::Command;
use link::ids::StreamId;
use session::{PushRequest, PushView, Sessions};
use wire::time::{Span, Time};

/// A publisher whom this process has not let in, and of whom nothing has come for so long, gives up
/// its log. One by WebRTC has lost consent by then, after 30 s, and has gone by itself.
const ORPHAN_AFTER: Span = Span::secs(40);

impl Driver {
    pub(super) fn push_post(&mut self, post: &PushPost) -> Result<PushCreated, Problem> {
        let (name, offer, origins) = (&post.stream, &post.offer, post.origins);
        self.room_to_publish(name)?;
        let config = self.config.borrow().clone();
        let (created, in_the_way) =
            self.streams
                .publish_push(name, offer, origins, &config, &mut self.sessions)?;
        self.clear(name, in_the_way);
        tracing::info!(stream = %name, "push");
        Ok(created)
    }

    /// Tells pushes what has come of them, as workers have counted.
    pub(super) fn hear_pushes(&mut self) {
        let region = &self.region;
        self.sessions
            .pushes_heard(|stream| intake(region, stream).arrival);
    }

    /// No worker opens what a publisher of this stream sends any more.
    pub(super) fn forget_publisher(&mut self, stream: StreamId) {
        for core in self.lines.cores() {
            self.lines.command(core, Command::RemovePublisher(stream));
        }
    }

    /// Frees the logs of publishers that nobody here knows and that are silent: pushes of an
    /// earlier life of control have nobody else who would end them.
    pub(super) fn release_orphans(&mut self, now: Time) {
        for stream in self.streams.orphans(now) {
            tracing::info!(
                stream = stream.index,
                "a publisher of old is silent: forgotten"
            );
            self.forget_publisher(stream);
        }
    }
}

impl Streams {
    /// Lets a push in.
    pub(super) fn publish_push(
        &mut self,
        name: &StreamName,
        offer: &str,
        origins: Origins,
        config: &Config,
        sessions: &mut Sessions,
    ) -> Result<(PushCreated, InTheWay), Problem> {
        let request = PushRequest {
            offer,
            origins,
            timeout: Span::millis(config.streams.push_timeout_ms),
        };
        // A bad description opens no stream.
        sessions
            .push_check(&request)
            .map_err(|error| super::requests::problem(&error))?;
        let epoch = self.next_epoch();
        let settings = config.stream_settings(name);
        let region = self.region.clone();
        let stream = self
            .vacate(name, &settings, sessions)
            .map_err(|refusal| refused(name, refusal))?;
        let pushed = sessions
            .push_post(clock::now(), stream.id, &request, true)
            .map_err(|error| super::requests::problem(&error))?;
        let mut in_the_way = stream.active.as_mut().map(in_the_way).unwrap_or_default();
        // A session or push has been closed by the newcomer already.
        in_the_way.session = None;
        stream.start(Active {
            epoch,
            session: Some(pushed.id.clone()),
            remote: pushed.sources.first().copied(),
            sources: pushed.sources,
            taken_before: intake(&region, stream.id),
            ..super::newcomer(PublisherKind::Push)
        });
        stream.negotiated = pushed.description;
        let created = PushCreated {
            id: pushed.id.as_str().to_owned(),
            answer: pushed.answer,
        };
        Ok((created, in_the_way))
    }

    /// Streams whose log somebody writes whom this process does not know, and nothing comes.
    pub(super) fn orphans(&self, now: Time) -> Vec<StreamId> {
        let unknown = self.table.values().filter(|stream| {
            stream.remains.is_none() && stream.active.is_none() && stream.next.is_none()
        });
        let silent = unknown.filter(|stream| {
            let arrival = intake(&self.region, stream.id).arrival;
            now.since(arrival.max(stream.met_at)) >= ORPHAN_AFTER
        });
        silent.map(|stream| stream.id).collect()
    }
}

/// A push among the sessions.
pub(super) fn push_view(push: &PushView) -> SessionView {
    let none = || "none".to_owned();
    SessionView {
        id: push.id.as_str().to_owned(),
        state: match push.is_heard {
            true => SessionState::Connected,
            false => SessionState::New,
        },
        kind: session::Kind::Push.name().to_owned(),
        stream: push.stream_name.clone(),
        remote: push.sources.first().map(ToString::to_string),
        created_unix_ms: clock::unix_ms(push.created),
        rtt_ms: None,
        loss: None,
        packets: 0,
        bytes: 0,
        retransmissions: 0,
        nacks: 0,
        plis: 0,
        core: Some(push.core.0),
        ice_state: none(),
        dtls_state: none(),
        srtp_profile: Some(profile_name(push.profile).to_owned()),
        layer: None,
        layer_sent: None,
        encodings: Vec::new(),
        spatial_layer_sent: None,
        temporal_layer_sent: None,
        estimate_bps: None,
    }
}
