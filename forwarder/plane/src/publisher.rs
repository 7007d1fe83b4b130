//! Owns publishers whose packets this core opens straight into the log of their stream. Hot.

use link::Region;
use link::command::{AddPublisher, Codec, TRACKS_MAX, VIDEO};
use link::ids::StreamId;
use link::limits::PAYLOAD_MAX;
use link::log::{AppendError, Flags, LogWriter, Record};
use seal::Opener;
use wire::datagram::RxMeta;
use wire::peer::Ip;
use wire::rtcp::{Item, compound};
use wire::rtp::{Header, Packet};
use wire::seq::diff32;
use wire::time::{Span, Time};

use crate::codec::{Key, key};
use crate::flow::{Flows, Target};
use crate::reorder::{Held, Pool, Waiting};
use crate::verdict::Verdict;
use crate::viewer::secret;

/// How long packets wait for one before them: reordering on a path is below this, and whoever
/// waits longer freezes as if it were lost.
const HOLD: Span = Span::millis(30);

/// Ticks from the anchor after which it moves: differences have 32 bits.
const ANCHOR_TICKS_MAX: u32 = 1 << 28;

const NS_PER_S: i64 = 1_000_000_000;

/// One track as the publisher sends it.
#[derive(Clone, Copy, Default)]
struct InTrack {
    ssrc: u32,
    clock_hz: u32,
    /// The SRTP index that is due.
    next_index: Option<u64>,
    waiting: Waiting,
    /// Packets are missing: nothing is of use before the next keyframe.
    is_broken: bool,
    /// Timestamp of the last frame, and whether it is known to be a keyframe.
    frame: Option<(u32, bool)>,
    /// The packet before the next one is missing, so that a frame may have begun with it.
    is_torn: bool,
    /// A timestamp and when it was captured.
    anchor: Option<(u32, Time)>,
}

/// One publisher.
struct Publisher {
    id: StreamId,
    flow: RxMeta,
    opener: Opener,
    writer: LogWriter,
    codec: Codec,
    tracks: [InTrack; TRACKS_MAX],
    /// Our clock less the publisher's, in nanoseconds, as its first report told.
    clock_offset_ns: Option<u64>,
    wants_key: bool,
}

/// The publishers of a core, by the index of their stream.
pub struct Publishers {
    slots: Box<[Option<Box<Publisher>>]>,
    active: Vec<u32>,
    pool: Pool,
}

impl Publishers {
    /// An empty table. Allocates all but what a publisher itself needs.
    pub fn new(streams_max: u32) -> Self {
        Self {
            slots: (0..streams_max).map(|_| None).collect(),
            active: Vec::with_capacity(streams_max as usize),
            pool: Pool::new(),
        }
    }

    /// Takes a publisher. Known already: its address is brought up to date. False: the keys cannot
    /// be used, or its log has another writer.
    pub fn add(
        &mut self,
        now: Time,
        add: &AddPublisher,
        region: &Region,
        flows: &mut Flows,
    ) -> bool {
        let index = add.stream.index;
        let flow = RxMeta {
            peer: add.peer,
            local: Ip::UNKNOWN,
        };
        let target = Target::Publisher(index);
        if let Some(known) = self.at_mut(index)
            && known.id == add.stream
        {
            let old = core::mem::replace(&mut known.flow, flow);
            flows.remove(&old, target);
            return flows.insert(now, flow, target);
        }
        self.remove_at(index, flows);
        let (Some(slot), Some(publisher)) = (
            self.slots.get_mut(index as usize),
            Publisher::new(add, flow, region),
        ) else {
            return false;
        };
        *slot = Some(publisher);
        self.active.push(index);
        flows.insert(now, flow, target)
    }

    /// Forgets the publisher of a stream.
    pub fn remove(&mut self, id: StreamId, flows: &mut Flows) {
        if self.at_mut(id.index).is_some_and(|known| known.id == id) {
            self.remove_at(id.index, flows);
        }
    }

    /// RTP of the publisher of the stream with this index.
    pub fn on_rtp(&mut self, now: Time, stream: u32, bytes: &mut [u8]) -> Verdict {
        let Self { slots, pool, .. } = self;
        let Some(Some(publisher)) = slots.get_mut(stream as usize) else {
            return Verdict::Unknown;
        };
        let opened = match publisher.opener.rtp(bytes) {
            Ok(opened) => opened,
            Err(refusal) => return Verdict::of_rtp(refusal),
        };
        let Ok(packet) = Packet::parse(opened.packet) else {
            return Verdict::RtpMalformed;
        };
        let (index, header, payload) = (opened.index, packet.header(), packet.payload());
        let mut known = publisher.tracks.iter();
        let Some(lane) = known.position(|track| track.ssrc != 0 && track.ssrc == header.ssrc)
        else {
            return Verdict::RtpUnknownSsrc;
        };
        publisher.take(pool, now, lane, index, &header, payload)
    }

