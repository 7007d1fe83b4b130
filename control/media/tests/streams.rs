//! Streams made up for one trait each: what they must come to.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use freshet_media::{AudioSource, Config, Ingest, Notice, Track, VideoCodec};
use support::mux::{AUDIO_PID, Mux, VIDEO_PID, restamp};
use support::{BEGIN, Run, corpus, fire, nals, play};
use wire::time::Span;

/// 640x360, High, level 3.0, 30 frames a second.
const SPS: [u8; 26] = [
    0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00,
    0x01, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2d, 0x96,
];
const PPS: [u8; 4] = [0x68, 0xeb, 0xe3, 0xcb];
const IDR: [u8; 5] = [0x65, 0x88, 0x84, 1, 2];
const SLICE: [u8; 5] = [0x41, 0x9a, 1, 2, 3];
const RECOVERY: [u8; 5] = [6, 6, 1, 0xc4, 0x80];
const DELIMITER: [u8; 2] = [9, 0xf0];

fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
    nals.iter()
        .flat_map(|nal| [&[0, 0, 0, 1], *nal].concat())
        .collect()
}

/// Plays video frames at 30 a second.
fn play_frames(frames: &[Vec<u8>]) -> Run {
    let mut ingest = Ingest::new(Config::default(), None);
    let (mut run, mut now, mut mux) = (Run::default(), BEGIN, Mux::default());
    for (number, data) in (0u64..).zip(frames) {
        if number == 0 {
            mux.tables(&[(0x1b, VIDEO_PID, &[])]);
        }
        mux.pes(VIDEO_PID, number * 3000, number * 3000, data);
        fire(&mut ingest, &mut run, now);
        ingest.push(now, &core::mem::take(&mut mux.bytes));
        run.drain(now, &mut ingest);
        now = now + Span(33_333_333);
    }
    fire(&mut ingest, &mut run, now + Span::secs(1));
    run
}

fn kinds(run: &Run) -> Vec<Vec<u8>> {
    let kind = |nals: Vec<Vec<u8>>| nals.iter().map(|nal| nal[0] & 0x1f).collect();
    let frames = run.frames(Track::Video);
    frames
        .iter()
        .map(|frame| kind(nals(VideoCodec::H264, frame)))
        .collect()
}

#[test]
fn sets_are_repeated_filler_and_delimiters_go() {
    let filler = [12, 0xff, 0xff, 0x80];
    let flood = [&[6, 5, 200][..], &[7; 200], &[0x80]].concat();
    let run = play_frames(&[
        annex_b(&[&DELIMITER, &SPS, &PPS, &flood, &IDR]),
        annex_b(&[&DELIMITER, &SLICE, &filler]),
        annex_b(&[&DELIMITER, &IDR, &filler]),
    ]);
    assert_eq!(kinds(&run), [vec![7, 8, 5], vec![1], vec![7, 8, 5]]);
    let video = run.tracks.last().unwrap().video.clone().unwrap();
    assert_eq!((video.width, video.height), (640, 360));
}

#[test]
fn two_access_units_in_one_packet_are_two_frames() {
    let first = annex_b(&[&DELIMITER, &SPS, &PPS, &IDR]);
    let both = [first.clone(), annex_b(&[&DELIMITER, &SLICE])].concat();
    let run = play_frames(&[both]);
    let frames = run.frames(Track::Video);
    assert_eq!(frames.len(), 2);
    assert_eq!(
        frames[1][0].timestamp.wrapping_sub(frames[0][0].timestamp),
        3000
    );
}

#[test]
fn nothing_is_sent_before_a_keyframe_and_the_publisher_is_told() {
    let frames = vec![annex_b(&[&DELIMITER, &SLICE]); 150];
    let run = play_frames(&frames);
    assert!(run.packets.is_empty());
    assert!(run.told("no_keyframe") && run.told("no_media"));
}

#[test]
fn missing_parameter_sets_are_told() {
    let run = play_frames(&[annex_b(&[&DELIMITER, &IDR])]);
    assert!(run.packets.is_empty());
    assert!(run.told("missing_parameter_sets"));
}

#[test]
fn recovery_points_do_when_no_keyframe_comes() {
    let mut frames = Vec::new();
    for n in 0..300 {
        let recovery = annex_b(&[&DELIMITER, &SPS, &PPS, &RECOVERY, &SLICE]);
        frames.push(if n % 30 == 0 {
            recovery
        } else {
            annex_b(&[&DELIMITER, &SLICE])
        });
    }
    let run = play_frames(&frames);
    assert!(run.told("open_gop"));
    let keys = run
        .frames(Track::Video)
        .iter()
        .filter(|frame| frame[0].key)
        .count();
    assert!((5..=7).contains(&keys), "{keys}");
    assert_eq!(kinds(&run)[0], [7, 8, 6, 1]);
}

