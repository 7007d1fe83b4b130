//! Owns what workers pass up because they do not know it: checks of sessions that are not theirs
//! yet, and all DTLS.
//!
//! A datagram that is not authentic changes nothing but a counter and is not answered.

use crate::dtls::{Dtls, Progress};
use crate::ice::Check;
use crate::output::Output;
use crate::sessions::Sessions;
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
        let Some(message) = Message::parse(bytes)
            .ok()
            .filter(Message::is_binding_request)
        else {
            self.counters.stun_malformed += 1;
            return;
        };
        let Some((index, password)) = self.authenticate(&message) else {
            self.counters.stun_unverified += 1;
            return;
        };
        let mut answer = [0; ANSWER_BYTES_MAX];
        let transaction = message.transaction();
        let written = match verdict(&message) {
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
        if verdict(&message).is_ok() {
            let priority = message.priority().unwrap_or(0);
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

    fn on_check(&mut self, now: Time, index: u32, check: &Check) {
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
        let index = self.table.by_peer(peer);
        let Some((index, session)) = index.and_then(|i| Some((i, self.table.get_mut(i)?))) else {
            self.counters.dtls_unverified += 1;
            return;
        };
        self.counters.dtls_received += 1;
        let mut datagrams = Vec::new();
        let progress = match &mut session.dtls {
            Some(dtls) => dtls.handle(&self.dtls, now, bytes, &mut datagrams),
            None => Progress::Going,
        };
        let route = Some((core, peer, local));
        self.transmit(route, datagrams);
        self.on_dtls(now, index, route, progress);
    }
}

/// RFC 8445 section 7.3 for the lite side, which is always controlled; the check is authentic.
fn verdict(message: &Message<'_>) -> Verdict {
    if let Some(kind) = message.unknown_required() {
        return Err(Fault::UnknownAttribute(kind));
    }
    match message.role() {
        Some(Role::Controlling(_)) => Ok(()),
        //= https://www.rfc-editor.org/rfc/rfc8445#section-6.1.1
        //# The full agent MUST take the controlling role, and the lite agent MUST
        //# take the controlled role.
        Some(Role::Controlled(_)) => Err(Fault::RoleConflict),
        None => Err(Fault::BadRequest),
    }
}
