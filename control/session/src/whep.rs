//! Owns the verbs of WHEP (RFC 9725's rules, draft-ietf-wish-whep-03): POST, PATCH, DELETE.

use crate::dtls::Dtls;
use crate::ice::Ice;
use crate::output::Cause;
use crate::refusal::WhepError;
use crate::sdp::answer::Local;
use crate::sdp::fragment::{self, Fragment};
use crate::sdp::offer::Offer;
use crate::sdp::plan::{Plan, plan};
use crate::session::{Session, SessionId};
use crate::sessions::Sessions;
use crate::streams::Stream;
use link::command::{AUDIO, Command, TRACKS_MAX, TrackOut, VIDEO};
use link::ids::ViewerId;
use wire::rtp_ext::{Block, PlayoutDelay};
use wire::time::Time;

/// Characters of a session id, five bits each: 160 bits.
const ID_CHARACTERS: usize = 32;

/// Characters of an entity-tag, five bits each.
const ETAG_CHARACTERS: usize = 16;

/// Seconds after which a refused newcomer may try again: about a handshake.
const RETRY_AFTER_SECS: u32 = 2;

/// A session that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its name, for the `Location`.
    pub id: SessionId,
    /// Its viewer.
    pub viewer: ViewerId,
    /// The SDP answer.
    pub answer: String,
    /// Strong entity-tag of the ICE session, with its quotes.
    pub etag: String,
}

/// What a PATCH brings.
#[derive(Clone, Copy, Debug)]
pub enum PatchBody<'a> {
    /// `application/trickle-ice-sdpfrag`.
    TrickleIce(&'a str),
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
}

impl Sessions {
    /// Makes a session that watches `stream`.
    ///
    /// # Errors
    /// 400, 413, 422: the offer; 404: no such stream; 406: no codec in common; 409: the stream has
    /// no media yet; 503: full. Nothing was made.
    pub fn whep_post(
        &mut self,
        now: Time,
        stream: &str,
        offer: &str,
    ) -> Result<Created, WhepError> {
        let found = self.streams.by_name(stream).copied();
        let stream = found.ok_or_else(|| unknown_stream(stream))?;
        if stream.description.is_empty() {
            return Err(no_media());
        }
        let refused = &mut self.counters.offer_refused;
        let offer = Offer::parse(offer).inspect_err(|_| *refused += 1)?;
        let plan = plan(&offer, &stream.description).inspect_err(|_| *refused += 1)?;
        let Some(viewer) = self.admit(now) else {
            self.counters.session_refused_full += 1;
            return Err(full());
        };
        Ok(self.create(now, viewer, &stream, &offer, plan))
    }

