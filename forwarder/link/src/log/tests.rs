//! The log against an oracle, with pins held and let go at random, and between threads.

use super::*;
use crate::command::{AUDIO, VIDEO};
use crate::ids::{CoreId, StreamId};
use crate::lanes::{LANES_MAX, LAYERS};
use crate::limits::{LOG_PACKETS_MIN, Limits, PAYLOAD_MAX};
use crate::region::Region;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::time::Time;

const SLOTS: u64 = LOG_PACKETS_MIN as u64;
const SLACK: u64 = SLOTS / 8;
/// What is always there for readers once the log is full.
const HISTORY: u64 = SLOTS - SLACK;

fn log() -> (Region, StreamId) {
    let limits = Limits {
        cores: 2,
        streams_max: 1,
        viewers_max: 1,
        log_packets: LOG_PACKETS_MIN,
        ..Limits::default()
    };
    let region = Region::create(&limits).unwrap();
    let stream = region.open_stream(0, "s").unwrap();
    (region, stream)
}

fn record(lane: usize, flags: Flags) -> Record {
    Record {
        lane: u8::try_from(lane).unwrap(),
        flags,
        entry: Entry::Sidecar,
        came: Time(u64::from(flags.0) << 40 | 7),
        ..Record::default()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        lane: usize,
        flags: u8,
        bytes: usize,
    },
    Publish,
    Look {
        core: u16,
    },
    NewWriter,
}

fn step() -> impl Strategy<Value = Step> {
    let append = (0..LANES_MAX, 0..16u8, 0..64usize)
        .prop_map(|(lane, flags, bytes)| Step::Append { lane, flags, bytes });
    prop_oneof![
        12 => append,
        4 => Just(Step::Publish),
        3 => (0..2u16).prop_map(|core| Step::Look { core }),
        1 => Just(Step::NewWriter),
    ]
}

/// Everything that was ever published, and what waits for it.
#[derive(Default)]
struct Oracle {
    published: Vec<(Record, Vec<u8>)>,
    pending: Vec<(Record, Vec<u8>)>,
    seq: [u64; LANES_MAX],
    frames: [u32; LANES_MAX],
    /// The most that any writer has appended, published or not.
    next_max: u64,
}

impl Oracle {
    fn append(&mut self, lane: usize, flags: u8, payload: Vec<u8>) -> Record {
        let sent = Record {
            timestamp: 77,
            capture: Time(5),
            ..record(lane, Flags(flags))
        };
        self.frames[lane] += u32::from(flags & 1);
        let kept = Record {
            lane_seq: self.seq[lane],
            frame: self.frames[lane],
            payload_bytes: u16::try_from(payload.len()).unwrap(),
            ..sent
        };
        self.seq[lane] += 1;
        self.pending.push((kept, payload));
        self.next_max = self
            .next_max
            .max((self.published.len() + self.pending.len()) as u64);
        sent
    }

    /// The writer died: what it had not published never was.
    fn forget_pending(&mut self) {
        self.pending.clear();
        for lane in 0..LANES_MAX {
            let of = || {
                self.published
                    .iter()
                    .filter(|(r, _)| usize::from(r.lane) == lane)
            };
            self.seq[lane] = of().count() as u64;
            self.frames[lane] = of().next_back().map_or(0, |(r, _)| r.frame);
        }
    }

