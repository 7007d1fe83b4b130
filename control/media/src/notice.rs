//! Owns what we tell a publisher about the stream it sends, and what to change.

use crate::output::Track;
use core::fmt;

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Viewers will notice.
    Warning,
    /// Viewers get no picture or no sound.
    Error,
}

/// Something about a publisher's stream. `Display` says it in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Frames are sent in another order than they are shown.
    Bframes {
        /// B-frames refer to each other, so that leaving some out does not help.
        pyramid: bool,
    },
    /// The audio is HE-AAC; only its AAC-LC part is decoded.
    HeAac,
    /// Audio whose form cannot be decoded.
    AudioUndecodable {
        /// What it is.
        what: &'static str,
    },
    /// Audio with more channels than can be carried.
    AudioChannels {
        /// Channels sent.
        channels: u8,
    },
    /// Audio frames come many at a time.
    AudioBunched {
        /// Time between two bunches in milliseconds.
        millis: u32,
    },
    /// A stream that is not carried.
    StreamIgnored {
        /// Its type in the program map table.
        stream_type: u8,
        /// What that is.
        what: &'static str,
    },
    /// More tracks of one sort, or more programs, than one stream has.
    TracksIgnored {
        /// How many tracks or programs are left out.
        ignored: u32,
    },
    /// Browsers have no decoder for this video.
    VideoUndecodable {
        /// What it is.
        what: &'static str,
    },
    /// Keyframes are far apart.
    LongGop {
        /// Seconds since the last one.
        seconds: u32,
    },
    /// Video comes, but no keyframe.
    NoKeyframe {
        /// Seconds waited.
        seconds: u32,
    },
    /// There are recovery points instead of keyframes.
    OpenGop,
    /// Video comes, but nothing that describes it.
    MissingParameterSets,
    /// Stamps jumped; viewers see one continuous stream.
    TimestampsJumped {
        /// The track that showed it.
        track: Track,
        /// How far, in milliseconds; negative: back.
        millis: i64,
    },
    /// Parts of the stream were lost before they reached us.
    Damaged,
    /// The transport stream is encrypted.
    Scrambled,
    /// Bytes come, but neither video nor audio that can be carried.
    NoMedia {
        /// Seconds waited.
        seconds: u32,
    },
    /// More comes at once than is fetched; frames were dropped.
    Overflowed,
}

