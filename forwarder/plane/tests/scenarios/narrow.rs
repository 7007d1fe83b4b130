//! Layers within one encoding and a path that narrows and widens: what is sent follows what the
//! path carries, and every picture can be decoded.

use std::collections::{BTreeSet, VecDeque};

use link::command::{Codec, VIDEO};
use link::viewer::ViewerCounters;
use wire::payload::vp9::Vp9Descriptor;
use wire::rtcp_feedback::TransportRecorder;
use wire::rtp::Header;
use wire::time::{Span, Time};

use crate::peer::{Peer, VIDEO_TYPE};
use crate::viewer::{Got, TestViewer};
use crate::world::World;

/// Temporal layers of successive pictures, and how many pictures back each refers, as Chromium 156
/// sends three temporal layers (flexible mode).
const PATTERN: [(u8, u8); 4] = [(0, 4), (2, 1), (1, 2), (2, 1)];

/// Packets of a picture by spatial layer, 1,100 bytes each: 264, 528 and 1,320 kbit/s.
const PACKETS: [usize; 3] = [1, 2, 5];

const FRAME_MS: u64 = 33;
const FEEDBACK_MS: u64 = 60;

/// Consent is renewed so often.
const CHECK_MS: u64 = 5_000;

const FREE_BPS: u64 = 20_000_000;

/// A queue that is longer drops.
const QUEUE_MAX: Span = Span::millis(400);

/// The viewer's way: a bottleneck with a queue and jitter.
struct Path {
    bps: u64,
    free_at: Time,
    random: u64,
    /// Arrivals and transport-wide numbers that are still on the way, and dropped ones left out.
    under_way: VecDeque<(Time, u16)>,
    /// When pictures were there, whole.
    shown: Vec<Time>,
}

impl Path {
    fn jitter(&mut self) -> Span {
        let times = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = times.wrapping_add(1_442_695_040_888_963_407);
        Span::micros((self.random >> 33) % 2_000)
    }

    fn carry(&mut self, now: Time, datagram: &[u8]) {
        let bits = datagram.len() as u64 * 8;
        let begins = self.free_at.max(now);
        if begins.since(now) > QUEUE_MAX {
            return;
        }
        self.free_at = begins + Span(bits * 1_000_000_000 / self.bps);
        let last = self.under_way.back().map_or(Time::ZERO, |last| last.0);
        let at = (self.free_at + Span::millis(10) + self.jitter()).max(last);
        let number = u16::from_be_bytes([datagram[17], datagram[18]]);
        self.under_way.push_back((at, number));
        let is_media = datagram[1] & 0x7f == VIDEO_TYPE;
        if is_media && datagram[1] & 0x80 != 0 {
            self.shown.push(at);
        }
    }

    /// The longest time without a new picture from a time on.
    fn longest_freeze_ms(&self, from: Time) -> u64 {
        let late = self.shown.windows(2).filter(|pair| pair[0] >= from);
        late.map(|pair| pair[1].since(pair[0]).as_millis())
            .max()
            .unwrap_or(0)
    }
}

struct Stage {
    world: World,
    peer: Peer,
    viewer: usize,
    spatial_layers: u8,
    path: Path,
    recorder: TransportRecorder,
    ms: u64,
    pictures: u16,
    wants_key: bool,
    keys: u32,
}

