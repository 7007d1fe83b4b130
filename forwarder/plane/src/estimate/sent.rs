//! Owns what was sent to one viewer and not told of yet: a ring of runs, not of packets. Hot.

use wire::time::Time;

/// Runs that are remembered. 30 frames and 50 packets of audio a second make 80 runs: 1.6 s, which
/// is a round trip over a full queue. One power of two, so that places are masked.
const RUNS: usize = 128;

/// Packets of an entry; a longer run takes several.
const ENTRY_PACKETS: u8 = 24;

/// Runs sent within this time count as sent at once: a turn sends audio and video one by one.
const MERGE_US: u32 = 500;

/// What was sent longer ago has no news value, and its time would become ambiguous.
const AGE_US_MAX: u32 = 10_000_000;

/// A gap in the numbers that is wider than this is a new start.
const GAP_MAX: u16 = 4096;

const _: () = assert!(
    RUNS * (ENTRY_PACKETS as usize) < 1 << 15,
    "numbers stay unambiguous"
);
const _: () = assert!(size_of::<Entry>() == 20);

/// Which packets of an entry.
#[derive(Clone, Copy, Default)]
struct Marks([u8; 3]);

impl Marks {
    /// Sets one; true if it was not set.
    #[inline]
    fn set(&mut self, nth: u8) -> bool {
        let bit = 1 << (nth % 8);
        let Some(byte) = self.0.get_mut(usize::from(nth / 8)) else {
            return false;
        };
        let is_new = *byte & bit == 0;
        *byte |= bit;
        is_new
    }
}

/// Packets with consecutive numbers that were sent at once.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// Microseconds, modulo 2^32.
    sent_us: u32,
    first: u16,
    packet_bytes: u16,
    packets: u8,
    /// Of which probe it is a part; 0: of none.
    cluster: u8,
    arrived: Marks,
    missed: Marks,
    /// The sequence number of the first, in its source.
    rtp: u16,
    source: Source,
}

/// Packets of one source that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The transport-wide number of the first.
    pub first: u16,
    /// How many.
    pub packets: u8,
    /// Their bytes together.
    pub bytes: u32,
    /// Whose they are.
    pub source: Source,
    /// The first one's own sequence number.
    pub rtp: u16,
}

impl Run {
    /// Of the video itself, with sequence numbers like the transport-wide ones.
    #[must_use]
    pub const fn media(first: u16, packets: u8, bytes: u32) -> Self {
        Self {
            first,
            packets,
            bytes,
            source: Source::Media,
            rtp: first,
        }
    }
}

/// Of what packets are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The video itself.
    #[default]
    Media,
    /// What of it was sent again, or as a probe.
    Repairs,
}

impl Entry {
    const fn end(&self) -> u16 {
        self.first.wrapping_add(self.packets as u16)
    }
}

/// What is newly known of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It came.
    Arrived,
    /// It came although it was said that it had not.
    Recovered,
    /// It did not come.
    Missed,
}

/// A packet that feedback speaks of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Microseconds of our clock.
    pub sent_us: i64,
    pub bytes: u32,
    pub cluster: u8,
    pub news: News,
}

/// The ring.
pub(super) struct SentLog {
    entries: [Entry; RUNS],
    /// Entries ever written; the newest is the one before.
    written: usize,
    len: usize,
    /// Where the last packet was found, counted from the oldest: the next one is there or behind.
    hint: usize,
    /// The same of the packet that was asked for by its source.
    source_hint: usize,
}

impl SentLog {
    pub const fn new() -> Self {
        const NONE: Entry = Entry {
            sent_us: 0,
            first: 0,
            packet_bytes: 0,
            packets: 0,
            cluster: 0,
            arrived: Marks([0; 3]),
            missed: Marks([0; 3]),
            rtp: 0,
            source: Source::Media,
        };
        Self {
            entries: [NONE; RUNS],
            written: 0,
            len: 0,
            hint: 0,
            source_hint: 0,
        }
    }

