//! Owns the first message of a handshake: puts the ClientHello together from fragments in any
//! order, and reads what decides the choice of an engine.

use wire::srtp::Profile;

/// Most bytes of a ClientHello. With a post-quantum key share browsers send 1,461.
const HELLO_BYTES_MAX: usize = 8192;

/// Most datagrams of a ClientHello. Browsers send 2, repeated after 50 ms.
const DATAGRAMS_MAX: usize = 8;

const RECORD_HEADER_BYTES: usize = 13;
const MESSAGE_HEADER_BYTES: usize = 12;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SUPPORTED_GROUPS: u16 = 10;
const USE_SRTP: u16 = 14;
const SUPPORTED_VERSIONS: u16 = 43;
const DTLS_1_2: u16 = 0xfefd;
const DTLS_1_3: u16 = 0xfefc;
const SECP224R1: u16 = 21;
const FFDHE2048: u16 = 256;

/// Datagrams of a ClientHello that is not complete.
#[derive(Debug, Default)]
pub struct Assembly {
    datagrams: Vec<Vec<u8>>,
    /// The body, as long as the message says; empty before the first fragment.
    body: Vec<u8>,
    /// Which bytes of the body have come.
    present: Vec<bool>,
}

/// What a complete ClientHello offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// DTLS 1.3 is offered.
    pub dtls13: bool,
    /// DTLS 1.2 is offered.
    pub dtls12: bool,
    /// SRTP profiles that we know, in the client's order.
    pub profiles: Vec<Profile>,
    /// Finite fields are among the groups, and P-224 is not: the client is GnuTLS.
    pub gnutls_groups: bool,
}

impl Hello {
    /// True for FFmpeg with GnuTLS, which takes part with a certificate on P-224, a curve that it
    /// does not name here.
    #[must_use]
    pub fn hides_its_curve(&self) -> bool {
        let by_ffmpeg = self.profiles == [Profile::Aes128CmSha1_80];
        by_ffmpeg && self.gnutls_groups && !self.dtls13
    }
}

/// A record of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Content type, or the whole first byte of a unified header (RFC 9147 section 4).
    pub kind: u8,
    /// The epoch; of a unified header only that it is not 0.
    pub epoch: u16,
    /// The record, header included.
    pub whole: &'a [u8],
    /// What follows the header.
    pub payload: &'a [u8],
}

impl Record<'_> {
    /// True if nothing protects this record.
    #[must_use]
    pub fn is_plaintext(&self) -> bool {
        self.epoch == 0
    }
}

/// The records of a datagram. Ends where the lengths stop making sense. What begins with a unified
/// header is one record to the end of the datagram: nothing but its epoch being protected is of
/// interest here.
pub fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let kind = *rest.first()?;
        if kind & 0xe0 == 0x20 {
            let whole = std::mem::take(&mut rest);
            return Some(Record {
                kind,
                epoch: 1,
                whole,
                payload: whole.get(1..)?,
            });
        }
        let header = rest.get(..RECORD_HEADER_BYTES)?;
        let end = RECORD_HEADER_BYTES + usize::from(be16(header.get(11..13)?));
        let (whole, after) = rest.split_at_checked(end)?;
        rest = after;
        let epoch = be16(header.get(3..5)?);
        Some(Record {
            kind,
            epoch,
            whole,
            payload: whole.get(RECORD_HEADER_BYTES..)?,
        })
    })
}

impl Assembly {
    /// Takes a datagram. `Some` when the ClientHello is complete: what it offers, and the datagrams
    /// it came in, for the engine. What is not part of a ClientHello changes nothing.
    pub fn push(&mut self, datagram: &[u8]) -> Option<(Hello, Vec<Vec<u8>>)> {
        let mut news = false;
        for record in records(datagram).filter(|r| r.kind == HANDSHAKE && r.is_plaintext()) {
            news |= self.fragment(record.payload).unwrap_or(false);
        }
        if !news {
            return None;
        }
        if self.datagrams.len() == DATAGRAMS_MAX {
            // Somebody plays with us; a client that is honest starts anew after a time-out.
            *self = Self::default();
            return None;
        }
        self.datagrams.push(datagram.to_vec());
        if !self.present.iter().all(|byte| *byte) {
            return None;
        }
        let hello = read(&self.body);
        let datagrams = std::mem::take(&mut self.datagrams);
        *self = Self::default();
        Some((hello?, datagrams))
    }

    /// `Some(true)` if the fragment brought something new.
    fn fragment(&mut self, message: &[u8]) -> Option<bool> {
        let header = message.get(..MESSAGE_HEADER_BYTES)?;
        let length = be24(header.get(1..4)?);
        let sequence = be16(header.get(4..6)?);
        let start = be24(header.get(6..9)?);
        let end = start + be24(header.get(9..12)?);
        let bytes = message.get(MESSAGE_HEADER_BYTES..)?.get(..end - start)?;
        let whole_hello = header.first() == Some(&CLIENT_HELLO) && sequence == 0;
        if !whole_hello || end > length || !(1..=HELLO_BYTES_MAX).contains(&length) {
            return None;
        }
        if self.body.len() != length {
            *self = Self::default();
            self.body = vec![0; length];
            self.present = vec![false; length];
        }
        let present = self.present.get_mut(start..end)?;
        let news = present.iter().any(|byte| !byte);
        present.fill(true);
        if news {
            self.body.get_mut(start..end)?.copy_from_slice(bytes);
        }
        Some(news)
    }
}

/// RFC 6347 section 4.2.1 with RFC 8446 section 4.1.2. `None` if the lengths do not add up.
fn read(body: &[u8]) -> Option<Hello> {
    let legacy_version = be16(body.get(..2)?);
    // The version, 32 random bytes.
    let rest = body.get(34..)?;
    let (_session_id, rest) = vector8(rest)?;
    let (_cookie, rest) = vector8(rest)?;
    let (_cipher_suites, rest) = vector16(rest)?;
    let (_compression_methods, rest) = vector8(rest)?;
    let mut hello = Hello {
        dtls12: legacy_version == DTLS_1_2,
        ..Hello::default()
    };
    let mut extensions = if rest.is_empty() {
        rest
    } else {
        vector16(rest)?.0
    };
    while !extensions.is_empty() {
        let kind = be16(extensions.get(..2)?);
        let (value, after) = vector16(extensions.get(2..)?)?;
        extensions = after;
        match kind {
            SUPPORTED_GROUPS => {
                let groups = vector16(value)?.0;
                let names = |group| groups.chunks_exact(2).any(|named| be16(named) == group);
                hello.gnutls_groups = names(FFDHE2048) && !names(SECP224R1);
            }
            USE_SRTP => {
                let ids = vector16(value)?.0.chunks_exact(2).map(be16);
                hello.profiles = ids.filter_map(Profile::from_id).take(8).collect();
            }
            SUPPORTED_VERSIONS => {
                let versions = vector8(value)?.0;
                let offers = |version| versions.chunks_exact(2).any(|v| be16(v) == version);
                hello.dtls13 = offers(DTLS_1_3);
                hello.dtls12 = offers(DTLS_1_2);
            }
            _ => {}
        }
    }
    Some(hello)
}

fn vector8(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(length))
}

fn vector16(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(2)?;
    rest.split_at_checked(usize::from(be16(length)))
}

fn be16(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .take(2)
        .fold(0, |value, byte| value << 8 | u16::from(*byte))
}

fn be24(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take(3)
        .fold(0, |value, byte| value << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests;
