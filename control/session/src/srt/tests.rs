//! Scenarios of the SRT ingest: callers of our own, and recordings of others.

use super::*;
use sapflow_srt::packet::{
    Control, ControlPacket, DataPacket, Extension, Handshake, HandshakeKind, Packet, Position,
    SrtHandshake,
};
use std::time::Instant;
use wire::time::Time;

mod admission;
mod hostile;
mod keys;
mod path;
mod replay;
mod wraps;

const NOW: Time = Time(1_000_000_000_000);
const SECRET: &[u8] = b"freshetfreshet";

fn ingest(config: Config) -> SrtIngest {
    SrtIngest::new(config, NOW, moment(), &[42; 32])
}

/// The engine counts from a moment of the standard library's clock; which one does not matter.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to have an Instant"
)]
fn moment() -> Instant {
    Instant::now()
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], port))
}

fn accept(passphrase: Option<&[u8]>) -> Answer {
    let passphrase = passphrase.map(|secret| Passphrase::new(secret).unwrap());
    Answer::Accept {
        passphrase,
        tsbpd: false,
    }
}

fn sent(ingest: &mut SrtIngest) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| ingest.poll_transmit())
        .map(|(_, bytes)| bytes)
        .collect()
}

fn events(ingest: &mut SrtIngest) -> Vec<Event> {
    std::iter::from_fn(|| ingest.poll_event()).collect()
}

fn payloads(ingest: &mut SrtIngest) -> Vec<Vec<u8>> {
    let data = |event| match event {
        Event::Data { payload, .. } => Some(payload),
        _ => None,
    };
    events(ingest).into_iter().filter_map(data).collect()
}

/// Changes a handshake before it goes.
type Bend = fn(&mut Handshake);

/// A caller made of packets, so that it can do what no library lets one do.
struct RawCaller {
    peer: SocketAddr,
    socket: u32,
    streamid: Vec<u8>,
    km: Option<Vec<u8>>,
    /// For the conclusion.
    bend: Bend,
    cookie: u32,
    id: u32,
}

impl RawCaller {
    const FIRST: u32 = 0x7fff_fffd;

    fn new(port: u16, streamid: &str) -> Self {
        Self {
            peer: peer(port),
            socket: 0x1234,
            streamid: streamid.into(),
            km: None,
            bend: |_| {},
            cookie: 0,
            id: 0,
        }
    }

    fn with_km(self, km: Vec<u8>) -> Self {
        Self {
            km: Some(km),
            ..self
        }
    }

    fn handshake(&self, kind: HandshakeKind) -> Vec<u8> {
        let mut hs = Handshake {
            version: 4,
            encryption: 0,
            extension: 2,
            initial_seq: Self::FIRST,
            mtu: 1500,
            flow_window: 8192,
            kind,
            socket_id: self.socket,
            cookie: 0,
            peer_ip: [0; 16],
            extensions: vec![],
        };
        if kind == HandshakeKind::Conclusion {
            hs.version = 5;
            hs.cookie = self.cookie;
            hs.extension = 1;
            hs.extensions.push(Extension::HsReq(SrtHandshake {
                version: 0x0001_0501,
                flags: 0xbf,
                receiver_delay: 120,
                sender_delay: 0,
            }));
            if let Some(km) = &self.km {
                hs.extension |= 2;
                hs.extensions.push(Extension::KmReq(km.clone()));
            }
            if !self.streamid.is_empty() {
                hs.extension |= 4;
                hs.extensions
                    .push(Extension::StreamId(self.streamid.clone()));
            }
            (self.bend)(&mut hs);
        }
        control(0, Control::Handshake(hs))
    }

    /// Induction and conclusion; gives the event the conclusion led to, if any.
    fn call(&mut self, ingest: &mut SrtIngest, now: Time) -> Option<Event> {
        ingest.datagram(now, self.peer, &self.handshake(HandshakeKind::Induction));
        let induction = handshake_in(&sent(ingest)[0]).expect("an induction");
        assert_eq!(induction.kind, HandshakeKind::Induction);
        self.cookie = induction.cookie;
        ingest.datagram(now, self.peer, &self.handshake(HandshakeKind::Conclusion));
        ingest.poll_event()
    }

    /// Calls and is let in; gives the answer's handshake.
    fn connect(&mut self, ingest: &mut SrtIngest, secret: Option<&[u8]>) -> (CallerId, Handshake) {
        let event = self.call(ingest, NOW);
        let Some(Event::Connect { id, .. }) = event else {
            panic!("{event:?}")
        };
        assert!(ingest.answer(NOW, id, accept(secret)));
        let answer = handshake_in(&sent(ingest)[0]).expect("a conclusion");
        assert_eq!(answer.kind, HandshakeKind::Conclusion);
        self.id = answer.socket_id;
        (id, answer)
    }

    /// Data packet `n` from the first on.
    fn data(&self, n: u32, key: u8, payload: &[u8]) -> Vec<u8> {
        let packet = DataPacket {
            seq: sapflow_srt::seq::Seq::new(Self::FIRST.wrapping_add(n)),
            position: Position::Only,
            in_order: false,
            key,
            retransmitted: false,
            message: n + 1,
            timestamp: n.wrapping_mul(1000),
            dest: self.id,
            payload,
        };
        let mut out = Vec::new();
        Packet::Data(packet).encode(&mut out);
        out
    }

    fn km_control(&self, subtype: u16, km: &[u8]) -> Vec<u8> {
        let body = Control::Other {
            control_type: 0x7fff,
            subtype,
            info: 0,
            cif: km.to_vec(),
        };
        control(self.id, body)
    }
}

fn control(dest: u32, body: Control) -> Vec<u8> {
    let mut out = Vec::new();
    ControlPacket::new(0, dest, body).encode(&mut out);
    out
}

fn handshake_in(bytes: &[u8]) -> Option<Handshake> {
    match Packet::parse(bytes) {
        Ok(Packet::Control(ControlPacket {
            body: Control::Handshake(hs),
            ..
        })) => Some(hs),
        _ => None,
    }
}
