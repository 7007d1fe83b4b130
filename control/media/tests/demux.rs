//! The demultiplexer held against `mpeg2ts-reader`: the same streams, times and bytes.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(missing_docs, reason = "written by the macros of the oracle")]

mod support;

use freshet_media::{Config, Track, VideoCodec};
use mpeg2ts_reader::demultiplex::{
    Demultiplex, FilterRequest, NullPacketFilter, PatPacketFilter, PmtPacketFilter,
};
use mpeg2ts_reader::pes::{
    ElementaryStreamConsumer, PesContents, PesHeader, PesPacketFilter, PtsDts,
};
use mpeg2ts_reader::{StreamType, demux_context, packet_filter_switch, psi};
use support::{corpus, nals, play};

/// A PES packet as the oracle gives it.
#[derive(Default)]
struct Pes {
    pts: u64,
    data: Vec<u8>,
}

thread_local! {
    static VIDEO: std::cell::RefCell<Vec<Pes>> = const { std::cell::RefCell::new(Vec::new()) };
}

struct Collect;

impl Collect {
    fn append(bytes: &[u8]) {
        VIDEO.with_borrow_mut(|video| video.last_mut().unwrap().data.extend(bytes));
    }
}

impl ElementaryStreamConsumer<Oracle> for Collect {
    fn start_stream(&mut self, _: &mut Oracle) {}

    fn begin_packet(&mut self, _: &mut Oracle, header: PesHeader<'_>) {
        VIDEO.with_borrow_mut(|video| video.push(Pes::default()));
        if let PesContents::Parsed(Some(parsed)) = header.contents() {
            let pts = match parsed.pts_dts().unwrap() {
                PtsDts::PtsOnly(pts) | PtsDts::Both { pts, .. } => pts.unwrap().value(),
                _ => panic!("every frame has a time"),
            };
            VIDEO.with_borrow_mut(|video| video.last_mut().unwrap().pts = pts);
            Self::append(parsed.payload());
        }
    }

    fn continue_packet(&mut self, _: &mut Oracle, data: &[u8]) {
        Self::append(data);
    }

    fn end_packet(&mut self, _: &mut Oracle) {}

    fn continuity_error(&mut self, _: &mut Oracle) {
        panic!("the corpus has no losses");
    }
}

packet_filter_switch! {
    Filters<Oracle> {
        Pes: PesPacketFilter<Oracle, Collect>,
        Pat: PatPacketFilter<Oracle>,
        Pmt: PmtPacketFilter<Oracle>,
        Null: NullPacketFilter<Oracle>,
    }
}
demux_context!(Oracle, Filters);

impl Oracle {
    fn do_construct(&mut self, request: FilterRequest<'_, '_>) -> Filters {
        match request {
            FilterRequest::ByPid(psi::pat::PAT_PID) => Filters::Pat(PatPacketFilter::default()),
            FilterRequest::ByStream {
                stream_type: StreamType::H264 | StreamType::H265,
                ..
            } => Filters::Pes(PesPacketFilter::new(Collect)),
            FilterRequest::Pmt {
                pid,
                program_number,
            } => Filters::Pmt(PmtPacketFilter::new(pid, program_number)),
            _ => Filters::Null(NullPacketFilter::default()),
        }
    }
}

/// NAL units between start codes, found the slow way.
fn units(bytes: &[u8]) -> Vec<Vec<u8>> {
    let codes: Vec<_> = (0..bytes.len())
        .filter(|&at| bytes[at..].starts_with(&[0, 0, 1]))
        .collect();
    let ends = codes.iter().skip(1).copied().chain([bytes.len()]);
    codes
        .iter()
        .zip(ends)
        .map(|(&begin, end)| {
            let mut unit = bytes[begin + 3..end].to_vec();
            while unit.last() == Some(&0) {
                unit.pop();
            }
            unit
        })
        .collect()
}

#[test]
fn slices_and_times_are_those_of_the_oracle() {
    for (name, codec) in [
        ("gst_h264_aac.ts", VideoCodec::H264),
        ("h264_baseline_aac44k1.ts", VideoCodec::H264),
        ("h264_main_opus.ts", VideoCodec::H264),
        ("h265_aac48k.ts", VideoCodec::H265),
    ] {
        let bytes = corpus(name);
        let mut oracle = Oracle::new();
        Demultiplex::new(&mut oracle).push(&mut oracle, &bytes);
        let expected = VIDEO.take();
        let run = play(Config::default(), &bytes, 1316);
        let frames = run.frames(Track::Video);
        assert_eq!(frames.len(), expected.len(), "{name}");
        let is_slice = |nal: &Vec<u8>| match codec {
            VideoCodec::H264 => (1..=5).contains(&(nal[0] & 0x1f)),
            VideoCodec::H265 => nal[0] >> 1 & 0x3f < 32,
        };
        for (frame, pes) in frames.iter().zip(&expected) {
            let passed = pes.pts.wrapping_sub(expected[0].pts);
            let step = frame[0].timestamp.wrapping_sub(frames[0][0].timestamp);
            assert_eq!(u64::from(step), passed, "{name}");
            let sent: Vec<_> = nals(codec, frame).into_iter().filter(is_slice).collect();
            let came: Vec<_> = units(&pes.data).into_iter().filter(is_slice).collect();
            assert!(sent == came, "{name}: frame {}", frame[0].frame);
        }
    }
}
