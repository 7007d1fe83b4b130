//! Owns coming and going: who is let in, who is turned away, who is gone.

use sapflow_srt::{self as engine, ConnId, RejectCode};
use std::net::SocketAddr;
use wire::time::Time;

use super::connection::{Connection, Open, Stage, Tally};
use super::crypto::{BadKm, Keyring};
use super::handshake::{Conclusion, Offer};
use super::ingest::{SrtIngest, WINDOW_PACKETS_MIN};
use super::order::Order;
use super::{Answer, CallerId, CloseReason, Event, Refusal, StreamId};

impl SrtIngest {
    /// Answers [`Event::Connect`]; a caller that is gone or was answered before is let be. Says
    /// whether the caller is connected now: after an acceptance it is not if its passphrase is
    /// wrong, and then [`Event::Refused`] follows.
    pub fn answer(&mut self, now: Time, id: CallerId, answer: Answer) -> bool {
        let Some(connection) = self.connections.get_mut(&id.0) else {
            return false;
        };
        let Stage::Pending(km) = &mut connection.stage else {
            return false;
        };
        let (passphrase, tsbpd) = match answer {
            Answer::Accept { passphrase, tsbpd } => (passphrase, tsbpd),
            Answer::Reject(reason) => {
                self.reject(id, reason.wire());
                return false;
            }
        };
        let keys = match (passphrase, km.take()) {
            (None, None) => Ok(None),
            (Some(passphrase), Some(km)) => match Keyring::open(passphrase, &km, now) {
                Ok(keys) => Ok(Some(keys)),
                Err(BadKm::Cipher) => Err(Refusal::Cipher),
                Err(BadKm::Malformed) => Err(Refusal::Malformed),
                Err(_) => Err(Refusal::BadSecret),
            },
            (Some(_), None) => Err(Refusal::PassphraseMissing),
            (None, Some(_)) => Err(Refusal::PassphraseUnexpected),
        };
        match keys {
            Ok(keys) => {
                let window = self.config.window_packets.max(WINDOW_PACKETS_MIN);
                let order = Order::new(connection.first, window, connection.latency);
                let order = (!tsbpd).then_some(order);
                let open = Open {
                    keys,
                    order,
                    since: now,
                    refresh_after: now,
                };
                connection.stage = Stage::Open(Box::new(open));
                if !self.listener.accept(ConnId(id.0), self.instant(now)) {
                    self.forget(id.0);
                    return false;
                }
                self.take_transmits();
                true
            }
            Err(refusal) => {
                let peer = connection.peer;
                self.events.push_back(Event::Refused {
                    id: Some(id),
                    peer,
                    refusal,
                });
                self.reject(id, refusal.wire());
                false
            }
        }
    }

    /// A caller whose cookie was right: asks the server about it, if all else is right as well.
    pub(super) fn connect(
        &mut self,
        now: Time,
        id: ConnId,
        peer: SocketAddr,
        stream_id: &[u8],
        conclusion: Conclusion,
    ) -> Result<(), Refusal> {
        let neighbours = self
            .connections
            .values()
            .filter(|c| c.peer.ip() == peer.ip())
            .count();
        let fits = neighbours < self.config.connections_per_address_max;
        if !fits || !self.budget.take(now, peer.ip()) {
            self.counters.rate_limited += 1;
            return Err(Refusal::TooMany);
        }
        let km = match conclusion.offer {
            Offer::Plain => None,
            Offer::Km(km) => Some(km),
            Offer::Contradiction => return Err(Refusal::Malformed),
        };
        let stream_id = StreamId::parse(stream_id, self.config.name_default.as_deref())
            .map_err(Refusal::StreamId)?;
        let latency = conclusion.latency.max(self.config.latency);
        let encrypted = km.is_some();
        self.by_socket.insert((peer, conclusion.socket), id.0);
        self.connections.insert(
            id.0,
            Connection {
                peer,
                socket: conclusion.socket,
                first: conclusion.first,
                latency,
                stage: Stage::Pending(km),
                tally: Tally::default(),
            },
        );
        let id = CallerId(id.0);
        self.events.push_back(Event::Connect {
            id,
            peer,
            stream_id,
            encrypted,
            latency,
        });
        Ok(())
    }

    /// Turns a caller away that waits for an answer.
    pub(super) fn reject(&mut self, id: CallerId, code: RejectCode) {
        self.forget(id.0);
        if self.listener.reject(ConnId(id.0), code) {
            self.rejections_pending += 1;
        }
        self.take_transmits();
    }

    /// The engine has let go of a connection.
    pub(super) fn closed(
        &mut self,
        id: u32,
        reason: Option<engine::CloseReason>,
        counts: engine::Stats,
    ) {
        let Some(mut connection) = self.forget(id) else {
            return;
        };
        if let Some(order) = connection.order_mut() {
            order.flush(&mut |payload| {
                self.events.push_back(Event::Data {
                    id: CallerId(id),
                    payload,
                });
            });
        }
        let reason = match reason {
            Some(engine::CloseReason::Shutdown) => CloseReason::Shutdown,
            Some(engine::CloseReason::Timeout) => CloseReason::Timeout,
            None => CloseReason::Unanswered,
        };
        let stats = connection.stats(counts);
        self.events.push_back(Event::Closed {
            id: CallerId(id),
            reason,
            stats,
        });
    }

    /// Drops what is known of a connection.
    pub(super) fn forget(&mut self, id: u32) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        self.by_socket.remove(&(connection.peer, connection.socket));
        Some(connection)
    }
}
