//! Owns pushes: publishers that send plain RTP, or SRTP with keys that they have told, and hear
//! nothing back. From their description to the commands that let them in, and every way out.

mod kept;
mod pushes;

use crate::description::StreamDescription;
use crate::output::{Cause, Output};
use crate::refusal::SignalError;
use crate::sdp::crypto::KEY_BYTES_MAX;
use crate::sdp::offer::Offer;
use crate::sdp::push::{Origins, PushPlan, PushWay, plan};
use crate::sdp::push_answer::Receiver;
use crate::session::{Kind, SessionId};
use crate::sessions::Sessions;
use crate::signalling::ID_CHARACTERS;
use crate::whip::{encodings, lane_of, not_open, taken};
use link::command::{
    AUDIO, AddPublisher, Command, Origin, PassPublisher, TRACKS_MAX, TrackIn, VIDEO,
};
use link::ids::{CoreId, StreamId};
use link::keys::{MasterKey, Profile, SrtpKeys};
use link::lanes::LANES_MAX;
use std::net::SocketAddr;
use wire::peer::Peer;
use wire::time::{Span, Time};
use zeroize::Zeroizing;

pub(crate) use kept::is_push;
pub(crate) use pushes::{Push, Pushes};
use pushes::{RESEND_FIRST, RESEND_LAST};

/// What a server asks for that is going to push.
#[derive(Clone, Copy, Debug)]
pub struct PushRequest<'a> {
    /// The description of what it sends.
    pub offer: &'a str,
    /// Where it sends from, as far as that is not in the description.
    pub origins: Origins,
    /// The push ends when nothing has come for so long.
    pub timeout: Span,
}

/// A push that was made.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Its name, for the `Location`.
    pub id: SessionId,
    /// The SDP answer.
    pub answer: String,
    /// What the stream consists of.
    pub description: StreamDescription,
    /// Where its packets come from; one address if both tracks come from there.
    pub sources: Vec<SocketAddr>,
}

/// A push as others see it.
#[derive(Clone, Debug)]
pub struct PushView {
    /// Its name.
    pub id: SessionId,
    /// What it feeds.
    pub stream: StreamId,
    /// The name of that stream.
    pub stream_name: String,
    /// When it was made.
    pub created: Time,
    /// Something has come.
    pub is_heard: bool,
    /// What the stream consists of.
    pub description: StreamDescription,
    /// Where its packets come from.
    pub sources: Vec<SocketAddr>,
    /// The worker that opens them.
    pub core: CoreId,
    /// What protects them.
    pub profile: Profile,
}

impl Sessions {
    /// What a stream would consist of if this were taken; changes nothing but a counter. For
    /// whoever opens streams only for those who can publish.
    ///
    /// # Errors
    /// 400, 406, 413, 422: the description, as of [`Sessions::push_post`].
    pub fn push_check(
        &mut self,
        request: &PushRequest<'_>,
    ) -> Result<StreamDescription, SignalError> {
        let candidates = &self.config.candidates;
        let description = Offer::parse(request.offer)
            .and_then(|offer| Ok(plan(&offer, &request.origins, candidates)?.description));
        description.inspect_err(|_| self.counters.offer_refused += 1)
    }

