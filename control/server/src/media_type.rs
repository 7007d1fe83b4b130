//! Owns the media types that signalling carries, and the reading of one from a header field.

/// What an offer and an answer are.
pub const SDP: &str = "application/sdp";

/// What a PATCH carries (RFC 8840 section 9).
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The media type of a header field's value: without parameters, in lower case.
#[must_use]
pub fn of(field: &str) -> String {
    let kind = field.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        assert_eq!(of(" Application/SDP ; charset=x"), SDP);
        assert_eq!(of(""), "");
    }
}
