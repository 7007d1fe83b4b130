//! Owns which protocol a datagram on the one UDP port speaks, told by its first two bytes. Hot.

/// What a datagram seems to be. The view of that protocol has the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// STUN, for ICE.
    Stun,
    /// A DTLS record. The unified header of DTLS 1.3, 0x2c to 0x3f, is among them.
    Dtls,
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// ZRTP, TURN channels, QUIC, and what nobody uses: to be dropped.
    Unknown,
}

/// Sorts a datagram by its first byte (RFC 7983 section 7, RFC 9443 section 3) and RTP from RTCP
/// by the second (RFC 5761 section 4).
///
/// RTCP is the second byte 192 to 223, not "payload type below 96": browsers use the RTP payload
/// types 35 to 63, with and without the marker bit.
#[inline]
#[must_use]
pub fn classify(bytes: &[u8]) -> Class {
    match *bytes {
        [0..=3, ..] => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [128..=191, 192..=223, ..] => Class::Rtcp,
        [128..=191, _, ..] => Class::Rtp,
        _ => Class::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_first_bytes_has_its_class() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let expected = match first {
                    0..4 => Class::Stun,
                    20..64 => Class::Dtls,
                    128..192 if (192..224).contains(&second) => Class::Rtcp,
                    128..192 => Class::Rtp,
                    _ => Class::Unknown,
                };
                assert_eq!(classify(&[first, second, 0]), expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn low_payload_types_with_and_without_marker_are_rtp() {
        for payload_type in (0..64_u8).chain(96..128) {
            assert_eq!(classify(&[0x80, payload_type]), Class::Rtp);
            assert_eq!(
                classify(&[0x80, payload_type | 0x80]) == Class::Rtp,
                !(64..96).contains(&payload_type),
            );
        }
    }

    #[test]
    fn what_is_too_short_is_unknown() {
        assert_eq!(classify(&[]), Class::Unknown);
        assert_eq!(classify(&[0x80]), Class::Unknown);
    }
}
