//! Owns what the configuration says of the end: how long those who are here may stay, and where
//! they are led.

use super::check::{Bad, bad, within};
use super::{Config, redirect};
use crate::control::StreamName;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use wire::time::Span;

/// A day: nobody watches for longer without a break.
pub const DEADLINE_S: RangeInclusive<u64> = 0..=86_400;

/// Beyond this there is no pace: a node's viewers are told within seconds.
const VIEWERS_PER_S: RangeInclusive<u64> = 0..=100_000;

/// `[drain]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainSettings {
    /// How long those who are here may stay after SIGTERM; 0: it ends at once.
    pub deadline_s: u64,
    /// Where newcomers and viewers are led, as in `stream.redirect`; empty: nowhere.
    pub peer: String,
    /// How many viewers are asked to leave a second; 0: as many as it takes.
    pub viewers_per_s: u32,
}

impl DrainSettings {
    /// How long those who are here may stay.
    #[must_use]
    pub fn time(&self) -> Span {
        Span::secs(self.deadline_s)
    }
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self {
            deadline_s: 20,
            peer: String::new(),
            viewers_per_s: 0,
        }
    }
}

impl Config {
    /// Where `name` is watched (`protocol` is `whep`) or published (`whip`) instead of here while
    /// this node drains, if anywhere.
    #[must_use]
    pub fn peer(&self, protocol: &str, name: &StreamName) -> Option<String> {
        let template = &self.drain.peer;
        (!template.is_empty()).then(|| redirect::fill(template, protocol, name.as_str()))
    }
}

pub(super) fn check(settings: &DrainSettings) -> Result<(), Bad> {
    within("drain.deadline_s", settings.deadline_s, DEADLINE_S)?;
    let per_s = settings.viewers_per_s.into();
    within("drain.viewers_per_s", per_s, VIEWERS_PER_S)?;
    if settings.peer.is_empty() {
        return Ok(());
    }
    redirect::check(&settings.peer).map_err(|what| {
        bad(
            "drain.peer",
            format!("{:?} {what}", settings.peer),
            "write a URL such as \"https://other.example/{protocol}/{stream}\"".into(),
        )
    })
}
