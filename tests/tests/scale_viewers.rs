//! A thousand viewers of one stream, on one machine with those who watch.
#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing there has failed"
)]

use std::thread::sleep;
use std::time::{Duration, Instant};

use freshet_tests::publish::Ffmpeg;
use freshet_tests::server::{Server, Setup};
use freshet_tests::viewer::Crowd;
use freshet_tests::wait::{alone, have, quick, wait_until};

#[test]
fn a_thousand_viewers_lose_nothing_by_us() {
    let _turn = alone();
    if !have(&["ffmpeg"]) {
        return;
    }
    let (viewers, seconds) = if quick() { (200, 4) } else { (1000, 10) };
    let server = Server::start(Setup::default());
    let encoder = Ffmpeg {
        video_kbps: 2500,
        size: "1280x720",
        ..Ffmpeg::default()
    };
    let _publisher = encoder.to(&server.srt_url("big", ""), server.folder());
    server.wait_live("big");
    // The history fills first, so that the memory of the viewers is seen apart.
    sleep(Duration::from_secs(5));
    let before = server.resident_bytes();
    let start = Instant::now();
    let mut crowd = Crowd::joined(server.http, "big", viewers, Duration::from_secs(90));
    let joined = start.elapsed();
    crowd.run(Duration::from_secs(3));
    let memory = server.resident_bytes().saturating_sub(before);

    let full_before = server.metric("freshet_worker_egress_full_total");
    let errors_before = server.metric("freshet_worker_send_error_total");
    let skipped_before = server.metric("freshet_worker_viewer_skipped_total");
    crowd.forget();
    crowd.run(Duration::from_secs(seconds));
    let report = crowd.report();
    let sent = report.packets + report.lost;
    println!(
        "{viewers} viewers joined in {joined:.2?} ({:.0} handshakes/s); {} bytes of memory each; \
         {} packets in {seconds} s, {:.0} Mbit/s; {} lost; age p50 {:?} us, p99 {:?} us; \
         egress full {}, send errors {}",
        viewers as f64 / joined.as_secs_f64(),
        memory / viewers as u64,
        report.packets,
        report.bytes as f64 * 8e-6 / seconds as f64,
        report.lost,
        report.age_us(50),
        report.age_us(99),
        server.metric("freshet_worker_egress_full_total") - full_before,
        server.metric("freshet_worker_send_error_total") - errors_before,
    );
    assert_eq!(report.served, viewers, "every one of them is served");
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    // Both sides share two cores here. What the receiving sockets drop, the system counts.
    assert_eq!(
        server.metric("freshet_worker_send_error_total"),
        errors_before
    );
    assert_eq!(
        server.metric("freshet_worker_viewer_skipped_total"),
        skipped_before
    );
    assert!(
        report.lost * 1000 <= sent,
        "{} of {sent} packets lost",
        report.lost
    );
    let per_second = report.packets / viewers as u64 / seconds;
    assert!(
        per_second > 150,
        "{per_second} packets a second and viewer: not the whole stream"
    );
    assert!(
        memory / (viewers as u64) < 128 * 1024,
        "{memory} bytes for {viewers} viewers"
    );
    assert_eq!(server.stream("big")["viewers"], viewers);

    crowd.leave();
    let gone = || server.stream("big")["viewers"] == 0;
    wait_until("everybody to be gone", Duration::from_secs(20), gone);
    server.must_be_unharmed();
}
