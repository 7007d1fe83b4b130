//! Owns what happens by the clock: consent, reports, counters, keyframes asked for.

use link::command::VIDEO;
use link::event::{Event, Gone};
use link::lanes::Lanes;
use link::stats::Counter;
use link::viewer::ViewerCounters;
use wire::time::{Span, Time};

use crate::Plane;
use crate::ladder::Point;
use crate::layers::PROBE_PACE;
use crate::report::REPORT_INTERVAL;
use crate::rewrite::Cap;
use crate::viewer::Viewer;

/// Every viewer is looked at once in this time.
const ROUND: Span = Span::millis(100);

/// Viewers looked at in one tick: a quarter of a millisecond of work. With more than 10,000
/// viewers a round takes longer.
const VISITS_MAX: u64 = 1024;

/// From one tick to the next, while there are viewers.
const TICK: Span = Span::millis(10);

/// From one portion of a paced viewer to the next.
const PACE: Span = Span::millis(1);

//= https://www.rfc-editor.org/rfc/rfc7675#section-5.1
//# Consent expires after 30 seconds.
const CONSENT: Span = Span::secs(30);

/// A publisher whose sources have all said goodbye has gone if nothing comes for so long.
const BYE_AFTER: Span = Span::secs(1);

/// A publisher is asked for a keyframe no more often than this, whoever wants it.
const KEYFRAME_INTERVAL: Span = Span::secs(1);

/// A flow of another core that was silent for so long is forgotten: reports come every second.
const REMOTE_IDLE: Span = Span::secs(60);

/// Slots of the flow table looked at in one tick.
const FLOW_SLOTS: usize = 64;

impl Plane {
    /// Time-outs, reports and counters; to be called about every 10 ms. `unix_ns` is the wall
    /// clock's time at `now`.
    pub fn tick(&mut self, now: Time, unix_ns: u64) {
        self.begin(now);
        let elapsed = now.since(self.ticked_at).0.min(ROUND.0);
        self.ticked_at = now;
        self.wall
            .offset_ns
            .get_or_insert(unix_ns.wrapping_sub(now.0));
        let viewers = self.tables.viewers.active().len() as u64;
        let visits = (viewers * elapsed).div_ceil(ROUND.0).min(VISITS_MAX);
        for _ in 0..visits {
            let active = self.tables.viewers.active();
            if active.is_empty() {
                break;
            }
            let slot = active[self.visited % active.len()];
            self.visited = self.visited.wrapping_add(1);
            self.visit(slot);
        }
        self.overload.look(now, &self.outlets.stats);
        self.flows.sweep(FLOW_SLOTS, now - REMOTE_IDLE);
        self.ask_keyframes();
        self.publishers.tell(now, &self.outlets.stats);
        let served = self.tables.viewers.watching() as u64;
        self.outlets.stats.set(Counter::ViewerActive, served);
    }