    fn check(&self, pinned: &Pinned<'_>) -> Result<(), TestCaseError> {
        let range = pinned.range();
        let head = self.published.len() as u64;
        prop_assert_eq!(range.end, head);
        prop_assert!(
            range.start <= self.next_max.saturating_sub(HISTORY),
            "{range:?}"
        );
        for position in range.clone() {
            let (expected, payload) = &self.published[usize::try_from(position).unwrap()];
            prop_assert_eq!(pinned.packet(position), Some((*expected, &payload[..])));
            let found = pinned.locate(usize::from(expected.lane), expected.lane_seq);
            prop_assert_eq!(found, Some(position));
        }
        let inside = |test: &dyn Fn(&Record) -> bool| {
            let newest = self.published.iter().rposition(|(record, _)| test(record));
            newest
                .map(|n| n as u64)
                .filter(|position| range.contains(position))
        };
        for lane in LAYERS {
            let keyframe = inside(&|r| usize::from(r.lane) == lane && r.flags.starts_keyframe());
            prop_assert_eq!(pinned.keyframe(lane), keyframe);
        }
        for lane in 0..LANES_MAX {
            let newest = inside(&|r| usize::from(r.lane) == lane);
            prop_assert_eq!(pinned.newest(lane), newest);
            prop_assert_eq!(pinned.locate(lane, self.seq[lane]), None);
        }
        prop_assert!(pinned.record(range.end).is_none());
        prop_assert!(range.start == 0 || pinned.record(range.start - 1).is_none());
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_log_is_the_tail_of_all_that_was_published(
        steps in prop::collection::vec(step(), 0..600)
    ) {
        let (region, stream) = log();
        let mut writer = region.log_writer(stream).unwrap();
        let mut readers = [0, 1].map(|core| region.log_reader(stream, CoreId(core)).unwrap());
        let mut oracle = Oracle::default();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append { lane, flags, bytes } => {
                    if oracle.pending.len() as u64 == HISTORY {
                        continue;
                    }
                    let payload = vec![u8::try_from(n % 251).unwrap(); bytes];
                    let at = (oracle.published.len() + oracle.pending.len()) as u64;
                    let sent = oracle.append(lane, flags, payload.clone());
                    let (front, back) = payload.split_at(bytes / 2);
                    prop_assert_eq!(writer.append(&sent, &[front, back]), Ok(at));
                }
                Step::Publish => {
                    writer.publish();
                    oracle.published.append(&mut oracle.pending);
                }
                Step::Look { core } => oracle.check(&readers[usize::from(core)].pin())?,
                Step::NewWriter => {
                    drop(writer);
                    oracle.forget_pending();
                    writer = region.log_writer(stream).unwrap();
                    for lane in [VIDEO, AUDIO] {
                        prop_assert_eq!(writer.seq_next(lane), oracle.seq[lane]);
                    }
                }
            }
        }
    }

    #[test]
    fn memory_of_a_broken_writer_is_survived(
        words in prop::array::uniform6(any::<u64>()),
        noise in any::<u8>(),
    ) {
        let (region, stream) = log();
        let mut writer = region.log_writer(stream).unwrap();
        for _ in 0..4 {
            let filled = writer.append_in_place(|payload| {
                payload.fill(noise);
                Some(Record { payload_bytes: 9, ..Record::default() })
            });
            prop_assert!(filled.is_ok());
        }
        writer.publish();
        drop(writer);
        let memory = region.log_memory_for_test();
        let published = &memory.head.published;
        let places = [
            &published.head,
            &memory.head.tail,
            &published.keyframe[0],
            &published.newest[0],
            &published.seq_next[0],
            &memory.index[0][1],
        ];
        for (place, word) in places.into_iter().zip(words) {
            // Nearby values are the cunning ones.
            let word = if word % 3 == 0 { word % 200 } else { word };
            place.store(word, Ordering::Relaxed);
        }
        let mut reader = region.log_reader(stream, CoreId(0)).unwrap();
        look_at_everything(&reader.pin());
        let mut writer = region.log_writer(stream).unwrap();
        for _ in 0..SLOTS {
            let _ = writer.append(&Record::default(), &[b"x"]);
        }
        writer.publish();
        look_at_everything(&reader.pin());
    }
}

fn look_at_everything(pinned: &Pinned<'_>) {
    let range = pinned.range();
    assert!(range.end - range.start <= SLOTS);
    for position in range {
        assert!(pinned.payload(position).len() <= PAYLOAD_MAX);
    }
    for n in 0..SLOTS {
        let _ = pinned.locate(VIDEO, n);
    }
    let _ = (
        pinned.keyframe(LANES_MAX),
        pinned.newest(VIDEO),
        pinned.locate(7, 0),
    );
}

