//! Owns the session descriptions: reading offers, writing answers, fragments of trickle ICE.

pub mod answer;
pub mod candidate;
pub mod codec;
pub mod counter;
pub mod crypto;
pub mod elements;
pub mod fragment;
pub mod layers;
pub mod offer;
pub mod plan;
pub mod publish;
pub mod publish_answer;
pub mod pull;
pub mod push;
pub mod push_answer;
pub mod source;
pub mod terms;
pub mod text;

use crate::refusal::SignalError;

/// Most bytes of a description: Chromium's largest offer seen has 9 KB, with candidates.
pub const SDP_BYTES_MAX: usize = 64 * 1024;

/// Most lines of a description. Chromium's offer has 240.
pub const SDP_LINES_MAX: usize = 4096;

/// Most bytes of one line. The longest seen are candidates, below 300.
pub const SDP_LINE_BYTES_MAX: usize = 1024;

/// Most media sections of a description.
pub const SDP_MEDIAS_MAX: usize = 16;

/// Refuses what no reader after this one should have to deal with: too much of anything, and
/// characters that could start a line of their own in a log or in an answer.
pub(crate) fn check_text(text: &str) -> Result<(), SignalError> {
    if text.len() > SDP_BYTES_MAX {
        return Err(too_large(format!(
            "The description has {} bytes.",
            text.len()
        )));
    }
    let mut lines = 0;
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        lines += 1;
        if lines > SDP_LINES_MAX {
            return Err(too_large(format!("More than {SDP_LINES_MAX} lines.")));
        }
        if line.len() > SDP_LINE_BYTES_MAX {
            return Err(too_large(format!("Line {lines} has {} bytes.", line.len())));
        }
        if line.chars().any(char::is_control) {
            return Err(SignalError::malformed(format!(
                "Line {lines} has a control character."
            )));
        }
    }
    Ok(())
}

/// RFC 8839 section 5.4: `ice-char = ALPHA / DIGIT / "+" / "/"`, and the permitted lengths.
pub(crate) fn is_ice_string(text: &str, bytes_min: usize) -> bool {
    (bytes_min..=256).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'+' || c == b'/')
}

/// Fewest characters of a username fragment.
pub(crate) const UFRAG_BYTES_MIN: usize = 4;

/// Fewest characters of a password.
pub(crate) const PWD_BYTES_MIN: usize = 22;

fn too_large(detail: String) -> SignalError {
    SignalError::new(
        413,
        "sdp-too-large",
        detail,
        "Offer fewer codecs, candidates or media.",
    )
}

#[cfg(test)]
mod tests;
