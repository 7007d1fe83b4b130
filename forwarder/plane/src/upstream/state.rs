//! Owns what goes back to a publisher on its way from one worker to the next.

use link::lanes::LANES_MAX;
use serde::{Deserialize, Serialize};
use wire::time::{Span, Time};

use super::{Plea, Upstream};

/// What one worker leaves of it to the next. What the path carries is told anew.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct UpstreamState {
    ssrc: u32,
    rtt: Option<Span>,
    report_at: Time,
    pleas: [Plea; LANES_MAX],
    fir_sequence: u8,
}

impl Upstream {
    /// What the worker that takes the place of this one goes on with.
    pub const fn state(&self) -> UpstreamState {
        UpstreamState {
            ssrc: self.ssrc,
            rtt: self.rtt,
            report_at: self.report_at,
            pleas: self.pleas,
            fir_sequence: self.fir_sequence,
        }
    }

    /// Goes on where another worker was.
    pub const fn go_on(&mut self, before: &UpstreamState) {
        self.ssrc = before.ssrc;
        self.rtt = before.rtt;
        self.report_at = before.report_at;
        self.pleas = before.pleas;
        self.fir_sequence = before.fir_sequence;
    }

    /// Tells now what the path carries: the worker that takes the place of this one does not know.
    pub const fn settle(&mut self) {
        if self.transport.has_news() {
            self.transport_at = Time::ZERO;
        }
    }
}
