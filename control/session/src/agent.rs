//! Owns our side of ICE where we have made the offer (RFC 8445, full and controlling): checks of
//! the peer's candidates, nomination, and consent (RFC 7675) for as long as the session lives.
//!
//! The first pair on which an answer comes is nominated: it has the shortest way, and a server's
//! addresses all lead to the same host.

use crate::random::Random;
use crate::restart::RESTART_TIMEOUT;
use crate::sdp::candidate::{CANDIDATES_MAX, Candidate};
use link::command::IceCredentials;
use std::collections::VecDeque;
use wire::peer::Peer;
use wire::stun::{Request, Role};
use wire::time::{Span, Time};

//= https://www.rfc-editor.org/rfc/rfc8445#section-14.2
//# Agents SHOULD use a default Ta value, 50 ms
/// From the first check of a candidate to that of the next.
const PACE: Span = Span::millis(50);

/// First wait before a candidate is checked again, doubled each time: half of what RFC 8445 section
/// 14.3 counts, as a check is small, there is one peer, and a viewer may wait for its first frame.
const CHECK_FIRST: Span = Span::millis(250);

/// Longest wait.
const CHECK_LAST: Span = Span::secs(2);

//= https://www.rfc-editor.org/rfc/rfc7675#section-5.1
//# Implementations SHOULD set a default interval of 5 seconds, resulting
//# in a period between checks of 4 to 6 seconds.
const CONSENT_PERIOD_MS: u64 = 4000;
const CONSENT_SPREAD_MS: u64 = 2000;

//= https://www.rfc-editor.org/rfc/rfc7675#section-5.1
//# Consent expires after 30 seconds.
const CONSENT: Span = Span::secs(30);

/// So many checks without an answer, and nothing heard in the meantime: the peer has gone. Another
/// session is made sooner than the rest of the 30 s would pass.
const UNANSWERED_MAX: u32 = 2;

/// What was heard so lately shows that the peer is there, whatever became of checks.
const HEARD: Span = Span::secs(5);

/// Checks whose answers are still good.
const SENT_MAX: usize = 4 * CANDIDATES_MAX;

/// Room for a check: the longest user name that a description may give, and 100 bytes more.
const CHECK_BYTES_MAX: usize = 512;

/// What an address of ours is worth that the peer learns of by a check (RFC 8445 section 7.1.1).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Our checks of a session.
pub(crate) struct Agent {
    tie_breaker: u64,
    /// The answer has come: before that there is no password to check with.
    has_begun: bool,
    targets: Vec<Target>,
    sent: VecDeque<Sent>,
    /// The pair that was chosen; checks go there alone.
    chosen: Option<Peer>,
    nominated: bool,
    /// The last answer on the chosen pair.
    answered_at: Time,
    unanswered: u32,
    check_at: Time,
    heard_at: Time,
    /// Consent was missed: until then it may come back, or ICE be restarted.
    missed_until: Option<Time>,
}

/// An address of the peer.
struct Target {
    peer: Peer,
    priority: u32,
    check_at: Time,
    wait: Span,
}

/// A check that an answer may come to.
struct Sent {
    transaction: [u8; 12],
    peer: Peer,
    nominates: bool,
}

/// What an answer has shown.
pub(crate) struct Answered {
    pub(crate) priority: u32,
    /// The pair is ours for good.
    pub(crate) nominated: bool,
    /// It is the chosen one: the peer consents.
    pub(crate) consents: bool,
}

impl Agent {
    pub(crate) fn new(random: &mut Random) -> Self {
        //= https://www.rfc-editor.org/rfc/rfc8445#section-7.3.1.1
        //# If the agent's tiebreaker value is larger than or equal to the
        //# contents of the ICE-CONTROLLING attribute, the agent generates
        //# a Binding error response
        // The upper half is of ones: an answerer that takes itself for controlling gives way.
        let tie_breaker = u64::from_be_bytes(random.bytes()) | 0xffff_ffff_0000_0000;
        Self {
            tie_breaker,
            has_begun: false,
            targets: Vec::new(),
            sent: VecDeque::new(),
            chosen: None,
            nominated: false,
            answered_at: Time::ZERO,
            unanswered: 0,
            check_at: Time::FAR,
            heard_at: Time::ZERO,
            missed_until: None,
        }
    }

    /// Consent is missed. False: it has been missed for too long already.
    pub(crate) fn miss(&mut self, now: Time) -> bool {
        let is_new = self.missed_until.is_none();
        self.missed_until.get_or_insert(now + RESTART_TIMEOUT);
        is_new
    }

    /// True from [`Agent::miss`] on until an answer comes.
    pub(crate) fn misses_consent(&self) -> bool {
        self.missed_until.is_some()
    }

    /// The peer has restarted ICE: these are to be checked, or else the address that it had.
    pub(crate) fn restart(
        &mut self,
        now: Time,
        candidates: &[Candidate],
        before: Option<Peer>,
        takes_v6: bool,
    ) {
        self.targets.clear();
        self.sent.clear();
        (self.chosen, self.nominated, self.unanswered) = (None, false, 0);
        self.begin(now, candidates, takes_v6);
        if let Some(peer) = before {
            self.add(peer, 0, now);
        }
    }

    /// The peer's answer has come: these are to be checked. `takes_v6`: we have such an address.
    pub(crate) fn begin(&mut self, now: Time, candidates: &[Candidate], takes_v6: bool) {
        self.has_begun = true;
        // A peer that has checked us already comes first.
        for target in &mut self.targets {
            target.check_at = now;
        }
        let usable = candidates
            .iter()
            .filter(|c| takes_v6 || c.address.is_ipv4());
        for candidate in usable {
            let at = now + Span(PACE.0 * self.targets.len() as u64);
            self.add(candidate.address.into(), candidate.priority, at);
        }
    }

