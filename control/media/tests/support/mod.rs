//! Plays a recorded transport stream through an ingest and keeps what comes out.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod mux;

use freshet_media::{Config, Description, Ingest, Notice, Output, Track, VideoCodec};
use wire::time::{Span, Time};

/// When every run begins, by the local clock.
pub const BEGIN: Time = Time(1_000_000_000_000);

/// A packet with its payload owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub at: Time,
    pub track: Track,
    pub timestamp: u32,
    pub capture: Time,
    pub frame: u32,
    pub first: bool,
    pub last: bool,
    pub key: bool,
    pub discardable: bool,
    pub payload: Vec<u8>,
}

/// Everything that came out of a run.
#[derive(Default)]
pub struct Run {
    pub packets: Vec<Seen>,
    pub tracks: Vec<Description>,
    pub notices: Vec<Notice>,
    pub refused: Option<Notice>,
}

impl Run {
    pub fn drain(&mut self, at: Time, ingest: &mut Ingest) {
        while let Some(output) = ingest.poll() {
            match output {
                Output::Tracks(description) => self.tracks.push(description),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Refused(notice) => self.refused = Some(notice),
                Output::Packet(packet) => self.packets.push(Seen {
                    at,
                    track: packet.track,
                    timestamp: packet.timestamp,
                    capture: packet.capture,
                    frame: packet.frame,
                    first: packet.first,
                    last: packet.last,
                    key: packet.key,
                    discardable: packet.discardable,
                    payload: packet.payload.to_vec(),
                }),
            }
        }
    }

    pub fn track(&self, track: Track) -> Vec<&Seen> {
        self.packets
            .iter()
            .filter(|packet| packet.track == track)
            .collect()
    }

    /// Packets of a track, frame by frame.
    pub fn frames(&self, track: Track) -> Vec<Vec<&Seen>> {
        let mut frames: Vec<Vec<&Seen>> = Vec::new();
        for packet in self.track(track) {
            match frames.last_mut() {
                Some(frame) if frame[0].frame == packet.frame => frame.push(packet),
                _ => frames.push(vec![packet]),
            }
        }
        frames
    }

    pub fn told(&self, code: &str) -> bool {
        self.notices.iter().any(|notice| notice.code() == code)
    }
}

/// A recorded stream of the corpus.
pub fn corpus(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/ts/");
    std::fs::read(format!("{path}{name}")).expect("the corpus is in the repository")
}

/// Plays 8 seconds of stream in chunks at an even pace, firing every deadline in time.
pub fn play(config: Config, bytes: &[u8], chunk: usize) -> Run {
    let mut ingest = Ingest::new(config, None);
    play_into(&mut ingest, BEGIN, bytes, chunk)
}

/// The same into an ingest that is there, from `begin` on; ends with `finish`.
pub fn play_into(ingest: &mut Ingest, begin: Time, bytes: &[u8], chunk: usize) -> Run {
    let mut run = Run::default();
    let step = 8_000_000_000 * chunk as u64 / bytes.len() as u64;
    let mut now = begin;
    for piece in bytes.chunks(chunk) {
        fire(ingest, &mut run, now);
        ingest.push(now, piece);
        run.drain(now, ingest);
        now = now + Span(step);
    }
    fire(ingest, &mut run, now + Span::secs(1));
    now = now + Span::secs(1);
    ingest.finish(now);
    run.drain(now, ingest);
    run
}

/// Fires every deadline up to `until`.
pub fn fire(ingest: &mut Ingest, run: &mut Run, until: Time) {
    for _ in 0..10_000 {
        let Some(deadline) = ingest.deadline().filter(|deadline| *deadline <= until) else {
            return;
        };
        ingest.handle_timeout(deadline);
        run.drain(deadline, ingest);
    }
    panic!("deadlines never end");
}

/// NAL units of a frame's payloads.
pub fn nals(codec: VideoCodec, frame: &[&Seen]) -> Vec<Vec<u8>> {
    let mut nals: Vec<Vec<u8>> = Vec::new();
    for packet in frame {
        let payload = &packet.payload;
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
            }
            (VideoCodec::H264, 28) | (VideoCodec::H265, 49) => {
                if payload[head] & 0x80 != 0 {
                    nals.push(match codec {
                        VideoCodec::H264 => vec![payload[0] & 0xe0 | payload[1] & 0x1f],
                        VideoCodec::H265 => {
                            vec![payload[0] & 0x81 | (payload[2] & 0x3f) << 1, payload[1]]
                        }
                    });
                }
                nals.last_mut()
                    .expect("a first fragment")
                    .extend(&payload[head + 1..]);
            }
            _ => nals.push(payload.clone()),
        }
    }
    nals
}

/// The whole video as Annex B.
pub fn annex_b(codec: VideoCodec, run: &Run) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in run.frames(Track::Video) {
        for nal in nals(codec, &frame) {
            bytes.extend([0, 0, 0, 1]);
            bytes.extend(nal);
        }
    }
    bytes
}

/// The raw AAC frames of a stream with one ADTS frame a PES packet on PID 0x42.
pub fn aac_frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut pes: Vec<Vec<u8>> = Vec::new();
    for packet in bytes.chunks_exact(188) {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let adaptation = packet[3] & 0x20 != 0;
        let at = if adaptation {
            5 + usize::from(packet[4])
        } else {
            4
        };
        if pid != 0x42 || packet[3] & 0x10 == 0 {
            continue;
        }
        if packet[1] & 0x40 != 0 {
            pes.push(Vec::new());
        }
        if let Some(pes) = pes.last_mut() {
            pes.extend(&packet[at..]);
        }
    }
    let frames = pes
        .iter()
        .map(|pes| pes[9 + usize::from(pes[8]) + 7..].to_vec());
    frames.collect()
}

/// A LOAS element with its configuration in band: AAC-LC, stereo.
pub fn loas(frame: &[u8], rate: u32) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    let mut put = |value: usize, count: u32| {
        (0..count)
            .rev()
            .for_each(|bit| bits.push(value >> bit & 1 == 1));
    };
    put(0, 2); // new configuration, version 0
    put(1, 1); // same timing
    put(0, 13); // one sub-frame, program, layer
    put(2, 5);
    put(if rate == 48_000 { 3 } else { 4 }, 4);
    put(2, 4);
    put(0, 3); // no short frames, no core coder, no extension
    put(0, 3);
    put(0xff, 8);
    put(0, 2); // no other data, no checksum
    for _ in 0..frame.len() / 255 {
        put(255, 8);
    }
    put(frame.len() % 255, 8);
    frame.iter().for_each(|&byte| put(usize::from(byte), 8));
    let element = bits.chunks(8).map(|byte| {
        (0..8).fold(0, |sum, n| {
            sum << 1 | u8::from(*byte.get(n).unwrap_or(&false))
        })
    });
    let element: Vec<u8> = element.collect();
    let [high, low] = u16::try_from(element.len()).expect("13 bits").to_be_bytes();
    [&[0x56, 0xe0 | high, low], element.as_slice()].concat()
}