    /// Changes a session: notes candidates, or restarts ICE.
    ///
    /// # Errors
    /// 404: no such session; 428: `If-Match` is missing; 412: it is not the current entity-tag;
    /// 400, 413: the fragment; 429: restarted too recently. The session is as it was.
    pub fn whep_patch(
        &mut self,
        now: Time,
        id: &str,
        if_match: Option<&str>,
        body: PatchBody<'_>,
    ) -> Result<Patched, WhepError> {
        let index = self.table.by_id(id).ok_or_else(unknown_session)?;
        let session = self.table.get_mut(index).ok_or_else(unknown_session)?;
        let PatchBody::TrickleIce(text) = body;
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

    /// Ends a session at its viewer's wish, whatever its entity-tag.
    ///
    /// # Errors
    /// 404: no such session.
    pub fn whep_delete(&mut self, now: Time, id: &str) -> Result<(), WhepError> {
        self.close_session(now, id, Cause::Deleted)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// 404: no such session.
    pub fn close_session(&mut self, now: Time, id: &str, cause: Cause) -> Result<(), WhepError> {
        let index = self.table.by_id(id).ok_or_else(unknown_session)?;
        self.close(now, index, cause, true);
        Ok(())
    }

    fn admit(&mut self, now: Time) -> Option<ViewerId> {
        if self.handshakes >= self.config.handshakes_max {
            return None;
        }
        self.table.vacancy(now)
    }

    fn create(
        &mut self,
        now: Time,
        viewer: ViewerId,
        stream: &Stream,
        offer: &Offer,
        plan: Plan<'_>,
    ) -> Created {
        let id = SessionId(self.random.text(ID_CHARACTERS));
        let etag = format!("\"{}\"", self.random.text(ETAG_CHARACTERS));
        let credentials = self.random.credentials(viewer.index);
        let tracks = self.tracks(&plan);
        let answer = plan.write(&Local {
            ufrag: ice_text(&credentials.ufrag),
            pwd: ice_text(&credentials.pwd),
            fingerprint: self.dtls.fingerprint(),
            candidates: &self.config.candidates,
            cname: &self.config.cname,
            session_number: self.random.session_number(),
            ssrcs: tracks.map(|track| [track.ssrc, track.rtx_ssrc]),
            playout_delay: self.config.playout_delay.is_some(),
        });
        let section = plan
            .tracks
            .iter()
            .flatten()
            .map(|track| track.section)
            .min();
        let section = section.and_then(|section| offer.medias.get(section));
        let fingerprints = plan.fingerprints;
        let (dtls, dtls_client) = match plan.dtls_client {
            true => (None, Some(fingerprints)),
            false => (Some(Dtls::server(fingerprints)), None),
        };
        self.table.insert(Session {
            id: id.clone(),
            viewer,
            stream: stream.id,
            created: now,
            expires: now + self.config.check_timeout.min(self.config.handshake_timeout),
            ice: Ice::new(credentials, plan.remote_ice, etag.clone()),
            dtls,
            dtls_client,
            tracks,
            section: section.map_or_else(Default::default, |media| {
                (media.mid.clone().unwrap_or_default(), media.kind.clone())
            }),
            placed: None,
        });
        if let Some(stream) = self.streams.by_id_mut(stream.id) {
            stream.viewers += 1;
        }
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

    fn tracks(&mut self, plan: &Plan<'_>) -> [TrackOut; TRACKS_MAX] {
        let [video, video_rtx, audio, audio_rtx] = self.random.ssrcs();
        let mut tracks = [TrackOut::default(); TRACKS_MAX];
        for (index, [ssrc, rtx_ssrc]) in [(VIDEO, [video, video_rtx]), (AUDIO, [audio, audio_rtx])]
        {
            let Some(plan) = plan.tracks[index] else {
                continue;
            };
            let mut track = TrackOut {
                ssrc,
                rtx_ssrc: if plan.rtx.is_some() { rtx_ssrc } else { 0 },
                clock_hz: plan.codec.clock_hz,
                payload_type: plan.codec.payload_type,
                rtx_payload_type: plan.rtx.unwrap_or(0),
                first_index: self.random.first_index(),
                rtx_first_index: self.random.first_index(),
                ..TrackOut::default()
            };
            if let Some((delay, (id, _))) = self.config.playout_delay.zip(plan.playout_delay) {
                set_extension(&mut track, id, delay);
            }
            tracks[index] = track;
        }
        tracks
    }

    fn restart(&mut self, now: Time, index: u32, remote: (String, String)) -> Patched {
        let credentials = self.random.credentials(index);
        let etag = format!("\"{}\"", self.random.text(ETAG_CHARACTERS));
        let Some(session) = self.table.get_mut(index) else {
            return Patched::Trickled;
        };
        session.ice.restart(now, credentials, remote, etag.clone());
        let (mid, kind) = &session.section;
        let fragment = fragment::write(
            ice_text(&credentials.ufrag),
            ice_text(&credentials.pwd),
            mid,
            kind,
            &self.config.candidates,
        );
        let viewer = session.viewer;
        let core = session.placed.as_ref().map(|placed| placed.core);
        self.counters.ice_restarted += 1;
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

fn set_extension(track: &mut TrackOut, id: u8, delay: PlayoutDelay) {
    let mut block = Block::new();
    block.push(id, &delay.to_bytes());
    let bytes = block.as_bytes();
    if let (Some(place), Ok(len)) = (track.ext.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
        place.copy_from_slice(bytes);
        track.ext_bytes = len;
    }
}

/// Our credentials are made of ICE characters.
fn ice_text(bytes: &[u8]) -> &str {
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

fn unknown_stream(name: &str) -> WhepError {
    let name: String = name.chars().filter(|c| !c.is_control()).take(256).collect();
    WhepError::new(
        404,
        "stream-unknown",
        format!("There is no stream {name:?}."),
        "Check the name, or wait until it is published.",
    )
}

fn no_media() -> WhepError {
    WhepError::new(
        409,
        "stream-without-media",
        "The stream is being published, but its codecs are not known yet.",
        "Try again in a second.",
    )
    .retry_after(1)
}

fn full() -> WhepError {
    WhepError::new(
        503,
        "full",
        "This node has as many sessions as it can take.",
        "Try again later or elsewhere; an operator may raise limits.viewers_max.",
    )
    .retry_after(RETRY_AFTER_SECS)
}

fn unknown_session() -> WhepError {
    WhepError::new(
        404,
        "session-unknown",
        "There is no such session: it has ended or never was.",
        "Make a new one with a POST.",
    )
}

fn precondition_required() -> WhepError {
    WhepError::new(
        428,
        "if-match-required",
        "A PATCH must say which ICE session it is for.",
        "Send If-Match with the ETag of the answer, or with \"*\" to restart ICE.",
    )
}

fn precondition_failed() -> WhepError {
    WhepError::new(
        412,
        "if-match-failed",
        "The ICE session of this If-Match is not the current one.",
        "Drop these candidates, or restart ICE with If-Match \"*\".",
    )
}

fn restart_too_soon() -> WhepError {
    WhepError::new(
        429,
        "ice-restart-too-soon",
        "ICE was restarted a moment ago.",
        "Give the last restart time to work.",
    )
    .retry_after(1)
}
