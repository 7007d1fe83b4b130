//! Owns the offer of a synthetic viewer and what it reads in the answer.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use wire::stun::{Class, Message, Request, Role};

/// Video and audio, in the order of the offer.
pub const OFFER_KINDS: [&str; 2] = ["video", "audio"];

/// Identifiers under which levels of sound and times of capture come.
pub const LEVEL_ID: u8 = 5;
/// See [`LEVEL_ID`].
pub const TIME_ID: u8 = 6;

/// Our user fragment; one for all, since the server's is unique.
pub const UFRAG: &str = "crowd001";

/// Our password; nobody checks us.
const PWD: &str = "crowdcrowdcrowdcrowd0001";

/// What is needed of an answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The server's user fragment.
    pub ufrag: String,
    /// The server's password.
    pub pwd: String,
    /// Where the server is: its first candidate.
    pub candidate: SocketAddr,
    /// SHA-256 of its certificate, `AA:BB:...`.
    pub fingerprint: String,
    /// SSRC of media and of its retransmissions, for each kind that is sent.
    pub tracks: Vec<[u32; 2]>,
}

impl Answer {
    /// Reads an answer; `None` if something is missing.
    #[must_use]
    pub fn parse(sdp: &str) -> Option<Self> {
        let value = |name: &str| {
            let prefix = format!("a={name}:");
            sdp.lines()
                .find_map(|line| line.strip_prefix(&prefix))
                .map(str::trim)
        };
        let candidate: Vec<&str> = value("candidate")?.split(' ').collect();
        let address = format!("{}:{}", candidate.get(4)?, candidate.get(5)?);
        let mut tracks = Vec::new();
        for section in sdp.split("\nm=").skip(1) {
            let mut ssrcs = section.lines().filter_map(|line| {
                line.strip_prefix("a=ssrc:")?
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            });
            if let Some(media) = ssrcs.next() {
                tracks.push([media, ssrcs.next().unwrap_or(0)]);
            }
        }
        Some(Self {
            ufrag: value("ice-ufrag")?.to_owned(),
            pwd: value("ice-pwd")?.to_owned(),
            candidate: address.parse().ok()?,
            fingerprint: value("fingerprint")?.strip_prefix("sha-256 ")?.to_owned(),
            tracks,
        })
    }
}

impl Answer {
    /// Writes our check of this number, which nominates or not; gives its bytes. Its transaction
    /// differs from those before in every part: servers that look for repetitions may look at a few
    /// bytes only.
    #[must_use]
    pub fn check(&self, number: u64, nominates: bool, out: &mut [u8; 256]) -> usize {
        let now = unix_ns();
        let mut transaction = [0; 12];
        let (head, tail) = transaction.split_at_mut(4);
        let [.., a, b, c, d] = (now ^ number.rotate_left(20)).to_be_bytes();
        head.copy_from_slice(&[a, b, c, d]);
        tail.copy_from_slice(&(now ^ number).to_be_bytes());
        let request = Request {
            transaction,
            remote_ufrag: self.ufrag.as_bytes(),
            local_ufrag: UFRAG.as_bytes(),
            key: self.pwd.as_bytes(),
            priority: 0x6e7f_1eff,
            role: Role::Controlling(0x1234_5678_9abc_def0),
            use_candidate: nominates,
        };
        request.write(out)
    }

    /// True if this is what the server says to a check that it takes.
    #[must_use]
    pub fn is_answered_by(&self, bytes: &[u8]) -> bool {
        Message::parse(bytes).is_ok_and(|message| {
            message.class() == Class::Success && message.verify_integrity(self.pwd.as_bytes())
        })
    }
}

/// Nanoseconds since 1970.
#[must_use]
#[inline]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(0)
}

/// What browsers offer, without what we do not use; `fingerprint` is SHA-256 of the certificate.
#[must_use]
pub fn offer(fingerprint: &str) -> String {
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PWD}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=rtcp-mux\r\na=rtcp-rsize\r\n\
         a=recvonly\r\n"
    );
    format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
         a=group:BUNDLE 0 1\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\n{transport}a=mid:0\r\n\
         a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
         a=rtcp-fb:102 ccm fir\r\na=rtcp-fb:102 goog-remb\r\n\
         a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
         a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{transport}a=mid:1\r\n\
         a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=extmap:{LEVEL_ID} urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=extmap:{TIME_ID} http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time\r\n"
    )
}
