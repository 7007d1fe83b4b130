//! Owns finding out by extra packets whether the path carries more: when to ask, how much to send,
//! and what the answer was. Hot.
//!
//! A probe is a short time in which media and padding together are sent at a rate; what arrives is
//! measured as the receiver saw it. It goes up by doubling, so that one that fails leaves a queue
//! of some tens of milliseconds.

use wire::time::{Span, Time};

use super::sent::micros;

/// The first probe: a second of media has been told of by then.
const FIRST_AFTER: Span = Span::secs(1);

/// Waits after failures: 2, 4, 8 s. A limit that ends is found within the last of them.
const BACKOFF_S: u64 = 2;
const BACKOFF_DOUBLED_MAX: u8 = 2;

/// Between one success and the next step.
const STEP_AFTER: Span = Span::millis(50);

/// Bounds of a probe's length. Shorter ones measure the bursts of the path's link layer.
const LENGTH_MIN: Span = Span::millis(40);
const LENGTH_MAX: Span = Span::millis(200);

/// At least so many bytes: five packets.
const BYTES_MIN: f64 = 5_000.0;

/// So many times the jitter, for it stretches what is measured.
const JITTER_TIMES: f64 = 16.0;

/// What is sent runs ahead of the rate by this much, so that a probe begins with a packet.
const AHEAD_S: f64 = 0.004;

/// Most that is asked for at once: a turn that came late makes no burst.
const BURST_S: f64 = 0.010;

/// Less than this is not asked for: a send costs the same for a few bytes. Padding without media
/// is 224 bytes a packet.
const DUE_MIN: f64 = 224.0;
const DUE_MAX: f64 = 1_000.0;

/// What is wanted is exceeded, as measuring loses some.
const HEADROOM: f64 = 1.15;

/// Steps of the climb.
const STEP: f64 = 2.0;

/// Of its packets that are told of, so many must have arrived.
const ARRIVED_SHARE: f64 = 0.8;

/// So many missing ones are not the path's limit.
const LUCK_SHARE: f64 = 0.1;

/// A probe has been carried if it arrived at this share of the rate at which it was sent.
const CARRIED_SHARE: f64 = 0.9;

/// It was sent as it should be if that was at this share of what was planned.
const SENT_SHARE: f64 = 0.75;

/// Answers are waited for so long, or until there are answers about packets sent this much later:
/// then the message was lost.
const ANSWER_MAX: Span = Span::secs(1);
const PASSED_US: i64 = 50_000;

/// Of its packets so many must be told of, whether they came or not.
const TOLD_SHARE: f64 = 0.6;

/// After one that was not told of.
const AGAIN_AFTER: Span = Span::millis(200);

/// After a failure its queue drains.
const SETTLE: Span = Span::millis(500);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Sending,
    Waiting,
}

/// What a probe has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The path carries at least so many bits per second.
    Carried(f64),
    /// The path is full at about so many.
    Full(f64),
    /// Too much of it was lost.
    Lost,
    /// It was not sent or not told of.
    Nothing,
}

#[derive(Clone, Copy, Default)]
struct Sent {
    bytes: u32,
    packets: u32,
    first_us: i64,
    last_us: i64,
    /// Of the runs that were sent last.
    last_bytes: u32,
}

#[derive(Clone, Copy, Default)]
struct Come {
    told: u32,
    packets: u32,
    bytes: u32,
    missed_bytes: u32,
    first_us: i64,
    first_bytes: u32,
    last_us: i64,
}

pub(super) struct Probing {
    phase: Phase,
    /// Names the packets of a probe; never 0.
    cluster: u8,
    doubled: u8,
    next_at: Time,
    started_at: Time,
    ended_at: Time,
    settled_at: Time,
    length: Span,
    bps: f64,
    sent: Sent,
    come: Come,
}

impl Probing {
    pub fn new(now: Time) -> Self {
        Self {
            phase: Phase::Idle,
            cluster: 0,
            doubled: 0,
            next_at: now + FIRST_AFTER,
            started_at: Time::ZERO,
            ended_at: Time::ZERO,
            settled_at: Time::ZERO,
            length: Span::ZERO,
            bps: 0.0,
            sent: Sent::default(),
            come: Come::default(),
        }
    }

    /// The probe that a run sent now is a part of; 0: none.
    pub fn cluster(&self) -> u8 {
        if self.phase == Phase::Sending {
            self.cluster
        } else {
            0
        }
    }

    /// True while extra bytes are being sent.
    pub fn is_sending(&self) -> bool {
        self.phase == Phase::Sending
    }

    /// True while what delays say is the probe's own work.
    pub fn disturbs(&self, now: Time) -> bool {
        self.phase != Phase::Idle || now < self.settled_at
    }

    /// True if another probe is due.
    pub fn is_due(&self, now: Time) -> bool {
        !self.disturbs(now) && now >= self.next_at
    }

    /// When another probe is due; [`Time::FAR`] while there is one.
    pub fn next_at(&self) -> Time {
        match self.phase {
            Phase::Idle => self.next_at.max(self.settled_at),
            _ => Time::FAR,
        }
    }

