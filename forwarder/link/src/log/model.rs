//! The model of pin and append: loom runs every order of the steps of writer and readers, with
//! every value that the memory model lets a load see, and finds any unordered access to a slot.
//! `RUSTFLAGS="--cfg loom" cargo test -p freshet-link --lib model`, not under `--release`: loom's
//! coroutines do not survive link-time optimisation.

use super::memory::{LogHead, LogMemory, LogSlot, PinLine};
use super::{LogReader, LogWriter, Record};
use crate::lanes::LANES_MAX;
use crate::life::life_of;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Shared, SharedSlice};
use std::sync::Arc;

/// The smallest log whose tail moves: slack and step are one packet.
const SLOTS: usize = 8;

fn memory(readers: usize) -> LogMemory {
    let head = LogHead::default();
    head.life.store(life_of(1), Ordering::Relaxed);
    LogMemory {
        head: Shared(Arc::new(head)),
        pins: SharedSlice((0..readers).map(|_| PinLine::default()).collect()),
        slots: SharedSlice((0..SLOTS).map(|_| LogSlot::new()).collect()),
        index: [(); LANES_MAX]
            .map(|()| SharedSlice((0..SLOTS).map(|_| AtomicU64::new(0)).collect())),
    }
}

/// A log in which the next append overwrites the oldest packet.
fn full(memory: &LogMemory) -> LogWriter<()> {
    let mut writer = LogWriter::adopt(memory.clone(), (), None);
    for _ in 0..SLOTS - 1 {
        append(&mut writer);
    }
    writer
}

/// Each packet carries its own number. True if there was room.
fn append(writer: &mut LogWriter<()>) -> bool {
    let number = writer.seq_next(0).to_le_bytes();
    let appended = writer.append(&Record::default(), &[&number]).is_ok();
    writer.publish();
    appended
}

fn look(reader: &mut LogReader) {
    look_from(reader, 0);
}

fn look_from(reader: &mut LogReader, from: u64) {
    let pinned = reader.pin_from(from);
    let range = pinned.range();
    for position in [range.start, range.end.wrapping_sub(1)] {
        if range.contains(&position) {
            let (record, payload) = pinned.packet(position).expect("in the range");
            assert_eq!(record.lane_seq, position);
            assert_eq!(payload, position.to_le_bytes());
            assert_eq!(pinned.locate(0, position), Some(position));
        }
    }
    // Its word is stored after the head and loaded before it: never beyond what is seen.
    assert!(range.is_empty() || pinned.newest(0).is_some());
}

fn model(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

#[test]
fn a_pinned_packet_is_never_overwritten() {
    model(3, || {
        let memory = memory(1);
        let mut writer = full(&memory);
        let mut reader = LogReader::new(memory, 0, life_of(1), None);
        let reading = loom::thread::spawn(move || {
            look(&mut reader);
            look(&mut reader);
        });
        for _ in 0..3 {
            append(&mut writer);
        }
        reading.join().expect("the reader finds what it may find");
    });
}

#[test]
fn a_packet_that_is_pinned_from_a_position_on_is_never_overwritten() {
    model(2, || {
        let memory = memory(1);
        let mut writer = full(&memory);
        let mut reader = LogReader::new(memory, 0, life_of(1), None);
        let reading = loom::thread::spawn(move || look_from(&mut reader, 2));
        // The third of them takes the place of the packet.
        for _ in 0..5 {
            append(&mut writer);
        }
        reading.join().expect("the reader finds what it may find");
    });
}

#[test]
fn two_readers_hold_the_writer_each() {
    model(2, || {
        let memory = memory(2);
        let mut writer = full(&memory);
        let reading = [0, 1].map(|core| {
            let mut reader = LogReader::new(memory.clone(), core, life_of(1), None);
            loom::thread::spawn(move || look(&mut reader))
        });
        for _ in 0..2 {
            append(&mut writer);
        }
        for thread in reading {
            thread.join().expect("the reader finds what it may find");
        }
    });
}

#[test]
fn the_next_writer_may_take_over_under_a_pin() {
    model(3, || {
        let memory = memory(1);
        let mut first = full(&memory);
        let mut reader = LogReader::new(memory.clone(), 0, life_of(1), None);
        let reading = loom::thread::spawn(move || look(&mut reader));
        append(&mut first);
        drop(first);
        let mut second = LogWriter::adopt(memory, (), None);
        append(&mut second);
        reading.join().expect("the reader finds what it may find");
    });
}

#[test]
fn nothing_of_the_next_generation_is_shown_to_a_reader_of_the_last() {
    model(3, || {
        let memory = memory(1);
        let mut writer = LogWriter::adopt(memory.clone(), (), None);
        append(&mut writer);
        drop(writer);
        let mut reader = LogReader::new(memory.clone(), 0, life_of(1), None);
        let reading = loom::thread::spawn(move || {
            let pinned = reader.pin();
            assert!(pinned.range().end <= 1, "saw {:?}", pinned.range());
        });
        // As `Region::open_stream` does it.
        memory.head.tail.store(1, Ordering::Release);
        memory.head.life.store(life_of(2), Ordering::Release);
        let mut writer = LogWriter::adopt(memory, (), None);
        append(&mut writer);
        reading.join().expect("the reader finds what it may find");
    });
}
