//! Owns what feedback says of the packets that were sent: transport-wide, or by source. Hot.

use wire::rtcp_feedback::{Arrivals, Came, TransportCc};
use wire::seq::diff16;
use wire::time::{Span, Time};

use super::delay::Delay;
use super::meter::Meter;
use super::narrow::Narrow;
use super::sent::{News, Source, Told, micros};
use super::{Estimator, STATUSES_MAX, STATUSES_PER_MS};

/// What a message costs besides its statuses, and each of its sources.
pub(super) const MESSAGE_STATUSES: u16 = 16;

/// What a packet costs that is looked for in vain.
const UNKNOWN_STATUSES: u16 = 32;

/// Delays that differ by more from one packet to the next are another clock.
const JUMP_US: i64 = 3_000_000;

impl Estimator {
    /// Arrival times. Packets that are not known, too old or known to have come are left out.
    ///
    /// Costs at most 4,096 statuses at once and 2,000 a second and 4 for each packet sent in the
    /// long run, whatever a compound holds; what is beyond is not read.
    pub fn on_transport(&mut self, now: Time, message: &TransportCc<'_>) {
        self.allow(now);
        let cost = message.count.saturating_add(MESSAGE_STATUSES);
        let Some(left) = self.statuses_left.checked_sub(cost) else {
            return;
        };
        self.statuses_left = left;
        let clock = self.clock.after(message.reference);
        // Messages follow each other without a gap, unless one was lost.
        if diff16(message.base_sequence, self.next_told) > 0 {
            self.delay.forget_busy();
        }
        let mut told_us = None;
        let mut arrived_us = None;
        for packet in message.packets() {
            let has_arrived = packet.arrival.is_some();
            let Some(told) = self.sent.tell(now, packet.sequence, has_arrived) else {
                continue;
            };
            told_us = told_us.max(Some(told.sent_us));
            let at_us = packet.arrival.map(|ticks| clock.micros(ticks));
            if at_us.is_some() {
                arrived_us = arrived_us.max(Some(told.sent_us));
            }
            self.on_told(&told, at_us);
        }
        // A message that was seen before tells nothing, not even that the path lives.
        if told_us.is_some() {
            self.clock = clock;
            self.next_told = message.base_sequence.wrapping_add(message.count);
            self.conclude(now, told_us, arrived_us);
        }
    }

    /// Arrival times by source and sequence number (RFC 8888), of the sources of the video and its
    /// repairs. Packets that are not known, too old or known to have come are left out, and so is
    /// all of other sources: sound is paid for with the video that it goes with.
    ///
    /// Costs as much as transport-wide feedback does; what is beyond is not read.
    pub fn on_arrivals(&mut self, now: Time, message: &Arrivals<'_>, ssrcs: [u32; 2]) {
        self.allow(now);
        let clock = self.reports.after(message.reported);
        let mut told_us = None;
        let mut arrived_us = None;
        for block in message.blocks() {
            let source = match block.ssrc {
                ssrc if ssrc == ssrcs[0] => Some(Source::Media),
                ssrc if ssrc == ssrcs[1] => Some(Source::Repairs),
                _ => None,
            };
            let read = source.map_or(0, |_| block.count);
            let cost = read.saturating_add(MESSAGE_STATUSES);
            let Some(left) = self.statuses_left.checked_sub(cost) else {
                break;
            };
            self.statuses_left = left;
            let Some(source) = source else {
                continue;
            };
            if source == Source::Media {
                if diff16(block.first, self.next_told) > 0 {
                    self.delay.forget_busy();
                }
                self.next_told = block.first.wrapping_add(block.count);
            }
            for (sequence, came) in block.packets() {
                let Some(number) = self.sent.number(source, sequence) else {
                    match self.statuses_left.checked_sub(UNKNOWN_STATUSES) {
                        Some(left) => self.statuses_left = left,
                        None => break,
                    }
                    continue;
                };
                let Some(told) = self.sent.tell(now, number, came != Came::No) else {
                    continue;
                };
                told_us = told_us.max(Some(told.sent_us));
                let at_us = match came {
                    Came::Before(before) => Some(clock.micros(before)),
                    Came::Untimed | Came::No => None,
                };
                if came != Came::No {
                    arrived_us = arrived_us.max(Some(told.sent_us));
                }
                self.on_told(&told, at_us);
            }
        }
        if told_us.is_some() {
            self.reports = clock;
            self.conclude(now, told_us, arrived_us);
        }
    }

    /// Adds what time allows to be read.
    fn allow(&mut self, now: Time) {
        let ms = now.since(self.statuses_at).0 / 1_000_000;
        if ms == 0 {
            return;
        }
        self.statuses_at = now;
        let more = u16::try_from(ms * STATUSES_PER_MS).unwrap_or(STATUSES_MAX);
        self.statuses_left = self.statuses_left.saturating_add(more).min(STATUSES_MAX);
    }

    /// Ends a message that has told of packets up to the one sent at `told_us`, of which those up
    /// to the one sent at `arrived_us` came.
    fn conclude(&mut self, now: Time, told_us: Option<i64>, arrived_us: Option<i64>) {
        if let Some(sent_us) = arrived_us {
            self.on_round_trip(micros(now) - sent_us);
        }
        (self.transport_at, self.has_transport) = (now, true);
        self.unanswered_since = None;
        self.judge_losses(now);
        self.control(now, told_us);
    }

    fn on_told(&mut self, told: &Told, at_us: Option<i64>) {
        self.probing.on_told(told.cluster, at_us, told.bytes);
        // What a probe loses is its own doing.
        if told.cluster == 0 {
            match told.news {
                News::Arrived => self.loss.on_arrived(told.bytes),
                News::Recovered => self.loss.on_recovered(),
                News::Missed => self.loss.on_missed(told.bytes),
            }
        }
        if told.news != News::Recovered {
            self.offered.add(told.sent_us, told.bytes);
        }
        let Some(at_us) = at_us else {
            return;
        };
        let delay_us = at_us - told.sent_us;
        let last_us = self.clock.delay_us.replace(delay_us);
        if last_us.is_some_and(|last_us| (delay_us - last_us).abs() > JUMP_US) {
            self.delay = Delay::new();
            self.narrow = Narrow::new();
            self.offered = Meter::new();
            self.delivered = Meter::new();
        }
        self.delivered.add(at_us, told.bytes);
        self.delay.on_arrival(told.sent_us, at_us, told.bytes);
        if told.cluster == 0 && told.news == News::Arrived {
            let found = self.narrow.on_arrival(told.sent_us, at_us, told.bytes);
            self.narrowed = found.or(self.narrowed);
        }
    }

    fn on_round_trip(&mut self, us: i64) {
        let sample = Span::micros(u64::try_from(us).unwrap_or_default());
        self.newest_rtt = sample;
        self.rtt = if self.rtt == Span::ZERO {
            sample
        } else {
            Span((self.rtt.0 * 7 + sample.0) / 8)
        };
    }
}
