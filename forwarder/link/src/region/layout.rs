//! Owns where everything lies in the memory file: one checked sum over the limits.

use crate::command::COMMAND_BYTES;
use crate::event::EVENT_BYTES;
use crate::lanes::LANES_MAX;
use crate::limits::{Limits, LimitsError, MemorySum, SLOT_BYTES};
use crate::log::PinLine;
use crate::punt::PUNT_BYTES;
use crate::region::cells::{RingEnds, Roles};
use crate::ring::RingHead;
use crate::stats::{StatsBlock, StreamLine};
use crate::stream::StreamCell;
use crate::viewer::ViewerCell;

/// Bytes of the header in front: one page.
pub(super) const HEADER_BYTES: usize = 4096;

/// Every section and every element of one begins at a multiple of this: what the strictest of the
/// shared types wants.
pub(super) const ALIGN: usize = 128;

/// Logs begin and end at pages, so that a closed one can be given back.
const PAGE_BYTES: usize = 4096;

/// Larger logs begin and end at huge pages, so that they can be made of them.
const HUGE_BYTES: usize = 2 << 20;

/// Bytes of a ring before its first slot.
pub(super) const RING_BYTES: usize = size_of::<RingHead>() + size_of::<RingEnds>();

/// What the memory is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Part {
    /// One: who is alive.
    Roles = 0,
    /// Sleep flags by core, control last.
    Bells = 1,
    /// Rings by core.
    Commands = 2,
    /// Rings by core.
    Events = 3,
    /// Rings by core, worker to control.
    PuntsIn = 4,
    /// Rings by core, control to worker.
    PuntsOut = 5,
    /// Counters by core.
    Stats = 6,
    /// Lines by stream, then core.
    StreamStats = 7,
    /// Cells by viewer.
    Viewers = 8,
    /// Cells by stream.
    Streams = 9,
    /// Lines by stream, then core.
    Pins = 10,
    /// Arrays by stream, then track.
    Index = 11,
    /// Slots by stream.
    Logs = 12,
}

/// How many [`Part`]s there are.
pub(super) const PARTS: usize = 13;

const NAMES: [&str; PARTS] = [
    "roles",
    "sleep flags",
    "command rings",
    "event rings",
    "punt rings in",
    "punt rings out",
    "counters of workers",
    "counters of streams",
    "viewer cells",
    "stream cells",
    "log pins",
    "log indexes",
    "log packets",
];

/// One part: `count` elements of `stride` bytes from `offset` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) offset: usize,
    pub(super) stride: usize,
    pub(super) count: usize,
}

/// The whole memory file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) sections: [Section; PARTS],
    pub(super) bytes: usize,
}

impl Section {
    /// The offset after the last element.
    pub(super) fn end(&self) -> Option<usize> {
        self.stride
            .checked_mul(self.count)?
            .checked_add(self.offset)
    }
}

impl Layout {
    /// Lays the memory out for these limits.
    pub(super) fn new(limits: &Limits) -> Result<Self, LimitsError> {
        limits.check()?;
        Self::sum(limits).ok_or(LimitsError::TooMuchMemory)
    }

    /// Offset of element `index` of `part`. The caller has checked the index against the limits.
    pub(super) fn at(&self, part: Part, index: usize) -> usize {
        let section = &self.sections[part as usize];
        assert!(index < section.count, "inside its part");
        section.offset + index * section.stride
    }

    /// The part itself.
    pub(super) fn section(&self, part: Part) -> Section {
        self.sections[part as usize]
    }

    fn sum(limits: &Limits) -> Option<Self> {
        let cores = usize::from(limits.cores);
        let streams = usize::try_from(limits.streams_max).ok()?;
        let viewers = usize::try_from(limits.viewers_max).ok()?;
        let packets = usize::try_from(limits.log_packets).ok()?;
        let ring = |slots: u32, bytes: usize| {
            usize::try_from(slots)
                .ok()?
                .checked_mul(bytes)?
                .checked_add(RING_BYTES)
        };
        let log = packets.checked_mul(SLOT_BYTES)?;
        let log_align = if log >= HUGE_BYTES {
            HUGE_BYTES
        } else {
            PAGE_BYTES
        };
        let index = packets.checked_mul(size_of::<u64>() * LANES_MAX)?;
        let parts: [(usize, usize, usize); PARTS] = [
            (size_of::<Roles>(), 1, ALIGN),
            (ALIGN, cores + 1, ALIGN),
            (ring(limits.commands_max, COMMAND_BYTES)?, cores, ALIGN),
            (ring(limits.events_max, EVENT_BYTES)?, cores, ALIGN),
            (ring(limits.punts_max, PUNT_BYTES)?, cores, ALIGN),
            (ring(limits.punts_max, PUNT_BYTES)?, cores, ALIGN),
            (size_of::<StatsBlock>(), cores, ALIGN),
            (cores.checked_mul(size_of::<StreamLine>())?, streams, ALIGN),
            (size_of::<ViewerCell>(), viewers, ALIGN),
            (size_of::<StreamCell>(), streams, ALIGN),
            (cores.checked_mul(size_of::<PinLine>())?, streams, ALIGN),
            (index, streams, PAGE_BYTES),
            (log, streams, log_align),
        ];
        let mut sections = [Section::default(); PARTS];
        let mut bytes = HEADER_BYTES;
        for (section, (stride, count, align)) in sections.iter_mut().zip(parts) {
            *section = Section {
                offset: bytes.checked_next_multiple_of(align)?,
                stride: stride.checked_next_multiple_of(align)?,
                count,
            };
            bytes = section.end()?;
        }
        // File sizes are signed.
        isize::try_from(bytes).ok()?;
        Some(Self { sections, bytes })
    }
}

impl Limits {
    /// What the memory is for, item by item.
    ///
    /// # Errors
    /// As [`Limits::check`].
    pub fn memory(&self) -> Result<MemorySum, LimitsError> {
        let layout = Layout::new(self)?;
        let items = NAMES.iter().zip(&layout.sections).map(|(name, section)| {
            let bytes = section.stride * section.count;
            (*name, u64::try_from(bytes).unwrap_or(u64::MAX))
        });
        Ok(MemorySum {
            items: items.collect(),
        })
    }
}
