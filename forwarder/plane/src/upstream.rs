//! Owns what goes back to a publisher: reports, requests for packets and keyframes, and what the
//! path carries.

use link::command::{AddPublisher, Wants};
use link::lanes::LANES_MAX;
use link::stats::Counter;
use serde::{Deserialize, Serialize};
use wire::ntp::short_from_span;
use wire::rtcp_feedback::{
    FirEntry, TransportRecorder, write_fir, write_nack, write_pli, write_remb,
};
use wire::rtcp_report::{
    Dlrr, ReportBlock, write_dlrr, write_receiver_reference_time, write_receiver_report,
};
use wire::rtp::Packet;
use wire::rtp_ext::find;
use wire::time::{Span, Time};

use crate::Plane;
use crate::lane::ask_interval;
use crate::publisher::Publisher;
use crate::report::{CNAME, Echo, REPORT_INTERVAL, Wall};

mod state;

pub use state::UpstreamState;

/// The first report of a source comes this soon: browsers put the MID on every packet until then.
const REPORT_SOON: Span = Span::millis(100);

/// From one report of what the path carries to the next: as often as browsers do it.
const TRANSPORT_INTERVAL: Span = Span::millis(50);

/// Unless so many numbers wait, half of what can.
const TRANSPORT_SPAN_MAX: u64 = 512;

/// From one call for a keyframe to the next; it doubles while none comes.
const PLEA_INTERVAL: Span = Span::millis(500);

/// Doublings of that: up to 4 s.
const PLEA_DOUBLINGS: u32 = 3;

/// Packets of one lane that one message asks for. Of four lanes they are 848 bytes at the most, and
/// reports have 340.
const NACKS_MAX: usize = 50;

/// Messages to one publisher in one turn: one with requests, and what the path carries.
const MESSAGES_MAX: usize = 4;

/// Bytes of a message before it is sealed.
const MESSAGE_BYTES_MAX: usize = 1280;

/// Sources of a publisher: media and repairs of each lane.
const SOURCES: usize = 2 * LANES_MAX;

/// What goes back to one publisher, and when.
pub struct Upstream {
    /// Under which it is spoken to.
    pub ssrc: u32,
    /// What it is told that it may send; 0: it is not told.
    pub remb_bps: u64,
    /// The round trip, as it told last.
    pub rtt: Option<Span>,
    report_at: Time,
    /// Calls for keyframes by lane.
    pub pleas: [Plea; LANES_MAX],
    fir_sequence: u8,
    transport_cc_id: u8,
    transport: TransportRecorder,
    transport_at: Time,
}

impl Upstream {
    /// For a publisher that has sent nothing.
    pub const fn new(add: &AddPublisher, ssrc: u32) -> Self {
        Self {
            ssrc,
            remb_bps: add.remb_bps,
            rtt: None,
            report_at: Time::FAR,
            pleas: [Plea::NONE; LANES_MAX],
            fir_sequence: 0,
            transport_cc_id: add.transport_cc_id,
            transport: TransportRecorder::new(),
            transport_at: Time::FAR,
        }
    }

    /// Notes when an authentic packet came.
    #[inline]
    pub fn on_packet(&mut self, now: Time, packet: &Packet<'_>) {
        if self.transport_cc_id == 0 {
            return;
        }
        let number = packet
            .extension()
            .and_then(|block| find(block, self.transport_cc_id));
        let Some(Ok(number)) = number.map(<[u8; 2]>::try_from) else {
            return;
        };
        self.transport.record(u16::from_be_bytes(number), now);
        if self.transport.span() >= TRANSPORT_SPAN_MAX {
            self.transport_at = now;
        } else if self.transport_at == Time::FAR && self.transport.has_news() {
            self.transport_at = now + TRANSPORT_INTERVAL;
        }
    }

    /// A source was heard for the first time.
    pub fn report_soon(&mut self, now: Time) {
        self.report_at = self.report_at.min(now + REPORT_SOON);
    }
}

/// A keyframe that is wanted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Plea {
    is_wanted: bool,
    /// How often it was asked for, since the last one came.
    asks: u32,
    asked_at: Time,
}

impl Plea {
    const NONE: Self = Self {
        is_wanted: false,
        asks: 0,
        asked_at: Time::ZERO,
    };

