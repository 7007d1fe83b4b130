//! Owns the codecs of an offer: which of them fits a stream, and which can be a stream's.

use super::offer::OfferedMedia;
use crate::description::{AudioCodec, VideoCodec};

/// One payload type of a media section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferedCodec {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// Encoding name as offered; compared without regard to case.
    pub name: String,
    /// RTP clock in Hz.
    pub clock_hz: u32,
    /// Third part of the `rtpmap`; 1 when absent.
    pub channels: u8,
    /// The `fmtp` value, as offered.
    pub fmtp: Option<String>,
    /// `rtcp-fb` of this payload type or of all (`*`): `nack`.
    pub nack: bool,
    /// `nack pli`.
    pub pli: bool,
    /// `ccm fir`.
    pub fir: bool,
    /// `transport-cc`.
    pub transport_cc: bool,
    /// `goog-remb`.
    pub remb: bool,
    /// `ack ccfb` (RFC 8888 section 6).
    pub ccfb: bool,
}

impl OfferedCodec {
    /// The value of one format parameter; names are compared without regard to case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// All format parameters in the order of the offer.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fmtp
            .as_deref()
            .unwrap_or("")
            .split(';')
            .filter_map(|part| {
                let part = part.trim();
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                (!key.is_empty()).then_some((key.trim(), value.trim()))
            })
    }

    fn is(&self, name: &str, clock_hz: u32) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.clock_hz == clock_hz
    }

    /// The value of a numeric format parameter; `None` if it is there and is no such number.
    fn number(&self, name: &str, inferred: u8) -> Option<u8> {
        self.parameter(name)
            .map_or(Some(inferred), |text| text.parse().ok())
    }
}

/// The offered codec that the video of a stream is best sent as.
#[must_use]
pub fn match_video<'a>(media: &'a OfferedMedia, codec: &VideoCodec) -> Option<&'a OfferedCodec> {
    match codec {
        VideoCodec::H264 { profile_level_id } => match_h264(media, *profile_level_id),
        VideoCodec::H265 { profile, .. } => match_h265(media, *profile),
        VideoCodec::Vp8 | VideoCodec::Vp9 { .. } | VideoCodec::Av1 { .. } => media
            .codecs
            .iter()
            .find(|offered| video_of(offered).as_ref() == Some(codec)),
    }
}

/// What a stream would be whose packets are those of this payload type. `None`: packets of it
/// cannot be passed on to viewers as they are.
#[must_use]
pub fn video_of(codec: &OfferedCodec) -> Option<VideoCodec> {
    if codec.clock_hz != VideoCodec::CLOCK_HZ {
        return None;
    }
    match codec.name.to_ascii_uppercase().as_str() {
        // RFC 6184 section 6.2: mode 0, also when nothing is said, has no aggregation and no
        // fragments, so encoders differ in what they do with slices; mode 2 is interleaved.
        "H264" if codec.parameter("packetization-mode") == Some("1") => Some(VideoCodec::H264 {
            profile_level_id: offered_profile(codec),
        }),
        "H265" => h265_of(codec),
        "VP8" => Some(VideoCodec::Vp8),
        // RFC 9628 section 6: profile 0 when nothing is said.
        "VP9" => Some(VideoCodec::Vp9 {
            profile: codec.number("profile-id", 0).filter(|id| *id <= 3)?,
        }),
        // AV1 section 7.2.1: a profile that is not given is 0.
        "AV1" => Some(VideoCodec::Av1 {
            profile: codec.number("profile", 0).filter(|id| *id <= 2)?,
        }),
        _ => None,
    }
}

/// The same for audio. Who does not say that it sends mono is taken to send stereo (encoders say
/// nothing and do it): told of stereo, viewers lose nothing with a mono stream.
#[must_use]
pub fn audio_of(codec: &OfferedCodec) -> Option<AudioCodec> {
    is_opus(codec).then(|| AudioCodec::Opus {
        channels: match codec.parameter("sprop-stereo") {
            Some("0") => 1,
            _ => 2,
        },
    })
}

/// RFC 7798 section 7.1 for the inferred values. Packets with decoding order numbers or on several
/// streams are for receivers that were told so.
fn h265_of(codec: &OfferedCodec) -> Option<VideoCodec> {
    let tx_mode = codec.parameter("tx-mode").unwrap_or("SRST");
    let don = codec.number("sprop-max-don-diff", 0)?;
    (tx_mode.eq_ignore_ascii_case("SRST") && don == 0).then_some(())?;
    Some(VideoCodec::H265 {
        profile: codec.number("profile-id", 1)?,
        high_tier: codec.number("tier-flag", 0)? == 1,
        level: codec.number("level-id", 93)?,
    })
}