    /// When there is something to do again, if nothing comes in. Work that is left over now is
    /// told by [`Plane::ready`].
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        let mut next = self.publishers.next_deadline();
        if !self.tables.viewers.active().is_empty() {
            next = next.min(self.ticked_at + TICK);
        }
        if self.adaptations.is_probing() {
            next = next.min(self.now + PROBE_PACE);
        }
        if !self.tables.lists.joining.is_empty() {
            next = next.min(self.now + PACE);
        }
        next
    }

    /// True if the next turn has something to do at once: packets to be read, answers to be sent,
    /// or viewers that were left over.
    #[must_use]
    pub fn ready(&self) -> bool {
        let tables = &self.tables;
        !self.outbox.is_empty()
            || !self.handoffs.is_empty()
            || !tables.repairs.is_empty()
            || !tables.lists.blocked.is_empty()
            || tables.streams.active().iter().any(|&index| {
                tables
                    .streams
                    .at(index)
                    .is_some_and(|stream| stream.has_news())
            })
    }

    fn visit(&mut self, slot: u32) {
        let now = self.now;
        let Some(viewer) = self.tables.viewers.at_mut(slot) else {
            return;
        };
        if viewer.is_worn {
            let whole = if viewer.is_part {
                viewer.cold.leader
            } else {
                slot
            };
            self.let_go(whole, Some(Gone::KeyWornOut));
            return;
        }
        // Whoever sends us media with its keys consents, and some check once and never again.
        let consented_at = if viewer.is_publisher {
            viewer.cold.checked_at.max(viewer.cold.heard_at)
        } else {
            viewer.cold.checked_at
        };
        if now.since(consented_at) > CONSENT && !viewer.is_part {
            self.let_go(slot, Some(Gone::Consent));
            return;
        }
        let bye_at = viewer.cold.bye_at;
        if bye_at != Time::ZERO && now.since(bye_at) >= BYE_AFTER {
            self.let_go(slot, Some(Gone::Bye));
            return;
        }
        self.adapt(slot);
        let Some(viewer) = self.tables.viewers.at_mut(slot) else {
            return;
        };
        if now < viewer.cold.report_at {
            return;
        }
        // From when it was due, so that the reports of all viewers stay spread over the second.
        let due = viewer.cold.report_at + REPORT_INTERVAL;
        viewer.cold.report_at = if due > now {
            due
        } else {
            now + REPORT_INTERVAL
        };
        let sent = Point {
            lane: viewer.lane,
            cap: viewer.tracks[VIDEO].cap,
        };
        let stream = self.tables.streams.at_mut(viewer.stream);
        let layers = stream.map(|stream| stream.ladder(now).effective(sent));
        let estimate_bps = self.adaptations.bps_of(viewer);
        viewer.tell_counters(estimate_bps, layers.unwrap_or_default());
        // Reports to publishers have a time of their own.
        let is_reported = !viewer.is_publisher;
        if is_reported && self.tables.report(self.wall, slot, &mut self.outbox) {
            self.outlets.stats.add(Counter::ReportSent, 1);
        }
    }

    /// Asks the publishers of streams whose viewers wait.
    pub(crate) fn ask_keyframes(&mut self) {
        for at in 0..self.tables.streams.active().len() {
            let index = self.tables.streams.active()[at];
            let Some(stream) = self.tables.streams.at_mut(index) else {
                continue;
            };
            let wanted = stream.wants_key;
            if !wanted.is_empty() && self.publishers.wish(index, wanted) {
                stream.wants_key = Lanes::default();
                continue;
            }
            let asked_at = stream.key_wanted_at;
            let is_due = asked_at == Time::ZERO || self.now.since(asked_at) >= KEYFRAME_INTERVAL;
            let wanted = wanted.or(self.publishers.takes_wish(index));
            stream.wants_key = wanted;
            if !wanted.is_empty() && is_due {
                stream.wants_key = Lanes::default();
                stream.key_wanted_at = self.now;
                let id = stream.id;
                self.outlets.stats.add(Counter::KeyframeWanted, 1);
                self.tell(&Event::KeyframeWanted(id, wanted));
            }
        }
    }
}

impl Viewer {
    /// Writes the viewer's counters to its cell.
    pub(crate) fn tell_counters(&self, estimate_bps: u64, layers: Cap) {
        let cold = &self.cold;
        let quality = &cold.quality;
        self.cell.set_counters(&ViewerCounters {
            packets: self.sent.packets,
            bytes: self.sent.bytes,
            bytes_received: quality.bytes_received,
            retransmitted: self.sent.retransmitted,
            nacks: quality.nacks,
            plis: quality.plis,
            active: cold.checked_at.max(cold.heard_at),
            fraction_lost: u32::from(quality.fraction_lost),
            // Duplicates make the sum negative.
            lost: u32::try_from(quality.lost).unwrap_or(0),
            jitter: quality.jitter,
            rtt_us: u32::try_from(quality.rtt.as_micros()).unwrap_or(u32::MAX),
            estimate_bps,
            lane: u32::from(self.lane),
            lane_chosen: u32::from(self.next_lane),
            spatial: u32::from(layers.spatial),
            temporal: u32::from(layers.temporal),
        });
    }
}
