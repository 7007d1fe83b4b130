//! Owns what the viewers of a stream may be sent: its operating points, the cheapest first.
//!
//! A point is a lane and what of its layers is sent. Of one lane a spatial layer costs the most,
//! and a temporal one the least, so points ascend by lane, then by spatial layer, then by temporal
//! one, as in mediasoup's `SvcConsumer`. Of the temporal layers only the highest is ever given up
//! before a smaller picture is sent: half the pictures a second still look like motion, a quarter
//! do not. At the smallest picture there is nothing else to give up. Of several encodings those
//! above the lowest are sent whole: points between them made the fall slower, and Chromium's
//! picture stood still for 417 ms instead of 200 on a path that became narrow.

use link::command::Pin;
use link::lanes::LANES_MAX;
use wire::time::Time;

use crate::estimate::{LayerRate, POINTS_MAX};
use crate::hearing::Hearing;
use crate::rewrite::Cap;

/// What a viewer may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The encoding.
    pub lane: u8,
    /// What of its layers. Above the highest that there is, it is without limit: what the
    /// publisher adds is sent at once.
    pub cap: Cap,
}

/// The operating points of a stream, the cheapest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    points: [Point; POINTS_MAX],
    rates: [LayerRate; POINTS_MAX],
    used: usize,
    /// The highest spatial and temporal layer of each lane.
    tops: [(u8, u8); LANES_MAX],
}

impl Ladder {
    /// That of a stream of which this is heard.
    pub fn of(now: Time, hearing: &Hearing) -> Self {
        let mut ladder = Self::default();
        let live = hearing.layers(now);
        let is_one_of_several = live.count() > 1;
        for lane in hearing.ranked().into_iter().filter(|lane| live.has(*lane)) {
            let (spatial_top, temporal_top) = hearing.tops(now, lane);
            ladder.tops[lane] = (spatial_top, temporal_top);
            for spatial in 0..=spatial_top {
                let is_lowest = ladder.used == 0;
                let from = match (is_lowest, is_one_of_several) {
                    (true, _) => 0,
                    (false, true) => temporal_top,
                    (false, false) => temporal_top.saturating_sub(1),
                };
                for temporal in from..=temporal_top {
                    let cap = Cap {
                        spatial: unless_top(spatial, spatial_top),
                        temporal: unless_top(temporal, temporal_top),
                    };
                    let lane = u8::try_from(lane).unwrap_or_default();
                    ladder.push(now, hearing, Point { lane, cap });
                }
            }
        }
        ladder
    }

    /// What is left of it for a viewer with this pin.
    pub fn within(&self, now: Time, hearing: &Hearing, pin: &Pin) -> Self {
        if *pin == Pin::NONE {
            return *self;
        }
        let is_there = |lane: &u8| self.points().iter().any(|one| one.lane == *lane);
        let pinned = pin.lane.filter(is_there);
        let mut ladder = Self {
            tops: self.tops,
            ..Self::default()
        };
        for point in self.points() {
            let cap = point.cap.within(Cap::of(pin));
            let point = Point { cap, ..*point };
            let is_wanted = pinned.is_none_or(|lane| lane == point.lane);
            if is_wanted && ladder.rung(point).is_none() {
                ladder.push(now, hearing, point);
            }
        }
        if let (Some(_), Some(last)) = (pinned, ladder.used.checked_sub(1)) {
            // It is held there, whatever its path carries.
            (ladder.points[0], ladder.rates[0]) = (ladder.points[last], ladder.rates[last]);
            ladder.used = 1;
        }
        ladder
    }

    fn push(&mut self, now: Time, hearing: &Hearing, point: Point) {
        let bps = hearing.bps(now, point.lane, point.cap);
        if let Some(place) = self.points.get_mut(self.used) {
            *place = point;
            self.rates[self.used] = LayerRate {
                bps: u32::try_from(bps).unwrap_or(u32::MAX),
                is_live: true,
                picture: self.picture(point),
            };
            self.used += 1;
        }
    }

    /// Points ascend by lane and picture size, so that another size is the next number.
    fn picture(&self, point: Point) -> u8 {
        let Some(before) = self.used.checked_sub(1) else {
            return 0;
        };
        let (last, picture) = (self.points[before], self.rates[before].picture);
        let spatial = |point: Point| self.effective(point).spatial;
        let is_same = last.lane == point.lane && spatial(last) == spatial(point);
        picture + u8::from(!is_same)
    }

