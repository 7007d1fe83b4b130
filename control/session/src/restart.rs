//! Owns the ICE restarts of calls (RFC 9725 section 4.3.3): what a server is told whose media side
//! has fallen silent while its HTTP side lives, and what becomes of its answer.

use crate::agent::Agent;
use crate::output::{Cause, Output};
use crate::refusal::SignalError;
use crate::sdp::fragment::{self, Fragment};
use crate::session::Session;
use crate::sessions::Sessions;
use crate::signalling::{ETAG_CHARACTERS, ice_text, unknown_session};
use link::command::Command;
use wire::time::{Span, Time};

/// How long a restart may take from when consent was missed, its requests included. Workers let go
/// of a peer after 30 s without consent, of which up to 18 have passed by then: three periods.
pub const RESTART_TIMEOUT: Span = Span::secs(12);

impl Sessions {
    /// Our side of an ICE restart, after [`Output::ConsentMissed`]: an
    /// `application/trickle-ice-sdpfrag` with new credentials for the server.
    ///
    /// # Errors
    /// 404: no such session, or it is well.
    pub fn restart_offer(&mut self, now: Time, id: &str) -> Result<String, SignalError> {
        let index = self.restarting(id)?;
        let credentials = self.random.credentials(index);
        let etag = format!("\"{}\"", self.random.text(ETAG_CHARACTERS));
        let session = self.table.get_mut(index).ok_or_else(unknown_session)?;
        let remote = session.ice.remote().clone();
        // Both are good for checks of the server, until this comes to an end.
        session.ice.restart(now, credentials, remote, etag);
        self.counters.ice_restarted += 1;
        let (mid, kind) = &session.section;
        let (ufrag, pwd) = (ice_text(&credentials.ufrag), ice_text(&credentials.pwd));
        let ours = fragment::Side {
            ufrag,
            pwd,
            is_lite: false,
            candidates: &self.config.candidates,
        };
        let text = fragment::write(&ours, mid, kind);
        let placed = session.placed.as_ref();
        if let Some((core, viewer)) = placed.map(|placed| (placed.core, session.viewer)) {
            let ice = credentials;
            self.command(core, Command::RestartIce { viewer, ice });
        }
        Ok(text)
    }

    /// The server's answer to it: checks begin anew, with its new credentials and addresses.
    ///
    /// # Errors
    /// 404: no such session, or it is well; 400, 413, 422: the fragment. The session ends by its
    /// time then, if consent does not come back.
    pub fn restart_answered(
        &mut self,
        now: Time,
        id: &str,
        answer: &str,
    ) -> Result<(), SignalError> {
        let index = self.restarting(id)?;
        let takes_v6 = self.takes_v6();
        let session = self.table.get_mut(index).ok_or_else(unknown_session)?;
        let answer = Fragment::parse(answer)?;
        let remote = answer.ice.filter(|remote| session.ice.is_restart(remote));
        let remote = remote.ok_or_else(not_restarted)?;
        session.ice.answered(remote);
        session.ice.forget_nominations();
        // Servers that have one address for ever need not say it again.
        let before = session.placed.as_ref().map(|placed| placed.peer);
        if let Some(agent) = &mut session.agent {
            agent.restart(now, &answer.list, before, takes_v6);
        }
        self.schedule(index);
        Ok(())
    }

    /// The server does not consent any more. True: the session goes on for a while without, as its
    /// ICE may be restarted.
    pub(crate) fn miss_consent(&mut self, now: Time, index: u32) -> bool {
        let Some(session) = self.table.get_mut(index) else {
            return false;
        };
        let is_new = session.agent.as_mut().is_some_and(|a| a.miss(now));
        if session.placed.is_none() || !is_new {
            return false;
        }
        let session = session.id.clone();
        self.output(Output::ConsentMissed { session });
        true
    }

    /// The chosen pair of a call that has keys may be another one than before.
    pub(crate) fn follow_pair(&mut self, now: Time, index: u32) {
        let Some(session) = self.table.get_mut(index) else {
            return;
        };
        let selected = session.ice.selected().map(|pair| pair.route());
        let (Some((core, peer, local)), Some(placed)) = (selected, &mut session.placed) else {
            return;
        };
        if placed.peer == peer {
            return;
        }
        if placed.core != core {
            // The kernel gives what comes from there to another worker, which has no keys.
            return self.close(now, index, Cause::Consent, true);
        }
        (placed.peer, placed.local) = (peer, local);
        self.send_commands(index);
    }

    fn restarting(&self, id: &str) -> Result<u32, SignalError> {
        let index = self.table.by_id(id);
        let is_one = |index: &u32| self.table.get(*index).is_some_and(Session::misses_consent);
        index.filter(is_one).ok_or_else(unknown_session)
    }
}

impl Session {
    fn misses_consent(&self) -> bool {
        self.agent.as_deref().is_some_and(Agent::misses_consent)
    }
}

fn not_restarted() -> SignalError {
    SignalError::unacceptable(
        "ice-not-restarted",
        "The server's fragment has no credentials, or those that it had.",
        "See what the server says in its log: it must answer as RFC 9725 section 4.3.3 says.",
    )
}