    /// Notes what was sent at once.
    pub fn push(&mut self, now: Time, run: &Run, cluster: u8) {
        if run.packets == 0 {
            return;
        }
        let sent_us = low_32(micros(now));
        let each = run.bytes / u32::from(run.packets);
        let packet_bytes = u16::try_from(each).unwrap_or(u16::MAX);
        let (mut first, mut rtp, mut left) = (run.first, run.rtp, run.packets);
        if self.len > 0 {
            let newest = &mut self.entries[self.written.wrapping_sub(1) % RUNS];
            let gap = first.wrapping_sub(newest.end());
            let goes_on = newest.source == run.source
                && rtp == newest.rtp.wrapping_add(u16::from(newest.packets));
            if gap > GAP_MAX {
                self.len = 0;
            } else if gap == 0
                && goes_on
                && newest.cluster == cluster
                && newest.packets + left.min(ENTRY_PACKETS) <= ENTRY_PACKETS
                && sent_us.wrapping_sub(newest.sent_us) <= MERGE_US
            {
                let all = u32::from(newest.packet_bytes) * u32::from(newest.packets) + run.bytes;
                newest.packets += left;
                let each = all / u32::from(newest.packets);
                newest.packet_bytes = u16::try_from(each).unwrap_or(u16::MAX);
                return;
            }
        }
        while left > 0 {
            let packets = left.min(ENTRY_PACKETS);
            self.entries[self.written % RUNS] = Entry {
                sent_us,
                first,
                packet_bytes,
                packets,
                cluster,
                rtp,
                source: run.source,
                ..Entry::default()
            };
            self.written = self.written.wrapping_add(1);
            self.len = (self.len + 1).min(RUNS);
            first = first.wrapping_add(u16::from(packets));
            rtp = rtp.wrapping_add(u16::from(packets));
            left -= packets;
        }
        self.hint = 0;
        self.source_hint = 0;
    }

    /// The transport-wide number of a packet of a source. `None`: it is not known. One step for
    /// the packet behind the one asked for last; the whole ring for one that is not there.
    pub fn number(&mut self, source: Source, rtp: u16) -> Option<u16> {
        let holds = |entry: &Entry| {
            let nth = rtp.wrapping_sub(entry.rtp);
            (entry.source == source && nth < u16::from(entry.packets))
                .then(|| entry.first.wrapping_add(nth))
        };
        for nth in (self.source_hint..self.len).chain(0..self.source_hint) {
            if let Some(number) = holds(&self.entries[self.place(nth)]) {
                self.source_hint = nth;
                return Some(number);
            }
        }
        None
    }

    /// Marks the packet as arrived or missed. `None`: it is not known, or that was known of it.
    pub fn tell(&mut self, now: Time, sequence: u16, has_arrived: bool) -> Option<Told> {
        let nth = self.find(sequence)?;
        let place = self.place(nth);
        let entry = &mut self.entries[place];
        let packet = u8::try_from(sequence.wrapping_sub(entry.first)).ok()?;
        let now_us = micros(now);
        let age = low_32(now_us).wrapping_sub(entry.sent_us);
        if age > AGE_US_MAX {
            return None;
        }
        let news = if has_arrived {
            if !entry.arrived.set(packet) {
                return None;
            }
            if entry.missed.set(packet) {
                News::Arrived
            } else {
                News::Recovered
            }
        } else {
            if !entry.missed.set(packet) {
                return None;
            }
            News::Missed
        };
        Some(Told {
            sent_us: now_us.wrapping_sub(i64::from(age)),
            bytes: u32::from(entry.packet_bytes),
            cluster: entry.cluster,
            news,
        })
    }

    /// Bytes of what was sent after a time, in microseconds of our clock.
    pub fn bytes_after(&self, now: Time, sent_us: i64) -> u32 {
        let age_max = u32::try_from(micros(now) - sent_us).unwrap_or_default();
        let newest_first = (0..self.len)
            .rev()
            .map(|nth| &self.entries[self.place(nth)]);
        newest_first
            .take_while(|entry| low_32(micros(now)).wrapping_sub(entry.sent_us) < age_max)
            .fold(0, |sum, entry| {
                let bytes = u32::from(entry.packet_bytes) * u32::from(entry.packets);
                sum.saturating_add(bytes)
            })
    }

    #[inline]
    const fn place(&self, nth: usize) -> usize {
        self.written.wrapping_sub(self.len).wrapping_add(nth) % RUNS
    }

