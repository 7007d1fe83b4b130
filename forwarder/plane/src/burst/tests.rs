//! Cutting against a model: every run is legal for every viewer, nothing is lost or turned round.

use super::*;
use link::Region;
use link::command::VIDEO;
use link::ids::CoreId;
use link::limits::Limits;
use link::log::Record;
use proptest::prelude::*;
use wire::time::Time;

/// Cuts what lies in a log made of these (track, bytes), and gives each run's pieces as
/// (track, number within the track, bytes).
fn cut(packets: &[(usize, usize)], segments_max: u8) -> Vec<Vec<(usize, u64, usize)>> {
    let limits = Limits {
        cores: 1,
        streams_max: 1,
        viewers_max: 1,
        log_packets: 256,
        commands_max: 2,
        events_max: 2,
        punts_max: 2,
    };
    let region = Region::create(&limits).unwrap();
    let stream = region.open_stream(0, "s").unwrap();
    let mut writer = region.log_writer(stream).unwrap();
    for &(track, bytes) in packets {
        let record = Record {
            lane: u8::try_from(track).unwrap(),
            arrival: Time(1),
            ..Record::default()
        };
        writer.append(&record, &[&vec![7; bytes]]).unwrap();
    }
    writer.publish();
    let mut reader = region.log_reader(stream, CoreId(0)).unwrap();
    let log = reader.pin();
    let mut runs = Vec::new();
    let mut from = log.range().start;
    while from < log.range().end {
        let mut burst = Burst::new();
        burst.cut(&log, from..log.range().end, Lanes::ALL, segments_max);
        assert_eq!(burst.range.start, from);
        let mut at = from;
        for run in burst.runs() {
            let pieces = burst.pieces(run);
            assert_eq!(run.end - at, pieces.len() as u64);
            at = run.end;
            for lane in 0..LANES_MAX {
                let of_lane = || pieces.iter().filter(|piece| piece.lane() == lane);
                assert_eq!(usize::from(run.packets[lane]), of_lane().count());
                let bytes: usize = of_lane().map(|piece| piece.payload.len()).sum();
                assert_eq!(run.payload_bytes[lane] as usize, bytes);
            }
            let described = pieces
                .iter()
                .map(|piece| (piece.lane(), piece.seq, piece.payload.len()));
            runs.push(described.collect());
        }
        assert_eq!(at, burst.range.end);
        from = at;
    }
    runs
}

#[test]
fn a_frame_with_a_shorter_end_is_one_run() {
    let runs = cut(&[(VIDEO, 1000), (VIDEO, 1000), (VIDEO, 999)], 64);
    assert_eq!(runs.len(), 1);
    // A longer one cannot follow: libwebrtc's L, L + 1.
    assert_eq!(
        cut(&[(VIDEO, 1000), (VIDEO, 1001), (VIDEO, 1001)], 64).len(),
        2
    );
}

#[test]
fn audio_rides_at_the_end_wherever_it_came() {
    for at in 0..4 {
        let mut packets = vec![(VIDEO, 1000); 3];
        packets.insert(at, (AUDIO, 100));
        let runs = cut(&packets, 64);
        assert_eq!(runs.len(), 1, "{at}: {runs:?}");
        assert_eq!(runs[0][3], (AUDIO, 0, 100));
    }
    // Too long for another viewer's extension.
    assert_eq!(cut(&[(VIDEO, 1000), (AUDIO, 990)], 64).len(), 2);
    // Only one packet may be shorter.
    assert_eq!(
        cut(&[(VIDEO, 1000), (AUDIO, 100), (AUDIO, 100)], 64).len(),
        2
    );
    assert_eq!(
        cut(&[(VIDEO, 1000), (VIDEO, 900), (AUDIO, 100)], 64).len(),
        2
    );
}

#[test]
fn runs_are_no_longer_than_allowed() {
    let packets = [(VIDEO, 1300); 130];
    assert_eq!(cut(&packets, 1).len(), 130);
    assert_eq!(cut(&packets, 10).len(), 15);
    // 64 KB hold 48 of these.
    assert!(cut(&packets, 64).iter().all(|run| run.len() <= 48));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_run_is_legal_for_every_viewer(
        packets in prop::collection::vec(
            (0..LANES_MAX, prop_oneof![Just(1000), Just(1001), 1..1300_usize]), 1..200),
        segments_max in 1..=64_u8,
        ext in prop::array::uniform4(0..=6_usize),
        lanes in 1..=15_u8,
    ) {
        let runs = cut(&packets, segments_max);
        let mut next = [0; LANES_MAX];
        for run in &runs {
            prop_assert!(run.len() <= usize::from(segments_max));
            for &(lane, seq, _) in run {
                prop_assert_eq!(seq, next[lane], "order within a lane");
                next[lane] += 1;
            }
            let mine = run.iter().filter(|(lane, ..)| Lanes(lanes).has(*lane));
            let sizes: Vec<usize> =
                mine.map(|&(lane, _, bytes)| 12 + 4 * ext[lane] + bytes + 16).collect();
            if let Some((last, body)) = sizes.split_last() {
                prop_assert!(body.iter().all(|bytes| *bytes == sizes[0]));
                prop_assert!(*last <= sizes[0]);
                prop_assert!(sizes.iter().sum::<usize>() <= RUN_BYTES_MAX);
            }
        }
        prop_assert_eq!(next.iter().sum::<u64>(), packets.len() as u64);
    }
}
