//! Owns what one viewer's path is thought to carry: sent runs in, feedback in, one figure out. Hot.
//!
//! The plane tells each run that it sends ([`Estimator::on_sent`]) and each piece of feedback
//! ([`Estimator::on_transport`], [`Estimator::on_arrivals`], or [`Estimator::on_remb`] and
//! [`Estimator::on_loss`] for want of both), asks what padding to add
//! ([`Estimator::probe_bytes`]) and, after feedback and a few times a second, which layer to send
//! ([`Choice::choose`] with [`Estimator::outlook`]).
//!
//! The figure is the least of three: what delays allow (`delay`: a queue that grows), what losses
//! allow (`loss`), and what the receiver says itself. A viewer is sent a layer and not what the
//! path would carry, so what is above the layer's rate is known from probes only (`probe`).
//!
//! Floats: rates are multiplied by shares and slopes, and nobody adds them up exactly.

mod arrivals;
mod choice;
mod clock;
mod control;
mod delay;
mod fallback;
mod figures;
mod loss;
mod meter;
mod narrow;
mod probe;
mod sent;
mod trend;

use wire::time::{Span, Time};

use clock::{Clock, ReportClock};
use delay::Delay;
use fallback::Fallback;
use loss::Loss;
use meter::Meter;
use narrow::{Narrow, Narrowed};
use probe::Probing;
use sent::{SentLog, micros};

pub use choice::{Choice, LayerRate, POINTS_MAX};
pub use delay::Usage;
pub use figures::{Outlook, State};
pub use sent::{Run, Source};

/// Least estimate: below the least layer that is worth a picture.
pub const BPS_MIN: u64 = 50_000;

/// Highest estimate: what one viewer is sent stays below this.
pub const BPS_MAX: u64 = 100_000_000;

const BPS_MIN_F: f64 = 50e3;
const BPS_MAX_F: f64 = 100e6;

/// Statuses of feedback that are looked at, at once. More than the log has packets; and in the long
/// run [`STATUSES_PER_PACKET`] for each packet sent and [`STATUSES_PER_MS`], so that a peer cannot
/// make work.
const STATUSES_MAX: u16 = 4_096;
const STATUSES_PER_PACKET: u16 = 4;
/// Messages come however little is sent: Chromium's every 25 ms at most, of two or three sources.
const STATUSES_PER_MS: u64 = 2;

/// Media is sent and nothing is heard for so long: the rate is halved.
const SILENCE: Span = Span::secs(2);

/// The same for viewers that send reports only, which come every few seconds.
const SILENCE_REPORTS: Span = Span::secs(8);

/// Transport-wide feedback that is older than this has ceased: reports and REMB take its place.
const CEASED: Span = Span::secs(5);

/// After a decrease the path is taken for what limits the rate.
const LIMITED: Span = Span::secs(2);

/// Estimates for one viewer. Fixed size, no allocation.
pub struct Estimator {
    sent: SentLog,
    clock: Clock,
    reports: ReportClock,
    delay: Delay,
    narrow: Narrow,
    /// What a path that has just become narrow carries.
    narrowed: Option<Narrowed>,
    /// When what waits in front of a path that is full will have left, if nothing is added.
    drained_at: Time,
    loss: Loss,
    probing: Probing,
    fallback: Fallback,
    /// All that is sent, when it is sent.
    sending: Meter,
    /// What feedback spoke of: when it was sent, and when it came.
    offered: Meter,
    delivered: Meter,
    /// What delays and probes allow.
    target: f64,
    /// The highest rate that arrived, lately.
    peak: f64,
    /// Where the path was full, and when.
    ceiling: f64,
    ceiling_at: Time,
    /// What arrived when a queue was first seen to stand.
    standing_bps: f64,
    /// When so much was last carried, or a probe was.
    proved_at: Time,
    controlled_at: Time,
    lowered_at: Option<Time>,
    limited_at: Option<Time>,
    transport_at: Time,
    has_transport: bool,
    /// Since when what is sent has had no answer.
    unanswered_since: Option<Time>,
    rtt: Span,
    newest_rtt: Span,
    statuses_left: u16,
    /// Up to when time has added to them.
    statuses_at: Time,
    /// The number after those of the last message; the video's own, if it tells of sources.
    next_told: u16,
}

impl Estimator {
    /// An estimator that takes the path for `start_bps` until it knows better.
    #[must_use]
    pub fn new(now: Time, start_bps: u64) -> Self {
        Self {
            sent: SentLog::new(),
            clock: Clock::default(),
            reports: ReportClock::default(),
            delay: Delay::new(),
            narrow: Narrow::new(),
            narrowed: None,
            drained_at: now,
            loss: Loss::new(),
            probing: Probing::new(now),
            fallback: Fallback::new(now),
            sending: Meter::new(),
            offered: Meter::new(),
            delivered: Meter::new(),
            target: float(start_bps),
            peak: 0.0,
            ceiling: BPS_MAX_F,
            ceiling_at: now,
            standing_bps: 0.0,
            proved_at: now,
            controlled_at: now,
            lowered_at: None,
            limited_at: None,
            transport_at: now,
            has_transport: false,
            unanswered_since: None,
            rtt: Span::ZERO,
            newest_rtt: Span::ZERO,
            statuses_left: STATUSES_MAX,
            statuses_at: now,
            next_told: 0,
        }
    }

