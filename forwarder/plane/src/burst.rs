//! Owns how a burst is cut into runs of equal segments, once for all viewers. Hot.
//!
//! A run is a stretch of the log that every viewer can be sent by one GSO send: packets of one
//! lane with payloads of one size, and at its end at most one that is shorter: the last of a
//! frame, or audio that came in between. Tracks have sequence numbers of their own, so that audio
//! may change places with video; packets of one lane never change places. Where there are several
//! layers of video a burst is cut once for each of them.

use core::ops::Range;

use arrayvec::ArrayVec;
use link::command::{AUDIO, EXT_BYTES_MAX};
use link::elements::{DESCRIPTOR, Sizes};
use link::lanes::{LANES_MAX, Lanes};
use link::log::{Flags, Pinned};
use wire::datagram::{RUN_BYTES_MAX, SEGMENTS_MAX};
use wire::field::u16_at;
use wire::rtp::HEADER_BYTES;

use crate::extension::cost_max;

/// Packets of one burst: as many as the longest run.
pub const PIECES_MAX: usize = SEGMENTS_MAX as usize;

/// Most bytes that header and tag add to a payload: fixed header, extension, a tag of 16.
const OVERHEAD_MAX: usize = HEADER_BYTES + EXT_BYTES_MAX + 16;

/// What fan-out needs to know of one packet of the log.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The RTP payload.
    pub payload: &'a [u8],
    /// The header-extension elements that go with it, one after another.
    pub elements: &'a [u8],
    /// Its number within the lane.
    pub seq: u64,
    /// Its RTP timestamp in the stream's own count.
    pub timestamp: u32,
    /// Its frame's number within the lane.
    pub frame: u32,
    /// Its lane, below [`LANES_MAX`].
    pub lane: u8,
    /// Its spatial layer within the lane.
    pub spatial: u8,
    /// Its temporal layer within the lane.
    pub temporal: u8,
    /// What the log says of it.
    pub flags: Flags,
    /// Bytes of each of the elements.
    pub sizes: Sizes,
    /// Where the primary block of sound with redundancy begins; 0: it has none.
    pub primary_at: u16,
}

impl<'a> Piece<'a> {
    /// The packet at `position`; `None` if the log's other side wrote nonsense there.
    #[inline]
    pub fn read(log: &'a Pinned<'_>, position: u64) -> Option<Self> {
        let (record, payload, elements) = log.whole(position)?;
        if usize::from(record.lane) >= LANES_MAX {
            return None;
        }
        Some(Self {
            payload,
            elements,
            seq: record.lane_seq,
            timestamp: record.timestamp,
            frame: record.frame,
            lane: record.lane,
            spatial: record.spatial,
            temporal: record.temporal,
            flags: record.flags,
            sizes: record.elements,
            primary_at: record.primary_at,
        })
    }

    /// A viewer may be given a higher temporal layer from here on.
    #[inline]
    const fn opens(&self) -> bool {
        self.flags.0 & (Flags::OPENS_OWN.0 | Flags::OPENS_ABOVE.0) != 0
    }

    /// What of it depends on what a viewer has negotiated: packets with the same form and as long
    /// payloads are of one size at every viewer. 0: all viewers get the payload and no more.
    #[inline]
    pub fn form(&self) -> u64 {
        let [a, b, c] = self.sizes.0;
        let [high, low] = self.primary_at.to_be_bytes();
        u64::from_be_bytes([0, 0, 0, a, b, c, high, low])
    }

    /// The number of its frame as the dependency descriptor has it.
    #[inline]
    pub fn number(&self) -> Option<u16> {
        let place = self.sizes.place(DESCRIPTOR);
        (place.len() >= 3).then(|| u16_at(self.elements, place.start + 1))
    }

    /// Payload and elements at those who get the most of it, and the payload at the others.
    #[inline]
    fn bytes_max(&self) -> usize {
        self.payload.len() + cost_max(self.sizes)
    }

