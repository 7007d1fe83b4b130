//! Owns what a stream consists of, as far as a viewer must be told.

use std::fmt;

/// The tracks of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamDescription {
    /// The video track, if there is one.
    pub video: Option<VideoCodec>,
    /// The audio track, if there is one.
    pub audio: Option<AudioCodec>,
}

impl StreamDescription {
    /// True while nothing is known: a stream that was opened and has not sent anything yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.video.is_none() && self.audio.is_none()
    }
}

/// How the video is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// H.264, sent with packetization-mode 1 (RFC 6184).
    H264 {
        /// `profile_idc`, the constraint flags and `level_idc`, as in the sequence parameter set.
        profile_level_id: [u8; 3],
    },
    /// H.265 (RFC 7798).
    H265 {
        /// `general_profile_idc`: 1 is Main, 2 is Main 10.
        profile: u8,
        /// `general_tier_flag`: false is the Main tier.
        high_tier: bool,
        /// `general_level_idc`: 30 times the level, 93 is 3.1.
        level: u8,
    },
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9 {
        /// `profile-id`, 0 to 3: 0 has 8 bits, 2 has 10 or 12.
        profile: u8,
    },
    /// AV1 (RTP payload format for AV1, version 1.0.0).
    Av1 {
        /// `seq_profile`, 0 to 2: 0 is Main.
        profile: u8,
    },
}

impl VideoCodec {
    /// RTP clock in Hz of all of them (RFC 6184 section 8.2.1, RFC 7798 section 7.1, RFC 7741
    /// section 6.1, RFC 9628 section 6, AV1 section 7.1).
    pub const CLOCK_HZ: u32 = 90_000;

    /// True if a receiver that was promised `self` can go on with `other`. VP9 and AV1 negotiate a
    /// payload type for each profile, and a decoder of one shows nothing of another.
    #[must_use]
    pub fn same_format(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::H264 { .. }, Self::H264 { .. })
            | (Self::H265 { .. }, Self::H265 { .. })
            | (Self::Vp8, Self::Vp8) => true,
            (Self::Vp9 { profile: old }, Self::Vp9 { profile: new })
            | (Self::Av1 { profile: old }, Self::Av1 { profile: new }) => old == new,
            _ => false,
        }
    }
}

impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::H264 {
                profile_level_id: [a, b, c],
            } => {
                write!(f, "H.264 (profile-level-id {a:02x}{b:02x}{c:02x})")
            }
            Self::H265 { profile, level, .. } => {
                write!(f, "H.265 (profile {profile}, level {level})")
            }
            Self::Vp8 => f.write_str("VP8"),
            Self::Vp9 { profile } => write!(f, "VP9 (profile {profile})"),
            Self::Av1 { profile } => write!(f, "AV1 (profile {profile})"),
        }
    }
}

/// How the audio is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// Opus (RFC 7587).
    Opus {
        /// 1 or 2.
        channels: u8,
    },
}

impl AudioCodec {
    /// RTP clock in Hz, whatever the sampling rate (RFC 7587 section 4.1).
    pub const CLOCK_HZ: u32 = 48_000;
}

impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opus { channels } => write!(f, "Opus ({channels} channels)"),
        }
    }
}
