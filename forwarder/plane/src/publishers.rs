//! Owns the publishers whose packets this core opens: finds them, takes them, lets them go. Hot.

use link::Region;
use link::command::{AUDIO, AddPublisher, TRACKS_MAX};
use link::ids::{StreamId, ViewerId};
use link::keys::{MasterKey, Profile};
use link::lanes::{LANES_MAX, Lanes};
use link::stats::{Counter, Stats, StreamStats};
use seal::Opener;
use wire::datagram::RxMeta;
use wire::peer::{Ip, Peer};
use wire::rtcp::{Item, compound};
use wire::rtp::Packet;
use wire::time::{Span, Time};

use crate::flow::{Flows, Target};
use crate::handover::PublisherState;
use crate::publisher::{Publisher, Way};
use crate::reorder::Pool;
use crate::report::Wall;
use crate::verdict::Verdict;
use crate::viewer::secret;

/// From one telling of what was taken in to the next.
const TELL_INTERVAL: Span = Span::secs(1);

/// The publishers of a core, by the index of their stream.
pub struct Publishers {
    slots: Box<[Option<Box<Publisher>>]>,
    active: Vec<u32>,
    pool: Pool,
}

/// On what a packet of a publisher has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// On the flow of its viewer.
    Viewer(ViewerId),
    /// On the flow of this one of its ways.
    Way(u8),
}

