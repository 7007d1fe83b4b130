//! Owns DTLS by dimpl: sans-IO already, so this is a translation of times and outputs.
//!
//! It speaks 1.3 with those who can, and 1.2 with the few whose certificate OpenSSL refuses: as a
//! server that wants each curve of a certificate to be named in the ClientHello, although what is
//! named there bounds the server's choice, not the client's (RFC 8422 section 5.1).

use super::engine::{Secrets, Step};
use super::{EngineKind, MTU_BYTES};
use dimpl::crypto::{CryptoProvider, HashAlgorithm, SignatureAlgorithm, SignatureVerifier};
use dimpl::{Config, ConfigBuilder, CryptoError, DtlsCertificate, Error, Output, SrtpProfile};
use openssl::hash::MessageDigest;
use openssl::pkey::Id;
use openssl::sign::Verifier;
use openssl::x509::X509;
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
    dtls13: Arc<Config>,
    dtls12: Arc<Config>,
    certificate: DtlsCertificate,
    /// What [`Time::ZERO`] is called in the library's notion of time. Not a clock: only spans
    /// that were passed in are ever added to it.
    origin: Instant,
}

/// One association, the server side.
pub(super) struct Engine {
    kind: EngineKind,
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
        let dtls13 = settings().build()?;
        let any_curve = CryptoProvider {
            signature_verification: &AnyCurve,
            ..dtls13.crypto_provider().clone()
        };
        let dtls12 = settings().with_crypto_provider(any_curve).build()?;
        #[expect(
            clippy::disallowed_methods,
            reason = "there is no other way to name an Instant"
        )]
        let origin = Instant::now();
        Ok(Self {
            dtls13: Arc::new(dtls13),
            dtls12: Arc::new(dtls12),
            certificate,
            origin,
        })
    }
}

impl Engine {
    pub(super) fn server(shared: &Shared, now: Time) -> Self {
        let (config, instant) = (Arc::clone(&shared.dtls13), at(shared.origin, now));
        let dtls = dimpl::Dtls::new_13(config, shared.certificate.clone(), instant);
        Self::new(shared, EngineKind::Dtls13, dtls)
    }

    /// With DTLS 1.2, for a client with an ECDSA certificate on any curve.
    pub(super) fn server12(shared: &Shared, now: Time) -> Self {
        let (config, instant) = (Arc::clone(&shared.dtls12), at(shared.origin, now));
        let dtls = dimpl::Dtls::new_12(config, shared.certificate.clone(), instant);
        Self::new(shared, EngineKind::Dtls12, dtls)
    }

    fn new(shared: &Shared, kind: EngineKind, dtls: dimpl::Dtls) -> Self {
        Self {
            kind,
            dtls,
            origin: shared.origin,
            deadline: None,
            certificate: Vec::new(),
            connected: false,
            told: false,
            material: None,
        }
    }

    pub(super) fn kind(&self) -> EngineKind {
        self.kind
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

fn settings() -> ConfigBuilder {
    Config::builder()
        .mtu(MTU_BYTES)
        .use_server_cookie(false) // the ICE check has proved the address
        .require_client_certificate(true)
        .flight_start_rto(RTO)
        .flight_retries(RETRIES)
}

/// Verifies what a client of DTLS 1.2 has signed, whatever curve its key is on.
#[derive(Debug)]
pub(super) struct AnyCurve;

impl SignatureVerifier for AnyCurve {
    fn verify_signature(
        &self,
        certificate: &[u8],
        data: &[u8],
        signature: &[u8],
        hash: HashAlgorithm,
        algorithm: SignatureAlgorithm,
    ) -> Result<(), CryptoError> {
        let digest = match (algorithm, hash) {
            (SignatureAlgorithm::ECDSA, HashAlgorithm::SHA256) => MessageDigest::sha256(),
            (SignatureAlgorithm::ECDSA, HashAlgorithm::SHA384) => MessageDigest::sha384(),
            (signature, hash) => {
                return Err(CryptoError::UnsupportedSignaturePair { signature, hash });
            }
        };
        let key = X509::from_der(certificate)
            .and_then(|certificate| certificate.public_key())
            .map_err(|_| CryptoError::CertificateParseFailed)?;
        if key.id() != Id::EC {
            return Err(CryptoError::UnsupportedPublicKeyAlgorithm);
        }
        let verified = Verifier::new(digest, &key)
            .and_then(|mut verifier| verifier.verify_oneshot(signature, data));
        match verified {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(CryptoError::InvalidSignatureFormat),
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
