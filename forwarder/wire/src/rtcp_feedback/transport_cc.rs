//! Owns transport-wide feedback: which packets came when, so that their sender can tell how much
//! the path carries (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1). Hot.

mod record;

use crate::field::{u8_at, u16_at, u24_at};

pub use record::{TRANSPORT_BYTES_MAX, TRANSPORT_WINDOW, TransportRecorder};

/// Base sequence number, status count, reference time and feedback count.
const HEAD_BYTES: usize = 8;

const NOT_RECEIVED: u8 = 0;
const SMALL_DELTA: u8 = 1;
const LARGE_DELTA: u8 = 2;

/// One packet of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportPacket {
    /// Its transport-wide number.
    pub sequence: u16,
    /// When it came, in ticks of 250 us after the reference time; `None`: it did not.
    pub arrival: Option<i64>,
}

/// Arrival times of packets as a receiver tells them.
#[derive(Clone, Copy, Debug)]
pub struct TransportCc<'a> {
    /// The number of the first packet.
    pub base_sequence: u16,
    /// How many packets it speaks of; 0 to 65,535.
    pub count: u16,
    /// In units of 64 ms of the receiver's clock, modulo 2^24.
    pub reference: u32,
    /// Counts the messages, modulo 256.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportCc<'a> {
    /// Reads the control information of [`super::Message::TransportCc`] and checks its lengths.
    /// `None`: it lies.
    #[must_use]
    pub fn parse(fci: &'a [u8]) -> Option<Self> {
        let body = fci.get(HEAD_BYTES..)?;
        let count = u16_at(fci, 2);
        let mut statuses = Statuses::new(body);
        let mut delta_bytes = 0;
        let mut left = count;
        while left > 0 {
            let (taken, bytes) = statuses.take(left)?;
            left -= taken;
            delta_bytes += bytes;
        }
        let (chunks, deltas) = body.split_at_checked(body.len() - statuses.rest.len())?;
        Some(Self {
            base_sequence: u16_at(fci, 0),
            count,
            reference: u24_at(fci, 4),
            feedback_count: u8_at(fci, 7),
            chunks,
            deltas: deltas.get(..delta_bytes)?,
        })
    }

    /// The packets in the order of their numbers.
    #[inline]
    pub fn packets(&self) -> impl Iterator<Item = TransportPacket> + use<'a> {
        let mut statuses = Statuses::new(self.chunks);
        let mut deltas = self.deltas;
        let mut at = 0;
        let base = self.base_sequence;
        (0..self.count).map_while(move |nth| {
            let delta = match statuses.next()? {
                SMALL_DELTA => {
                    let (delta, rest) = deltas.split_first_chunk::<1>()?;
                    deltas = rest;
                    Some(i64::from(u8::from_be_bytes(*delta)))
                }
                LARGE_DELTA => {
                    let (delta, rest) = deltas.split_first_chunk::<2>()?;
                    deltas = rest;
                    Some(i64::from(i16::from_be_bytes(*delta)))
                }
                _ => None,
            };
            at += delta.unwrap_or(0);
            Some(TransportPacket {
                sequence: base.wrapping_add(nth),
                arrival: delta.map(|_| at),
            })
        })
    }
}

/// Walks the statuses of chunks, of which there may be more than count.
struct Statuses<'a> {
    rest: &'a [u8],
    chunk: u16,
    /// Statuses left of the chunk.
    left: u16,
}

impl<'a> Statuses<'a> {
    fn new(chunks: &'a [u8]) -> Self {
        Self {
            rest: chunks,
            chunk: 0,
            left: 0,
        }
    }

    /// Takes a status, or what is left of a run but `most` at most: how many, and the bytes of
    /// their deltas. A run of 8,191 is one step: a message costs what its bytes cost, not what it
    /// speaks of.
    fn take(&mut self, most: u16) -> Option<(u16, usize)> {
        let bytes = match self.next()? {
            NOT_RECEIVED => 0,
            SMALL_DELTA => 1,
            LARGE_DELTA => 2,
            _ => return None,
        };
        let is_run = self.chunk >> 15 == 0;
        let more = if is_run { self.left.min(most - 1) } else { 0 };
        self.left -= more;
        Some((1 + more, bytes * (1 + usize::from(more))))
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        while self.left == 0 {
            let (chunk, rest) = self.rest.split_first_chunk::<2>()?;
            self.rest = rest;
            self.chunk = u16::from_be_bytes(*chunk);
            self.left = match self.chunk >> 14 {
                0b10 => 14,
                0b11 => 7,
                _ => self.chunk & 0x1fff,
            };
        }
        self.left -= 1;
        let bits = match self.chunk >> 14 {
            0b10 => self.chunk >> self.left & 1,
            0b11 => self.chunk >> (2 * self.left) & 3,
            _ => self.chunk >> 13 & 3,
        };
        u8::try_from(bits).ok()
    }
}

#[cfg(test)]
mod tests;
