//! Owns the port: who is connected, what goes to the engine and what comes from it.

use sapflow_srt::packet::{Control, ControlPacket, HandshakeKind, Packet};
use sapflow_srt::{self as engine, ConnId, Listener};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::time::{Span, Time};

use super::budget::Budget;
use super::connection::{Connection, Found, Stage, Verdict, found};
use super::cookie::CookieKey;
use super::crypto::Keyring;
use super::handshake::{
    Conclusion, HEADER_BYTES, KM_CONTROL_TYPE, KMREQ_SUBTYPE, Outgoing, be32, km_response,
    with_keys,
};
use super::seq::Seq;
use super::{CallerId, Config, Counters, Event, Reason, Refusal, Stats};

/// The longest datagram: an Ethernet frame's worth.
const DATAGRAM_BYTES_MAX: usize = 1500;

/// The largest payload: that, less the headers of IPv4, UDP and SRT.
const PAYLOAD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - 28 - HEADER_BYTES;

/// Handshake packets of any kind, a second. Answering one keeps no state and sends no more than
/// was received, so this only bounds time: some 2 us each.
const HANDSHAKE_PACKETS_PER_S_MAX: u32 = 10_000;

/// The fewest packets the engine will hold.
pub(super) const WINDOW_PACKETS_MIN: usize = 32;

/// All callers on one UDP port.
pub struct SrtIngest {
    pub(super) config: Config,
    /// The same moment on our clock and on the engine's.
    base: (Time, Instant),
    pub(super) listener: Listener<CookieKey>,
    pub(super) budget: Budget<CookieKey>,
    /// In the order of their ids, so that a run can be repeated.
    pub(super) connections: BTreeMap<u32, Connection>,
    /// Ids by the caller's address and own socket id: so the engine addresses what it sends.
    pub(super) by_socket: BTreeMap<(SocketAddr, u32), u32>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    pub(super) events: VecDeque<Event>,
    pub(super) counters: Counters,
    /// Rejections of ours under way in the engine's queue; all others are its own.
    pub(super) rejections_pending: u32,
    scratch: Vec<u8>,
}

impl SrtIngest {
    /// A port without callers. `base` is the moment `now` on the standard library's clock, which
    /// the engine wants; `seed` is 32 random bytes that nobody else knows, fresh for each start.
    #[must_use]
    pub fn new(config: Config, now: Time, base: Instant, seed: &[u8; 32]) -> Self {
        let key = CookieKey::new(seed);
        let budget = Budget::new(config.handshakes_per_s_max, key.clone());
        let listener = Listener::with_key(engine_config(&config), base, key);
        Self {
            config,
            base: (now, base),
            listener,
            budget,
            connections: BTreeMap::new(),
            by_socket: BTreeMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            rejections_pending: 0,
            scratch: Vec::with_capacity(DATAGRAM_BYTES_MAX),
        }
    }

