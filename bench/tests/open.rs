//! The stage of the latency bench: every frame is sent on its schedule, comes, and is counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use freshet_bench::open::{Shape, Stage};
use io::probe::{Backend, Probe};
use wire::time::Span;
use worker::Idle;

/// Frames a second: far below what any machine can do.
const RATE: f64 = 100.0;

#[test]
fn every_packet_of_every_frame_is_counted_once() {
    for backend in [Backend::Mmsg, Backend::Uring] {
        if backend == Backend::Uring
            && let Err(why) = Probe::run().io_uring
        {
            println!("skipped: uring: {why}");
            continue;
        }
        let mut stage = Stage::new(Shape {
            backend,
            idle: Idle::Sleep,
            cpu: None,
            streams: 2,
            viewers: 3,
            packets: 4,
        })
        .unwrap();
        let capacity = stage.capacity(Span::millis(100)).unwrap();
        assert!(capacity > 0.0);
        let outcome = stage.play(RATE, Span::secs(1)).unwrap();
        assert!((50..200).contains(&outcome.frames), "{}", outcome.frames);
        assert_eq!(outcome.inside.count(), outcome.frames * 4);
        assert_eq!((outcome.lost, stage.unknown()), (0, 0));
        assert!(!outcome.outside_ns.is_empty() && outcome.outside_ns.is_sorted());
        assert!(outcome.outside(0.5).unwrap() > Span::micros(1));
        assert!(outcome.sleeps > 0, "at this rate it sleeps");
    }
}
