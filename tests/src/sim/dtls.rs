//! Owns a peer's end of DTLS in virtual time, by dimpl. Its keys come from the system's random
//! source; what it sends and when depends on the seed and on what it hears.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dimpl::{Config, DtlsCertificate, Output, SrtpProfile};
use seal::{Opener, Sealer, Secret};
use session::dtls::MTU_BYTES;
use session::dtls::fingerprint::{Fingerprint, sha256_text};
use wire::srtp::Profile;
use wire::time::Time;

/// First repetition of a flight: before the server's, so that both are seen to repeat.
const RTO: Duration = Duration::from_millis(100);

/// What lies farther ahead than this is the library's way to say that nothing is due.
const NEVER_SECS: u64 = 3600;

/// The certificate of all peers.
pub struct Identity {
    certificate: DtlsCertificate,
    /// SHA-256 of it.
    pub fingerprint: String,
    /// What [`Time::ZERO`] is called in the library's notion of time.
    origin: Instant,
}

/// The one of this process.
#[must_use]
pub fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let certificate = dimpl::certificate::generate_self_signed_certificate();
        let certificate = certificate.expect("the system has random bytes");
        Identity {
            fingerprint: sha256_text(&certificate.certificate),
            certificate,
            origin: Instant::now(),
        }
    })
}

/// What a finished handshake leaves.
pub struct Keys {
    /// For what the server sends.
    pub opener: Opener,
    /// For what we send.
    pub sealer: Sealer,
}

/// One association, the client's side.
pub struct Dtls {
    dtls: dimpl::Dtls,
    wanted: Fingerprint,
    /// What is to be sent.
    pub out: Vec<Vec<u8>>,
    /// When it wants to be called, whatever comes.
    pub due: Option<Time>,
    keys: Option<Keys>,
    is_authentic: bool,
    /// Nothing will come of it.
    pub has_failed: bool,
    /// The server has said goodbye.
    pub is_closed: bool,
}

impl Dtls {
    /// Begins; `wanted` is the server's fingerprint in its answer.
    ///
    /// # Panics
    /// When the library refuses its settings.
    #[must_use]
    pub fn start(now: Time, wanted: &str, version13: bool, seed: u64) -> Self {
        let config = Config::builder()
            .mtu(MTU_BYTES)
            .flight_start_rto(RTO)
            .dangerously_set_rng_seed(seed)
            .build();
        let config = Arc::new(config.expect("settings that can be"));
        let certificate = identity().certificate.clone();
        let mut dtls = match version13 {
            true => dimpl::Dtls::new_13(config, certificate, instant(now)),
            false => dimpl::Dtls::new_12(config, certificate, instant(now)),
        };
        dtls.set_active(true);
        let wanted = Fingerprint::parse(&format!("sha-256 {wanted}"));
        let mut this = Self {
            dtls,
            wanted: wanted.expect("the answer has a fingerprint"),
            out: Vec::new(),
            due: None,
            keys: None,
            is_authentic: false,
            has_failed: false,
            is_closed: false,
        };
        this.timeout(now);
        this
    }

    /// Takes a datagram.
    pub fn handle(&mut self, now: Time, datagram: &[u8]) {
        let at = instant(now);
        let result = self.dtls.handle_timeout(at);
        let result = result.and_then(|()| self.dtls.handle_packet(datagram));
        self.has_failed |= result.is_err() && self.keys.is_none();
        self.drain();
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Time) {
        let result = self.dtls.handle_timeout(instant(now));
        self.has_failed |= result.is_err() && self.keys.is_none();
        self.drain();
    }

    /// The keys, once: the handshake is complete, and the server who its answer said.
    pub fn keys(&mut self) -> Option<Keys> {
        self.keys.take_if(|_| self.is_authentic)
    }

    /// Says goodbye.
    pub fn close(&mut self) {
        let _ = self.dtls.close();
        self.drain();
    }

    fn drain(&mut self) {
        let mut buffer = vec![0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => self.out.push(bytes.to_vec()),
                Output::PeerCert(certificate) => {
                    self.is_authentic = self.wanted.matches(certificate);
                    self.has_failed |= !self.is_authentic;
                }
                Output::KeyingMaterial(material, profile) => {
                    self.keys = keys(&material, profile);
                    self.has_failed |= self.keys.is_none();
                }
                Output::CloseNotify => self.is_closed = true,
                Output::Timeout(at) => {
                    let since = at.saturating_duration_since(identity().origin);
                    let is_ever = since.as_secs() < NEVER_SECS;
                    let nanos = u64::try_from(since.as_nanos()).ok();
                    self.due = nanos.filter(|_| is_ever).map(Time);
                    return;
                }
                _ => {}
            }
        }
    }
}

fn instant(now: Time) -> Instant {
    identity().origin + Duration::from_nanos(now.0)
}

fn keys(material: &[u8], profile: SrtpProfile) -> Option<Keys> {
    let profile = match profile {
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        _ => Profile::Aes128CmSha1_80,
    };
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    //= https://www.rfc-editor.org/rfc/rfc5764#section-4.2
    //# client_write_SRTP_master_key, server_write_SRTP_master_key,
    //# client_write_SRTP_master_salt, server_write_SRTP_master_salt
    let (ours, rest) = material.split_at_checked(key)?;
    let (theirs, rest) = rest.split_at_checked(key)?;
    let (our_salt, rest) = rest.split_at_checked(salt)?;
    let (their_salt, _) = rest.split_at_checked(salt)?;
    let ours = Secret::new(profile, ours, our_salt).ok()?;
    let theirs = Secret::new(profile, theirs, their_salt).ok()?;
    Some(Keys {
        opener: Opener::new(&theirs).ok()?,
        sealer: Sealer::new(&ours).ok()?,
    })
}
