//! Owns the list of what the sidecar counts: names and help texts for `/metrics`.

use super::Driver;
use crate::control::Sample;
use session::Counters as Sessions;
use session::srt::Counters as Srt;

/// Name, help, value.
type Line<T> = (&'static str, &'static str, fn(&T) -> u64);

const OF_SESSIONS: [Line<Sessions>; 23] = [
    ("session_created", "Sessions created", |c| c.session_created),
    (
        "session_adopted",
        "Sessions gone on with after a restart of the sidecar",
        |c| c.session_adopted,
    ),
    ("session_established", "Sessions that got keys", |c| {
        c.session_established
    }),
    ("session_closed", "Sessions that ended", |c| {
        c.session_closed
    }),
    (
        "publisher_created",
        "Publishers among the sessions created",
        |c| c.publisher_created,
    ),
    (
        "publisher_established",
        "Publishers among the sessions that got keys",
        |c| c.publisher_established,
    ),
    (
        "publisher_closed",
        "Publishers among the sessions that ended",
        |c| c.publisher_closed,
    ),
    (
        "publisher_refused",
        "Publishers that a worker did not take at once",
        |c| c.publisher_refused,
    ),
    ("session_refused_full", "Sessions refused: too many", |c| {
        c.session_refused_full
    }),
    ("offer_refused", "Offers refused", |c| c.offer_refused),
    ("counter_offered", "Counter-offers made", |c| {
        c.counter_offered
    }),
    ("ice_restarted", "ICE restarts", |c| c.ice_restarted),
    (
        "check_answered",
        "Valid checks answered by the sidecar",
        |c| c.stun_answered,
    ),
    (
        "check_rejected",
        "Valid checks answered with an error",
        |c| c.stun_rejected,
    ),
    (
        "check_repeated",
        "Valid checks that had come before: answered, and of no other effect",
        |c| c.stun_repeated,
    ),
    ("check_heard", "Answers to checks of ours", |c| c.stun_heard),
    ("check_malformed", "Checks dropped: malformed", |c| {
        c.stun_malformed
    }),
    ("check_unverified", "Checks dropped: wrong integrity", |c| {
        c.stun_unverified
    }),
    ("dtls_received", "DTLS datagrams of sessions", |c| {
        c.dtls_received
    }),
    (
        "dtls_unverified",
        "DTLS datagrams dropped: no valid check",
        |c| c.dtls_unverified,
    ),
    ("dtls_failed", "Handshakes that failed", |c| c.dtls_failed),
    (
        "punt_unknown",
        "Datagrams dropped: neither STUN nor DTLS",
        |c| c.punt_unknown,
    ),
    (
        "viewer_resent",
        "Viewers and publishers sent to a worker again",
        |c| c.viewer_resent,
    ),
];

const OF_SRT: [Line<Srt>; 7] = [
    ("srt_malformed", "SRT datagrams dropped: malformed", |c| {
        c.malformed
    }),
    (
        "srt_stray",
        "SRT datagrams dropped: of no connection",
        |c| c.stray,
    ),
    (
        "srt_bad_cookie",
        "SRT handshakes dropped: wrong cookie",
        |c| c.bad_cookie,
    ),
    (
        "srt_rate_limited",
        "SRT handshakes dropped: too many",
        |c| c.rate_limited,
    ),
    ("srt_rejected", "SRT callers refused", |c| c.rejected.sum()),
    (
        "srt_undecryptable",
        "SRT packets dropped: wrong or no key",
        |c| c.undecryptable,
    ),
    ("srt_km_refused", "SRT key refreshes refused", |c| {
        c.km_refused
    }),
];

impl Driver {
    pub(super) fn samples(&self) -> Vec<Sample> {
        let sessions = self.sessions.counters();
        let mut samples = lines(&OF_SESSIONS, &sessions);
        samples.extend(lines(&OF_SRT, &self.srt_counters));
        let own = [
            (
                "punt_lost",
                "Handshake datagrams lost: ring full",
                self.lines.punt_lost(),
            ),
            (
                "srt_payload_overflowed",
                "SRT payloads not taken in time",
                self.srt_overflowed,
            ),
        ];
        samples.extend(own.map(|(name, help, value)| sample(name, help, value)));
        samples.extend(self.draining.samples());
        samples
    }
}

fn lines<T>(lines: &[Line<T>], counters: &T) -> Vec<Sample> {
    lines
        .iter()
        .map(|(name, help, value)| sample(name, help, value(counters)))
        .collect()
}

fn sample(name: &'static str, help: &'static str, value: u64) -> Sample {
    Sample {
        name,
        help,
        value,
        counter: true,
    }
}
