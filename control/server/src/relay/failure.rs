//! Owns why a relay does not run, and how long it waits before it tries again.

use session::Cause;
use std::fmt;
use std::time::Duration;

/// First wait after a failure, doubled by each that follows.
const FIRST: Duration = Duration::from_secs(1);

/// Longest wait of that kind: an operator who has mended something sees it soon.
const LAST: Duration = Duration::from_secs(60);

/// From one look for a stream that is not there yet to the next, at first.
const LIVE_FIRST: Duration = Duration::from_secs(2);

/// So many of those looks; then the wait grows.
const LIVE_LOOKS: u32 = 30;

/// Longest wait for a stream that is not there.
const LIVE_LAST: Duration = Duration::from_secs(15);

/// Wait after the server has said that we may not: only a person can change that, here or there.
const DENIED: Duration = Duration::from_secs(300);

/// Longest wait that a server's Retry-After is obeyed for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Why a relay does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No connection to the server.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The server's certificate, or TLS itself.
    Tls,
    /// 401, 403.
    Denied,
    /// The stream is not there: 404, or 409 for a pull.
    NotLive,
    /// The server is full or overloaded: 429, 503; or another publishes there: 409 for a push.
    Busy,
    /// It does not take what we offer: 406 and other answers of 400 and above.
    Refused,
    /// It is out of order: 500 and above.
    ServerError,
    /// It has answered something that no WHIP or WHEP server answers.
    BadAnswer,
    /// The stream would come back to where it comes from.
    Loop,
    /// None of its addresses answers our checks.
    NoPath,
    /// The DTLS handshake failed.
    Handshake,
    /// It fell silent.
    Lost,
    /// It ended the session.
    Ended,
    /// Something here: no room, the stream has another publisher, an operator's wish.
    Local,
}

/// Every reason, for counters.
pub const REASONS: [Reason; 15] = [
    Reason::Unreachable,
    Reason::Timeout,
    Reason::Tls,
    Reason::Denied,
    Reason::NotLive,
    Reason::Busy,
    Reason::Refused,
    Reason::ServerError,
    Reason::BadAnswer,
    Reason::Loop,
    Reason::NoPath,
    Reason::Handshake,
    Reason::Lost,
    Reason::Ended,
    Reason::Local,
];

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Of which kind.
    pub reason: Reason,
    /// What happened, for people.
    pub detail: String,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl Reason {
    /// Stable machine-readable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Denied => "denied",
            Self::NotLive => "not_live",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::BadAnswer => "bad_answer",
            Self::Loop => "loop",
            Self::NoPath => "no_path",
            Self::Handshake => "handshake",
            Self::Lost => "lost",
            Self::Ended => "ended",
            Self::Local => "local",
        }
    }

    /// The counter of its failures, and what that counts.
    #[must_use]
    pub fn counter(self) -> (&'static str, &'static str) {
        match self {
            Self::Unreachable => ("relay_failed_unreachable", "Relays: no connection"),
            Self::Timeout => ("relay_failed_timeout", "Relays: no answer in time"),
            Self::Tls => ("relay_failed_tls", "Relays: TLS or its certificate"),
            Self::Denied => (
                "relay_failed_denied",
                "Relays: the server denies (401, 403)",
            ),
            Self::NotLive => ("relay_failed_not_live", "Relays: no such stream there yet"),
            Self::Busy => (
                "relay_failed_busy",
                "Relays: the server is full or has a publisher",
            ),
            Self::Refused => ("relay_failed_refused", "Relays: the server refuses (4xx)"),
            Self::ServerError => (
                "relay_failed_server_error",
                "Relays: the server fails (5xx)",
            ),
            Self::BadAnswer => ("relay_failed_bad_answer", "Relays: an answer of no use"),
            Self::Loop => ("relay_failed_loop", "Relays: the stream would feed itself"),
            Self::NoPath => ("relay_failed_no_path", "Relays: no check was answered"),
            Self::Handshake => (
                "relay_failed_handshake",
                "Relays: the DTLS handshake failed",
            ),
            Self::Lost => ("relay_failed_lost", "Relays: the server fell silent"),
            Self::Ended => ("relay_failed_ended", "Relays: the server ended the session"),
            Self::Local => ("relay_failed_local", "Relays: a reason on this node"),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "see that the server runs, and that its address and port are right"
            }
            Self::Timeout => "see whether the server is overloaded, or a firewall drops packets",
            Self::Tls => "see that the certificate is valid and known; relays.ca_file names others",
            Self::Denied => "give the relay the token that the server's operator has set",
            Self::NotLive => "publish the stream there; it is looked for again and again",
            Self::Busy => "wait, end the other publisher, or raise the limits of that server",
            Self::Refused => "see the server's log: it does not take this stream or this request",
            Self::ServerError => "see the server's log",
            Self::BadAnswer => "see that the URL is that of a WHIP or WHEP endpoint",
            Self::Loop => "give one of the two streams another name, or end this relay",
            Self::NoPath => "open the media port (UDP) of the server to this node, and back",
            Self::Handshake => "see the server's log: DTLS or its certificate is refused",
            Self::Lost => "none is needed if it comes back; else see the network and the server",
            Self::Ended => "none is needed if it comes back; else see the server's log",
            Self::Local => "see this node's log and limits",
        }
    }
}

