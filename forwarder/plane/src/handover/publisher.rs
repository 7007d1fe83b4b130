//! Owns a publisher on its way from one worker to the next.

use link::command::{AddPublisher, Command};
use link::lanes::Lanes;
use seal::Replay;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wire::time::Time;

use super::{command, kept};
use crate::lane::LaneState;
use crate::publisher::Publisher;
use crate::reorder::Pool;
use crate::upstream::UpstreamState;

/// What one worker leaves of a publisher to the next.
#[derive(Debug, Serialize, Deserialize)]
pub struct PublisherState {
    /// The command that would add it as it is now.
    add: ByteBuf,
    lanes: Vec<LaneState>,
    /// Of the RTP and of the RTCP of each of its ways.
    opened: Vec<[Vec<Replay>; 2]>,
    upstream: UpstreamState,
    clock_offset_ns: Option<u64>,
    wants_key: u8,
    dropped: u64,
    told: [u64; 3],
}

impl PublisherState {
    /// The command that adds it.
    pub(super) fn add(&self) -> Option<AddPublisher> {
        match command(&self.add)? {
            Command::AddPublisher(add) => Some(add),
            _ => None,
        }
    }
}

impl Publisher {
    /// What the worker that takes the place of this one goes on with.
    pub fn state(&mut self, pool: &Pool) -> PublisherState {
        // For one that dies before it has put down anything itself.
        self.tell();
        let ways = self.ways.iter_mut().flatten();
        let opened = ways.map(|way| {
            let rtp = way.opener.rtp_half().replays();
            [rtp, way.opener.rtcp_half().replays()]
        });
        PublisherState {
            add: kept(&Command::AddPublisher(*self.given)),
            opened: opened.collect(),
            lanes: self.lanes.iter().map(|lane| lane.state(pool)).collect(),
            upstream: self.upstream.state(),
            clock_offset_ns: self.clock_offset_ns,
            wants_key: self.wants_key.0,
            dropped: self.dropped,
            told: self.told,
        }
    }

    /// Goes on where another worker was that is well; this one was made by the command that it
    /// left.
    pub fn go_on(&mut self, pool: &mut Pool, now: Time, before: &PublisherState) {
        for (lane, before) in self.lanes.iter_mut().zip(&before.lanes) {
            lane.go_on(pool, now, before);
        }
        for (way, [rtp, rtcp]) in self.ways.iter_mut().flatten().zip(&before.opened) {
            way.opener.rtp_half().go_on(rtp);
            way.opener.rtcp_half().go_on(rtcp);
        }
        self.upstream.go_on(&before.upstream);
        self.clock_offset_ns = before.clock_offset_ns;
        self.wants_key = Lanes(before.wants_key).and(Lanes::VIDEO);
        self.dropped = before.dropped;
        self.told = before.told;
        if let Some(heard) = &self.heard {
            heard.begin(self.viewer);
        }
    }
}
