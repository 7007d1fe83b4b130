//! Owns what to do for viewers without transport-wide feedback: believe their own estimate, and
//! try a higher layer now and then, as padding could not be measured. Hot.

use wire::time::{Span, Time};

/// A receiver's estimate holds for this long.
const REMB_HOLDS: Span = Span::secs(10);

/// It has fallen when it is below these shares of its highest value and of what is sent.
const FALLEN: f64 = 0.9;
const FALLEN_BELOW_SENT: f64 = 0.95;

/// A receiver that allows this much more than it is sent does not see a limit.
const ROOM: f64 = 1.1;

/// The first trial, and waits after failures: 4, 8, 16, 32 s. A trial is a layer that the path may
/// not carry, seen by the viewer.
const FIRST_AFTER: Span = Span::secs(3);
const BACKOFF_S: u64 = 4;
const BACKOFF_DOUBLED_MAX: u8 = 3;

/// A trial has succeeded after this time.
const TRIAL: Span = Span::secs(5);

pub(super) struct Fallback {
    remb: Option<f64>,
    remb_at: Time,
    remb_highest: f64,
    /// A rate that is believed until something speaks against it; 0: none.
    trial: f64,
    trial_at: Time,
    next_at: Time,
    doubled: u8,
    /// Reports or REMB have come: there is something to go by.
    has_reports: bool,
}

impl Fallback {
    pub fn new(now: Time) -> Self {
        Self {
            remb: None,
            remb_at: now,
            remb_highest: 0.0,
            trial: 0.0,
            trial_at: now,
            next_at: now + FIRST_AFTER,
            doubled: 0,
            has_reports: false,
        }
    }

    pub const fn remb(&self) -> Option<f64> {
        self.remb
    }

    pub const fn trial(&self) -> f64 {
        self.trial
    }

    pub const fn on_report(&mut self) {
        self.has_reports = true;
    }

    /// Notes an estimate; true if it says that `sending` is too much.
    pub fn on_remb(&mut self, now: Time, bps: f64, sending: f64) -> bool {
        self.has_reports = true;
        (self.remb, self.remb_at) = (Some(bps), now);
        self.remb_highest = self.remb_highest.max(bps);
        let has_fallen = bps < FALLEN * self.remb_highest && bps < FALLEN_BELOW_SENT * sending;
        if has_fallen {
            self.remb_highest = bps;
            self.fail(now);
        }
        has_fallen
    }

    /// Forgets an estimate that is not renewed.
    pub fn expire(&mut self, now: Time) {
        if self.remb.is_some() && now.since(self.remb_at) > REMB_HOLDS {
            self.remb = None;
            self.remb_highest = 0.0;
        }
    }

    /// Ends a trial, if there is one; the next one comes later.
    pub fn fail(&mut self, now: Time) {
        if self.trial > 0.0 {
            self.trial = 0.0;
            self.next_at = now + Span::secs(BACKOFF_S << self.doubled);
            self.doubled = (self.doubled + 1).min(BACKOFF_DOUBLED_MAX);
        }
    }

    /// True if `wanted_bps` may be tried where `sending` is sent.
    pub fn try_out(&mut self, now: Time, wanted_bps: f64, sending: f64) -> bool {
        let has_room = self.remb.is_none_or(|remb| remb >= ROOM * sending);
        if !self.has_reports || !has_room || now < self.next_at {
            return false;
        }
        if self.trial > 0.0 {
            if now.since(self.trial_at) < TRIAL {
                return false;
            }
            self.doubled = 0;
        }
        self.trial = self.trial.max(wanted_bps);
        self.trial_at = now;
        self.remb_highest = self.remb.unwrap_or_default();
        true
    }
}
