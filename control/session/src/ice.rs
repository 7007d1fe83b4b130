//! Owns the ICE side of a session (RFC 8445, lite): credentials old and new, valid pairs, and the
//! one that is selected.

use crate::sessions::Route;
use link::command::IceCredentials;
use link::ids::CoreId;
use wire::peer::{Ip, Peer};
use wire::stun::Lately;
use wire::time::{Span, Time};

/// Most valid pairs of a session. A browser has two or three interfaces with two families each.
const PAIRS_MAX: usize = 8;

/// Fewest time between two restarts. A browser needs seconds to see that one is wanted.
const RESTART_INTERVAL: Span = Span::millis(500);

/// A pair on which a valid check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) peer: Peer,
    pub(crate) local: Ip,
    /// The worker that has last received from it.
    pub(crate) core: CoreId,
    /// What the peer thinks its candidate is worth.
    priority: u32,
    nominated: bool,
    seen_at: Time,
}

impl Pair {
    /// Where datagrams of this pair go.
    pub(crate) fn route(&self) -> Route {
        (self.core, self.peer, self.local)
    }
}

/// The ICE side of a session.
pub(crate) struct Ice {
    /// The credentials that have worked, or that the answer gave.
    credentials: IceCredentials,
    /// Those of the newest restart. Both are good: RFC 9725 section 4.3.1 keeps the old ones going
    /// if the restart comes to nothing.
    restarted: Option<IceCredentials>,
    restarted_at: Option<Time>,
    /// The peer's username fragment and password.
    remote: (String, String),
    /// Strong entity-tag of this ICE session, with its quotes.
    etag: String,
    pairs: Vec<Pair>,
    checks: Lately,
}

impl Ice {
    pub(crate) fn new(credentials: IceCredentials, remote: (String, String), etag: String) -> Self {
        Self {
            credentials,
            restarted: None,
            restarted_at: None,
            remote,
            etag,
            pairs: Vec::new(),
            checks: Lately::default(),
        }
    }

    pub(crate) fn etag(&self) -> &str {
        &self.etag
    }

    pub(crate) fn credentials(&self) -> &IceCredentials {
        &self.credentials
    }

    pub(crate) fn restarted(&self) -> Option<&IceCredentials> {
        self.restarted.as_ref()
    }

    pub(crate) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The password that goes with a username fragment of ours.
    pub(crate) fn password(&self, ufrag: &[u8]) -> Option<&[u8]> {
        [Some(&self.credentials), self.restarted.as_ref()]
            .into_iter()
            .flatten()
            .find(|credentials| credentials.ufrag == ufrag)
            .map(|credentials| &credentials.pwd[..])
    }

    /// True if these are not the peer's credentials: it wants a restart (RFC 8839 section 4.4.1.1).
    pub(crate) fn is_restart(&self, remote: &(String, String)) -> bool {
        self.remote != *remote
    }

    /// The peer's username fragment and password.
    pub(crate) fn remote(&self) -> &(String, String) {
        &self.remote
    }

    /// True if the peer's credentials have not come yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.remote.0.is_empty()
    }

    /// The peer's username fragment and password, which came after ours were in use.
    pub(crate) fn answered(&mut self, remote: (String, String)) {
        self.remote = remote;
    }

    /// Our newest credentials.
    pub(crate) fn newest_credentials(&self) -> &IceCredentials {
        self.restarted.as_ref().unwrap_or(&self.credentials)
    }

    /// The pair that was chosen counts no more: another one, or the same, is to be chosen.
    pub(crate) fn forget_nominations(&mut self) {
        for pair in &mut self.pairs {
            pair.nominated = false;
        }
    }

    /// Credentials of a restart in an earlier life of control.
    pub(crate) fn adopt(&mut self, restarted: Option<IceCredentials>) {
        self.restarted = restarted;
    }

    /// False while the last restart is too recent for another.
    pub(crate) fn may_restart(&self, now: Time) -> bool {
        self.restarted_at
            .is_none_or(|at| at + RESTART_INTERVAL <= now)
    }

    /// Takes new credentials besides the newest that the peer knows of.
    pub(crate) fn restart(
        &mut self,
        now: Time,
        credentials: IceCredentials,
        remote: (String, String),
        etag: String,
    ) {
        if let Some(newest) = self.restarted.replace(credentials) {
            self.credentials = newest;
        }
        self.restarted_at = Some(now);
        self.remote = remote;
        self.etag = etag;
    }

    /// True if this check is not one that came before. One that comes again, be it from elsewhere,
    /// proves nothing: anybody who has overheard it can send it.
    pub(crate) fn is_new(&mut self, transaction: [u8; 12]) -> bool {
        self.checks.is_new(transaction)
    }

    /// Notes a valid check. Gives the peer that was forgotten to make room, if one was.
    pub(crate) fn on_check(&mut self, now: Time, check: &Check) -> Option<Peer> {
        let &Check {
            peer,
            local,
            core,
            priority,
            nominated,
        } = check;
        if let Some(pair) = self.pairs.iter_mut().find(|pair| pair.peer == peer) {
            pair.nominated |= nominated;
            (pair.local, pair.core, pair.priority, pair.seen_at) = (local, core, priority, now);
            return None;
        }
        let new = Pair {
            peer,
            local,
            core,
            priority,
            nominated,
            seen_at: now,
        };
        if self.pairs.len() < PAIRS_MAX {
            self.pairs.push(new);
            return None;
        }
        // The selected pair stays; of the others the one that has been silent longest goes.
        let kept = self.selected().map(|pair| pair.peer);
        let oldest = self
            .pairs
            .iter_mut()
            .filter(|pair| Some(pair.peer) != kept)
            .min_by_key(|pair| pair.seen_at)?;
        let forgotten = oldest.peer;
        *oldest = new;
        Some(forgotten)
    }

    /// The nominated pair with the highest priority: a peer that nominates aggressively nominates
    /// many, and that is the one both sides agree on. `None` before any nomination.
    pub(crate) fn selected(&self) -> Option<&Pair> {
        self.pairs
            .iter()
            .filter(|pair| pair.nominated)
            .max_by_key(|pair| pair.priority)
    }

    /// The pair on which the newest valid check has come.
    pub(crate) fn newest(&self) -> Option<&Pair> {
        self.pairs.iter().max_by_key(|pair| pair.seen_at)
    }

    /// A worker has moved the viewer: that pair and no other counts as nominated.
    pub(crate) fn on_moved(&mut self, now: Time, peer: Peer, core: CoreId) -> Option<Peer> {
        let local = self.selected().map_or(Ip::UNKNOWN, |pair| pair.local);
        for pair in &mut self.pairs {
            pair.nominated = false;
        }
        self.on_check(
            now,
            &Check {
                peer,
                local,
                core,
                priority: u32::MAX,
                nominated: true,
            },
        )
    }

    /// The peer's socket belongs to somebody else now.
    pub(crate) fn forget(&mut self, peer: Peer) {
        self.pairs.retain(|pair| pair.peer != peer);
    }
}

/// A check that was valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) peer: Peer,
    pub(crate) local: Ip,
    pub(crate) core: CoreId,
    pub(crate) priority: u32,
    pub(crate) nominated: bool,
}
