//! Owns what is checked: every rule in one sentence, with its source and how binding it is.

use std::borrow::Cow;

/// Which of the two protocols a server is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Media is published: RFC 9725.
    Whip,
    /// Media is watched: draft-ietf-wish-whep-03.
    Whep,
}

/// How binding a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not kept: the server fails.
    Must,
    /// Not kept: a warning.
    Should,
}

/// One thing that a server is held to.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Short name that never changes.
    pub id: &'static str,
    /// The rule in one sentence.
    pub text: &'static str,
    /// How binding it is.
    pub level: Level,
    /// Where WHIP says so: a section of RFC 9725, or another text in full; empty: it does not.
    whip: &'static str,
    /// The same for WHEP.
    whep: &'static str,
}

impl Protocol {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whip => "WHIP",
            Self::Whep => "WHEP",
        }
    }

    /// The direction of media in an answer.
    pub fn answer_direction(self) -> &'static str {
        match self {
            Self::Whip => "recvonly",
            Self::Whep => "sendonly",
        }
    }
}

impl Rule {
    /// True if the protocol has this rule.
    pub fn holds_for(&self, protocol: Protocol) -> bool {
        !self.place(protocol).is_empty()
    }

    /// The text that the rule is from, with its section.
    pub fn source(&self, protocol: Protocol) -> Cow<'static, str> {
        let place = self.place(protocol);
        let document = match protocol {
            Protocol::Whip => "RFC 9725",
            Protocol::Whep => "draft-ietf-wish-whep-03",
        };
        match place.starts_with(|c: char| c.is_ascii_digit()) {
            true => format!("{document} section {place}").into(),
            false => place.into(),
        }
    }

    fn place(&self, protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::Whip => self.whip,
            Protocol::Whep => self.whep,
        }
    }
}

const fn must(
    id: &'static str,
    whip: &'static str,
    whep: &'static str,
    text: &'static str,
) -> Rule {
    Rule {
        id,
        text,
        level: Level::Must,
        whip,
        whep,
    }
}

const fn should(
    id: &'static str,
    whip: &'static str,
    whep: &'static str,
    text: &'static str,
) -> Rule {
    Rule {
        id,
        text,
        level: Level::Should,
        whip,
        whep,
    }
}

