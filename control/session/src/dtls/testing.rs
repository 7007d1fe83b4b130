//! Peers for tests: an OpenSSL client or server with any certificate, a dimpl client.

use super::MTU_BYTES;
use super::engine::{Engine, Step, keys};
use super::openssl;
use ::dimpl::{Config, DtlsCertificate, Output};
use ::openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use ::openssl::ec::{EcGroup, EcKey};
use ::openssl::hash::MessageDigest;
use ::openssl::nid::Nid;
use ::openssl::pkey::{PKey, Private};
use ::openssl::rsa::Rsa;
use ::openssl::x509::{X509, X509Extension, X509Name};
use link::keys::{Profile, SrtpKeys};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::time::Time;

/// The certificate of a test peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateKind {
    P256,
    P224,
    Rsa2048,
    Ed25519,
    /// On P-256, and over for years.
    Expired,
    /// On P-256, with a comment of so many bytes.
    Long(usize),
}

/// Which DTLS a test peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerKind {
    /// OpenSSL, DTLS 1.2, as a client.
    Client12(CertificateKind),
    /// OpenSSL, DTLS 1.2, as a server.
    Server12(CertificateKind),
    /// dimpl, DTLS 1.2 only.
    Dimpl12,
    /// dimpl, DTLS 1.3 only.
    Client13,
    /// dimpl, DTLS 1.3 and 1.2.
    ClientEither,
}

/// The other end of an association.
pub(crate) struct DtlsPeer {
    end: End,
    pub(crate) certificate: Vec<u8>,
    pub(crate) keys: Option<SrtpKeys>,
    pub(crate) closed: bool,
    pub(crate) failed: bool,
    deadline: Option<Time>,
}

enum End {
    /// With what is to be sent at the start.
    OpenSsl(Engine, Vec<Vec<u8>>),
    Dimpl(Box<::dimpl::Dtls>, Instant),
}

impl DtlsPeer {
    pub(crate) fn new(kind: PeerKind, profiles: &[Profile], now: Time) -> Self {
        let certificate = match kind {
            PeerKind::Client12(kind) | PeerKind::Server12(kind) => self_signed(kind),
            _ => ::dimpl::certificate::generate_self_signed_certificate().unwrap(),
        };
        let der = certificate.certificate.clone();
        let end = match kind {
            PeerKind::Client12(_) => {
                let shared = openssl::Shared::with_profiles(&certificate, profiles).unwrap();
                let mut out = Vec::new();
                let engine = openssl::Engine::client(&shared, now, &mut out).unwrap();
                End::OpenSsl(Engine::OpenSsl(engine), out)
            }
            PeerKind::Server12(_) => {
                let shared = openssl::Shared::with_profiles(&certificate, profiles).unwrap();
                let engine = openssl::Engine::server(&shared).unwrap();
                End::OpenSsl(Engine::OpenSsl(engine), Vec::new())
            }
            PeerKind::Dimpl12 | PeerKind::Client13 | PeerKind::ClientEither => {
                let config = Config::builder()
                    .mtu(MTU_BYTES)
                    .flight_start_rto(Duration::from_millis(100))
                    .flight_retries(12)
                    .build();
                let config = Arc::new(config.unwrap());
                #[expect(clippy::disallowed_methods, reason = "the origin, as in `dimpl`")]
                let origin = Instant::now();
                let at = origin + Duration::from_nanos(now.0);
                let mut dtls = match kind {
                    PeerKind::Dimpl12 => ::dimpl::Dtls::new_12(config, certificate, at),
                    PeerKind::Client13 => ::dimpl::Dtls::new_13(config, certificate, at),
                    _ => ::dimpl::Dtls::new_auto(config, certificate, at),
                };
                dtls.set_active(true);
                End::Dimpl(Box::new(dtls), origin)
            }
        };
        let (keys, closed, failed) = (None, false, false);
        Self {
            end,
            certificate: der,
            keys,
            closed,
            failed,
            deadline: Some(now),
        }
    }