    /// Makes a push that feeds `stream`, which is open. With `takeover` whoever feeds it now by a
    /// session or a push ends.
    ///
    /// # Errors
    /// 404: no such stream; 409: it has a publisher, and `takeover` is not wanted, or the sender's
    /// address is somebody else's here; 400, 413, 422: the description; 406: no codec that viewers
    /// could be sent; 503: there is no place for it. Nothing was made or ended.
    pub fn push_post(
        &mut self,
        now: Time,
        stream: StreamId,
        request: &PushRequest<'_>,
        takeover: bool,
    ) -> Result<Pushed, SignalError> {
        let found = self.streams.by_id(stream).ok_or_else(not_open)?;
        let session = found.publisher;
        if !takeover && (session.is_some() || self.pushes.0.contains_key(&stream.index)) {
            return Err(taken());
        }
        let refused = &mut self.counters.offer_refused;
        let offer = Offer::parse(request.offer).inspect_err(|_| *refused += 1)?;
        let plan = plan(&offer, &request.origins, &self.config.candidates)
            .inspect_err(|_| *refused += 1)?;
        let sources = sources(&plan);
        for source in &sources {
            self.must_be_free(stream, *source)?;
        }
        let place = self.table.vacancy(now).ok_or_else(|| self.full())?;
        if let Some(before) = session {
            self.close(now, before.index, Cause::TakenOver, true);
        }
        self.close_push(now, stream.index, Cause::TakenOver);
        let keys: Zeroizing<[[u8; KEY_BYTES_MAX]; TRACKS_MAX]> =
            Zeroizing::new([self.random.bytes(), self.random.bytes()]);
        let receiver = Receiver {
            candidates: &self.config.candidates,
            session_number: self.random.session_number(),
        };
        let pushed = Pushed {
            id: SessionId(self.random.text(ID_CHARACTERS)),
            answer: plan.write(&receiver, &keys),
            description: plan.description,
            sources,
        };
        let (id, add) = (pushed.id.clone(), add_publisher(stream, &plan));
        let core = self.pushes.emptiest(self.config.cores);
        let push = Push::new(now, id, place, add, core, request.timeout);
        self.pushes.0.insert(stream.index, push);
        self.counters.publisher_created += 1;
        self.counters.publisher_established += 1;
        self.output(Output::PublisherReady {
            session: pushed.id.clone(),
            viewer: None,
            stream,
        });
        self.send_push(stream.index, None);
        self.keep_push(stream.index);
        self.check_offered(now, stream);
        Ok(pushed)
    }

    /// Packets of these streams came last at these times, as workers have counted. To be told about
    /// once a second: a push of which nothing comes ends.
    pub fn pushes_heard(&mut self, arrival: impl Fn(StreamId) -> Time) {
        for push in self.pushes.0.values_mut() {
            let arrival = arrival(push.add.stream);
            // What came before it was of another publisher.
            if arrival > push.heard_at {
                push.heard_at = arrival;
                push.is_heard = true;
            }
        }
    }

    /// All pushes.
    pub fn push_views(&self) -> impl Iterator<Item = PushView> {
        self.pushes.0.values().map(|push| self.push_view_of(push))
    }

    /// The push with this name.
    #[must_use]
    pub fn push_view(&self, id: &str) -> Option<PushView> {
        let push = self.pushes.0.get(&self.pushes.by_id(id)?)?;
        Some(self.push_view_of(push))
    }

    fn push_view_of(&self, push: &Push) -> PushView {
        let name = self.streams.name(push.add.stream);
        let known = self.streams.by_id(push.add.stream);
        PushView {
            id: push.id.clone(),
            stream: push.add.stream,
            stream_name: name.unwrap_or_default().to_owned(),
            created: push.created,
            is_heard: push.is_heard,
            description: known.map(|known| known.description).unwrap_or_default(),
            sources: push.peers().map(SocketAddr::from).collect(),
            core: push.core,
            profile: push.add.keys.profile,
        }
    }

    /// Ends the push of the stream with this index, if there is one.
    pub(crate) fn close_push(&mut self, now: Time, index: u32, cause: Cause) {
        let Some(push) = self.pushes.0.remove(&index) else {
            return;
        };
        let stream = push.add.stream;
        for core in (0..self.config.cores).map(CoreId) {
            self.command(core, Command::RemovePublisher(stream));
        }
        self.table.release(now, push.place);
        self.counters.publisher_closed += 1;
        self.output(Output::Closed {
            session: push.id.clone(),
            kind: Kind::Push,
            viewer: Some(push.place),
            parts: Vec::new(),
            stream,
            cause,
        });
    }

    /// Does what is due at `now`.
    pub(crate) fn pushes_due(&mut self, now: Time) {
        while let Some(index) = self.pushes.due(now) {
            let Some(push) = self.pushes.0.get_mut(&index) else {
                return;
            };
            if push.expires() <= now {
                self.close_push(now, index, Cause::Silent);
            } else if push.gives_up_at().is_some_and(|at| at <= now) {
                self.close_push(now, index, Cause::Refused);
            } else {
                push.resend_wait = Span(push.resend_wait.0.saturating_mul(2).min(RESEND_LAST.0));
                push.resend_at = now + push.resend_wait;
                self.counters.viewer_resent += 1;
                self.send_push(index, None);
            }
        }
    }