impl Notice {
    /// A stable name for logs, API and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bframes { .. } => "b_frames",
            Self::HeAac => "he_aac",
            Self::AudioUndecodable { .. } => "audio_undecodable",
            Self::AudioChannels { .. } => "audio_channels",
            Self::AudioBunched { .. } => "audio_bunched",
            Self::StreamIgnored { .. } => "stream_ignored",
            Self::TracksIgnored { .. } => "tracks_ignored",
            Self::VideoUndecodable { .. } => "video_undecodable",
            Self::LongGop { .. } => "long_gop",
            Self::NoKeyframe { .. } => "no_keyframe",
            Self::OpenGop => "open_gop",
            Self::MissingParameterSets => "missing_parameter_sets",
            Self::TimestampsJumped { .. } => "timestamps_jumped",
            Self::Damaged => "damaged",
            Self::Scrambled => "scrambled",
            Self::NoMedia { .. } => "no_media",
            Self::Overflowed => "overflowed",
        }
    }

    /// How much it matters.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Bframes { .. }
            | Self::AudioUndecodable { .. }
            | Self::AudioChannels { .. }
            | Self::VideoUndecodable { .. }
            | Self::NoKeyframe { .. }
            | Self::MissingParameterSets
            | Self::Scrambled
            | Self::NoMedia { .. } => Severity::Error,
            Self::HeAac
            | Self::AudioBunched { .. }
            | Self::LongGop { .. }
            | Self::OpenGop
            | Self::Damaged
            | Self::Overflowed => Severity::Warning,
            Self::StreamIgnored { .. }
            | Self::TracksIgnored { .. }
            | Self::TimestampsJumped { .. } => Severity::Info,
        }
    }

    /// What the publisher should change, setting by setting, one encoder a line; empty if there
    /// is nothing to change.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Bframes { .. } => {
                "x264, ffmpeg: -bf 0 (or -tune zerolatency)\n\
                 NVENC in ffmpeg: -bf 0; OBS with NVENC: Max B-frames 0\n\
                 OBS with x264: Tune zerolatency, or bframes=0 in x264 Options\n\
                 GStreamer: x264enc bframes=0 b-adapt=false (or tune=zerolatency), \
                 nvh264enc bframes=0\n\
                 Hardware encoder: profile Baseline, or GOP structure IP, B-frames 0"
            }
            Self::HeAac | Self::AudioUndecodable { .. } => {
                "ffmpeg: -c:a aac -ar 48000 (or -c:a libopus)\n\
                 GStreamer: voaacenc or opusenc\n\
                 Hardware encoder: AAC-LC at 48 kHz, or Opus"
            }
            Self::AudioChannels { .. } => {
                "ffmpeg: -ac 2\nOBS: Audio, Channels: Stereo\nGStreamer: audio/x-raw,channels=2"
            }
            Self::AudioBunched { .. } => "ffmpeg: -pes_payload_size 0",
            Self::VideoUndecodable { .. } => {
                "ffmpeg: -c:v libx264 -pix_fmt yuv420p -profile:v high\n\
                 OBS: H.264 encoder, color format NV12\n\
                 GStreamer: video/x-raw,format=I420 before x264enc"
            }
            Self::LongGop { .. } | Self::NoKeyframe { .. } | Self::OpenGop => {
                "ffmpeg: -g 60 -x264-params open-gop=0 (2 s at 30 frames a second)\n\
                 OBS: Keyframe Interval 2 s\n\
                 GStreamer: x264enc key-int-max=60 intra-refresh=false\n\
                 Hardware encoder: closed GOP, IDR every 1 to 2 s, no intra refresh"
            }
            Self::MissingParameterSets => {
                "ffmpeg with -c copy: -bsf:v h264_mp4toannexb\n\
                 GStreamer: h264parse config-interval=-1 before the multiplexer\n\
                 Hardware encoder: repeat SPS and PPS with each keyframe"
            }
            Self::Damaged => "Raise the SRT latency of the publisher, or lower its bit rate",
            Self::Scrambled => "Send the transport stream in the clear; encrypt with SRT",
            Self::NoMedia { .. } => "Send H.264 video and AAC or Opus audio in MPEG-TS",
            Self::StreamIgnored { .. }
            | Self::TracksIgnored { .. }
            | Self::TimestampsJumped { .. }
            | Self::Overflowed => "",
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bframes { pyramid: false } => {
                f.write_str("The video has B-frames: browsers show a frozen picture")
            }
            Self::Bframes { pyramid: true } => f.write_str(
                "The video has B-frames that refer to each other: browsers show a frozen \
                 picture, and leaving frames out does not help",
            ),
            Self::HeAac => f.write_str(
                "The audio is HE-AAC, of which only the AAC-LC part is decoded: it sounds dull",
            ),
            Self::AudioUndecodable { what } => write!(f, "The audio cannot be decoded: {what}"),
            Self::AudioChannels { channels } => {
                write!(
                    f,
                    "The audio has {channels} channels, more than can be carried"
                )
            }
            Self::AudioBunched { millis } => write!(
                f,
                "Audio comes only every {millis} ms: viewers' lip sync delays video by as much",
            ),
            Self::StreamIgnored { stream_type, what } => {
                write!(
                    f,
                    "A stream of type {stream_type:#04x} ({what}) is not carried"
                )
            }
            Self::TracksIgnored { ignored } => {
                write!(f, "{ignored} more tracks or programs are not carried")
            }
            Self::VideoUndecodable { what } => {
                write!(f, "Most browsers cannot decode the video: {what}")
            }
            Self::LongGop { seconds } => {
                write!(
                    f,
                    "No keyframe for {seconds} s: lost pictures stay lost for as long"
                )
            }
            Self::NoKeyframe { seconds } => {
                write!(
                    f,
                    "Video came for {seconds} s without a keyframe: nobody can see it"
                )
            }
            Self::OpenGop => f.write_str(
                "The video has recovery points but no IDR frames: it is started at those, and \
                 may show faults at first",
            ),
            Self::MissingParameterSets => {
                f.write_str("The video comes without SPS and PPS: nobody can decode it")
            }
            Self::TimestampsJumped { track, millis } => {
                write!(
                    f,
                    "Timestamps of {track:?} jumped by {millis} ms; this is hidden"
                )
            }
            Self::Damaged => f.write_str("Parts of the stream were lost on the way here"),
            Self::Scrambled => f.write_str("The transport stream is encrypted"),
            Self::NoMedia { seconds } => {
                write!(f, "Nothing that can be carried came in {seconds} s")
            }
            Self::Overflowed => f.write_str("Frames were dropped: more came than was fetched"),
        }
    }
}

/// What a stream type is called; "data" for what is neither video nor audio.
pub(crate) const fn stream_name(stream_type: u8, registration: [u8; 4]) -> &'static str {
    match (stream_type, &registration) {
        (0x01, _) => "MPEG-1 video",
        (0x02, _) => "MPEG-2 video",
        (0x03 | 0x04, _) => "MPEG audio layer I, II or III",
        (0x10, _) => "MPEG-4 part 2 video",
        (0x21, _) => "JPEG 2000 video",
        (0x33, _) => "H.266 video",
        (0x06, b"AV01") => "AV1 video",
        (0x06, b"VP09") => "VP9 video",
        (0x06, b"BSSD") => "SMPTE 302M audio",
        (0x06, b"AC-3") | (0x81, _) => "AC-3 audio",
        (0x06, b"EAC3") | (0x87, _) => "E-AC-3 audio",
        (0x82 | 0x85 | 0x8a, _) => "DTS audio",
        (0x83, _) => "LPCM or TrueHD audio",
        (0x86, _) => "SCTE 35 cues",
        (0x15, _) => "timed metadata",
        _ => "data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_change() {
        for notice in [
            Notice::Bframes { pyramid: true },
            Notice::HeAac,
            Notice::AudioChannels { channels: 6 },
            Notice::LongGop { seconds: 8 },
            Notice::MissingParameterSets,
            Notice::NoMedia { seconds: 5 },
        ] {
            assert!(notice.severity() >= Severity::Warning);
            assert!(!notice.remedy().is_empty(), "{}", notice.code());
            assert!(!notice.to_string().contains("  "));
        }
        assert!(
            Notice::Bframes { pyramid: false }
                .remedy()
                .contains("-bf 0")
        );
    }
}
