//! Owns the counter-offers of WHEP (draft-ietf-wish-whep-03 section 4.2.2): a session that waits
//! for the answer to an offer of ours.

use crate::dtls::Dtls;
use crate::refusal::SignalError;
use crate::sdp::answer::Sending;
use crate::sdp::counter;
use crate::sdp::elements::Passed;
use crate::sdp::layers::Offered;
use crate::sdp::offer::Offer;
use crate::sdp::plan::plan;
use crate::sdp::terms::Terms;
use crate::session::SessionId;
use crate::sessions::Sessions;
use crate::signalling::{Newcomer, Patched, section_of};
use link::command::{TRACKS_MAX, TrackOut, VIDEO};
use link::ids::ViewerId;
use wire::rtp_ext::PlayoutDelay;
use wire::time::{Span, Time};

/// An offer of ours, and the session that its answer completes.
#[derive(Clone, Debug)]
pub struct CounterOffer {
    /// The session's name, for the `Location`.
    pub id: SessionId,
    /// Its viewer.
    pub viewer: ViewerId,
    /// The SDP offer.
    pub offer: String,
    /// Strong entity-tag of the ICE session, with its quotes.
    pub etag: String,
    /// How long the answer is waited for.
    pub valid: Span,
}

/// What was offered to a viewer that has not answered yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    pub(crate) ssrcs: [[u32; 2]; TRACKS_MAX],
    pub(crate) playout_delay: Option<PlayoutDelay>,
    pub(crate) layered: bool,
    pub(crate) passed: Passed,
}

impl Sessions {
    /// Makes a session that watches `stream`, for a viewer whose own offer could not be answered,
    /// or who made none. `playout_delay` is that of [`Sessions::whep_post`].
    ///
    /// # Errors
    /// 404: no such stream; 409: the stream has no media yet; 503: full. Nothing was made.
    pub fn whep_counter(
        &mut self,
        now: Time,
        stream: &str,
        playout_delay: Option<PlayoutDelay>,
    ) -> Result<CounterOffer, SignalError> {
        let stream = self.watchable(stream)?;
        let viewer = self.admit(now)?;
        let layered = self.is_layered(stream.id);
        let passed = self.passed(stream.id);
        let ssrcs = self.ssrcs();
        let newcomer = Newcomer {
            viewer,
            stream: stream.id,
            terms: Terms::unknown(),
            section: <(String, String)>::default(),
            video_section: None,
            tracks: [TrackOut::default(); TRACKS_MAX],
            publishing: None,
            agent: None,
        };
        let created = self.create(now, newcomer, |local, config| {
            let sending = Sending {
                cname: &config.cname,
                ssrcs,
                playout_delay: playout_delay.is_some(),
                layered,
                passed,
                offered: &Offered::NONE,
            };
            counter::write(&stream.description, local, &sending)
        });
        let valid = self.config.check_timeout.min(self.config.handshake_timeout);
        if let Some(session) = self.table.get_mut(viewer.index) {
            // Whose certificate it has to be is not known before it has answered: until then its
            // handshake is left to be repeated.
            session.dtls = None;
            session.awaited = Some(Awaited {
                ssrcs,
                playout_delay,
                layered,
                passed,
            });
        }
        self.count_viewer(stream.id);
        self.counters.counter_offered += 1;
        Ok(CounterOffer {
            id: created.id,
            viewer,
            offer: created.answer,
            etag: created.etag,
            valid,
        })
    }

    /// Takes the answer to a counter-offer.
    pub(crate) fn take_answer(
        &mut self,
        now: Time,
        index: u32,
        answer: &str,
    ) -> Result<Patched, SignalError> {
        let session = self.table.get(index);
        let (awaited, stream) = session
            .and_then(|session| Some((session.awaited?, session.stream)))
            .ok_or_else(not_awaited)?;
        let description = self.streams.by_id(stream).map(|stream| stream.description);
        let answer = Offer::parse(answer)?;
        let plan = plan(&answer, &description.unwrap_or_default()).map_err(of_answer)?;
        let how = (awaited.layered, awaited.passed);
        let tracks = self.tracks(&plan, awaited.ssrcs, awaited.playout_delay, how);
        let section = section_of(&answer, plan.tracks.iter().flatten().map(|t| t.section));
        let Terms {
            dtls_client,
            remote_ice,
            fingerprints,
            candidates: _,
        } = plan.terms;
        let (check_timeout, handshake_timeout) =
            (self.config.check_timeout, self.config.handshake_timeout);
        if let Some(session) = self.table.get_mut(index) {
            session.awaited = None;
            session.tracks = tracks;
            session.section = section;
            session.video_section = plan.tracks[VIDEO].map(|track| track.section);
            session.ice.answered(remote_ice);
            match dtls_client {
                true => session.dtls_client = Some(fingerprints),
                false => session.dtls = Some(Dtls::server(fingerprints)),
            }
            let patience = match session.ice.pairs().is_empty() {
                true => check_timeout.min(handshake_timeout),
                false => handshake_timeout,
            };
            session.expires = now + patience;
        }
        self.schedule(index);
        Ok(Patched::Answered)
    }
}

/// What was said of it as an offer is true of an answer, but for who could do something about it.
fn of_answer(error: SignalError) -> SignalError {
    match error.status {
        406 => SignalError::unacceptable(
            "answer-takes-nothing",
            "The answer takes none of the media that were offered.",
            "Answer with recvonly and a codec of the offer; a player without any cannot watch this.",
        ),
        _ => error,
    }
}

fn not_awaited() -> SignalError {
    SignalError::new(
        415,
        "answer-not-awaited",
        "The session awaits no answer: it was made by one, or has taken it.",
        "Send fragments of trickle ICE; to negotiate anew, make another session with a POST.",
    )
}
