//! Owns the writing of transport-wide feedback: arrivals are noted, and each is told once. Hot.

use super::{HEAD_BYTES, LARGE_DELTA, NOT_RECEIVED, SMALL_DELTA};
use crate::field::Writer;
use crate::rtcp::{HEADER_BYTES, TRANSPORT_FEEDBACK, begin, end};
use crate::rtcp_feedback::{SOURCES_BYTES, TRANSPORT_CC};
use crate::seq::extend;
use crate::time::Time;

/// Numbers that are told apart at once: 250 ms of 40 Mbit/s in packets of 1,200 bytes. What is
/// older than this was lost, or its report would be of no use any more.
pub const TRANSPORT_WINDOW: usize = 1024;

/// Largest message: with SRTCP's tag and index it fits any path.
pub const TRANSPORT_BYTES_MAX: usize = 1196;

/// A tick of the deltas.
pub(super) const TICK_NS: u64 = 250_000;

/// Ticks of the reference time's unit, 64 ms.
const REFERENCE_TICKS: u64 = 256;

/// Header, sources and head: what a message has before its chunks.
const FIXED_BYTES: usize = HEADER_BYTES + SOURCES_BYTES + HEAD_BYTES;

/// Padding to whole words.
const PADDING_MAX: usize = 3;

/// Statuses that a vector of two-bit symbols holds.
const VECTOR_SYMBOLS: usize = 7;

/// Most statuses of a run-length chunk: 13 bits.
const RUN_MAX: usize = 0x1fff;

/// How a padded message begins: version 2, the padding bit, format 15, type 205.
const PADDED_HEAD: u16 = 0xafcd;

/// Nothing came with this number, or not yet.
const ABSENT: Time = Time::ZERO;

/// What came has been reported.
const REPORTED: Time = Time::FAR;

/// Arrival times of packets, until they are reported. Memory of fixed size.
#[derive(Clone, Debug)]
pub struct TransportRecorder {
    /// By number modulo the window.
    arrivals: [Time; TRANSPORT_WINDOW],
    /// The number after the last one that a report has covered, extended.
    begin: u64,
    /// The number after the newest one that came.
    end: u64,
    /// The least number that came and is not reported; `end`: there is none.
    oldest: u64,
    reports: u8,
}

