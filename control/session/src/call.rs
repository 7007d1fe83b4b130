//! Owns the calls: sessions with another server to which we have made the offer, by WHIP (RFC 9725)
//! to send it a stream of ours, or by WHEP (draft-ietf-wish-whep-03) to receive one of its own.

use crate::agent::Agent;
use crate::counter::Awaited;
use crate::description::StreamDescription;
use crate::dtls::Dtls;
use crate::output::Cause;
use crate::refusal::SignalError;
use crate::sdp::answer::Sending;
use crate::sdp::offer::Offer;
use crate::sdp::terms::Terms;
use crate::sdp::{counter, plan, publish, pull};
use crate::session::SessionId;
use crate::sessions::Sessions;
use crate::signalling::{Newcomer, section_of, unknown_session};
use crate::whip::{not_open, publishing, taken};
use link::command::{TRACKS_MAX, TrackOut, VIDEO};
use link::ids::{StreamId, ViewerId};
use wire::time::Time;

/// Stands for the stream of a pull whose answer has not come: no log has this index.
const NO_STREAM: StreamId = StreamId {
    index: u32::MAX,
    generation: 0,
};

/// An offer of ours to another server. It is forgotten when its answer has not come within
/// `Config::handshake_timeout`.
#[derive(Clone, Debug)]
pub struct Call {
    /// The session's name here.
    pub id: SessionId,
    /// Its viewer.
    pub viewer: ViewerId,
    /// The SDP offer.
    pub offer: String,
}

/// What is received by a call.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The session's name here.
    pub id: SessionId,
    /// What the answer lets us expect.
    pub description: StreamDescription,
}

impl Sessions {
    /// An offer to receive a stream: all that could be passed on.
    ///
    /// # Errors
    /// 503: full.
    pub fn pull_offer(&mut self, now: Time) -> Result<Call, SignalError> {
        let viewer = self.admit(now)?;
        let created = self.call(viewer, NO_STREAM);
        let created = self.create(now, created, |local, _| pull::write(local));
        self.await_answer(now, viewer, None);
        Ok(Call {
            id: created.id,
            viewer,
            offer: created.answer,
        })
    }

    /// An offer to send a stream, just as it is.
    ///
    /// # Errors
    /// 404: no such stream; 409: the stream has no media yet; 503: full.
    pub fn push_offer(&mut self, now: Time, stream: &str) -> Result<Call, SignalError> {
        let stream = self.watchable(stream)?;
        let viewer = self.admit(now)?;
        let awaited = Awaited {
            ssrcs: self.ssrcs(),
            playout_delay: None,
            layered: self.is_layered(stream.id),
            passed: self.passed(stream.id),
        };
        let created = self.call(viewer, stream.id);
        let created = self.create(now, created, |local, config| {
            let sending = Sending {
                cname: &config.cname,
                ssrcs: awaited.ssrcs,
                playout_delay: false,
                layered: awaited.layered,
                passed: awaited.passed,
            };
            counter::write(&stream.description, local, &sending)
        });
        self.await_answer(now, viewer, Some(awaited));
        self.count_viewer(stream.id);
        Ok(Call {
            id: created.id,
            viewer,
            offer: created.answer,
        })
    }

    /// What would be received by this answer to [`Sessions::pull_offer`]. For whoever opens streams
    /// only for those who can publish.
    ///
    /// # Errors
    /// 400, 413, 422, 406: the answer.
    pub fn pull_check(&mut self, answer: &str) -> Result<StreamDescription, SignalError> {
        let answer = Offer::parse(answer).map_err(of_answer)?;
        let plan = publish::plan_answer(&answer).map_err(of_answer)?;
        Ok(plan.description)
    }

    /// Takes the answer to [`Sessions::pull_offer`]: what comes goes into `stream`, which is open.
    /// With `takeover` whoever feeds it now by a session or a push ends.
    ///
    /// # Errors
    /// 404: no such call or stream; 409: the stream has a publisher, and `takeover` is not wanted;
    /// 400, 413, 422, 406: the answer. The call has ended then.
    pub fn pull_answered(
        &mut self,
        now: Time,
        id: &str,
        stream: StreamId,
        answer: &str,
        takeover: bool,
    ) -> Result<Pulled, SignalError> {
        let index = self.unanswered_call(id)?;
        let taken = self.take_pull(now, index, stream, answer, takeover);
        self.end_if_refused(now, index, taken)
    }

    /// Takes the answer to [`Sessions::push_offer`].
    ///
    /// # Errors
    /// 404: no such call; 400, 413, 422: the answer. The call has ended then.
    pub fn push_answered(&mut self, now: Time, id: &str, answer: &str) -> Result<(), SignalError> {
        let index = self.unanswered_call(id)?;
        let taken = self.take_push(now, index, answer);
        self.end_if_refused(now, index, taken)
    }

    /// When something came last of each peer that we have called, as workers have counted: it shows
    /// that it lives. To be told about once a second.
    pub fn calls_heard(&mut self, heard: impl Fn(ViewerId) -> Option<Time>) {
        let calls = self.table.calls().map(|session| session.viewer.index);
        for index in calls.collect::<Vec<_>>() {
            if let Some(session) = self.table.get_mut(index)
                && let Some(at) = heard(session.viewer)
                && let Some(agent) = &mut session.agent
            {
                agent.on_heard(at);
            }
        }
    }

