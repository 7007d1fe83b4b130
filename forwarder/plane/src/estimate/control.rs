//! Owns how the figure moves: down when the path is full, up with what arrives and what probes
//! have shown (draft-ietf-rmcat-gcc-02 section 5.5). Hot.

use wire::time::{Span, Time};

use super::delay::Usage;
use super::loss::Finding;
use super::narrow::Narrowed;
use super::probe::Outcome;
use super::sent::micros;
use super::{BPS_MAX_F, BPS_MIN_F, Estimator};

/// A full path is given this share of what arrived, so that its queue drains.
const BACK_OFF: f64 = 0.85;

/// What arrived in proportion to what was sent: below this the path is what holds it back.
const HELD_BACK: f64 = 0.9;

/// Growth in a second.
const GROWTH: f64 = 0.08;

/// Without a probe nothing is known of what is above this times what arrives, ...
const PEAK_TIMES: f64 = 1.5;
/// ... and a little more, for streams that are almost nothing.
const PEAK_MORE: f64 = 10e3;

/// The highest rate that arrived fades by this share in a second.
const PEAK_FADES: f64 = 0.05;

/// And when it has to hold against a false alarm, it counts by this share.
const PEAK_HOLDS: f64 = 0.9;

/// A full path is taken for as full as it was for this long.
const CEILING: Span = Span::secs(10);

/// What was shown to be carried counts for this long, then fades by this share in a second.
const PROOF: Span = Span::secs(30);
const PROOF_FADES: f64 = 0.02;

/// Time between two decreases, a round trip: less than that is the same queue.
const BACK_OFF_MIN: Span = Span::millis(200);
const BACK_OFF_MAX: Span = Span::secs(1);

/// After a decrease nothing is taken for proof, and no probe is sent, until a queue has drained.
const RECOVERY: Span = Span::millis(1_500);

/// Feedback that a probe can rely on is as fresh as this.
const FRESH: Span = Span::secs(1);

/// Probes of a full path measure its rate from a few packets: so much of it is believed.
const FULL_SHARE: f64 = 0.9;

/// What is tried without a probe exceeds what is wanted, as layers' rates are never quite still.
const TRIAL_HEADROOM: f64 = 1.05;

/// No queue is believed to be longer: what is more was dropped.
const QUEUE_MAX: Span = Span::secs(1);

/// While a queue stands, the rate is lowered again until less than this share of it is sent.
const STANDING_SHARE: f64 = 0.85;

impl Estimator {
    /// After each piece of feedback that told anything new, of packets up to the one sent at
    /// `told_us`.
    pub(super) fn control(&mut self, now: Time, told_us: Option<i64>) {
        let span_s = seconds(now.since(self.controlled_at).0.min(1_000_000_000));
        self.controlled_at = now;
        self.peak *= 1.0 - PEAK_FADES * span_s;
        let delivered = self.delivered.bps();
        self.peak = self.peak.max(delivered.unwrap_or_default());
        if let Some(outcome) = self.probing.outcome(now, told_us) {
            self.learn(now, outcome);
        }
        let is_news = self.delay.take_news();
        if now < self.drained_at
            && let Some(newest) = self.narrow.newest(self.ceiling)
        {
            // What was dropped is known by now.
            self.drained_at = self.drained_at.min(now + self.behind(now, &newest));
        }
        let narrowed = self.narrowed.take().filter(|narrowed| {
            let offered = self.offered.bps();
            offered.is_some_and(|offered| narrowed.bps < HELD_BACK * offered)
        });
        if self.probing.disturbs(now) {
            if is_news && self.probing.is_sending() {
                self.probing.abort(now);
                self.delay.clear_trend();
            }
        } else if let Some(narrowed) = narrowed {
            self.meet_ceiling(now, narrowed.bps);
            self.target = self.target.min(BACK_OFF * narrowed.bps).max(BPS_MIN_F);
            self.drained_at = now + self.behind(now, &narrowed);
            self.lowered_at = Some(now);
            self.limited_at = Some(now);
        } else if is_news {
            self.back_off(now, delivered);
        } else if self.delay.usage() == Usage::Normal {
            self.grow(now, span_s, delivered);
        } else if self.delay.usage() == Usage::Standing {
            self.back_off_again(now, delivered);
        }
    }

    /// Ends a window of losses if it is time.
    pub(super) fn judge_losses(&mut self, now: Time) {
        let known = self.known();
        if self.loss.close(now, known) == Some(Finding::Full) {
            self.limited_at = Some(now);
            self.lowered_at = Some(now);
            self.peak = self.peak.min(self.loss.bound());
        }
    }

    /// A receiver report of a viewer that has nothing better.
    pub(super) fn on_report(&mut self, now: Time, share: f64) {
        let known = self.known();
        let sending = self.sending.bps().unwrap_or(known);
        match self.loss.on_report(share, sending.min(known)) {
            Finding::Full => {
                self.limited_at = Some(now);
                self.target = self.target.min(self.loss.bound());
                self.fallback.fail(now);
            }
            Finding::Free if self.fallback.remb().is_none() => {
                let most = PEAK_TIMES * sending + PEAK_MORE;
                if self.target < most {
                    self.target = (self.target * (1.0 + GROWTH)).clamp(sending, most);
                }
            }
            Finding::Free | Finding::Noisy => {}
        }
        self.fallback.on_report();
    }

