//! Owns what WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-03) have in common: the making of a
//! session, PATCH, DELETE.

use crate::agent::Agent;
use crate::config::Config;
use crate::dtls::Dtls;
use crate::ice::Ice;
use crate::output::Cause;
use crate::refusal::SignalError;
use crate::sdp::fragment::{self, Fragment};
use crate::sdp::offer::Offer;
use crate::sdp::terms::Terms;
use crate::sdp::text::Local;
use crate::session::{Publishing, Session, SessionId};
use crate::sessions::Sessions;
use link::command::{Command, Pin, TRACKS_MAX, TrackOut};
use link::ids::{StreamId, ViewerId};
use std::ops::RangeInclusive;
use wire::time::Time;

/// Characters of a session id, five bits each: 160 bits.
pub(crate) const ID_CHARACTERS: usize = 32;

/// Characters of an entity-tag, five bits each.
pub(crate) const ETAG_CHARACTERS: usize = 16;

/// Seconds after which a refused newcomer may try again: a time between these, so that those who
/// were refused together do not come together again.
const RETRY_AFTER_SECS: RangeInclusive<u8> = 2..=9;

/// A session that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its name, for the `Location`.
    pub id: SessionId,
    /// Its viewer; that of a publisher is the way back to it.
    pub viewer: ViewerId,
    /// The SDP answer.
    pub answer: String,
    /// Strong entity-tag of the ICE session, with its quotes.
    pub etag: String,
}

/// A session to be made.
pub(crate) struct Newcomer {
    /// Of [`Sessions::admit`].
    pub(crate) viewer: ViewerId,
    pub(crate) stream: StreamId,
    pub(crate) terms: Terms,
    /// Tag and kind of the first accepted section.
    pub(crate) section: (String, String),
    /// Index of the section that carries the video to a viewer.
    pub(crate) video_section: Option<usize>,
    pub(crate) tracks: [TrackOut; TRACKS_MAX],
    pub(crate) publishing: Option<Publishing>,
    /// We make the offer, and send the checks.
    pub(crate) agent: Option<Box<Agent>>,
}

/// What a PATCH brings.
#[derive(Clone, Copy, Debug)]
pub enum PatchBody<'a> {
    /// `application/trickle-ice-sdpfrag`.
    TrickleIce(&'a str),
    /// `application/sdp`: the answer to a counter-offer.
    Answer(&'a str),
}

/// What a PATCH did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patched {
    /// Candidates were noted: 204 without an entity-tag.
    Trickled,
    /// ICE was restarted: 200.
    Restarted {
        /// `application/trickle-ice-sdpfrag` with our new credentials and our candidates.
        fragment: String,
        /// Entity-tag of the new ICE session, with its quotes.
        etag: String,
    },
    /// The answer to a counter-offer was taken: 204.
    Answered,
}

impl Sessions {
    /// Changes a session: notes candidates, restarts ICE, or takes the answer to a counter-offer,
    /// for which no entity-tag is needed.
    ///
    /// # Errors
    /// 404: no such session; 428: `If-Match` is missing; 412: it is not the current entity-tag;
    /// 400, 413: the fragment or the answer; 422: the answer takes nothing, or it is a push; 415:
    /// none is awaited; 409: one is; 429: restarted too recently. The session is as it was.
    pub fn patch(
        &mut self,
        now: Time,
        id: &str,
        if_match: Option<&str>,
        body: PatchBody<'_>,
    ) -> Result<Patched, SignalError> {
        if self.pushes.by_id(id).is_some() {
            return Err(unpatchable());
        }
        let index = self.table.by_id(id).ok_or_else(unknown_session)?;
        if self.table.get(index).is_some_and(|s| s.agent.is_some()) {
            return Err(unknown_session());
        }
        let text = match body {
            PatchBody::TrickleIce(text) => text,
            PatchBody::Answer(answer) => return self.take_answer(now, index, answer),
        };
        let session = self.table.get_mut(index).ok_or_else(unknown_session)?;
        if session.awaited.is_some() {
            return Err(answer_awaited());
        }
        let if_match = if_match.ok_or_else(precondition_required)?;
        if !matches_etag(if_match, session.ice.etag()) {
            return Err(precondition_failed());
        }
        match Fragment::parse(text)?
            .ice
            .filter(|remote| session.ice.is_restart(remote))
        {
            None => Ok(Patched::Trickled),
            Some(_) if !session.ice.may_restart(now) => Err(restart_too_soon()),
            Some(remote) => Ok(self.restart(now, index, remote)),
        }
    }

    /// Ends a session at its peer's wish, whatever its entity-tag.
    ///
    /// # Errors
    /// 404: no such session.
    pub fn delete(&mut self, now: Time, id: &str) -> Result<(), SignalError> {
        self.close_session(now, id, Cause::Deleted)
    }

    /// Ends a session or a push.
    ///
    /// # Errors
    /// 404: no such session.
    pub fn close_session(&mut self, now: Time, id: &str, cause: Cause) -> Result<(), SignalError> {
        if let Some(index) = self.pushes.by_id(id) {
            self.close_push(now, index, cause);
            return Ok(());
        }
        let index = self.table.by_id(id).ok_or_else(unknown_session)?;
        self.close(now, index, cause, true);
        Ok(())
    }

    /// A place for a session.
    ///
    /// # Errors
    /// 503: there is none now.
    pub(crate) fn admit(&mut self, now: Time) -> Result<ViewerId, SignalError> {
        self.must_have_room()?;
        let vacancy = self.table.vacancy(now);
        vacancy.ok_or_else(|| self.full())
    }

