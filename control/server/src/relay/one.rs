//! Owns one relay: what is wanted, and how it stands.

use super::failure::{Failure, REASONS};
use super::status::{Direction, LastError, RelayState, RelayView};
use crate::clock;
use crate::config::Secret;
use crate::control::StreamName;
use hyper::Uri;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What an operator asks for.
#[derive(Clone, Debug)]
pub struct NewRelay {
    /// Which way media goes.
    pub direction: Direction,
    /// The stream here.
    pub stream: StreamName,
    /// The endpoint there.
    pub url: Uri,
    /// What it wants to see.
    pub token: Option<Secret>,
    /// It stands in the configuration.
    pub configured: bool,
}

/// What relays have done since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) attempts: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) failures: [AtomicU64; REASONS.len()],
}

/// One relay: what is wanted, and how it stands.
#[derive(Debug)]
pub struct Relay {
    pub(super) id: String,
    pub(super) direction: Direction,
    pub(super) stream: StreamName,
    pub(super) url: Uri,
    pub(super) token: Option<Secret>,
    pub(super) configured: bool,
    status: Mutex<Status>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Status {
    state: RelayState,
    since_unix_ms: u64,
    retry_unix_ms: Option<u64>,
    attempts: u64,
    failures: u64,
    restarts: u64,
    last_error: Option<LastError>,
    session: Option<String>,
    encodings: Vec<String>,
    bitrate_bps: Option<u64>,
    rtt_ms: Option<u32>,
    measured: Option<(Instant, u64)>,
}

impl Relay {
    pub(super) fn new(new: NewRelay, counters: Arc<Counters>) -> Self {
        Self {
            id: format!("{:016x}", rand::random::<u64>()),
            direction: new.direction,
            stream: new.stream,
            url: new.url,
            token: new.token,
            configured: new.configured,
            status: Mutex::new(Status {
                state: match new.direction {
                    Direction::Pull => RelayState::Connecting,
                    Direction::Push => RelayState::Idle,
                },
                since_unix_ms: clock::unix_ms(clock::now()),
                retry_unix_ms: None,
                attempts: 0,
                failures: 0,
                restarts: 0,
                last_error: None,
                session: None,
                encodings: Vec::new(),
                bitrate_bps: None,
                rtt_ms: None,
                measured: None,
            }),
            counters,
        }
    }

    /// A session is about to be asked for.
    pub(super) fn attempt(&self) {
        self.counters.attempts.fetch_add(1, Relaxed);
        self.status().attempts += 1;
    }

    pub(super) fn set_state(&self, state: RelayState) {
        let mut status = self.status();
        if status.state != state {
            status.enter(state);
            let (relay, stream) = (&self.id, &self.stream);
            if state == RelayState::Live {
                tracing::info!(relay, %stream, direction = ?self.direction, "relay is live");
            }
        }
    }

    pub(super) fn set_session(&self, session: Option<String>) {
        self.status().session = session;
    }

    /// It did not come to be, or has ended, for the `nth` time in a row.
    pub(super) fn failed(&self, failure: &Failure, nth: u32, wait: Duration) {
        let place = REASONS.iter().position(|reason| *reason == failure.reason);
        if let Some(counter) = place.and_then(|place| self.counters.failures.get(place)) {
            counter.fetch_add(1, Relaxed);
        }
        let now = clock::unix_ms(clock::now());
        let mut status = self.status();
        let is_new = status.last_error.as_ref().map(|e| &*e.reason) != Some(failure.reason.name());
        status.failures += 1;
        status.enter(RelayState::Waiting);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        status.retry_unix_ms = Some(now.saturating_add(wait_ms));
        status.last_error = Some(LastError {
            reason: failure.reason.name().to_owned(),
            detail: failure.detail.clone(),
            remedy: failure.reason.remedy().to_owned(),
            at_unix_ms: now,
        });
        drop(status);
        if is_new || is_loud(nth) {
            let (relay, stream, remedy) = (&self.id, &self.stream, failure.reason.remedy());
            tracing::warn!(relay, %stream, failures = nth, wait_ms, remedy, "relay: {failure}");
        }
    }

    /// ICE of its session was restarted.
    pub(super) fn restarted(&self) {
        self.counters.restarts.fetch_add(1, Relaxed);
        self.status().restarts += 1;
        let (relay, stream) = (&self.id, &self.stream);
        tracing::info!(relay, %stream, "relay: the server fell silent, and has restarted ICE");
    }

    /// It sends these encodings by name.
    pub(super) fn sends(&self, encodings: Vec<String>) {
        self.status().encodings = encodings;
    }

    /// So many bytes have gone through its session.
    pub(super) fn measured(&self, bytes: Option<u64>, rtt_ms: Option<f64>) {
        let now = Instant::now();
        let mut status = self.status();
        if let (Some((at, before)), Some(bytes)) = (status.measured, bytes) {
            let ms = u64::try_from(now.duration_since(at).as_millis()).unwrap_or(u64::MAX);
            let bits = bytes.saturating_sub(before).saturating_mul(8);
            status.bitrate_bps = Some(bits.saturating_mul(1000) / ms.max(1));
        }
        status.measured = bytes.map(|bytes| (now, bytes));
        status.rtt_ms = rtt_ms.map(whole);
    }

    pub(super) fn view(&self) -> RelayView {
        let status = self.status();
        RelayView {
            id: self.id.clone(),
            direction: self.direction,
            stream: self.stream.to_string(),
            url: self.url.to_string(),
            configured: self.configured,
            state: status.state,
            since_unix_ms: status.since_unix_ms,
            retry_unix_ms: status.retry_unix_ms,
            attempts: status.attempts,
            failures: status.failures,
            restarts: status.restarts,
            last_error: status.last_error.clone(),
            session: status.session.clone(),
            encodings: status.encodings.clone(),
            bitrate_bps: status.bitrate_bps,
            rtt_ms: status.rtt_ms,
        }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Status {
    fn enter(&mut self, state: RelayState) {
        self.state = state;
        self.since_unix_ms = clock::unix_ms(clock::now());
        self.retry_unix_ms = None;
        self.encodings.clear();
        self.bitrate_bps = None;
        self.rtt_ms = None;
        self.measured = None;
    }
}

/// Milliseconds, rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped"
)]
fn whole(ms: f64) -> u32 {
    ms.clamp(0.0, f64::from(u32::MAX)).round() as u32
}

/// A failure is logged when it is the first, second, fourth and so on in a row.
fn is_loud(nth: u32) -> bool {
    nth.is_power_of_two()
}
