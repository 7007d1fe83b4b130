//! Owns one publisher: whose packets are whose, their way into the log, what its reports say. Hot.

use link::command::{AUDIO, AddPublisher, TRACKS_MAX};
use link::ids::{StreamId, ViewerId};
use link::lanes::{LANES_MAX, LAYERS, Lanes};
use link::limits::PAYLOAD_MAX;
use link::log::{AppendError, Flags, LogWriter, Record};
use link::stats::{Intake, StreamStats};
use seal::Opener;
use wire::datagram::RxMeta;
use wire::rtp::{Header, Packet};
use wire::rtp_ext::find;
use wire::seq::extend;
use wire::time::Time;

use crate::lane::{InLane, Kind, Names, Useless};
use crate::publishers::Home;
use crate::reorder::{Gap, Order, Place, Pool};
use crate::upstream::Upstream;
use crate::verdict::Verdict;

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
    /// What the counters of the core know of it: lost and recovered.
    pub told: (u64, u64),
    stats: StreamStats,
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
            told: (intake.lost, intake.recovered),
            intake,
            stats: home.stats,
            tell_at: now,
        }
    }

    /// Tells what was taken in.
    pub fn tell(&mut self) {
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
        match kind {
            Kind::Media => self.take(pool, now, (lane, kind), index, &header, packet.payload()),
            Kind::Rtx => self.unpack(pool, now, lane, &header, packet.payload()),
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
        allowed.find_map(|(at, lane)| Some((at, lane.bind(pool, now, header, names)?)))
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
    fn unpack(
        &mut self,
        pool: &mut Pool,
        now: Time,
        lane: usize,
        header: &Header,
        payload: &[u8],
    ) -> Verdict {
        let Some((sequence, original)) = payload.split_first_chunk::<2>() else {
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
        self.take(pool, now, (lane, Kind::Rtx), index, header, original)
    }

    /// A packet of a track, in whatever order and way they come.
    fn take(
        &mut self,
        pool: &mut Pool,
        now: Time,
        (lane, kind): (usize, Kind),
        index: u64,
        header: &Header,
        payload: &[u8],
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
                    let packet = (*header, payload);
                    if track.order.hold(pool, now, index, packet, ask_after) {
                        let is_awaited = track.is_broken && track.starts_key(payload);
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
        let verdict = self.append(now, lane, header, payload);
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
            self.append(now, lane, &held.header, held.payload());
            pool.release(frame);
        }
    }

    fn append(&mut self, now: Time, lane: usize, header: &Header, payload: &[u8]) -> Verdict {
        if payload.is_empty() {
            return Verdict::Padding;
        }
        if payload.len() > PAYLOAD_MAX {
            self.lanes[lane].is_broken |= lane != AUDIO;
            return Verdict::RtpMalformed;
        }
        let Self { lanes, writer, .. } = self;
        let track = &mut lanes[lane];
        let mut flags = match track.judge(header, payload) {
            Ok(flags) => flags,
            Err(Useless { begins_frame }) => {
                if begins_frame {
                    if self.viewer.is_none() {
                        self.wants_key = self.wants_key.with(lane);
                    }
                    self.upstream.pleas[lane].wish();
                }
                return Verdict::Unusable;
            }
        };
        let place = track.place(header, payload);
        flags |= place.flags;
        let mut padding: &[u8] = &[];
        if track.is_padded(flags, place.bytes()) {
            flags |= Flags::PADDED;
            padding = &[1];
        }
        let capture = track.timeline.captured(now, header.timestamp);
        if self.is_layered && flags.starts_keyframe() && lane != AUDIO {
            writer.publish();
            let others = LAYERS.into_iter().filter(|other| *other != lane);
            let newest = others.filter_map(|other| writer.newest(other));
            if let Some(other) = newest.max_by_key(|record| record.arrival) {
                track.timeline.align(header.timestamp, capture, &other);
            }
        }
        let timestamp = track.timeline.mapped(header.timestamp, capture, || {
            // What was appended in this turn counts as well.
            writer.publish();
            writer.newest(lane)
        });
        let record = Record {
            lane: u8::try_from(lane).unwrap_or_default(),
            flags,
            timestamp,
            capture,
            arrival: now,
            spatial: place.spatial,
            temporal: place.temporal,
            ..Record::default()
        };
        let front = place.front.as_ref().map_or(&[][..], |front| front);
        match writer.append(&record, &[front, place.rest, padding]) {
            Ok(_) => {
                if let Some(size) = place.size {
                    self.intake.sizes[lane] = (size.width, size.height);
                }
                self.count(lane, flags, payload.len());
                Verdict::Ingested
            }
            Err(AppendError::Stalled) => {
                track.is_broken |= lane != AUDIO;
                Verdict::LogStalled
            }
            Err(AppendError::TooLong | AppendError::NoSuchLane) => Verdict::RtpMalformed,
        }
    }

    fn count(&mut self, lane: usize, flags: Flags, bytes: usize) {
        let intake = &mut self.intake;
        intake.packets[lane] += 1;
        intake.bytes[lane] += bytes as u64;
        if lane == AUDIO || !flags.has(Flags::FIRST) {
            return;
        }
        intake.frames[lane] += 1;
        if flags.starts_keyframe() {
            intake.keyframes += 1;
            self.upstream.pleas[lane].on_keyframe();
        }
    }
}
