//! Owns what comes of a stream: how much of each lane, and of each layer within it. Hot.

use link::command::AUDIO;
use link::lanes::{LANES_MAX, LAYERS, LAYERS_MAX, Lanes, SPATIAL_MAX, TEMPORAL_MAX};
use serde::{Deserialize, Serialize};
use wire::time::{Span, Time};

use crate::burst::Burst;
use crate::pace::Rate;
use crate::rewrite::Cap;

/// A layer of which nothing came for so long is off. The lowest frame rates of browsers' layers are
/// some 5 a second.
pub const LAYER_SILENT: Span = Span::millis(750);

/// The same for a temporal layer: the base of four pictures comes every fourth time only.
const TEMPORAL_SILENT: Span = Span::secs(2);

/// See [`Hearing::rank`].
const RANK_MARGIN: u64 = 2;

/// What comes of each lane of a stream.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Hearing {
    rates: [Rate; LANES_MAX],
    /// When something was cut last.
    heard_at: [Time; LANES_MAX],
    /// Since when this has been going on without a break.
    began_at: Time,
    /// The layers by their rates, the lowest first.
    ranked: [usize; LAYERS_MAX],
    /// What comes of the layers within each lane, once there are any.
    inner: [Inner; LANES_MAX],
    /// A layer above the lowest of its lane has come.
    is_layered: bool,
}

/// What comes of each spatial and temporal layer of a lane.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Inner {
    rates: [[Rate; TEMPORAL_MAX]; SPATIAL_MAX],
    heard_at: [[Time; TEMPORAL_MAX]; SPATIAL_MAX],
}

impl Default for Hearing {
    /// Nothing yet: ranked as browsers name their encodings.
    fn default() -> Self {
        Self {
            rates: [Rate::default(); LANES_MAX],
            heard_at: [Time::ZERO; LANES_MAX],
            began_at: Time::ZERO,
            ranked: LAYERS,
            inner: [Inner::default(); LANES_MAX],
            is_layered: false,
        }
    }
}

impl Hearing {
    /// Notes a burst of all lanes.
    pub fn note(&mut self, now: Time, burst: &Burst<'_>) {
        self.note_lanes(now, burst.payload_bytes());
        self.is_layered |= burst.is_layered;
        if self.is_layered {
            self.note_layers(now, burst);
        }
    }

    /// Notes payload bytes by the layers within lanes.
    fn note_layers(&mut self, now: Time, burst: &Burst<'_>) {
        let pieces = burst.runs().iter().flat_map(|run| burst.pieces(run));
        for piece in pieces.filter(|piece| piece.lane() != AUDIO) {
            let spatial = usize::from(piece.spatial).min(SPATIAL_MAX - 1);
            let temporal = usize::from(piece.temporal).min(TEMPORAL_MAX - 1);
            let inner = &mut self.inner[piece.lane()];
            let rate = &mut inner.rates[spatial][temporal];
            rate.add(now, piece.payload.len() as u64);
            inner.heard_at[spatial][temporal] = now;
        }
    }

    fn note_lanes(&mut self, now: Time, bytes: [u64; LANES_MAX]) {
        if self.layers(now).is_empty() {
            self.began_at = now;
        }
        for (lane, bytes) in bytes.into_iter().enumerate() {
            if bytes > 0 {
                self.rates[lane].add(now, bytes);
                self.heard_at[lane] = now;
            }
        }
        self.rank();
    }

    /// True once it has been going on for so long that no layer that is sent is missing.
    pub fn is_settled(&self, now: Time) -> bool {
        self.began_at != Time::ZERO && now.since(self.began_at) >= LAYER_SILENT
    }

    /// Neighbours change places when one is clearly above the other: rates move by a part of
    /// themselves all the time, and layers are apart by a factor.
    fn rank(&mut self) {
        for at in 1..LAYERS_MAX {
            let [below, above] = [self.ranked[at - 1], self.ranked[at]];
            let rate = self.lane_bytes_per_s(above);
            if rate > 0 && self.lane_bytes_per_s(below) > rate * RANK_MARGIN {
                self.ranked.swap(at - 1, at);
            }
        }
    }

    /// The lanes of layers by their rates, the lowest first.
    pub const fn ranked(&self) -> [usize; LAYERS_MAX] {
        self.ranked
    }

    /// Bytes a second of one lane.
    pub fn lane_bytes_per_s(&self, lane: usize) -> u64 {
        self.rates.get(lane).map_or(0, Rate::bytes_per_s)
    }

    /// Bytes a second of what a viewer gets that watches this lane.
    pub fn bytes_per_s(&self, lane: u8) -> u64 {
        self.lane_bytes_per_s(usize::from(lane)) + self.rates[AUDIO].bytes_per_s()
    }

    /// The layers that the publisher sends now. One that is silent while others are not has been
    /// switched off, as browsers do when their uplink is too narrow.
    pub fn layers(&self, now: Time) -> Lanes {
        let mut layers = Lanes::default();
        for lane in LAYERS {
            let heard_at = self.heard_at[lane];
            if heard_at != Time::ZERO && now.since(heard_at) < LAYER_SILENT {
                layers = layers.with(lane);
            }
        }
        layers
    }

    /// The highest spatial and temporal layer that comes of a lane now; 0 and 0: it has one.
    pub fn tops(&self, now: Time, lane: usize) -> (u8, u8) {
        let mut tops = (0, 0);
        if let Some(inner) = self.inner.get(lane).filter(|_| self.is_layered) {
            for (spatial, row) in (0..).zip(&inner.heard_at) {
                for (temporal, &heard_at) in (0..).zip(row) {
                    let since = now.since(heard_at);
                    let is_known = heard_at != Time::ZERO;
                    if is_known && since < LAYER_SILENT {
                        tops.0 = spatial.max(tops.0);
                    }
                    if is_known && since < TEMPORAL_SILENT {
                        tops.1 = temporal.max(tops.1);
                    }
                }
            }
        }
        tops
    }

    /// Bits a second of what a viewer gets that is sent the layers within `cap` of a lane, with
    /// headers and audio; 0: not known yet.
    pub fn bps(&self, now: Time, lane: u8, cap: Cap) -> u64 {
        let (spatial_top, temporal_top) = self.tops(now, usize::from(lane));
        let is_all = cap.spatial >= spatial_top && cap.temporal >= temporal_top;
        let video = match self.inner.get(usize::from(lane)) {
            Some(inner) if !is_all => inner.bytes_per_s(now, cap),
            _ => self.lane_bytes_per_s(usize::from(lane)),
        };
        if video == 0 {
            return 0;
        }
        with_headers((video + self.rates[AUDIO].bytes_per_s()).saturating_mul(8))
    }
}

impl Inner {
    fn bytes_per_s(&self, now: Time, cap: Cap) -> u64 {
        let mut sum = 0;
        let spatial = usize::from(cap.spatial).min(SPATIAL_MAX - 1);
        let temporal = usize::from(cap.temporal).min(TEMPORAL_MAX - 1);
        for (rates, heard_at) in self.rates.iter().zip(&self.heard_at).take(spatial + 1) {
            for (rate, heard_at) in rates.iter().zip(heard_at).take(temporal + 1) {
                if now.since(*heard_at) < TEMPORAL_SILENT {
                    sum += rate.bytes_per_s();
                }
            }
        }
        sum
    }
}

/// Headers, extensions and tags are a twentieth of what is sent.
const fn with_headers(bits: u64) -> u64 {
    bits.saturating_add(bits / 20)
}