    /// A worker has lost everything.
    pub(crate) fn pushes_restarted(&mut self, now: Time, core: CoreId) {
        let all: Vec<u32> = self.pushes.0.keys().copied().collect();
        for index in all {
            if let Some(push) = self.pushes.0.get_mut(&index)
                && push.core == core
            {
                push.awaited = true;
                push.refused_since = None;
                push.resend_wait = RESEND_FIRST;
                push.resend_at = now + RESEND_FIRST;
                self.counters.viewer_resent += 1;
            }
            self.send_push(index, Some(core));
        }
    }

    /// The worker takes the push of this stream.
    pub(crate) fn on_push_added(&mut self, core: CoreId, stream: StreamId) {
        if let Some(push) = self.pushes.at(core, stream) {
            push.awaited = false;
            push.refused_since = None;
        }
    }

    /// It does not, or not yet: somebody else writes the log for a moment.
    pub(crate) fn on_push_refused(&mut self, now: Time, core: CoreId, stream: StreamId) {
        if let Some(push) = self.pushes.at(core, stream) {
            // Also when the word before was of another publisher of the stream.
            push.awaited = true;
            push.refused_since.get_or_insert(now);
        }
    }

    /// Tells workers of a push, or one alone: which has it, and the others whose it is.
    fn send_push(&mut self, index: u32, only: Option<CoreId>) {
        let Some(push) = self.pushes.0.get(&index) else {
            return;
        };
        let (owner, add) = (push.core, push.add);
        let pass = PassPublisher {
            stream: add.stream,
            core: owner,
            peers: [add.peer, add.audio.peer],
        };
        let cores = (0..self.config.cores).map(CoreId);
        for core in cores.filter(|core| only.is_none_or(|only| only == *core)) {
            let command = match core == owner {
                true => Command::AddPublisher(add),
                false => Command::PassPublisher(pass),
            };
            self.command(core, command);
        }
    }

    /// Packets are told apart by where they come from.
    fn must_be_free(&self, stream: StreamId, source: SocketAddr) -> Result<(), SignalError> {
        let peer = Peer::from(source);
        let mut others = self.pushes.0.values();
        let is_pushed = others.any(|push| {
            push.add.stream.index != stream.index && push.peers().any(|other| other == peer)
        });
        match is_pushed || !self.table.by_peer(peer).is_empty() {
            true => Err(source_taken(source)),
            false => Ok(()),
        }
    }
}

/// One address if both tracks come from there.
fn sources(plan: &PushPlan<'_>) -> Vec<SocketAddr> {
    let mut sources: Vec<SocketAddr> = plan.ways.iter().flatten().map(|way| way.from).collect();
    sources.dedup();
    sources
}

fn add_publisher(stream: StreamId, plan: &PushPlan<'_>) -> AddPublisher {
    let mut lanes = [TrackIn::default(); LANES_MAX];
    for (index, track) in plan.tracks.iter().enumerate() {
        if let Some(track) = track {
            lanes[index] = lane_of(index, track, &plan.description);
        }
    }
    encodings(&mut lanes, plan.simulcast.as_ref());
    let simulcast = plan.simulcast.as_ref();
    let mut ways = [plan.ways[VIDEO].as_ref(), plan.ways[AUDIO].as_ref()]
        .into_iter()
        .flatten();
    let first = ways.next().map(origin).unwrap_or_default();
    let second = ways.next().map(origin);
    let second = second.filter(|second| second.peer != first.peer);
    AddPublisher {
        stream,
        viewer: None,
        peer: first.peer,
        keys: SrtpKeys {
            profile: first.profile,
            send: MasterKey::default(),
            receive: first.key,
        },
        audio: second.unwrap_or_default(),
        lanes,
        rid_id: simulcast.map_or(0, |simulcast| simulcast.rid_id),
        repaired_rid_id: 0,
        transport_cc_id: 0,
        remb_bps: 0,
    }
}

fn origin(way: &PushWay) -> Origin {
    let crypto = way.crypto.as_ref();
    Origin {
        peer: way.from.into(),
        profile: crypto.map_or(Profile::Plain, |crypto| crypto.profile),
        key: crypto.map(|crypto| crypto.key).unwrap_or_default(),
    }
}

fn source_taken(source: SocketAddr) -> SignalError {
    SignalError::new(
        409,
        "source-taken",
        format!("Packets from {source} are those of another session or push already."),
        "Send from another port, or end the other one first.",
    )
}
