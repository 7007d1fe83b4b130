//! Owns what both engines have in common, and what neither gets to see.

use super::hello::{Record, records};
use super::{EngineKind, dimpl, openssl};
use link::keys::{MasterKey, Profile, SrtpKeys};
use wire::time::Time;

pub(super) enum Engine {
    Dimpl(Box<dimpl::Engine>),
    OpenSsl(openssl::Engine),
}

/// What an engine makes of its input.
pub(super) enum Step {
    Going,
    Connected(Secrets),
    Closed,
    Failed,
}

/// What an engine knows when it is connected.
pub(super) struct Secrets {
    pub(super) profile: Profile,
    /// RFC 5764 section 4.2: client key, server key, client salt, server salt.
    pub(super) material: Vec<u8>,
    /// The peer's certificate (DER).
    pub(super) certificate: Vec<u8>,
}

impl Engine {
    pub(super) fn kind(&self) -> EngineKind {
        match self {
            Self::Dimpl(engine) => engine.kind(),
            Self::OpenSsl(_) => EngineKind::Dtls12,
        }
    }

    pub(super) fn is_client(&self) -> bool {
        match self {
            Self::Dimpl(_) => false,
            Self::OpenSsl(engine) => engine.is_client(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        match self {
            Self::Dimpl(engine) => engine.is_connected(),
            Self::OpenSsl(engine) => engine.is_connected(),
        }
    }

    /// Keeps from the engine what anybody could have sent who knows an address: alerts that nothing
    /// protects, ever (RFC 6347 section 4.1.2.7 lets us), and once connected all that nothing
    /// protects. A peer whose last flight was lost repeats its Finished, which is protected.
    pub(super) fn handle_filtered(
        &mut self,
        now: Time,
        datagram: &[u8],
        out: &mut Vec<Vec<u8>>,
    ) -> Step {
        const ALERT: u8 = 21;
        let connected = self.is_connected();
        let passes = |r: &Record<'_>| !r.is_plaintext() || (!connected && r.kind != ALERT);
        if records(datagram).all(|record| passes(&record)) {
            return self.handle(now, datagram, out);
        }
        let kept: Vec<u8> = records(datagram)
            .filter(passes)
            .flat_map(|r| r.whole.iter().copied())
            .collect();
        if kept.is_empty() {
            Step::Going
        } else {
            self.handle(now, &kept, out)
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Vec<Vec<u8>>) -> Step {
        match self {
            Self::Dimpl(engine) => engine.handle_timeout(now, out),
            Self::OpenSsl(engine) => engine.handle_timeout(now, out),
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Dimpl(engine) => engine.deadline(),
            Self::OpenSsl(engine) => engine.deadline(),
        }
    }

    pub(super) fn close(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        match self {
            Self::Dimpl(engine) => engine.close(now, out),
            Self::OpenSsl(engine) => engine.close(out),
        }
    }

    fn handle(&mut self, now: Time, datagram: &[u8], out: &mut Vec<Vec<u8>>) -> Step {
        match self {
            Self::Dimpl(engine) => engine.handle(now, datagram, out),
            Self::OpenSsl(engine) => engine.handle(now, datagram, out),
        }
    }
}

/// Cuts the exporter's output up. `None` if it is too short.
pub(super) fn keys(profile: Profile, material: &[u8], client: bool) -> Option<SrtpKeys> {
    let (key_bytes, salt_bytes) = (profile.key_bytes(), profile.salt_bytes());
    let (client_key, rest) = material.split_at_checked(key_bytes)?;
    let (server_key, rest) = rest.split_at_checked(key_bytes)?;
    let (client_salt, rest) = rest.split_at_checked(salt_bytes)?;
    let (server_salt, _) = rest.split_at_checked(salt_bytes)?;
    let by_client = master_key(client_key, client_salt)?;
    let by_server = master_key(server_key, server_salt)?;
    let (send, receive) = if client {
        (by_client, by_server)
    } else {
        (by_server, by_client)
    };
    Some(SrtpKeys {
        profile,
        send,
        receive,
    })
}

fn master_key(key: &[u8], salt: &[u8]) -> Option<MasterKey> {
    let mut master = MasterKey::default();
    master.key.get_mut(..key.len())?.copy_from_slice(key);
    master.salt.get_mut(..salt.len())?.copy_from_slice(salt);
    Some(master)
}