    /// Packets were sent in one send. Padding and retransmissions are told as well.
    #[inline]
    pub fn on_sent(&mut self, now: Time, run: &Run) {
        self.probing.on_sent(now, run.packets, run.bytes);
        let cluster = self.probing.cluster();
        self.sent.push(now, run, cluster);
        self.sending.add(micros(now), run.bytes);
        let more = STATUSES_PER_PACKET * u16::from(run.packets);
        self.statuses_left = self.statuses_left.saturating_add(more).min(STATUSES_MAX);
        self.fallback.expire(now);
        self.listen(now);
    }

    /// A receiver's own estimate in bits per second. It is the estimate of a viewer without
    /// transport-wide feedback, and caps that of others.
    pub fn on_remb(&mut self, now: Time, bps: u64) {
        let bps = float(bps);
        let sending = self.sending.bps().unwrap_or_default();
        let has_fallen = self.fallback.on_remb(now, bps, sending);
        if self.is_ceased(now) {
            self.unanswered_since = None;
            self.target = bps.max(self.fallback.trial());
        }
        if has_fallen {
            self.limited_at = Some(now);
        }
    }

    /// The share lost of a receiver report, in 1/256. Of no use while there is transport-wide
    /// feedback.
    pub fn on_loss(&mut self, now: Time, fraction_256: u8) {
        if self.is_ceased(now) {
            self.unanswered_since = None;
            self.on_report(now, f64::from(fraction_256) / 256.0);
        }
    }

    /// Bytes of padding (or packets sent again) to send now, about; 0 mostly. To be asked every
    /// turn while [`Estimator::is_probing`], and at [`Estimator::probe_at`]. `wanted_bps`: what
    /// it is worth knowing of ([`Choice::wanted`]).
    pub fn probe_bytes(&mut self, now: Time, wanted_bps: Option<u64>) -> u32 {
        if let Some(wanted_bps) = wanted_bps
            && wanted_bps > self.bps()
        {
            self.consider_probe(now, float(wanted_bps));
        }
        self.probing.due(now)
    }

    /// True while padding is being sent: ticks should come every 1 to 5 ms.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.probing.is_sending()
    }

    /// When a probe may be due; [`Time::FAR`] while there is one.
    #[must_use]
    pub fn probe_at(&self) -> Time {
        self.probing.next_at()
    }

    /// What the path is thought to carry, from [`BPS_MIN`] to [`BPS_MAX`].
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates, and it is clamped"
    )]
    pub fn bps(&self) -> u64 {
        (self.known() as u64).clamp(BPS_MIN, BPS_MAX)
    }

    /// What the path is thought to carry, and whether that is its own limit.
    #[must_use]
    pub fn outlook(&self, now: Time) -> Outlook {
        Outlook {
            bps: self.bps(),
            is_limited: self.limited_at.is_some_and(|at| now.since(at) < LIMITED),
            queue: self.queue(now),
        }
    }

    /// How long it took last from a send to feedback about it, the queue on the way with it; zero:
    /// not known.
    #[must_use]
    pub const fn newest_round_trip(&self) -> Span {
        self.newest_rtt
    }

    /// How long what is sent now waits on the way behind what was sent before; zero: not at all,
    /// or not known.
    #[must_use]
    pub const fn queue(&self, now: Time) -> Span {
        self.drained_at.since(now)
    }

    /// Figures for statistics.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    pub fn state(&self) -> State {
        State {
            usage: self.delay.usage(),
            fraction_lost: (self.loss.share() * 256.0) as u8,
            rtt: self.rtt,
            acked_bps: self.delivered.bps().unwrap_or_default() as u64,
            queue: Span::micros((self.delay.queue_ms() * 1e3) as u64),
            is_probing: self.is_probing(),
        }
    }
}

impl Estimator {
    /// The estimate before it is clamped.
    fn known(&self) -> f64 {
        let known = self.target.min(self.loss.bound());
        match self.fallback.remb() {
            Some(remb) if self.has_transport => known.min(remb),
            _ => known,
        }
    }

    /// Halves the rate when nothing is heard.
    fn listen(&mut self, now: Time) {
        let since = *self.unanswered_since.get_or_insert(now);
        let silence = if self.has_transport {
            SILENCE
        } else {
            SILENCE_REPORTS
        };
        if now.since(since) >= silence {
            self.unanswered_since = Some(now);
            self.target = (self.known() / 2.0).max(BPS_MIN_F);
            self.limited_at = Some(now);
            self.probing.hurry();
        }
    }

    /// True if there is no transport-wide feedback, or no more.
    fn is_ceased(&mut self, now: Time) -> bool {
        self.has_transport &= now.since(self.transport_at) < CEASED;
        !self.has_transport
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 once clamped")]
fn float(bps: u64) -> f64 {
    bps.clamp(BPS_MIN, BPS_MAX) as f64
}

#[cfg(test)]
mod tests;
