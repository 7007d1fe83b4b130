//! Broken, shuffled, cut and made-up input: no panic, no growth, no endless work.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use freshet_media::{Config, Counters, Ingest, Track};
use proptest::prelude::*;
use support::mux::{AUDIO_PID, Mux, VIDEO_PID, restamp};
use support::{BEGIN, Run, corpus, fire, play};
use wire::time::Span;

/// Plays bytes and checks that everything that comes out is well-formed; returns the counters.
fn endure(bytes: &[u8], chunk: usize) -> Counters {
    let mut ingest = Ingest::new(Config::default(), None);
    let (mut run, mut now) = (Run::default(), BEGIN);
    for piece in bytes.chunks(chunk) {
        fire(&mut ingest, &mut run, now);
        ingest.push(now, piece);
        run.drain(now, &mut ingest);
        now = now + Span::millis(5);
    }
    fire(&mut ingest, &mut run, now + Span::secs(10));
    ingest.finish(now + Span::secs(10));
    run.drain(now, &mut ingest);
    for track in [Track::Video, Track::Audio] {
        for frame in run.frames(track) {
            assert!(frame[0].first && frame.last().unwrap().last);
            assert!(frame.iter().all(|packet| packet.payload.len() <= 1180));
        }
    }
    ingest.counters()
}

/// A part of a recorded stream, in transport packets.
fn part(name: &str, packets: usize) -> Vec<u8> {
    corpus(name)[..packets * 188].to_vec()
}

const NAMES: [&str; 5] = [
    "gst_h264_aac.ts",
    "h264_baseline_aac44k1.ts",
    "h264_high_bframes_aac48k.ts",
    "h264_main_opus.ts",
    "h265_aac48k.ts",
];

/// Few by default, as each case runs decoders over seconds of stream; PROPTEST_CASES for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn corrupted_bytes(
        name in 0usize..5,
        faults in proptest::collection::vec((0usize..600 * 188, any::<u8>()), 1..400),
    ) {
        let mut bytes = part(NAMES[name], 600);
        for (at, byte) in faults {
            bytes[at] = byte;
        }
        endure(&bytes, 1316);
    }

    /// Transport headers stay whole, so that the damage reaches the codecs.
    #[test]
    fn corrupted_payloads(
        name in 0usize..5,
        faults in proptest::collection::vec((3usize..600, 24usize..188, any::<u8>()), 1..2000),
    ) {
        let mut bytes = part(NAMES[name], 600);
        for (packet, at, byte) in faults {
            bytes[packet * 188 + at] = byte;
        }
        endure(&bytes, 1316);
    }

    #[test]
    fn shuffled_and_repeated_packets(
        name in 0usize..5,
        order in proptest::collection::vec(0usize..400, 50..600),
    ) {
        let whole = part(NAMES[name], 400);
        let mut bytes = part(NAMES[name], 4);
        for packet in order {
            bytes.extend(&whole[packet * 188..][..188]);
        }
        endure(&bytes, 1316);
    }

    #[test]
    fn cut_pieces(
        name in 0usize..5,
        cuts in proptest::collection::vec((0usize..400 * 188, 1usize..2000), 1..30),
        chunk in 1usize..4000,
    ) {
        let mut bytes = part(NAMES[name], 400);
        for (at, count) in cuts {
            let at = at.min(bytes.len());
            let end = (at + count).min(bytes.len());
            bytes.drain(at..end);
        }
        endure(&bytes, chunk.max(188));
    }

    #[test]
    fn made_up_elementary_streams(
        stream_type in prop_oneof![Just(0x1bu8), Just(0x24)],
        audio_type in prop_oneof![Just(0x0fu8), Just(0x11), Just(0x06)],
        frames in proptest::collection::vec(
            (any::<u32>(), proptest::collection::vec(
                prop_oneof![4 => Just(0u8), 2 => Just(1), 1 => Just(0x67), 1 => Just(0x65),
                    1 => Just(0xff), 1 => Just(0x7f), 4 => any::<u8>()], 0..1500)),
            1..20),
    ) {
        let mut mux = Mux::default();
        let opus: &[u8] = b"\x05\x04Opus\x7f\x02\x80\x02";
        let descriptors = if audio_type == 6 { opus } else { &[] };
        mux.tables(&[(stream_type, VIDEO_PID, &[]), (audio_type, AUDIO_PID, descriptors)]);
        for (stamp, data) in frames {
            mux.pes(VIDEO_PID, u64::from(stamp), u64::from(stamp), &data);
            mux.pes(AUDIO_PID, u64::from(stamp) << 1, u64::from(stamp), &data);
        }
        endure(&mux.bytes, 1316);
    }

    #[test]
    fn stamps_out_of_any_order(
        stamps in proptest::collection::vec(any::<u64>(), 600),
    ) {
        let mut bytes = part("h264_main_opus.ts", 600);
        restamp(&mut bytes, |_, number| stamps[number]);
        endure(&bytes, 1316);
    }
}

