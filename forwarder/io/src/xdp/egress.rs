//! Owns how a run gets into frames and its frames to a lane, at once or after it was parked. Hot.

use super::places::{Fallback, Way};
use super::{LANES_MAX, Xdp, length};
use crate::arena::legal;
use crate::port::Port;
use crate::route::Ask;
use wire::datagram::{Egress, NOBODY, Parked, RunMeta, Slot};

/// Frames that are shown to the kernel without waiting for the flush. A frame costs 402 ns in
/// batches of 16, 389 in batches of 64, 380 in batches of 256 (copy mode, Linux 6.18).
const BATCH: u32 = 64;

/// Where the run claimed last goes.
#[derive(Clone, Copy)]
pub(super) enum Claimed {
    /// To the port under this one; why, if it is for a viewer.
    Under { why: Option<Fallback>, segments: u8 },
    /// By a lane.
    Lane(Framed),
}

pub(super) const NOTHING: Claimed = Claimed::Under {
    why: None,
    segments: 0,
};

/// A run in frames: by the lane of this viewer, in datagrams of so many bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Framed {
    viewer: u32,
    segment_bytes: u16,
    /// Bytes of it all, once it is parked.
    bytes: usize,
}

/// What is said of every run that is parked in frames: they share their memory. Other runs are
/// parked under this port, which has far fewer places.
const FRAMED: Parked = Parked(u32::MAX);

impl<P: Port> Xdp<P> {
    /// The lane that `run` goes by, or why it goes by the socket.
    #[inline]
    fn lane_of(&mut self, run: &RunMeta) -> Result<u8, Fallback> {
        let place = self.places.of(run, self.now_s).ok_or(Fallback::Asking)?;
        match &place.way {
            Way::Lane { lane, mtu, header } => {
                let longest = run.bytes.min(run.segment_bytes.into());
                if longest + header.ip_bytes() > usize::from(*mtu) {
                    return Err(Fallback::Size);
                }
                let lane = *lane;
                self.is_open(lane).then_some(lane).ok_or(Fallback::Device)
            }
            Way::Socket(why) => Err(*why),
            Way::Unknown => {
                let question = Ask::Way {
                    core: self.line.core,
                    viewer: run.viewer,
                    peer: run.peer,
                    local: run.local,
                };
                if self.line.say(question) {
                    place.way = Way::Socket(Fallback::Asking);
                    self.spoke = true;
                }
                Err(Fallback::Asking)
            }
        }
    }

    /// Looks for frames for a run that goes by lane `number`; false if there are too few.
    fn make_room(&mut self, number: u8, segments: u8) -> bool {
        let wanted = usize::from(segments);
        for lane in 0.. {
            if self.frames.free() >= wanted {
                break;
            }
            if usize::from(lane) == LANES_MAX {
                return false;
            }
            self.kick(lane);
        }
        self.is_open(number)
    }

    /// Writes the headers of `run`, whose frames begin at this place, and queues them; says by
    /// which lane, and how many there are.
    fn queue(&mut self, run: Framed, from: usize) -> Option<(u8, usize)> {
        let Way::Lane { lane, header, .. } = self.places.way(run.viewer)? else {
            return None;
        };
        let number = *lane;
        let lane = self.lanes.get_mut(usize::from(number))?.as_mut()?;
        let mut left = run.bytes;
        let mut count = 0;
        while left > 0 {
            let datagram = left.min(usize::from(run.segment_bytes));
            let Some((at, room, payload)) = self.frames.datagram(from + count, datagram) else {
                break;
            };
            header.write(room, payload);
            let (from, whole) = (at - header.length(), header.length() + length(datagram));
            if !lane.queue(from, whole) {
                debug_assert!(false, "a ring has an entry for each frame");
                break;
            }
            left -= datagram;
            count += 1;
        }
        self.report.datagrams += length(count);
        self.bytes += (run.bytes - left) as u64;
        Some((number, count))
    }

    /// Kicks a lane that has a batch.
    fn kick_batch(&mut self, number: u8) {
        if let Some(Some(lane)) = self.lanes.get(usize::from(number))
            && lane.unpublished() >= BATCH
        {
            self.kick(number);
        }
    }
}

impl<P: Port> Egress for Xdp<P> {
    fn segments_max(&self) -> u8 {
        self.under.segments_max()
    }

    fn claim(&mut self, run: RunMeta) -> Option<Slot<'_>> {
        self.frames.abandon();
        let mut why = None;
        if run.viewer != NOBODY && legal(run) {
            match self.lane_of(&run) {
                Ok(number) => {
                    if !self.make_room(number, run.segments) {
                        self.claimed = NOTHING;
                        self.report.full += 1;
                        return None;
                    }
                    self.claimed = Claimed::Lane(Framed {
                        viewer: run.viewer,
                        segment_bytes: run.segment_bytes,
                        bytes: 0,
                    });
                    return self.frames.claim(run.segments);
                }
                Err(other) => why = Some(other),
            }
        }
        self.claimed = Claimed::Under {
            why,
            segments: run.segments,
        };
        self.under.claim(run)
    }

    fn commit(&mut self, bytes: usize) {
        match core::mem::replace(&mut self.claimed, NOTHING) {
            Claimed::Under { why, segments } => {
                self.under.commit(bytes);
                if let Some(why) = why.filter(|_| bytes > 0) {
                    self.report.fell_back(why, segments);
                }
            }
            Claimed::Lane(run) => {
                let from = self.frames.first_claimed();
                match self.queue(Framed { bytes, ..run }, from) {
                    Some((number, count)) => {
                        self.frames.commit(count, number);
                        self.kick_batch(number);
                    }
                    None => self.frames.abandon(),
                }
            }
        }
    }

    fn parked_max(&self) -> u8 {
        self.under.parked_max()
    }

    fn park(&mut self, bytes: usize) -> Option<Parked> {
        match core::mem::replace(&mut self.claimed, NOTHING) {
            Claimed::Under { why, segments } => {
                let parked = self.under.park(bytes);
                if let Some(why) = why.filter(|_| parked.is_some()) {
                    self.report.fell_back(why, segments);
                }
                parked
            }
            Claimed::Lane(run) => {
                let run = Framed { bytes, ..run };
                if !self.frames.park(run.datagrams()) {
                    return None;
                }
                *self.parked.get_mut(self.parked_runs)? = run;
                self.parked_runs += 1;
                Some(FRAMED)
            }
        }
    }

    fn parked(&self, run: Parked) -> &[u8] {
        if run == FRAMED {
            self.frames.memory()
        } else {
            self.under.parked(run)
        }
    }

    fn parked_mut(&mut self, run: Parked) -> &mut [u8] {
        if run == FRAMED {
            self.frames.memory_mut()
        } else {
            self.under.parked_mut(run)
        }
    }

    fn commit_parked(&mut self) {
        self.claimed = NOTHING;
        self.frames.abandon();
        let mut from = 0;
        for nth in 0..core::mem::take(&mut self.parked_runs) {
            let run = self.parked[nth];
            let end = from + run.datagrams();
            let sent = match self.queue(run, from) {
                Some((number, count)) => {
                    self.frames.give(from..from + count, number);
                    self.kick_batch(number);
                    from + count
                }
                None => from,
            };
            // Their lane was closed meanwhile.
            self.lost += length(end - sent);
            self.frames.let_go(sent..end);
            from = end;
        }
        self.frames.none_parked();
        self.under.commit_parked();
    }
}

impl Framed {
    fn datagrams(&self) -> usize {
        self.bytes.div_ceil(usize::from(self.segment_bytes))
    }
}
