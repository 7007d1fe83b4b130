//! Owns whose certificates are believed: those of a file, or those that the system trusts.

use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Where distributions keep the certificates that they trust, in one file: Debian and its kin,
/// Fedora and its kin, openSUSE, Alpine and the BSDs.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Names another file, as with OpenSSL and curl.
const BUNDLE_VARIABLE: &str = "SSL_CERT_FILE";

/// TLS for requests to others, which believes the certificates in `ca_file`; empty: the system's.
///
/// # Errors
/// There is no such file, or no certificate in it.
pub fn tls(ca_file: &str) -> io::Result<Arc<ClientConfig>> {
    let given = Some(ca_file.to_owned()).filter(|file| !file.is_empty());
    let of_system = || std::env::var(BUNDLE_VARIABLE).ok();
    let found = || BUNDLES.into_iter().find(|file| Path::new(file).exists());
    let file = given
        .or_else(of_system)
        .or_else(|| found().map(str::to_owned));
    let file = file.ok_or_else(|| {
        let what = "this host has no list of trusted certificates; install ca-certificates, or set \
                    relays.ca_file";
        io::Error::new(io::ErrorKind::NotFound, what)
    })?;
    let unreadable = |error: &dyn std::fmt::Display| io::Error::other(format!("{file}: {error}"));
    let mut roots = RootCertStore::empty();
    // One that cannot be read is no reason not to believe the others.
    let certificates = CertificateDer::pem_file_iter(&file).map_err(|e| unreadable(&e))?;
    for certificate in certificates.flatten() {
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(unreadable(&"has no certificate"));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| unreadable(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(
            tls("/nonexistent")
                .unwrap_err()
                .to_string()
                .contains("/nonexistent")
        );
        let empty = tls(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(empty.unwrap_err().to_string().contains("no certificate"));
    }
}
