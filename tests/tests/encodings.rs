//! Publishers of three encodings and of audio alone, and what viewers get of them.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::time::Duration;

use freshet_tests::publish::{Begin, Kind, RIDS, Whip};
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

/// Shortly before its numbers wrap.
const BEGIN: Begin = Begin {
    sequence: 65_500,
    timestamp: u32::MAX - 90_000,
    ssrc: 0x5700_0001,
};

/// Of the encodings.
const KBPS: [usize; 3] = [100, 400, 1600];

#[test]
fn viewers_get_the_encoding_that_they_choose() {
    let _turn = alone();
    let server = Server::start(Setup::default());
    let publisher = Whip::start(server.http, "three", Kind::Simulcast(KBPS), BEGIN).unwrap();
    server.wait_live("three");
    let mut crowd = Crowd::joined(server.http, "three", RIDS.len(), PATIENCE);
    crowd.run(Duration::from_secs(1));
    for turned in 0..RIDS.len() {
        let chosen = |nth: usize| (nth + turned) % RIDS.len();
        let before = publisher.keyframes();
        for nth in 0..crowd.len() {
            // What comes is looked at every now and then, first of all.
            wait_for("the choice to be taken", PATIENCE, || {
                crowd.run(Duration::from_millis(50));
                crowd.choose(nth, Some(RIDS[chosen(nth)]))
            });
        }
        wait_for("each to get what it chose", PATIENCE, || {
            crowd.run(Duration::from_millis(100));
            let got = crowd
                .sessions()
                .iter()
                .map(|one| one.tracks()[0].encoding());
            let got: Vec<_> = got.collect();
            let wanted: Vec<_> = (0..crowd.len()).map(|nth| Some(chosen(nth))).collect();
            (got == wanted).then_some(()).ok_or(format!("{got:?}"))
        });
        let keyframes = publisher.keyframes();
        println!("keyframes {before:?}, then {keyframes:?}");
        // Each encoding began for somebody at a keyframe, which was asked for, but for the one
        // that is there already when the first choose.
        let asked = keyframes
            .iter()
            .zip(before)
            .filter(|(now, was)| **now > *was);
        assert!(asked.count() >= RIDS.len() - 1, "{keyframes:?}");
        crowd.forget();
        crowd.run(Duration::from_secs(2));
        for (nth, session) in crowd.sessions().iter().enumerate() {
            let [video, audio] = session.tracks() else {
                panic!("video and audio: {session:?}");
            };
            assert_eq!((video.lost(), audio.lost()), (0, 0), "{session:?}");
            assert_eq!((video.left_out, audio.left_out), (0, 0), "{session:?}");
            assert_eq!(video.switches, 0, "{session:?}");
            assert!((80..120).contains(&audio.packets), "{session:?}");
            let kbps = video.bytes_per_s() / 125.0;
            let sent = KBPS[chosen(nth)] as f64;
            assert!((0.7 * sent..1.3 * sent).contains(&kbps), "{kbps} of {sent}");
        }
    }
    let report = crowd.report();
    assert!(report.refused.is_empty(), "{report:?}");
    assert!(report.age_us(50).unwrap() < 100_000, "{report:?}");
    publisher.leave();
    server.must_be_unharmed();
}

#[test]
fn audio_alone_is_a_stream() {
    let _turn = alone();
    let server = Server::start(Setup::default());
    let publisher = Whip::start(server.http, "sound", Kind::Audio, BEGIN).unwrap();
    let view = server.wait_live("sound");
    assert!(view["video"].is_null(), "{view}");
    let mut crowd = Crowd::joined(server.http, "sound", 2, PATIENCE);
    crowd.run(Duration::from_millis(500));
    crowd.forget();
    crowd.run(Duration::from_secs(2));
    let report = crowd.report();
    assert_eq!((report.served, report.lost), (2, 0), "{report:?}");
    assert!((160..240).contains(&report.packets), "{report:?}");
    assert!(
        report.longest_silence < Duration::from_secs(1),
        "{report:?}"
    );
    publisher.leave();
    server.must_be_unharmed();
}
