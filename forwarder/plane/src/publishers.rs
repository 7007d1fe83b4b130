//! Owns the publishers whose packets this core opens: finds them, takes them, lets them go. Hot.

use link::Region;
use link::command::AddPublisher;
use link::ids::{StreamId, ViewerId};
use link::lanes::{LANES_MAX, Lanes};
use link::stats::{Counter, Stats, StreamStats};
use seal::Opener;
use wire::datagram::RxMeta;
use wire::peer::Ip;
use wire::rtcp::{Item, compound};
use wire::rtp::Packet;
use wire::time::{Span, Time};

use crate::flow::{Flows, Target};
use crate::publisher::Publisher;
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

    /// Takes a publisher. Known already: its address is brought up to date. Another one of the
    /// stream makes room for it. False: the keys cannot be used, or its log has another writer.
    pub fn add(
        &mut self,
        now: Time,
        add: &AddPublisher,
        home: Home<'_>,
        flows: &mut Flows,
    ) -> bool {
        let index = add.stream.index;
        let target = Target::Publisher(index);
        let flow = add.viewer.is_none().then_some(RxMeta {
            peer: add.peer,
            local: Ip::UNKNOWN,
        });
        if let Some(known) = self.at_mut(index)
            && known.id == add.stream
            && known.viewer == add.viewer
        {
            known.upstream.remb_bps = add.remb_bps;
            let old = core::mem::replace(&mut known.flow, flow);
            if let Some(old) = old {
                flows.remove(&old, target);
            }
            return flow.is_none_or(|flow| flows.insert(now, flow, target));
        }
        // Another one stays until it is sure that this one can be.
        let Some(opener) = opener(add) else {
            return false;
        };
        self.remove_at(index, flows);
        let (Some(slot), Ok(writer)) = (
            self.slots.get_mut(index as usize),
            home.region.log_writer(add.stream),
        ) else {
            return false;
        };
        let mut publisher = Publisher::new(now, add, home, opener, writer);
        publisher.flow = flow;
        *slot = Some(Box::new(publisher));
        self.active.push(index);
        let is_reachable = flow.is_none_or(|flow| flows.insert(now, flow, target));
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

    /// RTP of the publisher of the stream with this index, which came by `viewer`.
    pub fn on_rtp(
        &mut self,
        now: Time,
        stream: u32,
        viewer: Option<ViewerId>,
        bytes: &mut [u8],
    ) -> Verdict {
        let Self { slots, pool, .. } = self;
        let slot = slots
            .get_mut(stream as usize)
            .and_then(Option::as_deref_mut);
        let Some(publisher) = slot.filter(|publisher| publisher.viewer == viewer) else {
            return Verdict::Unknown;
        };
        let opened = match publisher.opener.rtp(bytes) {
            Ok(opened) => opened,
            Err(refusal) => return Verdict::of_rtp(refusal),
        };
        match Packet::parse(opened.packet) {
            Ok(packet) => publisher.on_packet(pool, now, opened.index, &packet),
            Err(_) => Verdict::RtpMalformed,
        }
    }

    /// RTCP of the publisher, without a viewer, of the stream with this index.
    pub fn on_rtcp(&mut self, wall: Wall, stream: u32, bytes: &mut [u8]) -> Verdict {
        let Some(publisher) = self.of(stream, None) else {
            return Verdict::Unknown;
        };
        let plain = match publisher.opener.rtcp(bytes) {
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
            let (lost, recovered) = (publisher.intake.lost, publisher.intake.recovered);
            let (lost_before, recovered_before) =
                core::mem::replace(&mut publisher.told, (lost, recovered));
            stats.add(Counter::RtpLost, lost.wrapping_sub(lost_before));
            let recovered = recovered.wrapping_sub(recovered_before);
            stats.add(Counter::RtpRecovered, recovered);
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
            if let Some(flow) = gone.flow {
                flows.remove(&flow, Target::Publisher(index));
            }
            self.active.retain(|&other| other != index);
        }
    }
}

fn opener(add: &AddPublisher) -> Option<Opener> {
    Opener::new(&secret(&add.keys, &add.keys.receive).ok()?).ok()
}