    /// See [`Self::bytes_max`].
    #[inline]
    fn bytes_min(&self) -> usize {
        self.payload.len() - usize::from(self.primary_at).min(self.payload.len())
    }

    /// The lane as an index.
    #[inline]
    pub fn lane(&self) -> usize {
        usize::from(self.lane)
    }

    /// It is the first of a keyframe.
    #[inline]
    pub fn starts_key(&self) -> bool {
        self.flags.starts_keyframe() && self.lane() != AUDIO
    }

    /// The marker bit of a viewer that gets no spatial layer above `spatial_max`. On audio it
    /// would mean that a talkspurt begins, which nobody tells us.
    #[inline]
    pub fn marker(&self, spatial_max: u8) -> bool {
        let is_last = self.flags.has(Flags::LAST)
            || self.spatial == spatial_max && self.flags.has(Flags::ENDS_LAYER);
        is_last && self.lane() != AUDIO
    }

    /// The last byte of the payload is padding.
    #[inline]
    pub fn is_padded(&self) -> bool {
        self.flags.has(Flags::PADDED)
    }
}

/// A stretch of the log for one GSO send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Its packets among the burst's, in the order in which they are sent.
    from: u8,
    to: u8,
    /// Packets by lane.
    pub packets: [u8; LANES_MAX],
    /// Payload bytes by lane.
    pub payload_bytes: [u32; LANES_MAX],
    /// Position in the log after the run.
    pub end: u64,
    /// Packets are not of one size at all viewers.
    pub is_varied: bool,
}

/// What has come in for a stream, or what one viewer still has to get of it.
pub struct Burst<'a> {
    // Not arrays: to fill their 6 KB before the first packet costs as much as sending one.
    pieces: ArrayVec<Piece<'a>, PIECES_MAX>,
    runs: ArrayVec<Run, PIECES_MAX>,
    /// Positions in the log that the burst covers.
    pub range: Range<u64>,
    /// Where the newest keyframe of each lane within the burst starts.
    pub keys: [Option<u64>; LANES_MAX],
    /// The lanes that have packets in the range, whether they were cut or not.
    pub lanes: Lanes,
    /// Some packets are of a layer above the lowest of their lane, or open one.
    pub is_layered: bool,
}

/// The run that is being cut.
#[derive(Clone, Copy)]
struct Shape {
    body_lane: u8,
    body_bytes: usize,
    body_form: u64,
    /// What packets of other forms must not exceed, and what this one may have itself.
    body_min: usize,
    body_max: usize,
    packets: u8,
    /// Lane of the shorter last packet, if there is one already.
    tail: Option<u8>,
    bytes: usize,
}

impl<'a> Burst<'a> {
    /// A burst of nothing.
    #[inline]
    pub fn new() -> Self {
        Self {
            pieces: ArrayVec::new(),
            runs: ArrayVec::new(),
            range: 0..0,
            keys: [None; LANES_MAX],
            lanes: Lanes::default(),
            is_layered: false,
        }
    }

    /// Cuts as much of `range` as one burst holds, skipping what is not of `lanes`. In place of
    /// what was there: a burst has 8 KB, and moving it costs more than cutting it.
    pub fn cut(&mut self, log: &'a Pinned<'_>, range: Range<u64>, lanes: Lanes, segments_max: u8) {
        self.pieces.clear();
        self.runs.clear();
        self.range = range.start..range.start;
        self.keys = [None; LANES_MAX];
        self.lanes = Lanes::default();
        self.is_layered = false;
        let segments_max = segments_max.clamp(1, SEGMENTS_MAX);
        let mut shape = None;
        for position in range {
            if self.pieces.is_full() {
                break;
            }
            if let Some(piece) = Piece::read(log, position) {
                let lane = piece.lane();
                self.lanes = self.lanes.with(lane);
                self.is_layered |= piece.spatial | piece.temporal != 0 || piece.opens();
                if piece.starts_key() {
                    self.keys[lane] = Some(position);
                }
                if lanes.has(lane) {
                    self.push(&mut shape, piece, segments_max);
                }
            }
            self.range.end = position + 1;
            if let Some(run) = self.runs.last_mut() {
                run.end = position + 1;
            }
        }
    }

