//! Recorded streams of real encoders through the whole ingest.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use freshet_media::{AudioSource, BframePolicy, Config, Ingest, Profile, Track, VideoCodec};
use support::{BEGIN, Run, annex_b, corpus, play, play_into};
use wire::time::Span;

const RECORDINGS: [&str; 5] = [
    "gst_h264_aac.ts",
    "h264_baseline_aac44k1.ts",
    "h264_high_bframes_aac48k.ts",
    "h264_main_opus.ts",
    "h265_aac48k.ts",
];

/// What holds of every run.
fn check(run: &Run) {
    for track in [Track::Video, Track::Audio] {
        let frames = run.frames(track);
        for (number, frame) in (0..).zip(&frames) {
            assert_eq!(frame[0].frame, number, "frames are counted");
            let (head, tail) = (&frame[0], frame.last().unwrap());
            assert!(head.first && tail.last);
            assert_eq!(
                frame
                    .iter()
                    .filter(|packet| packet.first || packet.last)
                    .count(),
                { frame.len().min(2) }
            );
            for packet in frame {
                assert!(!packet.payload.is_empty() && packet.payload.len() <= 1180);
                assert_eq!(packet.timestamp, head.timestamp);
                assert!(packet.capture <= packet.at);
            }
        }
        assert!(track == Track::Audio || frames[0][0].key);
    }
    let described = run.tracks.last().unwrap();
    assert!(described.complete && described.video.is_some() && described.audio.is_some());
}

#[test]
fn every_frame_comes_out() {
    for name in RECORDINGS {
        let run = play(Config::default(), &corpus(name), 1316);
        check(&run);
        assert_eq!(run.frames(Track::Video).len(), 240, "{name}");
        // 8 s of 20 ms packets; transcoding keeps up to one in its buffers.
        let audio = run.frames(Track::Audio).len();
        assert!((398..=402).contains(&audio), "{name}: {audio}");
    }
}

#[test]
fn chunking_does_not_matter() {
    for name in ["h264_main_opus.ts", "gst_h264_aac.ts"] {
        let bytes = corpus(name);
        let payloads = |chunk| -> Vec<_> {
            let run = play(Config::default(), &bytes, chunk);
            let packets = run.packets.into_iter();
            let mut packets: Vec<_> = packets
                .map(|packet| (packet.track.index(), packet.frame, packet.payload))
                .collect();
            packets.sort_by_key(|(track, frame, _)| (*track, *frame));
            packets
        };
        let expected = payloads(1316);
        for chunk in [188, 777, 10_000] {
            assert!(payloads(chunk) == expected, "{name} in chunks of {chunk}");
        }
    }
}

#[test]
fn descriptions_say_what_the_encoder_was_told() {
    let describe = |name| {
        play(Config::default(), &corpus(name), 1316)
            .tracks
            .pop()
            .unwrap()
    };
    let (video, audio) = (
        describe("h264_baseline_aac44k1.ts").video.unwrap(),
        describe,
    );
    assert_eq!(
        (video.codec, video.width, video.height),
        (VideoCodec::H264, 640, 360)
    );
    assert_eq!(video.frames_per_1000_s, Some(30_000));
    assert!(
        matches!(video.profile, Profile::H264([0x42, 0xc0, _])),
        "{video:?}"
    );
    assert_eq!(video.parameter_sets.len(), 2);
    let audio44 = audio("h264_baseline_aac44k1.ts").audio.unwrap();
    assert_eq!(
        (audio44.source, audio44.source_rate),
        (AudioSource::Aac, 44_100)
    );
    assert_eq!(
        audio("h264_main_opus.ts").audio.unwrap().source,
        AudioSource::Opus
    );
    let h265 = describe("h265_aac48k.ts").video.unwrap();
    assert_eq!(
        (h265.codec, h265.width, h265.height),
        (VideoCodec::H265, 640, 360)
    );
    assert!(matches!(
        h265.profile,
        Profile::H265 {
            profile: 1,
            tier: 0,
            ..
        }
    ));
    assert_eq!(h265.parameter_sets.len(), 3);
    assert!(
        h265.frames_per_1000_s
            .is_some_and(|rate| rate.abs_diff(30_000) < 300)
    );
}

