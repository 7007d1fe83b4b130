//! Owns the translations of what a stream consists of: from the demultiplexer, to sessions, to and
//! from the shared memory.

use link::command::{AUDIO, VIDEO};
use link::ids::StreamId;
use link::region::Region;
use link::stream::{Description as Saved, Format};
use media::{Description, Profile};
use session::{AudioCodec, StreamDescription, VideoCodec};

/// As sessions want it.
pub fn of(description: &Description) -> StreamDescription {
    StreamDescription {
        video: description
            .video
            .as_ref()
            .map(|video| video_codec(video.profile)),
        audio: description.audio.map(|audio| AudioCodec::Opus {
            channels: audio.channels,
        }),
    }
}

/// For a log line.
pub fn text(description: &StreamDescription) -> String {
    let video = description.video.map(|codec| codec.to_string());
    let audio = description.audio.map(|codec| codec.to_string());
    video
        .into_iter()
        .chain(audio)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Puts it down for the next life of control.
pub fn save(region: &Region, stream: StreamId, description: &Description) {
    let video = description.video.as_ref().map(|video| {
        let (format, fmtp) = fmtp(video_codec(video.profile));
        Saved {
            format,
            clock_hz: VideoCodec::CLOCK_HZ,
            channels: 0,
            width: u16::try_from(video.width).unwrap_or(0),
            height: u16::try_from(video.height).unwrap_or(0),
            frame_rate_milli: video.frames_per_1000_s.unwrap_or(0),
            fmtp,
        }
    });
    let audio = description.audio.map(|audio| opus(audio.channels));
    put(region, stream, [video, audio]);
}

/// The same for what a WebRTC publisher has negotiated.
pub fn save_negotiated(region: &Region, stream: StreamId, description: &StreamDescription) {
    let video = description.video.map(|codec| {
        let (format, fmtp) = fmtp(codec);
        Saved {
            format,
            clock_hz: VideoCodec::CLOCK_HZ,
            channels: 0,
            width: 0,
            height: 0,
            frame_rate_milli: 0,
            fmtp,
        }
    });
    let audio = description
        .audio
        .map(|AudioCodec::Opus { channels }| opus(channels));
    put(region, stream, [video, audio]);
}

fn opus(channels: u8) -> Saved {
    Saved {
        format: Format::Opus,
        clock_hz: AudioCodec::CLOCK_HZ,
        channels,
        width: 0,
        height: 0,
        frame_rate_milli: 0,
        fmtp: String::new(),
    }
}

fn put(region: &Region, stream: StreamId, tracks: [Option<Saved>; 2]) {
    for (track, saved) in [VIDEO, AUDIO].into_iter().zip(tracks) {
        if let Err(error) = region.describe(stream, track, saved.as_ref()) {
            tracing::warn!(%error, "a track is not described in the shared memory");
        }
    }
}

/// What an earlier control has put down.
pub fn load(region: &Region, stream: StreamId) -> StreamDescription {
    let video = region
        .description(stream, VIDEO)
        .and_then(|saved| video_of(saved.format, &saved.fmtp));
    let audio = region
        .description(stream, AUDIO)
        .filter(|saved| saved.format == Format::Opus)
        .map(|saved| AudioCodec::Opus {
            channels: saved.channels.clamp(1, 2),
        });
    StreamDescription { video, audio }
}

fn video_codec(profile: Profile) -> VideoCodec {
    match profile {
        Profile::H264(profile_level_id) => VideoCodec::H264 { profile_level_id },
        Profile::H265 {
            profile,
            tier,
            level,
        } => VideoCodec::H265 {
            profile,
            high_tier: tier != 0,
            level,
        },
    }
}

fn fmtp(codec: VideoCodec) -> (Format, String) {
    match codec {
        VideoCodec::H264 {
            profile_level_id: [idc, flags, level],
        } => (
            Format::H264,
            format!("profile-level-id={idc:02x}{flags:02x}{level:02x}"),
        ),
        VideoCodec::H265 {
            profile,
            high_tier,
            level,
        } => {
            let tier = u8::from(high_tier);
            (
                Format::H265,
                format!("profile-id={profile};tier-flag={tier};level-id={level}"),
            )
        }
        VideoCodec::Vp8 => (Format::Vp8, String::new()),
        VideoCodec::Vp9 { profile } => (Format::Vp9, format!("profile-id={profile}")),
        VideoCodec::Av1 { profile } => (Format::Av1, format!("profile={profile}")),
    }
}

fn video_of(format: Format, fmtp: &str) -> Option<VideoCodec> {
    let profile = |name| parameter(fmtp, name)?.parse().ok();
    match format {
        Format::H264 => h264_of(fmtp),
        Format::H265 => h265_of(fmtp),
        Format::Vp8 => Some(VideoCodec::Vp8),
        Format::Vp9 => profile("profile-id").map(|profile| VideoCodec::Vp9 { profile }),
        Format::Av1 => profile("profile").map(|profile| VideoCodec::Av1 { profile }),
        Format::Opus => None,
    }
}

fn h264_of(fmtp: &str) -> Option<VideoCodec> {
    let digits = parameter(fmtp, "profile-level-id")?;
    let [_, a, b, c] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some(VideoCodec::H264 {
        profile_level_id: [a, b, c],
    })
}

fn h265_of(fmtp: &str) -> Option<VideoCodec> {
    Some(VideoCodec::H265 {
        profile: parameter(fmtp, "profile-id")?.parse().ok()?,
        high_tier: parameter(fmtp, "tier-flag")? == "1",
        level: parameter(fmtp, "level-id")?.parse().ok()?,
    })
}

fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, v)| v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_survive_the_shared_memory() {
        for codec in [
            video_codec(Profile::H264([0x42, 0xc0, 0x1f])),
            video_codec(Profile::H264([0x64, 0, 0x28])),
            video_codec(Profile::H265 {
                profile: 1,
                tier: 0,
                level: 93,
            }),
            video_codec(Profile::H265 {
                profile: 2,
                tier: 1,
                level: 120,
            }),
            VideoCodec::Vp8,
            VideoCodec::Vp9 { profile: 2 },
            VideoCodec::Av1 { profile: 0 },
        ] {
            let (format, text) = fmtp(codec);
            assert_eq!(video_of(format, &text), Some(codec), "{text}");
        }
        assert_eq!(video_of(Format::H264, "profile-level-id=xyz"), None);
        assert_eq!(video_of(Format::H265, "profile-id=1"), None);
        assert_eq!(video_of(Format::Vp9, "profile=1"), None);
        assert_eq!(video_of(Format::Opus, ""), None);
    }
}