    /// A keyframe is needed.
    pub const fn wish(&mut self) {
        self.is_wanted = true;
    }

    /// A keyframe has begun.
    pub const fn on_keyframe(&mut self) {
        self.is_wanted = false;
        self.asks = 0;
    }

    fn due_at(&self) -> Time {
        if !self.is_wanted {
            Time::FAR
        } else if self.asked_at == Time::ZERO {
            Time::ZERO
        } else {
            let doublings = self.asks.saturating_sub(1).min(PLEA_DOUBLINGS);
            self.asked_at + Span(PLEA_INTERVAL.0 << doublings)
        }
    }

    fn ask(&mut self, now: Time) {
        self.asked_at = now;
        self.asks = self.asks.saturating_add(1);
    }
}

/// What was sent back.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    nacks: u64,
    pleas: u64,
    reports: u64,
    transports: u64,
}

impl Publisher {
    /// When something is to be sent back.
    pub fn due_at(&self) -> Time {
        if self.viewer.is_none() {
            return Time::FAR;
        }
        let asked = self.lanes.iter().map(|lane| lane.order.ask_at());
        let asks_at = asked.min().unwrap_or(Time::FAR);
        let upstream = &self.upstream;
        asks_at
            .min(upstream.report_at)
            .min(upstream.transport_at)
            .min(
                (0..LANES_MAX)
                    .map(|lane| self.plea_at(lane))
                    .min()
                    .unwrap_or(Time::FAR),
            )
    }

    /// When a keyframe of a lane is to be asked for.
    fn plea_at(&self, lane: usize) -> Time {
        let source = &self.lanes[lane];
        let wants = source.given.wants;
        let can = wants.has(Wants::PLI) || wants.has(Wants::FIR);
        if can && source.media.ssrc != 0 {
            self.upstream.pleas[lane].due_at()
        } else {
            Time::FAR
        }
    }

    /// Writes what is due now; 0: nothing is.
    fn write_due(
        &mut self,
        wall: Wall,
        echo: &mut Option<Echo>,
        out: &mut [u8],
        sent: &mut Sent,
    ) -> usize {
        let now = wall.now;
        let mut used = 0;
        if self.upstream.report_at <= now {
            self.upstream.report_at = now + REPORT_INTERVAL;
            used += self.write_report(wall, echo.take(), out);
            sent.reports += u64::from(used > 0);
        }
        let interval = ask_interval(self.upstream.rtt);
        for track in &mut self.lanes {
            if track.order.ask_at() > now {
                continue;
            }
            let mut lost = [0; NACKS_MAX];
            let asked = track.order.ask(now, interval, &mut lost);
            sent.nacks += asked as u64;
            let (ssrc, media) = (self.upstream.ssrc, track.media.ssrc);
            used += write_nack(ssrc, media, &lost[..asked], tail(out, used));
        }
        for lane in 0..LANES_MAX {
            if self.plea_at(lane) <= now {
                used += self.write_plea(now, lane, tail(out, used));
                sent.pleas += 1;
            }
        }
        if used == 0 && self.upstream.transport_at <= now {
            used += self.write_transport(now, out);
            sent.transports += u64::from(used > 0);
        }
        used
    }

    /// How it is received, and what the other side needs to tell the round trip.
    fn write_report(&mut self, wall: Wall, echo: Option<Echo>, out: &mut [u8]) -> usize {
        let mut blocks = [ReportBlock::default(); SOURCES];
        let mut reported = 0;
        let sources = self.lanes.iter_mut();
        for source in sources.flat_map(|lane| [&mut lane.media, &mut lane.rtx]) {
            if source.ssrc != 0
                && let Some(block) = source.reception.block(wall.now, source.ssrc)
            {
                blocks[reported] = block;
                reported += 1;
            }
        }
        let ssrc = self.upstream.ssrc;
        let mut used = write_receiver_report(ssrc, &blocks[..reported], CNAME, out);
        if let Some(ntp) = wall.ntp() {
            used += write_receiver_reference_time(ssrc, ntp, tail(out, used));
        }
        if let Some(echo) = echo {
            let item = Dlrr {
                ssrc: echo.ssrc,
                last_rr: echo.middle,
                delay_since_last_rr: short_from_span(wall.now.since(echo.at)),
            };
            used += write_dlrr(ssrc, &[item], tail(out, used));
        }
        if self.upstream.remb_bps != 0 {
            let mut media = [0; LANES_MAX];
            let mut named = 0;
            for lane in self.lanes.iter().filter(|lane| lane.media.ssrc != 0) {
                media[named] = lane.media.ssrc;
                named += 1;
            }
            let bps = self.upstream.remb_bps;
            used += write_remb(ssrc, bps, &media[..named], tail(out, used));
        }
        used
    }