#[test]
fn keyframes_begin_with_parameter_sets_in_one_packet() {
    let run = play(Config::default(), &corpus("h264_main_opus.ts"), 1316);
    let keys: Vec<_> = run
        .frames(Track::Video)
        .into_iter()
        .filter(|frame| frame[0].key)
        .collect();
    assert!(keys.len() >= 4);
    for frame in keys {
        assert_eq!(frame[0].payload[0] & 0x1f, 24, "STAP-A first");
        let kinds: Vec<_> = support::nals(VideoCodec::H264, &frame)
            .iter()
            .map(|nal| nal[0] & 0x1f)
            .collect();
        assert_eq!(&kinds[..3], [7, 8, 5]);
    }
}

#[test]
fn frame_takes_at_most_one_send_a_slice() {
    for name in ["h264_main_opus.ts", "h264_baseline_aac44k1.ts"] {
        let run = play(Config::default(), &corpus(name), 1316);
        let mut long = 0;
        for frame in run.frames(Track::Video) {
            let sets = usize::from(frame[0].key);
            let slices = support::nals(VideoCodec::H264, &frame[sets..]).len();
            let sizes: Vec<_> = frame[sets..]
                .iter()
                .map(|packet| packet.payload.len())
                .collect();
            let ends = sizes.windows(2).filter(|pair| pair[0] != pair[1]).count();
            let runs = sizes.chunk_by(|before, size| before == size).count();
            assert!(ends < 2 * slices && runs <= 2 * slices, "{sizes:?}");
            long += usize::from(sizes.len() > 2);
        }
        assert!(long > 50, "{long}");
    }
}

#[test]
fn timestamps_go_at_frame_pace() {
    for name in [
        "h264_baseline_aac44k1.ts",
        "h264_main_opus.ts",
        "gst_h264_aac.ts",
    ] {
        let run = play(Config::default(), &corpus(name), 1316);
        for frames in run.frames(Track::Video).windows(2) {
            let step = frames[1][0].timestamp.wrapping_sub(frames[0][0].timestamp);
            assert!((2999..=3001).contains(&step), "{name}: {step}");
        }
        for frames in run.frames(Track::Audio).windows(2) {
            assert_eq!(
                frames[1][0].timestamp.wrapping_sub(frames[0][0].timestamp),
                960,
                "{name}"
            );
        }
    }
}

#[test]
fn bframes_are_found_in_the_first_gop() {
    for name in RECORDINGS {
        let run = play(Config::default(), &corpus(name), 1316);
        let expected = ["h264_high_bframes_aac48k.ts", "h265_aac48k.ts"].contains(&name);
        assert_eq!(run.told("b_frames"), expected, "{name}: {:?}", run.notices);
    }
    let refuse = Config {
        bframes: BframePolicy::Refuse,
        ..Config::default()
    };
    let run = play(refuse, &corpus("h264_high_bframes_aac48k.ts"), 1316);
    assert_eq!(
        run.refused.as_ref().map(freshet_media::Notice::code),
        Some("b_frames")
    );
    assert!(run.frames(Track::Video).len() < 10);
}

#[test]
fn disposable_frames_are_left_out_by_policy() {
    let drop = Config {
        bframes: BframePolicy::DropDisposable,
        ..Config::default()
    };
    let run = play(drop, &corpus("h264_high_bframes_aac48k.ts"), 1316);
    let frames = run.frames(Track::Video);
    assert!((100..200).contains(&frames.len()), "{}", frames.len());
    assert!(
        frames
            .iter()
            .enumerate()
            .all(|(n, frame)| frame[0].frame as usize == n)
    );
}

#[test]
fn faults_of_the_encoder_are_told() {
    let told = |name, code| play(Config::default(), &corpus(name), 1316).told(code);
    // ffmpeg puts ten AAC frames into a PES packet.
    assert!(told("h264_baseline_aac44k1.ts", "audio_bunched"));
    assert!(!told("gst_h264_aac.ts", "audio_bunched"));
    // videotestsrc into x264enc without caps is 4:4:4.
    assert!(told("gst_h264_aac.ts", "video_undecodable"));
    assert!(!told("h264_main_opus.ts", "video_undecodable"));
}

#[test]
fn frames_leave_before_the_next_one_comes() {
    let bytes = corpus("h264_main_opus.ts");
    let mut ingest = Ingest::new(
        Config {
            pace: false,
            ..Config::default()
        },
        None,
    );
    let run = play_into(&mut ingest, BEGIN, &bytes, 188);
    // Frames come with the very packet that ends them, so that none waits for what follows: with
    // an even pace of bytes, the first byte of the next frame comes no sooner than 188 bytes on.
    let end = BEGIN + Span::secs(8);
    assert!(
        run.frames(Track::Video)
            .iter()
            .filter(|frame| frame[0].at >= end)
            .count()
            <= 1
    );
    let mut times: Vec<_> = run
        .frames(Track::Video)
        .iter()
        .map(|frame| frame[0].at)
        .collect();
    times.dedup();
    assert!(times.len() >= 238, "{}", times.len());
}