    /// A valid check has come from here: the way is open (RFC 8445 section 7.3.1.4).
    pub(crate) fn on_check(&mut self, now: Time, peer: Peer, priority: u32) {
        match self.targets.iter_mut().find(|target| target.peer == peer) {
            Some(target) if self.chosen.is_none() => target.check_at = target.check_at.min(now),
            Some(_) => {}
            None => self.add(peer, priority, now),
        }
    }

    /// Something authentic has come of the peer at this time.
    pub(crate) fn on_heard(&mut self, at: Time) {
        self.heard_at = self.heard_at.max(at);
    }

    /// When [`Agent::due`] is wanted.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let of_targets = self.targets.iter().map(|target| target.check_at).min();
        let next = match self.chosen {
            None => of_targets.filter(|_| self.has_begun),
            Some(_) => Some(self.check_at),
        };
        let next = next.into_iter().chain(self.missed_until).min();
        next.filter(|at| *at < Time::FAR)
    }

    /// True if the peer does not consent any more, or has gone.
    pub(crate) fn is_lost(&self, now: Time) -> bool {
        if let Some(until) = self.missed_until {
            return until <= now;
        }
        let silent = now.since(self.heard_at) > HEARD;
        let is_dead = self.nominated && silent && self.unanswered >= UNANSWERED_MAX;
        let has_expired = now.since(self.answered_at) >= CONSENT;
        self.chosen.is_some() && (has_expired || (is_dead && self.check_at <= now))
    }

    /// The checks that are due now, with the addresses that they are for.
    pub(crate) fn due(
        &mut self,
        now: Time,
        random: &mut Random,
        ours: &IceCredentials,
        theirs: &(String, String),
    ) -> Vec<(Peer, Vec<u8>)> {
        let mut peers = Vec::new();
        if let Some(peer) = self.chosen {
            if self.check_at <= now {
                self.unanswered += 1;
                self.check_at = now
                    + match self.nominated {
                        true => period(random),
                        false => CHECK_FIRST,
                    };
                peers.push(peer);
            }
        } else {
            for target in self.targets.iter_mut().filter(|t| t.check_at <= now) {
                target.check_at = now + target.wait;
                target.wait = Span(target.wait.0.saturating_mul(2).min(CHECK_LAST.0));
                peers.push(target.peer);
            }
        }
        let nominates = self.chosen.is_some();
        let checks = peers
            .into_iter()
            .map(|peer| (peer, self.check(peer, nominates, random, ours, theirs)));
        checks.collect()
    }

    /// Where the check of this transaction went, if it is one of ours whose answer is awaited.
    pub(crate) fn target_of(&self, transaction: &[u8; 12]) -> Option<Peer> {
        let sent = self
            .sent
            .iter()
            .find(|sent| sent.transaction == *transaction);
        sent.map(|sent| sent.peer)
    }

    /// The check of this transaction was answered, authentically and from where it went.
    pub(crate) fn on_answer(
        &mut self,
        now: Time,
        random: &mut Random,
        transaction: &[u8; 12],
    ) -> Option<Answered> {
        let place = self
            .sent
            .iter()
            .position(|s| s.transaction == *transaction)?;
        let sent = self.sent.remove(place)?;
        let target = self.targets.iter().find(|target| target.peer == sent.peer);
        let priority = target.map_or(0, |target| target.priority);
        if self.chosen.is_none() {
            self.chosen = Some(sent.peer);
            self.check_at = now;
        }
        let consents = self.chosen == Some(sent.peer);
        if consents {
            self.answered_at = now;
            self.unanswered = 0;
            self.missed_until = None;
            if sent.nominates && !std::mem::replace(&mut self.nominated, true) {
                self.check_at = now + period(random);
            }
        }
        Some(Answered {
            priority,
            nominated: consents && self.nominated,
            consents,
        })
    }

    fn add(&mut self, peer: Peer, priority: u32, check_at: Time) {
        if self.targets.len() < CANDIDATES_MAX && self.targets.iter().all(|t| t.peer != peer) {
            self.targets.push(Target {
                peer,
                priority,
                check_at,
                wait: CHECK_FIRST,
            });
        }
    }

    fn check(
        &mut self,
        peer: Peer,
        nominates: bool,
        random: &mut Random,
        ours: &IceCredentials,
        (ufrag, pwd): &(String, String),
    ) -> Vec<u8> {
        let transaction = random.bytes();
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent {
            transaction,
            peer,
            nominates,
        });
        let request = Request {
            transaction,
            remote_ufrag: ufrag.as_bytes(),
            local_ufrag: &ours.ufrag,
            key: pwd.as_bytes(),
            priority: PRIORITY,
            role: Role::Controlling(self.tie_breaker),
            use_candidate: nominates,
        };
        let mut bytes = vec![0; CHECK_BYTES_MAX];
        let written = request.write(&mut bytes);
        bytes.truncate(written);
        bytes
    }
}

/// RFC 7675 section 5.1: random, lest checks of many sessions fall together.
fn period(random: &mut Random) -> Span {
    let spread = u64::from(u16::from_be_bytes(random.bytes())) * CONSENT_SPREAD_MS / 65_536;
    Span::millis(CONSENT_PERIOD_MS + spread)
}
