//! Owns what a caller sees: settings, packets, descriptions.

use crate::notice::Notice;
use wire::time::Time;

/// Default for [`Config::payload_max`]. With RTP header, 24 bytes of extensions and a 16-byte tag
/// it makes a datagram of 1,280 bytes over IPv6, the least that every path carries (RFC 8200
/// section 5).
pub const PAYLOAD_MAX_DEFAULT: usize = 1180;

/// Least that [`Config::payload_max`] may be: an Opus packet of 20 ms at 510 kbit/s fits.
pub const PAYLOAD_MAX_LEAST: usize = 256;

/// Default for [`Config::opus_bitrate`], in bit/s: transparent for stereo music. Other servers
/// take 48,000 and are asked for more.
pub const OPUS_BITRATE_DEFAULT: u32 = 128_000;

/// What to do with a publisher whose video has B-frames. Browsers show a frozen picture then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BframePolicy {
    /// Tell the publisher, send what comes.
    #[default]
    Report,
    /// Tell the publisher and drop it.
    Refuse,
    /// Leave out frames that no other frame refers to. Plays, at a lower frame rate, unless
    /// B-frames refer to each other.
    DropDisposable,
}

/// Settings of one ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// See [`BframePolicy`].
    pub bframes: BframePolicy,
    /// Bit rate of audio that we encode, 6,000 to 510,000 bit/s; values outside are clamped.
    pub opus_bitrate: u32,
    /// Most bytes of an RTP payload, [`PAYLOAD_MAX_LEAST`] to 1,344.
    pub payload_max: usize,
    /// First RTP timestamps of video and audio. RFC 3550 section 5.1 wants them random.
    pub first_timestamps: [u32; 2],
    /// Spread big frames over part of the frame interval. False: release each frame whole.
    pub pace: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bframes: BframePolicy::default(),
            opus_bitrate: OPUS_BITRATE_DEFAULT,
            payload_max: PAYLOAD_MAX_DEFAULT,
            first_timestamps: [0; 2],
            pace: true,
        }
    }
}

/// The tracks of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// 90 kHz.
    Video,
    /// Opus, 48 kHz.
    Audio,
}

impl Track {
    /// Index in per-track arrays: video 0, audio 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Video => 0,
            Self::Audio => 1,
        }
    }
}

/// Where one track of a stream stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its last RTP timestamp.
    pub timestamp: u32,
    /// When what that timestamp stands for was captured.
    pub capture: Time,
    /// Counter that its next frame gets.
    pub next_frame: u32,
}

/// Where a publisher stopped, by [`Track::index`]. Given to the next publisher of the same stream,
/// viewers see one stream that paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continuation {
    /// `None`: nothing of this track was ever sent.
    pub tracks: [Option<Mark>; 2],
}

/// What comes out of an ingest.
#[derive(Clone, Debug)]
pub enum Output<'a> {
    /// The tracks are known, or have changed. Comes before the first packet of each track.
    Tracks(Description),
    /// An RTP payload that is due.
    Packet(Packet<'a>),
    /// Something that the publisher should know.
    Notice(Notice),
    /// Policy says: drop this publisher, for this reason. Nothing more will come.
    Refused(Notice),
}

/// One RTP payload and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The track it belongs to.
    pub track: Track,
    /// RTP timestamp, 90 kHz for video, 48 kHz for audio.
    pub timestamp: u32,
    /// When its content was captured, by the local clock; for sender reports.
    pub capture: Time,
    /// Counts the frames of the track, wraps.
    pub frame: u32,
    /// First packet of its frame.
    pub first: bool,
    /// Last packet of its frame: the RTP marker of video.
    pub last: bool,
    /// Part of a frame at which a decoder can start. Always set for audio.
    pub key: bool,
    /// No other frame needs this one.
    pub discardable: bool,
    /// The RTP payload.
    pub payload: &'a [u8],
}

/// Video codecs that are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// RFC 6184, packetization-mode 1.
    H264,
    /// RFC 7798.
    H265,
}

/// Audio codecs that are understood. What goes out is Opus always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioSource {
    /// AAC-LC, transcoded.
    Aac,
    /// HE-AAC, of which the AAC-LC part is transcoded.
    HeAac,
    /// Opus, passed through.
    Opus,
}

/// Profile and level as SDP names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `profile-level-id` of RFC 6184 section 8.1: profile_idc, constraint flags, level_idc.
    H264([u8; 3]),
    /// RFC 7798 section 7.1.
    H265 {
        /// `profile-id`, 0 to 31.
        profile: u8,
        /// `tier-flag`.
        tier: u8,
        /// `level-id`, thirty times the level.
        level: u8,
    },
}

/// A video track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// The codec.
    pub codec: VideoCodec,
    /// Profile and level from the parameter sets.
    pub profile: Profile,
    /// Width in pixels, cropping applied; 0: the parameter set could not be read.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames in 1,000 seconds, once known from the parameter sets or measured.
    pub frames_per_1000_s: Option<u32>,
    /// VPS (H.265), SPS, PPS as NAL units without start codes, in the order they are sent.
    pub parameter_sets: Vec<Vec<u8>>,
}

/// An audio track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audio {
    /// What the publisher sends.
    pub source: AudioSource,
    /// Sample rate that the publisher sends, in Hz.
    pub source_rate: u32,
    /// Channels that the publisher sends.
    pub source_channels: u8,
    /// Channels of the Opus that goes out, 1 or 2.
    pub channels: u8,
}

/// The tracks that packets come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The video track, from its first keyframe on.
    pub video: Option<Video>,
    /// The audio track, from its first frame on.
    pub audio: Option<Audio>,
    /// Nothing more is expected: every track that the program announces is here.
    pub complete: bool,
}

/// What an ingest has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transport packets read.
    pub ts_packets: u64,
    /// Transport packets marked or found broken.
    pub ts_broken: u64,
    /// Gaps in the continuity of transport packets.
    pub ts_losses: u64,
    /// Times that the boundary of transport packets was lost.
    pub ts_resyncs: u64,
    /// PES packets given up as too long or too broken.
    pub pes_given_up: u64,
    /// Video frames sent.
    pub video_frames: u64,
    /// Keyframes among them.
    pub key_frames: u64,
    /// Video frames sent without slices that were lost on the way in.
    pub damaged_frames: u64,
    /// Video frames left out: before the first keyframe, disposable by policy, or empty.
    pub skipped_frames: u64,
    /// Opus packets sent.
    pub audio_frames: u64,
    /// AAC frames that could not be decoded.
    pub audio_errors: u64,
    /// Frames dropped because nobody fetched them: see `QUEUE_BYTES_MAX`.
    pub overflowed_frames: u64,
}
