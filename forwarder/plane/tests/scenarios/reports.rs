//! Reports: ours to viewers, theirs to us, and what control can read of them.

use link::command::{AUDIO, VIDEO};
use wire::ntp::Ntp;
use wire::rtcp::{Item, compound};
use wire::rtcp_report::{
    ReportBlock, SenderInfo, XrBlock, write_receiver_reference_time, write_receiver_report,
};
use wire::time::Span;

use crate::world::{DELTA, KEY, UNIX_OFFSET, World};

fn watching(ms: u64) -> World {
    let mut world = World::new();
    let mut source = world.source(0);
    world.join(source.id);
    for nth in 0..ms / 20 {
        source.video(world.now, nth == 0, if nth == 0 { &KEY } else { &DELTA });
        source.audio(world.now, 100);
        world.run(20, 5);
    }
    world
}

fn sender_infos(plain: &[u8]) -> Vec<SenderInfo> {
    let mut infos = Vec::new();
    for item in compound(plain) {
        match item {
            Item::SenderReport(report) => infos.push(report.info),
            Item::Sdes(sdes) => {
                let ssrc = infos.last().unwrap().ssrc;
                assert_eq!(sdes.cname(ssrc), Some(freshet_plane::CNAME));
            }
            _ => {}
        }
    }
    infos
}

#[test]
fn both_tracks_are_reported_once_a_second_on_one_clock() {
    let world = watching(10_000);
    let viewer = &world.viewers[0];
    assert!(
        (9..=11).contains(&viewer.rtcp.len()),
        "{}",
        viewer.rtcp.len()
    );
    for plain in &viewer.rtcp {
        let infos = sender_infos(plain);
        let [video, audio] = infos[..] else {
            panic!("{infos:?}");
        };
        assert_eq!(video.ssrc, viewer.add.tracks[VIDEO].ssrc);
        assert_eq!(audio.ssrc, viewer.add.tracks[AUDIO].ssrc);
        assert_eq!(video.ntp, audio.ntp);
        // Frame n of both tracks was captured at n x 20 ms (video counts 3000 ticks a frame).
        let elapsed = |info: &SenderInfo, lane: usize, per_frame: u32| {
            let first = &viewer.got[lane][0];
            let ticks = info.rtp_timestamp.wrapping_sub(first.header.timestamp);
            f64::from(ticks) / f64::from(per_frame)
        };
        let frames = elapsed(&audio, AUDIO, 960);
        let real = elapsed(&video, VIDEO, 3000);
        // The report's instant lies up to a frame after the newest one, at 90 kHz and 48 kHz.
        assert!((frames - real).abs() < 1.0, "{frames} {real}");
    }
    let last = sender_infos(viewer.rtcp.last().unwrap());
    assert!(last[0].packets > 1300 && last[0].octets > last[0].packets * 900);
}

#[test]
fn what_viewers_report_can_be_read_in_their_cell() {
    let mut world = watching(3000);
    let ssrc = world.viewers[0].video_ssrc();
    let sent = Ntp::from_unix_ns(world.now.0 + UNIX_OFFSET).middle();
    world.now = world.now + Span::millis(40);
    let block = ReportBlock {
        ssrc,
        fraction_lost: 12,
        cumulative_lost: 34,
        jitter: 56,
        last_sr: sent,
        delay_since_last_sr: 655, // 10 ms
        ..ReportBlock::default()
    };
    world.feedback(0, |out| write_receiver_report(1, &[block], b"peer", out));
    world.run(1200, 10);
    let id = world.viewers[0].id();
    let counters = world.region.viewer(id).unwrap().counters();
    assert_eq!(
        (counters.fraction_lost, counters.lost, counters.jitter),
        (12, 34, 56)
    );
    assert!(
        (29_500..30_500).contains(&counters.rtt_us),
        "{}",
        counters.rtt_us
    );
    assert!(counters.bytes_received > 40);
    assert!(counters.packets > 400 && counters.bytes > counters.packets * 300);
    assert_eq!(
        counters.active,
        counters.active.max(world.now - Span::secs(5))
    );
}

#[test]
fn a_receivers_clock_is_echoed() {
    let mut world = watching(1000);
    let theirs = Ntp(0x1234_5678_9abc_def0);
    world.feedback(0, |out| write_receiver_reference_time(9, theirs, out));
    world.viewers[0].rtcp.clear();
    world.run(1200, 10);
    let plain = &world.viewers[0].rtcp[0];
    let echoes: Vec<_> = compound(plain)
        .filter_map(|item| match item {
            Item::ExtendedReport(report) => report.blocks().next().and_then(|block| match block {
                XrBlock::Dlrr(mut items) => items.next(),
                _ => None,
            }),
            _ => None,
        })
        .collect();
    assert_eq!(echoes.len(), 1);
    assert_eq!((echoes[0].ssrc, echoes[0].last_rr), (9, theirs.middle()));
    assert!(echoes[0].delay_since_last_rr < 0x1_2000);
}

#[test]
fn reports_of_a_crowd_are_spread_over_the_second() {
    let mut world = World::new();
    let mut source = world.source(0);
    source.video(world.now, true, &KEY);
    for _ in 0..32 {
        world.join(source.id);
    }
    world.run(1000, 10);
    let mut most = 0;
    for _ in 0..200 {
        let before: usize = world.viewers.iter().map(|viewer| viewer.rtcp.len()).sum();
        world.turn(10);
        let after: usize = world.viewers.iter().map(|viewer| viewer.rtcp.len()).sum();
        most = most.max(after - before);
    }
    assert!((1..=8).contains(&most), "{most} reports in one tick");
    for viewer in &world.viewers {
        assert!((2..=4).contains(&viewer.rtcp.len()));
    }
}