/// What a new publisher finds here.
pub struct Home<'a> {
    /// Where the log is.
    pub region: &'a Region,
    /// The line of its stream on this core.
    pub stats: StreamStats,
    /// Under which SSRC it is spoken to.
    pub ssrc: u32,
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

    /// Takes a publisher, as another worker left it if that is known. Known already: its address
    /// is brought up to date. Another one of the stream makes room for it. False: the keys cannot
    /// be used, or its log has another writer.
    pub fn add(
        &mut self,
        now: Time,
        add: &AddPublisher,
        home: Home<'_>,
        before: Option<&PublisherState>,
        flows: &mut Flows,
    ) -> bool {
        let index = add.stream.index;
        if let Some(known) = self.at_mut(index)
            && known.id == add.stream
            && known.viewer == add.viewer
        {
            known.upstream.remb_bps = add.remb_bps;
            known.given.remb_bps = add.remb_bps;
            known.given.peer = add.peer;
            known.given.audio.peer = add.audio.peer;
            let new = flows_of(add);
            known.leave(flows);
            for (way, flow) in known.ways.iter_mut().zip(new) {
                if let Some(way) = way {
                    way.flow = flow;
                }
            }
            return known.enter(now, flows);
        }
        // Another one stays until it is sure that this one can be.
        let Some(ways) = ways(add) else {
            return false;
        };
        self.remove_at(index, flows);
        let (Some(slot), Ok(writer)) = (
            self.slots.get_mut(index as usize),
            home.region.log_writer(add.stream),
        ) else {
            return false;
        };
        let publisher = slot.insert(Box::new(Publisher::new(now, add, home, ways, writer)));
        match before {
            Some(before) => publisher.go_on(&mut self.pool, now, before),
            None => publisher.resume(now),
        }
        let is_reachable = publisher.enter(now, flows);
        self.active.push(index);
        if !is_reachable {
            self.remove_at(index, flows);
        }
        is_reachable
    }

    /// Forgets the publisher of a stream.
    pub fn remove(&mut self, id: StreamId, flows: &mut Flows) {
        if self.at_mut(id.index).is_some_and(|known| known.id == id) {
            self.remove_at(id.index, flows);
        }
    }

    /// Forgets the publisher of the stream with this index if it came by this viewer.
    pub fn leave(&mut self, stream: u32, viewer: ViewerId, flows: &mut Flows) {
        if self.of(stream, Some(viewer)).is_some() {
            self.remove_at(stream, flows);
        }
    }

    /// RTP of the publisher of the stream with this index, in a turn that began at the first of
    /// these times, and received at the second, if that is known.
    pub fn on_rtp(
        &mut self,
        (now, came): (Time, Option<Time>),
        stream: u32,
        by: By,
        bytes: &mut [u8],
    ) -> Verdict {
        let Self { slots, pool, .. } = self;
        let slot = slots
            .get_mut(stream as usize)
            .and_then(Option::as_deref_mut);
        let Some(publisher) = slot.filter(|publisher| publisher.comes(by)) else {
            return Verdict::Unknown;
        };
        let Some(way) = publisher.way_mut(by) else {
            return Verdict::Unknown;
        };
        let lanes = way.lanes;
        let opened = match way.opener.rtp(bytes) {
            Ok(opened) => opened,
            Err(refusal) => return Verdict::of_rtp(refusal),
        };
        match Packet::parse(opened.packet) {
            Ok(packet) => {
                publisher.came = came;
                publisher.on_packet(pool, now, lanes, opened.index, &packet)
            }
            Err(_) => Verdict::RtpMalformed,
        }
    }

    /// RTCP of the publisher, without a viewer, of the stream with this index.
    pub fn on_rtcp(&mut self, wall: Wall, stream: u32, way: u8, bytes: &mut [u8]) -> Verdict {
        let Some(publisher) = self.of(stream, None) else {
            return Verdict::Unknown;
        };
        let Some(way) = publisher.way_mut(By::Way(way)) else {
            return Verdict::Unknown;
        };
        let plain = match way.opener.rtcp(bytes) {
            Ok(plain) => plain,
            Err(refusal) => return Verdict::of_rtcp(refusal),
        };
        let mut items = compound(plain);
        for item in items.by_ref() {
            publisher.on_item(wall, &item);
        }
        if items.malformed().is_some() {
            return Verdict::RtcpMalformed;
        }
        Verdict::Heard
    }

    /// One packet of the RTCP of `viewer`, by which the publisher of a stream comes.
    pub fn on_item(&mut self, wall: Wall, stream: u32, viewer: ViewerId, item: &Item<'_>) {
        if let Some(publisher) = self.of(stream, Some(viewer)) {
            publisher.on_item(wall, item);
        }
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
            publisher.came = Some(now);
            for lane in 0..LANES_MAX {
                while publisher.gives_up_at(lane) <= now && publisher.skip(pool, now, lane) {}
            }
            publisher.writer.publish();
        }
    }

    /// Tells what was taken in, every now and then.
    pub fn tell(&mut self, now: Time, stats: &Stats) {
        stats.set(Counter::PublisherActive, self.active.len() as u64);
        for &index in &self.active {
            let Some(Some(publisher)) = self.slots.get_mut(index as usize) else {
                continue;
            };
            let intake = &publisher.intake;
            let told = [intake.lost, intake.recovered, publisher.dropped];
            let before = core::mem::replace(&mut publisher.told, told);
            let counters = [
                Counter::RtpLost,
                Counter::RtpRecovered,
                Counter::RtpElementDropped,
            ];
            for (counter, (told, before)) in counters.into_iter().zip(told.into_iter().zip(before))
            {
                stats.add(counter, told.wrapping_sub(before));
            }
            if now >= publisher.tell_at {
                publisher.tell_at = now + TELL_INTERVAL;
                publisher.tell();
            }
        }
    }

    /// Lets the publisher of this stream be asked for keyframes of these lanes. False: it is not
    /// here, or cannot be spoken to.
    pub fn wish(&mut self, stream: u32, lanes: Lanes) -> bool {
        match self.at_mut(stream) {
            Some(publisher) if publisher.viewer.is_some() => {
                publisher.wish(lanes);
                true
            }
            _ => false,
        }
    }

    /// The lanes whose keyframes control should ask the publisher of this stream for; it has been
    /// asked, then.
    pub fn takes_wish(&mut self, stream: u32) -> Lanes {
        let known = self.at_mut(stream);
        known.map_or(Lanes::default(), |known| {
            core::mem::take(&mut known.wants_key)
        })
    }

    /// When [`Publishers::release`] has something to give up, or something is to be sent back.
    pub fn next_deadline(&self) -> Time {
        let publishers = self
            .active
            .iter()
            .filter_map(|&index| self.slots.get(index as usize));
        let deadlines = publishers.flatten().map(|publisher| {
            let given_up = (0..LANES_MAX).map(|lane| publisher.gives_up_at(lane));
            given_up.min().unwrap_or(Time::FAR).min(publisher.due_at())
        });
        deadlines.min().unwrap_or(Time::FAR)
    }

    /// Indexes of the streams whose publishers are here, in any order.
    pub fn active(&self) -> &[u32] {
        &self.active
    }

    /// The publisher of the stream with this index.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Publisher> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    /// All publishers, and where what waits of them lies.
    pub fn all_mut(&mut self) -> (impl Iterator<Item = &mut Publisher>, &Pool) {
        let publishers = self.slots.iter_mut().flatten();
        (publishers.map(|publisher| &mut **publisher), &self.pool)
    }

    fn of(&mut self, stream: u32, viewer: Option<ViewerId>) -> Option<&mut Publisher> {
        self.at_mut(stream)
            .filter(|publisher| publisher.viewer == viewer)
    }

    fn remove_at(&mut self, index: u32, flows: &mut Flows) {
        let gone = self.slots.get_mut(index as usize).and_then(Option::take);
        if let Some(mut gone) = gone {
            for lane in &mut gone.lanes {
                lane.order.clear(&mut self.pool);
            }
            gone.writer.publish();
            gone.tell();
            if let Some(heard) = &gone.heard {
                heard.forget();
            }
            gone.leave(flows);
            self.active.retain(|&other| other != index);
        }
    }
}