impl Stage {
    fn new(seed: u64, spatial_layers: u8) -> Self {
        println!("seed {seed}");
        let mut world = World::new();
        let stream = world.region.open_stream(0, "live/svc").unwrap();
        let peer = Peer::join_with(&mut world, stream, |add| {
            add.lanes[VIDEO].codec = Codec::Vp9;
        });
        let mut viewer = world.viewer(stream);
        with_transport(&mut viewer);
        let viewer = world.add(viewer);
        Self {
            world,
            peer,
            viewer,
            spatial_layers,
            path: Path {
                bps: FREE_BPS,
                free_at: Time::ZERO,
                random: seed,
                under_way: VecDeque::new(),
                shown: Vec::new(),
            },
            recorder: TransportRecorder::new(),
            ms: seed % FRAME_MS,
            pictures: 0,
            wants_key: true,
            keys: 0,
        }
    }

    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    fn step(&mut self) {
        self.ms += 1;
        if self.ms.is_multiple_of(FRAME_MS) {
            self.picture();
        }
        self.world.advance(1);
        let now = self.world.now;
        let at = self.world.viewers[self.viewer].at;
        for (run, bytes) in &self.world.sink.runs {
            if run.peer == at.peer {
                for datagram in bytes.chunks(usize::from(run.segment_bytes)) {
                    if !(192..=223).contains(&datagram[1]) {
                        self.path.carry(now, datagram);
                    }
                }
            }
        }
        self.world.deliver();
        self.feed_back();
        if self.ms.is_multiple_of(CHECK_MS) {
            let viewer = &mut self.world.viewers[self.viewer];
            let (ice, at) = (viewer.add.ice, viewer.at);
            let check = viewer.check(&ice, true);
            self.world.send(0, at, &check);
        }
        let called = self.peer.calls(&self.world);
        self.wants_key |= !called.is_empty();
    }

    fn feed_back(&mut self) {
        let now = self.world.now;
        while let Some(&(at, number)) = self.path.under_way.front()
            && at <= now
        {
            self.path.under_way.pop_front();
            self.recorder.record(number, at);
        }
        if self.ms.is_multiple_of(FEEDBACK_MS) {
            let ssrc = self.world.viewers[self.viewer].video_ssrc();
            let mut out = [0; 1024];
            let used = self.recorder.write(1, ssrc, &mut out);
            if used > 0 {
                self.world.feedback(self.viewer, |bytes| {
                    bytes[..used].copy_from_slice(&out[..used]);
                    used
                });
            }
        }
    }

    fn picture(&mut self) {
        let key = std::mem::take(&mut self.wants_key);
        if key {
            // The pattern begins with each keyframe.
            self.pictures = self.pictures.next_multiple_of(4);
            self.keys += 1;
        }
        let number = self.pictures;
        self.pictures += 1;
        let (temporal, back) = PATTERN[usize::from(number) % PATTERN.len()];
        self.peer.timestamps[VIDEO] = self.peer.timestamps[VIDEO].wrapping_add(2970);
        for spatial in 0..self.spatial_layers {
            let packets = PACKETS[usize::from(spatial) + 3 - usize::from(self.spatial_layers)];
            for part in 0..packets {
                let (begins, ends) = (part == 0, part + 1 == packets);
                let mut payload = vec![0; 1100];
                // I, P, L, F, B, E.
                payload[0] =
                    0xb0 | u8::from(!key) << 6 | u8::from(begins) << 3 | u8::from(ends) << 2;
                payload[1..3].copy_from_slice(&(0x8000 | number).to_be_bytes());
                // TID, U, SID, D.
                payload[3] = temporal << 5 | 0x10 | spatial << 1 | u8::from(spatial > 0);
                payload[4] = if key { 0x55 } else { back << 1 };
                let header = Header {
                    marker: spatial + 1 == self.spatial_layers && ends,
                    payload_type: VIDEO_TYPE,
                    timestamp: self.peer.timestamps[VIDEO],
                    ..Header::default()
                };
                let datagram = self.peer.seal(VIDEO, &header, &payload, 0);
                self.peer.send(&mut self.world, &[datagram]);
            }
        }
    }

    fn viewer(&self) -> &TestViewer {
        &self.world.viewers[self.viewer]
    }

    fn counters(&self) -> ViewerCounters {
        let cell = self.world.region.viewer(self.viewer().id()).unwrap();
        cell.counters()
    }

    /// The layers of the last pictures that were sent.
    fn newest(&self, pictures: u16) -> BTreeSet<(u8, u8)> {
        let since = self.pictures - pictures;
        let read = |got: &Got| Vp9Descriptor::parse(&got.payload).unwrap();
        let all = self.viewer().got[VIDEO].iter().rev().map(read);
        all.take_while(|read| read.picture_id.unwrap().value >= since)
            .map(|read| (read.spatial, read.temporal))
            .collect()
    }