    /// Which entry, from the oldest on, holds the packet: seven steps, or none if it is the entry
    /// of the packet before or the next one.
    fn find(&mut self, sequence: u16) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        for nth in [self.hint, self.hint + 1] {
            if nth < self.len && self.holds(nth, sequence) {
                self.hint = nth;
                return Some(nth);
            }
        }
        let oldest = self.entries[self.place(0)].first;
        let ahead = sequence.wrapping_sub(oldest);
        // The last entry that begins at or before it.
        let (mut low, mut high) = (0, self.len);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            let first = self.entries[self.place(middle)].first;
            if first.wrapping_sub(oldest) <= ahead {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.hint = low;
        self.holds(low, sequence).then_some(low)
    }

    #[inline]
    fn holds(&self, nth: usize, sequence: u16) -> bool {
        let entry = &self.entries[self.place(nth)];
        sequence.wrapping_sub(entry.first) < u16::from(entry.packets)
    }
}

/// Microseconds of our clock: 2^63 of them are not reached.
#[inline]
pub(super) const fn micros(at: Time) -> i64 {
    (at.0 / 1_000).cast_signed()
}

#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ages are told modulo 2^32, 71 minutes"
)]
const fn low_32(us: i64) -> u32 {
    us as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::time::Span;

    fn at(ms: u64) -> Time {
        Time::ZERO + Span::millis(ms)
    }

    #[test]
    fn runs_are_found_and_told_of_once() {
        let mut log = SentLog::new();
        let first = 65_500_u16;
        for nth in 0..60_u16 {
            let now = at(4_294_700 + u64::from(nth) * 10);
            log.push(now, &Run::media(first.wrapping_add(nth * 3), 3, 3_000), 0);
        }
        let now = at(4_295_700);
        for nth in 0..180_u16 {
            let told = log.tell(now, first.wrapping_add(nth), true).unwrap();
            let sent = at(4_294_700 + u64::from(nth / 3) * 10);
            assert_eq!((told.sent_us, told.bytes), (micros(sent), 1_000));
            assert_eq!(told.news, News::Arrived);
            assert!(log.tell(now, first.wrapping_add(nth), true).is_none());
            assert!(log.tell(now, first.wrapping_add(nth), false).is_none());
        }
        for unknown in [
            first - 1,
            first.wrapping_add(180),
            first.wrapping_add(32_768),
        ] {
            assert!(log.tell(now, unknown, true).is_none());
        }
    }

    #[test]
    fn what_was_missed_may_come() {
        let mut log = SentLog::new();
        log.push(at(1), &Run::media(7, 2, 2_000), 3);
        let news = |told: Option<Told>| told.map(|told| told.news);
        assert_eq!(news(log.tell(at(9), 7, false)), Some(News::Missed));
        assert_eq!(news(log.tell(at(9), 7, false)), None);
        assert_eq!(news(log.tell(at(9), 7, true)), Some(News::Recovered));
        assert_eq!(news(log.tell(at(9), 7, true)), None);
        assert_eq!(log.tell(at(9), 8, true).map(|told| told.cluster), Some(3));
    }

    #[test]
    fn long_runs_are_cut_short_ones_joined_and_old_ones_forgotten() {
        let mut log = SentLog::new();
        log.push(at(0), &Run::media(0, 64, 64_000), 0);
        assert_eq!(log.len, 3);
        log.push(at(5), &Run::media(64, 1, 100), 0);
        log.push(at(5), &Run::media(65, 1, 1_100), 0);
        assert_eq!(log.len, 4);
        assert_eq!(log.tell(at(6), 65, true).map(|told| told.bytes), Some(600));
        assert!(log.tell(at(6), 63, true).is_some());
        for nth in 0..128_u16 {
            log.push(at(10 + u64::from(nth)), &Run::media(66 + nth, 1, 100), 0);
        }
        assert!(log.tell(at(200), 62, true).is_none());
        assert!(log.tell(at(200), 66, true).is_some());
        assert!(log.tell(at(20_000), 67, true).is_none());
        // Numbers that jump back are a new start.
        log.push(at(300), &Run::media(3, 1, 100), 0);
        assert_eq!(log.len, 1);
        assert!(log.tell(at(301), 3, true).is_some());
        assert!(log.tell(at(301), 67, true).is_none());
    }
}
