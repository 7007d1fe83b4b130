//! Owns one publisher: whose packets are whose, their way into the log, what its reports say. Hot.

use link::command::{AUDIO, AddPublisher, TRACKS_MAX};
use link::heard::{Heard, HeardSource};
use link::ids::{StreamId, ViewerId};
use link::lanes::{LANES_MAX, LAYERS, Lanes};
use link::log::LogWriter;
use link::stats::{Intake, StreamStats};
use seal::Opener;
use wire::datagram::RxMeta;
use wire::rtp::{Header, Packet};
use wire::rtp_ext::find;
use wire::seq::extend;
use wire::time::Time;
use zeroize::Zeroizing;

use crate::coming::Coming;
use crate::lane::{InLane, Kind, Names};
use crate::publishers::Home;
use crate::reorder::{Gap, Order, Place, Pool};
use crate::upstream::Upstream;
use crate::verdict::Verdict;

mod append;

/// A repair may overtake so many packets that were sent before it. One of what lies further ahead
/// is of something very old, whose number was taken for a new one.
const RTX_AHEAD_MAX: u64 = 64;

/// One way on which packets of a publisher come in.
pub struct Way {
    /// Where they come from, without a viewer.
    pub flow: Option<RxMeta>,
    /// Opens them.
    pub opener: Opener,
    /// What may come on it.
    pub lanes: Lanes,
}

impl Way {
    /// The sources that have come on it, with the highest index of each.
    fn sources(&mut self) -> impl Iterator<Item = (u32, u64)> {
        self.opener.rtp_half().sources()
    }
}

/// One publisher.
pub struct Publisher {
    /// The stream that it feeds.
    pub id: StreamId,
    /// The viewer without tracks through which it is reached.
    pub viewer: Option<ViewerId>,
    /// How its packets come in; the first is always there.
    pub ways: [Option<Way>; TRACKS_MAX],
    /// Where they go.
    pub writer: LogWriter,
    /// When that came whose packets are appended: of those that waited for it, too. They were in
    /// nobody's way before.
    pub came: Option<Time>,
    /// Its lanes.
    pub lanes: [InLane; LANES_MAX],
    /// Identifiers of the extensions that name encodings; 0: none.
    rid_id: u8,
    repaired_rid_id: u8,
    /// It sends several layers of video.
    is_layered: bool,
    /// What goes back to it.
    pub upstream: Upstream,
    /// Our clock less the publisher's, in nanoseconds, as its first report told.
    pub clock_offset_ns: Option<u64>,
    /// Without a viewer: control is to ask it for keyframes of these lanes.
    pub wants_key: Lanes,
    /// What has been taken in of the stream.
    pub intake: Intake,
    /// Header-extension elements for which there was no room.
    pub dropped: u64,
    /// What the counters of the core know of it: lost, recovered, and elements left out.
    pub told: [u64; 3],
    stats: StreamStats,
    /// What the next worker would go on with if this one died.
    pub heard: Option<Heard>,
    /// What it was added by, for the worker that takes the place of this one.
    pub given: Zeroizing<AddPublisher>,
    /// When the intake is told next.
    pub tell_at: Time,
}

impl Publisher {
    /// Bytes that one allocates.
    pub const MEMORY_BYTES: usize = size_of::<Self>() + LANES_MAX * Order::MEMORY_BYTES;

    /// A publisher that has sent nothing.
    pub fn new(
        now: Time,
        add: &AddPublisher,
        home: Home<'_>,
        ways: [Option<Way>; TRACKS_MAX],
        writer: LogWriter,
    ) -> Self {
        let intake = home.stats.intake();
        Self {
            id: add.stream,
            viewer: add.viewer,
            ways,
            writer,
            came: None,
            lanes: core::array::from_fn(|lane| InLane::new(now, &add.lanes[lane], lane != AUDIO)),
            rid_id: add.rid_id,
            repaired_rid_id: add.repaired_rid_id,
            is_layered: LAYERS
                .iter()
                .filter(|&&lane| add.lanes[lane].clock_hz != 0)
                .count()
                > 1,
            upstream: Upstream::new(add, home.ssrc),
            clock_offset_ns: None,
            wants_key: Lanes::default(),
            dropped: 0,
            told: [intake.lost, intake.recovered, 0],
            intake,
            stats: home.stats,
            heard: home.region.heard(add.stream).ok(),
            given: Zeroizing::new(*add),
            tell_at: now,
        }
    }

