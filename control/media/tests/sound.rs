//! Transcoded sound: at the right time, at the right strength.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use freshet_media::{Config, Track};
use opus_pure::OpusDecoder;
use std::process::Command;
use support::{Run, play};

/// Where the click is, in samples of 48 kHz after the first sample of the source.
const CLICK: usize = 96_000;

/// AAC with silence, then a click of 1 ms at 2 s, then silence; 8 s. `None`: no ffmpeg.
fn click(rate: u32, channels: u32, flags: &str) -> Option<Vec<u8>> {
    let source = format!("aevalsrc=0.8*sin(2*PI*3000*t)*between(t\\,2\\,2.001):s={rate}:d=8");
    let output = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            &source,
            "-ac",
            &channels.to_string(),
        ])
        .args([
            "-c:a",
            "aac",
            "-b:a",
            "128k",
            "-pes_payload_size",
            "0",
            "-mpegts_flags",
            flags,
        ])
        .args([
            "-muxdelay",
            "0",
            "-muxpreload",
            "0",
            "-f",
            "mpegts",
            "pipe:1",
        ])
        .output()
        .ok()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output.stdout)
}

/// Mono sum of what a receiver plays, with the RTP timestamp of its first sample.
fn decode(run: &Run) -> (i64, Vec<f64>) {
    let packets = run.track(Track::Audio);
    let mut decoder = OpusDecoder::new(48_000, 2).unwrap();
    let mut sound = Vec::new();
    for packet in &packets {
        let mut samples = [0.0; 2 * 960];
        assert_eq!(
            decoder.decode(&packet.payload, 960, &mut samples).unwrap(),
            960
        );
        sound.extend(
            samples
                .chunks_exact(2)
                .map(|pair| f64::from(pair[0] + pair[1]) / 2.0),
        );
    }
    (i64::from(packets[0].timestamp.cast_signed()), sound)
}

#[test]
fn click_comes_out_when_it_went_in() {
    let streams = [
        (48_000, 2, ""),
        (44_100, 2, ""),
        (32_000, 1, ""),
        (48_000, 2, "+latm"),
    ];
    for (rate, channels, flags) in streams {
        let flags = format!("+resend_headers{flags}");
        let Some(bytes) = click(rate, channels, &flags) else {
            println!("skipped: ffmpeg is not installed");
            return;
        };
        let run = play(Config::default(), &bytes, 1316);
        let (first, sound) = decode(&run);
        let energy: f64 = sound.iter().map(|sample| sample * sample).sum();
        let weighted = sound
            .iter()
            .enumerate()
            .map(|(at, sample)| at as f64 * sample * sample);
        let centre = weighted.sum::<f64>() / energy;
        // The first frame is the encoder's priming of 1024 samples: its stamp is timeline zero.
        let primed = 1024.0 * 48_000.0 / f64::from(rate);
        let at = centre + first as f64 - primed - 24.0;
        let off_ms = (at - CLICK as f64) / 48.0;
        assert!(off_ms.abs() < 1.5, "{rate} Hz: {off_ms} ms");
        // 48 samples of 0.32 on average; ffmpeg halves that when it makes stereo of mono.
        assert!((6.0..17.0).contains(&energy), "{rate} Hz: energy {energy}");
    }
}

#[test]
fn surround_is_told() {
    let Some(bytes) = click(48_000, 6, "+resend_headers") else {
        println!("skipped: ffmpeg is not installed");
        return;
    };
    let run = play(Config::default(), &bytes, 1316);
    assert!(run.packets.is_empty());
    assert!(run.told("audio_channels"), "{:?}", run.notices);
}