#[test]
fn a_reader_that_holds_stalls_the_writer_after_the_slack_and_not_longer() {
    let (region, stream) = log();
    let mut writer = region.log_writer(stream).unwrap();
    let mut reader = region.log_reader(stream, CoreId(1)).unwrap();
    let mut send = || {
        let sent = writer.append(&record(VIDEO, Flags::NONE), &[b"x"]);
        writer.publish();
        sent
    };
    for _ in 0..SLOTS * 2 {
        send().unwrap();
    }
    let pinned = reader.pin();
    let start = pinned.range().start;
    let sent = (0..SLOTS).take_while(|_| send().is_ok()).count() as u64;
    assert!(
        sent >= SLACK / 2,
        "room for half the slack at the least, was {sent}"
    );
    assert_eq!(send(), Err(AppendError::Stalled));
    assert_eq!(pinned.payload(start), b"x");
    drop(pinned);
    send().unwrap();
    let behind = reader.pin().range().start;
    assert!(behind > start, "the reader was moved on");
    // One that holds the newest alone leaves all the rest to the writer.
    let newest = reader.head() - 1;
    let pinned = reader.pin_from(newest);
    let sent = (0..SLOTS).take_while(|_| send().is_ok()).count() as u64;
    assert!(sent >= SLOTS - SLACK, "was {sent}");
    assert_eq!(
        (pinned.range(), pinned.payload(newest)),
        (newest..newest + 1, &b"x"[..])
    );
    drop(pinned);
    // One that sleeps never stalls anybody.
    for _ in 0..SLOTS * 3 {
        send().unwrap();
    }
}

#[test]
fn the_packets_of_gstreamer_fit() {
    // The payloaders' MTU of 1,400 less the header of RTP.
    let (region, stream) = log();
    let mut writer = region.log_writer(stream).unwrap();
    let payload = vec![7; 1388];
    assert_eq!(
        writer.append(&record(VIDEO, Flags::FIRST), &[&payload]),
        Ok(0)
    );
}

#[test]
fn what_does_not_fit_is_refused_and_counts_for_nothing() {
    let (region, stream) = log();
    let mut writer = region.log_writer(stream).unwrap();
    let video = record(VIDEO, Flags::FIRST);
    let long = vec![0; PAYLOAD_MAX];
    assert_eq!(
        writer.append(&video, &[&long, b"x"]),
        Err(AppendError::TooLong)
    );
    assert_eq!(
        writer.append(&record(LANES_MAX, Flags::NONE), &[b"x"]),
        Err(AppendError::NoSuchLane)
    );
    assert_eq!(writer.append_in_place(|_| None), Ok(None));
    let boast = |_: &mut [u8]| {
        Some(Record {
            payload_bytes: 1409,
            ..video
        })
    };
    assert_eq!(writer.append_in_place(boast), Err(AppendError::TooLong));
    assert_eq!(writer.append(&video, &[&long]), Ok(0));
    assert_eq!(writer.newest(VIDEO), None, "not published yet");
    writer.publish();
    let newest = writer.newest(VIDEO).unwrap();
    assert_eq!(
        (newest.lane_seq, newest.frame, newest.payload_bytes),
        (0, 1, 1408)
    );
}

#[test]
fn a_batch_as_long_as_the_log_stalls_instead_of_eating_itself() {
    let (region, stream) = log();
    let mut writer = region.log_writer(stream).unwrap();
    let appended = (0..SLOTS * 2).take_while(|_| writer.append(&Record::default(), &[]).is_ok());
    assert_eq!(appended.count() as u64, SLOTS);
    writer.publish();
    writer.append(&Record::default(), &[]).unwrap();
}

#[test]
fn threads_never_see_a_torn_packet() {
    const PACKETS: u64 = 200_000;
    let (region, stream) = log();
    let mut writer = region.log_writer(stream).unwrap();
    let readers = [0, 1].map(|core| region.log_reader(stream, CoreId(core)).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut reader in readers {
            let done = &done;
            scope.spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let pinned = reader.pin();
                    let range = pinned.range();
                    assert!(range.end >= seen);
                    seen = range.end;
                    for position in [range.start, range.end.saturating_sub(1)] {
                        let Some((record, payload)) = pinned.packet(position) else {
                            continue;
                        };
                        assert_eq!(record.lane_seq, position);
                        assert!(payload.chunks(8).all(|n| n == position.to_le_bytes()));
                    }
                    drop(pinned);
                    std::thread::yield_now();
                }
            });
        }
        for n in 0..PACKETS {
            let payload = n.to_le_bytes().repeat(4);
            while writer.append(&Record::default(), &[&payload]).is_err() {
                std::thread::yield_now();
            }
            writer.publish();
        }
        done.store(true, Ordering::Relaxed);
    });
}