    /// Goes on where another worker was that has died: what that one has opened counts as seen,
    /// and pictures go on with the next keyframe.
    pub fn resume(&mut self, now: Time) {
        let Some(heard) = &self.heard else { return };
        heard.begin(self.viewer);
        let mut resumed = Lanes::default();
        for source in heard.sources() {
            let lane = self.lanes.get_mut(source.lane);
            let Some(lane) = lane.filter(|lane| lane.is_there()) else {
                continue;
            };
            lane.resume(now, source.is_rtx, source.ssrc);
            resumed = resumed.with(source.lane);
            let ways = self.ways.iter_mut().flatten();
            for way in ways.filter(|way| way.lanes.has(source.lane)) {
                // Its table is empty yet.
                way.opener.rtp_half().resume(source.ssrc, source.index);
            }
        }
        self.wish(resumed);
    }

    /// Puts down what the next worker would go on with.
    fn put_down(&mut self) {
        let Some(heard) = &self.heard else { return };
        for (ssrc, index) in self.ways.iter_mut().flatten().flat_map(|way| way.sources()) {
            let kinds = self.lanes.iter().map(|lane| lane.kind(ssrc)).enumerate();
            for (lane, kind) in kinds {
                if let Some(kind) = kind {
                    heard.set(&HeardSource {
                        lane,
                        is_rtx: kind == Kind::Rtx,
                        ssrc,
                        index,
                    });
                }
            }
        }
    }

    /// Tells what was taken in.
    pub fn tell(&mut self) {
        self.put_down();
        let rtt = self.upstream.rtt.map_or(0, |rtt| rtt.as_micros().max(1));
        self.intake.rtt_us = rtt;
        self.stats.set_intake(&self.intake);
    }

    /// When the packet that is due is given up, if others wait for it.
    #[inline]
    pub fn gives_up_at(&self, lane: usize) -> Time {
        let lane = &self.lanes[lane];
        match lane.order.missing_since() {
            Some(since) => since + lane.hold(self.upstream.rtt),
            None => Time::FAR,
        }
    }

    /// An authentic packet with its SRTP index, which came on a way for `lanes`.
    pub fn on_packet(
        &mut self,
        pool: &mut Pool,
        now: Time,
        lanes: Lanes,
        index: u64,
        packet: &Packet<'_>,
    ) -> Verdict {
        self.upstream.on_packet(now, packet);
        let header = packet.header();
        let Some((lane, kind)) = self.sort(pool, now, lanes, &header, packet) else {
            return Verdict::RtpUnknownSsrc;
        };
        self.intake.arrival = now;
        if self.lanes[lane].hear(now, kind, index, header.timestamp) {
            self.upstream.report_soon(now);
        }
        let Some((coming, dropped)) = Coming::of(&self.lanes[lane].given, packet) else {
            return Verdict::RtpMalformed;
        };
        self.dropped += dropped;
        match kind {
            Kind::Media => self.take(pool, now, (lane, kind), index, &coming),
            Kind::Rtx => self.unpack(pool, now, lane, &coming),
        }
    }

    /// Which lane a packet is of.
    #[inline]
    fn sort(
        &mut self,
        pool: &mut Pool,
        now: Time,
        lanes: Lanes,
        header: &Header,
        packet: &Packet<'_>,
    ) -> Option<(usize, Kind)> {
        for (at, lane) in self.lanes.iter().enumerate() {
            if lanes.has(at)
                && let Some(kind) = lane.kind(header.ssrc)
            {
                return lane.takes(kind, header.payload_type).then_some((at, kind));
            }
        }
        let name = |id: u8| (id != 0).then(|| find(packet.extension()?, id)).flatten();
        let names = Names {
            rid: name(self.rid_id),
            repaired_rid: name(self.repaired_rid_id),
        };
        let mut allowed = self
            .lanes
            .iter_mut()
            .enumerate()
            .filter(|(at, _)| lanes.has(*at));
        let bound = allowed.find_map(|(at, lane)| Some((at, lane.bind(pool, now, header, names)?)));
        if bound.is_some() {
            // Names are on the first packets alone: another worker would not learn of it.
            self.tell_at = now;
        }
        bound
    }

