//! Owns what one viewer's path is thought to carry: sent runs in, feedback in, one figure out. Hot.
//!
//! The plane tells each run that it sends ([`Estimator::on_sent`]) and each piece of feedback
//! ([`Estimator::on_transport`], or [`Estimator::on_remb`] and [`Estimator::on_loss`] for want of
//! it), asks what padding to add ([`Estimator::probe_bytes`]) and, after feedback and a few times a
//! second, which layer to send ([`Choice::choose`] with [`Estimator::outlook`]).
//!
//! The figure is the least of three: what delays allow (`delay`: a queue that grows), what losses
//! allow (`loss`), and what the receiver says itself. A viewer is sent a layer and not what the
//! path would carry, so what is above the layer's rate is known from probes only (`probe`).
//!
//! Floats: rates are multiplied by shares and slopes, and nobody adds them up exactly.

mod choice;
mod clock;
mod control;
mod delay;
mod fallback;
mod loss;
mod meter;
mod narrow;
mod probe;
mod sent;
mod trend;

use wire::rtcp_feedback::TransportCc;
use wire::seq::diff16;
use wire::time::{Span, Time};

use clock::Clock;
use delay::Delay;
use fallback::Fallback;
use loss::Loss;
use meter::Meter;
use narrow::Narrow;
use probe::Probing;
use sent::{News, SentLog, Told, micros};

pub use choice::{Choice, LayerRate, POINTS_MAX};
pub use delay::Usage;

/// Least estimate: below the least layer that is worth a picture.
pub const BPS_MIN: u64 = 50_000;

/// Highest estimate: what one viewer is sent stays below this.
pub const BPS_MAX: u64 = 100_000_000;

const BPS_MIN_F: f64 = 50e3;
const BPS_MAX_F: f64 = 100e6;

/// Statuses of feedback that are looked at, at once. More than the log has packets; and in the long
/// run [`STATUSES_PER_PACKET`] for each packet sent, so that a peer cannot make work.
const STATUSES_MAX: u16 = 4_096;
const STATUSES_PER_PACKET: u16 = 4;

/// What a message costs besides its statuses.
const MESSAGE_STATUSES: u16 = 16;

/// Delays that differ by more from one packet to the next are another clock.
const JUMP_US: i64 = 3_000_000;

/// Media is sent and nothing is heard for so long: the rate is halved.
const SILENCE: Span = Span::secs(2);

/// The same for viewers that send reports only, which come every few seconds.
const SILENCE_REPORTS: Span = Span::secs(8);

/// Transport-wide feedback that is older than this has ceased: reports and REMB take its place.
const CEASED: Span = Span::secs(5);

/// After a decrease the path is taken for what limits the rate.
const LIMITED: Span = Span::secs(2);

/// What a viewer's path is thought to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Bits per second of all that is told by [`Estimator::on_sent`].
    pub bps: u64,
    /// Over-use, loss, silence or the receiver itself has lowered it just now. Else a low figure
    /// means only that little was sent.
    pub is_limited: bool,
}

/// Figures for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What delays say.
    pub usage: Usage,
    /// Share of packets lost, about a second's, in 1/256.
    pub fraction_lost: u8,
    /// Round trip, from a send to the feedback about it; zero: not known.
    pub rtt: Span,
    /// Bits per second that arrived, of the last 600 ms; 0: not known.
    pub acked_bps: u64,
    /// How much longer packets take than at best.
    pub queue: Span,
    /// Padding is being sent.
    pub is_probing: bool,
}

/// Estimates for one viewer. Fixed size, no allocation.
pub struct Estimator {
    sent: SentLog,
    clock: Clock,
    delay: Delay,
    narrow: Narrow,
    /// What a path that has just become narrow carries.
    narrowed: Option<f64>,
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
    statuses_left: u16,
    /// The number after those of the last message.
    next_told: u16,
}

impl Estimator {
    /// An estimator that takes the path for `start_bps` until it knows better.
    #[must_use]
    pub fn new(now: Time, start_bps: u64) -> Self {
        Self {
            sent: SentLog::new(),
            clock: Clock::default(),
            delay: Delay::new(),
            narrow: Narrow::new(),
            narrowed: None,
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
            statuses_left: STATUSES_MAX,
            next_told: 0,
        }
    }

    /// Packets were sent in one send: their transport-wide numbers from `first_sequence` on, and
    /// their bytes together. Padding and retransmissions that bear a number are told as well.
    #[inline]
    pub fn on_sent(&mut self, now: Time, first_sequence: u16, packets: u8, bytes: u32) {
        self.probing.on_sent(now, packets, bytes);
        let cluster = self.probing.cluster();
        self.sent.push(now, first_sequence, packets, bytes, cluster);
        self.sending.add(micros(now), bytes);
        let more = STATUSES_PER_PACKET * u16::from(packets);
        self.statuses_left = self.statuses_left.saturating_add(more).min(STATUSES_MAX);
        self.fallback.expire(now);
        self.listen(now);
    }

    /// Arrival times. Packets that are not known, too old or known to have come are left out.
    ///
    /// Costs at most 4,096 statuses at once and 4 for each packet sent in the long run, whatever
    /// a compound holds; what is beyond is not read.
    pub fn on_transport(&mut self, now: Time, message: &TransportCc<'_>) {
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
        if told_us.is_none() {
            return;
        }
        self.clock = clock;
        self.next_told = message.base_sequence.wrapping_add(message.count);
        if let Some(sent_us) = arrived_us {
            self.on_round_trip(micros(now) - sent_us);
        }
        (self.transport_at, self.has_transport) = (now, true);
        self.unanswered_since = None;
        self.judge_losses(now);
        self.control(now, told_us);
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
        }
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
        self.rtt = if self.rtt == Span::ZERO {
            sample
        } else {
            Span((self.rtt.0 * 7 + sample.0) / 8)
        };
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 once clamped")]
fn float(bps: u64) -> f64 {
    bps.clamp(BPS_MIN, BPS_MAX) as f64
}

#[cfg(test)]
mod tests;
