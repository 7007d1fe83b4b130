//! Owns DTLS: one association of one session, whichever of two engines runs it.
//!
//! Which engine is told by the ClientHello, see `choice`. The peer's certificate must have the
//! fingerprint of its offer, or nothing is established.

pub mod fingerprint;

mod choice;
mod dimpl;
mod engine;
mod hello;
mod openssl;

use self::choice::choose;
use self::engine::{Engine, Secrets, Step, keys};
use self::fingerprint::Fingerprint;
use self::hello::{Assembly, Hello};
use ::openssl::error::ErrorStack;
use link::keys::SrtpKeys;
use std::fmt;
use wire::time::Time;
use zeroize::Zeroize;

/// Most bytes of a datagram that we send: fits IPv6's minimum of 1280 with its headers and a
/// tunnel or two, and is what browsers use.
pub const MTU_BYTES: usize = 1200;

/// Most bytes that a peer may send to an engine before it is connected. Browsers send 3 kB; with a
/// chain of RSA certificates, and every flight seven times more, it is half of this. What somebody
/// sends to keep an engine busy or have it keep fragments ends here, long before either hurts.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// What all associations share: the certificate of this process and the settings of the engines.
pub struct Context {
    dimpl: dimpl::Shared,
    openssl: openssl::Shared,
    /// SHA-256 of our certificate as the answer says it.
    fingerprint: String,
    prefer_dtls13: bool,
}

/// Who runs the association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// DTLS 1.3 by dimpl.
    Dtls13,
    /// DTLS 1.2 by OpenSSL, or by dimpl for those whom OpenSSL refuses.
    Dtls12,
}

/// What became of an association through what was done to it.
#[derive(Debug)]
pub enum Progress {
    /// Nothing to tell.
    Going,
    /// The handshake is complete and the peer is who its offer said. Comes once.
    Established(Box<Established>),
    /// The peer has closed the association, authentically.
    Closed,
    /// The handshake has failed for good.
    Failed(Failure),
}

/// The keys of a completed handshake.
pub struct Established {
    /// SRTP keys as we see them.
    pub keys: SrtpKeys,
    /// Who ran it.
    pub engine: EngineKind,
}

/// Why there is no association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The certificate is not the one of the offer.
    FingerprintMismatch,
    /// No version in common.
    Version,
    /// No SRTP profile in common, or no `use_srtp` at all.
    Profile,
    /// The engine gave up: no cipher in common, a bad signature, too many retransmissions.
    Handshake,
}

/// One association.
pub struct Dtls {
    state: State,
    fingerprints: Vec<Fingerprint>,
    /// Bytes that an engine was given before it was connected.
    heard_bytes: usize,
}

enum State {
    /// We are the server and wait for a whole ClientHello.
    Hello(Assembly),
    Running(Engine),
    Over,
}

impl Context {
    /// Makes a certificate (ECDSA P-256) and sets the engines up.
    ///
    /// # Errors
    /// When OpenSSL or the certificate generator fails; nothing can be done about it here.
    pub fn new(prefer_dtls13: bool) -> Result<Self, SetupError> {
        let certificate = ::dimpl::certificate::generate_self_signed_certificate()
            .map_err(|error| SetupError::Certificate(error.to_string()))?;
        Ok(Self {
            fingerprint: fingerprint::sha256_text(&certificate.certificate),
            openssl: openssl::Shared::new(&certificate).map_err(SetupError::OpenSsl)?,
            dimpl: dimpl::Shared::new(certificate)
                .map_err(|error| SetupError::Dimpl(error.to_string()))?,
            prefer_dtls13,
        })
    }

    /// SHA-256 of our certificate, `AA:BB:...`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl Dtls {
    /// The server side, which waits for the peer.
    #[must_use]
    pub fn server(fingerprints: Vec<Fingerprint>) -> Self {
        Self {
            state: State::Hello(Assembly::default()),
            fingerprints,
            heard_bytes: 0,
        }
    }

    /// The client side. Its first flight is in `out`. OpenSSL always: whoever insists on being the
    /// server is an encoder, and its certificate may be of any kind.
    pub fn client(
        context: &Context,
        now: Time,
        fingerprints: Vec<Fingerprint>,
        out: &mut Vec<Vec<u8>>,
    ) -> Self {
        let state = match openssl::Engine::client(&context.openssl, now, out) {
            Ok(engine) => State::Running(Engine::OpenSsl(engine)),
            Err(_) => State::Over,
        };
        Self {
            state,
            fingerprints,
            heard_bytes: 0,
        }
    }