    /// The runs, in order.
    #[inline]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The packets of a run, in the order in which they are sent.
    #[inline]
    pub fn pieces(&self, run: &Run) -> &[Piece<'a>] {
        &self.pieces[usize::from(run.from)..usize::from(run.to)]
    }

    /// True if the burst covers nothing of the log.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Payload bytes of all packets by lane.
    pub fn payload_bytes(&self) -> [u64; LANES_MAX] {
        let mut sums = [0; LANES_MAX];
        for run in self.runs() {
            for (sum, bytes) in sums.iter_mut().zip(run.payload_bytes) {
                *sum += u64::from(bytes);
            }
        }
        sums
    }

    fn push(&mut self, shape: &mut Option<Shape>, piece: Piece<'a>, segments_max: u8) {
        let at = self.pieces.len();
        self.pieces.push(piece);
        let joined = match (self.runs.last_mut(), shape.as_mut()) {
            (Some(run), Some(shape)) if run.to - run.from < segments_max => {
                shape.join(&piece).inspect(|&before_tail| {
                    if before_tail {
                        self.pieces.swap(at, at - 1);
                    }
                })
            }
            _ => None,
        };
        if joined.is_none() {
            *shape = Some(Shape::starting(&piece));
            let from = index(at);
            self.runs.push(Run {
                from,
                to: from,
                ..Run::default()
            });
        }
        if let Some(run) = self.runs.last_mut() {
            run.to += 1;
            run.is_varied |= piece.form() != 0;
            run.packets[piece.lane()] += 1;
            // A payload is shorter than 64 KB.
            run.payload_bytes[piece.lane()] +=
                u32::try_from(piece.payload.len()).unwrap_or_default();
        }
    }
}

impl Shape {
    fn starting(piece: &Piece<'_>) -> Self {
        Self {
            body_lane: piece.lane,
            body_bytes: piece.payload.len(),
            body_form: piece.form(),
            body_min: piece.bytes_min(),
            body_max: piece.bytes_max(),
            packets: 1,
            tail: None,
            bytes: piece.bytes_max() + OVERHEAD_MAX,
        }
    }

    /// Takes a packet into the run if it stays a legal one. `Some(true)`: it has to change places
    /// with the packet before it, which is shorter and goes last.
    fn join(&mut self, piece: &Piece<'_>) -> Option<bool> {
        let payload_bytes = piece.payload.len();
        let bytes = self.bytes + piece.bytes_max() + OVERHEAD_MAX;
        if bytes > RUN_BYTES_MAX {
            return None;
        }
        let is_body = piece.lane == self.body_lane;
        let is_alike = is_body && piece.form() == self.body_form;
        // Another lane may have a longer extension: it has to fit for every viewer.
        let fits_last = if is_alike {
            payload_bytes < self.body_bytes
        } else if is_body {
            piece.bytes_max() <= self.body_min
        } else {
            piece.bytes_max() + EXT_BYTES_MAX <= self.body_min
        };
        let before_tail = match self.tail {
            None if is_alike && payload_bytes == self.body_bytes => false,
            None if fits_last => {
                self.tail = Some(piece.lane);
                false
            }
            // One short packet of another lane, then a longer one: the short one goes last.
            None if !is_body
                && self.packets == 1
                && self.body_max + EXT_BYTES_MAX <= piece.bytes_min() =>
            {
                let packets = self.packets;
                *self = Self {
                    tail: Some(self.body_lane),
                    packets,
                    ..Self::starting(piece)
                };
                true
            }
            Some(tail) if is_alike && tail != piece.lane && payload_bytes == self.body_bytes => {
                true
            }
            _ => return None,
        };
        self.packets = self.packets.saturating_add(1);
        self.bytes = bytes;
        Some(before_tail)
    }
}

#[inline]
fn index(at: usize) -> u8 {
    u8::try_from(at).unwrap_or(SEGMENTS_MAX)
}

#[cfg(test)]
mod tests;
