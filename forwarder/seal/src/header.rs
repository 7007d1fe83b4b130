//! Owns the little that SRTP must know of RTP and RTCP headers. Hot.

use crate::refusal::Refusal;

/// Bytes of an RTP header without CSRCs and extension (RFC 3550 section 5.1).
pub(crate) const RTP_BYTES_MIN: usize = 12;

/// Bytes of an RTCP header and the SSRC behind it: never encrypted (RFC 3711 section 3.4).
pub(crate) const RTCP_CLEAR_BYTES: usize = 8;

/// Bytes of the header with its CSRCs and extension: what SRTP leaves in the clear.
pub(crate) fn rtp_clear_bytes(packet: &[u8]) -> Result<usize, Refusal> {
    if packet.len() < RTP_BYTES_MIN {
        return Err(Refusal::Short);
    }
    if packet[0] >> 6 != 2 {
        return Err(Refusal::Malformed);
    }
    let mut bytes = RTP_BYTES_MIN + 4 * usize::from(packet[0] & 0x0f);
    if packet[0] & 0x10 != 0 {
        let Some(&[_, _, high, low]) = packet[bytes.min(packet.len())..].first_chunk() else {
            return Err(Refusal::Malformed);
        };
        bytes += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    }
    if bytes > packet.len() { Err(Refusal::Malformed) } else { Ok(bytes) }
}

/// The sequence number. The packet has at least [`RTP_BYTES_MIN`] bytes.
pub(crate) fn rtp_sequence(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

/// The SSRC. The packet has at least [`RTP_BYTES_MIN`] bytes.
pub(crate) fn rtp_ssrc(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]])
}

/// The SSRC of the first packet's sender. There are at least [`RTCP_CLEAR_BYTES`] bytes.
pub(crate) fn rtcp_ssrc(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_csrcs_and_extension() {
        let mut packet = [0; 64];
        packet[0] = 0x80;
        assert_eq!(rtp_clear_bytes(&packet), Ok(12));
        packet[0] = 0x83;
        assert_eq!(rtp_clear_bytes(&packet), Ok(24));
        packet[0] = 0x93;
        packet[27] = 2;
        assert_eq!(rtp_clear_bytes(&packet), Ok(36));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut packet = [0; 16];
        packet[0] = 0x90;
        assert_eq!(rtp_clear_bytes(&packet[..11]), Err(Refusal::Short));
        assert_eq!(rtp_clear_bytes(&packet[..15]), Err(Refusal::Malformed));
        assert_eq!(rtp_clear_bytes(&packet), Ok(16));
        packet[14] = 0xff;
        assert_eq!(rtp_clear_bytes(&packet), Err(Refusal::Malformed));
        packet[0] = 0x9f;
        assert_eq!(rtp_clear_bytes(&packet), Err(Refusal::Malformed));
        packet[0] = 0x40;
        assert_eq!(rtp_clear_bytes(&packet), Err(Refusal::Malformed));
    }
}
