//! Owns libsrtp by the `srtp` crate, behind the feature `libsrtp`: an independent implementation
//! to test against and a baseline to measure against. Not for the packet path: it allocates.
//!
//! Packets are `Vec<u8>` only. The crate also takes a `Cursor`, and writes beyond its end.

use wire::srtp::Profile;

use crate::secret::Secret;

/// Packets of the oracle's replay window: as large as ours for RTP.
const WINDOW_PACKETS: u64 = 1024;

/// One direction of one peer, by libsrtp, with the counters and windows of its own.
pub struct Session {
    session: srtp::Session,
    key: Vec<u8>,
    profile: Profile,
}

impl Session {
    /// A session without any SSRC. `None`: the profile is [`Profile::Plain`], or libsrtp refused.
    #[must_use]
    pub fn new(secret: &Secret) -> Option<Self> {
        let profile = secret.profile();
        if profile == Profile::Plain {
            return None;
        }
        // libsrtp wants key and salt in one piece.
        let mut key = secret.key().to_vec();
        key.extend_from_slice(&secret.salt_padded()[..profile.salt_bytes()]);
        Some(Self {
            session: srtp::Session::new().ok()?,
            key,
            profile,
        })
    }

    /// Makes an SSRC known. libsrtp 2.3 heeds the roll-over counter only when it receives: a sender
    /// starts with 0.
    pub fn add(&mut self, ssrc: u32, roc: u32) -> bool {
        let (rtp, rtcp) = policies(self.profile);
        let policy = srtp::StreamPolicy {
            rtp,
            rtcp,
            key: &self.key,
            window_size: WINDOW_PACKETS,
            ..srtp::StreamPolicy::default()
        };
        self.session.add_stream(ssrc, policy).is_ok()
            && (roc == 0 || self.session.set_stream_roc(ssrc, roc).is_ok())
    }

    /// Protects an RTP packet. `false`: refused, and the packet is lost.
    pub fn protect(&mut self, packet: &mut Vec<u8>) -> bool {
        self.session.protect(packet).is_ok()
    }

    /// Opens an SRTP packet. `false`: refused, and the packet is lost.
    pub fn unprotect(&mut self, packet: &mut Vec<u8>) -> bool {
        self.session.unprotect(packet).is_ok()
    }

    /// Protects an RTCP compound; the first one of an SSRC gets the index 1.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) -> bool {
        self.session.protect_rtcp(packet).is_ok()
    }

    /// Opens an SRTCP packet. `false`: refused, and the packet is lost.
    pub fn unprotect_rtcp(&mut self, packet: &mut Vec<u8>) -> bool {
        self.session.unprotect_rtcp(packet).is_ok()
    }
}

fn policies(profile: Profile) -> (srtp::CryptoPolicy, srtp::CryptoPolicy) {
    type Policy = srtp::CryptoPolicy;
    match profile {
        Profile::AeadAes128Gcm => (Policy::aes_gcm_128_16_auth(), Policy::aes_gcm_128_16_auth()),
        Profile::AeadAes256Gcm => (Policy::aes_gcm_256_16_auth(), Policy::aes_gcm_256_16_auth()),
        Profile::Aes128CmSha1_32 => (
            Policy::aes_cm_128_hmac_sha1_32(),
            Policy::aes_cm_128_hmac_sha1_80(),
        ),
        Profile::Plain | Profile::Aes128CmSha1_80 => (
            Policy::aes_cm_128_hmac_sha1_80(),
            Policy::aes_cm_128_hmac_sha1_80(),
        ),
    }
}
