//! Owns the writing end of a log: reserve, fill, publish. Hot.

use super::memory::{LogMemory, SLACK_DIVISOR, STEP_DIVISOR, load_position, store_position};
use super::record::{RECORD_BYTES, Record};
use crate::claim::{Claim, FREE};
use crate::command::AUDIO;
use crate::elements::{KINDS, Sizes};
use crate::lanes::LANES_MAX;
use crate::limits::PAYLOAD_MAX;
use crate::log::Flags;
use crate::sync::atomic::{Ordering, fence};
use crate::wake::{Bell, Wakers};

/// Why a packet was not taken into the log. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// A reader still holds the packets that are to be overwritten, or a whole log was appended
    /// without a publish. Drop and count, or try again.
    #[error("a reader holds the oldest packets of the log")]
    Stalled,
    /// Payload and elements are longer than [`PAYLOAD_MAX`], or an element is than its kind may be.
    #[error("the payload is longer than a slot of the log")]
    TooLong,
    /// The log has no such lane.
    #[error("no such lane")]
    NoSuchLane,
}

/// The one writer of a log. It goes on where the last one stopped: positions, packet numbers and
/// frame numbers are continuous within a generation of the stream.
pub struct LogWriter<B: Bell = Wakers> {
    memory: LogMemory,
    bell: B,
    /// Where the next packet goes.
    next: u64,
    /// What readers see as head.
    head: u64,
    tail: u64,
    /// Positions below are free to be written.
    limit: u64,
    lanes: [Lane; LANES_MAX],
    _claim: Option<Claim>,
}

/// No writer of ours counts so far: a million packets a second are that in 146,000 years. What is
/// counted from there on has no end either.
const COUNT_MAX: u64 = 1 << 62;

#[derive(Clone, Copy, Default)]
struct Lane {
    seq_next: u64,
    frames: u32,
    /// As it lies in memory.
    newest: u64,
    /// As it lies in memory.
    keyframe: u64,
}

impl<B: Bell> LogWriter<B> {
    /// Goes on where the last writer of this generation stopped. What that one had appended and
    /// not published is lost.
    pub(crate) fn adopt(memory: LogMemory, bell: B, claim: Option<Claim>) -> Self {
        assert!(memory.slots.len().is_power_of_two(), "checked by Limits");
        let published = &memory.head.published;
        let head = published.head.load(Ordering::Acquire).min(COUNT_MAX);
        let tail = memory.head.tail.load(Ordering::Acquire);
        let lanes = core::array::from_fn(|lane| Lane {
            seq_next: published.seq_next[lane]
                .load(Ordering::Relaxed)
                .min(COUNT_MAX),
            frames: published.frames[lane].load(Ordering::Relaxed),
            newest: published.newest[lane].load(Ordering::Relaxed),
            keyframe: published.keyframe[lane].load(Ordering::Relaxed),
        });
        let mut writer = Self {
            next: head,
            head,
            tail,
            limit: head,
            lanes,
            memory,
            bell,
            _claim: claim,
        };
        if tail > head || head - tail > writer.memory.capacity() {
            // Not the work of a writer of ours: start afresh, readers see an empty log.
            writer.move_tail(head);
        }
        writer.limit = writer.free_below();
        writer
    }

