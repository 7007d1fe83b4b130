//! Owns STUN messages as ICE uses them (RFC 8489, RFC 8445 section 16): a view checked once.

mod fingerprint;
mod lately;
mod write;

use core::ops::ControlFlow;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::field::{array_at, u8_at, u16_at, u32_at, u64_at};
use crate::peer::{Ip, Peer};

pub use lately::Lately;
pub use write::{Fault, Request, write_error, write_success};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 20;

/// The binding method, the only one ICE uses.
pub const METHOD_BINDING: u16 = 1;

/// Most attributes of a message. Browsers send 7; more than this many times as many is an attack.
pub const ATTRIBUTES_MAX: usize = 32;

/// Longest user name, in bytes: RFC 8489 section 14.3.
pub const USERNAME_BYTES_MAX: usize = 508;

const MAGIC_COOKIE: u32 = 0x2112_a442;
const MAPPED_ADDRESS: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

const ATTRIBUTE_HEADER_BYTES: usize = 4;
const INTEGRITY_BYTES: usize = 20;
/// MESSAGE-INTEGRITY with its header.
const INTEGRITY_WHOLE_BYTES: usize = ATTRIBUTE_HEADER_BYTES + INTEGRITY_BYTES;

/// Why bytes are not a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StunError {
    /// Fewer bytes than a header.
    Short,
    /// The first two bits are not zero, or the magic cookie is missing.
    NotStun,
    /// The length is not that of the bytes, or not a multiple of four.
    Length,
    /// An attribute does not fit, or has a length its type cannot have.
    Attribute,
    /// More than [`ATTRIBUTES_MAX`] attributes.
    TooMany,
    /// The fingerprint is wrong, or not the last attribute.
    Fingerprint,
}

/// What kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants a response.
    Request,
    /// Wants none.
    Indication,
    /// A good response.
    Success,
    /// A bad response.
    Error,
}

/// The sender's role in ICE and its tie-breaker (RFC 8445 section 7.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Nominates.
    Controlling(u64),
    /// Is told which pair was nominated.
    Controlled(u64),
}

/// A STUN message in borrowed bytes, all its lengths checked. Of an attribute that comes twice the
/// first counts; what follows the integrity is not looked at, but for the fingerprint. Nothing
/// here is to be trusted before [`Message::verify_integrity`].
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    username: Option<&'a [u8]>,
    priority: Option<u32>,
    role: Option<Role>,
    mapped: Option<Peer>,
    error_code: Option<u16>,
    unknown_required: Option<u16>,
    /// Where MESSAGE-INTEGRITY begins.
    integrity_at: Option<usize>,
    use_candidate: bool,
    has_fingerprint: bool,
}