#[test]
fn everything_at_once_is_bounded() {
    let bytes: Vec<u8> = (0..60).flat_map(|_| corpus("h264_main_opus.ts")).collect();
    let mut ingest = Ingest::new(Config::default(), None);
    ingest.push(BEGIN, &bytes);
    let (mut run, limit) = (Run::default(), freshet_media::QUEUE_BYTES_MAX);
    run.drain(BEGIN, &mut ingest);
    ingest.finish(BEGIN);
    run.drain(BEGIN, &mut ingest);
    assert!(
        run.packets
            .iter()
            .map(|packet| packet.payload.len())
            .sum::<usize>()
            <= limit + 65536
    );
    assert!(ingest.counters().overflowed_frames > 0);
    assert!(run.told("overflowed"));
}

#[test]
fn streams_that_nobody_named_cost_nothing() {
    let named = part("h264_main_opus.ts", 600);
    let mut pids: Vec<u16> = (0..8192).collect();
    let used = |packet: &[u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    pids.retain(|pid| !named.chunks(188).any(|packet| used(packet) == *pid));
    assert!(pids.len() > 8100);
    let mut flooded = Vec::new();
    for (number, packet) in named.chunks(188).enumerate() {
        flooded.extend(packet);
        for pid in pids.iter().skip(number * 14).take(14) {
            // Tables and pictures that begin and never end, under every other number.
            let mut begun = [0xff; 188];
            let [high, low] = pid.to_be_bytes();
            begun[..4].copy_from_slice(&[0x47, 0x40 | high, low, 0x10]);
            begun[4..13].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0]);
            flooded.extend(begun);
        }
    }
    let frames = |bytes: &[u8]| {
        let run = play(Config::default(), bytes, 1316);
        [Track::Video, Track::Audio].map(|track| run.frames(track).len())
    };
    let expected = frames(&named);
    assert!(expected[0] > 10 && expected[1] > 10, "{expected:?}");
    assert_eq!(frames(&flooded), expected);
}

#[test]
fn losses_cost_slices_and_nothing_more() {
    let mut bytes = corpus("h264_main_opus.ts");
    // One transport packet in 200 is lost, as behind a network that cannot repair in time.
    let kept: Vec<u8> = bytes
        .chunks_exact(188)
        .enumerate()
        .filter(|(number, _)| *number < 10 || number % 200 != 0)
        .flat_map(|(_, packet)| packet.to_vec())
        .collect();
    bytes.clear();
    let run = play(Config::default(), &kept, 1316);
    assert!(run.told("damaged"));
    let frames = run.frames(Track::Video);
    assert!((200..240).contains(&frames.len()), "{}", frames.len());
    assert!(
        frames
            .iter()
            .enumerate()
            .all(|(n, frame)| frame[0].frame as usize == n)
    );
}
