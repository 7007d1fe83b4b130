//! Owns what a crew counts, phase by phase, and what became of those who wanted to join.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::histogram::Histogram;

/// Parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Watchers watch, nobody else has come.
    Before,
    /// The others come.
    Joining,
    /// All have come.
    After,
    /// It is over: nothing counts.
    Over,
}

/// In their order, those that count.
pub const PHASES: [Phase; 3] = [Phase::Before, Phase::Joining, Phase::After];

/// The phase that all threads are in.
#[derive(Debug, Default)]
pub struct Now(AtomicU8);

impl Now {
    /// From here on it is this one.
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Relaxed);
    }

    /// Which it is.
    pub fn phase(&self) -> Phase {
        match self.0.load(Relaxed) {
            0 => Phase::Before,
            1 => Phase::Joining,
            2 => Phase::After,
            _ => Phase::Over,
        }
    }
}

impl Phase {
    /// As it is called in what is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Joining => "joining",
            Self::After => "after",
            Self::Over => "over",
        }
    }
}

/// What came in a phase.
#[derive(Clone, Debug, Default)]
pub struct Media {
    /// Packets of media.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
    /// Packets of media that never came, by their numbers.
    pub lost: u64,
    /// Datagrams that were not what they should be, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Longest time between two packets of a track, milliseconds.
    pub silence_ms: u64,
    /// From the publisher's hands to the viewer's socket.
    pub latency: Histogram,
}

impl Media {
    pub fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.lost += other.lost;
        for (reason, count) in &other.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        self.silence_ms = self.silence_ms.max(other.silence_ms);
        self.latency.merge(&other.latency);
    }

    /// Of what was sent, in percent.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn lost_percent(&self) -> f64 {
        100.0 * self.lost as f64 / (self.packets + self.lost).max(1) as f64
    }

    pub fn to_json(&self) -> Value {
        json!({
            "packets": self.packets,
            "bytes": self.bytes,
            "lost": self.lost,
            "lost_percent": self.lost_percent(),
            "refused": self.refused,
            "silence_ms_max": self.silence_ms,
            "latency": self.latency.to_json(),
        })
    }
}

/// What a crew has to say.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By [`PHASES`].
    pub media: [Media; 3],
    /// How many were to come, those who replaced others included.
    pub wanted: u64,
    /// How many got a first packet.
    pub joined: u64,
    /// How many left to be replaced.
    pub left: u64,
    /// Why others did not: by reason.
    pub failed: BTreeMap<String, u64>,
    /// Answers after which they tried again: by status.
    pub deferred: BTreeMap<String, u64>,
    /// From the wish to join to the first packet.
    pub join: Histogram,
    /// From the request that was granted to the answer, to keys, and to the first packet.
    pub answer: Histogram,
    pub keys: Histogram,
    pub first: Histogram,
}

impl Tally {
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.media.iter_mut().zip(&other.media) {
            mine.merge(theirs);
        }
        self.wanted += other.wanted;
        self.joined += other.joined;
        self.left += other.left;
        for (mine, theirs) in [
            (&mut self.failed, &other.failed),
            (&mut self.deferred, &other.deferred),
        ] {
            for (reason, count) in theirs {
                *mine.entry(reason.clone()).or_default() += count;
            }
        }
        for (mine, theirs) in [
            (&mut self.join, &other.join),
            (&mut self.answer, &other.answer),
            (&mut self.keys, &other.keys),
            (&mut self.first, &other.first),
        ] {
            mine.merge(theirs);
        }
    }

    pub fn fail(&mut self, reason: impl Into<String>) {
        *self.failed.entry(reason.into()).or_default() += 1;
    }

    /// How many did not come.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    pub fn to_json(&self) -> Value {
        let media = PHASES.iter().zip(&self.media);
        let media: BTreeMap<_, _> = media
            .map(|(phase, media)| (phase.name(), media.to_json()))
            .collect();
        json!({
            "wanted": self.wanted,
            "joined": self.joined,
            "left": self.left,
            "failed": self.failed,
            "deferred": self.deferred,
            "join": self.join.to_json(),
            "post_to_answer": self.answer.to_json(),
            "post_to_keys": self.keys.to_json(),
            "post_to_first_packet": self.first.to_json(),
            "media": media,
        })
    }
}