    /// Takes a datagram of the peer; what is to be sent is appended to `out`.
    pub fn handle(
        &mut self,
        context: &Context,
        now: Time,
        datagram: &[u8],
        out: &mut Vec<Vec<u8>>,
    ) -> Progress {
        let step = match &mut self.state {
            State::Over => return Progress::Going,
            State::Running(engine) => {
                if !engine.is_connected() {
                    self.heard_bytes += datagram.len();
                    if self.heard_bytes > HANDSHAKE_BYTES_MAX {
                        return self.fail(Failure::Handshake);
                    }
                }
                engine.handle_filtered(now, datagram, out)
            }
            State::Hello(assembly) => match assembly.push(datagram) {
                None => return Progress::Going,
                Some((hello, datagrams)) => match self.start(context, now, &hello, &datagrams, out)
                {
                    Ok(step) => step,
                    Err(failure) => return self.fail(failure),
                },
            },
        };
        self.progress(step)
    }

    /// Does what is due at `now`; what is to be sent is appended to `out`.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<Vec<u8>>) -> Progress {
        let step = match &mut self.state {
            State::Running(engine) => engine.handle_timeout(now, out),
            State::Hello(_) | State::Over => Step::Going,
        };
        self.progress(step)
    }

    /// When [`Dtls::handle_timeout`] is wanted.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Running(engine) => engine.deadline(),
            State::Hello(_) | State::Over => None,
        }
    }

    /// Says goodbye, if there is anybody to say it to, and ends.
    pub fn close(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Running(mut engine) => engine.close(now, out),
            State::Hello(_) | State::Over => {}
        }
    }

    fn start(
        &mut self,
        context: &Context,
        now: Time,
        hello: &Hello,
        datagrams: &[Vec<u8>],
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Step, Failure> {
        let mut engine = match choose(hello, context.prefer_dtls13)? {
            EngineKind::Dtls13 => {
                Engine::Dimpl(Box::new(dimpl::Engine::server(&context.dimpl, now)))
            }
            EngineKind::Dtls12 if hello.hides_its_curve() => {
                Engine::Dimpl(Box::new(dimpl::Engine::server12(&context.dimpl, now)))
            }
            EngineKind::Dtls12 => Engine::OpenSsl(
                openssl::Engine::server(&context.openssl).map_err(|_| Failure::Handshake)?,
            ),
        };
        let mut step = Step::Going;
        for datagram in datagrams {
            step = engine.handle_filtered(now, datagram, out);
            if matches!(step, Step::Failed) {
                break;
            }
        }
        self.state = State::Running(engine);
        Ok(step)
    }

    fn progress(&mut self, step: Step) -> Progress {
        match step {
            Step::Going => Progress::Going,
            Step::Closed => {
                self.state = State::Over;
                Progress::Closed
            }
            Step::Failed => self.fail(Failure::Handshake),
            Step::Connected(mut secrets) => {
                let progress = self.establish(&secrets);
                secrets.material.zeroize();
                progress.unwrap_or_else(|failure| self.fail(failure))
            }
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc5763#section-5
    //# The certificate presented during the DTLS handshake MUST match the
    //# fingerprint exchanged via the signaling path in the SDP.
    fn establish(&self, secrets: &Secrets) -> Result<Progress, Failure> {
        if !self
            .fingerprints
            .iter()
            .any(|wanted| wanted.matches(&secrets.certificate))
        {
            return Err(Failure::FingerprintMismatch);
        }
        let State::Running(engine) = &self.state else {
            return Err(Failure::Handshake);
        };
        let client = engine.is_client();
        let keys = keys(secrets.profile, &secrets.material, client).ok_or(Failure::Profile)?;
        Ok(Progress::Established(Box::new(Established {
            keys,
            engine: engine.kind(),
        })))
    }

    fn fail(&mut self, failure: Failure) -> Progress {
        self.state = State::Over;
        Progress::Failed(failure)
    }
}

/// Why DTLS cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No certificate.
    #[error("cannot make a certificate: {0}; is there entropy?")]
    Certificate(String),
    /// OpenSSL refuses a setting: it was built without it.
    #[error("cannot set OpenSSL up: {0}; use a build with DTLS, SRTP and the default provider")]
    OpenSsl(ErrorStack),
    /// dimpl refuses a setting.
    #[error("cannot set dimpl up: {0}")]
    Dimpl(String),
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("engine", &self.engine)
            .field("profile", &self.keys.profile)
            .finish_non_exhaustive()
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
