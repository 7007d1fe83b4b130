//! Owns what is shown of where a stream comes from: its publisher and its tracks.

use super::Driver;
use super::layers::encodings_of;
use super::stream::{Active, Stream};
use crate::clock;
use crate::control::{AudioView, LayerInfo, PublisherView, VideoView};
use crate::publisher::Progress;
use link::command::{AUDIO, VIDEO};
use link::lanes::LANES_MAX;
use link::stats::Intake;
use media::{AudioSource, Profile, VideoCodec};
use wire::time::Span;

impl Driver {
    pub(super) fn publisher_view(&self, active: &Active, intake: &Intake) -> PublisherView {
        match &active.session {
            None => publisher_view(active),
            Some(session) => PublisherView {
                remote: self
                    .sessions
                    .session_view(session.as_str())
                    .and_then(|view| view.peer)
                    .map(std::net::SocketAddr::from)
                    .or(active.remote)
                    .map(|remote| remote.to_string()),
                bytes: since(intake.bytes, active.taken_before.bytes),
                packets: since(intake.packets, active.taken_before.packets),
                loss: intake.lost.saturating_sub(active.taken_before.lost),
                retransmissions: intake
                    .recovered
                    .saturating_sub(active.taken_before.recovered),
                rtt_ms: (intake.rtt_us > 0).then(|| millis(Span::micros(intake.rtt_us))),
                ..publisher_view(active)
            },
        }
    }
}

/// Its video, as a WebRTC publisher has negotiated it or as it was found in MPEG-TS.
pub(super) fn video(stream: &Stream, progress: &Progress) -> Option<VideoView> {
    let found = || {
        let video = stream.description.video.as_ref()?;
        Some(VideoView {
            codec: match video.codec {
                VideoCodec::H264 => "H264".to_owned(),
                VideoCodec::H265 => "H265".to_owned(),
            },
            profile_level_id: match video.profile {
                Profile::H264(level) => Some(hex(level)),
                Profile::H265 { .. } => None,
            },
            width: (video.width > 0).then_some(video.width),
            height: (video.height > 0).then_some(video.height),
            fps: fps(video.frames_per_1000_s, progress.fps),
            bitrate_bps: Some(progress.bitrate_bps[VIDEO]),
            gop_ms: (progress.gop_ms > 0).then_some(progress.gop_ms),
            layers: Vec::new(),
        })
    };
    negotiated_video(stream, progress).or_else(found)
}

/// Its audio, likewise.
pub(super) fn audio(stream: &Stream, progress: &Progress) -> Option<AudioView> {
    let found = || {
        let audio = stream.description.audio?;
        Some(AudioView {
            codec: "opus".to_owned(),
            source_codec: match audio.source {
                AudioSource::Aac => "aac",
                AudioSource::HeAac => "he-aac",
                AudioSource::Opus => "opus",
            }
            .to_owned(),
            sample_rate_hz: Some(audio.source_rate),
            channels: Some(audio.source_channels),
            bitrate_bps: Some(progress.bitrate_bps[AUDIO]),
        })
    };
    negotiated_audio(stream, progress).or_else(found)
}

/// The video of a WebRTC publisher: its size is in the pictures, which nobody reads here.
fn negotiated_video(stream: &Stream, progress: &Progress) -> Option<VideoView> {
    let codec = stream.negotiated.video?;
    Some(VideoView {
        codec: match codec {
            session::VideoCodec::H264 { .. } => "H264",
            session::VideoCodec::H265 { .. } => "H265",
            session::VideoCodec::Vp8 => "VP8",
            session::VideoCodec::Vp9 { .. } => "VP9",
            session::VideoCodec::Av1 { .. } => "AV1",
        }
        .to_owned(),
        profile_level_id: match codec {
            session::VideoCodec::H264 {
                profile_level_id: level,
            } => Some(hex(level)),
            _ => None,
        },
        width: None,
        height: None,
        fps: fps(None, progress.fps),
        bitrate_bps: Some(progress.bitrate_bps[VIDEO]),
        gop_ms: None,
        layers: encodings_of(stream, true)
            .into_iter()
            .map(LayerInfo::from)
            .collect(),
    })
}

fn negotiated_audio(stream: &Stream, progress: &Progress) -> Option<AudioView> {
    let session::AudioCodec::Opus { channels } = stream.negotiated.audio?;
    Some(AudioView {
        codec: "opus".to_owned(),
        source_codec: "opus".to_owned(),
        sample_rate_hz: Some(session::AudioCodec::CLOCK_HZ),
        channels: Some(channels),
        bitrate_bps: Some(progress.bitrate_bps[AUDIO]),
    })
}

pub(super) fn publisher_view(active: &Active) -> PublisherView {
    let srt = active.srt.unwrap_or_default();
    PublisherView {
        kind: active.kind,
        remote: active.remote.map(|remote| remote.to_string()),
        sources: active.sources.iter().map(ToString::to_string).collect(),
        since_unix_ms: clock::unix_ms(active.since),
        bytes: srt.bytes,
        packets: srt.packets,
        loss: srt.skipped,
        retransmissions: srt.retransmitted,
        rtt_ms: (srt.rtt > Span::ZERO).then(|| millis(srt.rtt)),
        latency_ms: active
            .latency
            .and_then(|latency| u32::try_from(latency.as_millis()).ok()),
    }
}

/// What has come of all lanes since there had been so much.
fn since(now: [u64; LANES_MAX], before: [u64; LANES_MAX]) -> u64 {
    let lanes = now.iter().zip(before);
    lanes.map(|(now, before)| now.saturating_sub(before)).sum()
}

/// Profile and level as SDP has them.
fn hex([a, b, c]: [u8; 3]) -> String {
    format!("{a:02x}{b:02x}{c:02x}")
}

fn fps(per_1000_s: Option<u32>, measured: f64) -> Option<f64> {
    let told = per_1000_s.map(|rate| f64::from(rate) / 1000.0);
    told.or((measured > 0.0).then_some(measured))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of a round trip are few"
)]
fn millis(span: Span) -> f64 {
    span.as_micros() as f64 / 1000.0
}