impl<'a> Message<'a> {
    /// Checks a message: header, every length, and the fingerprint if there is one.
    ///
    /// # Errors
    /// See [`StunError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunError> {
        if bytes.len() < HEADER_BYTES {
            return Err(StunError::Short);
        }
        if u8_at(bytes, 0) & 0xc0 != 0 || u32_at(bytes, 4) != MAGIC_COOKIE {
            return Err(StunError::NotStun);
        }
        let length = usize::from(u16_at(bytes, 2));
        if length != bytes.len() - HEADER_BYTES || !length.is_multiple_of(4) {
            return Err(StunError::Length);
        }
        let mut message = Self {
            bytes,
            username: None,
            priority: None,
            role: None,
            mapped: None,
            error_code: None,
            unknown_required: None,
            integrity_at: None,
            use_candidate: false,
            has_fingerprint: false,
        };
        let mut at = HEADER_BYTES;
        for _ in 0..ATTRIBUTES_MAX {
            match message.attribute(at)? {
                ControlFlow::Continue(next) => at = next,
                ControlFlow::Break(()) => return Ok(message),
            }
        }
        if at < bytes.len() {
            return Err(StunError::TooMany);
        }
        Ok(message)
    }

    /// What kind of message.
    #[must_use]
    pub fn class(&self) -> Class {
        match u16_at(self.bytes, 0) & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        }
    }

    /// The method, 12 bits; see [`METHOD_BINDING`].
    #[must_use]
    pub fn method(&self) -> u16 {
        let bits = u16_at(self.bytes, 0);
        bits & 0x000f | (bits & 0x00e0) >> 1 | (bits & 0x3e00) >> 2
    }

    /// True for a binding request.
    #[must_use]
    pub fn is_binding_request(&self) -> bool {
        u16_at(self.bytes, 0) == METHOD_BINDING
    }

    /// The id that a response repeats.
    #[must_use]
    pub fn transaction(&self) -> [u8; 12] {
        array_at(self.bytes, 8)
    }

    /// The user name in two, as the receiver sees it: its own (local) user fragment before the
    /// first colon, the sender's (remote) after. `None`: none, or without a colon.
    #[must_use]
    pub fn username(&self) -> Option<(&'a [u8], &'a [u8])> {
        let name = self.username?;
        let colon = name.iter().position(|byte| *byte == b':')?;
        Some((name.get(..colon)?, name.get(colon + 1..)?))
    }

    /// The whole user name, 508 bytes at most.
    #[must_use]
    pub fn username_bytes(&self) -> Option<&'a [u8]> {
        self.username
    }

    /// The priority of a peer-reflexive candidate learnt from this request.
    #[must_use]
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// True if the sender nominates this pair.
    #[must_use]
    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// The sender's role and tie-breaker.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// Our address as the sender of this response saw it, from XOR-MAPPED-ADDRESS.
    #[must_use]
    pub fn mapped_address(&self) -> Option<Peer> {
        self.mapped
    }

    /// The code of an error response, 300 to 699.
    #[must_use]
    pub fn error_code(&self) -> Option<u16> {
        self.error_code
    }

    /// The first attribute that must be understood and is not; a request with one is to be
    /// answered by [`Fault::UnknownAttribute`].
    #[must_use]
    pub fn unknown_required(&self) -> Option<u16> {
        self.unknown_required
    }

    /// True if the message had a fingerprint. It was right, or there were no message.
    #[must_use]
    pub fn has_fingerprint(&self) -> bool {
        self.has_fingerprint
    }

    /// True if there is a MESSAGE-INTEGRITY to verify.
    #[must_use]
    pub fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    /// True if the message is authentic under `key`, the password of short-term credentials;
    /// false also if it has no MESSAGE-INTEGRITY. Compares in constant time.
    #[must_use]
    pub fn verify_integrity(&self, key: &[u8]) -> bool {
        let Some(at) = self.integrity_at else {
            return false;
        };
        let value = self
            .bytes
            .get(at + ATTRIBUTE_HEADER_BYTES..at + INTEGRITY_WHOLE_BYTES);
        match (integrity(self.bytes, at, key), value) {
            (Some(mac), Some(value)) => mac.verify_slice(value).is_ok(),
            _ => false,
        }
    }

    /// Reads the attribute at `at` and says where the next one is, or that there is none.
    fn attribute(&mut self, at: usize) -> Result<ControlFlow<(), usize>, StunError> {
        if at == self.bytes.len() {
            return Ok(ControlFlow::Break(()));
        }
        let kind = u16_at(self.bytes, at);
        let value_at = at + ATTRIBUTE_HEADER_BYTES;
        let end = value_at + usize::from(u16_at(self.bytes, at + 2));
        // The message is whole words, so that padding fits wherever the value fits.
        let value = self.bytes.get(value_at..end).ok_or(StunError::Attribute)?;
        let next = end.next_multiple_of(4);
        if kind == FINGERPRINT {
            //= https://www.rfc-editor.org/rfc/rfc8489#section-14.7
            //# When present, the FINGERPRINT attribute MUST be the last attribute in the message
            let before = self.bytes.get(..at).unwrap_or_default();
            if next != self.bytes.len()
                || value.len() != 4
                || u32_at(value, 0) != fingerprint::of(before)
            {
                return Err(StunError::Fingerprint);
            }
            self.has_fingerprint = true;
        } else if self.integrity_at.is_none() {
            self.note(kind, value, at).ok_or(StunError::Attribute)?;
        }
        Ok(ControlFlow::Continue(next))
    }

    /// Keeps what an attribute says unless an earlier one of its kind did. `None`: its length is
    /// wrong for its kind.
    fn note(&mut self, kind: u16, value: &'a [u8], at: usize) -> Option<()> {
        let exactly = |bytes| (value.len() == bytes).then_some(());
        match kind {
            USERNAME => {
                (value.len() <= USERNAME_BYTES_MAX).then_some(())?;
                self.username.get_or_insert(value);
            }
            PRIORITY => {
                exactly(4)?;
                self.priority.get_or_insert(u32_at(value, 0));
            }
            USE_CANDIDATE => {
                exactly(0)?;
                self.use_candidate = true;
            }
            ICE_CONTROLLING => {
                exactly(8)?;
                self.role.get_or_insert(Role::Controlling(u64_at(value, 0)));
            }
            ICE_CONTROLLED => {
                exactly(8)?;
                self.role.get_or_insert(Role::Controlled(u64_at(value, 0)));
            }
            MESSAGE_INTEGRITY => {
                exactly(INTEGRITY_BYTES)?;
                self.integrity_at = Some(at);
            }
            XOR_MAPPED_ADDRESS => {
                let address = unmask_address(value, &self.transaction())?;
                self.mapped.get_or_insert(address);
            }
            ERROR_CODE => {
                let [_, _, class, number] = *value.first_chunk()?;
                let code = u16::from(class & 7) * 100 + u16::from(number);
                self.error_code.get_or_insert(code);
            }
            MAPPED_ADDRESS
            | UNKNOWN_ATTRIBUTES
            | REALM
            | NONCE
            | MESSAGE_INTEGRITY_SHA256
            | 0x8000.. => {}
            unknown => {
                self.unknown_required.get_or_insert(unknown);
            }
        }
        Some(())
    }
}