#[test]
fn lip_sync_is_kept() {
    for name in RECORDINGS {
        let run = play(Config::default(), &corpus(name), 1316);
        // The mapping of RTP timestamps to capture times, as sender reports tell it, must give
        // one and the same timeline zero for both tracks.
        let zero = |track: Track, clock_hz: i64| {
            let packets = run.track(track);
            let last = packets.last().unwrap();
            let begun = i64::from(last.timestamp.cast_signed());
            last.capture.0.cast_signed() - begun * 1_000_000 / (clock_hz / 1000)
        };
        let apart = zero(Track::Video, 90_000) - zero(Track::Audio, 48_000);
        assert!(apart.abs() < 10_000_000, "{name}: {apart} ns");
    }
}

#[test]
fn next_publisher_goes_on() {
    let bytes = corpus("h264_main_opus.ts");
    let mut first = Ingest::new(Config::default(), None);
    let before = play_into(&mut first, BEGIN, &bytes, 1316);
    let pause = Span::secs(20);
    let continuation = first.finish(BEGIN + Span::secs(9));
    let mut second = Ingest::new(Config::default(), Some(continuation));
    let after = play_into(&mut second, BEGIN + pause, &bytes, 1316);
    for (track, clock_hz) in [(Track::Video, 90_000u64), (Track::Audio, 48_000)] {
        let last = *before.track(track).last().unwrap();
        let next = after.track(track)[0];
        assert_eq!(next.frame, last.frame + 1);
        let passed = next.capture.since(last.capture).as_millis() * clock_hz / 1000;
        let step = u64::from(next.timestamp.wrapping_sub(last.timestamp));
        assert!(
            step.abs_diff(passed) < clock_hz / 10,
            "{track:?}: {step} for {passed}"
        );
    }
}

/// B-frames that nothing refers to: without them the order is right, which browsers play.
#[test]
fn simple_bframes_can_be_left_out() {
    let ffmpeg = std::process::Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=320x180:r=30:d=4",
        ])
        .args([
            "-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "60",
        ])
        .args([
            "-x264-params",
            "b-pyramid=none:b-adapt=0",
            "-f",
            "mpegts",
            "pipe:1",
        ])
        .output();
    let Ok(output) = ffmpeg else {
        println!("skipped: ffmpeg is not installed");
        return;
    };
    let drop = Config {
        bframes: BframePolicy::DropDisposable,
        ..Config::default()
    };
    let run = play(drop, &output.stdout, 1316);
    assert!(
        run.notices
            .contains(&freshet_media::Notice::Bframes { pyramid: false })
    );
    let frames = run.frames(Track::Video);
    assert!((38..=46).contains(&frames.len()), "{}", frames.len());
    assert!(
        frames
            .windows(2)
            .all(|pair| pair[1][0].timestamp > pair[0][0].timestamp)
    );
}

/// The decoded pictures of what comes out are those of what went in.
#[test]
fn pictures_are_untouched() {
    for (name, codec, format) in [
        ("h264_baseline_aac44k1.ts", VideoCodec::H264, "h264"),
        ("h265_aac48k.ts", VideoCodec::H265, "hevc"),
    ] {
        let bytes = corpus(name);
        let out = annex_b(codec, &play(Config::default(), &bytes, 1316));
        let (Some(before), Some(after)) = (pictures("mpegts", &bytes), pictures(format, &out))
        else {
            println!("skipped: ffmpeg is not installed");
            return;
        };
        assert_eq!(before.len(), 240, "{name}");
        assert!(before == after, "{name}");
    }
}

/// Hashes of the pictures that ffmpeg decodes; `None` without ffmpeg.
fn pictures(format: &str, bytes: &[u8]) -> Option<Vec<String>> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut ffmpeg = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            format,
            "-i",
            "pipe:0",
            "-map",
            "0:v",
            "-fps_mode",
        ])
        .args(["passthrough", "-f", "framemd5", "pipe:1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut stdin = ffmpeg.stdin.take()?;
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).is_ok());
    let output = ffmpeg.wait_with_output().ok()?;
    assert!(writer.join().unwrap() && output.status.success());
    let text = String::from_utf8(output.stdout).ok()?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Some(
        lines
            .filter_map(|line| Some(line.rsplit_once(',')?.1.trim().to_owned()))
            .collect(),
    )
}