/// Makes a static of each rule, and [`ALL`] of all of them, in the order of the table.
macro_rules! rules {
    ($($name:ident = $level:ident($id:literal, $whip:expr, $whep:expr, $text:literal);)*) => {
        $(pub static $name: Rule = $level($id, $whip, $whep, $text);)*
        /// Every rule, in the order of the table.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

const ALLOW: &str = "RFC 9110 section 15.5.6";
const JSEP: &str = "RFC 9429 section 5.3.1";
const ICE: &str = "RFC 8839 section 5.4";
const REOFFERED: &str = "RFC 3264 section 6";
const EVENTS: &str = "webrtc-http-egress-events section 4";
const LAYERS: &str = "webrtc-http-egress-events section 5";

rules! {
    OPTIONS_STATUS = must("options-status", "4.2", "4.3",
        "OPTIONS on the endpoint is answered with 200 or 204");
    OPTIONS_CORS = must("options-cors", "4.2", "4.3",
        "a page of another origin may POST application/sdp (CORS preflight)");
    OPTIONS_AUTHORIZATION = should("options-authorization", "4.7.1", "4.8.1",
        "a page of another origin may send Authorization (CORS preflight)");
    OPTIONS_ACCEPT_POST = should("options-accept-post", "4.2", "4.3",
        "the answer to OPTIONS has Accept-Post: application/sdp");
    ENDPOINT_GET = must("endpoint-get", "4.1", "4.1",
        "GET on the endpoint is answered with 2xx and no content");
    ENDPOINT_HEAD = should("endpoint-head", "", "draft-ietf-wish-whep-04 section 4.2",
        "HEAD on the endpoint is answered with 200 and Content-Type: application/sdp");
    ENDPOINT_ALLOW = must("endpoint-allow", ALLOW, ALLOW,
        "405 on the endpoint comes with Allow");
    POST_CONTENT_TYPE = must("post-content-type", "4.2", "4.2.4",
        "an offer of another content type is refused with 4xx, best 415");
    POST_GARBAGE = must("post-garbage", "4.2", "4.2.4",
        "an offer that is no SDP is refused with 4xx");
    POST_EMPTY = must("post-empty", "4.2", "4.2.4",
        "a POST without an offer is refused with 4xx");
    POST_UNKNOWN_STREAM = should("post-unknown-stream", "", "4.2.8",
        "a stream that nobody publishes is answered with 409 and Retry-After, or 404");
    POST_TOKEN = must("post-token", "RFC 9110 section 15.5.2", "RFC 9110 section 15.5.2",
        "without the token a POST is answered with 401 and WWW-Authenticate");
    POST_WRONG_TOKEN = must("post-wrong-token", "4.7.1", "4.8.1",
        "with another token a POST is answered with 401 or 403");
    POST_REDIRECT = must("post-redirect", "4.5", "4.6",
        "a POST is never redirected with 301 or 302");
    POST_CREATED = must("post-created", "4.2", "4.2.1",
        "a valid offer is answered with 201");
    POST_ANSWER_TYPE = must("post-answer-type", "4.2", "4.2.1",
        "the answer has the content type application/sdp");
    POST_LOCATION = must("post-location", "4.2", "4.2.1",
        "Location leads to the session");
    POST_ETAG = must("post-etag", "4.3.1", "4.4.1",
        "the ETag of the answer is a strong entity-tag in quotes");
    POST_EXPOSED = must("post-exposed", "4.2", "4.3",
        "a page of another origin may read Location, ETag and Link of the answer (CORS)");
    POST_SETUP_ACTIVE = should("post-setup-active", "4.4.4", "",
        "an offer with setup:active is answered with passive, or refused with 422 or 400");
    POST_TWO_VIDEOS = must("post-two-videos", "4.4.2", "",
        "an offer of more tracks than are taken is refused as a whole with 422 or 400");
    POST_UNKNOWN_CODEC = should("post-unknown-codec", "4.4.3", "",
        "an offer with one m-line that cannot be taken is refused as a whole");
    ANSWER_PARSES = must("answer-parses", "4.2", "4.2.1",
        "the answer is SDP by its grammar");
    ANSWER_LINES = must("answer-m-lines", REOFFERED, REOFFERED,
        "the answer has the m-lines of the offer, in its order, of its kinds");
    ANSWER_MIDS = must("answer-mids", JSEP, JSEP,
        "each m-line that is taken has the mid of the offer");
    ANSWER_BUNDLE = must("answer-bundle", "4.4.1", "4.5.1",
        "all m-lines that are taken are in one BUNDLE group");
    ANSWER_ICE = must("answer-ice", ICE, ICE,
        "ice-ufrag has 4 to 256 and ice-pwd 22 to 256 ICE characters");
    ANSWER_CANDIDATES = must("answer-candidates", "4.3.2", "4.4.2",
        "the answer has all candidates of the server, at least one");
    ANSWER_FINGERPRINT = must("answer-fingerprint", "RFC 8122 section 5", "RFC 8122 section 5",
        "a fingerprint of the certificate is there, by SHA-256 or better, of its length");
    ANSWER_SETUP = must("answer-setup", "RFC 8842 section 5.3", "RFC 8842 section 5.3",
        "setup is active or passive, and fits the offer");
    ANSWER_DIRECTION = must("answer-direction", "4.2", "4.2.5",
        "media goes one way: recvonly in answers of WHIP, sendonly in those of WHEP");
    ANSWER_RTCP_MUX = must("answer-rtcp-mux", "4.4.1", "4.5.1",
        "each m-line that is taken has rtcp-mux");
    ANSWER_RTCP_MUX_ONLY = should("answer-rtcp-mux-only", "4.4.1", "4.5.1",
        "rtcp-mux-only: this text wants it in answers, RFC 8858 section 3 forbids it there");
    ANSWER_PAYLOAD = must("answer-payload", REOFFERED, REOFFERED,
        "payload types are some of those offered, and mean the same codecs");
    ANSWER_EXTMAP = must("answer-extmap", "RFC 8285 section 6", "RFC 8285 section 6",
        "header extensions are some of those offered, with their identifiers");
    ANSWER_MSID = must("answer-msid", "", "4.5.2",
        "each m-line has an msid, and all of the same MediaStream");
    ANSWER_COMPLETE = should("answer-complete", "4.4.3", "",
        "no m-line of an offer that is taken is rejected");
    ANSWER_REJECTED = should("answer-rejected", "RFC 8866 section 5.7", "RFC 8866 section 5.7",
        "an m-line that is rejected still has a c-line: Firefox refuses the answer without");
    SESSION_GET = must("session-get", "4.1", "4.1",
        "GET on the session is answered with 2xx and no content");
    SESSION_HEAD = should("session-head", "RFC 9110 section 9.3.2", "RFC 9110 section 9.3.2",
        "HEAD on the session is answered as GET is");
    SESSION_OPTIONS = should("session-options", "4.2", "4.3",
        "a page of another origin may PATCH and DELETE the session (CORS preflight)");
    SESSION_ALLOW = must("session-allow", ALLOW, ALLOW,
        "405 on the session comes with Allow");
    LINK_READABLE = must("link-readable", "", "RFC 8288 section 3",
        "the Link fields of the answer can be read, and lead somewhere");
    SSE_CREATED = must("sse-created", "", EVENTS,
        "a list of events that are announced is answered with 201 and Location");
    SSE_UNKNOWN = must("sse-unknown-event", "", EVENTS,
        "a list with an event that is not announced is answered with 400");
    SSE_STREAM = must("sse-stream", "", EVENTS,
        "Location is an event stream: 200 and text/event-stream");
    SSE_DATA = must("sse-data", "", EVENTS,
        "each event has one line of data, which is JSON");
    SSE_ACTIVE = should("sse-active", "", "webrtc-http-egress-events section 4.1",
        "a stream that is on air is told of by the event active at the beginning");
    SSE_CORS = should("sse-cors", "", "4.3",
        "a page of another origin may make and read an event stream (CORS)");
    SSE_ENDS = must("sse-ends", "", EVENTS,
        "an event stream that was deleted is answered with 404");
    LAYER_EVENTS = must("layer-events", "", LAYERS,
        "who can be asked for layers also announces the event layers");
    LAYER_AUTOMATIC = must("layer-automatic", "", LAYERS,
        "a choice of no layer, which gives it back to the server, is answered with 200");
    LAYER_UNKNOWN = should("layer-unknown", "", LAYERS,
        "the choice of a layer that is not there is refused with 4xx");
    PATCH_CONTENT_TYPE = must("patch-content-type", "4.3.1", "4.4.1",
        "a PATCH of another content type is refused with 4xx, best 415 or 422");
    PATCH_MALFORMED = must("patch-malformed", "4.3.1", "4.4.1",
        "a PATCH that is no fragment of SDP is refused with 4xx");
    PATCH_NO_IF_MATCH = must("patch-no-if-match", "4.3.1", "4.4.1",
        "a PATCH without If-Match is answered with 428");
    PATCH_WRONG_IF_MATCH = must("patch-wrong-if-match", "4.3.1", "4.4.1",
        "a PATCH with another If-Match than the ETag is answered with 412");
    TRICKLE_STATUS = must("trickle-status", "4.3.2", "4.4.2",
        "new candidates are answered with 204, also some that the server cannot use");
    TRICKLE_NO_ETAG = must("trickle-no-etag", "4.3.2", "4.4.2",
        "the answer to new candidates has no ETag");
    RESTART_STATUS = must("restart-status", "4.3.3", "4.4.3",
        "an ICE restart with If-Match: * is answered with 200, or 422 if there are none");
    RESTART_TYPE = must("restart-type", "4.3.3", "4.4.3",
        "an ICE restart is answered with application/trickle-ice-sdpfrag");
    RESTART_CREDENTIALS = must("restart-credentials", "4.3.3", "4.4.3",
        "an ICE restart brings a new ice-ufrag and a new ice-pwd");
    RESTART_ETAG = must("restart-etag", "4.3.3", "4.4.3",
        "an ICE restart brings a new, strong ETag in quotes");
    RESTART_OPTIONS = must("restart-options", "4.3.3", "4.4.3",
        "an ICE restart repeats ice-lite and ice-options of the answer");
    RESTART_OLD_ETAG = must("restart-old-etag", "4.3.1", "4.4.1",
        "after an ICE restart the old ETag is answered with 412");
    RESTART_NEW_ETAG = must("restart-new-etag", "4.3.2", "4.4.2",
        "after an ICE restart candidates with the new ETag are answered with 204");
    RESTART_FAILED = must("restart-failed", "4.3.3", "4.4.3",
        "an ICE restart that cannot be granted is refused and does not end the session");
    DELETE_STATUS = must("delete-status", "4.2", "4.3",
        "DELETE of the session is answered with 200 or 204");
    DELETE_ETAG = must("delete-ignores-etag", "4.3.1", "4.4.1",
        "DELETE works whatever its If-Match says");
    DELETE_AGAIN = should("delete-again", "RFC 9110 section 15.5.5", "RFC 9110 section 15.5.5",
        "a second DELETE is answered with 404 or 410");
    DELETE_GONE = must("delete-gone", "4.2", "4.3",
        "after DELETE the session is gone: PATCH is answered with 404 or 410");
    SECOND_POST = should("second-post", "4.2", "",
        "a second publisher of the same stream is refused, takes over, or is let in");
    SESSIONS_DIFFER = must("sessions-differ", ICE, ICE,
        "sessions differ in Location, ice-ufrag and ice-pwd");
    PROBLEM_DETAILS = should("problem-details", "4.1", "4.1",
        "errors say why, as application/problem+json (RFC 9457)");
    NO_SERVER_ERROR = must("no-server-error", "RFC 9110 section 15.6", "RFC 9110 section 15.6",
        "no request is answered with 5xx, but for 501 and 503");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_an_id_of_its_own_and_a_source() {
        for (place, rule) in ALL.iter().enumerate() {
            assert!(
                ALL.iter().take(place).all(|other| other.id != rule.id),
                "{}",
                rule.id
            );
            assert!(rule.holds_for(Protocol::Whip) || rule.holds_for(Protocol::Whep));
        }
        assert_eq!(POST_CREATED.source(Protocol::Whip), "RFC 9725 section 4.2");
        assert_eq!(
            POST_CREATED.source(Protocol::Whep),
            "draft-ietf-wish-whep-03 section 4.2.1"
        );
        assert_eq!(ANSWER_BUNDLE.level, Level::Must);
        assert!(!ANSWER_MSID.holds_for(Protocol::Whip));
        assert_eq!(ENDPOINT_ALLOW.source(Protocol::Whip), ALLOW);
    }
}
