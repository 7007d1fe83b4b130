//! Tests of packetising: what comes back is what went in, sizes are equal.

use super::*;
use crate::frame::Spares;
use crate::output::Track;
use proptest::prelude::*;

const PAYLOAD_MAX: usize = 300;

/// A depacketiser for the tests alone: payloads back to NAL units.
fn depacketise(codec: VideoCodec, frame: &Frame) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = Vec::new();
    for index in 0..frame.packets() {
        let payload = frame.payload(index);
        assert!(!payload.is_empty() && payload.len() <= PAYLOAD_MAX);
        let (kind, head) = match codec {
            VideoCodec::H264 => (payload[0] & 0x1f, 1),
            VideoCodec::H265 => (payload[0] >> 1 & 0x3f, 2),
        };
        match (codec, kind) {
            (VideoCodec::H264, 24) | (VideoCodec::H265, 48) => {
                let mut rest = &payload[head..];
                while let [high, low, after @ ..] = rest {
                    let bytes = usize::from(u16::from_be_bytes([*high, *low]));
                    nals.push(after[..bytes].to_vec());
                    rest = &after[bytes..];
                }
                assert!(rest.is_empty());
            }
            (VideoCodec::H264, 28) | (VideoCodec::H265, 49) => {
                let fragment = payload[head];
                assert_ne!(
                    fragment & 0xc0,
                    0xc0,
                    "a fragmented unit has at least two parts"
                );
                if fragment & 0x80 != 0 {
                    nals.push(match codec {
                        VideoCodec::H264 => vec![payload[0] & 0xe0 | fragment & 0x1f],
                        VideoCodec::H265 => {
                            vec![payload[0] & 0x81 | (fragment & 0x3f) << 1, payload[1]]
                        }
                    });
                }
                nals.last_mut().unwrap().extend(&payload[head + 1..]);
            }
            _ => nals.push(payload.to_vec()),
        }
    }
    nals
}

fn sizes(frame: &Frame) -> Vec<usize> {
    (0..frame.packets())
        .map(|index| frame.payload(index).len())
        .collect()
}

fn nal(codec: VideoCodec, bytes: usize, fill: u8) -> Vec<u8> {
    let mut nal = vec![fill; bytes];
    match codec {
        VideoCodec::H264 => nal[0] = 0x61,
        VideoCodec::H265 => nal[..2].copy_from_slice(&[1 << 1, 1]),
    }
    nal
}

fn cut(codec: VideoCodec, nals: &[Vec<u8>]) -> Frame {
    let mut frame = Spares::default().take(Track::Video);
    let nals: Vec<_> = nals.iter().map(Vec::as_slice).collect();
    Packetiser::new(codec, PAYLOAD_MAX).push_nals(&nals, &mut frame);
    frame
}

#[test]
fn frame_of_one_slice_has_equal_payloads() {
    for codec in [VideoCodec::H264, VideoCodec::H265] {
        for bytes in 301..5000 {
            let frame = cut(codec, &[nal(codec, bytes, 7)]);
            let sizes = sizes(&frame);
            let (last, rest) = sizes.split_last().unwrap();
            assert!(
                rest.iter().all(|size| size == &sizes[0]) && *last <= sizes[0],
                "{sizes:?}"
            );
            let head = if codec == VideoCodec::H264 { 1 } else { 2 };
            let pieces = (bytes - head).div_ceil(PAYLOAD_MAX - 1 - head);
            assert_eq!(sizes.len(), pieces, "{bytes}");
        }
    }
}

#[test]
fn sets_go_in_one_packet() {
    let sps: &[u8] = &[0x67, 1, 2, 3];
    let pps: &[u8] = &[0x28, 4];
    let mut frame = Spares::default().take(Track::Video);
    Packetiser::new(VideoCodec::H264, 300).push_sets(&[sps, pps], &mut frame);
    assert_eq!(frame.payload(0), [0x78, 0, 4, 0x67, 1, 2, 3, 0, 2, 0x28, 4]);
    let mut frame = Spares::default().take(Track::Video);
    let long = [0x67; 290];
    Packetiser::new(VideoCodec::H264, 300).push_sets(&[&long, &long], &mut frame);
    assert_eq!(sizes(&frame), [290, 290]);
}

#[test]
fn slices_of_like_size_need_few_sends() {
    let codec = VideoCodec::H264;
    let nals = [nal(codec, 891, 1), nal(codec, 801, 2), nal(codec, 800, 3)];
    let frame = cut(codec, &nals);
    let mut sends = Sends::default();
    sizes(&frame).iter().for_each(|&size| sends.add(size, 1));
    assert!(sends.count <= 3, "{:?}", sizes(&frame));
}

proptest! {
    #[test]
    fn what_comes_back_is_what_went_in(
        lengths in proptest::collection::vec(2usize..2500, 1..20),
        sets in proptest::collection::vec(2usize..60, 0..4),
        h265: bool,
    ) {
        let codec = if h265 { VideoCodec::H265 } else { VideoCodec::H264 };
        let sets: Vec<_> = sets.iter().map(|&bytes| nal(codec, bytes, 3)).collect();
        let nals: Vec<_> = lengths.iter().map(|&bytes| nal(codec, bytes, 9)).collect();
        let mut frame = Spares::default().take(Track::Video);
        let packetiser = Packetiser::new(codec, PAYLOAD_MAX);
        packetiser.push_sets(&sets.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut frame);
        packetiser.push_nals(&nals.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut frame);
        let expected: Vec<_> = sets.into_iter().chain(nals).collect();
        prop_assert_eq!(depacketise(codec, &frame), expected);
    }
}
