//! Owns sending by AF_XDP: frames with their headers, straight to a device. It stands before
//! another port, which receives, and sends what has no such way. Hot.
//!
//! What goes where is found out by [`crate::route`]; until it is known, and whenever a way is lost,
//! a run leaves by the other port.

mod egress;
mod frames;
mod lane;
mod mapping;
mod places;
mod ring;
mod socket;

#[cfg(test)]
mod tests;

use crate::clock;
use crate::port::{FlushReport, Port, XdpReport};
use crate::route::{Ask, End, Line, Told};
use egress::{Claimed, Framed, NOTHING};
pub(crate) use frames::Frames;
use lane::Kick;
pub use lane::Lane;
pub(crate) use mapping::Mapping;
pub use places::Fallback;
use places::Places;
pub(crate) use places::Way;
pub(crate) use socket::{Target, memory, open, probe};
use wire::datagram::{PARKED_MAX, RxSink};
use wire::time::{Span, Time};

/// Devices that a core sends through at once; viewers behind others go by the socket.
pub const LANES_MAX: usize = 8;
const LANES: u8 = 8;

/// What the router has to say is listened to so many messages a turn: each is a copy of 150 bytes.
const TOLD_TURN_MAX: usize = 64;

/// What a device has not let go of so long after its lane was closed is never used again.
const LET_GO: Span = Span::secs(10);

/// Places that are looked at in a turn for viewers that have gone.
const LOOKS_TURN: usize = 4;

/// A closed lane. Some devices are given the frame itself even in copy mode, and it has to stay as
/// it is until they have sent it or let it go.
struct Closed {
    lane: Lane,
    /// When it was seen closed first.
    since: Option<Time>,
}

/// A port that sends by AF_XDP where it can and by `P` where it can't, and receives by `P`.
pub struct Xdp<P> {
    under: P,
    line: Line,
    frames: Frames,
    places: Places,
    lanes: [Option<Lane>; LANES_MAX],
    /// Lanes on their way back to the router, which ends them.
    closed: [Option<Closed>; LANES_MAX],
    claimed: Claimed,
    /// Runs that are parked in frames, in order.
    parked: [Framed; PARKED_MAX as usize],
    parked_runs: usize,
    /// The router has been told something since the last flush.
    spoke: bool,
    now_s: u32,
    /// Datagrams that a lane had and has lost.
    lost: u32,
    bytes: u64,
    report: XdpReport,
}

impl<P: Port> Xdp<P> {
    /// Puts the lanes of `end` before `under`, for viewers with indexes below `viewers_max`.
    pub fn new(under: P, end: End, viewers_max: u32) -> Self {
        Self {
            under,
            line: end.line,
            frames: end.frames,
            places: Places::new(viewers_max),
            lanes: [const { None }; LANES_MAX],
            closed: [const { None }; LANES_MAX],
            claimed: NOTHING,
            parked: [Framed::default(); PARKED_MAX as usize],
            parked_runs: 0,
            spoke: false,
            now_s: 0,
            lost: 0,
            bytes: 0,
            report: XdpReport::default(),
        }
    }

    /// The port under it.
    pub fn under(&self) -> &P {
        &self.under
    }

    /// Listens to the router.
    fn listen(&mut self) {
        for _ in 0..TOLD_TURN_MAX {
            match self.line.told.try_recv() {
                Ok(Told::Way {
                    viewer,
                    peer,
                    local,
                    way,
                }) => self.places.answer(viewer, peer, local, way),
                Ok(Told::Open { number, lane }) => {
                    self.close(number);
                    if let Some(place) = self.lanes.get_mut(usize::from(number)) {
                        *place = Some(lane);
                    }
                }
                Ok(Told::Close { number }) => self.close(number),
                Err(_) => return,
            }
        }
    }

    /// Sends nothing more by a lane; what the kernel has not taken of it is lost.
    fn close(&mut self, number: u8) {
        let place = self.lanes.get_mut(usize::from(number));
        let Some(mut lane) = place.and_then(Option::take) else {
            return;
        };
        self.report.wakeups += lane.calls();
        self.lost += lane.waiting();
        if let Some(place) = self.closed.get_mut(usize::from(number)) {
            let since = None;
            *place = Some(Closed { lane, since });
        }
    }

    /// Sends closed lanes to the router once all that the kernel took has come back, as far as the
    /// router has room.
    fn give_back(&mut self, now: Time) {
        for (number, place) in (0..).zip(&mut self.closed) {
            let Some(mut closed) = place.take() else {
                continue;
            };
            let since = *closed.since.get_or_insert(now);
            closed.lane.reclaim(&mut self.frames, number);
            let is_back = closed.lane.out() <= closed.lane.waiting();
            if !is_back && now.since(since) < LET_GO {
                *place = Some(closed);
                continue;
            }
            if is_back {
                self.frames.release_all(number);
            } else {
                self.frames.lose_all(number);
            }
            let lane = self.line.give_back(number, closed.lane);
            *place = lane.map(|lane| Closed { lane, ..closed });
            self.spoke = true;
        }
    }

    /// Makes the kernel take what a lane has.
    fn kick(&mut self, number: u8) {
        if let Some(Some(lane)) = self.lanes.get_mut(usize::from(number)) {
            match lane.kick() {
                Kick::Done | Kick::Full => lane.reclaim(&mut self.frames, number),
                Kick::Broken => self.close(number),
            }
        }
    }

    fn is_open(&self, number: u8) -> bool {
        matches!(self.lanes.get(usize::from(number)), Some(Some(_)))
    }

    /// Once a turn: what is queued goes to the kernel, what hangs is closed.
    fn serve(&mut self, now: Time) {
        self.give_back(now);
        for number in 0..LANES {
            self.kick(number);
            if let Some(Some(lane)) = self.lanes.get_mut(usize::from(number)) {
                self.report.wakeups += lane.calls();
                if lane.is_stalled(now) {
                    self.close(number);
                }
            }
        }
        for _ in 0..LOOKS_TURN {
            if let Some(viewer) = self.places.idle(self.now_s) {
                let core = self.line.core;
                if self.line.say(Ask::Forget { core, viewer }) {
                    self.places.forget(viewer);
                    self.spoke = true;
                }
            }
        }
        if core::mem::take(&mut self.spoke) {
            self.line.wake.wake();
        }
    }
}

/// Sizes of frames and their counts fit by far.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl<P: Port> Port for Xdp<P> {
    fn recv(&mut self, now: Time, sink: &mut impl RxSink) -> usize {
        self.now_s = u32::try_from(now.0 / Span::secs(1).0).unwrap_or(u32::MAX);
        self.listen();
        self.under.recv(now, sink)
    }

    fn flush(&mut self, now: Time) -> FlushReport {
        self.serve(now);
        let mut report = self.under.flush(now);
        report.xdp = core::mem::take(&mut self.report);
        if report.xdp.datagrams > 0 {
            report.at = clock::now();
        }
        report.datagrams += report.xdp.datagrams;
        report.bytes += core::mem::take(&mut self.bytes);
        report.dropped += core::mem::take(&mut self.lost);
        report.errors += length(self.frames.strays());
        let waiting = self.lanes.iter().flatten().map(Lane::waiting);
        report.waiting += waiting.sum::<u32>();
        report
    }

    fn wait(&mut self, until: Time) {
        self.under.wait(until);
    }

    fn leave(&mut self, now: Time, sink: &mut impl RxSink) -> usize {
        self.under.leave(now, sink)
    }
}