    /// Appends a packet whose payload is the concatenation of `parts`; invisible until
    /// [`LogWriter::publish`]. Gives its position.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&mut self, record: &Record, parts: &[&[u8]]) -> Result<u64, AppendError> {
        self.append_with(record, parts, [&[]; KINDS])
    }

    /// The same with header-extension elements, which come behind the payload.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_with(
        &mut self,
        record: &Record,
        parts: &[&[u8]],
        elements: [&[u8]; KINDS],
    ) -> Result<u64, AppendError> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let sizes = Sizes::of(&elements).ok_or(AppendError::TooLong)?;
        if bytes + sizes.total() > PAYLOAD_MAX {
            return Err(AppendError::TooLong);
        }
        let mut record = *record;
        record.payload_bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        record.elements = sizes;
        let position = self.append_in_place(|payload| {
            let mut rest = payload;
            for part in parts.iter().chain(&elements) {
                let (now, later) = rest.split_at_mut(part.len());
                now.copy_from_slice(part);
                rest = later;
            }
            Some(record)
        })?;
        position.ok_or(AppendError::TooLong)
    }

    /// Lends the memory of the next packet's payload to `fill`, which says what it has put there
    /// ([`Record::payload_bytes`] counts, and [`Record::elements`] lie behind
    /// them), or nothing: then nothing is appended.
    ///
    /// # Errors
    /// [`AppendError::Stalled`] before `fill` is called, the others after it.
    pub fn append_in_place(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Option<Record>,
    ) -> Result<Option<u64>, AppendError> {
        self.reserve()?;
        let position = self.next;
        let lanes = &mut self.lanes;
        // SAFETY: we are the one writer (`Claim`, `&mut self`), `reserve` says that the position
        // is free, and it is not published before `publish`.
        let described = unsafe {
            self.memory.write(position, |slot| {
                let (description, payload) = slot
                    .split_first_chunk_mut()
                    .expect("a slot is longer than its description");
                let Some(record) = fill(payload) else {
                    return Ok(None);
                };
                describe(lanes, &record, description).map(Some)
            })
        }?;
        let Some(record) = described else {
            return Ok(None);
        };
        let lane = usize::from(record.lane);
        if let Some(place) = self.memory.place(lane, record.lane_seq) {
            place.store(position, Ordering::Relaxed);
        }
        self.lanes[lane].newest = store_position(position);
        if lane != AUDIO && record.flags.starts_keyframe() {
            self.lanes[lane].keyframe = store_position(position);
        }
        self.next = position.wrapping_add(1);
        Ok(Some(position))
    }

    /// Makes all that was appended visible at once, as one batch, and wakes the workers that read
    /// this log and sleep.
    pub fn publish(&mut self) {
        if self.next == self.head {
            return;
        }
        self.head = self.next;
        let published = &self.memory.head.published;
        for (place, lane) in self.lanes.iter().enumerate() {
            // Before the head: after a crash in between, packet numbers skip, never repeat.
            published.seq_next[place].store(lane.seq_next, Ordering::Relaxed);
            published.frames[place].store(lane.frames, Ordering::Relaxed);
        }
        published.head.store(self.head, Ordering::Release);
        // After the head, and readers load them before it: they never point beyond what is seen.
        for (place, lane) in self.lanes.iter().enumerate() {
            published.newest[place].store(lane.newest, Ordering::Release);
            published.keyframe[place].store(lane.keyframe, Ordering::Release);
        }
        for (core, line) in self.memory.pins.iter().enumerate() {
            if line.reader.load(Ordering::Relaxed) != FREE {
                self.bell.ring(core);
            }
        }
    }

    /// Packets appended and not yet published.
    #[must_use]
    pub fn unpublished(&self) -> u64 {
        self.next - self.head
    }

    /// The number that the next packet of this lane gets; 0 for a lane that does not exist.
    #[must_use]
    pub fn seq_next(&self, lane: usize) -> u64 {
        self.lanes.get(lane).map_or(0, |lane| lane.seq_next)
    }

    /// The newest published packet of this lane, if the log still has it: where a new source of
    /// the same stream goes on with its timestamps.
    #[must_use]
    pub fn newest(&self, lane: usize) -> Option<Record> {
        let newest = self
            .memory
            .head
            .published
            .newest
            .get(lane)?
            .load(Ordering::Relaxed);
        let position = load_position(newest).filter(|p| (self.tail..self.head).contains(p))?;
        // SAFETY: only the writer writes, and it is us, borrowed.
        Record::decode(unsafe { self.memory.description(position) })
    }

    /// Makes sure that the slot of `next` may be overwritten.
    #[inline]
    fn reserve(&mut self) -> Result<(), AppendError> {
        let capacity = self.memory.capacity();
        let slack = capacity / SLACK_DIVISOR;
        let history = capacity - slack;
        let step = (slack / STEP_DIVISOR).max(1);
        if self.next - self.tail >= history + step {
            self.move_tail((self.next - history).min(self.head));
            self.limit = self.free_below();
        }
        if self.next < self.limit {
            return Ok(());
        }
        self.limit = self.free_below();
        if self.next < self.limit {
            return Ok(());
        }
        Err(AppendError::Stalled)
    }

    /// Readers that pin from now on touch nothing older.
    fn move_tail(&mut self, tail: u64) {
        self.tail = tail;
        self.memory.head.tail.store(tail, Ordering::Release);
    }

    /// Positions below this may be written: they overwrite what is older than the tail and than
    /// every pin.
    fn free_below(&self) -> u64 {
        // With the fence in `LogReader::pin`: either the scan below sees a reader's pin, or that
        // reader sees the tail stored before, and pins again.
        fence(Ordering::SeqCst);
        let oldest = self.memory.pins.iter().fold(self.tail, |oldest, line| {
            // Acquire: what the reader did before it moved or dropped its pin happened before.
            let pin = load_position(line.pin.load(Ordering::Acquire));
            pin.map_or(oldest, |pin| oldest.min(pin))
        });
        oldest.saturating_add(self.memory.capacity())
    }
}

/// Counts the packet and writes its description.
fn describe(
    lanes: &mut [Lane; LANES_MAX],
    record: &Record,
    description: &mut [u8; RECORD_BYTES],
) -> Result<Record, AppendError> {
    if !record.fits() {
        return Err(AppendError::TooLong);
    }
    let lane = lanes
        .get_mut(usize::from(record.lane))
        .ok_or(AppendError::NoSuchLane)?;
    if record.flags.has(Flags::FIRST) {
        lane.frames = lane.frames.wrapping_add(1);
    }
    let record = Record {
        frame: lane.frames,
        lane_seq: lane.seq_next,
        ..*record
    };
    lane.seq_next += 1;
    record.encode(description);
    Ok(record)
}
