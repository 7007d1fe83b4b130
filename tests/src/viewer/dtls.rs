//! Owns the viewer's end of DTLS 1.2, by OpenSSL.

use std::fmt::Write as _;
use std::io::{self, Read, Write};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::{X509, X509Name};
use seal::{Opener, Sealer, Secret};
use wire::srtp::Profile;

use super::answer::offer;

/// Longest datagram that we make.
const MTU: u32 = 1200;

/// A certificate and what OpenSSL makes of it; one for a whole crowd.
pub struct Identity {
    context: SslContext,
    fingerprint: String,
}

impl Identity {
    /// A self-signed certificate on P-256, as browsers have.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn new() -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let certificate = certificate(&key)?;
        let mut builder = SslContext::builder(SslMethod::dtls_client())?;
        builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
        builder.set_certificate(&certificate)?;
        builder.set_private_key(&key)?;
        builder.set_tlsext_use_srtp("SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80")?;
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
        let fingerprint = fingerprint(&certificate)?;
        Ok(Self {
            context: builder.build(),
            fingerprint,
        })
    }

    /// What a viewer offers: video and audio, as browsers do, without what we do not use.
    #[must_use]
    pub fn offer(&self) -> String {
        offer(&self.fingerprint)
    }

    /// SHA-256 of the certificate, `AA:BB:...`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// What a finished handshake leaves.
pub struct Keys {
    /// For what the server sends.
    pub opener: Opener,
    /// For what we send.
    pub sealer: Sealer,
    /// Master keys and salts of both directions, one after another.
    pub exported: Vec<u8>,
}

/// One handshake.
pub struct Handshake {
    stream: SslStream<Datagrams>,
    flight: Vec<Vec<u8>>,
    has_news: bool,
    wanted: String,
}

#[derive(Debug, Default)]
struct Datagrams {
    incoming: Option<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl Handshake {
    /// Makes a ClientHello; `wanted` is the fingerprint that the server must have.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn start(identity: &Identity, wanted: &str) -> Result<Self, ErrorStack> {
        let mut ssl = Ssl::new(&identity.context)?;
        ssl.set_connect_state();
        ssl.set_mtu(MTU)?;
        let stream = SslStream::new(ssl, Datagrams::default())?;
        let mut this = Self {
            stream,
            flight: Vec::new(),
            has_news: true,
            wanted: wanted.to_owned(),
        };
        // It cannot be finished yet: there is only something to send.
        let _ = this.stream.do_handshake();
        this.flight = std::mem::take(&mut this.stream.get_mut().outgoing);
        Ok(this)
    }

    /// What the server has not answered yet; to be sent now and again until it does.
    #[must_use]
    pub fn flight(&self) -> &[Vec<u8>] {
        &self.flight
    }

    /// The flight is to be sent again. From the second on, OpenSSL makes it anew when it finds that
    /// it is time: records that the server has seen already would be dropped there, and so would
    /// not remind it of an answer that was lost.
    pub fn renew(&mut self) {
        let _ = self.stream.do_handshake();
        let written = std::mem::take(&mut self.stream.get_mut().outgoing);
        if !written.is_empty() {
            self.flight = written;
        }
    }

    /// True if the last datagram has made a new flight, rather than a part of an answer.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// Takes a datagram; the keys, once there are any.
    ///
    /// # Errors
    /// What is wrong with the handshake, the certificate or the profile.
    pub fn receive(&mut self, datagram: &[u8]) -> Result<Option<Keys>, String> {
        self.stream.get_mut().incoming = Some(datagram.to_vec());
        let is_done = match self.stream.do_handshake() {
            Ok(()) => true,
            Err(error) if error.ssl_error().is_some() => return Err(error.to_string()),
            Err(_) => false,
        };
        let written = std::mem::take(&mut self.stream.get_mut().outgoing);
        self.has_news = !written.is_empty();
        if self.has_news {
            self.flight = written;
        }
        if is_done {
            self.keys().map(Some)
        } else {
            Ok(None)
        }
    }

    fn keys(&self) -> Result<Keys, String> {
        let ssl = self.stream.ssl();
        let shown = ssl.peer_certificate().ok_or("no certificate")?;
        let shown = fingerprint(&shown).map_err(|error| error.to_string())?;
        if shown != self.wanted {
            return Err(format!("the certificate is {shown}, not {}", self.wanted));
        }
        let chosen = ssl.selected_srtp_profile().ok_or("no SRTP profile")?;
        let profile = match chosen.name() {
            "SRTP_AEAD_AES_128_GCM" => Profile::AeadAes128Gcm,
            _ => Profile::Aes128CmSha1_80,
        };
        let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
        let mut material = vec![0; 2 * (key + salt)];
        ssl.export_keying_material(&mut material, "EXTRACTOR-dtls_srtp", None)
            .map_err(|error| error.to_string())?;
        //= https://www.rfc-editor.org/rfc/rfc5764#section-4.2
        //# client_write_SRTP_master_key, server_write_SRTP_master_key,
        //# client_write_SRTP_master_salt, server_write_SRTP_master_salt
        let (ours, rest) = material.split_at(key);
        let (theirs, rest) = rest.split_at(key);
        let (our_salt, their_salt) = rest.split_at(salt);
        let make = |key: &[u8], salt: &[u8]| Secret::new(profile, key, salt);
        let theirs = make(theirs, their_salt).map_err(|error| format!("{error:?}"))?;
        let ours = make(ours, our_salt).map_err(|error| format!("{error:?}"))?;
        Ok(Keys {
            opener: Opener::new(&theirs).map_err(|error| format!("{error:?}"))?,
            sealer: Sealer::new(&ours).map_err(|error| format!("{error:?}"))?,
            exported: material,
        })
    }
}

impl Read for Datagrams {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(datagram) = self.incoming.take() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let bytes = datagram.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&datagram[..bytes]);
        Ok(bytes)
    }
}

impl Write for Datagrams {
    /// A write may hold the records of several datagrams: they are cut between records.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let limit = usize::try_from(MTU).unwrap_or(1200);
        let mut datagram = Vec::new();
        let mut rest = bytes;
        while rest.len() >= 13 {
            let length = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
            let (record, next) = rest.split_at(length.min(rest.len()));
            if !datagram.is_empty() && datagram.len() + record.len() > limit {
                self.outgoing.push(std::mem::take(&mut datagram));
            }
            datagram.extend_from_slice(record);
            rest = next;
        }
        self.outgoing.push(datagram);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn certificate(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "crowd")?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(BigNum::from_u32(1)?.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
    builder.set_not_after(Asn1Time::days_from_now(30)?.as_ref())?;
    builder.set_pubkey(key)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn fingerprint(certificate: &openssl::x509::X509Ref) -> Result<String, ErrorStack> {
    let digest = certificate.digest(MessageDigest::sha256())?;
    let mut text = String::new();
    for byte in digest.iter() {
        let colon = if text.is_empty() { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02X}");
    }
    Ok(text)
}
