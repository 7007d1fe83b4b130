//! Tests of the timeline: wrap, jumps, pauses, drift.

use super::*;
use wire::time::Span;

const FRAME: u64 = 3000;
const FRAME_NS: u64 = 33_333_333;

/// Places `count` frames from `stamp` on, arriving at frame pace from `at` on.
fn run(line: &mut Timeline, track: Track, stamp: u64, at: Time, count: u64) -> Vec<Mapped> {
    (0..count)
        .map(|n| {
            let stamp = stamp.wrapping_add(n * FRAME) & 0x1_ffff_ffff;
            line.place(track, stamp, at + Span(n * FRAME_NS))
        })
        .collect()
}

#[test]
fn stamps_wrap_after_26_hours() {
    let mut line = Timeline::default();
    let places = run(
        &mut line,
        Track::Video,
        (1 << 33) - 5 * FRAME,
        Time(1 << 40),
        20,
    );
    for (n, mapped) in (0..).zip(&places) {
        assert_eq!(
            *mapped,
            Mapped {
                ticks: n * 3000,
                jumped: None
            }
        );
    }
}

#[test]
fn jump_is_hidden_and_both_tracks_follow() {
    let mut line = Timeline::default();
    let at = Time(5_000_000_000);
    run(&mut line, Track::Video, 900_000, at, 30);
    run(&mut line, Track::Audio, 890_000, at, 30);
    let later = at + Span(30 * FRAME_NS);
    let video = run(&mut line, Track::Video, 77, later, 3);
    assert!(video[0].jumped.is_some());
    assert!((video[0].ticks - 90_000).abs() < 10, "{video:?}");
    assert_eq!(
        video[1],
        Mapped {
            ticks: video[0].ticks + 3000,
            jumped: None
        }
    );
    // Audio still carries old stamps, then follows.
    let old = line.place(Track::Audio, 890_000 + 30 * FRAME, later);
    assert_eq!(
        old,
        Mapped {
            ticks: 80_000,
            jumped: None
        }
    );
    let new = line.place(Track::Audio, 77, later + Span(FRAME_NS));
    assert_eq!(new.jumped, None);
    assert_eq!(new.ticks, video[0].ticks);
}

#[test]
fn pause_of_the_encoder_is_caught_up() {
    let mut line = Timeline::default();
    let at = Time(5_000_000_000);
    run(&mut line, Track::Video, 0, at, 30);
    let later = at + Span::secs(11);
    let places = run(&mut line, Track::Video, 30 * FRAME, later, 150);
    assert_eq!(
        places[0],
        Mapped {
            ticks: 90_000,
            jumped: None
        }
    );
    assert!(places.iter().any(|mapped| mapped.jumped.is_some()));
    let last = places.last().unwrap().ticks;
    let expected = (11 * 90_000) + 149 * 3000;
    assert!((last - expected).abs() < 100, "{last} for {expected}");
}

#[test]
fn network_pause_is_no_jump() {
    let mut line = Timeline::default();
    let at = Time(5_000_000_000);
    run(&mut line, Track::Video, 0, at, 30);
    // 2.5 s of nothing, then all of it at once, then on time.
    for n in 30..105 {
        let mapped = line.place(Track::Video, n * FRAME, at + Span(105 * FRAME_NS));
        assert_eq!(
            mapped,
            Mapped {
                ticks: signed(n * FRAME),
                jumped: None
            }
        );
    }
    let on = run(
        &mut line,
        Track::Video,
        105 * FRAME,
        at + Span(105 * FRAME_NS),
        300,
    );
    assert!(on.iter().all(|mapped| mapped.jumped.is_none()));
}

#[test]
fn capture_is_never_after_arrival_and_follows_drift() {
    let mut line = Timeline::default();
    let at = Time(1_000_000_000);
    // The encoder's clock runs 100 ppm slow and delays vary by up to 20 ms.
    for n in 0..30_000u64 {
        let arrival = at + Span(n * FRAME_NS * 10_001 / 10_000 + (n * 7919 % 20) * 1_000_000);
        let mapped = line.place(Track::Video, (n * FRAME) & 0x1_ffff_ffff, arrival);
        let capture = line.capture(mapped.ticks);
        assert!(capture <= arrival);
        assert!(arrival.since(capture) < Span::millis(24), "frame {n}");
    }
}

#[test]
fn samples_and_ticks_agree() {
    assert_eq!(ticks_to_samples(1800), 960);
    assert_eq!(samples_to_ticks(960), 1800);
    assert_eq!(ticks_to_samples(-1800), -960);
}
