//! Owns the few narrowing conversions of this crate, each with its reason.

/// The low 32 bits of a running count: how RTP timestamps wrap (RFC 3550 section 5.1).
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "wrapping is meant"
)]
pub(crate) const fn wrap32(count: i64) -> u32 {
    count as u32
}

/// A sample, tick or nanosecond count as `i64`; counts beyond `i64::MAX` saturate.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A length as `i64`.
pub(crate) fn signed_len(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// A signed count as `u64`; negative becomes zero.
pub(crate) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// A length that is known to fit 16 bits because a limit of this crate keeps it there.
pub(crate) fn len16(len: usize) -> u16 {
    u16::try_from(len).expect("limited to 16 bits by the caller's bounds")
}

/// A length that is known to fit 32 bits because a limit of this crate keeps it there.
pub(crate) fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("limited to 32 bits by the caller's bounds")
}
