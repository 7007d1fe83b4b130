//! Owns sender reports: one compound per viewer and second, for all its tracks.

use link::command::AUDIO;
use serde::{Deserialize, Serialize};
use wire::ntp::{Ntp, short_from_span};
use wire::rtcp_report::{Dlrr, SenderInfo, write_dlrr, write_sender_report};
use wire::time::{Span, Time};

use crate::fanout::Tables;
use crate::outbox::Outbox;

/// Our canonical name in every report (RFC 3550 section 6.5.1). One name for all tracks of a
/// viewer is what lets it align them.
pub const CNAME: &[u8] = b"freshet";

/// From one report of a viewer to the next.
pub const REPORT_INTERVAL: Span = Span::secs(1);

/// Bytes of a report before it is sealed.
const REPORT_BYTES_MAX: usize = 192;

const NS_PER_S: i128 = 1_000_000_000;

/// A peer's clock, to be echoed (RFC 3611 section 4.5).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// Who told it.
    pub ssrc: u32,
    /// The middle bits of its NTP time.
    pub middle: u32,
    /// When it came.
    pub at: Time,
}

/// The time on both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wall {
    /// The monotonic clock.
    pub now: Time,
    /// Unix time less the monotonic clock, in nanoseconds, as the first tick found it. It is never
    /// adjusted: a step of the wall clock would tear audio and video apart at every viewer.
    pub offset_ns: Option<u64>,
}

impl Wall {
    /// The NTP time; `None` before the first tick.
    pub fn ntp(&self) -> Option<Ntp> {
        let offset = self.offset_ns?;
        Some(Ntp::from_unix_ns(self.now.0.wrapping_add(offset)))
    }
}

impl Tables {
    /// Queues the report of a viewer. False: there was nothing to report, or no room.
    pub fn report(&mut self, wall: Wall, slot: u32, outbox: &mut Outbox) -> bool {
        let mut bytes = [0; REPORT_BYTES_MAX];
        let used = self.write_report(wall, slot, &mut bytes);
        let Some(viewer) = self.viewers.at_mut(slot) else {
            return false;
        };
        if used == 0 {
            return false;
        }
        let Some(index) = viewer.lease_rtcp() else {
            viewer.is_worn = true;
            return false;
        };
        let sealer = &viewer.sealer;
        outbox.push(viewer.to, |out| {
            sealer.rtcp(index, &bytes[..used], out).unwrap_or(0)
        })
    }

    fn write_report(&mut self, wall: Wall, slot: u32, bytes: &mut [u8]) -> usize {
        let (Some(viewer), Some(ntp)) = (self.viewers.at_mut(slot), wall.ntp()) else {
            return 0;
        };
        let Some(stream) = self.streams.at_mut(viewer.stream) else {
            return 0;
        };
        let log = stream.reader.pin();
        let mut used = 0;
        for (track, lane) in [usize::from(viewer.lane), AUDIO].into_iter().enumerate() {
            let track = &viewer.tracks[track];
            let newest = log.newest(lane).and_then(|position| log.record(position));
            let Some(newest) = newest.filter(|_| track.is_taken() && track.packets > 0) else {
                continue;
            };
            // The instant of the report on the media clock: both tracks count from what was
            // captured when, on one clock, so that they agree.
            let since = signed_ticks(wall.now, newest.capture, track.out.clock_hz);
            let info = SenderInfo {
                ssrc: track.out.ssrc,
                ntp,
                rtp_timestamp: track.true_timestamp(newest.timestamp).wrapping_add(since),
                packets: track.packets,
                octets: track.octets,
            };
            used += write_sender_report(&info, CNAME, bytes.get_mut(used..).unwrap_or_default());
        }
        if let Some(echo) = viewer.cold.echo.take()
            && used > 0
        {
            let item = Dlrr {
                ssrc: echo.ssrc,
                last_rr: echo.middle,
                delay_since_last_rr: short_from_span(wall.now.since(echo.at)),
            };
            let ssrc = viewer
                .tracks
                .iter()
                .find(|track| track.is_taken())
                .map_or(0, |track| track.out.ssrc);
            used += write_dlrr(ssrc, &[item], bytes.get_mut(used..).unwrap_or_default());
        }
        used
    }
}

/// Ticks of a clock from `then` to `now`, modulo 2^32; `then` may be in the future.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "timestamps count modulo 2^32"
)]
fn signed_ticks(now: Time, then: Time, clock_hz: u32) -> u32 {
    let ns = i128::from(now.0) - i128::from(then.0);
    (ns * i128::from(clock_hz)).div_euclid(NS_PER_S) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_run_both_ways() {
        let base = Time(Span::secs(5).0);
        assert_eq!(signed_ticks(base + Span::millis(20), base, 48_000), 960);
        let back = signed_ticks(base, base + Span::millis(20), 48_000);
        assert_eq!(back, 960_u32.wrapping_neg());
        // 2^64 ns of any clock do not overflow.
        let most = signed_ticks(Time(u64::MAX), Time::ZERO, u32::MAX);
        assert_eq!(
            signed_ticks(Time::ZERO, Time(u64::MAX), u32::MAX),
            most.wrapping_neg() - 1
        );
    }
}