    /// The points.
    pub fn points(&self) -> &[Point] {
        &self.points[..self.used]
    }

    /// Their rates.
    pub fn rates(&self) -> &[LayerRate] {
        &self.rates[..self.used]
    }

    /// Where this point is; what is above the highest layer is the same as that.
    pub fn rung(&self, point: Point) -> Option<usize> {
        let cap = self.effective(point);
        let is_same = |one: &Point| one.lane == point.lane && self.effective(*one) == cap;
        self.points().iter().position(is_same)
    }

    /// The highest layers that are sent at a point.
    pub fn effective(&self, point: Point) -> Cap {
        let tops = self.tops.get(usize::from(point.lane));
        let (spatial, temporal) = tops.copied().unwrap_or_default();
        point.cap.within(Cap { spatial, temporal })
    }

    /// What of a lane's layers a newcomer is sent whose path is taken to carry `bps`: the largest
    /// picture that fits, with all its temporal layers.
    pub fn start(&self, lane: u8, bps: u64) -> Cap {
        let whole =
            |(point, _): &(&Point, &LayerRate)| point.lane == lane && point.cap.temporal == u8::MAX;
        let points = self.points().iter().zip(self.rates()).filter(whole);
        let fits = |(_, rate): &(&Point, &LayerRate)| u64::from(rate.bps) <= bps;
        let fitting = points.clone().rev().find(fits);
        let found = fitting.or_else(|| points.clone().next());
        found.map_or(Cap::NONE, |(point, _)| point.cap)
    }
}

const fn unless_top(layer: u8, top: u8) -> u8 {
    if layer == top { u8::MAX } else { layer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(tops: (u8, u8)) -> Ladder {
        let mut ladder = Ladder::default();
        ladder.tops[0] = tops;
        for (nth, (spatial, temporal)) in [(0, 0), (0, 1), (0, u8::MAX), (1, u8::MAX)]
            .into_iter()
            .enumerate()
        {
            let cap = Cap { spatial, temporal };
            ladder.points[nth] = Point { lane: 0, cap };
            ladder.rates[nth].bps = 100_000 * u32::try_from(nth + 1).unwrap();
            ladder.used += 1;
        }
        ladder
    }

    #[test]
    fn a_newcomer_gets_whole_motion_of_what_fits() {
        let ladder = ladder((2, 2));
        let start = |bps| ladder.start(0, bps).spatial;
        assert_eq!((start(1_000_000), start(350_000), start(1)), (1, 0, 0));
        assert_eq!(ladder.start(0, 1).temporal, u8::MAX);
        assert_eq!(ladder.start(3, 1), Cap::NONE);
    }

    #[test]
    fn layers_above_the_highest_are_the_highest() {
        let ladder = ladder((1, 1));
        let at = |spatial, temporal| {
            let cap = Cap { spatial, temporal };
            ladder.rung(Point { lane: 0, cap })
        };
        assert_eq!(at(0, 0), Some(0));
        assert_eq!((at(0, 1), at(0, 7)), (Some(1), Some(1)));
        assert_eq!((at(1, 1), at(9, 9)), (Some(3), Some(3)));
        assert_eq!(at(1, 0), None);
    }

    #[test]
    fn a_pin_takes_away_what_is_above_it() {
        let whole = ladder((2, 2));
        let hearing = Hearing::default();
        let pinned = |lane, spatial_max, temporal_max| {
            let pin = Pin {
                lane,
                spatial_max,
                temporal_max,
            };
            let left = whole.within(Time::ZERO, &hearing, &pin);
            let points = left.points().iter().map(|point| point.cap);
            points
                .map(|cap| (cap.spatial, cap.temporal))
                .collect::<Vec<_>>()
        };
        assert_eq!(pinned(None, u8::MAX, u8::MAX).len(), 4);
        assert_eq!(pinned(None, u8::MAX, 0), [(0, 0), (1, 0)]);
        assert_eq!(pinned(None, 0, u8::MAX), [(0, 0), (0, 1), (0, u8::MAX)]);
        assert_eq!(pinned(Some(0), 0, 1), [(0, 1)]);
        assert_eq!(pinned(Some(3), 1, 0), [(0, 0), (1, 0)]);
    }
}