    fn take_pull(
        &mut self,
        now: Time,
        index: u32,
        stream: StreamId,
        answer: &str,
        takeover: bool,
    ) -> Result<Pulled, SignalError> {
        let found = self.streams.by_id(stream).ok_or_else(not_open)?;
        let before = found.publisher;
        if !takeover && (before.is_some() || self.pushes.feeds(stream)) {
            return Err(taken());
        }
        let answer = Offer::parse(answer).map_err(of_answer)?;
        let plan = publish::plan_answer(&answer).map_err(of_answer)?;
        if let Some(before) = before {
            self.close(now, before.index, Cause::TakenOver, true);
        }
        self.close_push(stream.index, Cause::TakenOver);
        let publishing = publishing(&plan, self.config.publisher_bitrate_max_bps);
        let description = plan.description;
        let sections = plan.tracks.iter().flatten().map(|track| track.section);
        let section = section_of(&answer, sections);
        if let Some(session) = self.table.get_mut(index) {
            session.stream = stream;
            session.publishing = Some(publishing);
            session.section = section;
            let viewer = session.viewer;
            if let Some(stream) = self.streams.by_id_mut(stream) {
                stream.publisher = Some(viewer);
            }
            self.counters.publisher_created += 1;
        }
        self.begin_call(now, index, plan.terms);
        let session = self.table.get(index).ok_or_else(unknown_session)?;
        Ok(Pulled {
            id: session.id.clone(),
            description,
        })
    }

    fn take_push(&mut self, now: Time, index: u32, answer: &str) -> Result<(), SignalError> {
        let session = self.table.get(index);
        let (awaited, stream) = session
            .and_then(|session| Some((session.awaited?, session.stream)))
            .ok_or_else(unknown_session)?;
        let description = self.streams.by_id(stream).map(|stream| stream.description);
        let answer = Offer::parse(answer).map_err(of_answer)?;
        let plan = plan::plan_answer(&answer, &description.unwrap_or_default());
        let plan = plan.map_err(of_answer)?;
        let how = (awaited.layered, awaited.passed);
        let tracks = self.tracks(&plan, awaited.ssrcs, None, how);
        let sections = plan.tracks.iter().flatten().map(|track| track.section);
        let section = section_of(&answer, sections);
        if let Some(session) = self.table.get_mut(index) {
            session.awaited = None;
            session.tracks = tracks;
            session.section = section;
            session.video_section = plan.tracks[VIDEO].map(|track| track.section);
        }
        self.begin_call(now, index, plan.terms);
        Ok(())
    }

    fn call(&mut self, viewer: ViewerId, stream: StreamId) -> Newcomer {
        Newcomer {
            viewer,
            stream,
            terms: Terms::unknown(),
            section: <(String, String)>::default(),
            video_section: None,
            tracks: [TrackOut::default(); TRACKS_MAX],
            publishing: None,
            agent: Some(Box::new(Agent::new(&mut self.random))),
        }
    }

    fn await_answer(&mut self, now: Time, viewer: ViewerId, awaited: Option<Awaited>) {
        if let Some(session) = self.table.get_mut(viewer.index) {
            // Whose certificate it has to be is not known yet.
            session.dtls = None;
            session.awaited = awaited;
            session.expires = now + self.config.handshake_timeout;
        }
        self.schedule(viewer.index);
    }

    /// The peer has said where it is and who: checks begin.
    fn begin_call(&mut self, now: Time, index: u32, terms: Terms) {
        let takes_v6 = self.config.candidates.iter().any(|own| own.is_ipv6());
        if let Some(session) = self.table.get_mut(index) {
            session.ice.answered(terms.remote_ice);
            match terms.dtls_client {
                true => session.dtls_client = Some(terms.fingerprints),
                false => session.dtls = Some(Dtls::server(terms.fingerprints)),
            }
            session.created = now;
            session.expires = now + self.config.check_timeout.min(self.config.handshake_timeout);
            if let Some(agent) = &mut session.agent {
                agent.begin(now, &terms.candidates, takes_v6);
            }
        }
        self.schedule(index);
    }

    fn unanswered_call(&self, id: &str) -> Result<u32, SignalError> {
        let index = self.table.by_id(id);
        let is_one = |index: &u32| {
            let session = self.table.get(*index);
            session.is_some_and(|session| session.is_unanswered_call())
        };
        index.filter(is_one).ok_or_else(unknown_session)
    }

    fn end_if_refused<T>(
        &mut self,
        now: Time,
        index: u32,
        taken: Result<T, SignalError>,
    ) -> Result<T, SignalError> {
        if taken.is_err() {
            self.close(now, index, Cause::Answer, true);
        }
        taken
    }
}

/// The same findings, said of an answer.
fn of_answer(error: SignalError) -> SignalError {
    SignalError {
        detail: format!("The server's answer cannot be used: {}", error.detail),
        remedy: "See what the server says in its log; it must answer as RFC 9725 and WHEP say.",
        ..error
    }
}
