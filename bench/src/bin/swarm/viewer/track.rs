//! Owns the numbers of one track as they arrive.

use std::time::{Duration, Instant};

use crate::tally::Media;

/// One track.
#[derive(Clone, Debug, Default)]
pub struct Track {
    pub ssrc: u32,
    pub rtx_ssrc: u32,
    /// Highest number, extended by the count of wraps; `None`: nothing came yet.
    pub highest: Option<u64>,
    timestamp: u32,
    last_at: Option<Instant>,
    /// Wall-clock nanoseconds since 1970 and RTP time of the newest sender report.
    pub report: Option<(u64, u32)>,
}

impl Track {
    pub fn new([ssrc, rtx_ssrc]: [u32; 2]) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            ..Self::default()
        }
    }

    /// Counts a packet. `is_settled`: what it caught up with is behind it.
    pub fn take(
        &mut self,
        (sequence, timestamp): (u16, u32),
        media: &mut Media,
        now: Instant,
        is_settled: bool,
    ) {
        media.packets += 1;
        let highest = *self.highest.get_or_insert(u64::from(sequence));
        let low = u16::try_from(highest & 0xffff).unwrap_or(0);
        let step = i64::from(sequence.wrapping_sub(low).cast_signed());
        match u64::try_from(step) {
            Ok(0) if self.last_at.is_some() => note(media, "number twice"),
            Ok(step) => {
                media.lost += step.saturating_sub(1);
                self.highest = Some(highest + step);
                let is_back = timestamp.wrapping_sub(self.timestamp).cast_signed() < 0;
                if self.last_at.is_some() && is_back {
                    note(media, "timestamp goes back");
                }
                self.timestamp = timestamp;
            }
            // It was counted as lost; perhaps in the phase before.
            Err(_) => media.lost = media.lost.saturating_sub(1),
        }
        if let Some(last) = self.last_at.filter(|_| is_settled) {
            media.silence_ms = media.silence_ms.max(millis(now - last));
        }
        self.last_at = Some(now);
    }

    /// How long ago what has this timestamp was captured, by the newest report; clock in Hz.
    pub fn age_us(&self, now_unix_ns: u64, timestamp: u32, clock_hz: i64) -> Option<i64> {
        let (at, rtp) = self.report?;
        let ticks = i64::from(timestamp.wrapping_sub(rtp).cast_signed());
        let since_report = i64::try_from(now_unix_ns).ok()? - i64::try_from(at).ok()?;
        Some(since_report / 1000 - ticks * 1_000_000 / clock_hz)
    }
}

/// Counts something that is not as it should be.
pub fn note(media: &mut Media, reason: &'static str) {
    *media.refused.entry(reason).or_default() += 1;
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_lost_until_they_are_filled() {
        let (mut track, mut media) = (Track::new([1, 2]), Media::default());
        let now = Instant::now();
        for sequence in [65_534, 65_535, 2, 0, 1, 3] {
            track.take((sequence, 90_000), &mut media, now, true);
        }
        assert_eq!((media.packets, media.lost), (6, 0));
        assert_eq!(track.highest, Some(65_536 + 3));
        track.take((10, 90_000), &mut media, now, true);
        assert_eq!(media.lost, 6);
        assert!(media.refused.is_empty(), "{:?}", media.refused);
        track.take((10, 90_000), &mut media, now, true);
        track.take((11, 89_000), &mut media, now, true);
        assert_eq!(media.refused.len(), 2, "{:?}", media.refused);
    }
}
