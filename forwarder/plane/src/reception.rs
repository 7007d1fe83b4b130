//! Owns how one source of a publisher is received, as receiver reports tell it (RFC 3550 section
//! 6.4.1 and appendix A.3 and A.8). Hot.

use serde::{Deserialize, Serialize};
use wire::ntp::{Ntp, short_from_span};
use wire::rtcp_report::ReportBlock;
use wire::seq::diff32;
use wire::time::Time;

const NS_PER_S: u64 = 1_000_000_000;

/// A step of more seconds than this is a pause or a new clock, not jitter.
const JITTER_STEP_MAX_S: u32 = 5;

/// What is counted of a source.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Reception {
    /// The first and the highest SRTP index; `None`: nothing came.
    range: Option<(u64, u64)>,
    received: u64,
    /// Expected and received at the last report.
    expected_before: u64,
    received_before: u64,
    /// Sixteen times the jitter.
    jitter_16: u32,
    /// RTP timestamp and arrival of the last packet.
    last: Option<(u32, Time)>,
    /// Middle bits of the last sender report's time, and when it came.
    report: Option<(u32, Time)>,
}

impl Reception {
    /// True if nothing has come.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.range.is_none()
    }

    /// An authentic packet came; with `clock_hz` 0 its timestamp says nothing about jitter.
    #[inline]
    pub fn on_packet(&mut self, now: Time, index: u64, timestamp: u32, clock_hz: u32) {
        let (first, highest) = self.range.unwrap_or((index, index));
        self.range = Some((first.min(index), highest.max(index)));
        self.received += 1;
        if let Some((timestamp_before, arrival)) = self.last
            && clock_hz > 0
        {
            let elapsed = now.since(arrival).0.saturating_mul(u64::from(clock_hz)) / NS_PER_S;
            self.add_jitter(elapsed, diff32(timestamp, timestamp_before), clock_hz);
        }
        self.last = Some((timestamp, now));
    }

    /// A sender report came.
    pub fn on_report(&mut self, now: Time, ntp: Ntp) {
        self.report = Some((ntp.middle(), now));
    }

    /// The block of the report that is due now. `None`: nothing has come.
    pub fn block(&mut self, now: Time, ssrc: u32) -> Option<ReportBlock> {
        let (first, highest) = self.range?;
        let expected = highest - first + 1;
        let lost = expected.cast_signed() - self.received.cast_signed();
        let expected_since = expected.saturating_sub(self.expected_before);
        let received_since = self.received.saturating_sub(self.received_before);
        self.expected_before = expected;
        self.received_before = self.received;
        let lost_since = expected_since.saturating_sub(received_since);
        // Nothing expected: nothing lost.
        let fraction = (lost_since << 8).checked_div(expected_since).unwrap_or(0);
        let clamped = lost.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
        let (last_sr, delay_since_last_sr) = match self.report {
            Some((middle, at)) => (middle, short_from_span(now.since(at))),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(clamped).unwrap_or_default(),
            highest_sequence: low_32(highest),
            jitter: self.jitter_16 >> 4,
            last_sr,
            delay_since_last_sr,
        })
    }

    //= https://www.rfc-editor.org/rfc/rfc3550#appendix-A.8
    //# s->jitter += d - ((s->jitter + 8) >> 4);
    #[inline]
    fn add_jitter(&mut self, elapsed: u64, ticks: i32, clock_hz: u32) {
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let deviation = elapsed.saturating_sub(i64::from(ticks)).unsigned_abs();
        let Ok(deviation) = u32::try_from(deviation) else {
            return;
        };
        if deviation < clock_hz.saturating_mul(JITTER_STEP_MAX_S) {
            let before = self.jitter_16;
            self.jitter_16 = before
                .saturating_add(deviation)
                .saturating_sub(before.saturating_add(8) >> 4);
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "reports count modulo 2^32")]
const fn low_32(index: u64) -> u32 {
    index as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::time::Span;

    #[test]
    fn losses_and_jitter_are_those_of_the_standard() {
        let mut reception = Reception::default();
        let mut now = Time(Span::secs(3).0);
        assert_eq!(reception.block(now, 7), None);
        // 20 ms of audio each, 65,530 to 65,549, two of them lost and one twice.
        for nth in 0..20_u32 {
            if nth != 4 && nth != 9 {
                reception.on_packet(now, 65_530 + u64::from(nth), nth * 960, 48_000);
            }
            now = now + Span::millis(20);
        }
        reception.on_packet(now - Span::millis(20), 65_549, 19 * 960, 48_000);
        let block = reception.block(now, 7).unwrap();
        assert_eq!((block.ssrc, block.jitter), (7, 0));
        assert_eq!((block.fraction_lost, block.cumulative_lost), (12, 1));
        assert_eq!(block.highest_sequence, 0x1_000d);
        assert_eq!((block.last_sr, block.delay_since_last_sr), (0, 0));
        // Nothing came since: nothing is lost.
        reception.on_report(now, Ntp(0x0001_2345_6789_abcd));
        now = now + Span::millis(500);
        let block = reception.block(now, 7).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 1));
        assert_eq!(
            (block.last_sr, block.delay_since_last_sr),
            (0x2345_6789, 0x8000)
        );
    }

    #[test]
    fn a_swinging_path_settles_at_its_jitter() {
        let mut reception = Reception::default();
        let base = Time(Span::secs(3).0);
        for nth in 0..2000_u32 {
            // Every other packet 5 ms late: each step deviates by 240 ticks.
            let late = Span::millis(5 * u64::from(nth % 2));
            let at = base + Span::millis(20 * u64::from(nth)) + late;
            reception.on_packet(at, u64::from(nth), nth * 960, 48_000);
        }
        let jitter = reception.block(base, 7).unwrap().jitter;
        assert!((238..=240).contains(&jitter), "{jitter}");
        // An hour's pause is not jitter, and neither is another clock.
        let later = base + Span::secs(3600);
        reception.on_packet(later, 2000, 5, 48_000);
        reception.on_packet(later, 2001, 0x8000_0000, 48_000);
        assert_eq!(reception.block(later, 7).unwrap().jitter, jitter);
    }
}
