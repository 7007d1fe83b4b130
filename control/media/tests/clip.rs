//! The built-in clip, looped through an ingest.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use freshet_media::clip::Looper;
use freshet_media::{Config, Ingest, Track};
use support::{BEGIN, Run, fire};
use wire::time::{Span, Time};

fn demo() -> Looper {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/assets/demo.ts");
    Looper::new(std::fs::read(path).expect("the clip is in the repository")).unwrap()
}

#[test]
fn rounds_have_no_seam() {
    let mut looper = demo();
    assert_eq!(looper.length(), Span::secs(8));
    let mut ingest = Ingest::new(Config::default(), None);
    let (mut run, mut now) = (Run::default(), BEGIN);
    while now < BEGIN + Span::secs(25) {
        fire(&mut ingest, &mut run, now);
        while let Some(bytes) = looper.poll(now) {
            ingest.push(now, bytes);
        }
        run.drain(now, &mut ingest);
        now = looper.deadline().max(now + Span(1));
    }
    assert_eq!(run.notices, []);
    let seen = ingest.counters();
    assert_eq!(
        (seen.ts_losses, seen.damaged_frames, seen.ts_broken),
        (0, 0, 0)
    );
    assert!(run.tracks.last().unwrap().complete);
    for (track, step, rate) in [(Track::Video, 3000, 30), (Track::Audio, 960, 50)] {
        let frames = run.frames(track);
        assert!(frames.len() > 24 * rate, "{track:?}: {}", frames.len());
        for pair in frames.windows(2) {
            assert_eq!(
                pair[1][0].timestamp.wrapping_sub(pair[0][0].timestamp),
                step,
                "{track:?}"
            );
        }
        // Live: nothing leaves long after it was captured. Sound is multiplexed up to 30 ms ahead
        // of the picture, and a frame that fills its last packet is known whole by the next one.
        let late = frames
            .iter()
            .map(|frame| frame[0].at.since(frame[0].capture))
            .max();
        assert!(late.unwrap() < Span::millis(80), "{track:?}: {late:?}");
    }
}

#[test]
fn sleeping_host_goes_on_from_now() {
    let mut looper = demo();
    let drain = |looper: &mut Looper, now: Time| {
        let mut bytes = 0;
        while let Some(more) = looper.poll(now) {
            bytes += more.len();
        }
        bytes
    };
    drain(&mut looper, BEGIN);
    let before = drain(&mut looper, BEGIN + Span::millis(500));
    assert!(before > 10_000);
    let after = drain(&mut looper, BEGIN + Span::secs(3600));
    assert!(after < before, "{after}");
    assert!(looper.deadline() > BEGIN + Span::secs(3600));
}