    pub(crate) fn handle(&mut self, now: Time, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let step = match &mut self.end {
            End::OpenSsl(engine, first) => {
                out.append(first);
                engine.handle_filtered(now, datagram, &mut out)
            }
            End::Dimpl(dtls, origin) => {
                let at = *origin + Duration::from_nanos(now.0);
                let result = dtls
                    .handle_timeout(at)
                    .and_then(|()| dtls.handle_packet(datagram));
                self.failed |= result.is_err() && self.keys.is_none();
                return self.drain(&mut out);
            }
        };
        self.note(step);
        out
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let step = match &mut self.end {
            End::OpenSsl(engine, first) => {
                out.append(first);
                engine.handle_timeout(now, &mut out)
            }
            End::Dimpl(dtls, origin) => {
                let result = dtls.handle_timeout(*origin + Duration::from_nanos(now.0));
                self.failed |= result.is_err() && self.keys.is_none();
                return self.drain(&mut out);
            }
        };
        self.deadline = None;
        self.note(step);
        out
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let engine = match &self.end {
            End::OpenSsl(engine, _) => engine.deadline(),
            End::Dimpl(..) => None,
        };
        [engine, self.deadline].into_iter().flatten().min()
    }

    pub(crate) fn close(&mut self, now: Time) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        match &mut self.end {
            End::OpenSsl(engine, _) => engine.close(now, &mut out),
            End::Dimpl(dtls, _) => {
                dtls.close().unwrap();
                return self.drain(&mut out);
            }
        }
        out
    }

    fn note(&mut self, step: Step) {
        match step {
            Step::Going => {}
            Step::Closed => self.closed = true,
            Step::Failed => self.failed = true,
            Step::Connected(secrets) => {
                let End::OpenSsl(engine, _) = &self.end else {
                    unreachable!("dimpl has no steps")
                };
                self.keys = keys(secrets.profile, &secrets.material, engine.is_client());
            }
        }
    }

    fn drain(&mut self, out: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let End::Dimpl(dtls, origin) = &mut self.end else {
            unreachable!("OpenSSL has steps")
        };
        let mut buffer = vec![0; 4096];
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => out.push(bytes.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let profile = super::dimpl::profile_of(profile).unwrap();
                    self.keys = keys(profile, &material, true);
                }
                Output::CloseNotify => self.closed = true,
                Output::Timeout(at) => {
                    let nanos = at.saturating_duration_since(*origin).as_nanos();
                    self.deadline = u64::try_from(nanos).ok().map(Time);
                    break;
                }
                _ => {}
            }
        }
        std::mem::take(out)
    }
}

/// A self-signed certificate of that kind.
pub(crate) fn self_signed(kind: CertificateKind) -> DtlsCertificate {
    let ec = |curve| -> PKey<Private> {
        let group = EcGroup::from_curve_name(curve).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    let key = match kind {
        CertificateKind::P256 | CertificateKind::Expired | CertificateKind::Long(_) => {
            ec(Nid::X9_62_PRIME256V1)
        }
        CertificateKind::Ed25519 => PKey::generate_ed25519().unwrap(),
        CertificateKind::P224 => ec(Nid::SECP224R1),
        CertificateKind::Rsa2048 => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
    };
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "test").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    let at = |unix_s| Asn1Time::from_unix(unix_s).unwrap();
    let days = |n| Asn1Time::days_from_now(n).unwrap();
    let (begin, end) = match kind {
        CertificateKind::Expired => (at(1_000_000_000), at(1_000_086_400)),
        _ => (days(0), days(30)),
    };
    builder.set_not_before(&begin).unwrap();
    builder.set_not_after(&end).unwrap();
    if let CertificateKind::Long(bytes) = kind {
        let comment = Asn1OctetString::new_from_bytes(&vec![b'x'; bytes]).unwrap();
        let comment_kind = Asn1Object::from_str("2.16.840.1.113730.1.13").unwrap();
        let comment = X509Extension::new_from_der(&comment_kind, false, &comment).unwrap();
        builder.append_extension(comment).unwrap();
    }
    let digest = match kind {
        CertificateKind::Ed25519 => MessageDigest::null(),
        _ => MessageDigest::sha256(),
    };
    builder.sign(&key, digest).unwrap();
    DtlsCertificate {
        certificate: builder.build().to_der().unwrap(),
        private_key: key.private_key_to_pkcs8().unwrap(),
    }
}
