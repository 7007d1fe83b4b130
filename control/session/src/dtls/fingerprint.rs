//! Owns certificate fingerprints (RFC 8122): reading, computing, comparing.

use openssl::sha;
use std::fmt::Write as _;
use subtle::ConstantTimeEq;

/// The hash of a certificate by a function that we hold for strong.
#[derive(Clone, PartialEq, Eq)]
pub enum Fingerprint {
    /// `sha-256`.
    Sha256([u8; 32]),
    /// `sha-384`.
    Sha384([u8; 48]),
    /// `sha-512`.
    Sha512([u8; 64]),
}

impl Fingerprint {
    /// Reads the value of `a=fingerprint`. `None` for other hash functions and for what is not
    /// well-formed.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (function, hex) = value.split_once(' ')?;
        // 64 bytes are 191 characters.
        let bytes = (hex.len() <= 191).then(|| hex_bytes(hex.trim()))??;
        match function.to_ascii_lowercase().as_str() {
            "sha-256" => Some(Self::Sha256(bytes.try_into().ok()?)),
            "sha-384" => Some(Self::Sha384(bytes.try_into().ok()?)),
            "sha-512" => Some(Self::Sha512(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// True if this is the fingerprint of that certificate (DER). Takes the same time wherever they
    /// differ.
    #[must_use]
    pub fn matches(&self, certificate: &[u8]) -> bool {
        match self {
            Self::Sha256(hash) => hash.ct_eq(&sha::sha256(certificate)).into(),
            Self::Sha384(hash) => hash[..].ct_eq(&sha::sha384(certificate)[..]).into(),
            Self::Sha512(hash) => hash[..].ct_eq(&sha::sha512(certificate)[..]).into(),
        }
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sha256(hash) => write!(f, "sha-256 {}", hex(hash)),
            Self::Sha384(hash) => write!(f, "sha-384 {}", hex(hash)),
            Self::Sha512(hash) => write!(f, "sha-512 {}", hex(hash)),
        }
    }
}

/// SHA-256 of a certificate (DER) as `AA:BB:...`.
#[must_use]
pub fn sha256_text(certificate: &[u8]) -> String {
    hex(&sha::sha256(certificate))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (position, byte) in bytes.iter().enumerate() {
        let colon = if position > 0 { ":" } else { "" };
        write!(text, "{colon}{byte:02X}").expect("a string takes whatever is written");
    }
    text
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    text.split(':')
        .map(|pair| {
            let hex = pair.len() == 2 && pair.bytes().all(|c| c.is_ascii_hexdigit());
            hex.then(|| u8::from_str_radix(pair, 16).ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_matches_its_certificate_alone() {
        for function in ["sha-256", "SHA-256"] {
            let text = format!("{function} {}", sha256_text(b"certificate"));
            let fingerprint = Fingerprint::parse(&text).unwrap();
            assert!(fingerprint.matches(b"certificate"));
            assert!(!fingerprint.matches(b"certificatf"));
        }
        let lower = format!("sha-384 {}", hex(&sha::sha384(b"x")).to_lowercase());
        assert!(Fingerprint::parse(&lower).unwrap().matches(b"x"));
        let long = format!("sha-512 {}", hex(&sha::sha512(b"x")));
        assert!(Fingerprint::parse(&long).unwrap().matches(b"x"));
    }

    #[test]
    fn weak_and_malformed_ones_are_refused() {
        let sha1 = hex(&[7; 20]);
        let good = hex(&[7; 32]);
        for text in [
            format!("sha-1 {sha1}"),
            format!("sha-256 {sha1}"),
            format!("md5 {}", hex(&[7; 16])),
            format!("sha-256 {good}:07"),
            format!("sha-256 {}", good.replace(':', "")),
            format!("sha-256 {}", good.replace("07", "+7")),
            "sha-256".to_owned(),
            "sha-256 ".to_owned(),
            String::new(),
        ] {
            assert_eq!(Fingerprint::parse(&text), None, "{text}");
        }
    }
}