    /// Begins a probe if it is time and the path is quiet; for viewers that cannot measure, raises
    /// the figure to see what happens.
    pub(super) fn consider_probe(&mut self, now: Time, wanted_bps: f64) {
        if !self.has_transport {
            let sending = self.sending.bps().unwrap_or_default();
            let wanted_bps = TRIAL_HEADROOM * wanted_bps;
            if self.loss.is_low() && self.fallback.try_out(now, wanted_bps, sending) {
                self.target = self.target.max(wanted_bps);
                self.loss.raise(wanted_bps);
            }
            return;
        }
        let is_quiet = self.probing.is_due(now)
            && now.since(self.transport_at) < FRESH
            && self.has_recovered(now, RECOVERY)
            && !self.loss.is_high()
            && self.delay.is_short();
        if is_quiet {
            let delivered = self.delivered.bps().unwrap_or_default();
            let known = self.known().max(delivered).max(BPS_MIN_F);
            let jitter_ms = f64::from(self.delay.jitter_ms());
            self.probing.start(now, wanted_bps, known, jitter_ms);
        }
    }

    /// True if the last decrease is so long ago.
    fn has_recovered(&self, now: Time, span: Span) -> bool {
        self.lowered_at.is_none_or(|at| now.since(at) >= span)
    }

    fn learn(&mut self, now: Time, outcome: Outcome) {
        match outcome {
            Outcome::Carried(bps) => {
                self.target = self.target.max(bps).min(BPS_MAX_F);
                self.loss.raise(bps);
                self.ceiling = BPS_MAX_F;
                self.proved_at = now;
            }
            Outcome::Full(bps) => {
                // It may be that less is carried than was thought, but not less than arrives.
                let delivered = self.delivered.bps().unwrap_or_default();
                let most = bps.max(delivered);
                self.target = self.target.max(FULL_SHARE * bps).min(most).min(BPS_MAX_F);
                self.meet_ceiling(now, most);
                self.delay.clear_trend();
            }
            Outcome::Lost => self.delay.clear_trend(),
            Outcome::Nothing => {}
        }
    }

    fn back_off(&mut self, now: Time, delivered: Option<f64>) {
        if !self.has_recovered(now, self.rtt.clamp(BACK_OFF_MIN, BACK_OFF_MAX)) {
            return;
        }
        let (Some(delivered), Some(offered)) = (delivered, self.offered.bps()) else {
            return;
        };
        let is_standing = self.delay.usage() == Usage::Standing;
        let is_held_back = is_standing || delivered < HELD_BACK * offered;
        let carried = self
            .delay
            .carried_bps()
            .or(is_standing.then_some(delivered));
        if is_standing {
            self.standing_bps = delivered;
        }
        let goal = match carried {
            Some(carried) if is_held_back => {
                self.meet_ceiling(now, carried);
                BACK_OFF * carried
            }
            // All that is sent arrives, so it is not much too much, or the queue is too young to
            // tell; and what arrived is no measure of a path that could be given more.
            _ => (BACK_OFF * self.target)
                .max(delivered)
                .max(PEAK_HOLDS * self.peak),
        };
        self.target = self.target.min(goal).max(BPS_MIN_F);
        self.lowered_at = Some(now);
        self.limited_at = Some(now);
    }

    /// How long what is sent now waits: what waited with the packet that showed it, and what was
    /// sent since, less what left meanwhile. A full queue drops some of it, so it may be less.
    fn behind(&self, now: Time, narrowed: &Narrowed) -> Span {
        let since_us = micros(now) - narrowed.sent_us;
        let bytes = self.sent.bytes_after(now, narrowed.sent_us);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast of a float saturates, and bounded below"
        )]
        let more_us = (f64::from(bytes) * 8e6 / narrowed.bps) as i64;
        let us = narrowed.queue_us.saturating_add(more_us);
        let us = us.saturating_sub(since_us);
        Span::micros(u64::try_from(us).unwrap_or_default()).min(QUEUE_MAX)
    }

    /// The path was full at `bps`: what arrived before that says nothing any more.
    fn meet_ceiling(&mut self, now: Time, bps: f64) {
        (self.ceiling, self.ceiling_at) = (bps, now);
        self.peak = self.peak.min(bps);
    }

    /// A queue still stands. If less is sent by now it is not ours, and the path has become longer.
    fn back_off_again(&mut self, now: Time, delivered: Option<f64>) {
        let is_ours = delivered >= Some(STANDING_SHARE * self.standing_bps);
        if is_ours && self.has_recovered(now, RECOVERY) {
            self.back_off(now, delivered);
        }
    }

    fn grow(&mut self, now: Time, span_s: f64, delivered: Option<f64>) {
        self.standing_bps = 0.0;
        let mut most = PEAK_TIMES * self.peak + PEAK_MORE;
        if now.since(self.ceiling_at) < CEILING {
            most = most.min(self.ceiling);
        }
        if self.target < most {
            self.target = (self.target * (1.0 + GROWTH * span_s)).min(most);
            self.proved_at = now;
        } else if now.since(self.proved_at) > PROOF {
            self.target = (self.target * (1.0 - PROOF_FADES * span_s)).max(most.max(BPS_MIN_F));
        }
        // What arrives without a queue is carried.
        if let Some(delivered) = delivered
            && self.has_recovered(now, RECOVERY)
            && self.delay.is_short()
        {
            self.target = self.target.max(delivered.min(BPS_MAX_F));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a second at most")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
