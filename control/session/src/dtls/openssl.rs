//! Owns DTLS 1.2 by OpenSSL: any certificate, our order of SRTP profiles, either role.
//!
//! OpenSSL repeats a flight by a clock of its own, after 1 s at the earliest, and only when it is
//! called. That is late for a viewer who waits, so the last flight is kept here and sent again as
//! it was: a record that did arrive is dropped by the peer's replay window, one that did not is
//! news. As a server that is all there is to repeat: when our last flight is lost the client
//! repeats its own, and OpenSSL answers. A client whose last flight arrived, and whose answer got
//! lost, must send it with new record numbers: there OpenSSL's own repetition is needed.

use super::MTU_BYTES;
use super::choice::PROFILES;
use super::engine::{Secrets, Step};
use super::hello::records;
use dimpl::DtlsCertificate;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::X509;
use std::io::{self, Read, Write};
use wire::srtp::Profile;
use wire::time::{Span, Time};

/// First retransmission of a flight, as for the other engine.
const RTO: Span = Span::millis(150);

/// Retransmissions of a flight before it is given up: 150 ms doubled seven times is 19 s.
const RETRIES: u32 = 7;

/// Forward secrecy and AEAD or CBC with SHA-1 or better; what encoders of the last ten years offer.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:@SECLEVEL=1";

/// P-224 is there for the certificates of FFmpeg: OpenSSL takes no key on a curve not named here.
const GROUPS: &str = "X25519:P-256:P-384:P-521:P-224";

/// RFC 5764 section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// What all associations share.
pub(super) struct Shared {
    server: SslContext,
    client: SslContext,
}

/// One association.
pub(super) struct Engine {
    stream: SslStream<Wire>,
    client: bool,
    connected: bool,
    /// The flight that the peer has not answered yet.
    flight: Vec<Vec<u8>>,
    /// When it is sent again.
    resend_at: Option<Time>,
    resends: u32,
}

/// The datagrams on their way in and out of OpenSSL.
#[derive(Debug, Default)]
struct Wire {
    incoming: Option<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl Shared {
    pub(super) fn new(certificate: &DtlsCertificate) -> Result<Self, ErrorStack> {
        Self::with_profiles(certificate, &PROFILES)
    }

    /// With SRTP profiles in this order.
    pub(super) fn with_profiles(
        certificate: &DtlsCertificate,
        profiles: &[Profile],
    ) -> Result<Self, ErrorStack> {
        let x509 = X509::from_der(&certificate.certificate)?;
        let key = PKey::private_key_from_der(&certificate.private_key)?;
        let build = |method| -> Result<SslContext, ErrorStack> {
            let mut builder = SslContextBuilder::new(method)?;
            builder.set_certificate(&x509)?;
            builder.set_private_key(&key)?;
            builder.check_private_key()?;
            settings(&mut builder, profiles)?;
            Ok(builder.build())
        };
        let (server, client) = (SslMethod::dtls_server(), SslMethod::dtls_client());
        Ok(Self {
            server: build(server)?,
            client: build(client)?,
        })
    }
}

impl Engine {
    pub(super) fn server(shared: &Shared) -> Result<Self, ErrorStack> {
        let mut ssl = Ssl::new(&shared.server)?;
        ssl.set_accept_state();
        Self::new(ssl, false)
    }

    pub(super) fn client(
        shared: &Shared,
        now: Time,
        out: &mut Vec<Vec<u8>>,
    ) -> Result<Self, ErrorStack> {
        let mut ssl = Ssl::new(&shared.client)?;
        ssl.set_connect_state();
        let mut engine = Self::new(ssl, true)?;
        let step = engine.advance();
        engine.send(now, out);
        match step {
            Step::Failed => Err(ErrorStack::get()),
            _ => Ok(engine),
        }
    }

    fn new(mut ssl: Ssl, client: bool) -> Result<Self, ErrorStack> {
        ssl.set_mtu(u32::try_from(MTU_BYTES).expect("a datagram's size fits 32 bits"))?;
        Ok(Self {
            stream: SslStream::new(ssl, Wire::default())?,
            client,
            connected: false,
            flight: Vec::new(),
            resend_at: None,
            resends: 0,
        })
    }

    pub(super) fn is_client(&self) -> bool {
        self.client
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.resend_at
    }

    pub(super) fn handle(&mut self, now: Time, datagram: &[u8], out: &mut Vec<Vec<u8>>) -> Step {
        self.stream.get_mut().incoming = Some(datagram.to_vec());
        let step = self.advance();
        self.stream.get_mut().incoming = None;
        self.send(now, out);
        step
    }

    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Vec<Vec<u8>>) -> Step {
        if self.resend_at.is_none_or(|due| due > now) {
            return Step::Going;
        }
        if self.resends >= RETRIES {
            self.resend_at = None;
            return Step::Failed;
        }
        self.resends += 1;
        let step = self.advance();
        let renewed = std::mem::take(&mut self.stream.get_mut().outgoing);
        if !renewed.is_empty() {
            self.flight = renewed;
        }
        out.extend(self.flight.iter().cloned());
        self.resend_at = Some(now + Span(RTO.0 << self.resends));
        step
    }

