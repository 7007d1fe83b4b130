//! Owns the share of packets that do not arrive, and the bound that it sets to the rate. Hot.

use wire::time::{Span, Time};

use super::{BPS_MAX_F, BPS_MIN_F};

/// A share is taken over this time and so many packets, ...
const WINDOW: Span = Span::secs(1);
const WINDOW_PACKETS: u32 = 60;

/// ... or of few packets over this time. Fewer than that say nothing.
const WINDOW_MAX: Span = Span::secs(3);
const PACKETS_MIN: u32 = 10;

/// Above this share the path is taken for full (draft-ietf-rmcat-gcc-02 section 6).
const HIGH: f64 = 0.10;

/// Below this share it is taken for free (the same section).
const LOW: f64 = 0.02;

/// A free path's bound grows by this factor in a window.
const GROWTH: f64 = 1.08;

/// Packets that the share of a receiver report is taken to be made of.
const REPORT_PACKETS: f64 = 100.0;

/// What a share of losses has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Free,
    Noisy,
    Full,
}

pub(super) struct Loss {
    arrived: u32,
    missed: u32,
    bytes: u32,
    since: Option<Time>,
    /// Of the last window.
    share: f64,
    /// The path carries no more than this.
    bound: f64,
}

impl Loss {
    pub const fn new() -> Self {
        Self {
            arrived: 0,
            missed: 0,
            bytes: 0,
            since: None,
            share: 0.0,
            bound: BPS_MAX_F,
        }
    }

    pub const fn on_arrived(&mut self, bytes: u32) {
        self.arrived = self.arrived.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub const fn on_missed(&mut self, bytes: u32) {
        self.missed = self.missed.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// It arrived after it had been counted as missed.
    pub const fn on_recovered(&mut self) {
        self.missed = self.missed.saturating_sub(1);
        self.arrived = self.arrived.saturating_add(1);
    }

    /// The share of the last window, 0 to 1.
    pub const fn share(&self) -> f64 {
        self.share
    }

    /// True if so much is lost that more packets would not help.
    pub fn is_high(&self) -> bool {
        self.share > HIGH
    }

    pub fn is_low(&self) -> bool {
        self.share < LOW
    }

    pub const fn bound(&self) -> f64 {
        self.bound
    }

    /// A probe has shown that so much is carried.
    pub fn raise(&mut self, bps: f64) {
        self.bound = self.bound.max(bps);
    }

    /// Ends a window if it is time. The loss is of what was sent in it, be it chosen low, but not
    /// of more than `known_bps`: that may have been lowered since.
    pub fn close(&mut self, now: Time, known_bps: f64) -> Option<Finding> {
        let since = *self.since.get_or_insert(now);
        let packets = self.arrived.saturating_add(self.missed);
        let span = now.since(since);
        let is_full = span >= WINDOW && packets >= WINDOW_PACKETS;
        if !is_full && span < WINDOW_MAX {
            return None;
        }
        let (missed, bytes) = (self.missed, self.bytes);
        (self.arrived, self.missed, self.bytes) = (0, 0, 0);
        self.since = Some(now);
        if packets < PACKETS_MIN {
            return None;
        }
        let packets = f64::from(packets);
        #[expect(clippy::cast_precision_loss, reason = "some seconds")]
        let sent_bps = f64::from(bytes) * 8e9 / span.0.max(1) as f64;
        let share = f64::from(missed) / packets;
        Some(self.judge(share, packets, sent_bps.min(known_bps)))
    }

    /// A receiver report's share, for want of anything better.
    pub fn on_report(&mut self, share: f64, bps: f64) -> Finding {
        self.judge(share, REPORT_PACKETS, bps)
    }

    fn judge(&mut self, share: f64, packets: f64, bps: f64) -> Finding {
        self.share = share;
        // Random loss of 5 % exceeds 10 % by chance: one standard deviation is granted.
        let sure = share - (share * (1.0 - share) / packets).max(0.0).sqrt();
        if sure > HIGH {
            self.bound = (self.bound.min(bps) * (1.0 - 0.5 * share)).max(BPS_MIN_F);
            Finding::Full
        } else if share < LOW {
            self.bound = (self.bound * GROWTH).min(BPS_MAX_F);
            Finding::Free
        } else {
            Finding::Noisy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(loss: &mut Loss, nth: u64, missed: u32, bps: f64) -> Option<Finding> {
        (0..200 - missed).for_each(|_| loss.on_arrived(1_000));
        (0..missed).for_each(|_| loss.on_missed(1_000));
        loss.close(Time::ZERO + Span::secs(nth), bps)
    }

    #[test]
    fn only_high_loss_lowers_and_only_low_loss_raises() {
        let mut loss = Loss::new();
        assert_eq!(loss.close(Time::ZERO, 1e6), None);
        assert_eq!(second(&mut loss, 1, 10, 1e6), Some(Finding::Noisy));
        assert!(loss.bound() >= BPS_MAX_F);
        assert_eq!(second(&mut loss, 2, 40, 1e6), Some(Finding::Full));
        assert!((loss.bound() - 0.9e6).abs() < 1.0, "{}", loss.bound());
        assert_eq!(second(&mut loss, 3, 10, 1e6), Some(Finding::Noisy));
        assert!((loss.bound() - 0.9e6).abs() < 1.0);
        assert_eq!(second(&mut loss, 4, 0, 1e6), Some(Finding::Free));
        assert!((loss.bound() - 0.972e6).abs() < 1.0);
        loss.raise(3e6);
        assert!((loss.bound() - 3e6).abs() < 1.0);
        for nth in 5..200 {
            second(&mut loss, nth, 200, 1e6);
        }
        assert!((loss.bound() - BPS_MIN_F).abs() < 1.0);
    }

    #[test]
    fn late_packets_are_no_loss() {
        let mut loss = Loss::new();
        loss.close(Time::ZERO, 1e6);
        for _ in 0..100 {
            loss.on_missed(1_000);
            loss.on_recovered();
        }
        loss.on_recovered();
        let finding = loss.close(Time::ZERO + Span::secs(2), 1e6);
        assert_eq!(finding, Some(Finding::Free));
    }
}
