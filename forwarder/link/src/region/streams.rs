//! Owns the life of streams in the memory: open, describe, hand out the ends of the log, close.

use super::layout::Part;
use super::{LinkError, Region, Role};
use crate::claim::{Claim, FREE};
use crate::heard::{Heard, HeardCell};
use crate::ids::{CoreId, StreamId};
use crate::lanes::LANES_MAX;
use crate::life::{generation_of, life_of, next_generation};
use crate::log::{LogHead, LogMemory, LogReader, LogWriter};
use crate::stats::{Intake, StreamStats};
use crate::stream::{Description, StreamCell};
use crate::sync::Shared;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use nix::fcntl::{FallocateFlags, fallocate};

impl Region {
    /// Begins the next generation of stream `index` and takes the memory of its log. Control alone.
    ///
    /// # Errors
    /// No such index, still open, a name that is too long, or no memory left: refuse the publisher.
    pub fn open_stream(&self, index: u32, name: &str) -> Result<StreamId, LinkError> {
        let place = self.stream_place(index)?;
        let cell = self.stream_cell(place);
        let life = cell.log.life.load(Ordering::Acquire);
        if life & 1 == 1 || cell.log.writer.load(Ordering::Acquire) != FREE {
            return Err(LinkError::Busy);
        }
        if name.len() > crate::stream::NAME_BYTES {
            return Err(LinkError::TooLong);
        }
        for part in [Part::Index, Part::Logs] {
            let (offset, bytes) = self.log_pages(part, place);
            self.0
                .map
                .populate(offset, bytes)
                .map_err(LinkError::Memory)?;
        }
        cell.name.write(name.as_bytes());
        cell.tracks.iter().for_each(|track| {
            track.write(&[]);
        });
        Heard::new(self.heard_cell(place)).forget();
        let generation = next_generation(life);
        let published = &cell.log.published;
        // Nothing of an earlier generation can be seen: its packets lie before the tail.
        let head = published.head.load(Ordering::Acquire);
        cell.log.tail.store(head, Ordering::Release);
        for lane in 0..LANES_MAX {
            published.keyframe[lane].store(0, Ordering::Relaxed);
            published.newest[lane].store(0, Ordering::Relaxed);
            published.seq_next[lane].store(0, Ordering::Relaxed);
            published.frames[lane].store(0, Ordering::Relaxed);
        }
        let stream = StreamId { index, generation };
        for core in (0..self.0.limits.cores).map(CoreId) {
            self.stream_stats(stream, core)?
                .set_intake(&Intake::default());
        }
        cell.log.life.store(life_of(generation), Ordering::Release);
        Ok(stream)
    }

    /// Ends the stream: readers see an empty log, and its memory goes back to the system. Control
    /// alone, after the writer has been dropped.
    ///
    /// # Errors
    /// [`LinkError::Busy`]: the writer, or a reader in the middle of its turn, holds the log; the
    /// stream is closed to newcomers, call again. [`LinkError::Stale`]: not the generation of now.
    pub fn close_stream(&self, stream: StreamId) -> Result<(), LinkError> {
        let place = self.stream_place(stream.index)?;
        let cell = self.stream_cell(place);
        let open = life_of(stream.generation);
        let life = cell.log.life.load(Ordering::Acquire);
        if life != open && life != open & !1 {
            return Err(LinkError::Stale);
        }
        cell.log.life.store(open & !1, Ordering::Release);
        // With the fence in `log_writer`: a writer sees the closed stream, or we see the writer.
        fence(Ordering::SeqCst);
        if cell.log.writer.load(Ordering::Acquire) != FREE {
            return Err(LinkError::Busy);
        }
        let head = cell.log.published.head.load(Ordering::Acquire);
        cell.log.tail.store(head, Ordering::Release);
        // With the fence in `LogReader::pin`: who pins after this sees nothing.
        fence(Ordering::SeqCst);
        let memory = self.log_memory(place);
        if memory
            .pins
            .iter()
            .any(|line| line.pin.load(Ordering::Acquire) != 0)
        {
            return Err(LinkError::Busy);
        }
        for part in [Part::Index, Part::Logs] {
            let (offset, bytes) = self.log_pages(part, place);
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            let offset = i64::try_from(offset).map_err(|_| LinkError::TooLong)?;
            let bytes = i64::try_from(bytes).map_err(|_| LinkError::TooLong)?;
            fallocate(&self.0.map.file, flags, offset, bytes)
                .map_err(|errno| LinkError::Memory(errno.into()))?;
        }
        Ok(())
    }

    /// The streams that are open, with their names: what a restarted control goes on with.
    #[must_use]
    pub fn streams(&self) -> Vec<(StreamId, String)> {
        let open = (0..self.0.limits.streams_max).filter_map(|index| {
            let cell = self.stream_cell(self.stream_place(index).ok()?);
            let life = cell.log.life.load(Ordering::Acquire);
            let name = String::from_utf8_lossy(&cell.name.read()?).into_owned();
            let generation = generation_of(life);
            (life & 1 == 1).then_some((StreamId { index, generation }, name))
        });
        open.collect()
    }

