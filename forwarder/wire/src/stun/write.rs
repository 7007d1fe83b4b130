//! Owns writing binding requests and responses into a caller's buffer.

use hmac::Mac;

use super::{
    ATTRIBUTE_HEADER_BYTES, ERROR_CODE, FINGERPRINT, HEADER_BYTES, ICE_CONTROLLED, ICE_CONTROLLING,
    INTEGRITY_WHOLE_BYTES, MAGIC_COOKIE, MESSAGE_INTEGRITY, METHOD_BINDING, PRIORITY, Role,
    UNKNOWN_ATTRIBUTES, USE_CANDIDATE, USERNAME, USERNAME_BYTES_MAX, XOR_MAPPED_ADDRESS,
    address_mask, fingerprint, integrity,
};
use crate::field::Writer;
use crate::peer::Peer;

const BINDING_SUCCESS: u16 = METHOD_BINDING | 0x0100;
const BINDING_ERROR: u16 = METHOD_BINDING | 0x0110;

const FINGERPRINT_WHOLE_BYTES: usize = ATTRIBUTE_HEADER_BYTES + 4;

/// A binding request: a connectivity check or a consent check.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Random, unique to this request.
    pub transaction: [u8; 12],
    /// The receiver's user fragment.
    pub remote_ufrag: &'a [u8],
    /// Our user fragment.
    pub local_ufrag: &'a [u8],
    /// The receiver's password.
    pub key: &'a [u8],
    /// What a peer-reflexive candidate learnt from this request is worth.
    pub priority: u32,
    /// Our role.
    pub role: Role,
    /// Nominates the pair; for the controlling role.
    pub use_candidate: bool,
}

impl Request<'_> {
    /// Writes the request with integrity and fingerprint. Returns bytes written, 0 if they do not
    /// fit `out` or the user name is longer than allowed.
    #[must_use]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let mut writer = header(METHOD_BINDING, &self.transaction, out);
        let name_bytes = self.remote_ufrag.len() + 1 + self.local_ufrag.len();
        if name_bytes > USERNAME_BYTES_MAX {
            writer.fail();
        }
        attribute(&mut writer, USERNAME, name_bytes);
        writer.bytes(self.remote_ufrag);
        writer.u8(b':');
        writer.bytes(self.local_ufrag);
        writer.align4();
        attribute(&mut writer, PRIORITY, 4);
        writer.u32(self.priority);
        let (kind, tie_breaker) = match self.role {
            Role::Controlling(tie_breaker) => (ICE_CONTROLLING, tie_breaker),
            Role::Controlled(tie_breaker) => (ICE_CONTROLLED, tie_breaker),
        };
        attribute(&mut writer, kind, 8);
        writer.u64(tie_breaker);
        if self.use_candidate {
            attribute(&mut writer, USE_CANDIDATE, 0);
        }
        seal(writer, Some(self.key))
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 400: user name, integrity, priority or role is missing.
    BadRequest,
    /// 401: unknown user, or wrong integrity.
    Unauthenticated,
    /// 420: an attribute that must be understood and is not.
    UnknownAttribute(u16),
    /// 487: both sides claim the same role, and the tie-breaker says that the sender yields.
    RoleConflict,
}

impl Fault {
    /// The error code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::UnknownAttribute(_) => 420,
            Self::RoleConflict => 487,
        }
    }
}

/// Writes a binding success response: XOR-MAPPED-ADDRESS (`mapped`, where the request came from),
/// integrity under `key`, our password, and fingerprint: 64 bytes for IPv4, 76 for IPv6. Returns
/// bytes written, 0 if they do not fit `out`.
#[must_use]
pub fn write_success(transaction: &[u8; 12], mapped: Peer, key: &[u8], out: &mut [u8]) -> usize {
    let mut writer = header(BINDING_SUCCESS, transaction, out);
    let mask = address_mask(transaction);
    let v4 = mapped.ip.v4_octets();
    let (family, address) = match &v4 {
        Some(v4) => (1, &v4[..]),
        None => (2, &mapped.ip.0[..]),
    };
    attribute(&mut writer, XOR_MAPPED_ADDRESS, 4 + address.len());
    writer.bytes(&[0, family]);
    writer.u16(mapped.port ^ (MAGIC_COOKIE >> 16) as u16);
    for (byte, mask) in address.iter().zip(mask) {
        writer.u8(byte ^ mask);
    }
    seal(writer, Some(key))
}

/// Writes a binding error response with an empty reason phrase, and with integrity where the
/// request's could be verified (`key`): 36 bytes, 8 more for 420, 24 more with integrity. Returns
/// bytes written, 0 if they do not fit: an `out` as long as the request keeps the answer from
/// being longer than the question.
#[must_use]
pub fn write_error(
    transaction: &[u8; 12],
    fault: Fault,
    key: Option<&[u8]>,
    out: &mut [u8],
) -> usize {
    let mut writer = header(BINDING_ERROR, transaction, out);
    attribute(&mut writer, ERROR_CODE, 4);
    writer.u16(0);
    // Hundreds in one byte, the rest in the next.
    writer.u16(((fault.code() / 100) << 8) | (fault.code() % 100));
    if let Fault::UnknownAttribute(kind) = fault {
        attribute(&mut writer, UNKNOWN_ATTRIBUTES, 2);
        writer.u16(kind);
        writer.align4();
    }
    seal(writer, key)
}

/// Begins a message; its length is written last.
fn header<'a>(kind: u16, transaction: &[u8; 12], out: &'a mut [u8]) -> Writer<'a> {
    let mut writer = Writer::new(out);
    writer.u16(kind);
    writer.u16(0);
    writer.u32(MAGIC_COOKIE);
    writer.bytes(transaction);
    writer
}

/// Begins an attribute whose value has `bytes` bytes.
fn attribute(writer: &mut Writer<'_>, kind: u16, bytes: usize) {
    writer.u16(kind);
    match u16::try_from(bytes) {
        Ok(bytes) => writer.u16(bytes),
        Err(_) => writer.fail(),
    }
}

/// Ends a message: integrity if there is a key, length, fingerprint.
fn seal(mut writer: Writer<'_>, key: Option<&[u8]>) -> usize {
    if let Some(key) = key {
        match integrity(writer.written(), writer.len(), key) {
            Some(mac) => {
                attribute(&mut writer, MESSAGE_INTEGRITY, INTEGRITY_WHOLE_BYTES - 4);
                writer.bytes(&mac.finalize().into_bytes());
            }
            None => writer.fail(),
        }
    }
    let body = (writer.len() + FINGERPRINT_WHOLE_BYTES).saturating_sub(HEADER_BYTES);
    match u16::try_from(body) {
        Ok(body) => writer.patch_u16(2, body),
        Err(_) => writer.fail(),
    }
    let value = fingerprint::of(writer.written());
    attribute(&mut writer, FINGERPRINT, 4);
    writer.u32(value);
    writer.finish()
}
