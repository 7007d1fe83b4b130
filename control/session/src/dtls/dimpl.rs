//! Owns DTLS 1.3 by dimpl: sans-IO already, so this is a translation of times and outputs.

use super::MTU_BYTES;
use super::engine::{Secrets, Step};
use dimpl::{Config, DtlsCertificate, Error, Output, SrtpProfile};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::srtp::Profile;
use wire::time::{Span, Time};

/// The profiles that dimpl knows. It takes the first of the client's.
pub(super) const PROFILES: [Profile; 3] = [
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
    Profile::Aes128CmSha1_80,
];

/// First retransmission of a flight. Browsers answer within a round trip and a few ms of signing;
/// RFC 9147 section 5.8.2 lets real-time applications go below its 1 s.
const RTO: Duration = Duration::from_millis(150);

/// Retransmissions of a flight before it is given up: 150 ms doubled seven times is 19 s.
const RETRIES: usize = 7;

/// What lies farther ahead than this is the library's way to say that nothing is due.
const NEVER: Span = Span::secs(24 * 3600);

/// What all associations share.
pub(super) struct Shared {
    config: Arc<Config>,
    certificate: DtlsCertificate,
    /// What [`Time::ZERO`] is called in the library's notion of time. Not a clock: only spans
    /// that were passed in are ever added to it.
    origin: Instant,
}

/// One association, the server side.
pub(super) struct Engine {
    dtls: dimpl::Dtls,
    origin: Instant,
    deadline: Option<Time>,
    certificate: Vec<u8>,
    connected: bool,
    told: bool,
    material: Option<(Profile, Vec<u8>)>,
}

impl Shared {
    pub(super) fn new(certificate: DtlsCertificate) -> Result<Self, Error> {
        let config = Config::builder()
            .mtu(MTU_BYTES)
            .use_server_cookie(false) // the ICE check has proved the address
            .require_client_certificate(true)
            .flight_start_rto(RTO)
            .flight_retries(RETRIES)
            .build()?;
        #[expect(
            clippy::disallowed_methods,
            reason = "there is no other way to name an Instant"
        )]
        let origin = Instant::now();
        Ok(Self {
            config: Arc::new(config),
            certificate,
            origin,
        })
    }
}

impl Engine {
    pub(super) fn server(shared: &Shared, now: Time) -> Self {
        let certificate = shared.certificate.clone();
        let instant = at(shared.origin, now);
        Self {
            dtls: dimpl::Dtls::new_13(Arc::clone(&shared.config), certificate, instant),
            origin: shared.origin,
            deadline: None,
            certificate: Vec::new(),
            connected: false,
            told: false,
            material: None,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    pub(super) fn handle(&mut self, now: Time, datagram: &[u8], out: &mut Vec<Vec<u8>>) -> Step {
        let ticked = self.dtls.handle_timeout(at(self.origin, now));
        let handled = ticked.and_then(|()| self.dtls.handle_packet(datagram));
        self.drain(now, handled, out)
    }

    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Vec<Vec<u8>>) -> Step {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return Step::Going;
        }
        let ticked = self.dtls.handle_timeout(at(self.origin, now));
        self.drain(now, ticked, out)
    }

    pub(super) fn close(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        let ticked = self.dtls.handle_timeout(at(self.origin, now));
        let closed = ticked.and_then(|()| self.dtls.close());
        self.drain(now, closed, out);
    }

    fn drain(&mut self, now: Time, result: Result<(), Error>, out: &mut Vec<Vec<u8>>) -> Step {
        let mut closed = matches!(result, Err(Error::ConnectionClosed));
        let failed = result.is_err() && !closed;
        let mut buffer = vec![0; 2 * MTU_BYTES];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => out.push(bytes.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Timeout(instant) => {
                    self.deadline = time(self.origin, instant).filter(|due| *due < now + NEVER);
                    break;
                }
                Output::Connected => self.connected = true,
                Output::PeerCert(der) => self.certificate = der.to_vec(),
                Output::KeyingMaterial(material, profile) => {
                    self.material = profile_of(profile).map(|profile| (profile, material.to_vec()));
                }
                Output::CloseNotify => closed = true,
                _ => {}
            }
        }
        if closed {
            return Step::Closed;
        }
        // Once connected the association serves no purpose but to be closed: what the library makes
        // of a bad record must not end a session that plays.
        if failed && !self.connected {
            return Step::Failed;
        }
        if !self.connected || self.told {
            return Step::Going;
        }
        self.told = true;
        match self.material.take() {
            Some((profile, material)) => {
                let certificate = std::mem::take(&mut self.certificate);
                Step::Connected(Secrets {
                    profile,
                    material,
                    certificate,
                })
            }
            None => Step::Failed,
        }
    }
}

pub(super) fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        _ => None,
    }
}

fn at(origin: Instant, now: Time) -> Instant {
    origin
        .checked_add(Duration::from_nanos(now.0))
        .unwrap_or(origin)
}

/// `None` for a time that never comes.
fn time(origin: Instant, instant: Instant) -> Option<Time> {
    u64::try_from(instant.saturating_duration_since(origin).as_nanos())
        .ok()
        .map(Time)
}