    /// True while this generation of the stream is open.
    #[must_use]
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.open_place(stream).is_ok()
    }

    /// Says what a track is; `None`: there is none. Control alone.
    ///
    /// # Errors
    /// No such stream or track, or format parameters that are too long.
    pub fn describe(
        &self,
        stream: StreamId,
        track: usize,
        description: Option<&Description>,
    ) -> Result<(), LinkError> {
        let cell = self.stream_cell(self.open_place(stream)?);
        let text = cell.tracks.get(track).ok_or(LinkError::NoSuchTrack)?;
        let bytes = match description {
            Some(description) => description.encode().ok_or(LinkError::TooLong)?,
            None => Vec::new(),
        };
        text.write(&bytes).then_some(()).ok_or(LinkError::TooLong)
    }

    /// What a track is. `None`: the stream has no such track, or not yet.
    #[must_use]
    pub fn description(&self, stream: StreamId, track: usize) -> Option<Description> {
        let cell = self.stream_cell(self.open_place(stream).ok()?);
        Description::decode(&cell.tracks.get(track)?.read()?)
    }

    /// The writing end of a stream's log; it goes on where the last writer stopped.
    ///
    /// # Errors
    /// The stream is not open, or somebody writes it.
    pub fn log_writer(&self, stream: StreamId) -> Result<LogWriter, LinkError> {
        let place = self.open_place(stream)?;
        let claim = self.claim(self.log_word(place, offset_of!(LogHead, writer)))?;
        // See `close_stream`.
        fence(Ordering::SeqCst);
        self.open_place(stream)?;
        Ok(LogWriter::adopt(
            self.log_memory(place),
            self.0.wakers.clone(),
            Some(claim),
        ))
    }

    /// A worker's reading end of a stream's log. While it lives, its worker is woken by packets.
    ///
    /// # Errors
    /// The stream is not open, there is no such worker, or the worker reads it already.
    pub fn log_reader(&self, stream: StreamId, core: CoreId) -> Result<LogReader, LinkError> {
        let place = self.open_place(stream)?;
        let worker = self.core_place(core)?;
        let line = self.0.layout.at(Part::Pins, place) + worker * size_of::<crate::log::PinLine>();
        let word = line + offset_of!(crate::log::PinLine, reader);
        let claim = self.claim(self.0.map.value(word))?;
        let life = life_of(stream.generation);
        Ok(LogReader::new(
            self.log_memory(place),
            worker,
            life,
            Some(claim),
        ))
    }

    /// What was heard of the publisher of a stream. For whoever has the writing end of its log.
    ///
    /// # Errors
    /// The stream is not open.
    pub fn heard(&self, stream: StreamId) -> Result<Heard, LinkError> {
        let place = self.open_place(stream)?;
        Ok(Heard::new(self.heard_cell(place)))
    }

    fn heard_cell(&self, place: usize) -> Shared<HeardCell> {
        let cell = self.0.layout.at(Part::Streams, place);
        self.0.map.value(cell + offset_of!(StreamCell, heard))
    }

    /// The counters of one stream on one worker.
    ///
    /// # Errors
    /// No such stream or worker.
    pub fn stream_stats(&self, stream: StreamId, core: CoreId) -> Result<StreamStats, LinkError> {
        let place = self.stream_place(stream.index)?;
        let line = self.core_place(core)? * size_of::<crate::stats::StreamLine>();
        let offset = self.0.layout.at(Part::StreamStats, place) + line;
        Ok(StreamStats::new(self.0.map.value(offset)))
    }

    /// All that one end needs of a log.
    pub(super) fn log_memory(&self, place: usize) -> LogMemory {
        let (map, layout) = (&self.0.map, &self.0.layout);
        let packets = self.log_packets();
        let index = layout.at(Part::Index, place);
        LogMemory {
            head: map.value(layout.at(Part::Streams, place) + offset_of!(StreamCell, log)),
            pins: map.array(
                layout.at(Part::Pins, place),
                usize::from(self.0.limits.cores),
            ),
            slots: map.array(layout.at(Part::Logs, place), packets),
            index: core::array::from_fn(|track| {
                map.array(index + track * packets * size_of::<u64>(), packets)
            }),
        }
    }

    pub(super) fn stream_cell(&self, place: usize) -> Shared<StreamCell> {
        self.0.map.value(self.0.layout.at(Part::Streams, place))
    }

    /// True while the sidecar has the writing end of a stream's log: what it writes goes on without
    /// workers.
    #[must_use]
    pub fn is_written_by_control(&self, stream: StreamId) -> bool {
        let writer = self.open_place(stream).map(|place| {
            let word: Shared<AtomicU32> = self.log_word(place, offset_of!(LogHead, writer));
            word.load(Ordering::Acquire)
        });
        writer.is_ok_and(|role| role & Role::Control as u32 != 0)
    }

    fn log_word(&self, place: usize, offset: usize) -> Shared<AtomicU32> {
        let log = self.0.layout.at(Part::Streams, place) + offset_of!(StreamCell, log);
        self.0.map.value(log + offset)
    }

    fn claim(&self, word: Shared<AtomicU32>) -> Result<Claim, LinkError> {
        Claim::take(word, self.0.role).ok_or(LinkError::Taken)
    }

    /// Where the pages of a log's part lie, and how many bytes they are.
    fn log_pages(&self, part: Part, place: usize) -> (usize, usize) {
        (
            self.0.layout.at(part, place),
            self.0.layout.section(part).stride,
        )
    }

    fn log_packets(&self) -> usize {
        usize::try_from(self.0.limits.log_packets).expect("laid out, so it fits")
    }

    fn stream_place(&self, index: u32) -> Result<usize, LinkError> {
        let place = usize::try_from(index).map_err(|_| LinkError::NoSuchStream)?;
        (index < self.0.limits.streams_max)
            .then_some(place)
            .ok_or(LinkError::NoSuchStream)
    }

    fn open_place(&self, stream: StreamId) -> Result<usize, LinkError> {
        let place = self.stream_place(stream.index)?;
        let life = self.stream_cell(place).log.life.load(Ordering::Acquire);
        (life == life_of(stream.generation))
            .then_some(place)
            .ok_or(LinkError::Stale)
    }
}
