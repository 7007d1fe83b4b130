//! Owns a front: what terminates TLS before a server, with a certificate of an authority that the
//! test has made, and may take the offers out of requests.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};

/// How long a connection may stand still.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most bytes of a request: an offer has some kilobytes.
const REQUEST_BYTES_MAX: usize = 1 << 18;

/// An authority that nobody trusts who is not told to.
pub struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

impl Authority {
    /// A new one by this name.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn new(called: &str) -> Result<Self, ErrorStack> {
        let key = key()?;
        let name = name(called)?;
        let mut builder = builder(&key, &name, 1)?;
        builder.set_issuer_name(&name)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        let certificate = builder.build();
        Ok(Self { key, certificate })
    }

    /// Its certificate as PEM.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.certificate.to_pem()
    }

    /// What a server of this host shows.
    fn acceptor(&self) -> Result<SslAcceptor, ErrorStack> {
        let key = key()?;
        let mut builder = builder(&key, &name("localhost")?, 2)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .build(&context)?;
        builder.append_extension(names)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        acceptor.set_certificate(&builder.build())?;
        acceptor.set_private_key(&key)?;
        Ok(acceptor.build())
    }
}

/// A running front. Dropped: stopped.
#[derive(Debug)]
pub struct Front {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    requests: AtomicU64,
}

impl Front {
    /// One before `server`, with a certificate of `authority`. With `takes_offers` the server never
    /// sees what a POST brings.
    ///
    /// # Panics
    /// When no port or certificate can be had.
    #[must_use]
    pub fn start(server: SocketAddr, authority: &Authority, takes_offers: bool) -> Self {
        let acceptor = authority.acceptor().expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        let common = shared.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if common.stop.load(Relaxed) {
                    return;
                }
                let _ = stream.set_read_timeout(Some(PATIENCE));
                // Who does not believe the certificate goes away: that is for the test to see.
                if let Ok(mut stream) = acceptor.accept(stream)
                    && pass(&mut stream, server, takes_offers).is_ok()
                {
                    common.requests.fetch_add(1, Relaxed);
                    let _ = stream.shutdown();
                }
            }
        });
        Self {
            port,
            shared,
            thread: Some(thread),
        }
    }

    /// Address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Requests that were answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Relaxed)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        // It waits for somebody.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request to the server, and its answer back.
fn pass(
    stream: &mut (impl Read + Write),
    server: SocketAddr,
    takes_offers: bool,
) -> io::Result<()> {
    let (head, mut body) = request(stream)?;
    let is_post = head.starts_with("POST ");
    if is_post && takes_offers {
        body.clear();
    }
    let kept = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        let is = |other| name.eq_ignore_ascii_case(other);
        !is("content-length") && !is("connection") && !line.is_empty()
    });
    let mut text: String = kept.map(|line| format!("{line}\r\n")).collect();
    text += &format!(
        "connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut there = TcpStream::connect(server)?;
    there.set_read_timeout(Some(PATIENCE))?;
    there.write_all(text.as_bytes())?;
    there.write_all(&body)?;
    let mut answer = Vec::new();
    there.read_to_end(&mut answer)?;
    stream.write_all(&answer)
}

/// Head and body of a request.
fn request(stream: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut part = [0; 16 * 1024];
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_it = name.eq_ignore_ascii_case("content-length");
                is_it.then(|| value.trim().parse::<usize>().ok())?
            });
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Ok((head, bytes.split_off(end + 4)));
            }
        }
        let read = stream.read(&mut part)?;
        if read == 0 || bytes.len() > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&part[..read]);
    }
}

fn key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(text: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_text("CN", text)?;
    Ok(name.build())
}

fn builder(key: &PKey<Private>, name: &X509Name, serial: u32) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = BigNum::from_u32(serial)?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(name)?;
    builder.set_pubkey(key)?;
    let (long_ago, next_week) = (Asn1Time::from_unix(0)?, Asn1Time::days_from_now(7)?);
    builder.set_not_before(&long_ago)?;
    builder.set_not_after(&next_week)?;
    Ok(builder)
}
