//! Owns the calls by which another server sends us a stream (draft-ietf-wish-whep-03): our offer,
//! and its answer, or the offer that it makes instead.

use crate::call::{Call, of_answer};
use crate::description::StreamDescription;
use crate::output::Cause;
use crate::refusal::SignalError;
use crate::sdp::offer::Offer;
use crate::sdp::publish::{self, PublishPlan};
use crate::sdp::pull;
use crate::sdp::text::Local;
use crate::session::SessionId;
use crate::sessions::Sessions;
use crate::signalling::{ice_text, section_of, unknown_session};
use crate::whip::{not_open, publishing, taken};
use link::ids::StreamId;
use wire::time::Time;

/// Stands for the stream of a pull whose answer has not come: no log has this index.
const NO_STREAM: StreamId = StreamId {
    index: u32::MAX,
    generation: 0,
};

/// What is received by a call.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The session's name here.
    pub id: SessionId,
    /// What the answer lets us expect.
    pub description: StreamDescription,
}

/// What is received by a call whose server has made an offer of its own.
#[derive(Clone, Debug)]
pub struct Countered {
    /// What is received.
    pub pulled: Pulled,
    /// The SDP answer, for the server.
    pub answer: String,
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

    /// What would be received by this counter-offer, as [`Sessions::pull_check`].
    ///
    /// # Errors
    /// 400, 413, 422, 406: the counter-offer.
    pub fn counter_check(&mut self, offer: &str) -> Result<StreamDescription, SignalError> {
        let offer = Offer::parse(offer).map_err(of_answer)?;
        let plan = publish::plan_counter(&offer).map_err(of_answer)?;
        Ok(plan.description)
    }

    /// Takes what a server offers in place of an answer to [`Sessions::pull_offer`]
    /// (draft-ietf-wish-whep-03 section 4.2.2), as [`Sessions::pull_answered`] takes that.
    ///
    /// # Errors
    /// As of [`Sessions::pull_answered`].
    pub fn pull_countered(
        &mut self,
        now: Time,
        id: &str,
        stream: StreamId,
        offer: &str,
        takeover: bool,
    ) -> Result<Countered, SignalError> {
        let index = self.unanswered_call(id)?;
        let taken = self.take_counter(now, index, stream, offer, takeover);
        self.end_if_refused(now, index, taken)
    }

    fn take_pull(
        &mut self,
        now: Time,
        index: u32,
        stream: StreamId,
        answer: &str,
        takeover: bool,
    ) -> Result<Pulled, SignalError> {
        let answer = Offer::parse(answer).map_err(of_answer)?;
        let plan = publish::plan_answer(&answer).map_err(of_answer)?;
        self.enter_pull(now, index, stream, &answer, plan, takeover)
    }

    fn take_counter(
        &mut self,
        now: Time,
        index: u32,
        stream: StreamId,
        offer: &str,
        takeover: bool,
    ) -> Result<Countered, SignalError> {
        let offer = Offer::parse(offer).map_err(of_answer)?;
        let plan = publish::plan_counter(&offer).map_err(of_answer)?;
        let session = self.table.get(index).ok_or_else(unknown_session)?;
        let credentials = *session.ice.credentials();
        let local = Local {
            ufrag: ice_text(&credentials.ufrag),
            pwd: ice_text(&credentials.pwd),
            fingerprint: self.dtls.fingerprint(),
            candidates: &self.config.candidates,
            session_number: self.random.session_number(),
            is_full: true,
        };
        let answer = plan.write(&local);
        let pulled = self.enter_pull(now, index, stream, &offer, plan, takeover)?;
        Ok(Countered { pulled, answer })
    }

    /// What comes by this plan goes into a stream.
    fn enter_pull(
        &mut self,
        now: Time,
        index: u32,
        stream: StreamId,
        answer: &Offer,
        plan: PublishPlan<'_>,
        takeover: bool,
    ) -> Result<Pulled, SignalError> {
        let found = self.streams.by_id(stream).ok_or_else(not_open)?;
        let before = found.publisher;
        if !takeover && (before.is_some() || self.pushes.feeds(stream)) {
            return Err(taken());
        }
        self.check_reachable(answer, &plan.terms)?;
        if let Some(before) = before {
            self.close(now, before.index, Cause::TakenOver, true);
        }
        self.close_push(now, stream.index, Cause::TakenOver);
        let publishing = publishing(&plan, self.config.publisher_bitrate_max_bps);
        let description = plan.description;
        let sections = plan.tracks.iter().flatten().map(|track| track.section);
        let section = section_of(answer, sections);
        if let Some(session) = self.table.get_mut(index) {
            session.stream = stream;
            session.publishing = Some(publishing);
            session.section = section;
            let viewer = session.viewer;
            self.set_publisher(stream, viewer);
            self.counters.publisher_created += 1;
        }
        self.begin_call(now, index, plan.terms);
        self.check_offered(now, stream);
        let session = self.table.get(index).ok_or_else(unknown_session)?;
        Ok(Pulled {
            id: session.id.clone(),
            description,
        })
    }
}