    pub(super) fn close(&mut self, out: &mut Vec<Vec<u8>>) {
        if self.connected {
            // The alert is in `outgoing` whatever the answer: we do not wait for the peer's.
            let _sent = self.stream.shutdown();
            out.append(&mut self.stream.get_mut().outgoing);
        }
    }

    /// Lets OpenSSL work on what has come in.
    fn advance(&mut self) -> Step {
        if self.connected {
            return self.read();
        }
        match self.stream.do_handshake() {
            Ok(()) => self.connect(),
            Err(error) if is_waiting(error.code()) => Step::Going,
            Err(_) => Step::Failed,
        }
    }

    fn connect(&mut self) -> Step {
        self.connected = true;
        self.resend_at = None;
        self.secrets().map_or(Step::Failed, Step::Connected)
    }

    /// After the handshake: answers a repeated Finished, notices a close_notify.
    fn read(&mut self) -> Step {
        let mut buffer = [0; 2048];
        // Datagrams hold few records, each of which is at most one read.
        for _ in 0..16 {
            match self.stream.ssl_read(&mut buffer) {
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::ZERO_RETURN => return Step::Closed,
                Err(_) => break,
            }
        }
        Step::Going
    }

    fn secrets(&self) -> Option<Secrets> {
        let ssl = self.stream.ssl();
        let name = ssl.selected_srtp_profile()?.name();
        let profile = *PROFILES
            .iter()
            .find(|profile| profile_name(**profile) == Some(name))?;
        let mut material = vec![0; 2 * (profile.key_bytes() + profile.salt_bytes())];
        ssl.export_keying_material(&mut material, EXPORTER_LABEL, None)
            .ok()?;
        let certificate = ssl.peer_certificate()?.to_der().ok()?;
        Some(Secrets {
            profile,
            material,
            certificate,
        })
    }

    /// Moves what OpenSSL has written to `out`; it is the flight to be repeated.
    fn send(&mut self, now: Time, out: &mut Vec<Vec<u8>>) {
        let written = std::mem::take(&mut self.stream.get_mut().outgoing);
        if written.is_empty() {
            return;
        }
        out.extend(written.iter().cloned());
        if self.connected {
            self.flight = Vec::new();
        } else {
            self.flight = written;
            self.resends = 0;
            self.resend_at = Some(now + RTO);
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(datagram) = self.incoming.take() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let bytes = datagram.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&datagram[..bytes]);
        Ok(bytes)
    }
}

impl Write for Wire {
    /// OpenSSL writes what it has buffered, which may be records for several datagrams: they are
    /// cut between records.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut datagram: Vec<u8> = Vec::with_capacity(MTU_BYTES);
        for record in records(bytes) {
            if !datagram.is_empty() && datagram.len() + record.whole.len() > MTU_BYTES {
                self.outgoing.push(std::mem::take(&mut datagram));
            }
            datagram.extend_from_slice(record.whole);
        }
        if !datagram.is_empty() {
            self.outgoing.push(datagram);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn settings(builder: &mut SslContextBuilder, profiles: &[Profile]) -> Result<(), ErrorStack> {
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_groups_list(GROUPS)?;
    let names: Vec<&str> = profiles.iter().filter_map(|p| profile_name(*p)).collect();
    builder.set_tlsext_use_srtp(&names.join(":"))?;
    // Every certificate is self-signed; which one it must be is in the offer, and checked there.
    let required = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    builder.set_verify_callback(required, |_, _| true);
    builder.set_options(
        SslOptions::NO_QUERY_MTU | SslOptions::NO_RENEGOTIATION | SslOptions::NO_TICKET,
    );
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    Ok(())
}

fn is_waiting(code: ErrorCode) -> bool {
    code == ErrorCode::WANT_READ || code == ErrorCode::WANT_WRITE
}

fn profile_name(profile: Profile) -> Option<&'static str> {
    match profile {
        Profile::Plain => None,
        Profile::Aes128CmSha1_80 => Some("SRTP_AES128_CM_SHA1_80"),
        Profile::Aes128CmSha1_32 => Some("SRTP_AES128_CM_SHA1_32"),
        Profile::AeadAes128Gcm => Some("SRTP_AEAD_AES_128_GCM"),
        Profile::AeadAes256Gcm => Some("SRTP_AEAD_AES_256_GCM"),
    }
}
