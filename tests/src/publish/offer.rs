//! Owns what synthetic publishers offer to send, as browsers and encoders offer it.

use crate::viewer::{Identity, UFRAG};

/// Payload type of video, H.264.
pub const PAYLOAD_TYPE: u8 = 106;

/// Payload type of audio, Opus.
pub const AUDIO_TYPE: u8 = 111;

/// What a source calls itself.
pub const CNAME: &str = "whip";

/// Names of the encodings that are sent at once, the least first, as Chromium's pages have them.
pub const RIDS: [&str; 3] = ["q", "h", "f"];

/// Tags of the sections of an offer.
pub const VIDEO_MID: &str = "0";
/// See [`VIDEO_MID`].
pub const AUDIO_MID: &str = "1";

/// Identifiers of the header extensions of a section's tag and of an encoding's name (RFC 9143,
/// RFC 8852), as Chromium numbers them.
pub const MID_ID: u8 = 4;
/// See [`MID_ID`].
pub const RID_ID: u8 = 10;

/// What is offered, with the sources that are named.
#[derive(Clone, Copy, Debug)]
pub enum Offer {
    /// One track of H.264 from this source.
    Video(u32),
    /// Opus from this source.
    Audio(u32),
    /// Three encodings of H.264, which are told apart by their names alone, and Opus from this
    /// source.
    Simulcast(u32),
}

impl Offer {
    /// The session description.
    #[must_use]
    pub fn write(self, identity: &Identity) -> String {
        let fingerprint = identity.fingerprint();
        let transport = format!(
            "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{UFRAG}\r\na=ice-pwd:crowdcrowdcrowdcrowd0001\r\n\
             a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=sendonly\r\n\
             a=rtcp-mux\r\na=rtcp-rsize\r\n"
        );
        let (mids, sections) = match self {
            Self::Video(ssrc) => (VIDEO_MID.to_owned(), video(&transport) + &source(ssrc)),
            Self::Audio(ssrc) => (AUDIO_MID.to_owned(), audio(&transport) + &source(ssrc)),
            Self::Simulcast(ssrc) => (
                format!("{VIDEO_MID} {AUDIO_MID}"),
                video(&transport) + &encodings() + &audio(&transport) + &source(ssrc),
            ),
        };
        format!(
            "v=0\r\no=- 4489045141692799359 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
             a=group:BUNDLE {mids}\r\na=msid-semantic: WMS\r\n{sections}"
        )
    }
}

fn video(transport: &str) -> String {
    format!(
        "m=video 9 UDP/TLS/RTP/SAVPF {PAYLOAD_TYPE}\r\n{transport}a=mid:{VIDEO_MID}\r\n\
         a=msid:{CNAME} video\r\na=rtpmap:{PAYLOAD_TYPE} H264/90000\r\n\
         a=fmtp:{PAYLOAD_TYPE} level-asymmetry-allowed=1;packetization-mode=1;\
         profile-level-id=42e01f\r\na=rtcp-fb:{PAYLOAD_TYPE} nack\r\n\
         a=rtcp-fb:{PAYLOAD_TYPE} nack pli\r\na=rtcp-fb:{PAYLOAD_TYPE} ccm fir\r\n"
    )
}

fn audio(transport: &str) -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF {AUDIO_TYPE}\r\n{transport}a=mid:{AUDIO_MID}\r\n\
         a=msid:{CNAME} audio\r\na=rtpmap:{AUDIO_TYPE} opus/48000/2\r\n\
         a=fmtp:{AUDIO_TYPE} minptime=10;useinbandfec=1\r\n"
    )
}

fn source(ssrc: u32) -> String {
    format!("a=ssrc:{ssrc} cname:{CNAME}\r\n")
}

fn encodings() -> String {
    let mut lines = format!(
        "a=extmap:{MID_ID} urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
         a=extmap:{RID_ID} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"
    );
    for rid in RIDS {
        lines += &format!("a=rid:{rid} send\r\n");
    }
    lines + &format!("a=simulcast:send {}\r\n", RIDS.join(";"))
}
