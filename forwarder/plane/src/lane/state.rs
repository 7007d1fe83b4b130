//! Owns a lane on its way from one worker to the next.

use serde::{Deserialize, Serialize};
use wire::time::Time;

use super::{InLane, Source};
use crate::codec::Memory;
use crate::reorder::{OrderState, Pool};
use crate::timeline::Timeline;

/// What one worker leaves of a lane to the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaneState {
    media: Source,
    rtx: Source,
    order: OrderState,
    is_reordered: bool,
    is_broken: bool,
    frame: Option<(u32, bool)>,
    is_torn: bool,
    memory: Memory,
    timeline: Timeline,
    body_bytes: usize,
}

impl InLane {
    /// What the worker that takes the place of this one goes on with.
    pub fn state(&self, pool: &Pool) -> LaneState {
        LaneState {
            media: self.media,
            rtx: self.rtx,
            order: self.order.state(pool),
            is_reordered: self.is_reordered,
            is_broken: self.is_broken,
            frame: self.frame,
            is_torn: self.is_torn,
            memory: self.memory.clone(),
            timeline: self.timeline.clone(),
            body_bytes: self.body_bytes,
        }
    }

    /// Goes on where another worker was that is well.
    pub fn go_on(&mut self, pool: &mut Pool, now: Time, before: &LaneState) {
        self.media = before.media;
        self.rtx = before.rtx;
        self.is_reordered = before.is_reordered;
        self.is_broken = before.is_broken;
        self.frame = before.frame;
        self.is_torn = before.is_torn;
        self.memory = before.memory.clone();
        self.timeline = before.timeline.clone();
        self.body_bytes = before.body_bytes;
        let ask_after = self.ask_after();
        self.order.go_on(pool, now, &before.order, ask_after);
    }
}
