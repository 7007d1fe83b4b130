//! Owns what workers pass up because they do not know it: checks of sessions that are not theirs
//! yet, and all DTLS.
//!
//! A datagram that is not authentic changes nothing but a counter and is not answered.

use crate::dtls::{Dtls, Progress};
use crate::ice::Check;
use crate::output::Output;
use crate::sessions::{Route, Sessions};
use link::ids::{self, CoreId};
use wire::demux::{self, Class};
use wire::peer::{Ip, Peer};
use wire::stun::{self, Fault, Message, Role};
use wire::time::Time;

/// Room for any answer to a check.
const ANSWER_BYTES_MAX: usize = 128;

/// What is wrong with a check, if anything, that its sender may be told.
type Verdict = Result<(), Fault>;

impl Sessions {
    /// Takes a datagram from `peer` that came to `local` at worker `core`.
    pub fn punt(&mut self, now: Time, core: CoreId, peer: Peer, local: Ip, bytes: &[u8]) {
        match demux::classify(bytes) {
            Class::Stun => self.check(now, core, peer, local, bytes),
            Class::Dtls => self.dtls(now, core, peer, local, bytes),
            Class::Rtp | Class::Rtcp | Class::Unknown => self.counters.punt_unknown += 1,
        }
    }

    fn check(&mut self, now: Time, core: CoreId, peer: Peer, local: Ip, bytes: &[u8]) {
        let message = match Message::parse(bytes) {
            Ok(message) if message.is_binding_request() => message,
            Ok(message) => return self.on_answer(now, (core, peer, local), &message),
            Err(_) => {
                self.counters.stun_malformed += 1;
                return;
            }
        };
        let Some((index, password)) = self.authenticate(&message) else {
            self.counters.stun_unverified += 1;
            return;
        };
        let calls = self.table.get(index).is_some_and(|s| s.agent.is_some());
        let verdict = verdict(&message, calls);
        let mut answer = [0; ANSWER_BYTES_MAX];
        let transaction = message.transaction();
        let written = match verdict {
            Ok(()) => {
                self.counters.stun_answered += 1;
                stun::write_success(&transaction, peer, &password, &mut answer)
            }
            Err(fault) => {
                self.counters.stun_rejected += 1;
                stun::write_error(&transaction, fault, Some(&password), &mut answer)
            }
        };
        let bytes = answer.get(..written).unwrap_or_default().to_vec();
        self.output(Output::Transmit {
            core,
            peer,
            local,
            bytes,
        });
        let priority = message.priority().unwrap_or(0);
        if verdict.is_err() || self.is_repeated(index, transaction) {
            return;
        }
        if calls {
            self.on_check_of_called(now, index, peer, priority);
        } else {
            let nominated = message.use_candidate();
            self.on_check(
                now,
                index,
                &Check {
                    peer,
                    local,
                    core,
                    priority,
                    nominated,
                },
            );
        }
    }

    /// An answer that was lost is why checks come again; the first of them has had its effect.
    fn is_repeated(&mut self, index: u32, transaction: [u8; 12]) -> bool {
        let session = self.table.get_mut(index);
        let is_new = session.is_some_and(|session| session.ice.is_new(transaction));
        self.counters.stun_repeated += u64::from(!is_new);
        !is_new
    }

    /// Whose check this is, and the password that proves it. Finds the session by the index in the
    /// user name, so that a flood of made-up names costs no search.
    fn authenticate(&self, message: &Message<'_>) -> Option<(u32, Vec<u8>)> {
        let (ours, _theirs) = message.username()?;
        let index = ids::ufrag_index(ours)?;
        let password = self.table.get(index)?.ice.password(ours)?;
        message
            .verify_integrity(password)
            .then(|| (index, password.to_vec()))
    }

    /// A pair is valid: the peer has proved that it is there.
    pub(crate) fn on_check(&mut self, now: Time, index: u32, check: &Check) {
        let Some(session) = self.table.get_mut(index) else {
            return;
        };
        if session.ice.pairs().is_empty() {
            session.expires = session.created + self.config.handshake_timeout;
        }
        let forgotten = session.ice.on_check(now, check);
        let mut datagrams = Vec::new();
        if let Some(fingerprints) = session.dtls_client.take() {
            // The peer wants to be the server, and this address is proved to be its own.
            session.dtls = Some(Dtls::client(&self.dtls, now, fingerprints, &mut datagrams));
        }
        self.table.bind(check.peer, index, forgotten);
        self.transmit(Some((check.core, check.peer, check.local)), datagrams);
        self.schedule(index);
    }

    /// RFC 8842 and WebRTC practice: a valid pair is enough, browsers do not wait for nomination.
    fn dtls(&mut self, now: Time, core: CoreId, peer: Peer, local: Ip, bytes: &[u8]) {
        let all = self.table.by_peer(peer);
        if all.is_empty() {
            self.counters.dtls_unverified += 1;
            return;
        }
        self.counters.dtls_received += 1;
        // Of several sessions of one socket the one that shakes hands: there is one at a time.
        let shakes_hands = |index: &&u32| {
            let session = self.table.get(**index);
            session.is_some_and(|session| session.placed.is_none())
        };
        let one = all.iter().rev().find(shakes_hands).copied();
        let all = one.map_or_else(|| all.to_vec(), |one| vec![one]);
        // Else it is a goodbye, which those ignore whose keys do not open it.
        for index in all {
            self.dtls_of(now, index, (core, peer, local), bytes);
        }
    }

    fn dtls_of(&mut self, now: Time, index: u32, route: Route, bytes: &[u8]) {
        let Some(session) = self.table.get_mut(index) else {
            return;
        };
        let mut datagrams = Vec::new();
        let progress = match &mut session.dtls {
            Some(dtls) => dtls.handle(&self.dtls, now, bytes, &mut datagrams),
            None => Progress::Going,
        };
        self.transmit(Some(route), datagrams);
        self.on_dtls(now, index, Some(route), progress);
    }
}

/// RFC 8445 section 7.3 for the lite side, which is always controlled, and where we have made the
/// offer (`calls`) for the controlling one; the check is authentic.
fn verdict(message: &Message<'_>, calls: bool) -> Verdict {
    if let Some(kind) = message.unknown_required() {
        return Err(Fault::UnknownAttribute(kind));
    }
    match message.role() {
        Some(Role::Controlled(_)) if calls => Ok(()),
        Some(Role::Controlling(_)) if calls => Err(Fault::RoleConflict),
        Some(Role::Controlling(_)) => Ok(()),
        //= https://www.rfc-editor.org/rfc/rfc8445#section-6.1.1
        //# The full agent MUST take the controlling role, and the lite agent MUST
        //# take the controlled role.
        Some(Role::Controlled(_)) => Err(Fault::RoleConflict),
        None => Err(Fault::BadRequest),
    }
}
