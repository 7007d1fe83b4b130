//! Owns the wire of the simulated network: what is on its way, who is where, what gets lost.

use super::pcap::Pcap;
use super::random::{Random, mix};
use core::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use wire::datagram::RxMeta;
use wire::peer::{Ip, Peer};
use wire::time::{Span, Time};

/// How one path treats datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Time on the way.
    pub latency: Span,
    /// Up to so much longer, for each datagram anew: datagrams overtake each other.
    pub jitter: Span,
    /// Lost, in a million.
    pub loss_ppm: u32,
    /// Delivered twice, in a million.
    pub duplicate_ppm: u32,
    /// Delivered with one bit turned over, in a million.
    pub corrupt_ppm: u32,
    /// Longest IP packet, bytes. Longer ones are lost.
    pub mtu: u16,
}

impl Default for Link {
    /// A perfect wire: nothing lost, nothing late.
    fn default() -> Self {
        Self {
            latency: Span::ZERO,
            jitter: Span::ZERO,
            loss_ppm: 0,
            duplicate_ppm: 0,
            corrupt_ppm: 0,
            mtu: 1500,
        }
    }
}

/// What has happened on a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes of UDP payload sent.
    pub bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost since longer than the path takes.
    pub too_long: u64,
    /// Delivered a second time.
    pub duplicated: u64,
    /// Delivered damaged.
    pub corrupted: u64,
    /// Nobody was there.
    pub unbound: u64,
    /// The receiver's queue was full.
    pub overrun: u64,
}

/// Datagrams that one receiver may leave unread.
const INBOX_MAX: usize = 65_536;

/// Within how many bytes of either end a datagram is damaged.
const CORRUPT_DEPTH_BYTES: u64 = 32;

/// A datagram that has arrived.
pub(super) struct Letter {
    pub meta: RxMeta,
    /// When it arrived.
    pub came: Time,
    pub bytes: Vec<u8>,
}

struct Flight {
    to: Peer,
    from: Peer,
    bytes: Vec<u8>,
}

struct Place {
    addr: Peer,
    open: bool,
    inbox: VecDeque<Letter>,
}

pub(super) struct Net {
    pub default_link: Link,
    pub links: HashMap<Ip, Link>,
    pub counts: Counts,
    pub capture: Option<Pcap>,
    seed: u64,
    random: Random,
    places: Vec<Place>,
    flights: BTreeMap<u64, Flight>,
    /// Arrival and number of each flight, the earliest first, ties in the order of sending.
    due: BinaryHeap<Reverse<(Time, u64)>>,
    launched: u64,
}

impl Net {
    pub(super) fn new(seed: u64, link: Link) -> Self {
        Self {
            default_link: link,
            links: HashMap::new(),
            counts: Counts::default(),
            capture: None,
            seed,
            random: Random::new(seed),
            places: Vec::new(),
            flights: BTreeMap::new(),
            due: BinaryHeap::new(),
            launched: 0,
        }
    }

    /// A new receiver at `addr`; returns its number.
    pub(super) fn bind(&mut self, addr: SocketAddr) -> usize {
        let ip = if addr.ip().is_unspecified() {
            Ip::UNKNOWN
        } else {
            addr.ip().into()
        };
        let port = addr.port();
        self.places.push(Place {
            addr: Peer { ip, port },
            open: true,
            inbox: VecDeque::new(),
        });
        self.places.len() - 1
    }

    pub(super) fn close(&mut self, id: usize) {
        if let Some(place) = self.places.get_mut(id) {
            place.open = false;
            place.inbox.clear();
        }
    }

    /// Puts a datagram on the wire.
    pub(super) fn send(&mut self, now: Time, from: Peer, to: Peer, bytes: &[u8]) {
        self.counts.sent += 1;
        self.counts.bytes += bytes.len() as u64;
        if let Some(capture) = &mut self.capture {
            capture.write(now, from, to, bytes);
        }
        let link = self.link(from.ip, to.ip);
        let headers = if to.ip.is_v4() { 28 } else { 48 };
        if bytes.len() + headers > usize::from(link.mtu) {
            self.counts.too_long += 1;
            return;
        }
        if self.random.chance(link.loss_ppm) {
            self.counts.lost += 1;
            return;
        }
        self.launch(now, link, from, to, bytes);
        if self.random.chance(link.duplicate_ppm) {
            self.counts.duplicated += 1;
            self.launch(now, link, from, to, bytes);
        }
    }