    /// Begins to find out whether `wanted_bps` is carried, where `known_bps` is.
    pub fn start(&mut self, now: Time, wanted_bps: f64, known_bps: f64, jitter_ms: f64) {
        self.phase = Phase::Sending;
        self.cluster = self.cluster.checked_add(1).unwrap_or(1);
        self.bps = (wanted_bps * HEADROOM).min(known_bps * STEP);
        let length_s = (BYTES_MIN * 8.0 / self.bps).max(JITTER_TIMES * jitter_ms / 1e3);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped right behind, and a cast of a float saturates"
        )]
        let length = Span((length_s * 1e9) as u64);
        self.length = length.clamp(LENGTH_MIN, LENGTH_MAX);
        self.started_at = now;
        self.sent = Sent::default();
        self.come = Come::default();
    }

    /// Bytes of padding that are to be sent now.
    pub fn due(&mut self, now: Time) -> u32 {
        if self.phase != Phase::Sending {
            return 0;
        }
        let elapsed = now.since(self.started_at);
        let goal = self.bps / 8.0 * seconds(self.length);
        let sent = f64::from(self.sent.bytes);
        if sent >= goal || self.is_over(now) {
            self.end(now);
            return 0;
        }
        let ahead = seconds(elapsed) + AHEAD_S;
        let due = (self.bps / 8.0 * ahead).min(goal) - sent;
        let due = due.min(self.bps / 8.0 * BURST_S);
        // The end may be less than a packet.
        let least = (self.bps / 8.0 * AHEAD_S).clamp(DUE_MIN, DUE_MAX);
        if due < least && goal - sent > least {
            return 0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "10 ms of the highest rate; a cast of a float saturates"
        )]
        let due = due.max(least) as u32;
        due
    }

    /// One who cannot send ends it late, and has his answer from what was sent.
    fn is_over(&self, now: Time) -> bool {
        now.since(self.started_at).0 >= 2 * self.length.0
    }

    /// A run was sent while a probe is being sent.
    pub fn on_sent(&mut self, now: Time, packets: u8, bytes: u32) {
        if self.phase != Phase::Sending {
            return;
        }
        if self.is_over(now) {
            self.end(now);
            return;
        }
        let us = micros(now);
        let sent = &mut self.sent;
        if sent.packets == 0 {
            sent.first_us = us;
        }
        if us != sent.last_us {
            sent.last_bytes = 0;
        }
        sent.last_us = us;
        sent.last_bytes = sent.last_bytes.saturating_add(bytes);
        sent.bytes = sent.bytes.saturating_add(bytes);
        sent.packets = sent.packets.saturating_add(u32::from(packets));
    }

    /// It is known of a packet of `cluster` whether it came.
    pub fn on_told(&mut self, cluster: u8, at_us: Option<i64>, bytes: u32) {
        if cluster == 0 || cluster != self.cluster || self.phase == Phase::Idle {
            return;
        }
        let come = &mut self.come;
        come.told = come.told.saturating_add(1);
        let Some(at_us) = at_us else {
            come.missed_bytes = come.missed_bytes.saturating_add(bytes);
            return;
        };
        if come.packets == 0 {
            (come.first_us, come.last_us) = (at_us, at_us);
            come.first_bytes = bytes;
        }
        if at_us < come.first_us {
            (come.first_us, come.first_bytes) = (at_us, bytes);
        }
        come.last_us = come.last_us.max(at_us);
        come.packets = come.packets.saturating_add(1);
        come.bytes = come.bytes.saturating_add(bytes);
    }

    /// The answer, once, when all is known or the time is over. `told_us`: when the newest packet
    /// that is told of was sent.
    pub fn outcome(&mut self, now: Time, told_us: Option<i64>) -> Option<Outcome> {
        if self.phase != Phase::Waiting {
            return None;
        }
        let is_told = self.come.told >= self.sent.packets;
        let is_passed = told_us.is_some_and(|us| us - self.sent.last_us > PASSED_US);
        if !is_told && !is_passed && now.since(self.ended_at) < ANSWER_MAX {
            return None;
        }
        self.phase = Phase::Idle;
        let outcome = self.measure();
        match outcome {
            Outcome::Carried(bps) if bps >= SENT_SHARE * self.bps => {
                self.doubled = 0;
                self.next_at = now + STEP_AFTER;
            }
            Outcome::Nothing => self.next_at = now + AGAIN_AFTER,
            _ => self.wait(now),
        }
        Some(outcome)
    }

    /// Ends a probe that does harm.
    pub fn abort(&mut self, now: Time) {
        self.phase = Phase::Idle;
        self.wait(now);
    }

    /// Waits begin anew: what was known of the path is worth nothing any more.
    pub fn hurry(&mut self) {
        self.doubled = 0;
    }

    fn end(&mut self, now: Time) {
        self.phase = Phase::Waiting;
        self.ended_at = now;
    }

    fn wait(&mut self, now: Time) {
        self.next_at = now + Span::secs(BACKOFF_S << self.doubled);
        self.doubled = (self.doubled + 1).min(BACKOFF_DOUBLED_MAX);
        self.settled_at = now + SETTLE;
    }

    fn measure(&self) -> Outcome {
        let (sent, come) = (&self.sent, &self.come);
        let told = f64::from(come.told);
        if sent.packets == 0 || told < TOLD_SHARE * f64::from(sent.packets) {
            return Outcome::Nothing;
        }
        // What arrives of a queue that overflows has the path's rate; of few packets, not.
        if f64::from(come.packets) < ARRIVED_SHARE * told {
            return Outcome::Lost;
        }
        // A packet or two are bad luck: the others show how fast they would have come.
        let missed = come.told - come.packets;
        let is_luck = f64::from(missed) <= LUCK_SHARE * told;
        let come_bytes = come.bytes + if is_luck { come.missed_bytes } else { 0 };
        let sent_bps = rate(sent.bytes, sent.last_bytes, sent.first_us, sent.last_us);
        let come_bps = rate(come_bytes, come.first_bytes, come.first_us, come.last_us);
        let (Some(sent_bps), Some(come_bps)) = (sent_bps, come_bps) else {
            return Outcome::Nothing;
        };
        // A frame of media within a short probe may exceed its rate.
        let sent_bps = sent_bps.min(self.bps);
        if come_bps >= CARRIED_SHARE * sent_bps {
            Outcome::Carried(come_bps.min(sent_bps))
        } else if come.told == sent.packets {
            Outcome::Full(come_bps)
        } else {
            // A message is missing, and its bytes with it.
            Outcome::Nothing
        }
    }
}