    /// RTCP of the publisher of the stream with this index: when was what captured?
    pub fn on_rtcp(&mut self, now: Time, stream: u32, bytes: &mut [u8]) -> Verdict {
        let Some(publisher) = self.at_mut(stream) else {
            return Verdict::Unknown;
        };
        let plain = match publisher.opener.rtcp(bytes) {
            Ok(plain) => plain,
            Err(refusal) => return Verdict::of_rtcp(refusal),
        };
        let mut items = compound(plain);
        for item in items.by_ref() {
            if let Item::SenderReport(report) = item {
                let theirs = report.info.ntp.to_unix_ns();
                let offset = *publisher
                    .clock_offset_ns
                    .get_or_insert(now.0.wrapping_sub(theirs));
                let captured = Time(theirs.wrapping_add(offset));
                for track in &mut publisher.tracks {
                    if track.ssrc != 0 && track.ssrc == report.info.ssrc {
                        track.anchor = Some((report.info.rtp_timestamp, captured));
                    }
                }
            }
        }
        if items.malformed().is_some() {
            return Verdict::RtcpMalformed;
        }
        Verdict::Heard
    }

    /// Gives up what has been waited for too long, and makes what came visible, once a turn.
    pub fn release(&mut self, now: Time) {
        let Self {
            slots,
            pool,
            active,
        } = self;
        for &index in active.iter() {
            let Some(Some(publisher)) = slots.get_mut(index as usize) else {
                continue;
            };
            for lane in 0..TRACKS_MAX {
                let is_due = |first: &Held| now.since(first.at) >= HOLD;
                while publisher.tracks[lane]
                    .waiting
                    .first(pool)
                    .is_some_and(is_due)
                {
                    publisher.skip(pool, now, lane);
                }
            }
            publisher.writer.publish();
        }
    }

    /// True if the publisher of this stream should be asked for a keyframe; it has been, then.
    pub fn takes_wish(&mut self, stream: u32) -> bool {
        self.at_mut(stream)
            .is_some_and(|known| core::mem::take(&mut known.wants_key))
    }

    /// When [`Publishers::release`] has something to give up.
    pub fn next_deadline(&self) -> Time {
        let publishers = self
            .active
            .iter()
            .filter_map(|&index| self.slots.get(index as usize));
        let tracks = publishers.flatten().flat_map(|publisher| &publisher.tracks);
        tracks
            .filter_map(|track| track.waiting.first(&self.pool))
            .map(|first| first.at + HOLD)
            .min()
            .unwrap_or(Time::FAR)
    }

    fn at_mut(&mut self, index: u32) -> Option<&mut Publisher> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    fn remove_at(&mut self, index: u32, flows: &mut Flows) {
        let gone = self.slots.get_mut(index as usize).and_then(Option::take);
        if let Some(mut gone) = gone {
            for track in &mut gone.tracks {
                track.waiting.clear(&mut self.pool);
            }
            gone.writer.publish();
            flows.remove(&gone.flow, Target::Publisher(index));
            self.active.retain(|&other| other != index);
        }
    }
}

impl Publisher {
    /// A publisher that has sent nothing. `None`: the keys cannot be used, or its log has another
    /// writer.
    fn new(add: &AddPublisher, flow: RxMeta, region: &Region) -> Option<Box<Self>> {
        let secret = secret(&add.keys, &add.keys.receive).ok()?;
        let mut tracks = [InTrack::default(); TRACKS_MAX];
        for (lane, track) in tracks.iter_mut().enumerate() {
            track.ssrc = add.tracks[lane].ssrc;
            track.clock_hz = add.tracks[lane].clock_hz;
            // Nobody can start before the first keyframe.
            track.is_broken = lane == VIDEO;
            track.is_torn = true;
        }
        Some(Box::new(Self {
            id: add.stream,
            flow,
            opener: Opener::new(&secret).ok()?,
            writer: region.log_writer(add.stream).ok()?,
            codec: add.tracks[VIDEO].codec,
            tracks,
            clock_offset_ns: None,
            wants_key: false,
        }))
    }