impl Publisher {
    /// True if its packets come like this.
    #[inline]
    fn comes(&self, by: By) -> bool {
        match by {
            By::Viewer(viewer) => self.viewer == Some(viewer),
            By::Way(_) => self.viewer.is_none(),
        }
    }

    #[inline]
    fn way_mut(&mut self, by: By) -> Option<&mut Way> {
        let way = match by {
            By::Viewer(_) => 0,
            By::Way(way) => usize::from(way),
        };
        self.ways.get_mut(way)?.as_mut()
    }

    /// Enters its flows. False: no room.
    fn enter(&self, now: Time, flows: &mut Flows) -> bool {
        let stream = self.id.index;
        self.flows()
            .all(|(way, flow)| flows.insert(now, flow, Target::Publisher { stream, way }))
    }

    /// Takes its flows out.
    fn leave(&self, flows: &mut Flows) {
        let stream = self.id.index;
        for (way, flow) in self.flows() {
            flows.remove(&flow, Target::Publisher { stream, way });
        }
    }

    fn flows(&self) -> impl Iterator<Item = (u8, RxMeta)> {
        let ways = (0..).zip(&self.ways);
        ways.filter_map(|(nth, way)| Some((nth, way.as_ref()?.flow?)))
    }
}

/// The ways of a publisher. `None`: a key cannot be used.
fn ways(add: &AddPublisher) -> Option<[Option<Way>; TRACKS_MAX]> {
    let [flow, of_audio] = flows_of(add);
    let first = Way {
        flow,
        opener: opener(add.keys.profile, &add.keys.receive)?,
        lanes: match of_audio {
            Some(_) => Lanes::ALL.without(AUDIO),
            None => Lanes::ALL,
        },
    };
    let second = match of_audio {
        Some(_) => Some(Way {
            flow: of_audio,
            opener: opener(add.audio.profile, &add.audio.key)?,
            lanes: Lanes::only(AUDIO),
        }),
        None => None,
    };
    Some([Some(first), second])
}

/// Where the packets of a publisher without a viewer come from, way by way.
pub fn flows_of(add: &AddPublisher) -> [Option<RxMeta>; TRACKS_MAX] {
    match add.viewer {
        Some(_) => [None; TRACKS_MAX],
        None => anywhere([add.peer, add.audio.peer]),
    }
}

/// The flows of these senders, to whichever address of ours; the second may be none.
pub fn anywhere(peers: [Peer; TRACKS_MAX]) -> [Option<RxMeta>; TRACKS_MAX] {
    let [first, second] = peers;
    let of = |peer| RxMeta {
        peer,
        local: Ip::UNKNOWN,
    };
    let is_another = second.port != 0 && second != first;
    [Some(of(first)), is_another.then(|| of(second))]
}

fn opener(profile: Profile, key: &MasterKey) -> Option<Opener> {
    Opener::new(&secret(profile, key).ok()?).ok()
}