//= https://www.rfc-editor.org/rfc/rfc7587#section-7
//# The media subtype ("opus") goes in SDP "a=rtpmap" as the encoding
//# name.  The RTP clock rate in "a=rtpmap" MUST be 48000, and the
//# number of channels MUST be 2.
fn is_opus(codec: &OfferedCodec) -> bool {
    codec.is("opus", AudioCodec::CLOCK_HZ) && codec.channels == 2
}

/// The offered codec that the audio of a stream is best sent as.
#[must_use]
pub fn match_audio<'a>(media: &'a OfferedMedia, codec: &AudioCodec) -> Option<&'a OfferedCodec> {
    match codec {
        AudioCodec::Opus { .. } => media.codecs.iter().find(|codec| is_opus(codec)),
    }
}

/// Format parameters as an `fmtp` line has them.
pub(super) fn join<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let text = |(key, value): (&str, &str)| match value {
        "" => key.to_owned(),
        value => format!("{key}={value}"),
    };
    let parts: Vec<String> = parameters.into_iter().map(text).collect();
    parts.join(";")
}

/// The payload type that repairs `payload_type` (RFC 4588 section 8.1), if one is offered.
#[must_use]
pub fn match_rtx(media: &OfferedMedia, payload_type: u8) -> Option<&OfferedCodec> {
    media.codecs.iter().find(|c| {
        c.name.eq_ignore_ascii_case("rtx")
            && c.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(payload_type)
    })
}

/// Profiles in the order of what they can decode. A decoder for a later one takes the earlier ones,
/// but for Extended (88) and its kind, which nobody uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    High,
    Higher,
}

impl H264Profile {
    /// RFC 6184 section 8.1, table 5, for the profiles that occur.
    fn of([profile_idc, constraints, _]: [u8; 3]) -> Self {
        let constraint_set1 = constraints & 0x40 != 0;
        match profile_idc {
            66 if constraint_set1 => Self::ConstrainedBaseline,
            66 => Self::Baseline,
            77 if constraints & 0x80 != 0 => Self::ConstrainedBaseline,
            77 => Self::Main,
            100 => Self::High,
            _ => Self::Higher,
        }
    }
}

/// Same profile, else the nearest that can do more, else the one that can do most: browsers that
/// offer nothing above 42e01f decode Main and High all the same, and an encoder's own name for its
/// profile is often wrong. What lies above High comes last for the streams that do not need it:
/// it would keep a browser from its hardware decoder.
fn match_h264(media: &OfferedMedia, profile_level_id: [u8; 3]) -> Option<&OfferedCodec> {
    let wanted = H264Profile::of(profile_level_id);
    let rank = |profile: H264Profile| {
        let exotic = profile == H264Profile::Higher && wanted != H264Profile::Higher;
        let lacking = profile < wanted;
        let distance = (profile as u8).abs_diff(wanted as u8);
        (exotic, lacking, distance)
    };
    let offered = media.codecs.iter().filter(|codec| {
        codec.is("H264", VideoCodec::CLOCK_HZ) && codec.parameter("packetization-mode") == Some("1")
    });
    // `min_by_key` keeps the first of equals and so the order of the offer.
    offered.min_by_key(|codec| rank(H264Profile::of(offered_profile(codec))))
}

//= https://www.rfc-editor.org/rfc/rfc6184#section-8.1
//# If no profile-level-id is present, the Baseline profile, without
//# additional constraints at Level 1, MUST be inferred.
fn offered_profile(codec: &OfferedCodec) -> [u8; 3] {
    const BASELINE: [u8; 3] = [66, 0, 10];
    let Some(text) = codec
        .parameter("profile-level-id")
        .filter(|text| text.len() == 6)
    else {
        return BASELINE;
    };
    match u32::from_str_radix(text, 16) {
        Ok(value) => {
            let [_, profile, constraints, level] = value.to_be_bytes();
            [profile, constraints, level]
        }
        Err(_) => BASELINE,
    }
}

/// The payload type of the stream's profile (RFC 7798 section 7.1: 1, Main, when it says nothing).
/// No other will do: a Main decoder shows nothing of a Main 10 stream.
fn match_h265(media: &OfferedMedia, profile: u8) -> Option<&OfferedCodec> {
    media.codecs.iter().find(|codec| {
        let offered = codec
            .parameter("profile-id")
            .map_or(Some(1), |id| id.parse().ok());
        codec.is("H265", VideoCodec::CLOCK_HZ) && offered == Some(profile)
    })
}