    fn write_plea(&mut self, now: Time, lane: usize, out: &mut [u8]) -> usize {
        let source = &self.lanes[lane];
        let (ssrc, media) = (self.upstream.ssrc, source.media.ssrc);
        self.upstream.pleas[lane].ask(now);
        if source.given.wants.has(Wants::PLI) {
            return write_pli(ssrc, media, out);
        }
        // Every call is a new command: they are far enough apart.
        let entry = FirEntry {
            ssrc: media,
            sequence: self.upstream.fir_sequence,
        };
        self.upstream.fir_sequence = self.upstream.fir_sequence.wrapping_add(1);
        write_fir(ssrc, &[entry], out)
    }

    /// What came when. The message has to name a source of the publisher's.
    fn write_transport(&mut self, now: Time, out: &mut [u8]) -> usize {
        let mut named = self.lanes.iter().map(|lane| lane.media.ssrc);
        let media = named.find(|ssrc| *ssrc != 0);
        let upstream = &mut self.upstream;
        let used = match media {
            Some(media) => upstream.transport.write(upstream.ssrc, media, out),
            None => 0,
        };
        upstream.transport_at = if !upstream.transport.has_news() {
            Time::FAR
        } else if used > 0 {
            // It did not fit into one message.
            now
        } else {
            now + TRANSPORT_INTERVAL
        };
        used
    }
}

impl Plane {
    /// Sends publishers what is due.
    pub(crate) fn feed_back(&mut self) {
        let mut sent = Sent::default();
        for at in 0..self.publishers.active().len() {
            let index = self.publishers.active()[at];
            let Some(publisher) = self.publishers.at_mut(index) else {
                continue;
            };
            if publisher.due_at() > self.now {
                continue;
            }
            let slot = publisher
                .viewer
                .and_then(|viewer| self.tables.viewers.slot_of(viewer));
            let Some(viewer) = slot.and_then(|slot| self.tables.viewers.at_mut(slot)) else {
                continue;
            };
            for _ in 0..MESSAGES_MAX {
                if !self.outbox.has_room() || viewer.is_worn {
                    break;
                }
                let mut bytes = [0; MESSAGE_BYTES_MAX];
                let echo = &mut viewer.cold.echo;
                let used = publisher.write_due(self.wall, echo, &mut bytes, &mut sent);
                if used == 0 {
                    break;
                }
                let Some(index) = viewer.lease_rtcp() else {
                    viewer.is_worn = true;
                    break;
                };
                let sealer = &viewer.sealer;
                self.outbox.push(viewer.to, |out| {
                    sealer.rtcp(index, &bytes[..used], out).unwrap_or(0)
                });
            }
        }
        let stats = &self.outlets.stats;
        for (counter, n) in [
            (Counter::NackSent, sent.nacks),
            (Counter::PliSent, sent.pleas),
            (Counter::ReceiverReportSent, sent.reports),
            (Counter::TransportFeedbackSent, sent.transports),
        ] {
            if n > 0 {
                stats.add(counter, n);
            }
        }
    }
}

/// What is left of a buffer.
fn tail(out: &mut [u8], used: usize) -> &mut [u8] {
    out.get_mut(used..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_for_a_keyframe_become_rarer_until_one_comes() {
        let mut plea = Plea::NONE;
        assert_eq!(plea.due_at(), Time::FAR);
        plea.is_wanted = true;
        let began = Time(Span::secs(5).0);
        let mut now = began;
        let mut waits = Vec::new();
        assert!(plea.due_at() <= now);
        for _ in 0..6 {
            plea.ask(now);
            waits.push(plea.due_at().since(now).as_millis());
            now = plea.due_at();
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 4000, 4000]);
        plea.asks = 0;
        plea.ask(now);
        assert_eq!(plea.due_at(), now + Span::millis(500));
    }
}