    /// Takes a datagram that came from `peer`.
    pub fn datagram(&mut self, now: Time, peer: SocketAddr, bytes: &[u8]) {
        if !(HEADER_BYTES..=DATAGRAM_BYTES_MAX).contains(&bytes.len()) {
            self.counters.malformed += 1;
            return;
        }
        let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
        match (kind & 0x8000 != 0, kind & 0x7fff) {
            (false, _) => self.data(now, peer, bytes),
            (true, 0) => self.handshake(now, peer, bytes),
            (true, 7) => self.drop_request(now, peer, bytes),
            (true, KM_CONTROL_TYPE) => self.key_material(now, peer, bytes),
            (true, _) => self.hand_on(now, peer, bytes),
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        self.listener.handle_timeout(self.instant(now));
        self.pump(now, None);
        for (id, connection) in &mut self.connections {
            if let Some(order) = connection.order_mut() {
                order.release(now, &mut data_into(&mut self.events, *id));
            }
        }
    }

    /// When [`SrtIngest::handle_timeout`] is to be called; `None` without callers.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let (time, instant) = self.base;
        let engine = self.listener.poll_timeout().map(|at| {
            let nanos = at.saturating_duration_since(instant).as_nanos();
            time + Span(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        let orders = self
            .connections
            .values()
            .filter_map(|c| c.order()?.deadline());
        engine.into_iter().chain(orders).min()
    }

    /// The next datagram to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends a connection, or turns a caller away that waits for an answer. What was held for
    /// repair is dropped; no [`Event::Closed`] follows.
    pub fn close(&mut self, now: Time, id: CallerId) {
        match self.connections.get(&id.0).map(|c| &c.stage) {
            Some(Stage::Pending(_)) => self.reject(id, Reason::Down.wire()),
            Some(Stage::Open(_)) => {
                self.listener.close(ConnId(id.0), self.instant(now));
                self.forget(id.0);
                self.pump(now, None);
            }
            None => {}
        }
    }

    /// Counts of a caller; `None` if it is gone.
    #[must_use]
    pub fn stats(&self, id: CallerId) -> Option<Stats> {
        let engine = self
            .listener
            .connection_stats(ConnId(id.0))
            .unwrap_or_default();
        Some(self.connections.get(&id.0)?.stats(engine))
    }

    /// Counts of the port.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let engine = self.listener.stats();
        Counters {
            malformed: self.counters.malformed + engine.malformed,
            stray: self.counters.stray + engine.stray,
            bad_cookie: engine.bad_cookie,
            rate_limited: self.counters.rate_limited + engine.rate_limited,
            ..self.counters
        }
    }

    /// Callers, connected or waiting for an answer.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The engine's clock at `now`.
    pub(super) fn instant(&self, now: Time) -> Instant {
        let (time, instant) = self.base;
        instant + Duration::from_nanos(now.since(time).0)
    }

    fn keys_of(&self, id: u32) -> Option<&Keyring> {
        match &self.connections.get(&id)?.stage {
            Stage::Open(open) => open.keys.as_ref(),
            Stage::Pending(_) => None,
        }
    }

    fn data(&mut self, now: Time, peer: SocketAddr, bytes: &[u8]) {
        let Some(Found {
            id, tally, open, ..
        }) = found(&mut self.connections, peer, bytes)
        else {
            self.counters.stray += 1;
            return;
        };
        if bytes.len() > HEADER_BYTES + PAYLOAD_BYTES_MAX {
            self.counters.malformed += 1;
            return;
        }
        let seq = Seq::new(be32(bytes, 0).unwrap_or_default());
        self.scratch.clear();
        self.scratch.extend_from_slice(bytes);
        if open.unseal(seq, &mut self.scratch) == Verdict::Undecryptable {
            tally.undecryptable += 1;
            self.counters.undecryptable += 1;
            return;
        }
        if let Some(order) = &mut open.order {
            let payload = &self.scratch[HEADER_BYTES..];
            order.push(now, seq, payload, &mut data_into(&mut self.events, id));
        }
        self.listener
            .handle_datagram(self.instant(now), peer, &self.scratch);
        self.pump(now, None);
    }

    fn handshake(&mut self, now: Time, peer: SocketAddr, bytes: &[u8]) {
        match Packet::parse(bytes) {
            Ok(Packet::Control(ControlPacket {
                timestamp,
                dest,
                body: Control::Handshake(hs),
            })) if hs.kind == HandshakeKind::Conclusion => {
                let conclusion = Conclusion::new(timestamp, dest, hs, self.config.latency_max);
                self.listener
                    .handle_datagram(self.instant(now), peer, &conclusion.plain);
                self.pump(now, Some(conclusion));
            }
            _ => self.hand_on(now, peer, bytes),
        }
    }

    fn drop_request(&mut self, now: Time, peer: SocketAddr, bytes: &[u8]) {
        if let Some(Found { id, open, .. }) = found(&mut self.connections, peer, bytes)
            && let Some(order) = &mut open.order
            && let (Some(first), Some(last)) = (be32(bytes, 16), be32(bytes, 20))
        {
            let (first, last) = (Seq::new(first), Seq::new(last));
            order.give_up(now, first, last, &mut data_into(&mut self.events, id));
        }
        self.hand_on(now, peer, bytes);
    }

    /// The engine knows nothing of keys, so nothing here is handed on.
    fn key_material(&mut self, now: Time, peer: SocketAddr, bytes: &[u8]) {
        let subtype = u16::from_be_bytes([bytes[2], bytes[3]]);
        let Found {
            socket,
            tally,
            open,
            ..
        } = match found(&mut self.connections, peer, bytes) {
            Some(found) if subtype == KMREQ_SUBTYPE => found,
            _ => {
                self.counters.stray += 1;
                return;
            }
        };
        let km = &bytes[HEADER_BYTES..];
        match open.refresh(now, km) {
            Some(true) => {
                let us = now.since(open.since).as_micros() & u64::from(u32::MAX);
                let us = u32::try_from(us).expect("masked to 32 bits");
                self.transmits
                    .push_back((peer, km_response(us, socket, km)));
            }
            Some(false) => {
                tally.km_refused += 1;
                self.counters.km_refused += 1;
            }
            None => self.counters.rate_limited += 1,
        }
    }

    fn hand_on(&mut self, now: Time, peer: SocketAddr, bytes: &[u8]) {
        self.listener
            .handle_datagram(self.instant(now), peer, bytes);
        self.pump(now, None);
    }

    /// Takes what the engine has to say. `conclusion` is what it has just been given.
    fn pump(&mut self, now: Time, mut conclusion: Option<Conclusion>) {
        while let Some(event) = self.listener.poll_event() {
            match event {
                engine::Event::Connect {
                    id,
                    peer,
                    stream_id,
                } => {
                    if let Some(conclusion) = conclusion.take()
                        && let Err(refusal) = self.connect(now, id, peer, &stream_id, conclusion)
                    {
                        self.events.push_back(Event::Refused {
                            id: None,
                            peer,
                            refusal,
                        });
                        self.reject(CallerId(id.0), refusal.wire());
                    }
                }
                engine::Event::Data { id, payload } => {
                    let timed = |c: &Connection| c.order().is_none();
                    if !payload.is_empty() && self.connections.get(&id.0).is_some_and(timed) {
                        self.events.push_back(Event::Data {
                            id: CallerId(id.0),
                            payload,
                        });
                    }
                }
                engine::Event::Closed { id, reason, stats } => self.closed(id.0, reason, stats),
            }
        }
        self.take_transmits();
    }

    /// Takes what the engine wants to send.
    pub(super) fn take_transmits(&mut self) {
        while let Some((peer, bytes)) = self.listener.poll_transmit() {
            let dressed = match Outgoing::of(&bytes) {
                Outgoing::Conclusion(id) => self.keys_of(id).and_then(|k| with_keys(&bytes, k)),
                Outgoing::Rejection(code) => {
                    self.on_rejection(peer, code);
                    None
                }
                Outgoing::Ack { socket, rtt } => {
                    let id = self.by_socket.get(&(peer, socket));
                    if let Some(connection) = id.and_then(|id| self.connections.get_mut(id)) {
                        connection.tally.rtt = rtt;
                    }
                    None
                }
                Outgoing::Other => None,
            };
            self.transmits.push_back((peer, dressed.unwrap_or(bytes)));
        }
    }

    /// The engine's own rejections are news to the server.
    fn on_rejection(&mut self, peer: SocketAddr, code: u32) {
        self.counters.rejected.add(code);
        if self.rejections_pending > 0 {
            self.rejections_pending -= 1;
        } else {
            let refusal = Refusal::Protocol(u16::try_from(code % 1000).unwrap_or_default());
            self.events.push_back(Event::Refused {
                id: None,
                peer,
                refusal,
            });
        }
    }
}

/// Where payloads in order go.
fn data_into(events: &mut VecDeque<Event>, id: u32) -> impl FnMut(Vec<u8>) + '_ {
    move |payload| {
        events.push_back(Event::Data {
            id: CallerId(id),
            payload,
        })
    }
}

fn engine_config(config: &Config) -> engine::Config {
    engine::Config {
        latency: Duration::from_nanos(config.latency.0),
        max_connections: config.connections_max,
        handshakes_per_second: HANDSHAKE_PACKETS_PER_S_MAX,
        buffer_packets: config.window_packets.max(WINDOW_PACKETS_MIN),
        peer_idle: Duration::from_nanos(config.idle_max.0),
        accept_timeout: Duration::from_nanos(config.answer_max.0),
        // Keys are ours: the engine sees plaintext only.
        crypto: None,
        require_encryption: false,
        allow_plaintext: false,
    }
}