    /// Takes a packet in its turn, or keeps it until then.
    fn take(
        &mut self,
        pool: &mut Pool,
        now: Time,
        lane: usize,
        index: u64,
        header: &Header,
        payload: &[u8],
    ) -> Verdict {
        loop {
            let track = &mut self.tracks[lane];
            let due = *track.next_index.get_or_insert(index);
            if index < due {
                return Verdict::Late;
            }
            if index == due {
                break;
            }
            if track.waiting.hold(pool, now, index, *header, payload) {
                return Verdict::Ingested;
            }
            // No room to wait: what is missing counts as lost.
            if !self.skip(pool, now, lane) {
                self.lose(lane, index);
                break;
            }
        }
        self.tracks[lane].next_index = Some(index + 1);
        let verdict = self.append(now, lane, header, payload);
        self.drain(pool, now, lane);
        verdict
    }

    /// Goes on after a loss with the first packet that waits. False: none does.
    fn skip(&mut self, pool: &mut Pool, now: Time, lane: usize) -> bool {
        let Some(first) = self.tracks[lane].waiting.first(pool) else {
            return false;
        };
        let index = first.index;
        self.lose(lane, index);
        self.drain(pool, now, lane);
        true
    }

    /// Gives up what is missing before `index`. Sequence numbers of viewers are continuous: a
    /// decoder would not notice the gap and show garbage. A frozen picture is honest.
    fn lose(&mut self, lane: usize, index: u64) {
        let track = &mut self.tracks[lane];
        track.next_index = Some(index);
        track.is_broken |= lane == VIDEO;
        track.is_torn = true;
    }

    /// Appends what waits and is due now.
    fn drain(&mut self, pool: &mut Pool, now: Time, lane: usize) {
        while let Some(due) = self.tracks[lane].next_index
            && let Some(frame) = self.tracks[lane].waiting.take(pool, due)
        {
            let held = pool.held(frame);
            let header = held.header;
            self.append(now, lane, &header, held.payload());
            pool.release(frame);
            self.tracks[lane].next_index = Some(due + 1);
        }
    }

    fn append(&mut self, now: Time, lane: usize, header: &Header, payload: &[u8]) -> Verdict {
        // Padding alone: a probe.
        if payload.is_empty() {
            return Verdict::Ingested;
        }
        if payload.len() > PAYLOAD_MAX {
            self.tracks[lane].is_broken |= lane == VIDEO;
            return Verdict::RtpMalformed;
        }
        let track = &mut self.tracks[lane];
        let (same_frame, was_key) = match track.frame {
            Some((timestamp, key)) if timestamp == header.timestamp => (true, key),
            _ => (false, false),
        };
        let said = match lane {
            VIDEO => key(self.codec, payload),
            _ => Key::No,
        };
        let is_torn = core::mem::take(&mut track.is_torn);
        let is_key = was_key || said > Key::No;
        let starts_key = is_key && !was_key;
        // A picture alone may be the rest of one whose beginning was lost.
        let is_whole = said == Key::Start || !same_frame && !is_torn;
        if track.is_broken && !(starts_key && is_whole) {
            self.wants_key |= !same_frame;
            track.frame = Some((header.timestamp, false));
            return Verdict::Unusable;
        }
        track.is_broken = false;
        track.frame = Some((header.timestamp, is_key));
        let mut flags = Flags::NONE;
        // Where the parameter sets follow something else, the frame starts with them.
        if !same_frame || starts_key {
            flags |= Flags::FIRST;
        }
        if is_key {
            flags |= Flags::KEY;
        }
        if header.marker {
            flags |= Flags::LAST;
        }
        let record = Record {
            track: u8::try_from(lane).unwrap_or_default(),
            flags,
            timestamp: header.timestamp,
            capture: track.captured(now, header.timestamp),
            arrival: now,
            ..Record::default()
        };
        match self.writer.append(&record, &[payload]) {
            Ok(_) => Verdict::Ingested,
            Err(AppendError::Stalled) => {
                self.tracks[lane].is_broken |= lane == VIDEO;
                Verdict::LogStalled
            }
            Err(AppendError::TooLong | AppendError::NoSuchTrack) => Verdict::RtpMalformed,
        }
    }
}

impl InTrack {
    /// When a timestamp was captured, on our clock.
    fn captured(&mut self, now: Time, timestamp: u32) -> Time {
        let (base, at) = *self.anchor.get_or_insert((timestamp, now));
        let ticks = diff32(timestamp, base);
        let ns = i64::from(ticks) * NS_PER_S / i64::from(self.clock_hz.max(1));
        let captured = Time(at.0.saturating_add_signed(ns));
        if ticks.unsigned_abs() > ANCHOR_TICKS_MAX {
            self.anchor = Some((timestamp, captured));
        }
        captured
    }
}
