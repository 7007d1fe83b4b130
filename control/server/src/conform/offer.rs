//! Owns what is sent: offers of one audio and one video as browsers make them, and fragments.

use super::rules::Protocol;

/// Identification of the audio section. Not "0": what is only guessed does not pass.
pub const AUDIO_MID: &str = "aud";

/// Identification of the video section.
const VIDEO_MID: &str = "vid";

/// Codecs of video: payload type, name, parameters. Each is followed by its RTX, one higher.
const VIDEO: [(u8, &str, &str); 6] = [
    (
        96,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
    (
        98,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=640c1f",
    ),
    (100, "VP8", ""),
    (102, "VP9", "profile-id=0"),
    (104, "AV1", "level-idx=5;profile=0;tier=0"),
    (
        106,
        "H265",
        "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
    ),
];

/// What is special about an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Nothing.
    Plain,
    /// We open the DTLS handshake: `a=setup:active`.
    Active,
    /// There is a second video.
    TwoVideos,
    /// The audio has a codec that does not exist.
    UnknownAudio,
}

/// An offer and what a later fragment must repeat of it.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The whole text.
    pub text: String,
    /// Our username fragment.
    pub ufrag: String,
    /// Our password.
    pub pwd: String,
}

impl Offer {
    /// A new offer with credentials and a fingerprint that nobody has had before.
    pub fn new(protocol: Protocol, variant: Variant) -> Self {
        let (ufrag, pwd) = credentials();
        let direction = match protocol {
            Protocol::Whip => "sendonly",
            Protocol::Whep => "recvonly",
        };
        let setup = match variant {
            Variant::Active => "active",
            _ => "actpass",
        };
        let transport = format!(
            "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\n\
             a=ice-pwd:{pwd}\r\na=ice-options:trickle\r\na=fingerprint:sha-256 {}\r\n\
             a=setup:{setup}\r\n",
            fingerprint()
        );
        let mut sections = vec![(AUDIO_MID, audio(variant)), (VIDEO_MID, video())];
        if variant == Variant::TwoVideos {
            sections.push(("vid2", video()));
        }
        let mids: Vec<&str> = sections.iter().map(|(mid, _)| *mid).collect();
        let session: u64 = rand::random::<u64>() >> 1;
        let mut text = format!(
            "v=0\r\no=- {session} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
             a=group:BUNDLE {}\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n",
            mids.join(" ")
        );
        let stream = hex(8);
        for (mid, (line, codecs)) in &sections {
            text += &format!(
                "{line}\r\n{transport}a=mid:{mid}\r\n\
                 a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
                 a=extmap:2 http://www.ietf.org/id/\
                 draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
                 a={direction}\r\na=rtcp-mux\r\na=rtcp-mux-only\r\na=rtcp-rsize\r\n{codecs}"
            );
            if protocol == Protocol::Whip {
                text += &source(&stream, mid, line.starts_with("m=video"));
            }
        }
        Self { text, ufrag, pwd }
    }

    /// Candidates of the ICE session of this offer. One has a name that nobody can resolve, one a
    /// transport that few take: neither is a reason to refuse the others.
    pub fn candidates(&self) -> String {
        fragment(&self.ufrag, &self.pwd)
    }
}

/// A fragment for the first section, with these credentials and some candidates.
pub fn fragment(ufrag: &str, pwd: &str) -> String {
    format!(
        "a=ice-options:trickle\r\na=group:BUNDLE {AUDIO_MID} {VIDEO_MID}\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{AUDIO_MID}\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\n\
         a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag {ufrag}\r\n\
         a=candidate:2 1 udp 2122194687 0b7e2d5c-7d43-4d5e-9b0c-2f0b7c1f9a11.local 61765 typ host \
         generation 0 ufrag {ufrag}\r\n\
         a=candidate:3 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 \
         ufrag {ufrag}\r\na=end-of-candidates\r\n"
    )
}

/// A new username fragment and password.
pub fn credentials() -> (String, String) {
    (hex(4), hex(16))
}

/// So many random bytes as text, for names that are to be new.
pub fn hex(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes * 2);
    for _ in 0..bytes {
        text += &format!("{:02x}", rand::random::<u8>());
    }
    text
}

fn fingerprint() -> String {
    let bytes: [String; 32] = std::array::from_fn(|_| format!("{:02X}", rand::random::<u8>()));
    bytes.join(":")
}

fn audio(variant: Variant) -> (String, String) {
    if variant == Variant::UnknownAudio {
        return (
            "m=audio 9 UDP/TLS/RTP/SAVPF 120".into(),
            "a=rtpmap:120 conform-nonesuch/48000/2\r\n".into(),
        );
    }
    let codecs = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n\
                  a=rtcp-fb:111 transport-cc\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n";
    ("m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8".into(), codecs.into())
}

fn video() -> (String, String) {
    let mut line = String::from("m=video 9 UDP/TLS/RTP/SAVPF");
    let mut codecs = String::new();
    for (payload_type, name, parameters) in VIDEO {
        let rtx = payload_type + 1;
        line += &format!(" {payload_type} {rtx}");
        codecs += &format!("a=rtpmap:{payload_type} {name}/90000\r\n");
        if !parameters.is_empty() {
            codecs += &format!("a=fmtp:{payload_type} {parameters}\r\n");
        }
        for feedback in ["nack", "nack pli", "ccm fir", "transport-cc", "goog-remb"] {
            codecs += &format!("a=rtcp-fb:{payload_type} {feedback}\r\n");
        }
        codecs += &format!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={payload_type}\r\n");
    }
    (line, codecs)
}

/// What a publisher says of the packets of a section.
fn source(stream: &str, mid: &str, is_video: bool) -> String {
    let (ssrc, rtx) = (rand::random::<u32>() | 1, rand::random::<u32>() | 1);
    let mut text = format!("a=msid:{stream} {stream}-{mid}\r\n");
    if is_video {
        text += &format!("a=ssrc-group:FID {ssrc} {rtx}\r\na=ssrc:{rtx} cname:{stream}\r\n");
    }
    text + &format!("a=ssrc:{ssrc} cname:{stream}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::sdp::Description;

    #[test]
    fn our_own_reader_takes_every_offer() {
        for protocol in [Protocol::Whip, Protocol::Whep] {
            for variant in [
                Variant::Plain,
                Variant::Active,
                Variant::TwoVideos,
                Variant::UnknownAudio,
            ] {
                let offer = Offer::new(protocol, variant);
                let read = Description::parse(&offer.text).unwrap();
                let wanted = 2 + usize::from(variant == Variant::TwoVideos);
                assert_eq!(read.sections.len(), wanted);
                let other = Offer::new(protocol, variant);
                assert_ne!(offer.ufrag, other.ufrag);
                assert_ne!(offer.pwd, other.pwd);
                assert!(offer.candidates().contains(&offer.pwd));
            }
        }
    }
}
