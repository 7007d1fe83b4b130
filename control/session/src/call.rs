//! Owns the calls: sessions with another server to which we have made the offer, by WHIP (RFC 9725)
//! to send it a stream of ours, or by WHEP (draft-ietf-wish-whep-03) to receive one of its own.

use crate::agent::Agent;
use crate::counter::Awaited;
use crate::dtls::Dtls;
use crate::output::Cause;
use crate::refusal::SignalError;
use crate::sdp::answer::Sending;
use crate::sdp::candidate::Candidate;
use crate::sdp::offer::Offer;
use crate::sdp::terms::Terms;
use crate::sdp::{counter, plan};
use crate::session::SessionId;
use crate::sessions::Sessions;
use crate::signalling::{Newcomer, section_of, unknown_session};
use link::command::{TRACKS_MAX, TrackOut, VIDEO};
use link::ids::{StreamId, ViewerId};
use wire::time::Time;

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

impl Sessions {
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
        let offered = self.offered(stream.id);
        let created = self.call(viewer, stream.id);
        let created = self.create(now, created, |local, config| {
            let sending = Sending {
                cname: &config.cname,
                ssrcs: awaited.ssrcs,
                playout_delay: false,
                layered: awaited.layered,
                passed: awaited.passed,
                offered: &offered,
            };
            counter::write(&stream.description, local, &sending)
        });
        self.await_answer(now, viewer, Some(awaited));
        if let Some(session) = self.table.get_mut(viewer.index) {
            session.offered = Some(offered);
        }
        self.count_viewer(stream.id);
        Ok(Call {
            id: created.id,
            viewer,
            offer: created.answer,
        })
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

    fn take_push(&mut self, now: Time, index: u32, answer: &str) -> Result<(), SignalError> {
        let session = self.table.get(index);
        let (awaited, stream) = session
            .and_then(|session| Some((session.awaited?, session.stream)))
            .ok_or_else(unknown_session)?;
        let description = self.streams.by_id(stream).map(|stream| stream.description);
        let answer = Offer::parse(answer).map_err(of_answer)?;
        let plan = plan::plan_answer(&answer, &description.unwrap_or_default());
        let plan = plan.map_err(of_answer)?;
        self.check_reachable(&answer, &plan.terms)?;
        let video = plan.tracks[VIDEO].and_then(|track| answer.medias.get(track.section));
        let offered = self.table.get(index).and_then(|s| s.offered.as_ref());
        let accepted = offered
            .zip(video)
            .and_then(|(all, media)| all.accepted(media));
        let how = (awaited.layered && accepted.is_none(), awaited.passed);
        let mut tracks = self.tracks(&plan, awaited.ssrcs, None, how);
        let encodings = match &accepted {
            Some(accepted) => {
                let all = self.take_encodings(now, accepted, &mut tracks);
                Some(all.ok_or_else(|| self.full())?)
            }
            None => None,
        };
        let sections = plan.tracks.iter().flatten().map(|track| track.section);
        let section = section_of(&answer, sections);
        if let Some(session) = self.table.get_mut(index) {
            session.awaited = None;
            session.tracks = tracks;
            session.encodings = encodings;
            session.section = section;
            session.video_section = plan.tracks[VIDEO].map(|track| track.section);
        }
        self.begin_call(now, index, plan.terms);
        Ok(())
    }

    pub(crate) fn call(&mut self, viewer: ViewerId, stream: StreamId) -> Newcomer {
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

    pub(crate) fn await_answer(&mut self, now: Time, viewer: ViewerId, awaited: Option<Awaited>) {
        if let Some(session) = self.table.get_mut(viewer.index) {
            // Whose certificate it has to be is not known yet.
            session.dtls = None;
            session.awaited = awaited;
            session.expires = now + self.config.handshake_timeout;
        }
        self.schedule(viewer.index);
    }

    /// The peer has said where it is and who: checks begin.
    pub(crate) fn begin_call(&mut self, now: Time, index: u32, terms: Terms) {
        let takes_v6 = self.takes_v6();
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

    /// We have an address of that family.
    pub(crate) fn takes_v6(&self) -> bool {
        self.config.candidates.iter().any(|own| own.is_ipv6())
    }

    /// A lite server that does not say where it is would never be found: it sends no checks, and
    /// its candidates have to be in the answer, all of them (RFC 9725 section 4.3.2). A full one
    /// may come to us.
    pub(crate) fn check_reachable(&self, answer: &Offer, terms: &Terms) -> Result<(), SignalError> {
        let takes_v6 = self.takes_v6();
        let is_usable = |one: &Candidate| takes_v6 || one.address.is_ipv4();
        match answer.ice_lite && !terms.candidates.iter().any(is_usable) {
            true => Err(of_answer(no_candidates(!terms.candidates.is_empty()))),
            false => Ok(()),
        }
    }

    pub(crate) fn unanswered_call(&self, id: &str) -> Result<u32, SignalError> {
        let index = self.table.by_id(id);
        let is_one = |index: &u32| {
            let session = self.table.get(*index);
            session.is_some_and(|session| session.is_unanswered_call())
        };
        index.filter(is_one).ok_or_else(unknown_session)
    }

    pub(crate) fn end_if_refused<T>(
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

fn no_candidates(has_others: bool) -> SignalError {
    let detail = match has_others {
        true => "It has addresses of IPv6 only, of which this node has none.",
        false => "It has no candidate for UDP, its author is ICE lite, and none may follow later.",
    };
    SignalError::unacceptable("candidates-missing", detail, "")
}

/// The same findings, said of an answer.
pub(crate) fn of_answer(error: SignalError) -> SignalError {
    SignalError {
        detail: format!("The server's answer cannot be used: {}", error.detail),
        remedy: "See what the server says in its log; it must answer as RFC 9725 and WHEP say.",
        ..error
    }
}