    pub(super) fn next_arrival(&self) -> Option<Time> {
        self.due.peek().map(|Reverse((time, _))| *time)
    }

    /// Moves what has arrived by `now` to its receivers.
    pub(super) fn deliver(&mut self, now: Time) {
        while let Some(&Reverse((time, number))) = self.due.peek()
            && time <= now
        {
            self.due.pop();
            if let Some(flight) = self.flights.remove(&number) {
                self.land(time, flight);
            }
        }
    }

    /// The next letter of receiver `id`.
    pub(super) fn pop(&mut self, id: usize) -> Option<Letter> {
        self.places.get_mut(id)?.inbox.pop_front()
    }

    /// Letters that wait for receiver `id`.
    pub(super) fn waiting(&self, id: usize) -> usize {
        self.places.get(id).map_or(0, |place| place.inbox.len())
    }

    fn link(&self, from: Ip, to: Ip) -> Link {
        let rule = self.links.get(&to).or_else(|| self.links.get(&from));
        rule.copied().unwrap_or(self.default_link)
    }

    fn launch(&mut self, now: Time, link: Link, from: Peer, to: Peer, bytes: &[u8]) {
        let late = Span(self.random.below(link.jitter.0.saturating_add(1)));
        self.launched += 1;
        let due = now + link.latency + late;
        self.due.push(Reverse((due, self.launched)));
        let mut bytes = bytes.to_vec();
        if self.random.chance(link.corrupt_ppm) {
            self.counts.corrupted += 1;
            self.corrupt(&mut bytes);
        }
        self.flights
            .insert(self.launched, Flight { to, from, bytes });
    }

    /// Turns over one bit near the front or the end, where headers and tags are: what lies between
    /// is covered by the tags alike.
    fn corrupt(&mut self, bytes: &mut [u8]) {
        let depth = self.random.below(CORRUPT_DEPTH_BYTES);
        let depth = usize::try_from(depth).unwrap_or(0);
        let from_front = self.random.chance(500_000);
        let place = match from_front {
            true => Some(depth),
            false => bytes.len().checked_sub(depth + 1),
        };
        let bit = self.random.below(8);
        if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
            *byte ^= 1 << bit;
        }
    }

    fn land(&mut self, came: Time, flight: Flight) {
        let Some(id) = self.receiver(flight.from, flight.to) else {
            self.counts.unbound += 1;
            return;
        };
        let inbox = &mut self.places[id].inbox;
        if inbox.len() >= INBOX_MAX {
            self.counts.overrun += 1;
            return;
        }
        inbox.push_back(Letter {
            meta: RxMeta {
                peer: flight.from,
                local: flight.to.ip,
            },
            came,
            bytes: flight.bytes,
        });
    }

    /// Who gets what `from` sends to `to`: among several at one address always the same one.
    fn receiver(&self, from: Peer, to: Peer) -> Option<usize> {
        let takes = |place: &Place| {
            place.open
                && place.addr.port == to.port
                && (place.addr.ip == to.ip || place.addr.ip.is_unknown())
        };
        let ids = || (0..self.places.len()).filter(|id| takes(&self.places[*id]));
        let count = u64::try_from(ids().count()).ok()?;
        let choice = self.hash(from, to).checked_rem(count)?;
        ids().nth(usize::try_from(choice).ok()?)
    }

    fn hash(&self, from: Peer, to: Peer) -> u64 {
        let mut hash = mix(self.seed);
        for peer in [from, to] {
            for half in peer.ip.0.chunks(8) {
                let bits = half
                    .iter()
                    .fold(0, |bits, byte| bits << 8 | u64::from(*byte));
                hash = mix(hash ^ bits);
            }
            hash = mix(hash ^ u64::from(peer.port));
        }
        hash
    }
}