/// The HMAC over everything before the MESSAGE-INTEGRITY at `at`, with the length that the message
/// would have if it ended with that attribute (RFC 8489 section 14.5).
fn integrity(bytes: &[u8], at: usize, key: &[u8]) -> Option<Hmac<Sha1>> {
    let length = u16::try_from(at + INTEGRITY_WHOLE_BYTES - HEADER_BYTES).ok()?;
    let mut mac = Hmac::<Sha1>::new_from_slice(key).ok()?;
    mac.update(bytes.get(..2)?);
    mac.update(&length.to_be_bytes());
    mac.update(bytes.get(4..at)?);
    Some(mac)
}

/// What an address is masked with: the magic cookie, then the transaction id.
fn address_mask(transaction: &[u8; 12]) -> [u8; 16] {
    let mut mask = [0; 16];
    let (cookie, rest) = mask.split_at_mut(4);
    cookie.copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    rest.copy_from_slice(transaction);
    mask
}

/// Reads the value of XOR-MAPPED-ADDRESS. `None`: a length its family cannot have.
fn unmask_address(value: &[u8], transaction: &[u8; 12]) -> Option<Peer> {
    let mut mask = address_mask(transaction).into_iter();
    let port = u16_at(value, 2) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip: Ip = match (u8_at(value, 1), value.len()) {
        (1, 8) => {
            let masked: [u8; 4] = array_at(value, 4);
            core::net::IpAddr::from(masked.map(|byte| byte ^ mask.next().unwrap_or(0))).into()
        }
        (2, 20) => {
            let masked: [u8; 16] = array_at(value, 4);
            Ip(masked.map(|byte| byte ^ mask.next().unwrap_or(0)))
        }
        _ => return None,
    };
    Some(Peer { ip, port })
}

#[cfg(test)]
mod tests;