#[test]
fn long_gop_is_told() {
    let mut frames = vec![annex_b(&[&DELIMITER, &SPS, &PPS, &IDR])];
    frames.extend(vec![annex_b(&[&DELIMITER, &SLICE]); 200]);
    let run = play_frames(&frames);
    assert_eq!(run.notices, [Notice::LongGop { seconds: 4 }]);
}

#[test]
fn clock_wraps_after_26_hours_without_a_trace() {
    let mut bytes = corpus("h264_main_opus.ts");
    restamp(&mut bytes, |time, _| time + (1 << 33) - 5 * 90_000);
    let run = play(Config::default(), &bytes, 1316);
    assert!(!run.told("timestamps_jumped"));
    for frames in run.frames(Track::Video).windows(2) {
        assert_eq!(
            frames[1][0].timestamp.wrapping_sub(frames[0][0].timestamp),
            3000
        );
    }
}

#[test]
fn jump_of_the_clock_is_hidden_and_told() {
    for jump in [1_000_000_000u64, 1 << 32, (1 << 33) - 900_000] {
        let mut bytes = corpus("h264_main_opus.ts");
        let packets = bytes.len() / 188;
        restamp(
            &mut bytes,
            |time, n| if n < packets / 2 { time } else { time + jump },
        );
        let run = play(Config::default(), &bytes, 1316);
        assert!(run.told("timestamps_jumped"), "{jump}");
        for (track, clock_hz) in [(Track::Video, 90_000), (Track::Audio, 48_000)] {
            let frames = run.frames(track);
            let steps = frames
                .windows(2)
                .map(|pair| pair[1][0].timestamp.wrapping_sub(pair[0][0].timestamp));
            let longest = steps.max().unwrap();
            assert!(longest < clock_hz / 2, "{track:?} {jump}: {longest}");
        }
    }
}

#[test]
fn unsupported_streams_are_told_and_the_rest_is_carried() {
    let mut mux = Mux::default();
    mux.tables(&[
        (0x1b, VIDEO_PID, &[]),
        (0x03, 0x102, &[]),
        (0x86, 0x103, &[]),
    ]);
    mux.pes(VIDEO_PID, 0, 0, &annex_b(&[&DELIMITER, &SPS, &PPS, &IDR]));
    let run = play(Config::default(), &mux.bytes, 188);
    assert!(run.told("stream_ignored"));
    assert!(run.tracks.last().unwrap().complete);
    assert_eq!(run.frames(Track::Video).len(), 1);
}

#[test]
fn latm_is_transcoded_like_adts() {
    // The AAC of a recorded stream, framed as LATM by this test.
    let adts = corpus("gst_h264_aac.ts");
    let frames = support::aac_frames(&adts);
    assert!(frames.len() > 300);
    let mut mux = Mux::default();
    mux.tables(&[(0x11, AUDIO_PID, &[])]);
    for (number, frame) in (0u64..).zip(&frames) {
        mux.pes(
            AUDIO_PID,
            number * 1920,
            number * 1920,
            &support::loas(frame, 48_000),
        );
    }
    let latm = play(Config::default(), &mux.bytes, 1316);
    let audio = latm.tracks.last().unwrap().audio.unwrap();
    assert_eq!(
        (audio.source, audio.source_rate),
        (AudioSource::Aac, 48_000)
    );
    let payloads = |run: &Run| -> Vec<Vec<u8>> {
        run.track(Track::Audio)
            .iter()
            .map(|packet| packet.payload.clone())
            .collect()
    };
    let expected = payloads(&play(Config::default(), &adts, 1316));
    assert!(payloads(&latm) == expected);
}

#[test]
fn gap_in_the_audio_sets_its_clock_anew() {
    let frames = support::aac_frames(&corpus("gst_h264_aac.ts"));
    let mut mux = Mux::default();
    mux.tables(&[(0x11, AUDIO_PID, &[])]);
    for (number, frame) in (0u64..).zip(&frames) {
        let lost = if number >= 150 { 45_000 } else { 0 };
        mux.pes(
            AUDIO_PID,
            number * 1920 + lost,
            0,
            &support::loas(frame, 48_000),
        );
    }
    let run = play(Config::default(), &mux.bytes, 1316);
    let packets = run.track(Track::Audio);
    let steps: Vec<_> = packets
        .windows(2)
        .map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp))
        .filter(|step| *step != 960)
        .collect();
    // Half a second of gap: 24,000 samples, less than one packet of uncertainty.
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert!(steps[0].abs_diff(24_000) < 960 + 960, "{steps:?}");
}