    /// Refuses a newcomer before anything is done for it, if there is no place among those who
    /// shake hands: what is spent on refusals is taken from those.
    ///
    /// # Errors
    /// 503: there is none now.
    pub(crate) fn must_have_room(&mut self) -> Result<(), SignalError> {
        match self.handshakes < self.config.handshakes_max {
            true => Ok(()),
            false => Err(self.full()),
        }
    }

    pub(crate) fn full(&mut self) -> SignalError {
        self.counters.session_refused_full += 1;
        let [random] = self.random.bytes();
        let (first, last) = RETRY_AFTER_SECS.into_inner();
        SignalError::new(
            503,
            "full",
            "This node has as many sessions as it can take.",
            "Try again later or elsewhere; an operator may raise limits.viewers_max.",
        )
        .retry_after(u32::from(first + random % (last - first + 1)))
    }

    /// Makes a session with the answer that `write` gives to our side of the transport.
    pub(crate) fn create(
        &mut self,
        now: Time,
        newcomer: Newcomer,
        write: impl FnOnce(&Local<'_>, &Config) -> String,
    ) -> Created {
        let viewer = newcomer.viewer;
        let id = SessionId(self.random.text(ID_CHARACTERS));
        let etag = format!("\"{}\"", self.random.text(ETAG_CHARACTERS));
        let credentials = self.random.credentials(viewer.index);
        let local = Local {
            ufrag: ice_text(&credentials.ufrag),
            pwd: ice_text(&credentials.pwd),
            fingerprint: self.dtls.fingerprint(),
            candidates: &self.config.candidates,
            session_number: self.random.session_number(),
            is_full: newcomer.agent.is_some(),
        };
        let answer = write(&local, &self.config);
        let Terms {
            dtls_client,
            remote_ice,
            fingerprints,
            candidates: _,
        } = newcomer.terms;
        let (dtls, dtls_client) = match dtls_client {
            true => (None, Some(fingerprints)),
            false => (Some(Dtls::server(fingerprints)), None),
        };
        self.table.insert(Session {
            id: id.clone(),
            viewer,
            stream: newcomer.stream,
            created: now,
            expires: now + self.config.check_timeout.min(self.config.handshake_timeout),
            ice: Ice::new(credentials, remote_ice, etag.clone()),
            dtls,
            dtls_client,
            tracks: newcomer.tracks,
            publishing: newcomer.publishing,
            section: newcomer.section,
            video_section: newcomer.video_section,
            awaited: None,
            agent: newcomer.agent,
            pin: Pin::NONE,
            offered: None,
            encodings: None,
            placed: None,
        });
        self.handshakes += 1;
        self.counters.session_created += 1;
        self.schedule(viewer.index);
        Created {
            id,
            viewer,
            answer,
            etag,
        }
    }

    fn restart(&mut self, now: Time, index: u32, remote: (String, String)) -> Patched {
        let credentials = self.random.credentials(index);
        let etag = format!("\"{}\"", self.random.text(ETAG_CHARACTERS));
        let Some(session) = self.table.get_mut(index) else {
            return Patched::Trickled;
        };
        session.ice.restart(now, credentials, remote, etag.clone());
        let (mid, kind) = &session.section;
        let ours = fragment::Side {
            ufrag: ice_text(&credentials.ufrag),
            pwd: ice_text(&credentials.pwd),
            is_lite: true,
            candidates: &self.config.candidates,
        };
        let fragment = fragment::write(&ours, mid, kind);
        let viewer = session.viewer;
        let core = session.placed.as_ref().map(|placed| placed.core);
        self.counters.ice_restarted += 1;
        self.keep(index);
        if let Some(core) = core {
            self.command(
                core,
                Command::RestartIce {
                    viewer,
                    ice: credentials,
                },
            );
        }
        Patched::Restarted { fragment, etag }
    }
}

/// Tag and kind of the first of these sections.
pub(crate) fn section_of(offer: &Offer, sections: impl Iterator<Item = usize>) -> (String, String) {
    let first = sections.min().and_then(|section| offer.medias.get(section));
    first.map_or_else(Default::default, |media| {
        (media.mid.clone().unwrap_or_default(), media.kind.clone())
    })
}

/// Our credentials are made of ICE characters.
pub(crate) fn ice_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("ICE characters are ASCII")
}

//= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1
//# An origin server MUST use the strong comparison function when comparing
//# entity tags for If-Match
/// True for `*`, also in the quotes that the examples of RFC 9725 put around it.
fn matches_etag(if_match: &str, etag: &str) -> bool {
    if_match
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag == "\"*\"" || tag == etag)
}

pub(crate) fn unknown_session() -> SignalError {
    SignalError::new(
        404,
        "session-unknown",
        "There is no such session: it has ended or never was.",
        "Make a new one with a POST.",
    )
}

fn unpatchable() -> SignalError {
    SignalError::unacceptable(
        "push-unpatchable",
        "A push of plain RTP has no ICE, and nothing that could be changed.",
        "End it with DELETE and make another one with POST.",
    )
}

fn answer_awaited() -> SignalError {
    SignalError::new(
        409,
        "answer-awaited",
        "The session waits for the answer to its counter-offer.",
        "Send the answer as application/sdp first.",
    )
}

fn precondition_required() -> SignalError {
    SignalError::new(
        428,
        "if-match-required",
        "A PATCH must say which ICE session it is for.",
        "Send If-Match with the ETag of the answer, or with \"*\" to restart ICE.",
    )
}

fn precondition_failed() -> SignalError {
    SignalError::new(
        412,
        "if-match-failed",
        "The ICE session of this If-Match is not the current one.",
        "Drop these candidates, or restart ICE with If-Match \"*\".",
    )
}

fn restart_too_soon() -> SignalError {
    SignalError::new(
        429,
        "ice-restart-too-soon",
        "ICE was restarted a moment ago.",
        "Give the last restart time to work.",
    )
    .retry_after(1)
}