impl Default for TransportRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl TransportRecorder {
    /// A recorder that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            arrivals: [ABSENT; TRANSPORT_WINDOW],
            begin: 0,
            end: 0,
            oldest: 0,
            reports: 0,
        }
    }

    /// Notes that the packet with this number came. One that came before, or is too old, is left
    /// out.
    #[inline]
    pub fn record(&mut self, sequence: u16, at: Time) {
        if self.end == 0 {
            // One turn above zero, so that those before the first can be told.
            let first = u64::from(sequence) + (1 << 16);
            (self.begin, self.end, self.oldest) = (first, first, first);
        }
        let number = extend(self.end - 1, sequence);
        if number >= self.end {
            self.advance(number + 1);
        } else if number + TRANSPORT_WINDOW as u64 <= self.end {
            return;
        }
        let arrival = &mut self.arrivals[place(number)];
        if *arrival == ABSENT {
            *arrival = at.clamp(Time(1), Time(REPORTED.0 - 1));
            self.oldest = self.oldest.min(number);
        }
    }

    /// True if something came that is not reported.
    #[inline]
    #[must_use]
    pub const fn has_news(&self) -> bool {
        self.oldest < self.end
    }

    /// Numbers from the oldest that is not reported to the newest.
    #[inline]
    #[must_use]
    pub const fn span(&self) -> u64 {
        self.end - self.oldest
    }

    /// Writes a message about what is not reported yet, as much as fits; to be called until it
    /// gives 0. Returns bytes written, 0 if there is nothing to report or no room for a packet.
    ///
    /// Every packet is reported once. One that overtook a report has a message of its own.
    #[must_use]
    pub fn write(&mut self, sender_ssrc: u32, media_ssrc: u32, out: &mut [u8]) -> usize {
        if !self.has_news() {
            return 0;
        }
        // Those missing since the last report are told with the next one that came.
        let window = self.end.saturating_sub(TRANSPORT_WINDOW as u64);
        let base = self.oldest.min(self.begin.max(window));
        let room = out.len().min(TRANSPORT_BYTES_MAX);
        let mut symbols = [NOT_RECEIVED; TRANSPORT_WINDOW];
        let Some(used) = self.measure(base, room, &mut symbols) else {
            return 0;
        };
        let symbols = symbols.get(..used).unwrap_or_default();
        let mut writer = Writer::new(out);
        let start = begin(&mut writer, TRANSPORT_FEEDBACK, TRANSPORT_CC);
        writer.u32(sender_ssrc);
        writer.u32(media_ssrc);
        let reference = ticks(self.arrivals[place(self.oldest)]) / REFERENCE_TICKS;
        writer.u16(low_16(base));
        writer.u16(low_16(used as u64));
        let [.., a, b, c] = reference.to_be_bytes();
        writer.bytes(&[a, b, c, self.reports]);
        write_chunks(&mut writer, symbols);
        self.write_deltas(&mut writer, base, symbols, reference * REFERENCE_TICKS);
        let padding = writer.len().wrapping_neg() % 4;
        if padding > 0 {
            let bytes: &[u8] = match padding {
                1 => &[1],
                2 => &[0, 2],
                _ => &[0, 0, 3],
            };
            writer.bytes(bytes);
            writer.patch_u16(start, PADDED_HEAD);
        }
        end(&mut writer, start);
        let bytes = writer.finish();
        if bytes > 0 {
            self.pass(base, used);
        }
        bytes
    }

    /// Makes room for numbers below `end`.
    fn advance(&mut self, end: u64) {
        let from = self.end.max(end.saturating_sub(TRANSPORT_WINDOW as u64));
        for number in from..end {
            self.arrivals[place(number)] = ABSENT;
        }
        let had_news = self.has_news();
        self.end = end;
        let window = end.saturating_sub(TRANSPORT_WINDOW as u64);
        if !had_news {
            // The one that came is noted by the caller.
            self.oldest = end;
        } else if self.oldest < window {
            self.oldest = window;
            self.find_oldest();
        }
    }

    /// Moves `oldest` up to what came and is not reported.
    fn find_oldest(&mut self) {
        while self.oldest < self.end {
            let arrival = self.arrivals[place(self.oldest)];
            if arrival != ABSENT && arrival != REPORTED {
                break;
            }
            self.oldest += 1;
        }
    }

    /// The statuses from `base` on that fit into `room` bytes, up to the last packet that came
    /// among them. `None`: not even one packet fits.
    fn measure(
        &self,
        base: u64,
        room: usize,
        symbols: &mut [u8; TRANSPORT_WINDOW],
    ) -> Option<usize> {
        let mut used = None;
        let mut delta_bytes = 0;
        let first = ticks(self.arrivals[place(self.oldest)]);
        let mut last = first / REFERENCE_TICKS * REFERENCE_TICKS;
        for (nth, symbol) in symbols.iter_mut().enumerate() {
            let number = base + nth as u64;
            if number >= self.end {
                break;
            }
            let arrival = self.arrivals[place(number)];
            match arrival {
                ABSENT => continue,
                REPORTED => break,
                _ => {}
            }
            let at = ticks(arrival);
            let Some(told) = symbol_of(at, last) else {
                break;
            };
            *symbol = told;
            // The symbols are the bytes of their deltas.
            delta_bytes += usize::from(told);
            let chunks = (nth + 1).div_ceil(VECTOR_SYMBOLS);
            if FIXED_BYTES + 2 * chunks + delta_bytes + PADDING_MAX > room {
                break;
            }
            last = at;
            used = Some(nth + 1);
        }
        used
    }

    fn write_deltas(&self, writer: &mut Writer<'_>, base: u64, symbols: &[u8], reference: u64) {
        let mut last = reference;
        for (number, symbol) in (base..).zip(symbols) {
            if *symbol == NOT_RECEIVED {
                continue;
            }
            let at = ticks(self.arrivals[place(number)]);
            let delta = at.wrapping_sub(last);
            last = at;
            let [.., high, low] = delta.to_be_bytes();
            match *symbol {
                SMALL_DELTA => writer.u8(low),
                _ => writer.bytes(&[high, low]),
            }
        }
    }

    /// Counts `used` statuses from `base` on as reported.
    fn pass(&mut self, base: u64, used: usize) {
        let next = base + used as u64;
        for number in base..next {
            let arrival = &mut self.arrivals[place(number)];
            if *arrival != ABSENT {
                *arrival = REPORTED;
            }
        }
        self.begin = self.begin.max(next);
        self.reports = self.reports.wrapping_add(1);
        self.oldest = self.oldest.max(next);
        self.find_oldest();
    }
}

fn write_chunks(writer: &mut Writer<'_>, symbols: &[u8]) {
    let mut rest = symbols;
    while let [first, ..] = rest {
        let run = rest.iter().take_while(|symbol| *symbol == first).count();
        // Never more chunks than vectors alone would be, which `measure` counts on.
        let taken = if run >= VECTOR_SYMBOLS || run == rest.len() {
            let run = run.min(RUN_MAX);
            writer.u16(u16::from(*first) << 13 | low_16(run as u64));
            run
        } else {
            let taken = rest.len().min(VECTOR_SYMBOLS);
            let symbols = rest.iter().chain(&[0; VECTOR_SYMBOLS]);
            let vector = symbols
                .take(VECTOR_SYMBOLS)
                .fold(0b11, |bits, symbol| bits << 2 | u16::from(*symbol));
            writer.u16(vector);
            taken
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
}

/// How a delta is told. `None`: it needs a message of its own.
#[inline]
fn symbol_of(at: u64, last: u64) -> Option<u8> {
    let delta = at.wrapping_sub(last).cast_signed();
    match delta {
        0..=255 => Some(SMALL_DELTA),
        _ => i16::try_from(delta).ok().map(|_| LARGE_DELTA),
    }
}

#[inline]
const fn ticks(at: Time) -> u64 {
    at.0 / TICK_NS
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "below the window")]
const fn place(number: u64) -> usize {
    (number % TRANSPORT_WINDOW as u64) as usize
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "numbers count modulo 2^16")]
const fn low_16(number: u64) -> u16 {
    number as u16
}