/// Bits per second of `bytes` but for those that do not lie between the two times.
fn rate(bytes: u32, outside: u32, first_us: i64, last_us: i64) -> Option<f64> {
    let span_us = last_us.checked_sub(first_us).filter(|us| *us > 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a second has 2^20 us")]
    let span_us = span_us as f64;
    Some(f64::from(bytes.saturating_sub(outside)) * 8e6 / span_us)
}

#[expect(clippy::cast_precision_loss, reason = "some milliseconds")]
fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Time {
        Time::ZERO + Span::micros(us)
    }

    /// Sends a whole probe in ticks of 2 ms over a path that carries `path_bps`.
    fn probe(probing: &mut Probing, start_us: u64, path_bps: u64) -> (u32, Option<Outcome>) {
        let (mut free_us, mut bytes, mut us) = (0, 0, start_us);
        while probing.is_sending() {
            let due = probing.due(at(us));
            if due > 0 {
                probing.on_sent(at(us), 1, due);
                bytes += due;
                free_us = free_us.max(us) + u64::from(due) * 8_000_000 / path_bps;
                let cluster = probing.cluster();
                probing.on_told(cluster, Some(free_us.cast_signed()), due);
            }
            us += 2_000;
        }
        (bytes, probing.outcome(at(us + 50_000), None))
    }

    #[test]
    fn a_free_path_carries_it() {
        let mut probing = Probing::new(at(0));
        assert!(!probing.is_due(at(999_000)) && probing.is_due(at(1_000_000)));
        probing.start(at(1_000_000), 2e6, 1.5e6, 1.0);
        let (bytes, outcome) = probe(&mut probing, 1_000_000, 50_000_000);
        assert!((11_000..13_000).contains(&bytes), "{bytes}");
        let Some(Outcome::Carried(bps)) = outcome else {
            panic!("{outcome:?}");
        };
        assert!((2.0e6..=2.3e6).contains(&bps), "{bps}");
    }

    #[test]
    fn a_full_path_is_measured_and_asked_less_often() {
        let mut probing = Probing::new(at(0));
        let mut us = 1_000_000;
        for wait_s in [2, 4, 8, 8] {
            probing.start(at(us), 2e6, 1e6, 0.0);
            let (_, outcome) = probe(&mut probing, us, 600_000);
            let Some(Outcome::Full(bps)) = outcome else {
                panic!("{outcome:?}");
            };
            assert!((0.55e6..0.65e6).contains(&bps), "{bps}");
            us = probing.next_at().0 / 1_000;
            assert!(probing.next_at().since(probing.ended_at) > Span::secs(wait_s));
        }
        probing.start(at(us), 2e6, 1e6, 0.0);
        let (_, outcome) = probe(&mut probing, us, 60_000_000);
        assert!(matches!(outcome, Some(Outcome::Carried(_))));
        assert!(probing.next_at().since(probing.ended_at) < Span::millis(200));
    }

    #[test]
    fn one_who_sends_nothing_learns_nothing() {
        let mut probing = Probing::new(at(0));
        probing.start(at(0), 2e6, 1e6, 0.0);
        assert!(probing.due(at(0)) > 0);
        assert_eq!(probing.due(at(500_000)), 0);
        assert_eq!(probing.outcome(at(500_001), None), Some(Outcome::Nothing));
        assert_eq!(probing.outcome(at(500_002), None), None);
    }
}