    /// Every packet follows on the one before, and every frame on those that it refers to.
    fn assert_decodable(&self) {
        self.viewer().assert_continuous();
        let mut frames = BTreeSet::new();
        let got = &self.viewer().got[VIDEO];
        for (nth, packet) in got.iter().enumerate() {
            let read = Vp9Descriptor::parse(&packet.payload).unwrap();
            let picture = read.picture_id.unwrap().value;
            let before = nth.checked_sub(1).map(|nth| &got[nth]);
            if read.begins {
                if read.is_key() {
                    frames.clear();
                }
                for back in read.references.into_iter().filter(|back| *back > 0) {
                    let refers = (picture - u16::from(back), read.spatial);
                    assert!(frames.contains(&refers), "{picture} refers to {refers:?}");
                }
                if read.refers_lower {
                    assert!(frames.contains(&(picture, read.spatial - 1)), "{picture}");
                }
            } else {
                // Of the same picture and layer.
                assert_eq!(before.unwrap().payload[1..4], packet.payload[1..4]);
            }
            if read.ends {
                frames.insert((picture, read.spatial));
            }
            if let Some(before) = before {
                let id = |got: &Got| Vp9Descriptor::parse(&got.payload).unwrap().picture_id;
                let is_new = id(before) != id(packet);
                assert_eq!(
                    before.header.marker, is_new,
                    "the end of a picture: {picture}"
                );
            }
        }
    }
}

/// Negotiates transport-wide numbers on video.
fn with_transport(viewer: &mut TestViewer) {
    let track = &mut viewer.add.tracks[VIDEO];
    track.ext[..8].copy_from_slice(&[0xbe, 0xde, 0, 1, 0x51, 0, 0, 0]);
    (track.ext_bytes, track.transport_cc_at) = (8, 5);
}

fn narrowed_and_widened(spatial_layers: u8, bps: u64, carried: &[(u8, u8)]) {
    for seed in 1..=3 {
        let mut stage = Stage::new(seed, spatial_layers);
        stage.run(15_000);
        let highest = (spatial_layers - 1, 2);
        assert!(stage.newest(8).contains(&highest), "{:?}", stage.counters());
        let keys = stage.keys;
        stage.path.bps = bps;
        let (limited_ms, limited_at) = (stage.ms, stage.world.now);
        let mut fell_ms = None;
        for _ in 0..200 {
            stage.run(100);
            let is_there = !stage
                .newest(8)
                .iter()
                .any(|one| one > carried.last().unwrap());
            if is_there && fell_ms.is_none() {
                fell_ms = Some(stage.ms - limited_ms);
            }
        }
        let under_limit = stage.newest(30);
        let queue_ms = stage.path.free_at.since(stage.world.now).as_millis();
        let freeze_ms = stage.path.longest_freeze_ms(limited_at);
        let told = stage.counters();
        stage.path.bps = FREE_BPS;
        let freed_ms = stage.ms;
        while !stage.newest(4).contains(&highest) {
            stage.run(100);
            assert!(
                stage.ms - freed_ms <= 15_000,
                "not back: {:?}",
                stage.counters()
            );
        }
        println!(
            "{spatial_layers} spatial layers: {under_limit:?} {fell_ms:?} ms after the limit, queue \
             {queue_ms} ms, no picture longer than {freeze_ms} ms, back {} ms after its end, {} \
             keyframes",
            stage.ms - freed_ms,
            stage.keys - keys,
        );
        assert!(fell_ms.is_some_and(|ms| ms <= 2_000), "{fell_ms:?}");
        assert_eq!(under_limit.into_iter().collect::<Vec<_>>(), carried);
        let highest = carried.last().unwrap();
        assert_eq!(
            (told.spatial, told.temporal),
            (highest.0.into(), highest.1.into())
        );
        assert!(freeze_ms <= 300 && queue_ms < 100);
        stage.run(1_000);
        stage.assert_decodable();
    }
}

#[test]
fn spatial_and_temporal_layers_follow_the_path() {
    // 264 and 528 kbit/s are the two lower layers, of which half the pictures are 396.
    narrowed_and_widened(3, 600_000, &[(0, 0), (0, 1), (1, 0), (1, 1)]);
}

#[test]
fn temporal_layers_alone_follow_the_path() {
    // Of 1,320 kbit/s half the pictures are 660.
    narrowed_and_widened(1, 900_000, &[(0, 0), (0, 1)]);
}