impl Failure {
    /// Of this kind, with what happened.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// The end of a session.
    pub fn of_session(cause: Cause) -> Self {
        let (reason, detail) = match cause {
            Cause::Expired => (
                Reason::NoPath,
                "no check was answered, or no handshake, in time",
            ),
            Cause::Handshake(_) => (Reason::Handshake, "the DTLS handshake failed"),
            Cause::Consent => (Reason::Lost, "the server answers no checks any more"),
            Cause::Bye | Cause::PeerClosed => (Reason::Ended, "the server has ended the session"),
            Cause::StreamClosed => (Reason::Local, "the stream is over here"),
            Cause::FormatChanged => (
                Reason::Local,
                "the stream has another codec now, or other encodings",
            ),
            Cause::TakenOver => (Reason::Local, "another publisher has taken the stream over"),
            Cause::Answer => (Reason::BadAnswer, "the answer cannot be used"),
            Cause::Deleted | Cause::Operator => (Reason::Local, "an operator ended the session"),
            Cause::Drained => (Reason::Local, "this node ends"),
            Cause::KeyWornOut => (Reason::Local, "the keys are used up"),
            Cause::Refused | Cause::Lost | Cause::Silent => {
                (Reason::Local, "no worker here serves the session")
            }
        };
        Self::new(reason, format!("{detail} ({})", cause.name()))
    }

    /// How long to wait before the next attempt. `nth`: the failures since it last ran, this one
    /// included, 1 and up. `was_live`: it ran until now. `random`: 0 to 1, so that many relays do
    /// not come at once.
    pub fn wait(&self, nth: u32, was_live: bool, random: f64) -> Duration {
        let random = random.clamp(0.0, 1.0);
        if let Some(told) = self.retry_after {
            let told = told.min(RETRY_AFTER_MAX);
            return told + FIRST.mul_f64(random);
        }
        let doubled = |first: Duration, nth: u32, last: Duration| {
            first
                .saturating_mul(1 << nth.saturating_sub(1).min(16))
                .min(last)
        };
        let whole = match self.reason {
            // What was there a moment ago may be there again at once.
            _ if was_live && nth <= 1 => return Duration::from_millis(200).mul_f64(random),
            Reason::Denied | Reason::Loop => DENIED,
            Reason::NotLive if nth <= LIVE_LOOKS => LIVE_FIRST,
            Reason::NotLive => doubled(LIVE_FIRST, nth - LIVE_LOOKS, LIVE_LAST),
            _ => doubled(FIRST, nth, LAST),
        };
        // Half of it is sure.
        whole.mul_f64(0.5 + random / 2.0)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let failure = Failure::new(Reason::Unreachable, "");
        let waits: Vec<u64> = (1..10)
            .map(|nth| failure.wait(nth, false, 1.0).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(failure.wait(u32::MAX, false, 0.0), LAST / 2);
        assert!(failure.wait(1, true, 1.0) <= Duration::from_millis(200));
        assert!(failure.wait(2, true, 0.0) >= Duration::from_secs(1));
        let denied = Failure::new(Reason::Denied, "");
        assert!(denied.wait(1, false, 0.0) >= Duration::from_secs(150));
        // A stream that is not there is looked for every two seconds for a minute.
        let missing = Failure::new(Reason::NotLive, "");
        assert!((1..=30).all(|nth| missing.wait(nth, false, 1.0) == LIVE_FIRST));
        assert_eq!(missing.wait(90, false, 1.0), LIVE_LAST);
    }

    #[test]
    fn a_server_says_when() {
        let told = |secs| Failure {
            retry_after: Some(Duration::from_secs(secs)),
            ..Failure::new(Reason::Busy, "")
        };
        let wait = told(7).wait(1, false, 0.5);
        assert!(wait >= Duration::from_secs(7) && wait <= Duration::from_secs(8));
        assert!(told(u64::MAX).wait(1, true, 1.0) <= Duration::from_secs(3601));
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let named =
            |reason: &Reason| reason.counter().0 == format!("relay_failed_{}", reason.name());
        assert!(REASONS.iter().all(named));
        let mut names: Vec<_> = REASONS.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASONS.len());
    }
}