    /// Lets it be asked for keyframes of these lanes.
    pub fn wish(&mut self, lanes: Lanes) {
        for lane in lanes.and(Lanes::VIDEO).iter() {
            if self.lanes[lane].is_there() {
                self.upstream.pleas[lane].wish();
            }
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc4588#section-4
    //# the OSN field is set to the sequence number of the associated original packet
    fn unpack(&mut self, pool: &mut Pool, now: Time, lane: usize, packet: &Coming<'_>) -> Verdict {
        let Some((sequence, original)) = packet.payload.split_first_chunk::<2>() else {
            return Verdict::Padding;
        };
        if original.is_empty() {
            return Verdict::Padding;
        }
        let Some(newest) = self.lanes[lane].order.newest() else {
            return Verdict::Late;
        };
        let index = extend(newest, u16::from_be_bytes(*sequence));
        if index > newest + RTX_AHEAD_MAX {
            return Verdict::Late;
        }
        let original = Coming {
            payload: original,
            ..*packet
        };
        self.take(pool, now, (lane, Kind::Rtx), index, &original)
    }

    /// A packet of a track, in whatever order and way they come.
    fn take(
        &mut self,
        pool: &mut Pool,
        now: Time,
        (lane, kind): (usize, Kind),
        index: u64,
        packet: &Coming<'_>,
    ) -> Verdict {
        loop {
            let track = &mut self.lanes[lane];
            match track.order.place(index) {
                Place::Known => return Verdict::Duplicate,
                Place::Lost => return Verdict::Late,
                Place::Due => break,
                Place::Early => {
                    let ask_after = track.ask_after();
                    let gap = track.order.gap(index);
                    if track.order.hold(pool, now, index, packet, ask_after) {
                        let is_awaited = track.is_broken && track.starts_key(packet.payload);
                        self.fill(now, lane, kind, gap);
                        // What is missing before it would be of no use.
                        while is_awaited
                            && self.lanes[lane].order.awaits(index)
                            && self.skip(pool, now, lane)
                        {}
                        return Verdict::Ingested;
                    }
                }
                Place::Far => {}
            }
            // No room to wait: what is missing counts as lost.
            if !self.skip(pool, now, lane) {
                self.lose(lane, index);
                break;
            }
        }
        let order = &mut self.lanes[lane].order;
        let gap = order.gap(index);
        order.pass(index);
        self.fill(now, lane, kind, gap);
        let verdict = self.append(now, lane, packet);
        self.drain(pool, now, lane);
        verdict
    }

    /// A packet that was missing has come.
    #[inline]
    fn fill(&mut self, now: Time, lane: usize, kind: Kind, gap: Option<Gap>) {
        let Some(gap) = gap else {
            return;
        };
        let track = &mut self.lanes[lane];
        let is_answer = gap.asks > 0 && track.answers(now, gap.asked, self.upstream.rtt);
        if kind == Kind::Rtx || is_answer {
            self.intake.recovered += 1;
        } else {
            track.is_reordered = true;
        }
    }

    /// Goes on after a loss with the first packet that waits. False: none does.
    pub fn skip(&mut self, pool: &mut Pool, now: Time, lane: usize) -> bool {
        let Some(first) = self.lanes[lane].order.first_held() else {
            return false;
        };
        self.lose(lane, first);
        self.drain(pool, now, lane);
        true
    }

    /// Gives up what is missing before `index`. Sequence numbers of viewers are continuous: a
    /// decoder would not notice the gap and show garbage. A frozen picture is honest.
    fn lose(&mut self, lane: usize, index: u64) {
        let track = &mut self.lanes[lane];
        let lost = track.order.give_up(index);
        self.intake.lost = self.intake.lost.saturating_add(lost);
        track.is_broken |= lane != AUDIO;
        track.is_torn = true;
    }

    /// Appends what waits and is due now.
    #[inline]
    fn drain(&mut self, pool: &mut Pool, now: Time, lane: usize) {
        while let Some(frame) = self.lanes[lane].order.take_due() {
            let held = pool.held(frame);
            self.append(now, lane, &held.coming());
            pool.release(frame);
        }
    }
}
