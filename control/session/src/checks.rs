//! Owns the checks that we send to peers that we have called, and what comes of them.

use crate::agent::Answered;
use crate::ice::Check;
use crate::random::Random;
use crate::session::Session;
use crate::sessions::{Route, Sessions};
use link::command::Command;
use link::ids::CoreId;
use wire::peer::{Ip, Peer};
use wire::stun::{Class, METHOD_BINDING, Message};
use wire::time::Time;

/// The worker that sends where nothing has been heard yet. The kernel chooses which one hears the
/// answer, and that one goes on.
const FIRST_CORE: CoreId = CoreId(0);

impl Sessions {
    /// Takes what may be an answer to a check of ours. It counts if it is authentic, and comes from
    /// where the check went (RFC 8445 section 7.2.5.2.1).
    pub(crate) fn on_answer(&mut self, now: Time, route: Route, message: &Message<'_>) {
        let (core, peer, local) = route;
        let is_answer = matches!(message.class(), Class::Success | Class::Error);
        if message.method() != METHOD_BINDING || !is_answer {
            self.counters.stun_malformed += 1;
            return;
        }
        let transaction = message.transaction();
        let Some(index) = self.called_by(&transaction, peer, message) else {
            self.counters.stun_unverified += 1;
            return;
        };
        // 487 is no matter: the other side has the lower tie-breaker, and will give way.
        if message.class() == Class::Error {
            self.counters.stun_rejected += 1;
            return;
        }
        self.counters.stun_heard += 1;
        let Some(session) = self.table.get_mut(index) else {
            return;
        };
        let agent = session.agent.as_mut();
        let answered = agent.and_then(|a| a.on_answer(now, &mut self.random, &transaction));
        let Some(answered) = answered else {
            return;
        };
        let Answered {
            priority,
            nominated,
            consents,
        } = answered;
        let placed = session.placed.as_ref().filter(|_| consents);
        let serving = placed.map(|placed| (placed.core, session.viewer));
        if let Some((core, viewer)) = serving {
            self.command(core, Command::Consent(viewer));
        }
        let check = Check {
            peer,
            local,
            core,
            priority,
            nominated,
        };
        self.on_check(now, index, &check);
        if nominated {
            self.follow_pair(now, index);
        }
    }

    /// A peer that we have called has checked us. It makes no pair valid, but shows where to check.
    pub(crate) fn on_check_of_called(&mut self, now: Time, index: u32, peer: Peer, priority: u32) {
        if let Some(session) = self.table.get_mut(index)
            && let Some(agent) = &mut session.agent
        {
            agent.on_check(now, peer, priority);
        }
        self.schedule(index);
    }

    /// The session whose check this answers.
    fn called_by(&self, transaction: &[u8; 12], peer: Peer, message: &Message<'_>) -> Option<u32> {
        let mut all = self.table.calls();
        let session = all.find(|session| {
            let agent = session.agent.as_ref();
            agent.and_then(|agent| agent.target_of(transaction)) == Some(peer)
        })?;
        let (_, pwd) = session.ice.remote();
        message
            .verify_integrity(pwd.as_bytes())
            .then_some(session.viewer.index)
    }
}

impl Session {
    /// Our checks that are due, and by which way they go.
    pub(crate) fn checks_due(&mut self, now: Time, random: &mut Random) -> Vec<(Route, Vec<u8>)> {
        let Some(agent) = self.agent.as_mut().filter(|_| !self.ice.is_unanswered()) else {
            return Vec::new();
        };
        let checks = agent.due(
            now,
            random,
            self.ice.newest_credentials(),
            self.ice.remote(),
        );
        let known = self.ice.pairs();
        let way = |peer: Peer| {
            let pair = known.iter().find(|pair| pair.peer == peer);
            pair.map_or((FIRST_CORE, peer, Ip::UNKNOWN), |pair| pair.route())
        };
        let checks = checks.into_iter();
        checks.map(|(peer, bytes)| (way(peer), bytes)).collect()
    }
}
